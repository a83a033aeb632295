//! Messages and services of Parca's wire protocol, declared by us from field numbers and types. No logic.
//!
//! Modules follow the package names. Byte fields are [`prost::bytes::Bytes`]: slices of the received message, not copies.

/// `google.protobuf` descriptors and all of ours, encoded as a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! packages {
    ($($(#[$doc:meta])* $name:ident = $package:literal;)*) => {
        /// Messages and services by package.
        pub mod parca {
            $($(#[$doc])* pub mod $name {
                /// First version, the only one.
                #[expect(missing_docs, reason = "generated; the .proto files have the words")]
                pub mod v1alpha1 {
                    tonic::include_proto!($package);
                }
            })*
        }
    };
}

packages! {
    /// Parts of profiles in reports.
    metastore = "parca.metastore.v1alpha1";
    /// The way in.
    profilestore = "parca.profilestore.v1alpha1";
    /// The way out.
    query = "parca.query.v1alpha1";
    /// What is scraped.
    scrape = "parca.scrape.v1alpha1";
}
