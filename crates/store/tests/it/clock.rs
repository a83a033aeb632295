//! A clock that was ahead and is set back: what was stored by it is of a time that is still to come.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use decima_store::{AppendError, Host, Place, Settings, Store, Tiers};
use ulid::Ulid;

use crate::{
    batches::{batch, contents},
    durability::{STACKS, crash, now, rows, settings},
};

const DAY_NS: i64 = 86_400_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ahead_of_the_clock_is_neither_lost_nor_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let day = Some(Duration::from_secs(86_400));
    let ahead = Settings {
        ahead_max: Duration::from_secs(30 * 86_400),
        tiers: Tiers { raw: day, ten_seconds: None },
        ..settings(directory.path())
    };
    let now_ns = now();
    let store = Store::open(ahead.clone()).await.unwrap();
    for minute in 0..3i64 {
        let t = now_ns + 5 * DAY_NS + minute * 60_000_000_000;
        store.append(batch("ahead", &rows(t)), Some(minute as u128)).await.unwrap();
        store.flush().await.unwrap();
    }
    store.append(batch("ahead", &[(STACKS[0], now_ns + 5 * DAY_NS, 3, "")]), Some(9)).await.unwrap();
    crash(store);

    // From here on the clock is right, and samples are of its time.
    let store = Store::open(Settings { ahead_max: Duration::from_secs(600), ..ahead }).await.unwrap();
    store.append(batch("right", &rows(now_ns)), None).await.unwrap();
    let expected = contents(&store).await;
    let check = async |store: &Store, when: &str| assert_eq!(contents(store).await, expected, "{when}");
    store.flush().await.unwrap();
    check(&store, "flushed").await;
    store.compact(now_ns).await.unwrap();
    check(&store, "compacted").await;
    store.compact(now_ns - 10 * DAY_NS).await.unwrap();
    check(&store, "compacted by a clock that is behind").await;
    for request in [0, 1, 2, 9] {
        let again = batch("ahead", &[(STACKS[0], now_ns, 1, "")]);
        assert!(store.append(again, Some(request)).await.unwrap().duplicate, "{request} is recognised");
    }
    crash(store);
    let store = Store::open(settings(directory.path())).await.unwrap();
    check(&store, "opened again").await;
    store.compact(now_ns + 8 * DAY_NS).await.unwrap();
    check(&store, "once its windows are over").await;
    assert_eq!(store.counts().compaction_failures, 0);
}

/// This machine with a clock that is wrong.
#[derive(Debug)]
struct WrongClock {
    ahead_ns: AtomicI64,
    runtime: tokio::runtime::Handle,
}

impl Host for WrongClock {
    fn now_ns(&self) -> i64 {
        now() + self.ahead_ns.load(Ordering::SeqCst)
    }

    fn unique(&self) -> u128 {
        Ulid::from_parts((self.now_ns() / 1_000_000) as u64, Ulid::new().random()).into()
    }

    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
    }

    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        self.runtime.block_on(future);
    }

    fn yield_to_others(&self) {}

    fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_loses_and_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Handle::current();
    let clock = Arc::new(WrongClock { ahead_ns: AtomicI64::new(5 * DAY_NS), runtime });
    let open = async || {
        let place = Place::directory(directory.path()).unwrap().from_host(clock.clone());
        Store::open_at(settings(directory.path()), place).await.unwrap()
    };
    let append = async |store: &Store, request: u128, time_ns: i64| {
        let service = format!("request{request}");
        store.append(batch(&service, &rows(time_ns)), Some(request)).await
    };
    let is_ahead =
        |answer: Result<_, AppendError>| matches!(answer, Err(AppendError::AllOutsideTimes { .. }));
    let store = open().await;
    for request in 0..3 {
        append(&store, request, clock.now_ns()).await.unwrap();
        store.flush().await.unwrap();
    }
    append(&store, 3, clock.now_ns()).await.unwrap();
    let ahead_ns = clock.now_ns();

    // It is put right while the process runs, in the middle of a head.
    clock.ahead_ns.store(0, Ordering::SeqCst);
    assert!(is_ahead(append(&store, 10, ahead_ns).await), "what is ahead is refused from now on");
    append(&store, 4, clock.now_ns()).await.unwrap();
    let expected = contents(&store).await;
    assert_eq!(expected.len(), 5 * 4, "{expected:?}");
    crash(store);
    let store = open().await;
    assert_eq!(contents(&store).await, expected, "out of the log");
    store.flush().await.unwrap();
    store.compact(clock.now_ns()).await.unwrap();
    assert_eq!(contents(&store).await, expected, "out of blocks");
    for request in 0..5 {
        let again = append(&store, request, clock.now_ns()).await.unwrap();
        assert!(again.duplicate, "{request} is recognised");
    }
    crash(store);

    // It is set back once more, to before all that there is, while the process is away.
    clock.ahead_ns.store(-3 * DAY_NS, Ordering::SeqCst);
    let store = open().await;
    assert_eq!(contents(&store).await, expected, "by a clock that is behind");
    assert!(is_ahead(append(&store, 11, now()).await));
    append(&store, 5, clock.now_ns()).await.unwrap();
    let expected = contents(&store).await;
    assert_eq!(expected.len(), 6 * 4);
    store.flush().await.unwrap();
    store.compact(clock.now_ns()).await.unwrap();
    assert_eq!(contents(&store).await, expected);
    for request in 0..6 {
        let again = append(&store, request, clock.now_ns()).await.unwrap();
        assert!(again.duplicate, "{request} is recognised");
    }
    store.close().await.unwrap();
    drop(store);

    clock.ahead_ns.store(0, Ordering::SeqCst);
    let store = open().await;
    assert_eq!(contents(&store).await, expected, "by a clock that is right again");
    store.compact(clock.now_ns() + 8 * DAY_NS).await.unwrap();
    assert_eq!(contents(&store).await, expected, "once all windows are over");
    let counts = store.counts();
    assert_eq!((counts.compaction_failures, counts.expired_blocks), (0, 0));
}
