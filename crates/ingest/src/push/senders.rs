//! Who pushes: a bounded list with what became of each sender's requests. No clock: callers say what time it is.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Protocol, Refusal};
use crate::otlp::Layout;

/// Senders are not told about after this time without a push, as in Parca.
const EXPIRY: Duration = Duration::from_secs(5 * 60);
/// Their counts are kept for so long: a sender that pauses goes on counting.
const COUNTS_EXPIRY: Duration = Duration::from_secs(24 * 3600);
/// Senders remembered. A sender takes a kilobyte.
const SENDERS_MAX: usize = 10_000;
/// Senders with numbers of their own: each is a dozen series for whoever scrapes the metrics.
const NAMED_MAX: usize = 1000;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The way in.
    pub protocol: Protocol,
    /// The other end of the connection.
    pub address: Option<IpAddr>,
    /// When it came.
    pub received: Instant,
    /// The same as Unix time.
    pub received_ns: i64,
}

/// A sender with its last push.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its `node` label; empty if it has none.
    pub node: String,
    /// Its address.
    pub address: Option<IpAddr>,
    /// When its last push came.
    pub received: Instant,
    /// The same as Unix time.
    pub received_ns: i64,
    /// How long that took.
    pub took: Duration,
    /// Why it, or a part of it, was refused; empty if it was not.
    pub error: String,
    /// Whether metrics have numbers of its own; the first thousand do, the others are counted together
    /// ([`Senders::others`]).
    pub named: bool,
    /// What became of its requests, by way in.
    pub counts: BTreeMap<Protocol, SenderCounts>,
}

impl Sender {
    /// Its `node` label, or its address if it has none.
    pub fn id(&self) -> String {
        match self.address {
            Some(address) if self.node.is_empty() => address.to_string(),
            _ => self.node.clone(),
        }
    }
}

/// What became of a sender's requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SenderCounts {
    /// Requests taken, repeats included.
    pub accepted_requests: u64,
    /// Samples stored.
    pub samples: u64,
    /// Samples left out for their time.
    pub rejected_samples: u64,
    /// Strings that were not UTF-8 and were repaired.
    pub repaired_strings: u64,
    /// Requests refused, by reason.
    pub refused_requests: BTreeMap<Refusal, u64>,
    /// Profiles left out of requests that were taken, by reason.
    pub rejected_profiles: BTreeMap<Refusal, u64>,
}

/// What one push adds.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How long it took.
    pub took: Duration,
    /// Samples stored.
    pub samples: u64,
    /// Samples left out for their time.
    pub rejected_samples: u64,
    /// Strings that were not UTF-8 and were repaired.
    pub repaired_strings: u64,
    /// Why it was refused, if it was.
    pub refused: Option<(Refusal, String)>,
    /// Profiles left out, by reason.
    pub rejected_profiles: BTreeMap<Refusal, u64>,
    /// What was wrong with the first of them; empty if there is none.
    pub rejection: String,
}

impl SenderCounts {
    fn add(&mut self, outcome: &Outcome) {
        self.samples += outcome.samples;
        self.rejected_samples += outcome.rejected_samples;
        self.repaired_strings += outcome.repaired_strings;
        match &outcome.refused {
            None => self.accepted_requests += 1,
            Some((reason, _)) => *self.refused_requests.entry(*reason).or_default() += 1,
        }
        for (reason, profiles) in &outcome.rejected_profiles {
            *self.rejected_profiles.entry(*reason).or_default() += profiles;
        }
    }
}

type Key = (String, Option<IpAddr>);

/// Senders by `node` label and address.
#[derive(Debug, Default)]
pub struct Senders {
    by_key: Mutex<BTreeMap<Key, Sender>>,
    /// Those without numbers of their own, by way in.
    others: Mutex<BTreeMap<Protocol, SenderCounts>>,
    /// What the layout of ambiguous OTLP messages was found to be, by address.
    layouts: Mutex<BTreeMap<IpAddr, Layout>>,
}

impl Senders {
    /// Notes a push. While the list is full, new senders are not listed.
    ///
    /// Uploads of object files and reports of agents that ended do not tell their node. They are those of the node whose
    /// profiles come from the same address, if there is one such node.
    pub fn note(&self, node: &str, origin: &Origin, outcome: Outcome) {
        self.note_within(SENDERS_MAX, node, origin, outcome);
    }

