//! Messages and services of Parca's wire protocol and of OTLP profiles, declared by us from field numbers and types, and what
//! of our own has no place in them. No logic.
//!
//! Modules follow the package names. Byte fields are [`prost::bytes::Bytes`]: slices of the received message, not copies.

/// All files with their imports, encoded as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// OpenTelemetry's way in.
pub mod opentelemetry {
    use prost::bytes::Bytes;

    /// A request of `ProfilesService/Export` whose parts are as they came: for a reader that repairs text and knows more
    /// than one layout of samples.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RawExportRequest {
        /// Encoded `ResourceProfiles`.
        #[prost(bytes = "bytes", repeated, tag = "1")]
        pub resource_profiles: Vec<Bytes>,
        /// Encoded parts of one `ProfilesDictionary`.
        #[prost(bytes = "bytes", repeated, tag = "2")]
        pub dictionary: Vec<Bytes>,
    }

    /// Profiles, in a version that still changes.
    #[expect(clippy::allow_attributes, reason = "generated")]
    pub mod v1development {
        tonic::include_proto!("opentelemetry.proto.collector.profiles.v1development");
    }
}

/// What Parca's services have no words for.
pub mod decima {
    /// Object files that the store knows.
    pub mod debuginfo {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            tonic::include_proto!("decima.debuginfo.v1alpha1");
        }
    }
}

/// Messages and services by package.
pub mod parca {
    /// Parts of profiles in reports.
    pub mod metastore {
        /// First version, the only one.
        pub mod v1alpha1 {
            tonic::include_proto!("parca.metastore.v1alpha1");
        }
    }

    /// Object files of what is profiled.
    pub mod debuginfo {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            tonic::include_proto!("parca.debuginfo.v1alpha1");
        }
    }

    /// The way in.
    pub mod profilestore {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            tonic::include_proto!("parca.profilestore.v1alpha1");
        }
    }

    /// The way out.
    pub mod query {
        /// First version, the only one.
        #[expect(missing_docs, clippy::allow_attributes, reason = "generated; the .proto file has the words")]
        pub mod v1alpha1 {
            tonic::include_proto!("parca.query.v1alpha1");
        }
    }

    /// What is scraped.
    pub mod scrape {
        /// First version, the only one.
        #[expect(missing_docs, clippy::allow_attributes, reason = "generated; the .proto file has the words")]
        pub mod v1alpha1 {
            tonic::include_proto!("parca.scrape.v1alpha1");
        }
    }
}
