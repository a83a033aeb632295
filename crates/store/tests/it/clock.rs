//! A clock that was ahead and is set back: what was stored by it is of a time that is still to come.

use std::time::Duration;

use decima_store::{Settings, Store, Tiers};

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
