//! Fingerprints of what locations and stacktraces are, whatever source has them.
//!
//! 128 bits with a seed of their own for each question: of a billion stacktraces no two have the same by chance.

use decima_store::source::{NO_MAPPING, Symbols, Tree};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The fingerprint of each location: of its address, frame type, mapping and lines.
pub(super) fn of_locations(symbols: &Symbols, seed: u64) -> Vec<u128> {
    let mut content = Vec::new();
    let strings: Vec<u128> = (0..symbols.strings.len() as u32)
        .map(|id| xxh3_128_with_seed(symbols.strings.get(id).as_bytes(), seed))
        .collect();
    let string = |id: u32| strings.get(id as usize).copied().unwrap_or_default();
    let functions: Vec<u128> = symbols
        .functions
        .iter()
        .map(|f| {
            let texts = [f.name, f.system_name, f.filename].map(string);
            of_parts(&mut content, &texts, &[f.start_line as u64], seed)
        })
        .collect();
    let mappings: Vec<u128> = symbols
        .mappings
        .iter()
        .map(|m| {
            let texts = [m.file, m.build_id].map(string);
            of_parts(&mut content, &texts, &[m.start, m.limit, m.offset], seed)
        })
        .collect();
    let mut texts = Vec::new();
    let mut numbers = Vec::new();
    (0..symbols.location_count())
        .map(|location| {
            texts.clear();
            numbers.clear();
            texts.push(string(symbols.location_frame_type[location]));
            let mapping = symbols.location_mapping[location];
            if mapping != NO_MAPPING {
                texts.push(mappings.get(mapping as usize).copied().unwrap_or_default());
            }
            // Tells a mapping from a function.
            numbers.push(u64::from(mapping != NO_MAPPING));
            numbers.push(symbols.location_address[location]);
            for line in symbols.location_lines(location as u32) {
                texts.push(functions.get(line.function as usize).copied().unwrap_or_default());
                numbers.extend([line.line as u64, line.column as u64]);
            }
            of_parts(&mut content, &texts, &numbers, seed)
        })
        .collect()
}

fn of_parts(content: &mut Vec<u8>, parts: &[u128], numbers: &[u64], seed: u64) -> u128 {
    content.clear();
    parts.iter().for_each(|part| content.extend_from_slice(&part.to_le_bytes()));
    numbers.iter().for_each(|number| content.extend_from_slice(&number.to_le_bytes()));
    xxh3_128_with_seed(content, seed)
}

/// The fingerprint of each node: of the locations from the root to it. `None` if a location has none.
pub(super) fn of_nodes(tree: &Tree, locations: &[u128], seed: u64) -> Option<Vec<u128>> {
    let mut nodes = vec![0u128; tree.parent.len()];
    for node in 1..nodes.len() {
        let above = nodes[tree.parent[node] as usize];
        let location = locations.get(tree.location[node] as usize)?;
        let mut content = [0u8; 32];
        content[..16].copy_from_slice(&above.to_le_bytes());
        content[16..].copy_from_slice(&location.to_le_bytes());
        nodes[node] = xxh3_128_with_seed(&content, seed);
    }
    Some(nodes)
}
