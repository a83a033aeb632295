//! A block: samples that never change again, as plain Parquet files that any engine reads.
//!
//! ```text
//! blocks/<ULID>/samples.parquet      one row a sample, sorted by partition, series, time, stacktrace
//!               points.parquet       one row a series and time: sum, count
//!               nodes.parquet        stacktrace tree, preorder within the partition
//!               stacktraces.parquet  leaf node of each stacktrace
//!               locations.parquet    one row a location and line
//!               series.parquet       labels, and the row ranges of the series and of its partition in the files above
//!               attributes.parquet   distinct values of sample attributes
//!               requests.parquet     hashes of the requests, for repeats
//!               block.json           ranges, counts, sizes, checksums of all files
//! ```
//! Ids are dense over the block and contiguous by partition, so that one partition is a range of rows in every file. `block.json` is put
//! last; its own checksum is in the manifest. Every read of a file is checked against the checksums of its 32 KiB parts,
//! so damage is found before a number is computed from it.
//!
//! [`write`] makes a block of a head, [`read`] answers queries from it.

pub(crate) mod columns;
pub(crate) mod file;
pub(crate) mod meta;
pub(crate) mod read;
mod scan;
pub(crate) mod write;
