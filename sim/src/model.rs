//! What must be readable: a ledger of the requests, and the rules that a store's contents are held against.
//!
//! Each sample has a time of its own, by which its request is known. Where samples became sums of a time bucket that is no longer so;
//! then the sums are held against the least and the most that the requests of the hour can have added.

use std::collections::BTreeMap;

use decima_profile::SampleBatch;
use decima_testkit::random::Random;

use crate::{
    batches::{Row, batch},
    drops::Drops,
};

const STACKS: [&[&str]; 6] = [
    &["leaf", "middle", "root"],
    &["middle", "root"],
    &["other", "kernel_entry", "root"],
    &["root"],
    &["leaf", "deep", "deep", "deep", "middle", "root"],
    &[],
];
const SERVICES: [&str; 3] = ["api", "web", "batch"];
const ROUTES: [&str; 4] = ["", "", "/a", "/b"];
const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600 * SECOND_NS;
/// Samples of a request at most; each takes a nanosecond.
const ROWS_MAX: usize = 5;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its sender has not heard yet, or heard of a failure: it may be stored or not.
    Unknown,
    /// Its sender was told that it is stored.
    Acknowledged,
}

/// A request and what it adds.
pub(crate) struct Request {
    pub(crate) service: &'static str,
    pub(crate) rows: Vec<Row>,
    pub(crate) state: State,
    /// When it was first sent, by the clock: for an hour it may be sent again.
    pub(crate) sent_ns: i64,
    contents: BTreeMap<String, i64>,
}

impl Request {
    pub(crate) fn batch(&self) -> SampleBatch {
        batch(self.service, &self.rows)
    }

    /// Whether all of it may have gone for space.
    pub(crate) fn may_have_gone(&self, drops: &Drops) -> bool {
        self.rows.iter().all(|row| drops.may_have_had(row.1))
    }

    fn oldest_ns(&self) -> i64 {
        self.rows.iter().map(|row| row.1).min().unwrap_or_default()
    }
}

/// All requests, by number.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) requests: Vec<Request>,
}

/// Key of a sample among [`contents`](crate::batches::read).
fn key(service: &str, row: &Row) -> String {
    let (stack, time_ns, _, route) = row;
    let names: Vec<&str> = stack.iter().rev().copied().collect();
    format!("{service};{};{route}@{time_ns}", names.join(";"))
}

fn time_ns(key: &str) -> Option<i64> {
    key.rsplit_once('@')?.1.parse().ok()
}

/// Number of the request that a key is of; `None` if it is of none, or of several that became a sum.
fn number(key: &str) -> Option<usize> {
    let of_second = time_ns(key)?.rem_euclid(SECOND_NS) as usize;
    // A bucket begins with a second, in which no request has a sample.
    of_second.checked_sub(1).map(|number| number / ROWS_MAX)
}

/// Service, stacktrace and hour of a key: what stays of it in a sum.
fn hour(key: &str) -> Option<(String, i64)> {
    let stacktrace = key.rsplit_once(';')?.0.to_owned();
    Some((stacktrace, time_ns(key)?.div_euclid(HOUR_NS)))
}

impl Ledger {
    /// A new request, whose samples are about as old as said.
    pub(crate) fn add(&mut self, random: &mut Random, now_ns: i64, age_ns: i64) -> usize {
        let number = self.requests.len();
        let service = random.pick(&SERVICES);
        let second_ns = (now_ns - age_ns).div_euclid(SECOND_NS) * SECOND_NS;
        let rows: Vec<Row> = (0..1 + random.below(ROWS_MAX))
            .map(|at| {
                let time_ns = second_ns + (1 + number * ROWS_MAX + at) as i64;
                (
                    STACKS[random.below(STACKS.len())],
                    time_ns,
                    1 + random.below(1000) as i64,
                    ROUTES[random.below(4)],
                )
            })
            .collect();
        let contents = rows.iter().map(|row| (key(service, row), row.2)).collect();
        self.requests.push(Request { service, rows, state: State::Unknown, sent_ns: now_ns, contents });
        number
    }

    /// The requests that are acknowledged by now.
    pub(crate) fn acknowledged(&self) -> Vec<usize> {
        let is = |request: &Request| request.state == State::Acknowledged;
        (0..).zip(&self.requests).filter(|(_, request)| is(request)).map(|(number, _)| number).collect()
    }

    /// Holds what was read against the model: `must` is there, whatever is there was sent, is whole, and is there once.
    ///
    /// What is older than `oldest_ns` may be gone, in whole or in part.
    pub(crate) fn check(
        &self,
        found: &BTreeMap<String, i64>,
        must: &[usize],
        oldest_ns: i64,
    ) -> Result<(), String> {
        let of_request = self.check_samples(found)?;
        for (&number, &count) in &of_request {
            let request = &self.requests[number];
            if count != request.contents.len() && request.oldest_ns() >= oldest_ns {
                return Err(format!(
                    "request {number} has {count} of its {} samples",
                    request.contents.len()
                ));
            }
        }
        let lost = must.iter().find(|number| {
            self.requests[**number].oldest_ns() >= oldest_ns && !of_request.contains_key(*number)
        });
        lost.map_or(Ok(()), |number| Err(format!("request {number} was acknowledged and is lost")))
    }

