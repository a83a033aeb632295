//! What a daemon has to do for the client, whichever daemon it is. Works below a folder of the test's own.

use std::{collections::BTreeMap, time::Duration};

use decima_juju::pebble::{
    Activity, Change, Check, CheckStatus, FileKind, HttpCheck, Layer, LogTarget, NewFile, Override, Pebble,
    PebbleError, Service, Startup,
};

/// Starting a service takes a second in the real daemon, which waits whether it stays.
const PATIENCE: Duration = Duration::from_secs(20);

fn service(command: &str) -> Service {
    Service { command: Some(command.to_owned()), startup: Some(Startup::Enabled), ..Service::default() }
}

fn layer(services: &[(&str, Service)]) -> Layer {
    let services = services.iter().map(|(name, service)| ((*name).to_owned(), service.clone()));
    Layer { services: services.collect(), ..Layer::default() }
}

/// Whether a change stopped a service, be it to start it again.
fn stops(change: &Change) -> bool {
    change.tasks.iter().any(|task| task.kind == "stop")
}

pub(super) fn system(pebble: &Pebble) {
    let system = pebble.system().unwrap();
    assert!(system.version.starts_with("v1."), "{system:?}");
    assert!(!system.boot_id.is_empty());
}

pub(super) fn files(pebble: &Pebble, folder: &str) {
    let path = format!("{folder}/etc/a \"b\" ü.yaml");
    let content = "--decima-00000000000000000000000000000000\r\n\0ü".as_bytes();
    assert!(pebble.pull(&path).unwrap_err().is_not_found());
    assert!(pebble.file(&path).unwrap_err().is_not_found());
    pebble.push(&NewFile { path: &path, content, permissions: 0o600 }).unwrap();
    assert_eq!(pebble.pull(&path).unwrap(), content);
    let entry = pebble.file(&path).unwrap();
    assert_eq!(
        (entry.kind, entry.size, entry.permissions.as_str()),
        (FileKind::File, Some(content.len() as u64), "600")
    );
    assert_eq!(entry.path, path);
    pebble.push(&NewFile { path: &path, content: b"", permissions: 0o644 }).unwrap();
    assert_eq!(pebble.pull(&path).unwrap(), b"");

    pebble.make_dir(&format!("{folder}/etc/sub/sub"), 0o755).unwrap();
    pebble.make_dir(&format!("{folder}/etc/sub/sub"), 0o755).unwrap();
    let listed = pebble.list(&format!("{folder}/etc")).unwrap();
    let listed: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
    assert_eq!(listed, [("a \"b\" ü.yaml", FileKind::File), ("sub", FileKind::Directory)]);
    assert!(pebble.list(&format!("{folder}/missing")).unwrap_err().is_not_found());
    pebble.remove(&format!("{folder}/etc")).unwrap();
    pebble.remove(&format!("{folder}/etc")).unwrap();
    assert!(pebble.file(&path).unwrap_err().is_not_found());
    assert!(matches!(pebble.pull("etc"), Err(PebbleError::Path { .. })));
}

pub(super) fn large_file(pebble: &Pebble, folder: &str) {
    let path = format!("{folder}/large");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    pebble.push(&NewFile { path: &path, content: &content, permissions: 0o644 }).unwrap();
    assert_eq!(pebble.pull(&path).unwrap(), content);
}

