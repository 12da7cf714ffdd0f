//! Frames of the job protocol (`docs/jobs.md`): a kind, a JSON header, a body. Reads them from a connection piece by piece,
//! so that no body need be whole in memory, and writes them. Knows nothing of jobs.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use thiserror::Error;

/// Kind, length of the header, length of the body.
const HEAD_BYTES: usize = 13;
/// Longest header.
const HEADER_BYTES_MAX: u32 = 1 << 20;

/// Longest bodies of frames that have one.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of an `S`.
    pub function_file_bytes: u64,
    /// Of a `C`.
    pub arguments_bytes: u64,
}

/// Why bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// No client sends such a frame.
    #[error("there is no frame of kind {:?}", char::from(*.0))]
    Kind(u8),
    /// The header is too long.
    #[error("a frame's header of {0} bytes is longer than 1 MiB")]
    Header(u32),
    /// The body is too long for its kind.
    #[error("the body of a frame {:?} has {bytes} bytes, and may have {most}", char::from(*.kind))]
    Body {
        /// The frame's kind.
        kind: u8,
        /// Length of its body.
        bytes: u64,
        /// Most bytes of a body of that kind.
        most: u64,
    },
}

/// A part of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A frame begins.
    Head {
        /// Its kind.
        kind: u8,
        /// Its header.
        header: Bytes,
        /// Length of its body, which follows.
        body_bytes: u64,
    },
    /// A piece of the body of the frame that began last; never empty.
    Body(Bytes),
}

/// Cuts what comes into parts of frames. After an error it is of no more use.
pub struct Reader {
    bounds: Bounds,
    /// What came and is not cut yet.
    came: Bytes,
    /// The beginning of a frame, up to the end of its header.
    begun: BytesMut,
    /// What is still to come of the body.
    body_bytes: u64,
}

impl Reader {
    /// A reader at the beginning of a frame.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, came: Bytes::new(), begun: BytesMut::new(), body_bytes: 0 }
    }

    /// Takes bytes of the connection. What `part` has not given yet comes before them.
    pub fn push(&mut self, bytes: Bytes) {
        if self.came.is_empty() {
            self.came = bytes;
        } else {
            let mut all = BytesMut::from(std::mem::take(&mut self.came));
            all.extend_from_slice(&bytes);
            self.came = all.freeze();
        }
    }

    /// The next part; `None` when more bytes are needed.
    pub fn part(&mut self) -> Result<Option<Part>, Error> {
        if self.body_bytes > 0 {
            if self.came.is_empty() {
                return Ok(None);
            }
            let here = self.came.len().min(usize::try_from(self.body_bytes).unwrap_or(usize::MAX));
            self.body_bytes -= here as u64;
            return Ok(Some(Part::Body(self.came.split_to(here))));
        }
        if !self.begin(HEAD_BYTES) {
            return Ok(None);
        }
        let (kind, header_bytes, body_bytes) = self.head();
        self.check(kind, header_bytes, body_bytes)?;
        if !self.begin(HEAD_BYTES + header_bytes as usize) {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.begun);
        let header = frame.split_off(HEAD_BYTES).freeze();
        self.body_bytes = body_bytes;
        Ok(Some(Part::Head { kind, header, body_bytes }))
    }

    /// Whether nothing of a frame has come that is not complete.
    pub fn is_between_frames(&self) -> bool {
        self.came.is_empty() && self.begun.is_empty() && self.body_bytes == 0
    }

    /// Has `bytes` of the frame, if they have come.
    fn begin(&mut self, bytes: usize) -> bool {
        let here = bytes.saturating_sub(self.begun.len()).min(self.came.len());
        self.begun.extend_from_slice(&self.came.split_to(here));
        self.begun.len() >= bytes
    }

    fn head(&self) -> (u8, u32, u64) {
        let at = |index: usize| self.begun[index];
        let header = u32::from_le_bytes([at(1), at(2), at(3), at(4)]);
        (at(0), header, u64::from_le_bytes([at(5), at(6), at(7), at(8), at(9), at(10), at(11), at(12)]))
    }

    fn check(&self, kind: u8, header_bytes: u32, body_bytes: u64) -> Result<(), Error> {
        let most = match kind {
            b'S' => self.bounds.function_file_bytes,
            b'C' => self.bounds.arguments_bytes,
            b'X' | b'Z' | b'A' => 0,
            _ => return Err(Error::Kind(kind)),
        };
        if header_bytes > HEADER_BYTES_MAX {
            return Err(Error::Header(header_bytes));
        }
        if body_bytes > most {
            return Err(Error::Body { kind, bytes: body_bytes, most });
        }
        Ok(())
    }
}

