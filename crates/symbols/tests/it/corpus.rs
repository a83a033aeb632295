//! The corpora of the fuzz targets, replayed, cut short at many lengths and with bytes changed.

use std::path::Path;

use crate::fuzz;

/// Inputs that are made of each.
const VARIANTS: usize = 100;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        check(&input);
        let step = (input.len() / VARIANTS).max(1);
        (0..input.len()).step_by(step).for_each(|end| check(&input[..end]));
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..VARIANTS.min(input.len()) {
            let mut changed = input.clone();
            for _ in 0..3 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (random >> 33) as usize % changed.len();
                changed[at] = (random >> 16) as u8;
            }
            check(&changed);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "there is no corpus for {target}");
}

#[test]
fn elf() {
    replay("elf", fuzz::elf);
}

#[test]
fn companions() {
    replay("companions", fuzz::companions);
}

#[test]
fn dwarf() {
    replay("dwarf", fuzz::dwarf);
}

#[test]
fn pclntab() {
    replay("pclntab", fuzz::pclntab);
}

#[test]
fn mangled() {
    replay("mangled", fuzz::mangled);
}
