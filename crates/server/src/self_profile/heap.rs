//! Memory: what is allocated, from the allocations that jemalloc samples.
//!
//! Jemalloc writes text:
//!
//! ```text
//! dump  = "heap_v2/" interval-bytes  totals  ( stack )*  "MAPPED_LIBRARIES:" …
//! stack = "@" ( " 0x" return-address )*      leaf first
//!         "  t*: " objects ": " bytes " [" objects-ever ": " bytes-ever "]"
//!         ( "  t" thread ": " … )*
//! ```

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    time::SystemTime,
};

use jemalloc_pprof::PROF_CTL;

use super::{
    SelfProfileError,
    report::{self, Measured},
    symbols::{self, Symbol},
};

/// Longest line that is read: 128 addresses, and some.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// A gzipped pprof of what is allocated now.
pub(super) async fn profile() -> Result<Vec<u8>, SelfProfileError> {
    let Some(control) = PROF_CTL.as_ref() else { return Err(SelfProfileError::HeapOff) };
    let mut control = control.clone().lock_owned().await;
    if !control.activated() {
        return Err(SelfProfileError::HeapOff);
    }
    let work = move || {
        let dump = control.dump().map_err(|error| SelfProfileError::Heap { reason: error.to_string() })?;
        drop(control);
        let measured = measured(dump)?;
        Ok(symbols::with(|symbols| report::encode(&measured, symbols)))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SelfProfileError::Heap { reason: error.to_string() })?
}

fn measured(dump: File) -> Result<Measured, SelfProfileError> {
    let dump = parse(BufReader::new(dump))?;
    // What was ever allocated is there only if jemalloc was told to add it up (prof_accum).
    let has_ever = dump.stacks.iter().any(|stack| stack.ever.objects > 0);
    let mut sample_types = vec![("inuse_objects", "count"), ("inuse_space", "bytes")];
    if has_ever {
        sample_types.splice(0..0, [("alloc_objects", "count"), ("alloc_space", "bytes")]);
    }
    let stacks = dump.stacks.into_iter().map(|stack| {
        let mut values = Vec::with_capacity(sample_types.len());
        if has_ever {
            values.extend(stack.ever.estimate(dump.interval_bytes));
        }
        values.extend(stack.now.estimate(dump.interval_bytes));
        (stack.addresses, values)
    });
    Ok(Measured {
        stacks: stacks.collect(),
        is_instrument: is_allocator,
        sample_types,
        period: ("space", "bytes", dump.interval_bytes as i64),
        time: SystemTime::now(),
        duration_ns: 0,
    })
}

/// Whether a function is of the allocator, which is below every allocation.
fn is_allocator(symbol: &Symbol) -> bool {
    symbol.file.contains("jemalloc")
        || symbol.name.starts_with("alloc::alloc::")
        || symbol.system_name.starts_with("_rjem_")
        || symbol.system_name.contains("__rust_alloc")
        || symbol.system_name.contains("__rust_realloc")
        || &*symbol.system_name == "prof_backtrace_impl"
}

struct Dump {
    /// Bytes between samples, on average.
    interval_bytes: u64,
    stacks: Vec<Stack>,
}

#[derive(Debug, PartialEq)]
struct Stack {
    /// Within the calling instructions, leaf first.
    addresses: Vec<u64>,
    now: Sampled,
    ever: Sampled,
}

/// Sampled objects and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sampled {
    objects: u64,
    bytes: u64,
}

impl Sampled {
    /// How many objects and bytes there are for those that were sampled: an object of `size` is sampled with
    /// probability 1 − e^(−size/interval). Jemalloc prepares its numbers for exactly this, by the mean size of the stack.
    fn estimate(self, interval_bytes: u64) -> [i64; 2] {
        if self.objects == 0 || self.bytes == 0 {
            return [0, 0];
        }
        let mean_bytes = self.bytes as f64 / self.objects as f64;
        let probability = 1.0 - (-mean_bytes / interval_bytes as f64).exp();
        [self.objects, self.bytes].map(|sampled| (sampled as f64 / probability).round() as i64)
    }
}

