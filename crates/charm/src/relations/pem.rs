//! Certificates that come as text from another charm: all of it is read, and only what was read is written.
//!
//! The workload reads such texts to their end and refuses the whole of one with a broken block in it.

use base64::{Engine, engine::general_purpose::STANDARD};
use x509_parser::{certificate::X509Certificate, parse_x509_certificate, pem::Pem};

/// Certificates in one text, at most.
const CERTIFICATES_MAX: usize = 64;
/// Characters of a line in PEM.
const LINE_CHARS: usize = 64;
/// What begins and ends each block.
const LABEL: &str = "CERTIFICATE";

/// The certificates of a text, each anew in PEM without what stood around it; none if any block is something else.
pub(crate) fn certificates(text: &str) -> Option<Vec<String>> {
    // What does not look like a beginning to one reader may do so to another.
    let begun = text.matches("-----BEGIN").count();
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.ok().filter(|block| block.label == LABEL)?;
        let (rest, _) = parse_x509_certificate(&block.contents).ok()?;
        if !rest.is_empty() {
            return None;
        }
        found.push(encoded(&block.contents));
    }
    (!found.is_empty() && found.len() == begun && found.len() <= CERTIFICATES_MAX).then_some(found)
}

/// Reads the first certificate of a text.
pub(super) fn first<T>(text: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let first = Pem::iter_from_buffer(text.as_bytes()).next()?.ok()?;
    let (_, certificate) = parse_x509_certificate(&first.contents).ok()?;
    Some(read(&certificate))
}

fn encoded(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {LABEL}-----\n");
    for line in base64.as_bytes().chunks(LINE_CHARS) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + &format!("-----END {LABEL}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relations::certificates::tests::authority;

    #[test]
    fn every_block_is_read() {
        let (one, other) = (authority(), authority());
        let whole = |text: &str| certificates(text).map(|found| found.concat());
        assert_eq!(whole(&format!("{one}{other}")), Some(format!("{one}{other}")));
        let windows = format!("subject=x\r\n{}comment", one.replace('\n', "\r\n"));
        assert_eq!(whole(&windows).as_deref(), Some(one.as_str()), "only what was read");
        let broken = other.replacen("MII", "M!I", 1);
        assert_ne!(broken, other);
        let cut = &other[..other.len() / 2];
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for bad in [
            broken.as_str(),
            cut,
            key,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN",
        ] {
            assert_eq!(whole(bad), None, "{bad}");
            assert_eq!(whole(&format!("{one}{bad}")), None, "{bad}");
        }
        assert_eq!(whole(""), None);
        assert_eq!(whole("x"), None);
        assert_eq!(whole(&one.repeat(CERTIFICATES_MAX + 1)), None);
    }
}
