//! Reads a zip's directory strictly. Called by `unpack`; writes nothing and decompresses nothing.
//!
//! Two zip readers may understand one archive in two ways, and attacks live in the difference. So whatever can be read
//! in two ways is refused: every byte range has one owner, both headers of an entry agree, and the directory ends
//! where the end record begins. Source of the format: PKWARE's APPNOTE.TXT 6.3.

use super::{Error, invalid, quoted};
use dayfly_types::Limits;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// One entry, as both of its headers describe it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Name as it is in the archive, checked to be UTF-8 only.
    pub name: String,
    /// How it is compressed.
    pub method: Method,
    /// CRC-32 of the content.
    pub crc32: u32,
    /// Where the compressed bytes begin.
    pub data_offset: u64,
    /// Compressed bytes.
    pub compressed_bytes: u64,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// Unix mode, 0 when the archive has none.
    pub mode: u32,
    /// Time of the last change, as seconds since 1970; zip has no time zones, so it is taken as UTC.
    pub modified_s: i64,
}

/// The two compression methods that Lambda's packages use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
}

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: [u8; 4] = [0x50, 0x4b, 5, 6];
const END64: u32 = 0x0606_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
const END_BYTES: u64 = 22;
const END64_BYTES: u64 = 56;
const END64_LOCATOR_BYTES: u64 = 20;
const COMMENT_BYTES_MAX: u64 = 65_535;
const ZIP64_EXTRA: u16 = 1;

const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// Encrypted, patch data, strongly encrypted, masked headers.
const FLAGS_REFUSED: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;

/// Deflate cannot do better than 1,032 to 1; the slack is for empty and tiny contents.
const DEFLATE_RATIO_MAX: u64 = 1_032;
const DEFLATE_SLACK_BYTES: u64 = 64;

/// 1980-01-01, the first date that zip knows; stands in for dates that are none.
const FIRST_DATE_S: i64 = 315_532_800;

/// Where the directory is.
#[derive(Debug, PartialEq, Eq)]
struct End {
    entries: u64,
    directory_offset: u64,
    directory_bytes: u64,
}

/// Reads and checks the whole directory. Memory is bounded by the directory's own size and `limits.code_entries`.
pub(super) fn read<R: Read + Seek>(zip: &mut BufReader<R>, limits: &Limits) -> Result<Vec<Entry>, Error> {
    let end = find_end(zip)?;
    if end.entries == 0 {
        return Err(Error::Invalid("Uploaded file must be a non-empty zip".to_owned()));
    }
    if end.entries > limits.code_entries {
        return Err(invalid(format!("{} entries; at most {} are allowed", end.entries, limits.code_entries)));
    }
    if end.directory_bytes / 46 < end.entries {
        return Err(invalid("the directory is shorter than its number of entries"));
    }
    let mut entries = Vec::new();
    let mut ranges = Vec::new();
    seek(zip, end.directory_offset)?;
    let mut records = BufReader::new(zip.by_ref().take(end.directory_bytes));
    let mut read_bytes = 0;
    for _ in 0..end.entries {
        let record = read_central(&mut records)?;
        read_bytes += record.length_bytes;
        entries.push((record.entry, record.flags));
        ranges.push(record.local_offset);
    }
    if read_bytes != end.directory_bytes {
        return Err(invalid("the directory's size disagrees with its entries"));
    }

    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&index| ranges[index]);
    let mut free_from = 0;
    for (position, &index) in order.iter().enumerate() {
        let offset = ranges[index];
        if position == 0 && offset != 0 {
            return Err(invalid("there is data before the first entry"));
        }
        if offset < free_from {
            return Err(invalid("entries overlap"));
        }
        let (entry, flags) = &mut entries[index];
        check_local(zip, offset, entry, *flags)?;
        free_from = entry
            .data_offset
            .checked_add(entry.compressed_bytes)
            .filter(|&data_end| data_end <= end.directory_offset)
            .ok_or_else(|| invalid(format!("{} reaches beyond the entries", quoted(&entry.name))))?;
    }
    Ok(entries.into_iter().map(|(entry, _)| entry).collect())
}

