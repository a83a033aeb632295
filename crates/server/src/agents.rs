//! Who has pushed lately: a bounded list for `AgentsService`. No clock: callers say what time it is.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Senders are forgotten after this time without a push, as Parca does.
const EXPIRY: Duration = Duration::from_secs(5 * 60);

/// The outcome of one push.
#[derive(Debug, Clone)]
pub(crate) struct PushOutcome {
    /// When it came.
    pub(crate) received: Instant,
    /// The same as Unix time.
    pub(crate) received_ns: i64,
    /// How long it took.
    pub(crate) took: Duration,
    /// Why it was refused; empty if it was not.
    pub(crate) error: String,
}

/// A sender with its last push.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    /// Its `node` label, or its address if it has none.
    pub(crate) id: String,
    /// Its last push.
    pub(crate) last: PushOutcome,
}

/// Senders by `node` label and address.
#[derive(Debug)]
pub(crate) struct Agents {
    capacity: usize,
    by_key: Mutex<BTreeMap<(String, Option<IpAddr>), PushOutcome>>,
}

impl Agents {
    /// An empty list of at most `capacity` senders. While it is full, new senders are not listed.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, by_key: Mutex::default() }
    }

    /// Notes a push.
    pub(crate) fn note(&self, node: &str, address: Option<IpAddr>, outcome: PushOutcome) {
        let mut by_key = self.by_key.lock();
        let key = (node.to_owned(), address);
        if by_key.len() >= self.capacity && !by_key.contains_key(&key) {
            expire(&mut by_key, outcome.received);
            if by_key.len() >= self.capacity {
                return;
            }
        }
        by_key.insert(key, outcome);
    }

    /// Senders of the last five minutes before `now`.
    pub(crate) fn list(&self, now: Instant) -> Vec<Agent> {
        let mut by_key = self.by_key.lock();
        expire(&mut by_key, now);
        by_key
            .iter()
            .map(|((node, address), last)| {
                let id = match address {
                    Some(address) if node.is_empty() => address.to_string(),
                    _ => node.clone(),
                };
                Agent { id, last: last.clone() }
            })
            .collect()
    }
}

fn expire(by_key: &mut BTreeMap<(String, Option<IpAddr>), PushOutcome>, now: Instant) {
    by_key.retain(|_, last| now.saturating_duration_since(last.received) < EXPIRY);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(received: Instant) -> PushOutcome {
        PushOutcome { received, received_ns: 7, took: Duration::from_millis(2), error: String::new() }
    }

    fn ids(agents: &Agents, now: Instant) -> Vec<String> {
        agents.list(now).into_iter().map(|agent| agent.id).collect()
    }

    #[test]
    fn forgets_after_five_minutes() {
        let start = Instant::now();
        let agents = Agents::new(10);
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        agents.note("a", address, outcome(start));
        agents.note("", address, outcome(start + Duration::from_secs(10)));
        assert_eq!(ids(&agents, start + Duration::from_secs(299)), ["10.0.0.1", "a"]);
        assert_eq!(ids(&agents, start + Duration::from_secs(300)), ["10.0.0.1"]);
        assert!(ids(&agents, start + Duration::from_secs(310)).is_empty());
    }

    #[test]
    fn is_bounded() {
        let start = Instant::now();
        let agents = Agents::new(2);
        for node in ["a", "b", "c"] {
            agents.note(node, None, outcome(start));
        }
        assert_eq!(ids(&agents, start), ["a", "b"]);
        let later = start + EXPIRY;
        agents.note("c", None, outcome(later));
        assert_eq!(ids(&agents, later), ["c"]);
    }
}