    /// The same where old samples may have become sums of buckets of up to an hour.
    pub(crate) fn check_sums(
        &self,
        found: &BTreeMap<String, i64>,
        must: &[usize],
        oldest_ns: i64,
    ) -> Result<(), String> {
        let is_sum =
            |key: &String| time_ns(key).is_some_and(|time_ns| time_ns.rem_euclid(10 * SECOND_NS) == 0);
        let samples = found.iter().filter(|(key, _)| !is_sum(key)).map(|(key, value)| (key.clone(), *value));
        self.check_samples(&samples.collect())?;
        let mut sums: BTreeMap<(String, i64), [i64; 3]> = BTreeMap::new();
        let mut add = |key: &str, at: usize, value: i64| {
            if let Some(hour) = hour(key) {
                sums.entry(hour).or_default()[at] += value;
            }
        };
        for (number, request) in self.requests.iter().enumerate() {
            for (key, value) in &request.contents {
                let is_kept = time_ns(key).is_some_and(|time_ns| time_ns >= oldest_ns);
                let least = if is_kept && must.contains(&number) { *value } else { 0 };
                add(key, 0, least);
                add(key, 2, *value);
            }
        }
        for (key, value) in found {
            add(key, 1, *value);
        }
        let wrong = sums.into_iter().find(|(_, [least, found, most])| !(least..=most).contains(&found));
        wrong.map_or(Ok(()), |((stacktrace, hour), [least, found, most])| {
            Err(format!("{stacktrace} in hour {hour} is {found}, which is not between {least} and {most}"))
        })
    }

    /// Holds samples against what was sent, and gives their number by request.
    fn check_samples(&self, found: &BTreeMap<String, i64>) -> Result<BTreeMap<usize, usize>, String> {
        let mut of_request: BTreeMap<usize, usize> = BTreeMap::new();
        for (key, value) in found {
            let request = number(key).and_then(|number| Some((number, self.requests.get(number)?)));
            let Some((number, request)) = request else { return Err(format!("{key} was never sent")) };
            match request.contents.get(key) {
                None => return Err(format!("{key} is not what request {number} sent")),
                Some(sent) if sent != value => {
                    return Err(format!("request {number}: {key} is {value}, sent was {sent}"));
                }
                Some(_) => *of_request.entry(number).or_default() += 1,
            }
        }
        Ok(of_request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (Ledger, BTreeMap<String, i64>) {
        let mut ledger = Ledger::default();
        let mut random = Random::of(&[1]);
        let mut all = BTreeMap::new();
        for _ in 0..20 {
            let number = ledger.add(&mut random, 1_700_000_000_000_000_000, 5_000_000_000);
            ledger.requests[number].state = State::Acknowledged;
            all.extend(ledger.requests[number].contents.clone());
        }
        (ledger, all)
    }

    fn check(change: impl FnOnce(&mut Ledger, &mut BTreeMap<String, i64>), expected: &str) {
        let (mut ledger, mut found) = ledger();
        let must = ledger.acknowledged();
        change(&mut ledger, &mut found);
        let said = ledger.check(&found, &must, i64::MIN).err().unwrap_or_default();
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
    }

    #[test]
    fn each_rule_can_be_broken() {
        check(|_, _| {}, "");
        check(
            |_, found| found.retain(|key, _| number(key) != Some(7)),
            "request 7 was acknowledged and is lost",
        );
        check(|_, found| *found.values_mut().next().unwrap() *= 2, "sent was");
        check(|ledger, _| drop(ledger.requests.pop()), "was never sent");
        check(
            |ledger, found| {
                let part = ledger.requests.iter().find(|request| request.rows.len() > 1).unwrap();
                found.remove(&key(part.service, &part.rows[0]));
            },
            "of its",
        );
        check(
            |_, found| found.extend([("api;x;@1700000000000000004".to_owned(), 1)]),
            "is not what request 0 sent",
        );
    }

    #[test]
    fn what_is_too_old_may_be_gone() {
        let (ledger, _) = ledger();
        let must = ledger.acknowledged();
        assert!(ledger.check(&BTreeMap::new(), &must, i64::MAX).is_ok());
        assert!(ledger.check_sums(&BTreeMap::new(), &must, i64::MAX).is_ok());
    }

    #[test]
    fn sums_are_between_what_must_and_what_may_be_there() {
        let (mut ledger, found) = ledger();
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (key, value) in &found {
            let (stacktrace, hour) = hour(key).unwrap();
            *sums.entry(format!("{stacktrace};@{}", hour * HOUR_NS)).or_default() += value;
        }
        let check = |ledger: &Ledger, sums: &BTreeMap<String, i64>| {
            ledger.check_sums(sums, &ledger.acknowledged(), i64::MIN)
        };
        assert_eq!(check(&ledger, &found), Ok(()));
        assert_eq!(check(&ledger, &sums), Ok(()));
        let key = sums.keys().next().unwrap().clone();
        for wrong in [-1, 1] {
            let mut sums = sums.clone();
            *sums.get_mut(&key).unwrap() += wrong;
            assert!(check(&ledger, &sums).is_err());
        }
        let mut less = sums.clone();
        for (key, value) in &ledger.requests[3].contents {
            let (stacktrace, hour) = hour(key).unwrap();
            *less.get_mut(&format!("{stacktrace};@{}", hour * HOUR_NS)).unwrap() -= value;
        }
        assert!(check(&ledger, &less).is_err());
        ledger.requests[3].state = State::Unknown;
        assert_eq!(check(&ledger, &less), Ok(()));
        assert_eq!(check(&ledger, &sums), Ok(()));
    }
}
