//! Messages and services of Parca's wire protocol and of OTLP profiles, declared by us from field numbers and types, and what
//! of our own has no place in them. No logic but that of the [codec](Codec), which says where a message is wrong.
//!
//! What is in `src/generated` is made from the files in `proto` by this crate's test, which also compares the two.
//!
//! Modules follow the package names. Byte fields are [`prost::bytes::Bytes`]: slices of the received message, not copies.

/// All files with their imports, encoded as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

mod codec;
mod encoded;
mod malformed;

pub use codec::{Codec, NO_MESSAGE, decode};
pub use encoded::Encoded;
pub use malformed::{Malformed, Reason};

/// OpenTelemetry's way in.
pub mod opentelemetry {
    /// Profiles, in a version that still changes.
    #[expect(clippy::allow_attributes, reason = "generated")]
    pub mod v1development {
        include!("generated/opentelemetry.proto.collector.profiles.v1development.rs");
    }
}

/// What Parca's services have no words for.
pub mod decima {
    /// Object files that the store knows.
    pub mod debuginfo {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            include!("generated/decima.debuginfo.v1alpha1.rs");
        }
    }

    /// Who sends, what is scraped, and how that goes.
    pub mod ingest {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            include!("generated/decima.ingest.v1alpha1.rs");
        }
    }
}

/// Messages and services by package.
pub mod parca {
    /// Parts of profiles in reports.
    pub mod metastore {
        /// First version, the only one.
        pub mod v1alpha1 {
            include!("generated/parca.metastore.v1alpha1.rs");
        }
    }

    /// Object files of what is profiled.
    pub mod debuginfo {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            include!("generated/parca.debuginfo.v1alpha1.rs");
        }
    }

    /// The way in.
    pub mod profilestore {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            include!("generated/parca.profilestore.v1alpha1.rs");

            /// Pprof files of one or more series, for those who send them; who takes them gets an [`Encoded`](crate::Encoded).
            #[derive(Clone, PartialEq, ::prost::Message)]
            pub struct WriteRawRequest {
                /// Ignored.
                #[prost(string, tag = "1")]
                pub tenant: ::prost::alloc::string::String,
                /// Series with their profiles.
                #[prost(message, repeated, tag = "2")]
                pub series: ::prost::alloc::vec::Vec<RawProfileSeries>,
                /// Whether addresses are those of the object file already.
                #[prost(bool, tag = "3")]
                pub normalized: bool,
            }
        }
    }

    /// The way out.
    pub mod query {
        /// First version, the only one.
        #[expect(missing_docs, clippy::allow_attributes, reason = "generated; the .proto file has the words")]
        pub mod v1alpha1 {
            include!("generated/parca.query.v1alpha1.rs");
        }
    }

    /// What is scraped.
    pub mod scrape {
        /// First version, the only one.
        #[expect(missing_docs, clippy::allow_attributes, reason = "generated; the .proto file has the words")]
        pub mod v1alpha1 {
            include!("generated/parca.scrape.v1alpha1.rs");
        }
    }

    /// What agents tell of themselves.
    pub mod telemetry {
        /// First version, the only one.
        #[expect(clippy::allow_attributes, reason = "generated")]
        pub mod v1alpha1 {
            include!("generated/parca.telemetry.v1alpha1.rs");
        }
    }
}
