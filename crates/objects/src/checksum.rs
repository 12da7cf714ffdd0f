//! Checksums of content: MD5 for the entity tag, and S3's five algorithms, computed as the content passes.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc, checksum_combine};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// An algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32 as in zip.
    Crc32,
    /// CRC-32 with Castagnoli's polynomial.
    Crc32c,
    /// CRC-64 as in NVMe.
    Crc64nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// All of them.
pub const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64nvme, Algorithm::Sha1, Algorithm::Sha256];

impl Algorithm {
    /// AWS's name: `CRC32C`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The algorithm of this name, in any case.
    pub fn of_name(name: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Length of a value in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// What a checksum of an object in parts is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The content.
    FullObject,
    /// The checksums of the parts.
    Composite,
}

impl Kind {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// A checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How.
    pub algorithm: Algorithm,
    /// Over what.
    pub kind: Kind,
    /// Base64; that of a composite ends in `-` and the number of parts.
    pub value: String,
}

impl Checksum {
    /// The checksum of content with these bytes.
    pub fn of(algorithm: Algorithm, value: &[u8]) -> Self {
        Self { algorithm, kind: Kind::FullObject, value: STANDARD.encode(value) }
    }

    /// The checksum of a whole whose parts have these checksums and lengths; `None` when it cannot be told from them.
    pub fn combine(algorithm: Algorithm, kind: Kind, parts: &[(&Self, u64)]) -> Option<Self> {
        let mut decoded = Vec::with_capacity(parts.len());
        for (part, bytes) in parts {
            if part.algorithm != algorithm {
                return None;
            }
            decoded.push((STANDARD.decode(&part.value).ok()?, *bytes));
        }
        match (kind, algorithm.crc()) {
            (Kind::FullObject, Some(crc)) => {
                let mut whole = None;
                for (value, bytes) in &decoded {
                    let value = value.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
                    whole = Some(whole.map_or(value, |before| checksum_combine(crc, before, value, *bytes)));
                }
                let bytes = whole?.to_be_bytes();
                Some(Self::of(algorithm, &bytes[8 - algorithm.bytes()..]))
            }
            (Kind::FullObject, None) => None,
            (Kind::Composite, _) => {
                let mut state = State::new(algorithm);
                for (value, _) in &decoded {
                    state.update(value);
                }
                let value = format!("{}-{}", STANDARD.encode(state.finish()), parts.len());
                Some(Self { algorithm, kind, value })
            }
        }
    }
}

/// The checksum of `content`.
pub fn of(algorithm: Algorithm, content: &[u8]) -> Checksum {
    let mut state = State::new(algorithm);
    state.update(content);
    Checksum::of(algorithm, &state.finish())
}

/// MD5.
pub fn md5(content: &[u8]) -> [u8; 16] {
    Md5::digest(content).into()
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Computes MD5 and some checksums over pieces.
pub(crate) struct Digests {
    md5: Md5,
    checksums: Vec<(Algorithm, State)>,
}

impl Digests {
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let mut checksums: Vec<(Algorithm, State)> = Vec::new();
        for &algorithm in algorithms {
            if !checksums.iter().any(|(known, _)| *known == algorithm) {
                checksums.push((algorithm, State::new(algorithm)));
            }
        }
        Self { md5: Md5::new(), checksums }
    }

    pub fn update(&mut self, piece: &Bytes) {
        self.md5.update(piece);
        for (_, state) in &mut self.checksums {
            state.update(piece);
        }
    }

    /// MD5, and the checksums in the order they were asked for.
    pub fn finish(self) -> ([u8; 16], Vec<Checksum>) {
        let finish = |(algorithm, state): (Algorithm, State)| Checksum::of(algorithm, &state.finish());
        (self.md5.finalize().into(), self.checksums.into_iter().map(finish).collect())
    }
}

enum State {
    Crc(Crc, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl State {
    fn new(algorithm: Algorithm) -> Self {
        match (algorithm.crc(), algorithm) {
            (Some(crc), _) => Self::Crc(Crc::new(crc), algorithm.bytes()),
            (None, Algorithm::Sha1) => Self::Sha1(Sha1::new()),
            (None, _) => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Crc(crc, _) => crc.update(piece),
            Self::Sha1(sha1) => sha1.update(piece),
            Self::Sha256(sha256) => sha256.update(piece),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(crc, bytes) => crc.finalize().to_be_bytes()[8 - bytes..].to_vec(),
            Self::Sha1(sha1) => sha1.finalize().to_vec(),
            Self::Sha256(sha256) => sha256.finalize().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, text: &'static str) -> Checksum {
        let mut digests = Digests::new(&[algorithm, algorithm]);
        digests.update(&Bytes::from_static(text.as_bytes()));
        let found = digests.finish().1.remove(0);
        assert_eq!(found, super::of(algorithm, text.as_bytes()));
        found
    }

    #[test]
    fn the_algorithms_give_the_catalogue_s_check_values() {
        for (algorithm, expected) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            let value = STANDARD.decode(of(algorithm, "123456789").value).unwrap();
            assert_eq!(hex::encode(&value), expected, "{algorithm:?}");
            assert_eq!(value.len(), algorithm.bytes());
            assert_eq!(Algorithm::of_name(&algorithm.name().to_lowercase()), Some(algorithm));
        }
        assert_eq!(Algorithm::of_name("md5"), None);
    }

    #[test]
    fn the_whole_s_checksum_follows_from_the_parts() {
        for algorithm in ALGORITHMS {
            let (first, second, third) = (of(algorithm, "1234"), of(algorithm, "5678"), of(algorithm, "9"));
            let parts = [(&first, 4), (&second, 4), (&third, 1)];
            let whole = Checksum::combine(algorithm, Kind::FullObject, &parts);
            let is_crc = algorithm.crc().is_some();
            assert_eq!(whole, is_crc.then(|| of(algorithm, "123456789")), "{algorithm:?}");
            let composite = Checksum::combine(algorithm, Kind::Composite, &parts).unwrap();
            assert!(composite.value.ends_with("-3"), "{composite:?}");
        }
        let content: Vec<u8> =
            (0..13 << 20).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let pieces = [&content[..6 << 20], &content[6 << 20..12 << 20], &content[12 << 20..]];
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64nvme] {
            let sums = pieces.map(|piece| super::of(algorithm, piece));
            let parts: Vec<_> = sums.iter().zip(pieces).map(|(sum, piece)| (sum, piece.len() as u64)).collect();
            let whole = Checksum::combine(algorithm, Kind::FullObject, &parts);
            assert_eq!(whole, Some(super::of(algorithm, &content)), "{algorithm:?}");
        }
        let crc = of(Algorithm::Crc32, "1");
        assert_eq!(Checksum::combine(Algorithm::Crc32c, Kind::FullObject, &[(&crc, 1)]), None);
        assert_eq!(Checksum::combine(Algorithm::Crc32, Kind::FullObject, &[]), None);
    }
}
