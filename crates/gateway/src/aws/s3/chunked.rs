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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::Hashed;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const SIGNATURES: [&str; 4] = [
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ];

    /// The example in AWS's "Signature calculations for the Authorization header: transferring payload in multiple chunks".
    fn example() -> (Chain, Vec<u8>) {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
             x-amz-decoded-content-length;x-amz-storage-class,Signature={}",
            SIGNATURES[0]
        );
        let parts = http::Request::builder()
            .method("PUT")
            .uri("/examplebucket/chunkObject.txt")
            .header("host", "s3.amazonaws.com")
            .header("x-amz-date", "20130524T000000Z")
            .header("x-amz-storage-class", "REDUCED_REDUNDANCY")
            .header("authorization", authorization)
            .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "66560")
            .header("content-length", "66824")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let claim = Claim::read(&parts).unwrap();
        claim.verify(SECRET, &parts, Hashed::Said("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")).unwrap();
        let mut body = Vec::new();
        for (length, signature) in [65_536, 1024, 0].into_iter().zip(&SIGNATURES[1..]) {
            body.extend(format!("{length:x};chunk-signature={signature}\r\n").bytes());
            body.extend(std::iter::repeat_n(b'a', length));
            body.extend(b"\r\n");
        }
        assert_eq!(body.len(), 66_824);
        (Chain::new(claim, SECRET.to_owned()), body)
    }

    type Decoded = (Vec<u8>, Vec<(String, String)>);

    fn decode(mut decoder: Decoder, body: &[u8], step: usize) -> Result<Decoded, Error> {
        let mut data = Vec::new();
        for piece in body.chunks(step) {
            decoder.feed(piece);
            while let Some(found) = decoder.next()? {
                data.extend(found);
            }
        }
        Ok((data, decoder.finish()?))
    }

    #[test]
    fn the_chunks_of_aws_s_example_verify_however_they_come() {
        for step in [1, 7, 1000, 70_000] {
            let (chain, body) = example();
            let (data, trailers) = decode(Decoder::new(Some(chain), false), &body, step).unwrap();
            assert_eq!((data.len(), trailers.len()), (66_560, 0));
            assert!(data.iter().all(|byte| *byte == b'a'));
        }
    }

    #[test]
    fn a_changed_chunk_does_not_verify() {
        for at in [90, 65_700, 66_740] {
            let (chain, mut body) = example();
            body[at] = if body[at] == b'b' { b'c' } else { b'b' };
            assert!(decode(Decoder::new(Some(chain), false), &body, 4096).is_err(), "{at}");
        }
        let (chain, body) = example();
        let error = decode(Decoder::new(Some(chain), false), &body[..66_000], 4096).unwrap_err();
        assert_eq!(error.code, "IncompleteBody");
        let (chain, _) = example();
        let error = decode(Decoder::new(Some(chain), false), b"3\r\nabc\r\n0\r\n\r\n", 4096).unwrap_err();
        assert_eq!(error.code, "InvalidRequest", "a chunk without a signature");
    }

    #[test]
    fn trailers_come_after_the_last_chunk() {
        let body = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Amz-Checksum-Crc32: Gg==\r\n\r\n";
        for (step, cut) in [(1, 0), (5, 0), (100, 0), (100, 2)] {
            let (data, trailers) = decode(Decoder::new(None, true), &body[..body.len() - cut], step).unwrap();
            assert_eq!(data, b"abc0123456789");
            assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "Gg==".to_owned())]);
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = [&b"0\r\n"[..], &[b'a'; 9000]].concat();
        for bad in [
            &b"x\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"3\nabc",
            b"3\r\nabcd\r\n",
            b"10000000000000000\r\n",
            b"0\r\nno colon\r\n",
            b"0\r\n\r\nmore",
            &[b'1'; 600],
            &long,
        ] {
            let error = decode(Decoder::new(None, true), bad, 50).unwrap_err();
            assert_eq!(error.status, 400, "{:?}", String::from_utf8_lossy(bad));
        }
        for end in [&b""[..], b"3\r\n", b"3\r\nab", b"3\r\nabc", b"3\r\nabc\r\n"] {
            assert_eq!(decode(Decoder::new(None, true), end, 50).unwrap_err().code, "IncompleteBody");
        }
    }
}
