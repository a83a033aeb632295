//! A forwarder and a store, two processes: either may be away or be killed, and what was acknowledged arrives.

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use crate::{
    durability::{Senders, Upload, fleet, quiet, total, upload, uploads},
    process::{Server, run, stderr},
    tls::{Authority, Files},
    tokens::TokensFile,
};

/// Time for what waits to arrive: the longest wait between two attempts, twice.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// An address on which nobody listens yet.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A forwarder to a store without TLS.
fn forwarder(folder: &Path, store: &str, flags: &[&str]) -> Server {
    let store = format!("--store-address={store}");
    let flags = [&["--mode=scraper-only", &store, "--insecure"], flags].concat();
    Server::start(&folder.join("edge"), &flags)
}

/// Waits until so much has arrived, and no more.
fn until_arrived(store: &Server, expected: i64) {
    let mut waited = Duration::ZERO;
    while total(store) != expected {
        assert!(waited < ARRIVES_WITHIN, "{} of {expected} has arrived", total(store));
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// Waits until only the lock is in the spool.
fn until_empty(folder: &Path) {
    let mut waited = Duration::ZERO;
    while std::fs::read_dir(folder.join("edge/spool")).unwrap().count() > 1 {
        assert!(waited < ARRIVES_WITHIN, "the spool does not become empty");
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

fn send(server: &Server, uploads: &[Upload]) -> i64 {
    assert!(uploads.iter().all(|one| upload(server.url(), one)), "what comes in is acknowledged");
    uploads.iter().map(|one| one.value).sum()
}

#[test]
fn nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (data, quiet) = (folder.path().join("data"), quiet(folder.path()));
    let fleet = fleet();
    let all = uploads(&fleet, folder.path(), 20);
    let address = free_address();
    // The store is away, and the forwarder is killed.
    let edge = forwarder(folder.path(), &address, &["--external-label=region=eu"]);
    let mut expected = send(&edge, &all[..8]);
    edge.kill();
    let edge = forwarder(folder.path(), &address, &["--external-label=region=eu"]);
    expected += send(&edge, &all[8..12]);
    // It comes back.
    let store = Server::start_at(&address, &data, &[&quiet]);
    until_arrived(&store, expected);
    // It is killed while the forwarder goes on, and comes back.
    store.kill();
    expected += send(&edge, &all[12..16]);
    let store = Server::start_at(&address, &data, &[&quiet]);
    until_arrived(&store, expected);
    // The forwarder stops as it should, and goes on.
    edge.signal("TERM");
    assert!(edge.wait().0.success());
    let edge = forwarder(folder.path(), &address, &["--external-label=region=eu"]);
    expected += send(&edge, &all[16..]);
    until_arrived(&store, expected);
    until_empty(folder.path());
    let labelled = run(&[
        "query",
        &format!("{}{{region=\"eu\"}}", decima_testkit::fleet::PROFILE_TYPE),
        "--format=collapsed",
        "--address",
        store.url(),
    ]);
    let sum = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum::<i64>()
    };
    assert_eq!(sum(&labelled.stdout), expected, "{}", stderr(&labelled));
}

/// Acknowledged by a forwarder that is killed then, while the store is away.
#[test]
fn an_object_file_outlives_the_process_and_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let (data, quiet) = (folder.path().join("data"), quiet(folder.path()));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/elf/program-dwarf5");
    let address = free_address();
    let edge = forwarder(folder.path(), &address, &[]);
    let uploaded = run(&["debuginfo", "upload", file.to_str().unwrap(), "--address", edge.url()]);
    assert!(uploaded.status.success(), "{}", stderr(&uploaded));
    edge.kill();
    let edge = forwarder(folder.path(), &address, &[]);
    let again = run(&["debuginfo", "upload", file.to_str().unwrap(), "--address", edge.url()]);
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(told.contains("not uploaded") && told.contains("still in-progress"), "{told}");
    let store = Server::start_at(&address, &data, &[&quiet]);
    until_empty(folder.path());
    let listed = run(&["debuginfo", "list", "--address", store.url()]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("uploaded") && listed.contains("dwarf"), "{listed}");
}

#[test]
fn kills_in_the_middle_of_forwarding_lose_nothing_acknowledged() {
    const ROUNDS: usize = 5;
    const PER_ROUND: usize = 30;
    let folder = tempfile::tempdir().unwrap();
    let (data, quiet) = (folder.path().join("data"), quiet(folder.path()));
    let all = Arc::new(uploads(&fleet(), folder.path(), ROUNDS * PER_ROUND));
    let address = free_address();
    let store = Server::start_at(&address, &data, &[&quiet]);
    let (mut acknowledged, mut unknown) = (0, 0);
    for round in 0..ROUNDS {
        let edge = forwarder(folder.path(), &address, &[]);
        let senders = Senders::start(edge.url(), &all, round * PER_ROUND..(round + 1) * PER_ROUND);
        std::thread::sleep(Duration::from_millis(40 + 150 * round as u64));
        edge.kill();
        let (sent, lost) = senders.stop();
        acknowledged += sent;
        unknown += lost;
    }
    // One more life, in which everything that is left is sent: nothing waits when it stops.
    let edge = forwarder(folder.path(), &address, &[]);
    until_empty(folder.path());
    edge.kill();
    // What was sent twice is stored once.
    let held = total(&store);
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&held),
        "{held} is not between {acknowledged} and {}",
        acknowledged + unknown
    );
    assert!(held > 0, "nothing was acknowledged in any round");
}

