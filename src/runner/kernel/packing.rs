//! What is packed, unpacked here and not by programs of the host: their versions differ in what they
//! take, and what they are fed is strangers' work. Bounded in memory; whoever reads bounds the length.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// The dictionary of `xz -9` has 64 MiB, that of `zstd --long` 128 MiB: nothing needs more.
const WINDOW: u64 = 128 << 20;
const XZ_MEMORY_KIB: u32 = 160 << 10;

/// Reads what `input` packs, by its first bytes; what is not packed, as it is.
///
/// # Errors
/// The reader's, and where it is packed in a way that is not read here.
pub fn unpacking<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let head = input.fill_buf()?;
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(b"\xfd7zXZ\0") {
        return Ok(Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)));
    }
    if starts(b"\x1f\x8b") {
        return Ok(Box::new(MultiGzDecoder::new(input)));
    }
    if starts(b"\x28\xb5\x2f\xfd") || is_skippable(head) {
        return Ok(Box::new(Zstd::Between(Some(input))));
    }
    let other = [(&b"BZh"[..], "bzip2"), (b"\x5d\0\0", "lzma"), (b"\x04\x22\x4d\x18", "lz4")];
    match other.iter().find(|(magic, _)| starts(magic)) {
        None => Ok(Box::new(input)),
        Some((_, name)) => Err(io::Error::other(format!(
            "it is packed with {name}; gzip, xz and zstd are read: unpack it first"
        ))),
    }
}

/// RFC 8878 §3.1.2: frames to pass over.
fn is_skippable(head: &[u8]) -> bool {
    matches!(head.first_chunk::<4>(), Some([0x50..=0x5f, 0x2a, 0x4d, 0x18]))
}

/// Frame after frame: some packers write many.
enum Zstd<R: BufRead> {
    Between(Option<R>),
    Within(Box<StreamingDecoder<R, FrameDecoder>>),
}

impl<R: BufRead> Zstd<R> {
    /// At the next frame; nothing at the end of all.
    fn next_frame(mut input: R) -> io::Result<Option<Self>> {
        loop {
            let head = input.fill_buf()?;
            if head.is_empty() {
                return Ok(None);
            }
            if !is_skippable(head) {
                let decoder = StreamingDecoder::new_with_max_window_size(input, WINDOW)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                return Ok(Some(Zstd::Within(Box::new(decoder))));
            }
            let (mut magic, mut length) = ([0; 4], [0; 4]);
            input.read_exact(&mut magic)?;
            input.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                _ if buffer.is_empty() => return Ok(0),
                Zstd::Within(decoder) => match decoder.read(buffer)? {
                    0 => {}
                    read => return Ok(read),
                },
                Zstd::Between(None) => return Ok(0),
                Zstd::Between(Some(_)) => {}
            }
            let input = match std::mem::replace(self, Zstd::Between(None)) {
                Zstd::Within(decoder) => decoder.into_inner(),
                Zstd::Between(Some(input)) => input,
                Zstd::Between(None) => return Ok(0),
            };
            if let Some(next) = Zstd::next_frame(input)? {
                *self = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::tools::Tool;
    use proptest::prelude::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpacking(bytes)?.take(1 << 20).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn whatever_packed_it_comes_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let text = b"depends=virtio_ring ".repeat(5_000);
        std::fs::write(&path, &text).unwrap();
        assert_eq!(unpacked(&text).unwrap(), text);
        for (program, package, options) in [
            ("gzip", "gzip", "-c"),
            ("xz", "xz-utils", "-c"),
            ("xz", "xz-utils", "-9ec"),
            ("zstd", "zstd", "-cq"),
            ("zstd", "zstd", "-cq19"),
        ] {
            let tool = Tool::find(program, package).unwrap().arg(options).arg(&path);
            let packed = tool.output().unwrap();
            assert_eq!(unpacked(&packed).unwrap(), text, "{program}");
            // Two in a row, as pigz, pzstd and cat make them.
            assert_eq!(unpacked(&packed.repeat(2)).unwrap(), text.repeat(2), "{program}");
            let cut = packed.get(..packed.len() / 2).unwrap();
            assert!(unpacked(cut).is_err(), "{program}: half of it is not it");
        }
        let bzip2 = unpacked(b"BZh91AY&SY").unwrap_err().to_string();
        assert!(bzip2.contains("bzip2") && bzip2.contains("unpack it first"), "{bzip2}");
    }

    #[test]
    fn frames_to_pass_over_are_passed_over() {
        let mut bytes = b"\x50\x2a\x4d\x18\x04\0\0\0skip".to_vec();
        let frame = ruzstd::encoding::compress_to_vec(
            &b"frame"[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        bytes.extend(&frame);
        assert_eq!(unpacked(&bytes).unwrap(), b"frame");
    }

    /// A frame that asks for 2 GiB of memory before it has shown anything for it.
    #[test]
    fn a_window_beyond_reason_is_refused() {
        // RFC 8878 §3.1.1.1: no single segment; window descriptor: exponent 21, 2^(10+21).
        let bytes = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
        assert!(unpacked(&bytes).unwrap_err().to_string().contains("window_size"));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_bytes_or_an_error(
            kind in 0..4_usize, tail in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let magic: [&[u8]; 4] =
                [b"\xfd7zXZ\0", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"];
            let _ = unpacked(&[magic[kind], &tail].concat());
        }
    }
}
