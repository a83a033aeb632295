//! `decima upload`: pprof files into a running store, one request each.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, bail};
use decima_profile::{
    compression,
    pprof::{self, Limits, Profile},
};
use decima_proto::parca::profilestore::v1alpha1::{
    Label, LabelSet, RawProfileSeries, RawSample, WriteRawRequest,
    profile_store_service_client::ProfileStoreServiceClient,
};
use tonic::metadata::MetadataMap;

use crate::{
    args::Upload,
    client::{self, MESSAGE_BYTES_MAX, Store},
    profile_name,
};

/// A decompressed profile may have so many bytes for its sample types to be read here; the store has its own bound.
const PROFILE_BYTES_MAX: usize = 1 << 30;
/// How many samples the store took, as it tells in the metadata of its answer.
const STORED: &str = "x-decima-samples";
/// How many it did not take, because their times are outside its bounds.
const REJECTED: &str = "x-decima-rejected";
/// Whether the store had the request already.
const DUPLICATE: &str = "x-decima-duplicate";

/// Stores every file, in order; stops at the first that is refused.
pub(crate) async fn run(flags: Upload) -> anyhow::Result<()> {
    let store = Store::connect(&flags.remote).await?;
    let mut client = ProfileStoreServiceClient::with_origin(store.channel, store.origin)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    for file in &flags.files {
        let upload = Prepared::read(file, &flags).with_context(|| file.display().to_string())?;
        let answer = client.write_raw(upload.message).await.map_err(client::refused);
        let answer = answer.with_context(|| file.display().to_string())?;
        let outcome = outcome(answer.metadata(), upload.samples);
        writeln!(io::stdout().lock(), "{}: {outcome} as {}", file.display(), upload.name)?;
    }
    Ok(())
}

/// A file as it goes to the store.
struct Prepared {
    message: WriteRawRequest,
    name: String,
    samples: usize,
}

impl Prepared {
    fn read(file: &Path, flags: &Upload) -> anyhow::Result<Self> {
        let bytes = read(file)?;
        let profile = pprof::decode(compression::decompress(&bytes, PROFILE_BYTES_MAX)?, &Limits::default())?;
        let name = flags.name.clone().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| profile_name::derived(&sample_types(&profile), file));
        let label = |(name, value): &(String, String)| Label { name: name.clone(), value: value.clone() };
        let mut labels: Vec<_> = flags.labels.iter().map(label).collect();
        labels.retain(|label| label.name != "__name__");
        labels.push(Label { name: "__name__".to_owned(), value: name.clone() });
        let series = RawProfileSeries {
            labels: Some(LabelSet { labels }),
            samples: vec![RawSample { raw_profile: bytes.into(), executable_info: Vec::new() }],
        };
        let message = WriteRawRequest { series: vec![series], ..WriteRawRequest::default() };
        Ok(Self { message, name, samples: profile.batch.sample_count() })
    }
}

fn sample_types(profile: &Profile) -> Vec<&str> {
    profile.batch.series.iter().map(|series| series.profile_type.sample_type.as_str()).collect()
}

/// Reads a file, or standard input for `-`, up to what the store takes.
fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(std::fs::File::open(file)?) };
    let mut bytes = Vec::new();
    source.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        bail!("more than {MESSAGE_BYTES_MAX} bytes; gzip it");
    }
    Ok(bytes)
}

/// What became of a file, in words. A store that does not tell (another Parca) took all its samples.
fn outcome(metadata: &MetadataMap, samples: usize) -> String {
    let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
    let number = |key| text(key).and_then(|number| number.parse::<usize>().ok());
    if text(DUPLICATE) == Some("true") {
        return "already stored".to_owned();
    }
    let stored = match number(STORED).unwrap_or(samples) {
        1 => "stored 1 sample".to_owned(),
        stored => format!("stored {stored} samples"),
    };
    match number(REJECTED) {
        None | Some(0) => stored,
        Some(rejected) => format!("{stored} ({rejected} outside the retention or ahead of the clock)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let check = |pairs: &[(&'static str, &'static str)], expected: &str| {
            let mut metadata = MetadataMap::new();
            for &(key, value) in pairs {
                metadata.insert(key, value.parse().unwrap());
            }
            assert_eq!(outcome(&metadata, 7), expected);
        };
        check(&[], "stored 7 samples");
        check(&[(STORED, "5")], "stored 5 samples");
        check(&[(STORED, "1")], "stored 1 sample");
        check(&[(STORED, "0"), (DUPLICATE, "true")], "already stored");
        check(&[(STORED, "3"), (REJECTED, "0"), (DUPLICATE, "false")], "stored 3 samples");
        check(
            &[(STORED, "3"), (REJECTED, "2")],
            "stored 3 samples (2 outside the retention or ahead of the clock)",
        );
    }
}
