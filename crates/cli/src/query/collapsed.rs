//! Stacktraces as lines `root;…;leaf value`, the input of flame graph scripts.

use std::collections::BTreeMap;

use decima_profile::{
    SampleBatch, compression,
    pprof::{self, Limits},
};

/// Larger reports are not given by the store.
const PROFILE_BYTES_MAX: usize = 1 << 30;

/// The lines of a compressed pprof profile, sorted; those of the same frames are summed.
pub(crate) fn lines(profile: &[u8]) -> anyhow::Result<String> {
    let batch =
        pprof::decode(compression::decompress(profile, PROFILE_BYTES_MAX)?, &Limits::default())?.batch;
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for series in &batch.series {
        for (&stacktrace, &value) in series.stacktraces.iter().zip(&series.values) {
            let sum = sums.entry(line(&batch, stacktrace)).or_default();
            *sum = sum.saturating_add(value);
        }
    }
    Ok(sums.into_iter().map(|(frames, value)| format!("{frames} {value}\n")).collect())
}

/// Frames of a stacktrace, root first. Semicolons and line ends in names would end a frame, so they are replaced.
fn line(batch: &SampleBatch, stacktrace: u32) -> String {
    let mut frames = Vec::new();
    for &id in batch.stacktrace(stacktrace).iter().rev() {
        let location = &batch.locations[id as usize];
        let lines = &batch.lines[location.first_line as usize..][..location.line_count as usize];
        if lines.is_empty() {
            frames.push(format!("{:#x}", location.address));
        }
        // Lines run from the innermost inlined function outwards.
        for line in lines.iter().rev() {
            let name = batch.strings.get(batch.functions[line.function as usize].name);
            frames.push(name.replace([';', '\n', '\r'], ":"));
        }
    }
    frames.join(";")
}

#[cfg(test)]
mod tests {
    use decima_testkit::pprof::ProfileBuilder;

    use super::*;

    #[test]
    fn frames_run_from_the_root() {
        let profile = ProfileBuilder::cpu()
            .sample(&["leaf", "middle", "main"], &[3])
            .sample(&["main"], &[2])
            .sample(&["a;b", "main"], &[1])
            .gzip();
        assert_eq!(lines(&profile).unwrap(), "main 2\nmain;a:b 1\nmain;middle;leaf 3\n");
    }
}
