//! Unpacks a package into an empty folder. Called by the cache, and by the fuzzer.

use super::{
    Error,
    directory::{self, Entry, Method},
    invalid,
    plan::{Kind, Plan, ROOT},
    quoted,
};
use dayfly_types::Limits;
use flate2::bufread::DeflateDecoder;
use std::{
    fs::{self, File, FileTimes, Permissions},
    io::{self, BufReader, Read, Seek, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Linux's own limit for a link's target.
const LINK_BYTES_MAX: u64 = 4_095;
/// All link targets together: they are held in memory, and compress well.
const LINKS_BYTES_MAX: u64 = 16 << 20;
const BUFFER_BYTES: usize = 128 << 10;

const FILE_TYPE: u32 = 0o170_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;

/// What was unpacked.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
    /// Python sources (`*.py`, no links), relative to the folder.
    pub sources: Vec<PathBuf>,
}

/// Unpacks `zip` into `folder`, which is empty and which only this process writes to.
///
/// Files get mode 0644, or 0755 when anyone may execute them in the archive; folders 0755; times are the archive's,
/// read as UTC. Links are made last. On an error the folder's content is for the caller to remove.
///
/// # Errors
/// `Invalid` or `TooLarge` for what the package's maker did wrong, `Io` for what the disk did.
pub fn unpack<R: Read + Seek>(zip: R, folder: &Path, limits: &Limits) -> Result<Unpacked, Error> {
    let mut zip = BufReader::with_capacity(BUFFER_BYTES, zip);
    let entries = directory::read(&mut zip, limits)?;
    let total = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.content_bytes));
    // `copy` holds each entry to its declared size, so this bounds what is written, before anything is.
    if total > limits.code_unzipped_bytes {
        return Err(Error::TooLarge { limit_bytes: limits.code_unzipped_bytes });
    }
    let plan = plan(&mut zip, &entries, limits)?;
    write(&mut zip, &entries, &plan, folder)
}

/// Bytes of a package's files, once its directory and its tree are seen to be sound. Writes nothing, and leaves what is
/// compressed as it is.
///
/// # Errors
/// As [`unpack`].
pub fn measure<R: Read + Seek>(zip: R, limits: &Limits) -> Result<u64, Error> {
    let mut zip = BufReader::with_capacity(BUFFER_BYTES, zip);
    let entries = directory::read(&mut zip, limits)?;
    plan(&mut zip, &entries, limits)?;
    Ok(entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.content_bytes)))
}

fn plan(zip: &mut BufReader<impl Read + Seek>, entries: &[Entry], limits: &Limits) -> Result<Plan, Error> {
    let mut plan = Plan::new(limits.code_entries);
    let mut links_bytes = 0;
    for (index, entry) in entries.iter().enumerate() {
        let named_as_folder = entry.name.ends_with('/');
        let kind = match entry.mode & FILE_TYPE {
            TYPE_LINK if !named_as_folder => {
                links_bytes += entry.content_bytes;
                if entry.content_bytes > LINK_BYTES_MAX || links_bytes > LINKS_BYTES_MAX {
                    return Err(invalid(format!(
                        "the target of the symbolic link {} is too long",
                        quoted(&entry.name)
                    )));
                }
                Kind::Link { target: link_target(zip, entry)? }
            }
            0 | TYPE_FILE | TYPE_FOLDER if named_as_folder => {
                if entry.content_bytes != 0 {
                    return Err(invalid(format!("the folder {} has content", quoted(&entry.name))));
                }
                Kind::Folder
            }
            0 | TYPE_FILE => Kind::File { entry: index },
            _ => return Err(invalid(format!("{} is neither a file nor a folder nor a link", quoted(&entry.name)))),
        };
        plan.add(&entry.name, kind)?;
    }
    plan.check_links()?;
    Ok(plan)
}

fn link_target(zip: &mut BufReader<impl Read + Seek>, entry: &Entry) -> Result<String, Error> {
    let mut target = Vec::new();
    copy(zip, entry, &mut target)?;
    String::from_utf8(target)
        .map_err(|_| invalid(format!("the target of the symbolic link {} is not UTF-8", quoted(&entry.name))))
}

fn write(
    zip: &mut BufReader<impl Read + Seek>,
    entries: &[Entry],
    plan: &Plan,
    folder: &Path,
) -> Result<Unpacked, Error> {
    let mut unpacked = Unpacked::default();
    let mut links = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        let relative = plan.path(index);
        let path = folder.join(&relative);
        match &node.kind {
            Kind::Folder => {
                if index != ROOT {
                    fs::create_dir(&path)?;
                }
                // Said again: the process's umask may have taken bits away.
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            }
            Kind::File { entry } => {
                let entry = &entries[*entry];
                let mode = if entry.mode & 0o111 == 0 { 0o644 } else { 0o755 };
                let mut file = File::options().write(true).create_new(true).mode(mode).open(&path)?;
                copy(zip, entry, &mut file)?;
                file.set_permissions(Permissions::from_mode(mode))?;
                let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.modified_s.unsigned_abs());
                file.set_times(FileTimes::new().set_modified(modified).set_accessed(modified))?;
                unpacked.bytes += entry.content_bytes;
                unpacked.files += 1;
                if node.name.ends_with(".py") {
                    unpacked.sources.push(relative.into());
                }
            }
            Kind::Link { target } => links.push((path, target)),
        }
    }
    // Last, so that nothing can be written through one.
    for (path, target) in links {
        std::os::unix::fs::symlink(target, path)?;
        unpacked.files += 1;
    }
    Ok(unpacked)
}

/// Copies an entry's content to `to`; it must be exactly what the directory says, in size and in CRC.
fn copy(zip: &mut BufReader<impl Read + Seek>, entry: &Entry, to: &mut impl Write) -> Result<(), Error> {
    directory::seek(zip, entry.data_offset)?;
    let compressed = zip.take(entry.compressed_bytes);
    match entry.method {
        Method::Stored => copy_checked(compressed, entry, to),
        Method::Deflated => {
            let mut decoder = DeflateDecoder::new(compressed);
            copy_checked(&mut decoder, entry, to)?;
            if decoder.total_in() != entry.compressed_bytes {
                return Err(invalid(format!("the compressed size of {} is wrong", quoted(&entry.name))));
            }
            Ok(())
        }
    }
}

fn copy_checked(mut content: impl Read, entry: &Entry, to: &mut impl Write) -> Result<(), Error> {
    let mut crc32 = crc32fast::Hasher::new();
    let mut left = entry.content_bytes;
    let mut buffer = [0; 32 << 10];
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_corrupt(&error) => {
                return Err(invalid(format!("the compressed data of {} is corrupt", quoted(&entry.name))));
            }
            Err(error) => return Err(error.into()),
        };
        // Checked before the write: a file that lies about its size is never larger than it said.
        left = left
            .checked_sub(read as u64)
            .ok_or_else(|| invalid(format!("{} is larger than the directory says", quoted(&entry.name))))?;
        crc32.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
    if left != 0 {
        return Err(invalid(format!("{} is smaller than the directory says", quoted(&entry.name))));
    }
    if crc32.finalize() != entry.crc32 {
        return Err(invalid(format!("{} does not match its CRC", quoted(&entry.name))));
    }
    Ok(())
}

fn is_corrupt(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
