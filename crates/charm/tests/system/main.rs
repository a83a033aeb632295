//! The whole: a simulated model with this charm and one of the Python library in it, the real store under Pebble, and a
//! sender that knows nothing but what the databag says.
//!
//! `cargo xtask test --only system` gives it what it needs: a network, a host name and a hosts file of its own, as a pod
//! has them, for the store's ports and names are fixed; and by variables the store (`DECIMA_BINARY`), the daemon
//! (`DECIMA_PEBBLE`), a Python with ops (`DECIMA_PYTHON_OPS`), and the connection of Parca Agent (`DECIMA_AGENT`; the
//! folder `agent`, which builds its own code for flags, TLS and tokens, with the profiler left out). The tests take turns, as they share the ports.
//!
//! [`real`] runs under the daemon, [`simulated`] under one that is not, which is for machines that cannot build it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod authority;
mod pod;
mod python;
mod remote;
mod sender;
mod story;

/// Under the real daemon.
mod real {
    use crate::{pod::Daemon, story};

    #[test]
    fn integrating_is_the_credential_and_removing_revokes_it() {
        story::integrating_is_the_credential_and_removing_revokes_it(Daemon::Pebble);
    }

    #[test]
    fn reading_needs_a_token_if_it_shall() {
        story::reading_needs_a_token_if_it_shall(Daemon::Pebble);
    }

    #[test]
    fn an_agent_is_let_in_by_its_flags() {
        story::an_agent_is_let_in_by_its_flags(Daemon::Pebble);
    }

    #[test]
    fn what_the_charm_writes_is_what_the_store_reads() {
        story::what_the_charm_writes_is_what_the_store_reads(Daemon::Pebble);
    }

    #[test]
    fn another_store_gets_everything_until_its_relation_goes() {
        story::another_store_gets_everything_until_its_relation_goes(Daemon::Pebble);
    }

    #[test]
    fn a_bucket_outlives_the_pod() {
        story::a_bucket_outlives_the_pod(Daemon::Pebble);
    }
}

/// Under a simulated one, whose services this test starts.
mod simulated {
    use crate::{pod::Daemon, story};

    #[test]
    fn integrating_is_the_credential_and_removing_revokes_it() {
        story::integrating_is_the_credential_and_removing_revokes_it(Daemon::Simulated);
    }

    #[test]
    fn another_store_gets_everything_until_its_relation_goes() {
        story::another_store_gets_everything_until_its_relation_goes(Daemon::Simulated);
    }
}
