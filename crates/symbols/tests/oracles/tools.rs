//! Running other programs, and reading what they say of addresses.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use decima_symbols::{Answer, elf::Elf};

/// A function at an address: its name as in the file, the base name of its file, the line.
pub(crate) type Frame = (String, String, u32);

/// What is said of addresses, innermost function first.
pub(crate) type Chains = HashMap<u64, Vec<Frame>>;

pub(crate) fn have(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../symbols/tests/oracles/sources").join(name)
}

/// Runs a command in a folder to its end.
pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Asks a program for addresses, which it takes a line each and answers as addr2line does.
pub(crate) fn ask(
    folder: &Path,
    program: &str,
    arguments: &[&str],
    addresses: &[u64],
) -> Result<Chains, String> {
    let questions = folder.join("addresses");
    let text: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    std::fs::write(&questions, text).map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(File::open(questions).map_err(|error| error.to_string())?)
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} {arguments:?}: {}", output.status));
    }
    Ok(chains(&String::from_utf8_lossy(&output.stdout)))
}

/// An address, then for each function its name and its place in the source, a line each.
fn chains(text: &str) -> Chains {
    let mut chains = Chains::new();
    let mut lines = text.lines().filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let Some(address) = line.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()) else {
            panic!("not an address: {line}");
        };
        let mut frames = Vec::new();
        while let Some(name) = lines.next_if(|line| !line.starts_with("0x")) {
            let place = lines.next().unwrap_or_default();
            let (file, line) = place.rsplit_once(':').unwrap_or_default();
            let line = line.split(' ').next().unwrap_or_default().parse().unwrap_or(0);
            frames.push(frame(name, file, line));
        }
        // A line of no function: bytes between functions.
        if let [(name, file, line)] = frames.as_mut_slice()
            && name.is_empty()
        {
            file.clear();
            *line = 0;
        }
        chains.insert(address, frames);
    }
    chains
}

/// The name without what a compiler appends to a part or a copy of a function.
pub(crate) fn whole(name: &str) -> &str {
    match name.split_once('.') {
        Some((whole, _)) if !whole.is_empty() => whole,
        _ => name,
    }
}

/// Unknown is empty; a file without a line says nothing.
fn frame(name: &str, file: &str, line: u32) -> Frame {
    let known = |text: &str| if text == "??" { String::new() } else { text.to_owned() };
    let file = if line == 0 { "" } else { file.rsplit('/').next().unwrap_or_default() };
    (known(name), known(file), line)
}

/// Whether it is a stub of a call to another file, which those that are asked here do not know.
pub(crate) fn is_stub(own: &[Frame]) -> bool {
    matches!(own, [(name, _, 0)] if name.ends_with("@plt"))
}

/// An answer in the same form.
pub(crate) fn own(answer: &Answer) -> Vec<Frame> {
    let frames: Vec<_> = answer
        .frames()
        .iter()
        .map(|f| frame(&f.function.system_name, &f.function.filename, f.line))
        .collect();
    if frames.is_empty() { vec![frame("", "", 0)] } else { frames }
}

/// What Parca's agent uploads of a file: sections that symbolisers read keep their bytes, of others only the header is
/// left, without a size; no segments, no entry. 64 bits, little endian.
pub(crate) fn extracted(mut file: Vec<u8>) -> Vec<u8> {
    const KEPT: [&str; 12] = [
        ".debug_",
        ".zdebug_",
        ".symtab",
        ".dynsym",
        ".strtab",
        ".shstrtab",
        ".dynstr",
        ".rel",
        ".note",
        ".gopclntab",
        ".go.buildinfo",
        ".comment",
    ];
    const NOBITS: u32 = 8;
    let word = |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    let half = |file: &[u8], at: usize| usize::from(u16::from_le_bytes(file[at..at + 2].try_into().unwrap()));
    let (headers, count, names) = (word(&file, 40), half(&file, 60), half(&file, 62));
    let names = word(&file, headers + names * 64 + 24);
    for header in (1..count).map(|index| headers + index * 64) {
        let name = names + word(&file, header) % (1 << 32);
        let name: Vec<_> = file[name..].iter().copied().take_while(|&byte| byte != 0).collect();
        let name = String::from_utf8_lossy(&name);
        let name = name.strip_prefix(".data.rel.ro").unwrap_or(&name);
        if !KEPT.iter().any(|kept| name.starts_with(kept)) {
            file[header + 4..header + 8].copy_from_slice(&NOBITS.to_le_bytes());
            file[header + 32..header + 40].fill(0);
        }
    }
    // Entry, and number of segments.
    file[24..32].fill(0);
    file[56..58].fill(0);
    file
}

/// At most `count` addresses of the code of a file: all there are in a small one.
pub(crate) fn addresses(file: &[u8], count: u64) -> Vec<u64> {
    let Ok(elf) = Elf::parse(file) else { return Vec::new() };
    let segments = elf.segments();
    let Some(code) = segments.iter().filter(|segment| segment.executable).max_by_key(|s| s.size_bytes) else {
        return Vec::new();
    };
    // An odd step, so that it does not always meet the same place of aligned functions.
    let step = (code.size_bytes / count).max(1) | 1;
    (code.address..code.address + code.size_bytes).step_by(step as usize).collect()
}
