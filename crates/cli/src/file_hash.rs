//! The name of a file without a build ID: a hash of its ends and its size, as eBPF profilers compute it.

use std::io::{self, Read, Seek, SeekFrom};

use sha2::{Digest as _, Sha256};

/// How much of each end counts.
const END_BYTES: u64 = 4096;

/// The first half of the SHA-256 of the first and the last 4096 bytes and the size (64 bits, big endian), in hexadecimal.
pub(crate) fn of(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<String> {
    let mut hash = Sha256::new();
    for start in [0, size_bytes.saturating_sub(END_BYTES)] {
        file.seek(SeekFrom::Start(start))?;
        let mut end = Vec::new();
        file.by_ref().take(END_BYTES).read_to_end(&mut end)?;
        hash.update(&end);
    }
    hash.update(size_bytes.to_be_bytes());
    Ok(hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: `(head -c4096 F; tail -c4096 F; printf SIZE) | sha256sum`, the first 32 digits.
    #[test]
    fn known_hashes() {
        let check = |bytes: &[u8], expected: &str| {
            let hash = of(&mut io::Cursor::new(bytes), bytes.len() as u64).unwrap();
            assert_eq!(hash, expected, "{} bytes", bytes.len());
        };
        check(b"", "af5570f5a1810b7af78caf4bc70a660f");
        check(b"abc", "a7e79e8a85da69bad5c3fea209342ac9");
        let long: Vec<u8> = (0..10_000u32).map(|at| (at % 251) as u8).collect();
        check(&long, "29e3194e821b97b5565d43a5156ad97a");
    }
}
