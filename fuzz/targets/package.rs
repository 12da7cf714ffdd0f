//! Any bytes as a package. What is taken, another zip reader must read in the same way.

#![no_main]

mod checked;

use libfuzzer_sys::fuzz_target;
use std::{
    io::{Cursor, Read},
    path::PathBuf,
};

fuzz_target!(|zip: &[u8]| {
    let Some(mut files) = checked::unpacked(zip) else { return };
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).expect("the other reader takes it too");
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).expect("an entry");
        let name = String::from_utf8(entry.name_raw().to_vec()).expect("UTF-8");
        let path: PathBuf = name.split('/').filter(|part| *part != ".").collect();
        if let Some(ours) = files.remove(&path) {
            let mut theirs = Vec::new();
            entry.read_to_end(&mut theirs).expect("the other reader reads it");
            assert!(ours == theirs, "two readers, two contents");
        }
    }
    assert!(files.is_empty(), "files that are not in the archive: {files:?}");
});