/// Finds the one end record, which with its comment must reach exactly to the end of the file.
fn find_end<R: Read + Seek>(zip: &mut BufReader<R>) -> Result<End, Error> {
    let length = zip.seek(SeekFrom::End(0))?;
    if length < END_BYTES {
        return Err(invalid("this is not a zip file"));
    }
    let tail_offset = length.saturating_sub(END_BYTES + COMMENT_BYTES_MAX);
    seek(zip, tail_offset)?;
    let mut tail = Vec::new();
    zip.by_ref().take(length - tail_offset).read_to_end(&mut tail)?;

    let position =
        tail.windows(4).rposition(|window| window == END).ok_or_else(|| invalid("this is not a zip file"))?;
    // A comment may hold a second end record, of another directory, which other readers would find first.
    let reaches_end = |at: usize| {
        let comment = tail.get(at + 20..at + 22).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
        comment.is_some_and(|bytes| at + 22 + bytes == tail.len())
    };
    if tail.windows(4).enumerate().any(|(at, window)| at != position && window == END && reaches_end(at)) {
        return Err(invalid("there are two end records"));
    }
    let mut record = Fields(&tail[position + 4..]);
    let end_offset = tail_offset + position as u64;
    let disks = (record.u16()?, record.u16()?);
    let entries = (record.u16()?, record.u16()?);
    let directory_bytes = record.u32()?;
    let directory_offset = record.u32()?;
    let comment_bytes = usize::from(record.u16()?);
    if record.0.len() != comment_bytes {
        return Err(invalid("the end record is truncated, or data follows it"));
    }
    if disks != (0, 0) || entries.0 != entries.1 {
        return Err(invalid("the archive is split over several files"));
    }
    let mut end = End {
        entries: entries.0.into(),
        directory_offset: directory_offset.into(),
        directory_bytes: directory_bytes.into(),
    };
    let mut directory_end = end_offset;
    if let Some((end64, end64_offset)) = find_end64(zip, end_offset)? {
        let agrees = |small: u64, saturated: u64, large: u64| small == saturated || small == large;
        if !agrees(end.entries, 0xffff, end64.entries)
            || !agrees(end.directory_bytes, 0xffff_ffff, end64.directory_bytes)
            || !agrees(end.directory_offset, 0xffff_ffff, end64.directory_offset)
        {
            return Err(invalid("the two end records disagree"));
        }
        end = end64;
        directory_end = end64_offset;
    }
    if end.directory_offset.checked_add(end.directory_bytes) != Some(directory_end) {
        return Err(invalid("the directory is not where the end record says: data before the archive, or cut off"));
    }
    Ok(end)
}

/// The zip64 end record and its offset, when a locator stands right before the end record.
fn find_end64<R: Read + Seek>(zip: &mut BufReader<R>, end_offset: u64) -> Result<Option<(End, u64)>, Error> {
    let Some(locator_offset) = end_offset.checked_sub(END64_LOCATOR_BYTES) else { return Ok(None) };
    let locator: [u8; END64_LOCATOR_BYTES as usize] = read_array(zip, locator_offset)?;
    let mut locator = Fields(&locator);
    if locator.u32()? != END64_LOCATOR {
        return Ok(None);
    }
    let disk = locator.u32()?;
    let offset = locator.u64()?;
    if disk != 0 || locator.u32()? != 1 {
        return Err(invalid("the archive is split over several files"));
    }
    if locator_offset.checked_sub(END64_BYTES) != Some(offset) {
        return Err(invalid("the zip64 end record is not where its locator says"));
    }
    let record: [u8; END64_BYTES as usize] = read_array(zip, offset)?;
    let mut record = Fields(&record);
    let (signature, rest_bytes) = (record.u32()?, record.u64()?);
    record.skip(4)?;
    let disks = (record.u32()?, record.u32()?);
    let entries = (record.u64()?, record.u64()?);
    if signature != END64 || rest_bytes != END64_BYTES - 12 {
        return Err(invalid("the zip64 end record is broken"));
    }
    if disks != (0, 0) || entries.0 != entries.1 {
        return Err(invalid("the archive is split over several files"));
    }
    let directory_bytes = record.u64()?;
    let directory_offset = record.u64()?;
    Ok(Some((End { entries: entries.0, directory_offset, directory_bytes }, offset)))
}

