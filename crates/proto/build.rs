//! Compiles the `.proto` files without protoc and keeps the descriptors for reflection and JSON.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message as _;

const FILES: [&str; 7] = [
    "decima/debuginfo/v1alpha1/object_file.proto",
    "opentelemetry/proto/collector/profiles/v1development/profiles_service.proto",
    "parca/debuginfo/v1alpha1/debuginfo.proto",
    "parca/metastore/v1alpha1/metastore.proto",
    "parca/profilestore/v1alpha1/profilestore.proto",
    "parca/query/v1alpha1/query.proto",
    "parca/scrape/v1alpha1/scrape.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Profiles and records are large: they stay slices of the message that they came in.
        .bytes(".")
        // Not all strings of real senders are UTF-8, and where fields are depends on the sender's version.
        .extern_path(
            ".opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest",
            "crate::opentelemetry::RawExportRequest",
        )
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
