//! Writes zip archives record by record, so that each field can lie.

/// One entry, with both of its headers.
#[derive(Clone)]
pub struct Entry {
    /// Name in the directory.
    pub name: Vec<u8>,
    /// Name in the local header, when it differs.
    pub local_name: Option<Vec<u8>>,
    pub flags: u16,
    pub method: u16,
    pub local_method: Option<u16>,
    pub crc32: u32,
    /// The bytes between the headers.
    pub data: Vec<u8>,
    pub compressed_bytes: u32,
    pub content_bytes: u32,
    /// CRC, compressed and content size in the local header, when they differ.
    pub local_sizes: Option<(u32, u32, u32)>,
    pub extra: Vec<u8>,
    pub local_extra: Vec<u8>,
    pub mode: u32,
    pub disk: u16,
    /// Offset of the local header as the directory says it, when that is not where it is.
    pub offset: Option<u32>,
}

/// A whole archive. `None` stands for the truth.
#[derive(Clone, Default)]
pub struct Archive {
    pub before: Vec<u8>,
    pub entries: Vec<Entry>,
    /// Between the last entry and the directory.
    pub gap: Vec<u8>,
    /// Between the directory and the end record.
    pub before_end: Vec<u8>,
    pub disks: (u16, u16),
    pub entry_count: Option<(u16, u16)>,
    pub directory_bytes: Option<u32>,
    pub directory_offset: Option<u32>,
    pub comment_bytes: Option<u16>,
    pub comment: Vec<u8>,
    pub after: Vec<u8>,
}

impl Entry {
    /// A stored file with mode 0644.
    pub fn stored(name: &str, content: &[u8]) -> Self {
        Self {
            name: name.into(),
            local_name: None,
            flags: 0,
            method: 0,
            local_method: None,
            crc32: crc32fast::hash(content),
            data: content.to_vec(),
            compressed_bytes: content.len() as u32,
            content_bytes: content.len() as u32,
            local_sizes: None,
            extra: Vec::new(),
            local_extra: Vec::new(),
            mode: 0o100_644,
            disk: 0,
            offset: None,
        }
    }

    /// The same, compressed.
    pub fn deflated(name: &str, content: &[u8]) -> Self {
        let data = deflate(content);
        Self { method: 8, compressed_bytes: data.len() as u32, data, ..Self::stored(name, content) }
    }

    pub fn link(name: &str, target: &str) -> Self {
        Self { mode: 0o120_777, ..Self::stored(name, target.as_bytes()) }
    }
}

impl Archive {
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: entries.into_iter().collect(), ..Self::default() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.before.clone();
        let mut directory = Vec::new();
        for entry in &self.entries {
            let offset = entry.offset.unwrap_or(bytes.len() as u32);
            bytes.extend(entry.local_header());
            bytes.extend(&entry.data);
            directory.extend(entry.central_header(offset));
        }
        bytes.extend(&self.gap);
        let directory_offset = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(&self.before_end);
        let count = self.entries.len() as u16;
        let counts = self.entry_count.unwrap_or((count, count));
        bytes.extend(b"PK\x05\x06");
        for value in [self.disks.0, self.disks.1, counts.0, counts.1] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(self.directory_bytes.unwrap_or(directory.len() as u32).to_le_bytes());
        bytes.extend(self.directory_offset.unwrap_or(directory_offset).to_le_bytes());
        bytes.extend(self.comment_bytes.unwrap_or(self.comment.len() as u16).to_le_bytes());
        bytes.extend(&self.comment);
        bytes.extend(&self.after);
        bytes
    }
}

impl Entry {
    fn local_header(&self) -> Vec<u8> {
        let name = self.local_name.as_ref().unwrap_or(&self.name);
        let (crc32, compressed, content) =
            self.local_sizes.unwrap_or((self.crc32, self.compressed_bytes, self.content_bytes));
        let mut bytes = b"PK\x03\x04".to_vec();
        for value in [20, self.flags, self.local_method.unwrap_or(self.method), TIME, DATE] {
            bytes.extend(value.to_le_bytes());
        }
        for value in [crc32, compressed, content] {
            bytes.extend(value.to_le_bytes());
        }
        for value in [name.len() as u16, self.local_extra.len() as u16] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(name);
        bytes.extend(&self.local_extra);
        bytes
    }

    fn central_header(&self, offset: u32) -> Vec<u8> {
        let mut bytes = b"PK\x01\x02".to_vec();
        for value in [3 << 8 | 20, 20, self.flags, self.method, TIME, DATE] {
            bytes.extend(value.to_le_bytes());
        }
        for value in [self.crc32, self.compressed_bytes, self.content_bytes] {
            bytes.extend(value.to_le_bytes());
        }
        for value in [self.name.len() as u16, self.extra.len() as u16, 0, self.disk, 0] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend((self.mode << 16).to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(&self.name);
        bytes.extend(&self.extra);
        bytes
    }
}

/// 2024-02-29 12:34:56.
const DATE: u16 = 44 << 9 | 2 << 5 | 29;
const TIME: u16 = 12 << 11 | 34 << 5 | 28;
/// The same, in seconds since 1970.
pub const MODIFIED_S: u64 = 1_709_210_096;

pub fn deflate(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A zip64 extra field with these values.
pub fn zip64_extra(values: &[u64]) -> Vec<u8> {
    let mut bytes = [1_u16.to_le_bytes(), (values.len() as u16 * 8).to_le_bytes()].concat();
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// A zip64 end record and its locator, to stand before the end record.
pub fn end64(entries: u64, directory_bytes: u64, directory_offset: u64) -> Vec<u8> {
    let mut bytes = b"PK\x06\x06".to_vec();
    bytes.extend(44_u64.to_le_bytes());
    bytes.extend([45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [entries, entries, directory_bytes, directory_offset] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07");
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend((directory_offset + directory_bytes).to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes
}
