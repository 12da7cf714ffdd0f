//! The `aws-chunked` encoding of a body: chunks of data, each signed or not, and trailing headers. Decodes piece by piece;
//! a chunk is never gathered, so its length does not matter to memory.

use super::error::{invalid_request, malformed_trailer};
use crate::{
    aws::Error,
    sigv4::{self, Claim},
};
use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// Longest line before a chunk.
const LINE_BYTES_MAX: usize = 512;
/// Longest trailers together.
const TRAILERS_BYTES_MAX: usize = 8 << 10;
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Verifies the chain of signatures of chunks: each is over the one before it.
pub struct Chain {
    pub claim: Claim,
    pub secret: String,
    previous: Vec<u8>,
}

impl Chain {
    /// A chain that begins with the request's own signature.
    pub fn new(claim: Claim, secret: String) -> Self {
        let previous = claim.signature().to_vec();
        Self { claim, secret, previous }
    }

    fn chunk(&mut self, sha256: &str, signature: &[u8]) -> Result<(), sigv4::Error> {
        let text = format!("{}\n{EMPTY_SHA256}\n{sha256}", hex::encode(&self.previous));
        self.link("AWS4-HMAC-SHA256-PAYLOAD", &text, signature)
    }

    fn trailer(&mut self, sha256: &str, signature: &[u8]) -> Result<(), sigv4::Error> {
        let text = format!("{}\n{sha256}", hex::encode(&self.previous));
        self.link("AWS4-HMAC-SHA256-TRAILER", &text, signature)
    }

    fn link(&mut self, algorithm: &str, text: &str, signature: &[u8]) -> Result<(), sigv4::Error> {
        self.claim.verify_text(&self.secret, algorithm, text, signature)?;
        self.previous = signature.to_vec();
        Ok(())
    }
}

/// Takes the encoding off.
pub struct Decoder {
    /// `None` when chunks are not signed.
    chain: Option<Chain>,
    /// Whether trailers may come.
    trailers: bool,
    input: BytesMut,
    state: State,
    found: Vec<(String, String)>,
}

enum State {
    Line,
    Data { left: u64, hash: Option<(Sha256, Vec<u8>)> },
    AfterData,
    Trailers { bytes: usize },
    Done,
}

impl Decoder {
    /// A decoder of chunks that are signed when there is a chain.
    pub fn new(chain: Option<Chain>, trailers: bool) -> Self {
        Self { chain, trailers, input: BytesMut::new(), state: State::Line, found: Vec::new() }
    }

    /// Takes what came; gives data through `next`.
    pub fn feed(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
    }

    /// The next data; `None` when more must come first.
    pub fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match &mut self.state {
                State::Line => {
                    let Some(line) = take_line(&mut self.input, LINE_BYTES_MAX)? else { return Ok(None) };
                    self.begin(&line)?;
                }
                State::Data { left: 0, .. } => self.end_of_data()?,
                State::Data { left, hash } => {
                    if self.input.is_empty() {
                        return Ok(None);
                    }
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                    let data = self.input.split_to(length).freeze();
                    *left -= length as u64;
                    if let Some((hash, _)) = hash {
                        hash.update(&data);
                    }
                    return Ok(Some(data));
                }
                State::AfterData => {
                    if self.input.len() < 2 {
                        return Ok(None);
                    }
                    if &self.input[..2] != b"\r\n" {
                        return Err(malformed());
                    }
                    self.input.advance(2);
                    self.state = State::Line;
                }
                State::Trailers { bytes } => {
                    let Some(line) = take_line(&mut self.input, TRAILERS_BYTES_MAX)? else { return Ok(None) };
                    *bytes += line.len();
                    if *bytes > TRAILERS_BYTES_MAX {
                        return Err(malformed_trailer());
                    }
                    if line.is_empty() {
                        self.state = State::Done;
                    } else {
                        let (name, value) = line.split_once(':').ok_or_else(malformed_trailer)?;
                        self.found.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                    }
                }
                State::Done if self.input.is_empty() => return Ok(None),
                State::Done => return Err(malformed()),
            }
        }
    }

    /// The end of the body: the trailers, once their signature is right.
    pub fn finish(mut self) -> Result<Vec<(String, String)>, Error> {
        match self.state {
            State::Done => {}
            // Some clients leave out the last empty line.
            State::Trailers { .. } if self.input.is_empty() => {}
            _ => {
                return Err(Error::bad_request("IncompleteBody", "The request body terminated unexpectedly"));
            }
        }
        let signature = self.found.iter().position(|(name, _)| name == "x-amz-trailer-signature");
        let signature = signature.map(|at| self.found.remove(at).1);
        if let Some(chain) = &mut self.chain
            && self.trailers
        {
            let signature = signature.and_then(|text| hex::decode(text).ok()).unwrap_or_default();
            let mut signed: Vec<String> = self.found.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
            signed.sort_unstable();
            let sha256 = hex::encode(Sha256::digest(signed.concat()));
            chain.trailer(&sha256, &signature).map_err(mismatch)?;
        }
        Ok(self.found)
    }

    /// A chunk's first line: its length in hexadecimal, and its signature.
    fn begin(&mut self, line: &str) -> Result<(), Error> {
        let (length, extension) = line.split_once(';').unwrap_or((line, ""));
        let valid = (1..=15).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_hexdigit());
        let left = valid.then(|| u64::from_str_radix(length, 16).ok()).flatten().ok_or_else(malformed)?;
        let hash = match &self.chain {
            Some(_) => {
                let signature = extension.trim().strip_prefix("chunk-signature=").ok_or_else(malformed)?;
                Some((Sha256::new(), hex::decode(signature).unwrap_or_default()))
            }
            None => None,
        };
        if left == 0 {
            if let (Some(chain), Some((hash, signature))) = (&mut self.chain, hash) {
                chain.chunk(&hex::encode(hash.finalize()), &signature).map_err(mismatch)?;
            }
            self.state = State::Trailers { bytes: 0 };
        } else {
            self.state = State::Data { left, hash };
        }
        Ok(())
    }

    fn end_of_data(&mut self) -> Result<(), Error> {
        if let (State::Data { hash: Some((hash, signature)), .. }, Some(chain)) =
            (std::mem::replace(&mut self.state, State::AfterData), &mut self.chain)
        {
            chain.chunk(&hex::encode(hash.finalize()), &signature).map_err(mismatch)?;
        }
        Ok(())
    }
}

fn take_line(input: &mut BytesMut, most: usize) -> Result<Option<String>, Error> {
    match input.iter().take(most + 2).position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = input.split_to(end + 1);
            let line = line.strip_suffix(b"\r\n").ok_or_else(malformed)?;
            String::from_utf8(line.to_vec()).map(Some).map_err(|_| malformed())
        }
        None if input.len() > most => Err(malformed()),
        None => Ok(None),
    }
}

fn malformed() -> Error {
    invalid_request("The body is not in the aws-chunked encoding that the request announces.")
}

fn mismatch(error: sigv4::Error) -> Error {
    Error::of_signer(&error.into(), crate::aws::Protocol::RestXml)
}
