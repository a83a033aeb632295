//! Which samples of a batch are within the accepted times. Pure: the times are arguments.

use decima_profile::{
    SampleBatch,
    batch::{AttributeValues, SeriesSamples},
};

/// Accepted times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) oldest_ns: i64,
    pub(crate) newest_ns: i64,
}

/// Drops samples outside the accepted times; returns how many.
pub(crate) fn drop_outside(batch: &mut SampleBatch, accepted: Accepted) -> u64 {
    let inside = |t: i64| accepted.oldest_ns <= t && t <= accepted.newest_ns;
    let mut dropped = 0;
    for series in &mut batch.series {
        if series.times_ns.iter().all(|&t| inside(t)) {
            continue;
        }
        if series.times_ns.len() == 1 {
            dropped += series.values.len() as u64;
            clear(series);
            continue;
        }
        let keep: Vec<bool> = series.times_ns.iter().map(|&t| inside(t)).collect();
        dropped += keep.iter().filter(|k| !**k).count() as u64;
        retain(&mut series.times_ns, &keep);
        retain(&mut series.stacktraces, &keep);
        retain(&mut series.values, &keep);
        for attribute in &mut series.attributes {
            match &mut attribute.values {
                AttributeValues::Text(v) => retain(v, &keep),
                AttributeValues::Integer { values, .. } => retain(values, &keep),
            }
        }
    }
    dropped
}

fn clear(series: &mut SeriesSamples) {
    series.stacktraces.clear();
    series.values.clear();
    series.attributes.clear();
}

fn retain<T>(rows: &mut Vec<T>, keep: &[bool]) {
    let mut at = 0;
    rows.retain(|_| {
        at += 1;
        keep[at - 1]
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(times: &[i64], values: &[i64]) -> SampleBatch {
        SampleBatch {
            series: vec![SeriesSamples {
                profile_type: Default::default(),
                labels: Vec::new(),
                period: 0,
                duration_ns: 0,
                times_ns: times.to_vec(),
                stacktraces: vec![0; values.len()],
                values: values.to_vec(),
                attributes: Vec::new(),
            }],
            ..SampleBatch::default()
        }
    }

    fn check(times: &[i64], values: &[i64], kept: &[i64], dropped: u64) {
        let mut batch = batch(times, values);
        let got = drop_outside(&mut batch, Accepted { oldest_ns: 10, newest_ns: 20 });
        assert_eq!((batch.series[0].values.as_slice(), got), (kept, dropped), "{times:?}");
    }

    #[test]
    fn by_time() {
        check(&[10], &[1, 2], &[1, 2], 0);
        check(&[9], &[1, 2], &[], 2);
        check(&[21], &[1], &[], 1);
        check(&[9, 10, 20, 21], &[1, 2, 3, 4], &[2, 3], 2);
    }
}
