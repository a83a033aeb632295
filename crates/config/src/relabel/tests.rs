use super::*;

fn rule(fields: &[(&str, &str)]) -> RuleFields {
    let mut rule = RuleFields::default();
    for &(field, value) in fields {
        let value = value.to_owned();
        match field {
            "source_labels" => rule.source_labels = value.split(',').map(str::to_owned).collect(),
            "separator" => rule.separator = Some(value),
            "regex" => rule.regex = Some(value),
            "modulus" => rule.modulus = Some(value.parse().unwrap()),
            "target_label" => rule.target_label = Some(value),
            "replacement" => rule.replacement = Some(value),
            "action" => rule.action = Some(value),
            other => panic!("{other}"),
        }
    }
    rule
}

fn parse(text: &str) -> Labels {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `expected` is `None` when the target is to be dropped.
fn check(before: &str, rules: &[&[(&str, &str)]], expected: Option<&str>) {
    let rules: Vec<Rule> = rules.iter().map(|fields| rule(fields).check().unwrap()).collect();
    let mut labels = parse(before);
    let kept = relabel(&mut labels, &rules);
    let got = kept.then_some(labels);
    assert_eq!(got, expected.map(parse), "{before} {rules:?}");
}

#[test]
fn replace() {
    let before = "a=foo b=bar c=baz";
    check(
        before,
        &[&[
            ("source_labels", "a"),
            ("regex", "f(.*)"),
            ("target_label", "d"),
            ("replacement", "ch${1}-ch${1}"),
        ]],
        Some("a=foo b=bar c=baz d=choo-choo"),
    );
    check(
        before,
        &[&[
            ("source_labels", "a,b"),
            ("regex", "f(.*);(.*)r"),
            ("target_label", "a"),
            ("replacement", "b${1}${2}m"),
        ]],
        Some("a=boobam b=bar c=baz"),
    );
    // Anchored: a part of the value is not a match.
    check(
        before,
        &[&[("source_labels", "a"), ("regex", "o"), ("target_label", "d"), ("replacement", "x")]],
        Some(before),
    );
    // Without a source the empty text is matched, so a constant can be set.
    check(before, &[&[("target_label", "d"), ("replacement", "x")]], Some("a=foo b=bar c=baz d=x"));
    // An empty result removes the label.
    check(
        before,
        &[&[("source_labels", "a"), ("regex", "(f).*"), ("target_label", "a"), ("replacement", "$2")]],
        Some("b=bar c=baz"),
    );
    // The target's name may come from a group; one that comes out empty changes nothing.
    check(
        before,
        &[&[("source_labels", "a"), ("regex", "(f)(o+)"), ("target_label", "x_$1"), ("replacement", "$2")]],
        Some("a=foo b=bar c=baz x_f=oo"),
    );
    check(
        before,
        &[&[("source_labels", "a"), ("regex", "(f)(o+)"), ("target_label", "$3"), ("replacement", "x")]],
        Some(before),
    );
    // `$1x` is the group named `1x`.
    check(
        before,
        &[&[("source_labels", "a"), ("target_label", "a"), ("replacement", "$1x")]],
        Some("b=bar c=baz"),
    );
    check(
        before,
        &[&[("source_labels", "a,c"), ("separator", "/"), ("target_label", "d")]],
        Some("a=foo b=bar c=baz d=foo/baz"),
    );
    // Alternatives are anchored as a whole.
    check(
        "a=foobar",
        &[&[("source_labels", "a"), ("regex", "foo|bar"), ("action", "drop")]],
        Some("a=foobar"),
    );
}

#[test]
fn keep_and_drop() {
    check("a=foo", &[&[("source_labels", "a"), ("regex", ".*o.*"), ("action", "drop")]], None);
    check("a=foo", &[&[("source_labels", "a"), ("regex", "f|o"), ("action", "drop")]], Some("a=foo"));
    check("a=foo", &[&[("source_labels", "a"), ("regex", "no"), ("action", "keep")]], None);
    check("a=foo", &[&[("source_labels", "a"), ("regex", "f.*"), ("action", "Keep")]], Some("a=foo"));
    check("a=foo", &[&[("source_labels", "missing"), ("regex", ""), ("action", "keep")]], Some("a=foo"));
    // Later rules see what earlier ones made.
    check(
        "a=foo",
        &[
            &[("target_label", "b"), ("replacement", "x")],
            &[("source_labels", "b"), ("regex", "x"), ("action", "drop")],
        ],
        None,
    );
}

#[test]
fn equal() {
    check(
        "a=1 b=1",
        &[&[("source_labels", "a"), ("target_label", "b"), ("action", "keepequal")]],
        Some("a=1 b=1"),
    );
    check("a=1 b=2", &[&[("source_labels", "a"), ("target_label", "b"), ("action", "keepequal")]], None);
    check("a=1 b=1", &[&[("source_labels", "a"), ("target_label", "b"), ("action", "dropequal")]], None);
    check(
        "a=1 b=2",
        &[&[("source_labels", "a"), ("target_label", "b"), ("action", "dropequal")]],
        Some("a=1 b=2"),
    );
}

#[test]
fn hashmod_is_prometheus_hash() {
    // The values of Prometheus' own tests.
    check(
        "a=foo b=bar c=baz",
        &[&[
            ("source_labels", "c"),
            ("target_label", "d"),
            ("separator", ";"),
            ("action", "hashmod"),
            ("modulus", "1000"),
        ]],
        Some("a=foo b=bar c=baz d=976"),
    );
}

#[test]
fn names() {
    check(
        "a=foo b1=bar b2=baz",
        &[&[("regex", "(b.*)"), ("replacement", "bar_${1}"), ("action", "labelmap")]],
        Some("a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz"),
    );
    check(
        "__meta_my_bar=aaa __meta_my_baz=bbb",
        &[&[("regex", "__meta_(my.*)"), ("action", "labelmap")]],
        Some("__meta_my_bar=aaa __meta_my_baz=bbb my_bar=aaa my_baz=bbb"),
    );
    check("a=foo b1=bar b2=baz", &[&[("regex", "(b.*)"), ("action", "labelkeep")]], Some("b1=bar b2=baz"));
    check("a=foo b1=bar b2=baz", &[&[("regex", "(b.*)"), ("action", "labeldrop")]], Some("a=foo"));
}

#[test]
fn case() {
    check(
        "foo=bAr123Foo",
        &[
            &[("source_labels", "foo"), ("action", "uppercase"), ("target_label", "up")],
            &[("source_labels", "foo"), ("action", "lowercase"), ("target_label", "low")],
        ],
        Some("foo=bAr123Foo low=bar123foo up=BAR123FOO"),
    );
}

fn check_refused(fields: &[(&str, &str)], expected: &str) {
    assert_eq!(rule(fields).check().map_err(|e| e.to_string()).unwrap_err(), expected);
}

#[test]
fn refused() {
    check_refused(&[("action", "explode")], "action: unknown relabel action \"explode\"");
    check_refused(
        &[("source_labels", "a")],
        "target_label: relabel configuration for replace action requires 'target_label' value",
    );
    check_refused(
        &[("action", "hashmod"), ("target_label", "b")],
        "modulus: relabel configuration for hashmod requires non-zero modulus",
    );
    check_refused(
        &[("action", "labeldrop"), ("source_labels", "a")],
        "action: labeldrop action requires only 'regex', and no other fields",
    );
    check_refused(
        &[("action", "keepequal"), ("target_label", "b"), ("regex", "x")],
        "action: keepequal action requires only 'source_labels' and 'target_label', and no other fields",
    );
    check_refused(
        &[("action", "keep"), ("regex", "(")],
        "regex: \"(\" is not a regular expression: unclosed group",
    );
    check_refused(
        &[("action", "keep"), ("source_labels", "a,")],
        "source_labels: the name of label 1 is empty",
    );
}

mod properties {
    use proptest::{collection::btree_map, prelude::*, sample::select};

    use super::*;

    /// Names and values from a small alphabet, so that labels meet: rules that match nothing prove nothing.
    fn labels_strategy() -> impl Strategy<Value = Labels> {
        btree_map("[a-c]{1,2}", "[a-cA-Cé;.*]{1,3}", 0..6)
    }

    fn apply(labels: &Labels, fields: &[(&str, &str)]) -> Option<Labels> {
        let mut labels = labels.clone();
        relabel(&mut labels, &[rule(fields).check().unwrap()]).then_some(labels)
    }

    /// What the rule joins, worked out in another way.
    fn joined(labels: &Labels, names: [&str; 2]) -> String {
        let value = |name: &str| labels.get(name).cloned().unwrap_or_default();
        format!("{};{}", value(names[0]), value(names[1]))
    }

    proptest! {
        /// A text that is quoted matches itself and nothing else, whatever is in it.
        #[test]
        fn keep_and_drop_are_opposites(labels in labels_strategy(), other in labels_strategy()) {
            let text = joined(&other, ["a", "b"]);
            let pattern = regex::escape(&text);
            let fields = |action| [("source_labels", "a,b"), ("regex", pattern.as_str()), ("action", action)];
            let same = joined(&labels, ["a", "b"]) == text;
            prop_assert_eq!(apply(&labels, &fields("keep")).is_some(), same);
            prop_assert_eq!(apply(&labels, &fields("drop")).is_none(), same);
        }

        #[test]
        fn equal_actions_are_opposites(labels in labels_strategy()) {
            let same = labels.get("a") == labels.get("b");
            let fields = |action| [("source_labels", "a"), ("target_label", "b"), ("action", action)];
            prop_assert_eq!(apply(&labels, &fields("keepequal")).is_some(), same);
            prop_assert_eq!(apply(&labels, &fields("dropequal")).is_none(), same);
        }

        /// Of stores that share targets by hash, exactly one takes each.
        #[test]
        fn hashmod_shares(labels in labels_strategy(), modulus in 1_u64..8) {
            let modulus_text = modulus.to_string();
            let fields = [
                ("source_labels", "a,b"),
                ("target_label", "shard"),
                ("modulus", modulus_text.as_str()),
                ("action", "hashmod"),
            ];
            let labelled = apply(&labels, &fields).unwrap();
            let takers = (0..modulus).filter(|shard| {
                let shard = shard.to_string();
                let keep = [("source_labels", "shard"), ("regex", shard.as_str()), ("action", "keep")];
                apply(&labelled, &keep).is_some()
            });
            prop_assert_eq!(takers.count(), 1);
        }

        #[test]
        fn labeldrop_and_labelkeep_share_the_labels(labels in labels_strategy(), pattern in select(&["a", "b.", "a.*", "[ab]c?", "x"])) {
            let mut kept = apply(&labels, &[("regex", pattern), ("action", "labelkeep")]).unwrap();
            let dropped = apply(&labels, &[("regex", pattern), ("action", "labeldrop")]).unwrap();
            prop_assert!(kept.keys().all(|name| !dropped.contains_key(name)));
            kept.extend(dropped);
            prop_assert_eq!(kept, labels);
        }

        #[test]
        fn labelmap_copies(labels in labels_strategy()) {
            let mapped = apply(&labels, &[("regex", "(a.?)"), ("replacement", "x_$1"), ("action", "labelmap")]).unwrap();
            let mut expected = labels.clone();
            for (name, value) in labels.iter().filter(|(name, _)| name.starts_with('a')) {
                expected.insert(format!("x_{name}"), value.clone());
            }
            prop_assert_eq!(mapped, expected);
        }

        /// Whatever is replaced, no label is empty: an empty one is none.
        #[test]
        fn replace_copies_and_leaves_nothing_empty(labels in labels_strategy()) {
            let copied = apply(&labels, &[("source_labels", "a"), ("target_label", "t")]).unwrap();
            prop_assert_eq!(copied.get("t"), labels.get("a"));
            prop_assert!(copied.values().all(|value| !value.is_empty()));
            let case = |action| apply(&labels, &[("source_labels", "a"), ("target_label", "t"), ("action", action)]);
            let expected = labels.get("a").map(|value| value.to_lowercase());
            prop_assert_eq!(case("lowercase").unwrap().remove("t"), expected);
        }
    }
}
