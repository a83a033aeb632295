//! The name of a file without a build ID: a hash of its ends and its size, of which no more is read.

use std::io::{self, Read, Seek, SeekFrom};

use decima_symbols::{BuildId, build_id::HASHED_END_BYTES};

/// What eBPF profilers name a file by.
pub(crate) fn of(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<String> {
    let end_bytes = HASHED_END_BYTES as u64;
    let mut end = |start| {
        file.seek(SeekFrom::Start(start))?;
        let mut end = Vec::new();
        file.by_ref().take(end_bytes).read_to_end(&mut end)?;
        Ok::<_, io::Error>(end)
    };
    let ends = [end(0)?, end(size_bytes.saturating_sub(end_bytes))?];
    Ok(BuildId::hash_of_ends(&ends[0], &ends[1], size_bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_of_the_whole_file() {
        for length in [0, 1, 4095, 4096, 4097, 8192, 10_000u32] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let hash = of(&mut io::Cursor::new(&bytes), bytes.len() as u64).unwrap();
            assert_eq!(hash, BuildId::hash(&bytes).as_str(), "{length} bytes");
        }
    }
}