    /// Notes a request that was not let in, whoever sent it. Half of the list is for those who were.
    pub fn note_not_let_in(&self, origin: &Origin, reason: Refusal, message: &str) {
        let refused = Some((reason, message.to_owned()));
        let outcome = Outcome { took: origin.received.elapsed(), refused, ..Outcome::default() };
        self.note_within(SENDERS_MAX / 2, "", origin, outcome);
    }

    fn note_within(&self, senders_max: usize, node: &str, origin: &Origin, outcome: Outcome) {
        let mut by_key = self.by_key.lock();
        let node = match origin.protocol {
            Protocol::Debuginfo | Protocol::Telemetry if node.is_empty() => {
                only_node_at(&by_key, origin.address)
            }
            _ => None,
        }
        .unwrap_or_else(|| node.to_owned());
        let key = (node.clone(), origin.address);
        if !by_key.contains_key(&key) && !make_room(&mut by_key, origin.received, senders_max) {
            drop(by_key);
            self.others.lock().entry(origin.protocol).or_default().add(&outcome);
            return;
        }
        let named =
            by_key.len() < NAMED_MAX || by_key.values().filter(|sender| sender.named).count() < NAMED_MAX;
        let sender = by_key.entry(key).or_insert_with(|| Sender {
            node,
            address: origin.address,
            received: origin.received,
            received_ns: origin.received_ns,
            took: outcome.took,
            error: String::new(),
            named,
            counts: BTreeMap::new(),
        });
        sender.received = origin.received;
        sender.received_ns = origin.received_ns;
        sender.took = outcome.took;
        sender.counts.entry(origin.protocol).or_default().add(&outcome);
        if !sender.named {
            self.others.lock().entry(origin.protocol).or_default().add(&outcome);
        }
        sender.error = outcome.refused.map_or(outcome.rejection, |(_, error)| error);
    }

    /// What became of the requests of senders without numbers of their own.
    pub fn others(&self) -> BTreeMap<Protocol, SenderCounts> {
        self.others.lock().clone()
    }

    /// Senders of the last five minutes before `now`.
    pub fn recent(&self, now: Instant) -> Vec<Sender> {
        let by_key = self.by_key.lock();
        by_key.values().filter(|sender| is_within(sender, now, EXPIRY)).cloned().collect()
    }

    /// All senders that are remembered.
    pub fn all(&self) -> Vec<Sender> {
        self.by_key.lock().values().cloned().collect()
    }

    /// The layout that messages from `address` had last.
    pub(super) fn layout(&self, address: Option<IpAddr>) -> Option<Layout> {
        self.layouts.lock().get(&address?).copied()
    }

    /// Remembers a layout that a message left no doubt about.
    pub(super) fn note_layout(&self, address: Option<IpAddr>, layout: Layout) {
        let Some(address) = address else { return };
        let mut layouts = self.layouts.lock();
        if layouts.len() < SENDERS_MAX || layouts.contains_key(&address) {
            layouts.insert(address, layout);
        }
    }
}

/// The node that sends from an address, if no other one does.
fn only_node_at(by_key: &BTreeMap<Key, Sender>, address: Option<IpAddr>) -> Option<String> {
    let mut nodes = by_key.keys().filter(|(node, at)| *at == address && !node.is_empty());
    nodes.next().filter(|_| nodes.next().is_none()).map(|(node, _)| node.clone())
}

/// Forgets senders as long as there is no room for one more; whether there is now.
fn make_room(by_key: &mut BTreeMap<Key, Sender>, now: Instant, senders_max: usize) -> bool {
    for expiry in [COUNTS_EXPIRY, EXPIRY] {
        if by_key.len() >= SENDERS_MAX {
            by_key.retain(|_, sender| is_within(sender, now, expiry));
        }
    }
    by_key.len() < senders_max
}