pub(super) fn services(pebble: &Pebble) {
    assert_eq!(pebble.plan().unwrap().services, BTreeMap::new());
    assert_eq!(pebble.services().unwrap(), []);
    let sleeper = layer(&[("sleeper", service("sleep 1000"))]);
    pebble.add_layer("decima", &sleeper).unwrap();
    let error = pebble.add_layer("decima", &sleeper).unwrap_err();
    assert!(matches!(error, PebbleError::Refused { status: 400, .. }), "{error}");
    assert!(!pebble.is_running("sleeper").unwrap());

    let change = pebble.replan(PATIENCE).unwrap();
    assert!(change.ready && !change.tasks.is_empty(), "{change:?}");
    let state = &pebble.services().unwrap()[0];
    assert_eq!(
        (state.name.as_str(), state.startup, state.current),
        ("sleeper", Startup::Enabled, Activity::Active)
    );
    // What has not changed is left alone.
    let change = pebble.replan(PATIENCE).unwrap();
    assert!(!stops(&change) && change.tasks[0].log[0].contains("already started"), "{change:?}");

    let other = Service { environment: BTreeMap::from([("A".into(), "1".into())]), ..service("sleep 999") };
    pebble.combine_layer("decima", &layer(&[("sleeper", other)])).unwrap();
    let plan = pebble.plan().unwrap();
    assert_eq!(plan.services["sleeper"].command.as_deref(), Some("sleep 999"));
    assert_eq!(plan.services["sleeper"].environment["A"], "1");
    assert!(stops(&pebble.replan(PATIENCE).unwrap()));

    let merged =
        Service { r#override: Override::Merge, summary: Some("Sleeps".into()), ..Service::default() };
    pebble.combine_layer("decima", &layer(&[("sleeper", merged)])).unwrap();
    let plan = pebble.plan().unwrap();
    assert_eq!(plan.services["sleeper"].command.as_deref(), Some("sleep 999"));
    assert_eq!(plan.services["sleeper"].summary.as_deref(), Some("Sleeps"));

    pebble.stop(&["sleeper"], PATIENCE).unwrap();
    assert!(!pebble.is_running("sleeper").unwrap());
    pebble.start(&["sleeper"], PATIENCE).unwrap();
    pebble.restart(&["sleeper"], PATIENCE).unwrap();
    assert!(pebble.is_running("sleeper").unwrap());
    let error = pebble.start(&["nobody"], PATIENCE).unwrap_err();
    assert!(matches!(error, PebbleError::Refused { status: 400, .. }), "{error}");
    pebble.stop(&["sleeper"], PATIENCE).unwrap();
}

pub(super) fn a_service_that_does_not_start(pebble: &Pebble, prepare: impl Fn(bool)) {
    prepare(true);
    pebble.combine_layer("broken", &layer(&[("broken", service("/a/program/that/is/not/there"))])).unwrap();
    let error = pebble.start(&["broken"], PATIENCE).unwrap_err();
    assert!(matches!(error, PebbleError::Change(_)), "{error}");
    assert!(error.to_string().contains("broken"), "{error}");
    assert!(!pebble.is_running("broken").unwrap());
    // The daemon goes on trying, so that what follows needs it mended.
    prepare(false);
    pebble.combine_layer("broken", &layer(&[("broken", service("sleep 1000"))])).unwrap();
    pebble.replan(PATIENCE).unwrap();
    assert!(pebble.is_running("broken").unwrap());
}

pub(super) fn output(pebble: &Pebble, prepare: impl Fn(&[&str])) {
    assert_eq!(pebble.output("teller", 10).unwrap(), []);
    let teller = service("sh -c 'echo one; echo error: two 1>&2; sleep 1000'");
    pebble.combine_layer("teller", &layer(&[("teller", teller)])).unwrap();
    // Starting takes as long as it takes to see that it stays.
    pebble.start(&["teller"], PATIENCE).unwrap();
    prepare(&["one", "error: two"]);
    let lines = pebble.output("teller", 10).unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.service.as_str(), line.message.as_str())).collect();
    assert_eq!(told, [("teller", "one"), ("teller", "error: two")]);
    let last = pebble.output("teller", 1).unwrap();
    assert_eq!(last, lines[1..]);
}

pub(super) fn checks(pebble: &Pebble) {
    let check = Check {
        period: Some("100ms".into()),
        timeout: Some("50ms".into()),
        threshold: Some(1),
        // Nobody listens there.
        http: Some(HttpCheck { url: "http://127.0.0.1:1/".into(), headers: BTreeMap::new() }),
        ..Check::default()
    };
    let layer = Layer { checks: BTreeMap::from([("up".into(), check)]), ..Layer::default() };
    pebble.combine_layer("checks", &layer).unwrap();
    pebble.replan(PATIENCE).unwrap();
    for _ in 0..200 {
        let state = &pebble.checks().unwrap()[0];
        assert_eq!((state.name.as_str(), state.threshold), ("up", 1));
        if state.status == CheckStatus::Down {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("a check that cannot succeed is not down");
}

/// What is put into a layer comes back in the plan, so that a charm can tell whether something is to be changed.
pub(super) fn the_plan_is_what_was_asked_for(pebble: &Pebble) {
    let ready = Check {
        level: Some("ready".into()),
        period: Some("10s".into()),
        timeout: Some("3s".into()),
        threshold: Some(3),
        http: Some(HttpCheck { url: "http://127.0.0.1:1/".into(), headers: BTreeMap::new() }),
        ..Check::default()
    };
    let target = LogTarget {
        r#type: "loki".into(),
        location: "http://127.0.0.1:1/loki/api/v1/push".into(),
        services: vec!["all".into()],
        labels: BTreeMap::from([("product".into(), "Juju".into())]),
        ..LogTarget::default()
    };
    let told = Service {
        summary: Some("Tells".into()),
        startup: Some(Startup::Disabled),
        ..service("sleep '1 2' \"3\"")
    };
    let mut asked = Layer {
        summary: "Everything".into(),
        services: BTreeMap::from([("told".into(), told)]),
        checks: BTreeMap::from([("ready".into(), ready)]),
        log_targets: BTreeMap::from([("loki/0".into(), target)]),
    };
    for _ in 0..2 {
        pebble.combine_layer("everything", &asked).unwrap();
        let plan = pebble.plan().unwrap();
        assert_eq!(plan.services["told"], asked.services["told"]);
        assert_eq!(plan.checks["ready"], asked.checks["ready"]);
        assert_eq!(plan.log_targets["loki/0"], asked.log_targets["loki/0"]);
        // And once more without anybody sending logs there.
        asked.log_targets.values_mut().for_each(|target| target.services.clear());
    }
}

pub(super) fn what_is_not_there(pebble: &Pebble) {
    assert!(pebble.change("4711").unwrap_err().is_not_found());
    assert!(pebble.wait("4711", PATIENCE).unwrap_err().is_not_found());
    let bad = Layer { services: BTreeMap::from([("x".into(), Service::default())]), ..Layer::default() };
    let error = pebble.combine_layer("bad", &bad).unwrap_err();
    assert!(matches!(error, PebbleError::Refused { status: 400, .. }), "{error}");
}