/// The bytes of a frame up to its body.
pub fn head(kind: u8, header: &impl Serialize, body_bytes: u64) -> Bytes {
    let mut out = BytesMut::zeroed(HEAD_BYTES).writer();
    // Our headers have nothing that JSON could refuse.
    let _ = serde_json::to_writer(&mut out, header);
    let mut out = out.into_inner();
    let header_bytes = (out.len() - HEAD_BYTES) as u32;
    out[0] = kind;
    out[1..5].copy_from_slice(&header_bytes.to_le_bytes());
    out[5..HEAD_BYTES].copy_from_slice(&body_bytes.to_le_bytes());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOUNDS: Bounds = Bounds { function_file_bytes: 1000, arguments_bytes: 100 };

    /// All parts of `bytes` that come `step` at a time, pieces of a body put together.
    fn parts(bytes: &[u8], step: usize) -> Result<Vec<Part>, Error> {
        let mut reader = Reader::new(BOUNDS);
        let mut parts: Vec<Part> = Vec::new();
        for piece in bytes.chunks(step) {
            reader.push(Bytes::copy_from_slice(piece));
            while let Some(part) = reader.part()? {
                match (parts.last_mut(), part) {
                    (Some(Part::Body(before)), Part::Body(more)) => *before = [&before[..], &more].concat().into(),
                    (_, part) => parts.push(part),
                }
            }
        }
        assert!(reader.is_between_frames());
        Ok(parts)
    }

    fn frame(kind: u8, header: &serde_json::Value, body: &[u8]) -> Vec<u8> {
        [&head(kind, header, body.len() as u64)[..], body].concat()
    }

    #[test]
    fn frames_are_the_same_however_they_come() {
        let bytes = [
            frame(b'S', &json!({"name": "f"}), &[7; 1000]),
            frame(b'C', &json!({"n": 0}), b""),
            frame(b'C', &json!({"n": 1}), b"arguments"),
            frame(b'Z', &json!({}), b""),
        ]
        .concat();
        let whole = parts(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), 6);
        assert_eq!(whole[0], Part::Head { kind: b'S', header: r#"{"name":"f"}"#.into(), body_bytes: 1000 });
        assert_eq!(whole[4], Part::Body("arguments".into()));
        for step in 1..40 {
            assert_eq!(parts(&bytes, step).unwrap(), whole, "{step} bytes at a time");
        }
    }

    #[test]
    fn what_is_pushed_before_the_last_is_read_is_kept() {
        let mut reader = Reader::new(BOUNDS);
        let bytes = frame(b'C', &json!({"n": 5}), b"ab");
        bytes.iter().for_each(|byte| reader.push(Bytes::copy_from_slice(&[*byte])));
        assert!(matches!(reader.part(), Ok(Some(Part::Head { kind: b'C', body_bytes: 2, .. }))));
        assert_eq!(reader.part(), Ok(Some(Part::Body("ab".into()))));
        assert_eq!(reader.part(), Ok(None));
    }

    #[test]
    fn bounds_hold_before_anything_is_kept() {
        let too_long = |kind: u8, header: u32, body: u64| {
            let mut reader = Reader::new(BOUNDS);
            reader.push([&[kind][..], &header.to_le_bytes(), &body.to_le_bytes()].concat().into());
            reader.part().unwrap_err()
        };
        assert_eq!(too_long(b'Q', 0, 0), Error::Kind(b'Q'));
        assert_eq!(too_long(b'C', u32::MAX, 0), Error::Header(u32::MAX));
        assert_eq!(too_long(b'C', 2, 101), Error::Body { kind: b'C', bytes: 101, most: 100 });
        assert_eq!(too_long(b'S', 2, u64::MAX), Error::Body { kind: b'S', bytes: u64::MAX, most: 1000 });
        assert_eq!(too_long(b'Z', 2, 1), Error::Body { kind: b'Z', bytes: 1, most: 0 });
    }
}