/// One record of the directory.
struct Central {
    entry: Entry,
    flags: u16,
    local_offset: u64,
    length_bytes: u64,
}

fn read_central(records: &mut impl Read) -> Result<Central, Error> {
    let mut header = [0; 46];
    records.read_exact(&mut header).map_err(cut_off)?;
    let mut header = Fields(&header);
    if header.u32()? != CENTRAL_HEADER {
        return Err(invalid("the directory is broken"));
    }
    header.skip(4)?;
    let flags = header.u16()?;
    let method = header.u16()?;
    let (time, date) = (header.u16()?, header.u16()?);
    let crc32 = header.u32()?;
    let mut compressed_bytes = u64::from(header.u32()?);
    let mut content_bytes = u64::from(header.u32()?);
    let (name_bytes, extra_bytes, comment_bytes) = (header.u16()?, header.u16()?, header.u16()?);
    let disk = header.u16()?;
    header.skip(2)?;
    let mode = header.u32()? >> 16;
    let mut local_offset = u64::from(header.u32()?);

    let mut rest = vec![0; usize::from(name_bytes) + usize::from(extra_bytes) + usize::from(comment_bytes)];
    records.read_exact(&mut rest).map_err(cut_off)?;
    let (name, rest) = rest.split_at(usize::from(name_bytes));
    let name = std::str::from_utf8(name)
        .map_err(|_| invalid(format!("the name {} is not UTF-8", quoted(&String::from_utf8_lossy(name)))))?
        .to_owned();
    if let Some(mut wide) = zip64_extra(&rest[..usize::from(extra_bytes)])? {
        for value in [&mut content_bytes, &mut compressed_bytes, &mut local_offset] {
            if *value == 0xffff_ffff {
                *value = wide.u64()?;
            }
        }
    }

    if flags & FLAGS_REFUSED != 0 {
        return Err(invalid(format!("{} is encrypted", quoted(&name))));
    }
    if disk != 0 {
        return Err(invalid("the archive is split over several files"));
    }
    let method = match method {
        0 => Method::Stored,
        8 => Method::Deflated,
        other => {
            let name = quoted(&name);
            return Err(invalid(format!("{name} uses compression method {other}; only deflate is supported")));
        }
    };
    let possible = match method {
        Method::Stored => content_bytes == compressed_bytes,
        Method::Deflated => {
            content_bytes <= compressed_bytes.saturating_mul(DEFLATE_RATIO_MAX).saturating_add(DEFLATE_SLACK_BYTES)
        }
    };
    if !possible {
        return Err(invalid(format!("{} has impossible sizes", quoted(&name))));
    }
    let length_bytes = 46 + rest.len() as u64 + u64::from(name_bytes);
    let modified_s = seconds(date, time);
    // `check_local` sets where the data begins.
    let entry = Entry { name, method, crc32, data_offset: 0, compressed_bytes, content_bytes, mode, modified_s };
    Ok(Central { entry, flags, local_offset, length_bytes })
}

