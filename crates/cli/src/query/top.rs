//! Functions by flat value, as a table for people and as JSON for programs.

use decima_proto::parca::query::v1alpha1::{Top, TopNode};
use serde_json::{Value, json};

/// A table of the first `rows` functions (0 = all), with shares of the total.
pub(crate) fn table(report: &Top, total: i64, rows: usize) -> String {
    let shown = if rows == 0 { report.list.len() } else { rows.min(report.list.len()) };
    let mut text = format!("total {}, {} functions\n", quantity(total, &report.unit), report.list.len());
    if shown > 0 {
        text += &format!("{:>12} {:>6} {:>12} {:>6}  function\n", "flat", "flat%", "cum", "cum%");
    }
    for node in &report.list[..shown] {
        text += &format!(
            "{:>12} {:>6} {:>12} {:>6}  {}\n",
            quantity(node.flat, &report.unit),
            share(node.flat, total),
            quantity(node.cumulative, &report.unit),
            share(node.cumulative, total),
            name(node),
        );
    }
    if shown < report.list.len() {
        text += &format!("{} more (--rows=0 shows all)\n", report.list.len() - shown);
    }
    text
}

/// All functions. Values are numbers in the unit of the profile.
pub(crate) fn json(report: &Top, total: i64) -> Value {
    let function = |node: &TopNode| {
        let meta = node.meta.as_ref();
        let function = meta.and_then(|meta| meta.function.as_ref());
        let mapping = meta.and_then(|meta| meta.mapping.as_ref());
        json!({
            "function": name(node),
            "file": function.map(|function| function.filename.as_str()).unwrap_or_default(),
            "binary": mapping.map(|mapping| mapping.file.as_str()).unwrap_or_default(),
            "flat": node.flat,
            "cumulative": node.cumulative,
        })
    };
    json!({
        "unit": report.unit,
        "total": total,
        "functions": report.list.iter().map(function).collect::<Vec<_>>(),
    })
}

/// The function's name, or where its code is.
fn name(node: &TopNode) -> String {
    let Some(meta) = &node.meta else { return "(unknown)".to_owned() };
    let function =
        meta.function.as_ref().map(|function| function.name.as_str()).filter(|name| !name.is_empty());
    if let Some(function) = function {
        return function.to_owned();
    }
    let address = meta.location.as_ref().map(|location| location.address).unwrap_or_default();
    let file = meta.mapping.as_ref().and_then(|mapping| mapping.file.rsplit('/').next()).unwrap_or_default();
    match (file, address) {
        ("", 0) => "(unknown)".to_owned(),
        ("", address) => format!("{address:#x}"),
        (file, address) => format!("{file} {address:#x}"),
    }
}

fn share(value: i64, total: i64) -> String {
    if total == 0 { "-".to_owned() } else { format!("{:.1}%", 100.0 * value as f64 / total as f64) }
}

/// A value in the largest unit that leaves a number above 1.
fn quantity(value: i64, unit: &str) -> String {
    let scales: &[(f64, &str)] = match unit {
        "nanoseconds" => &[(3.6e12, "h"), (6e10, "min"), (1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
        "bytes" => &[(f64::from(1 << 30), "GiB"), (f64::from(1 << 20), "MiB"), (1024.0, "KiB"), (1.0, "B")],
        _ => return value.to_string(),
    };
    let found = scales.iter().find(|(scale, _)| value.unsigned_abs() as f64 >= *scale);
    match found {
        Some(&(1.0, unit)) => format!("{value}{unit}"),
        Some(&(scale, unit)) => format!("{:.2}{unit}", value as f64 / scale),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use decima_proto::parca::{
        metastore::v1alpha1::{Function, Location, Mapping},
        query::v1alpha1::TopNodeMeta,
    };

    use super::*;

    fn report() -> Top {
        let named = TopNodeMeta {
            function: Some(Function {
                name: "main.work".to_owned(),
                filename: "/src/main.go".to_owned(),
                ..Function::default()
            }),
            ..TopNodeMeta::default()
        };
        let address = TopNodeMeta {
            location: Some(Location { address: 0x1234, ..Location::default() }),
            mapping: Some(Mapping { file: "/usr/lib/libc.so.6".to_owned(), ..Mapping::default() }),
            ..TopNodeMeta::default()
        };
        Top {
            list: vec![
                TopNode { meta: Some(named), cumulative: 4_000_000_000, flat: 3_000_000_000, diff: 0 },
                TopNode { meta: Some(address), cumulative: 1_000_000_000, flat: 1_000_000_000, diff: 0 },
            ],
            unit: "nanoseconds".to_owned(),
            ..Top::default()
        }
    }

    #[test]
    fn tables() {
        let text = table(&report(), 4_000_000_000, 0);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "total 4.00s, 2 functions",
                "flat  flat%          cum   cum%  function",
                "3.00s  75.0%        4.00s 100.0%  main.work",
                "1.00s  25.0%        1.00s  25.0%  libc.so.6 0x1234",
            ]
        );
        assert!(table(&report(), 4_000_000_000, 1).ends_with("1 more (--rows=0 shows all)\n"));
        assert_eq!(table(&Top::default(), 0, 40), "total 0, 0 functions\n");
    }

    #[test]
    fn json_has_plain_numbers() {
        let value = json(&report(), 4_000_000_000);
        assert_eq!(value["total"], 4_000_000_000_i64);
        assert_eq!(value["functions"][0]["flat"], 3_000_000_000_i64);
        assert_eq!(value["functions"][1]["function"], "libc.so.6 0x1234");
    }

    #[test]
    fn quantities() {
        let check = |value, unit, expected: &str| assert_eq!(quantity(value, unit), expected);
        check(1_500_000, "nanoseconds", "1.50ms");
        check(999, "nanoseconds", "999ns");
        check(-2_000_000_000, "nanoseconds", "-2.00s");
        check(0, "nanoseconds", "0");
        check(3 << 20, "bytes", "3.00MiB");
        check(12, "count", "12");
    }
}