fn parse(mut dump: impl BufRead) -> Result<Dump, SelfProfileError> {
    let malformed = |line: &str| SelfProfileError::Heap { reason: format!("not understood: {line:?}") };
    let mut line = String::new();
    let mut interval_bytes = None;
    let mut addresses = None;
    let mut stacks = Vec::new();
    while read_line(&mut dump, &mut line)? {
        let text = line.trim();
        if let Some(interval) = text.strip_prefix("heap_v2/") {
            interval_bytes = Some(interval.parse().map_err(|_| malformed(text))?);
        } else if let Some(list) = text.strip_prefix('@') {
            addresses = Some(
                list.split_whitespace()
                    .map(address)
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| malformed(text))?,
            );
        } else if let Some(counts) = text.strip_prefix("t*:") {
            // The first counts are the totals, before any stack.
            let Some(addresses) = addresses.take() else { continue };
            let (now, ever) = sampled(counts).ok_or_else(|| malformed(text))?;
            stacks.push(Stack { addresses, now, ever });
        } else if text.starts_with("MAPPED_LIBRARIES") {
            break;
        }
    }
    match interval_bytes {
        Some(interval_bytes) if interval_bytes > 0 => Ok(Dump { interval_bytes, stacks }),
        _ => Err(malformed("no heap_v2")),
    }
}

fn read_line(dump: &mut impl BufRead, line: &mut String) -> Result<bool, SelfProfileError> {
    line.clear();
    let read = Read::take(dump, LINE_BYTES_MAX).read_line(line);
    read.map(|bytes| bytes > 0).map_err(|error| SelfProfileError::Heap { reason: error.to_string() })
}

/// From the address of return, just behind the call, to the call.
fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?.checked_sub(1)
}

/// ` 7: 4096 [9: 8192]`
fn sampled(text: &str) -> Option<(Sampled, Sampled)> {
    let (now, ever) = text.split_once('[')?;
    let pair = |text: &str| {
        let (objects, bytes) = text.split_once(':')?;
        Some(Sampled { objects: objects.trim().parse().ok()?, bytes: bytes.trim().parse().ok()? })
    };
    Some((pair(now)?, pair(ever.strip_suffix(']')?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "heap_v2/524288\n  t*: 3: 200 [0: 0]\n  t0: 3: 200 [0: 0]\n@ 0x10 0x21\n  t*: 2: 1048576 [5: 2048]\n  t1: 2: 1048576 [5: 2048]\n@\n  t*: 0: 0 [0: 0]\nMAPPED_LIBRARIES:\n@ 0xzz\n";

    #[test]
    fn dump() {
        let dump = parse(DUMP.as_bytes()).unwrap();
        assert_eq!(dump.interval_bytes, 524_288);
        let first = Stack {
            addresses: vec![0xf, 0x20],
            now: Sampled { objects: 2, bytes: 1_048_576 },
            ever: Sampled { objects: 5, bytes: 2048 },
        };
        assert_eq!(
            dump.stacks,
            [first, Stack { addresses: vec![], now: Sampled::default(), ever: Sampled::default() }]
        );
    }

    #[test]
    fn estimate() {
        // Objects as large as the interval are sampled 63.2 % of the time.
        assert_eq!(Sampled { objects: 2, bytes: 1_048_576 }.estimate(524_288), [3, 1_658_823]);
        // Small ones stand for the interval each.
        assert_eq!(Sampled { objects: 1, bytes: 16 }.estimate(524_288), [32_769, 524_296]);
        assert_eq!(Sampled { objects: 0, bytes: 0 }.estimate(524_288), [0, 0]);
    }

    #[test]
    fn damaged() {
        for text in ["", "heap_v2/x\n", "heap_v2/0\n", "heap_v2/1\n@ 0xzz\n", "heap_v2/1\n@ 0x1\n t*: 1 2\n"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