/// Checks that the header in front of the data agrees with the directory, and notes where the data begins.
fn check_local<R: Read + Seek>(
    zip: &mut BufReader<R>,
    offset: u64,
    entry: &mut Entry,
    flags: u16,
) -> Result<(), Error> {
    let header: [u8; 30] = read_array(zip, offset)?;
    let mut header = Fields(&header);
    let disagree = || invalid(format!("the two headers of {} disagree", quoted(&entry.name)));
    if header.u32()? != LOCAL_HEADER {
        return Err(disagree());
    }
    header.skip(2)?;
    let (local_flags, method) = (header.u16()?, header.u16()?);
    header.skip(4)?;
    let crc32 = header.u32()?;
    let mut compressed_bytes = u64::from(header.u32()?);
    let mut content_bytes = u64::from(header.u32()?);
    let (name_bytes, extra_bytes) = (header.u16()?, header.u16()?);
    let mut name = vec![0; usize::from(name_bytes)];
    let mut extra = vec![0; usize::from(extra_bytes)];
    zip.read_exact(&mut name).map_err(cut_off)?;
    zip.read_exact(&mut extra).map_err(cut_off)?;
    if let Some(mut wide) = zip64_extra(&extra)? {
        for value in [&mut content_bytes, &mut compressed_bytes] {
            if *value == 0xffff_ffff {
                *value = wide.u64()?;
            }
        }
    }

    let method_agrees = match entry.method {
        Method::Stored => method == 0,
        Method::Deflated => method == 8,
    };
    // A streaming writer did not know these yet, and left zeros; they follow the data, and are in the directory.
    let streamed = flags & FLAG_DESCRIPTOR != 0;
    let agrees = |local: u64, central: u64| local == central || (streamed && local == 0);
    if name != entry.name.as_bytes()
        || !method_agrees
        || (local_flags ^ flags) & (FLAGS_REFUSED | FLAG_DESCRIPTOR) != 0
        || !agrees(crc32.into(), entry.crc32.into())
        || !agrees(compressed_bytes, entry.compressed_bytes)
        || !agrees(content_bytes, entry.content_bytes)
    {
        return Err(disagree());
    }
    entry.data_offset = offset + 30 + u64::from(name_bytes) + u64::from(extra_bytes);
    Ok(())
}

/// The zip64 field of an entry's extra data. Two of them could be read in two ways.
fn zip64_extra(extra: &[u8]) -> Result<Option<Fields<'_>>, Error> {
    let mut found = None;
    let mut rest = Fields(extra);
    // Tools that align data pad with less than a field's header.
    while rest.0.len() >= 4 {
        let (id, bytes) = (rest.u16()?, rest.u16()?);
        let field = rest.take(usize::from(bytes))?;
        if id == ZIP64_EXTRA && found.replace(Fields(field)).is_some() {
            return Err(invalid("an entry has two zip64 fields"));
        }
    }
    Ok(found)
}

fn seconds(date: u16, time: u16) -> i64 {
    let part = |value: u16, shift: u16, bits: u16| (value >> shift) & ((1 << bits) - 1);
    let civil = jiff::civil::DateTime::new(
        1980 + part(date, 9, 7) as i16,
        part(date, 5, 4) as i8,
        part(date, 0, 5) as i8,
        part(time, 11, 5) as i8,
        part(time, 5, 6) as i8,
        (part(time, 0, 5) * 2) as i8,
        0,
    );
    civil.and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC)).map_or(FIRST_DATE_S, |at| at.timestamp().as_second())
}

/// Goes to `offset` and keeps what is buffered: entries mostly follow each other, and there may be 200,000.
pub(super) fn seek(zip: &mut BufReader<impl Read + Seek>, offset: u64) -> io::Result<()> {
    let here = zip.stream_position()?;
    match offset.checked_signed_diff(here) {
        Some(distance) => zip.seek_relative(distance),
        None => zip.seek(SeekFrom::Start(offset)).map(|_| ()),
    }
}

fn read_array<const N: usize>(zip: &mut BufReader<impl Read + Seek>, offset: u64) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    seek(zip, offset)?;
    zip.read_exact(&mut bytes).map_err(cut_off)?;
    Ok(bytes)
}

/// The archive ends too early: its maker's fault, unlike other read errors.
fn cut_off(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("the archive is cut off"),
        _ => Error::Io(error),
    }
}

/// Little-endian fields, taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(|| invalid("a record is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Error> {
        self.take(bytes).map(|_| ())
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }
}
