//! What is committed in `src/generated` is what the `.proto` files say. Building decima needs no compiler of protobuf: that
//! and what it brings would be a tenth of a clean build. `DECIMA_BLESS=1` writes the files anew.

use std::{collections::BTreeMap, error::Error, ffi::OsString, fs, path::Path};

use protox::prost::Message as _;

const FILES: [&str; 9] = [
    "decima/debuginfo/v1alpha1/object_file.proto",
    "decima/ingest/v1alpha1/ingest.proto",
    "opentelemetry/proto/collector/profiles/v1development/profiles_service.proto",
    "parca/debuginfo/v1alpha1/debuginfo.proto",
    "parca/metastore/v1alpha1/metastore.proto",
    "parca/profilestore/v1alpha1/profilestore.proto",
    "parca/query/v1alpha1/query.proto",
    "parca/scrape/v1alpha1/scrape.proto",
    "parca/telemetry/v1alpha1/telemetry.proto",
];

/// Writes the modules, and the descriptors for reflection and JSON.
fn generate(protos: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(FILES, [protos])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    // By which the codec finds the descriptor.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Profiles and records are large: they stay slices of the message that they came in.
        .bytes(".")
        // Not all strings of real senders are UTF-8, where fields are depends on the sender's version, and lists are to be
        // counted before there is memory for them.
        .extern_path(
            ".opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest",
            "crate::Encoded",
        )
        .extern_path(".parca.profilestore.v1alpha1.WriteRawRequest", "crate::Encoded")
        .extern_path(".parca.telemetry.v1alpha1.ReportPanicRequest", "crate::Encoded")
        // Says which field of a message is wrong, and at which byte.
        .codec_path("crate::Codec")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

fn files(folder: &Path) -> Result<BTreeMap<OsString, Vec<u8>>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.insert(entry.file_name(), fs::read(entry.path())?);
    }
    Ok(found)
}

#[test]
fn the_committed_modules_are_what_the_proto_files_say() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (committed, out) = (home.join("src/generated"), tempfile::tempdir().unwrap());
    generate(&home.join("proto"), out.path()).unwrap();
    let generated = files(out.path()).unwrap();
    assert!(generated.len() > FILES.len(), "{:?}", generated.keys());
    if std::env::var_os("DECIMA_BLESS").is_some() {
        fs::remove_dir_all(&committed).unwrap();
        fs::create_dir(&committed).unwrap();
        for (name, bytes) in &generated {
            fs::write(committed.join(name), bytes).unwrap();
        }
        return;
    }
    let committed = files(&committed).unwrap();
    let names = generated.keys().chain(committed.keys());
    let differing: Vec<_> = names.filter(|name| generated.get(*name) != committed.get(*name)).collect();
    assert!(
        differing.is_empty(),
        "{differing:?} differ from the .proto files; DECIMA_BLESS=1 writes them anew"
    );
}
