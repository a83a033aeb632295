//! A process that only answers, over what another one writes.

use decima_query::{Engine, LabelsRequest, ReportType, engine::Settings};
use decima_store::{Place, ReadError, Store};

use crate::{
    coarse::sample,
    store::{batch, settings},
    world::{TYPE, merge_of, request},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_merged_and_gone_does_not_fail_a_question() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let writer = Store::open(settings(path, 0)).await.unwrap();
    for value in [1, 2, 4] {
        writer.append(batch(&[sample(TYPE, value, value, "t1")]), None).await.unwrap();
        writer.flush().await.unwrap();
    }
    let reader = Store::follow(settings(path, 0), &Place::shared_directory(path).unwrap()).await.unwrap();
    let before = reader.snapshot();
    assert_eq!(before.sources.len(), 3);
    writer.close().await.unwrap();
    drop(writer);
    let writer = Store::open(settings(path, 256 << 20)).await.unwrap();
    assert!(writer.compact(i64::MAX / 2).await.unwrap() > 0, "blocks become one");
    writer.close().await.unwrap();
    drop(writer);
    // As the store does some minutes later.
    for source in &before.sources {
        std::fs::remove_dir_all(path.join("default/blocks").join(source.name())).unwrap();
    }
    let gone = before.sources[0].series().await.err();
    assert!(matches!(gone, Some(ReadError::Missing { .. })), "{gone:?}");

    for allow_partial in [false, true] {
        let engine = Engine::new(reader.clone(), Settings { allow_partial, ..Settings::default() });
        let answer = engine.query(request(merge_of("{}"), ReportType::FlamegraphArrow)).await.unwrap();
        assert_eq!((answer.total, answer.notices), (7, Vec::new()));
        assert_eq!(engine.values("service", LabelsRequest::default()).await.unwrap(), ["s0"]);
    }
}
