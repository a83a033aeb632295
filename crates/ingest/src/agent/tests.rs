//! Recorded requests of a real agent, and what another implementation read from them.

use super::*;
use crate::recorded::{self, Totals};

fn context<'a>(limits: &'a Limits, sample_labels: &'a BTreeSet<String>) -> Context<'a> {
    Context { limits, sample_labels, schemas: None }
}

fn check_second(folder: &str, messages: usize) {
    let expected = recorded::expected(folder);
    let (limits, known) = (Limits::default(), sample_labels());
    let mut all = Totals::default();
    let list = expected["messages"].as_array().unwrap();
    assert_eq!(list.len(), messages);
    for message in list {
        let file = format!("{folder}/{}", message["file"].as_str().unwrap());
        let decoded = second::decode(&recorded::stream(&file), context(&limits, &known)).unwrap();
        assert_eq!((decoded.repaired_strings, decoded.node.as_str()), (0, "vm1"), "{file}");
        let mut totals = Totals::default();
        totals.add(&decoded.batch);
        totals.check(&message["expected"], &file, str::to_owned);
        all.add(&decoded.batch);
    }
    all.check(&expected["total"], folder, str::to_owned);
}

#[test]
fn recorded_requests_of_the_second_schema() {
    check_second("agent-v2", 14);
    check_second("agent-v2-memory", 1);
}

#[test]
fn recorded_exchanges_of_the_first_schema() {
    let expected = recorded::expected("agent-v1");
    let (limits, known) = (Limits::default(), sample_labels());
    let mut all = Totals::default();
    let list = expected["messages"].as_array().unwrap();
    assert_eq!(list.len(), 11);
    for message in list {
        let file = message["file"].as_str().unwrap();
        let locations = message["kind"].as_str().unwrap().rsplit(' ').next().unwrap();
        let pending =
            first::samples(&recorded::stream(&format!("agent-v1/{file}")), context(&limits, &known)).unwrap();
        assert_eq!(pending.node(), "vm1");
        let stream = recorded::stream(&format!("agent-v1/{locations}"));
        let decoded = pending.with_locations(&stream, context(&limits, &known)).unwrap();
        let mut totals = Totals::default();
        totals.add(&decoded.batch);
        totals.check(&message["expected"], file, str::to_owned);
        all.add(&decoded.batch);
    }
    all.check(&expected["total"], "agent-v1", str::to_owned);
}

#[test]
fn the_question_asks_for_every_id_once() {
    let (limits, known) = (Limits::default(), sample_labels());
    let pending =
        first::samples(&recorded::stream("agent-v1/00310-s52-client.bin"), context(&limits, &known)).unwrap();
    let question = pending.question().unwrap();
    let ids = |stream: &[u8]| {
        let mut ids = Vec::new();
        arrow::read(stream, bounds(&limits), None, |schema, batch| {
            assert_eq!(schema.metadata(VERSION_KEY), Some(FIRST));
            assert_eq!(batch.columns().len(), 1);
            batch
                .visit_bytes(batch.required("stacktrace_id")?, |_, id| ids.push(id.unwrap().bytes().to_vec()))
        })
        .unwrap();
        ids.sort();
        ids
    };
    let asked = ids(&question);
    assert_eq!(asked.len(), 62);
    // The recorded server's question.
    assert_eq!(asked, ids(&recorded::stream("agent-v1/00312-s52-server.bin")));
}

#[test]
fn labels_that_differ_within_a_thread_are_attributes() {
    let (limits, known) = (Limits::default(), sample_labels());
    let stream = recorded::stream("agent-v2/01010-s158-client.bin");
    let decoded = second::decode(&stream, context(&limits, &known)).unwrap();
    let names = |labels: &[(String, String)]| -> Vec<String> {
        labels.iter().map(|(name, _)| name.clone()).collect()
    };
    let found: Vec<_> = decoded.sample_labels.iter().map(String::as_str).collect();
    assert_eq!(found, ["parca_component", "route", "tenant"]);
    for series in &decoded.batch.series {
        assert_eq!(names(&series.labels), ["comm", "node"]);
    }
    // Ten programs.
    assert_eq!(decoded.batch.series.len(), 10);

    // Settings go before what is usual.
    let known = ["comm", "cpu", "thread_id", "thread_name"].map(str::to_owned).into();
    let decoded = second::decode(&stream, context(&limits, &known)).unwrap();
    assert_eq!(
        decoded.batch.series.iter().map(|series| names(&series.labels)).collect::<Vec<_>>(),
        [["node"]]
    );
}
