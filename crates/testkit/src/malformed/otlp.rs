//! Requests of OTLP, sound ones of both layouts and wrong ones, written by hand.

use super::Wrong;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A varint with its tag.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// Bytes with tag and length.
pub fn bytes(field: u64, body: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2)[..], &varint(body.len() as u64), body].concat()
}

/// A message with tag and length.
pub fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &parts.concat())
}

/// Packed varints.
pub fn packed(field: u64, values: &[u64]) -> Vec<u8> {
    bytes(field, &values.iter().flat_map(|&value| varint(value)).collect::<Vec<_>>())
}

/// Times of a sample.
pub fn times(values: &[u64]) -> Vec<u8> {
    bytes(5, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

/// A 64-bit number of fixed width.
pub fn fixed(field: u64, value: u64) -> Vec<u8> {
    [&varint(field << 3 | 1)[..], &value.to_le_bytes()].concat()
}

const STRINGS: [&str; 12] = [
    "",
    "samples",
    "count",
    "cpu",
    "nanoseconds",
    "main",
    "profile.frame.type",
    "go",
    "process.executable.build_id.gnu",
    "process.executable.build_id.htlhash",
    "retries",
    "indirect",
];

/// Text with tag and length.
pub fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

/// Attributes: 1 frame type, 2 GNU build ID, 3 hash, 4 a number.
fn attributes() -> Vec<Vec<u8>> {
    let attribute = |key: u64, value: Vec<u8>| message(6, &[number(1, key), message(2, &[value])]);
    vec![
        bytes(6, b""),
        attribute(6, text(1, "go")),
        attribute(8, text(1, "abcd")),
        attribute(9, text(1, "ef01")),
        attribute(10, number(3, 7)),
    ]
}

/// Fields of a dictionary.
pub fn dictionary_parts() -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = STRINGS.iter().map(|string| text(5, string)).collect();
    parts.extend(attributes());
    parts.extend([
        bytes(1, b""),
        message(1, &[number(1, 4096), number(2, 8192), number(4, 5), packed(5, &[2, 3])]),
        bytes(2, b""),
        message(
            2,
            &[number(1, 1), number(2, 77), packed(4, &[1]), message(3, &[number(1, 1), number(2, 12)])],
        ),
        message(2, &[number(2, 78)]),
        bytes(3, b""),
        message(3, &[number(2, 5), number(4, 10)]),
        bytes(4, b""),
        message(4, &[bytes(1, &[1; 16]), bytes(2, &[2; 8])]),
        bytes(7, b""),
        message(7, &[packed(1, &[1, 2])]),
    ]);
    parts
}

/// Resource and scope of a request whose text is partly in the dictionary.
pub fn request(samples: &[Vec<u8>], dictionary: &[Vec<u8>]) -> Vec<u8> {
    let mut profile = vec![
        message(1, &[number(1, 1), number(2, 2)]),
        fixed(3, 1000),
        number(4, 500),
        message(5, &[number(1, 3), number(2, 4)]),
        number(6, 50),
    ];
    profile.extend(samples.iter().map(|sample| bytes(2, sample)));
    let resource = message(
        1,
        &[
            message(1, &[text(1, "service.name"), message(2, &[text(1, "shop")])]),
            message(1, &[number(3, 11), message(2, &[number(8, 5)])]),
            message(1, &[text(1, "host.name"), message(2, &[text(1, "n1")])]),
            message(1, &[text(1, "process.pid"), message(2, &[number(3, 9)])]),
            message(
                1,
                &[
                    text(1, "deep"),
                    message(2, &[message(5, &[message(1, &[number(3, 1)]), message(1, &[text(1, "x")])])]),
                ],
            ),
        ],
    );
    let scope = message(2, &[message(1, &[text(1, "./ebpf-profiler")]), message(2, &profile)]);
    [message(1, &[resource, scope]), message(2, dictionary)].concat()
}

/// A sample in the layout of 1.10.
pub fn sample(attributes: &[u64], link: u64, values: &[u64], at: &[u64]) -> Vec<u8> {
    [number(1, 1), packed(2, attributes), number(3, link), packed(4, values), times(at)].concat()
}

/// The same in that of 1.9.
pub fn old_sample(attributes: &[u64], link: u64, values: &[u64], at: &[u64]) -> Vec<u8> {
    [number(1, 1), packed(2, values), packed(3, attributes), number(4, link), times(at)].concat()
}

/// Requests that are wrong, or whose only profile is.
pub fn cases() -> Vec<Wrong> {
    let sound = || sample(&[4], 1, &[3], &[1001]);
    let of = |sample: Vec<u8>| request(&[sample], &dictionary_parts());
    let with = |part: Vec<u8>| {
        let mut parts = dictionary_parts();
        parts.push(part);
        request(&[sound()], &parts)
    };
    let whole = of(sound());
    let cases = vec![
        ("cut-short", whole[..whole.len() - 5].to_vec(), "request: cut short at byte"),
        (
            "no-protobuf",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            "request: varint of more than 64 bits",
        ),
        (
            "request-of-number",
            number(1, 5),
            "request: resource_profiles has the wrong wire type or is cut short at byte 2",
        ),
        (
            "no-dictionary",
            request(&[sound()], &[]),
            "resource_profiles[0]: string index 11 is out of range (0)",
        ),
        (
            "stack-out-of-range",
            of([number(1, 9), packed(4, &[1])].concat()),
            "samples[0]: stack index 9 is out of range (2)",
        ),
        (
            "attribute-out-of-range",
            of(sample(&[50], 0, &[1], &[])),
            "samples[0]: attribute index 50 is out of range (5)",
        ),
        ("link-out-of-range", of(sample(&[], 5, &[1], &[])), "samples[0]: link index 5 is out of range (2)"),
        ("values-and-times", of(sample(&[4], 1, &[3, 4], &[1001])), "samples[0]: 2 values for 1 times"),
        (
            "sample-of-number",
            of([number(1, 1), fixed(2, 1)].concat()),
            "samples[0]: attribute_indices (up to 1.9: values) has the wrong wire type",
        ),
        (
            "location-out-of-range",
            with(message(7, &[packed(1, &[1, 9])])),
            "dictionary.stack_table[2]: location index 9 is out of range (3)",
        ),
        (
            "mapping-out-of-range",
            with(message(2, &[number(1, 9)])),
            "dictionary.location_table[3]: mapping index 9 is out of range (2)",
        ),
        (
            "function-out-of-range",
            with(message(2, &[message(3, &[number(1, 9)])])),
            "dictionary.location_table[3]: function index 9 is out of range (2)",
        ),
        (
            "string-out-of-range",
            with(message(3, &[number(1, 99)])),
            "dictionary.function_table[2]: string index 99 is out of range (12)",
        ),
        (
            "key-out-of-range",
            with(message(6, &[number(1, 99)])),
            "dictionary.attribute_table[5]: string index 99 is out of range (12)",
        ),
        (
            "short-trace",
            with(message(4, &[bytes(1, &[1; 4])])),
            "dictionary.link_table[2]: an id of 4 bytes instead of 16",
        ),
        (
            "deep-stack",
            with(message(7, &[packed(1, &vec![1; 10_000])])),
            "dictionary.stack_table[2]: 8193 locations or more in one stack, the limit is 8192",
        ),
        ("many-attributes", of(many_attributes()), "attribute index 5 is out of range (5)"),
    ];
    cases
        .into_iter()
        .map(|(name, request, refusal)| Wrong { name, messages: vec![request], refusal })
        .collect()
}

fn many_attributes() -> Vec<u8> {
    let indices: Vec<u64> = (0..100_000).map(|i| i % 6).collect();
    sample(&indices, 1, &[3], &[1001])
}

/// A request with so many attributes of its sample, all different.
pub fn with_attributes(count: u64) -> Vec<u8> {
    let (mut parts, first) = (dictionary_parts(), attributes().len() as u64);
    for i in 0..count {
        parts.push(text(5, &format!("key{i}")));
        parts.push(message(6, &[number(1, STRINGS.len() as u64 + i), message(2, &[number(3, 1)])]));
    }
    let indices: Vec<u64> = (first..first + count).collect();
    request(&[sample(&indices, 1, &[3], &[1001])], &parts)
}
