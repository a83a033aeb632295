//! LZ4 frames, decompressed to a length that is known.
//!
//! Every buffer of a stream is a frame of its own, mostly of a few hundred bytes, and its length stands before it. A
//! reader of frames allocates a block (of 4 MiB, as Go's writer declares them) for each frame; here blocks go
//! straight to where they belong. Frames of linked blocks, which agents do not write, take the reader.
//!
//! ```text
//! frame = 04 22 4d 18, FLG, BD, [content size u64], HC, block*, 00000000, [xxh32 of the content]
//! block = length u32 (high bit: not compressed), bytes, [xxh32 of these bytes]
//! ```

use std::io::Read;

use xxhash_rust::xxh32::xxh32;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT_BLOCKS: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const RESERVED: u8 = 0b0000_0010;
const DICTIONARY: u8 = 0b0000_0001;
const NOT_COMPRESSED: u32 = 1 << 31;

/// LZ4 makes at most 255 bytes of one; a larger promise is a lie, for which nothing should be allocated.
const RATIO_MAX: usize = 255;

/// Memory of a buffer at least, so that it does for the next ones too.
const MEMORY_BYTES: usize = 1 << 16;

/// Decompresses a frame that holds exactly `len` bytes, into `memory` whatever it holds. The caller has bounded `len`.
pub(super) fn decompress(frame: &[u8], len: usize, memory: Vec<u8>) -> Result<Vec<u8>, String> {
    if len > frame.len().saturating_mul(RATIO_MAX) {
        return Err(format!("{} bytes cannot hold {len}", frame.len()));
    }
    match frame.get(4) {
        Some(flags) if flags & INDEPENDENT_BLOCKS == 0 => linked(frame, len),
        _ => independent(frame, len, memory),
    }
}

fn linked(frame: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity(len);
    let decoder = lz4::Decoder::new(frame).map_err(|e| e.to_string())?;
    decoder.take(len as u64 + 1).read_to_end(&mut plain).map_err(|e| e.to_string())?;
    if plain.len() == len { Ok(plain) } else { Err(wrong_length(plain.len(), len)) }
}

#[cold]
fn wrong_length(found: usize, expected: usize) -> String {
    format!("it holds {found} bytes or more instead of {expected}")
}

fn independent(frame: &[u8], len: usize, memory: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut rest = frame;
    let flags = header(&mut rest)?;
    // What was there is overwritten: the blocks must make up all of it.
    let mut plain = memory;
    if plain.capacity() < len {
        plain = Vec::with_capacity(len.max(MEMORY_BYTES));
    }
    plain.resize(len, 0);
    let mut at = 0;
    loop {
        let word = u32::from_le_bytes(take::<4>(&mut rest)?);
        if word == 0 {
            break;
        }
        let size = (word & !NOT_COMPRESSED) as usize;
        let (block, after) = rest.split_at_checked(size).ok_or_else(cut_short)?;
        rest = after;
        if flags & BLOCK_CHECKSUM != 0 {
            check(block, &mut rest)?;
        }
        let target = plain.get_mut(at..).unwrap_or_default();
        at += if word & NOT_COMPRESSED != 0 {
            let target = target.get_mut(..size).ok_or_else(|| wrong_length(at + size, len))?;
            target.copy_from_slice(block);
            size
        } else {
            let room = i32::try_from(target.len()).unwrap_or(i32::MAX);
            lz4::block::decompress_to_buffer(block, Some(room), target).map_err(|e| e.to_string())?
        };
    }
    if at != len {
        return Err(wrong_length(at, len));
    }
    if flags & CONTENT_CHECKSUM != 0 {
        check(&plain, &mut rest)?;
    }
    Ok(plain)
}

/// Reads the header and gives its flags.
fn header(rest: &mut &[u8]) -> Result<u8, String> {
    if take::<4>(rest)? != MAGIC {
        return Err("it is no LZ4 frame".to_owned());
    }
    let described = *rest;
    let [flags, _block_size] = take::<2>(rest)?;
    if flags & VERSION_MASK != VERSION || flags & (RESERVED | DICTIONARY) != 0 {
        return Err("its LZ4 frame is of an unknown version".to_owned());
    }
    let mut described_len = 2;
    if flags & CONTENT_SIZE != 0 {
        take::<8>(rest)?;
        described_len += 8;
    }
    let [checksum] = take::<1>(rest)?;
    let described = described.get(..described_len).unwrap_or_default();
    if (xxh32(described, 0) >> 8) as u8 != checksum {
        return Err("the checksum of its LZ4 header is wrong".to_owned());
    }
    Ok(flags)
}

fn check(bytes: &[u8], rest: &mut &[u8]) -> Result<(), String> {
    let expected = u32::from_le_bytes(take::<4>(rest)?);
    if xxh32(bytes, 0) == expected { Ok(()) } else { Err("its LZ4 checksum is wrong".to_owned()) }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or_else(cut_short)?;
    *rest = after;
    Ok(*bytes)
}

#[cold]
fn cut_short() -> String {
    "its LZ4 frame is cut short".to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};

    use super::*;

    fn text(len: usize) -> Vec<u8> {
        (0..len as u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).take(len).collect()
    }

    /// Memory that something else was in.
    fn used() -> Vec<u8> {
        vec![0xaa; 100_000]
    }

    fn framed(plain: &[u8], info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn frames_of_every_kind_come_back() {
        for len in [0, 1, 100, 70_000, 200_000] {
            let plain = text(len);
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                for checked in [false, true] {
                    let info = FrameInfo::new()
                        .block_mode(mode)
                        .block_checksums(checked)
                        .content_checksum(checked)
                        .content_size(checked.then_some(len as u64));
                    let frame = framed(&plain, info);
                    assert_eq!(decompress(&frame, len, used()).unwrap(), plain, "{len} {mode:?} {checked}");
                    assert!(decompress(&frame, len + 1, used()).is_err());
                    if len > 0 {
                        assert!(decompress(&frame, len - 1, used()).is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn damage_is_told() {
        let plain = text(1000);
        let info = FrameInfo::new().block_mode(BlockMode::Independent).content_checksum(true);
        let frame = framed(&plain, info);
        for end in 0..frame.len() {
            assert!(decompress(&frame[..end], 1000, used()).is_err(), "{end}");
        }
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x10;
            // Damage of the declared block size alone hides behind nothing but the header's checksum.
            assert!(decompress(&damaged, 1000, used()).is_err(), "{at}");
        }
    }
}
