//! Some lives, quickly.

use decima_sim::life;

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..6 {
        let (first, second) = (life::run(seed), life::run(seed));
        let differs = first.journal.iter().zip(&second.journal).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&first.journal[at], &second.journal[at])), None, "seed {seed}");
        assert_eq!(first.journal.len(), second.journal.len(), "seed {seed}");
    }
    assert_ne!(life::run(1).journal, life::run(2).journal);
}

#[test]
fn no_life_breaks_the_model() {
    let failures: Vec<String> =
        (0..200).filter_map(|seed| Some(format!("seed {seed}: {}", life::run(seed).failure?))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_full_disk_frees_itself() {
    let failures: Vec<String> = (0..6)
        .filter_map(|seed| Some(format!("seed {seed}: {}", life::run_on_a_full_disk(seed).failure?)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