fn is_within(sender: &Sender, now: Instant, time: Duration) -> bool {
    now.saturating_duration_since(sender.received) < time
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: Option<IpAddr>, received: Instant) -> Origin {
        Origin { protocol: Protocol::WriteArrow, address, received, received_ns: 7 }
    }

    fn outcome(refused: Option<Refusal>) -> Outcome {
        Outcome {
            took: Duration::from_millis(2),
            samples: 3,
            rejected_samples: 0,
            repaired_strings: 1,
            refused: refused.map(|reason| (reason, "no".to_owned())),
            ..Outcome::default()
        }
    }

    fn ids(senders: &Senders, now: Instant) -> Vec<String> {
        senders.recent(now).iter().map(Sender::id).collect()
    }

    #[test]
    fn forgets_after_five_minutes_but_goes_on_counting() {
        let start = Instant::now();
        let senders = Senders::default();
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        senders.note("a", &origin(address, start), outcome(None));
        senders.note("", &origin(address, start + Duration::from_secs(10)), outcome(None));
        assert_eq!(ids(&senders, start + Duration::from_secs(299)), ["10.0.0.1", "a"]);
        assert_eq!(ids(&senders, start + Duration::from_secs(300)), ["10.0.0.1"]);
        let later = start + Duration::from_secs(600);
        senders.note("a", &origin(address, later), outcome(Some(Refusal::Malformed)));
        assert_eq!(ids(&senders, later), ["a"]);
        let counts = senders.all().pop().unwrap().counts.remove(&Protocol::WriteArrow).unwrap();
        assert_eq!((counts.accepted_requests, counts.samples, counts.repaired_strings), (1, 6, 2));
        assert_eq!(counts.refused_requests, BTreeMap::from([(Refusal::Malformed, 1)]));
    }

    #[test]
    fn uploads_are_those_of_the_node_at_their_address() {
        let start = Instant::now();
        let senders = Senders::default();
        let at = |last| Some(IpAddr::from([10, 0, 0, last]));
        let upload = |last| Origin { protocol: Protocol::Debuginfo, ..origin(at(last), start) };
        senders.note("", &upload(1), Outcome::default());
        senders.note("a", &origin(at(1), start), outcome(None));
        senders.note("b", &origin(at(2), start), outcome(None));
        senders.note("c", &origin(at(2), start), outcome(None));
        for last in [1, 2] {
            senders.note("", &upload(last), Outcome::default());
        }
        let uploads: Vec<_> = senders
            .all()
            .into_iter()
            .map(|sender| {
                let counts = sender.counts.get(&Protocol::Debuginfo).cloned().unwrap_or_default();
                (sender.id(), counts.accepted_requests)
            })
            .collect();
        // Nothing was known of the first address yet, and the second one is that of two nodes.
        let of = |id: &str, count| (id.to_owned(), count);
        assert_eq!(uploads, [of("10.0.0.1", 1), of("10.0.0.2", 1), of("a", 1), of("b", 0), of("c", 0)]);
    }

    #[test]
    fn parts_that_are_left_out_are_told() {
        let senders = Senders::default();
        let rejected_profiles = BTreeMap::from([(Refusal::OutOfRange, 2)]);
        let outcome = Outcome { rejected_profiles, rejection: "a stack".to_owned(), ..Outcome::default() };
        senders.note("a", &origin(None, Instant::now()), outcome);
        let sender = senders.all().remove(0);
        let counts = &sender.counts[&Protocol::WriteArrow];
        assert_eq!((sender.error.as_str(), counts.accepted_requests), ("a stack", 1));
        assert_eq!(counts.rejected_profiles, BTreeMap::from([(Refusal::OutOfRange, 2)]));
    }

    #[test]
    fn those_who_are_not_let_in_leave_room_for_others() {
        let start = Instant::now();
        let senders = Senders::default();
        for last in 0..SENDERS_MAX as u32 {
            let at = origin(Some(IpAddr::from(last.to_be_bytes())), start);
            senders.note_not_let_in(&at, Refusal::Unauthenticated, "no token");
        }
        assert_eq!(senders.all().len(), SENDERS_MAX / 2);
        let mut others = senders.others().remove(&Protocol::WriteArrow).unwrap();
        let refused = others.refused_requests.remove(&Refusal::Unauthenticated).unwrap();
        assert_eq!(refused as usize, SENDERS_MAX - NAMED_MAX);
        senders.note("node", &origin(None, start), outcome(None));
        assert_eq!(senders.all().len(), SENDERS_MAX / 2 + 1);
    }

    #[test]
    fn is_bounded() {
        let start = Instant::now();
        let senders = Senders::default();
        for node in 0..=SENDERS_MAX {
            senders.note(&node.to_string(), &origin(None, start), outcome(None));
        }
        assert_eq!(senders.all().len(), SENDERS_MAX);
        // Numbers of their own have the first ones; those of all others, listed or not, are counted together.
        let named: u64 = senders.all().iter().filter(|sender| sender.named).count() as u64;
        assert_eq!(named, NAMED_MAX as u64);
        let others = senders.others().remove(&Protocol::WriteArrow).unwrap();
        assert_eq!(others.accepted_requests, SENDERS_MAX as u64 + 1 - named);
        let later = start + EXPIRY;
        senders.note("new", &origin(None, later), outcome(None));
        assert_eq!(ids(&senders, later), ["new"]);
    }
}
