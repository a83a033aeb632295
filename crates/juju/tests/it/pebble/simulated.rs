//! The simulated daemon.

use decima_juju::pebble::Pebble;
use decima_juju_fake::pebble::FakePebble;

use super::conformance;

fn fake() -> (Pebble, FakePebble, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakePebble::start(&folder.path().join("pebble.socket")).unwrap();
    (Pebble::at(fake.socket()), fake, folder)
}

#[test]
fn does_what_a_daemon_does() {
    let (pebble, fake, _folder) = fake();
    conformance::system(&pebble);
    conformance::files(&pebble, "/work");
    conformance::large_file(&pebble, "/work");
    conformance::services(&pebble);
    conformance::a_service_that_does_not_start(&pebble, |fails| {
        fake.fail_service("broken", fails.then_some("no such file"));
    });
    conformance::output(&pebble, |lines| lines.iter().for_each(|line| fake.say("teller", line)));
    fake.set_check("up", false);
    conformance::checks(&pebble);
    conformance::the_plan_is_what_was_asked_for(&pebble);
    conformance::what_is_not_there(&pebble);
}

#[test]
fn tells_what_it_was_asked() {
    let (pebble, fake, _folder) = fake();
    pebble.system().unwrap();
    pebble.replan(std::time::Duration::from_secs(1)).unwrap();
    let expected = ["GET /v1/system-info", "POST /v1/services replan", "GET /v1/changes/1/wait"];
    assert_eq!(fake.requests(), expected);
}

#[test]
fn is_gone_when_it_is_dropped() {
    let (pebble, fake, _folder) = fake();
    drop(fake);
    assert!(pebble.system().unwrap_err().is_unavailable());
}
