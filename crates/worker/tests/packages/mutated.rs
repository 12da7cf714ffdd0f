//! Whatever happens to a zip's bytes: it is unpacked inside, or refused without a trace.

use super::{Fixture, interpreter, names, sha256};
use dayfly_types::Limits;
use dayfly_worker::code::Error;
use proptest::{collection::vec, prelude::*};
use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Read, Write},
    path::Path,
};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

/// One change of an archive's bytes; positions count modulo its length.
#[derive(Debug, Clone)]
enum Change {
    Set { at: usize, byte: u8 },
    Word { at: usize, word: u32 },
    Cut { at: usize, bytes: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Copy { from: usize, to: usize, bytes: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<u16>().prop_map(usize::from);
    let words = prop_oneof![Just(0), Just(1), Just(u32::MAX), Just(0x8000_0000), 0_u32..2_000, any::<u32>()];
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        (at.clone(), words).prop_map(|(at, word)| Change::Word { at, word }),
        (at.clone(), 0_usize..100).prop_map(|(at, bytes)| Change::Cut { at, bytes }),
        (at.clone(), vec(any::<u8>(), 1..60)).prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        (at.clone(), at, 1_usize..100).prop_map(|(from, to, bytes)| Change::Copy { from, to, bytes }),
    ]
}

fn apply(zip: &mut Vec<u8>, change: Change) {
    let length = zip.len();
    if length == 0 {
        return;
    }
    match change {
        Change::Set { at, byte } => zip[at % length] = byte,
        Change::Word { at, word } => {
            let at = at % length;
            let end = (at + 4).min(length);
            zip[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
        }
        Change::Cut { at, bytes } => drop(zip.drain(at % length..(at % length + bytes).min(length))),
        Change::Insert { at, bytes } => drop(zip.splice(at % length..at % length, bytes)),
        Change::Copy { from, to, bytes } => {
            let part = zip[from % length..(from % length + bytes).min(length)].to_vec();
            zip.splice(to % length..to % length, part);
        }
    }
}

fn valid(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (number, (name, content)) in files.iter().enumerate() {
        let name = format!("{number}/{name}");
        if number % 4 == 3 {
            writer.add_symlink(&name, format!("../0/{}", files[0].0), SimpleFileOptions::default()).unwrap();
        } else {
            writer.start_file(&name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
            writer.write_all(content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

/// What another reader sees: the content of every file by its name, `.` dropped as we do.
fn read(zip: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut contents = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let name = String::from_utf8(file.name_raw().to_vec()).unwrap();
        let name: Vec<&str> = name.split('/').filter(|part| *part != ".").collect();
        let name = name.join("/");
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        contents.insert(name, content);
    }
    contents
}

/// Every link below ends inside `root`, or nowhere; every file is what another reader reads.
fn check(folder: &Path, root: &Path, contents: &BTreeMap<String, Vec<u8>>) {
    for name in names(folder) {
        let path = folder.join(name);
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            check(&path, root, contents);
        } else if kind.is_symlink() {
            assert!(path.canonicalize().map_or(true, |real| real.starts_with(root)));
        } else {
            assert!(kind.is_file());
            assert_eq!(fs::read(&path).unwrap(), contents[path.strip_prefix(root).unwrap().to_str().unwrap()]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_changed_archive_is_unpacked_inside_or_refused_without_a_trace(
        files in vec(("[a-c./]{1,6}[a-z]", vec(0_u8..4, 0..300)), 1..6),
        changes in vec(change(), 0..4),
    ) {
        let mut zip = valid(&files);
        changes.into_iter().for_each(|change| apply(&mut zip, change));
        let fixture = Fixture::new(&Limits { code_unzipped_bytes: 1 << 20, ..Limits::default() });
        let upload = fixture.folder.path().join("uploads/zip");
        fs::write(&upload, &zip).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let published = runtime.block_on(fixture.cache.publish(&sha256(&zip), &upload, &interpreter()));
        match published {
            Ok(tree) => {
                prop_assert_eq!(fixture.trees().len(), 1);
                check(&tree, &tree, &read(zip));
            }
            Err(Error::Io(error)) => prop_assert!(false, "{}", error),
            Err(_) => prop_assert_eq!(fixture.trees().len(), 0),
        }
    }
}
