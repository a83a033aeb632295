//! What a discovery has found so far, and how its last attempt went: written by the discovery, read by the job.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::SystemTime};

use decima_config::Discovery;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Status, TargetGroup};
use crate::error_chain::error_chain;

/// Groups by where they come from, such as the name of a file.
pub(super) type Groups = BTreeMap<String, TargetGroup>;

/// What is found. Clones share it.
#[derive(Clone)]
pub(crate) struct Findings {
    kind: &'static str,
    subject: Arc<str>,
    job: Arc<str>,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Arc<TargetGroup>>,
    answered: bool,
    last_success: Option<SystemTime>,
    last_error: String,
    failures: u64,
}

impl Findings {
    /// Nothing yet. `changed` is told when there is more for `job`.
    pub(crate) fn new(discovery: &Discovery, job: &str, changed: Arc<Notify>) -> Self {
        Self {
            kind: discovery.kind(),
            subject: discovery.subject().into(),
            job: job.into(),
            state: Arc::default(),
            changed,
        }
    }

    /// These are all targets that there are.
    pub(super) fn found(&self, groups: Groups) {
        self.note(Some(groups), None);
    }

    /// These are all targets that are known; what others there are could not be learned.
    pub(super) fn found_partly(&self, groups: Groups, error: &dyn Error) {
        self.note(Some(groups), Some(error_chain(error)));
    }

    /// Nothing could be learned; what was found before stays.
    pub(super) fn failed(&self, error: &dyn Error) {
        self.note(None, Some(error_chain(error)));
    }

    fn note(&self, groups: Option<Groups>, error: Option<String>) {
        let mut state = self.state.lock();
        let mut news = !state.answered;
        state.answered = true;
        if let Some(groups) = groups {
            news |= state.replace(groups);
        }
        let before = std::mem::take(&mut state.last_error);
        match error {
            None => {
                state.last_success = Some(SystemTime::now());
                if !before.is_empty() {
                    tracing::info!(
                        job = &*self.job,
                        kind = self.kind,
                        subject = &*self.subject,
                        "discovery works again"
                    );
                }
            }
            Some(error) => {
                state.failures += 1;
                // Once is enough: a server that stays away would fill the log.
                if before != error {
                    tracing::warn!(
                        job = &*self.job,
                        kind = self.kind,
                        subject = &*self.subject,
                        error,
                        "discovery fails"
                    );
                }
                state.last_error = error;
            }
        }
        drop(state);
        if news {
            self.changed.notify_one();
        }
    }

    /// The groups found.
    pub(crate) fn groups(&self) -> Vec<Arc<TargetGroup>> {
        self.state.lock().groups.values().cloned().collect()
    }

    /// Whether the first attempt is over, however it went.
    pub(crate) fn has_answered(&self) -> bool {
        self.state.lock().answered
    }

    /// How it goes.
    pub(crate) fn status(&self) -> Status {
        let state = self.state.lock();
        Status {
            kind: self.kind,
            subject: self.subject.to_string(),
            targets: state.groups.values().map(|group| group.targets.len()).sum(),
            last_success: state.last_success,
            last_error: state.last_error.clone(),
            failures: state.failures,
        }
    }
}

impl State {
    /// Takes the new groups, each that is the same as before as it was; tells whether any differs.
    fn replace(&mut self, groups: Groups) -> bool {
        let mut before = std::mem::take(&mut self.groups);
        let mut news = before.len() != groups.len();
        for (source, group) in groups {
            let group = match before.remove(&source) {
                Some(same) if *same == group => same,
                _ => {
                    news = true;
                    Arc::new(group)
                }
            };
            self.groups.insert(source, group);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use decima_config::FileDiscovery;

    use super::*;
    use crate::discovery::groups::of_addresses;

    #[tokio::test]
    async fn failures_keep_what_was_found_and_the_same_is_no_news() {
        let discovery = Discovery::File(FileDiscovery {
            files: vec!["a.json".into()],
            refresh_interval: Duration::from_secs(1),
        });
        let changed = Arc::new(Notify::new());
        let findings = Findings::new(&discovery, "api", changed.clone());
        let told = || {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.enable()
        };
        let groups = |address: &str| Groups::from([("a".to_owned(), of_addresses(&[address]))]);
        assert!(!findings.has_answered() && !told());

        findings.failed(&std::fmt::Error);
        assert!(findings.has_answered() && told(), "the first answer is news, whatever it is");
        findings.found(groups("a:1"));
        assert!(told());
        let first = findings.groups();
        findings.found(groups("a:1"));
        assert!(!told());
        assert!(Arc::ptr_eq(&findings.groups()[0], &first[0]));
        findings.failed(&std::fmt::Error);
        assert!(!told());
        assert_eq!(findings.groups(), first);
        let status = findings.status();
        assert_eq!((status.targets, status.failures), (1, 2));
        assert_eq!(status.last_error, std::fmt::Error.to_string());
        assert!(status.last_success.is_some());
        findings.found(groups("b:1"));
        assert!(told());
        assert_eq!(findings.status().last_error, "");
        findings.found(Groups::new());
        assert!(told());
        assert_eq!(findings.groups(), []);
    }
}
