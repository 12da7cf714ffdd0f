//! Frames of a job's client: cut the same however they come, and never more of a body than its frame says.

#![no_main]

use dayfly_gateway::frames::{Bounds, Error, Part, Reader};
use libfuzzer_sys::fuzz_target;

const BOUNDS: Bounds = Bounds { function_file_bytes: 512, arguments_bytes: 64 };

fuzz_target!(|input: &[u8]| {
    // The first byte says in what pieces the rest comes.
    let Some((step, bytes)) = input.split_first() else { return };
    let whole = cut(bytes, bytes.len().max(1));
    assert_eq!(whole, cut(bytes, usize::from(*step).max(1)));
});

/// Every frame as kind, header and body, and how it ended.
fn cut(bytes: &[u8], step: usize) -> (Vec<(u8, Vec<u8>, Vec<u8>)>, Result<bool, Error>) {
    let mut reader = Reader::new(BOUNDS);
    let mut frames: Vec<(u8, Vec<u8>, Vec<u8>)> = Vec::new();
    let mut body_left = 0;
    for piece in bytes.chunks(step) {
        reader.push(piece.to_vec().into());
        loop {
            match reader.part() {
                Ok(None) => break,
                Ok(Some(Part::Head { kind, header, body_bytes })) => {
                    assert_eq!(body_left, 0, "a frame begins within another");
                    assert!(body_bytes <= 512 && header.len() <= 1 << 20);
                    body_left = body_bytes;
                    frames.push((kind, header.to_vec(), Vec::new()));
                }
                Ok(Some(Part::Body(piece))) => {
                    assert!(!piece.is_empty() && piece.len() as u64 <= body_left);
                    body_left -= piece.len() as u64;
                    frames.last_mut().expect("a body has a frame").2.extend_from_slice(&piece);
                }
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(reader.is_between_frames()))
}
