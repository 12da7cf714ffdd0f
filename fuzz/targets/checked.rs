//! Unpacks an archive and checks that nothing got out. Shared by the targets `package` and `tree`.

use dayfly_types::Limits;
use dayfly_worker::code::{Error, unpack::unpack};
use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

/// Unpacks `zip`; gives the content of every file, or `None` when the archive was refused.
pub fn unpacked(zip: &[u8]) -> Option<BTreeMap<PathBuf, Vec<u8>>> {
    let limits = Limits { code_unzipped_bytes: 1 << 20, code_entries: 200, ..Limits::default() };
    // In memory where there is such a folder: a thousand times faster than a disk.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let outer = tempfile::tempdir_in(parent).expect("a temporary folder");
    let root = outer.path().join("tree");
    fs::create_dir(&root).expect("a folder");
    let result = unpack(Cursor::new(zip), &root, &limits);
    assert_eq!(fs::read_dir(outer.path()).expect("the folder is still there").count(), 1, "something got out");
    let mut files = BTreeMap::new();
    match result {
        Ok(unpacked) => {
            walk(&root, &root, &mut files);
            let bytes: usize = files.values().map(Vec::len).sum();
            assert_eq!(unpacked.bytes, bytes as u64);
            Some(files)
        }
        Err(Error::Io(error)) => panic!("blames the disk for what the archive did: {error}"),
        Err(_) => None,
    }
}

fn walk(folder: &Path, root: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            walk(&path, root, files);
        } else if kind.is_symlink() {
            // A link to nothing is allowed. The kernel decides, not our own reasoning.
            if let Ok(real) = path.canonicalize() {
                assert!(real.starts_with(root), "{path:?} leads to {real:?}");
            }
        } else {
            assert!(kind.is_file());
            let content = fs::read(&path).expect("a readable file");
            files.insert(path.strip_prefix(root).expect("below the root").to_owned(), content);
        }
    }
}
