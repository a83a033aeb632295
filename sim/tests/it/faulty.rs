//! The faulty bucket does to a request what it says, and nothing else.

use std::{io, time::Duration};

use decima_testkit::faulty::{Bucket, Faults};
use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutResult, Result};

fn on_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

async fn create(objects: &dyn ObjectStore, name: &str) -> Result<PutResult> {
    objects.put_opts(&name.into(), "body".into(), PutMode::Create.into()).await
}

#[test]
fn a_failure_is_before_or_after_the_effect() {
    on_paused_time(async {
        let bucket = Bucket::new(1, Faults { fails_before: 1000, ..Faults::NONE });
        let connection = bucket.connect("a");
        create(&*connection, "one").await.unwrap_err();
        assert!(bucket.objects().head(&"one".into()).await.is_err());
        bucket.set(Faults { fails_after: 1000, ..Faults::NONE });
        create(&*connection, "one").await.unwrap_err();
        bucket.set(Faults::NONE);
        assert!(matches!(create(&*connection, "one").await, Err(Error::AlreadyExists { .. })));
    });
}

#[test]
fn a_full_disk_takes_nothing_and_gives_what_it_has() {
    on_paused_time(async {
        let bucket = Bucket::new(1, Faults::NONE);
        let connection = bucket.connect("a");
        create(&*connection, "one").await.unwrap();
        bucket.set(Faults { is_full: true, ..Faults::NONE });
        let refused = create(&*connection, "two").await.unwrap_err();
        let source = std::error::Error::source(&refused).and_then(|e| e.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        assert_eq!(connection.get(&"one".into()).await.unwrap().bytes().await.unwrap(), "body");
        connection.delete(&"one".into()).await.unwrap();
        create(&*connection, "two").await.unwrap();
        create(&*connection, "three").await.unwrap_err();
    });
}

#[test]
fn what_is_under_way_arrives_without_its_process() {
    on_paused_time(async {
        let slow = Faults { slow: 1000, stall: Duration::from_secs(60), torn: 1000, ..Faults::NONE };
        let bucket = Bucket::new(3, slow);
        let connection = bucket.connect("a");
        let put = tokio::time::timeout(Duration::from_millis(1), create(&*connection, "one")).await;
        assert!(put.is_err());
        connection.cut();
        assert!(bucket.objects().head(&"one".into()).await.is_err());
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(bucket.objects().head(&"one".into()).await.unwrap().size <= 4);
        create(&*connection, "two").await.unwrap_err();
    });
}

#[test]
fn lists_lag_and_catch_up() {
    on_paused_time(async {
        let bucket = Bucket::new(5, Faults { list_lag: Duration::from_secs(10), ..Faults::NONE });
        let connection = bucket.connect("a");
        let count = async || connection.list(None).try_collect::<Vec<_>>().await.unwrap().len();
        for n in 0..50 {
            create(&*connection, &format!("{n}")).await.unwrap();
        }
        let lagging = count().await;
        assert!((1..50).contains(&lagging), "{lagging}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(count().await, 50);
        connection.delete(&"7".into()).await.unwrap();
        let mut counts = Vec::new();
        for _ in 0..30 {
            counts.push(count().await);
        }
        counts.sort_unstable();
        counts.dedup();
        assert_eq!(counts, [49, 50], "a deleted object is told of for a while");
    });
}

#[test]
fn the_same_seed_is_the_same_journal() {
    let journal = |seed| {
        let mut journal = Vec::new();
        on_paused_time(async {
            let often = Faults {
                latency: Duration::from_millis(30),
                fails_before: 200,
                fails_after: 200,
                list_lag: Duration::from_secs(1),
                ..Faults::NONE
            };
            let bucket = Bucket::new(seed, often);
            let connection = bucket.connect("a");
            for n in 0..40 {
                let _ = create(&*connection, &format!("{}", n % 9)).await;
                let _ = connection.list(None).try_collect::<Vec<_>>().await;
            }
            journal = bucket.journal();
        });
        journal
    };
    assert_eq!(journal(1), journal(1));
    assert_ne!(journal(1), journal(2));
}
