use std::sync::Arc;

use decima_symbols::{Frame, Function, Source, Symbols, Unresolved};

use super::*;

fn answer(name: &str, line: u32) -> Answer {
    let function = |name: &str, filename: &str| Function {
        name: name.to_owned(),
        system_name: format!("_Z{name}"),
        filename: filename.to_owned(),
        start_line: 1,
    };
    let inner = Arc::new(Function { system_name: "inner".to_owned(), ..function("inner", "a.c") });
    let frames = vec![
        Frame { function: inner, line, column: 3 },
        Frame { function: Arc::new(function(name, "b.c")), line: 9, column: 0 },
    ];
    Answer::Resolved(Arc::new(Symbols { frames, source: Source::Dwarf }))
}

fn name(build_id: &str, objects: &str) -> AnswersName {
    AnswersName::new(&BuildId::parse(build_id).unwrap(), objects, Mode::Simple)
}

fn load(cache: &AnswerCache, name: &AnswersName) -> Vec<(u64, Answer)> {
    let mut found = Vec::new();
    cache.load(name, |address, answer| found.push((address, answer)));
    found
}

fn answers() -> Vec<(u64, Answer)> {
    vec![
        (1, answer("f", 7)),
        (u64::MAX, answer("g", 8)),
        (3, answer("f", 70)),
        (4, Answer::Unresolved(Unresolved::InNoFunction)),
    ]
}

#[test]
fn answers_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let open = || AnswerCache::open(folder.path().to_owned(), 1 << 20).unwrap();
    let (all, here) = (answers(), name("abcd", "one"));
    let cache = open();
    assert_eq!(load(&cache, &here), []);
    cache.append(&here, &all[..2]).unwrap();
    cache.append(&here, &all[2..]).unwrap();
    let cache = open();
    assert_eq!(load(&cache, &here), all);
    assert!(cache.size_bytes() > 0);
    // Other object files, or names shown otherwise: nothing of it is true any more.
    assert_eq!(load(&cache, &name("abc", "one")), []);
    assert_eq!(load(&cache, &name("abcd", "two")), []);
    assert_eq!((load(&cache, &here), cache.size_bytes()), (Vec::new(), 0));
    let templates = AnswersName::new(&BuildId::parse("abcd").unwrap(), "one", Mode::Templates);
    assert_ne!(templates, here);
}

/// Whatever happens to a byte, answers are those that were kept, or missing.
#[test]
fn damage_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let cache = AnswerCache::open(folder.path().to_owned(), 1 << 20).unwrap();
    let (all, here) = (answers(), name("abcd", "one"));
    let path = folder.path().join(&here.0);
    cache.append(&here, &all[..2]).unwrap();
    let first = fs::read(&path).unwrap().len();
    cache.append(&here, &all[2..]).unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for end in [None, Some(at)] {
            let mut bytes = whole.clone();
            match end {
                Some(end) => bytes.truncate(end),
                None => bytes[at] ^= 0x41,
            }
            fs::write(&path, &bytes).unwrap();
            let cache = AnswerCache::open(folder.path().to_owned(), 1 << 20).unwrap();
            let expected = match at {
                _ if at < MAGIC.len() => &[][..],
                _ if at < first => &[][..],
                _ => &all[..2],
            };
            assert_eq!(load(&cache, &here), expected, "{at} {end:?}");
            // It goes on from there.
            cache.append(&here, &all[2..]).unwrap();
            let cache = AnswerCache::open(folder.path().to_owned(), 1 << 20).unwrap();
            assert_eq!(load(&cache, &here), [expected, &all[2..]].concat(), "{at} {end:?}");
        }
    }
}

#[test]
fn within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let size = {
        let folder = tempfile::tempdir().unwrap();
        let cache = AnswerCache::open(folder.path().to_owned(), 1 << 20).unwrap();
        cache.append(&name("abcd", ""), &answers()).unwrap();
        cache.size_bytes()
    };
    let bytes_max = size * 3 + size / 2;
    let cache = AnswerCache::open(folder.path().to_owned(), bytes_max).unwrap();
    let names = ["aaaa", "bbbb", "cccc", "dddd"].map(|build_id| name(build_id, ""));
    for one in &names[..3] {
        cache.append(one, &answers()).unwrap();
    }
    assert_eq!(load(&cache, &names[0]).len(), 4);
    cache.append(&names[3], &answers()).unwrap();
    let held = names.each_ref().map(|name| folder.path().join(&name.0).exists());
    assert_eq!(held, [true, false, true, true], "the one used longest ago goes");
    // One program has half of it at most.
    cache.append(&names[0], &answers()).unwrap();
    assert_eq!(load(&cache, &names[0]).len(), 4);
    assert_eq!(cache.size_bytes(), size * 3);
    let cache = AnswerCache::open(folder.path().to_owned(), 0).unwrap();
    assert_eq!((cache.size_bytes(), fs::read_dir(folder.path()).unwrap().count()), (0, 0));
}