#[test]
fn a_token_that_is_put_right_lets_what_waits_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let quiet = quiet(folder.path());
    let (tokens, [read, write, _]) = TokensFile::with_all_scopes(folder.path());
    let store = Server::start(&folder.path().join("data"), &[&quiet, &tokens.flag()]);
    let address = store.url().trim_start_matches("http://").to_owned();
    let token = folder.path().join("token");
    // One that is unknown, then one that may only read: neither is the requests' fault.
    std::fs::write(&token, "unknown").unwrap();
    let flag = format!("--bearer-token-file={}", token.display());
    let edge = forwarder(folder.path(), &address, &[&flag]);
    let expected = send(&edge, &uploads(&fleet(), folder.path(), 4));
    std::fs::write(&token, &read).unwrap();
    let asked = || {
        let output = run(&[
            "query",
            decima_testkit::fleet::PROFILE_TYPE,
            "--format=collapsed",
            "--bearer-token",
            &read,
            "--address",
            store.url(),
        ]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum::<i64>()
    };
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(asked(), 0);
    std::fs::write(&token, &write).unwrap();
    let mut waited = Duration::ZERO;
    while asked() != expected {
        assert!(waited < ARRIVES_WITHIN, "{} of {expected} has arrived", asked());
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
    edge.signal("TERM");
    let (_, _, log) = edge.wait();
    assert!(log.contains("the token for the remote store has changed"), "{log}");
    assert!(!log.contains("dropped requests"), "{log}");
}

#[test]
fn tls_to_the_store() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let quiet = quiet(files.path());
    let store = files.start("https://127.0.0.1:0", &[&quiet]);
    let ca = files.write("ca.pem", &authority.pem()).display().to_string();
    let address = store.url().trim_start_matches("https://").to_owned();
    let all = uploads(&fleet(), files.path(), 4);
    let count = |tls: &str, uploads: &[Upload]| {
        let spool = tempfile::tempdir().unwrap();
        let store = format!("--store-address={address}");
        let edge = Server::start(spool.path(), &["--mode=forwarder", &store, tls]);
        send(&edge, uploads);
        let folder = spool.path().join("spool");
        let mut waited = Duration::ZERO;
        while std::fs::read_dir(&folder).unwrap().count() > 1 && waited < Duration::from_secs(5) {
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
        std::fs::read_dir(&folder).unwrap().count() - 1
    };
    assert_eq!(count(&format!("--store-ca-file={ca}"), &all[..2]), 0);
    assert_eq!(count("--insecure-skip-verify", &all[2..3]), 0);
    // Nobody of the system has signed this certificate.
    assert_eq!(count("--insecure=false", &all[3..]), 1);
}

#[test]
fn what_does_not_fit_is_told() {
    let check = |flags: &[&str], words: &str| {
        let output = run(flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    };
    check(&["--mode=forwarder"], "needs --store-address");
    check(&["--store-address=store:7070"], "needs --mode=forwarder");
    check(&["--mode=relay"], "expected one of all, forwarder, scraper-only");
    let folder = tempfile::tempdir().unwrap();
    let edge = forwarder(folder.path(), &free_address(), &[]);
    let output = run(&["query", decima_testkit::fleet::PROFILE_TYPE, "--address", edge.url()]);
    assert!(
        stderr(&output).contains("this process forwards profiles to http://127.0.0.1:"),
        "{}",
        stderr(&output)
    );
    let second = run(&[
        "--http-address=127.0.0.1:0",
        "--mode=forwarder",
        "--store-address=x:1",
        "--storage-path",
        folder.path().join("edge").to_str().unwrap(),
    ]);
    assert!(stderr(&second).contains("in use by another process"), "{}", stderr(&second));
}
