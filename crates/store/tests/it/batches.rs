//! Batches for tests, and what a store says it holds.

use std::collections::BTreeMap;

use decima_store::{
    ReadError, Store,
    source::{AttributeRun, ScanRequest, Snapshot, TimeRange},
};

pub(crate) use decima_testkit::batch::batch;

/// A sample of constants.
pub(crate) type Row = decima_testkit::batch::Row<'static>;

/// Sum by "service;root;…;leaf;route@time".
pub(crate) async fn contents(store: &Store) -> BTreeMap<String, i64> {
    read(&store.snapshot()).await.unwrap()
}

/// The same of a snapshot, which may not be readable.
pub(crate) async fn read(snapshot: &Snapshot) -> Result<BTreeMap<String, i64>, ReadError> {
    let mut out = BTreeMap::new();
    for source in &snapshot.sources {
        let table = source.series().await?;
        let partitions: Vec<u32> = (0..table.partitions.len() as u32).collect();
        let symbols = source.symbols(&partitions).await?;
        let trees = source.trees(&partitions, 0..partitions.len()).await?;
        let request = ScanRequest {
            series: (0..table.series.len() as u32).collect(),
            range: TimeRange::ALL,
            attributes: vec!["route".to_owned(), "absent".to_owned()],
            with_times: true,
        };
        source
            .scan(&request, &mut |run| {
                for row in 0..run.values.len() {
                    let tree = &trees[run.partition as usize];
                    let mut node = tree.leaf[run.stacktraces[row] as usize];
                    let mut names = Vec::new();
                    while node != 0 {
                        for line in symbols.location_lines(tree.location[node as usize]) {
                            let function = symbols.functions[line.function as usize];
                            names.push(symbols.strings.get(function.name));
                        }
                        node = tree.parent[node as usize];
                    }
                    names.reverse();
                    let route = match run.attributes[0] {
                        Some(AttributeRun::Text { ids, dictionary }) => dictionary.get(ids[row]),
                        _ => "",
                    };
                    assert!(run.attributes[1].is_none());
                    let service = table.series[run.series as usize].label("job");
                    let key = format!("{service};{};{route}@{}", names.join(";"), run.times_ns.get(row));
                    *out.entry(key).or_default() += run.values[row];
                }
            })
            .await?;
    }
    Ok(out)
}

/// Sum of all points.
pub(crate) async fn points_sum(store: &Store) -> (i64, u64) {
    read_points(&store.snapshot()).await.unwrap()
}

/// The same of a snapshot, which may not be readable.
pub(crate) async fn read_points(snapshot: &Snapshot) -> Result<(i64, u64), ReadError> {
    let (mut sum, mut count) = (0, 0);
    for source in &snapshot.sources {
        let table = source.series().await?;
        let request = ScanRequest {
            series: (0..table.series.len() as u32).collect(),
            range: TimeRange::ALL,
            attributes: Vec::new(),
            with_times: false,
        };
        source
            .points(&request, &mut |_, points| {
                for p in points {
                    sum += p.sum;
                    count += p.count;
                }
            })
            .await?;
    }
    Ok((sum, count))
}
