//! Packages that people really upload, and how they lie in the cache.

use super::{
    Fixture, names,
    raw::{Archive, Entry, MODIFIED_S, end64, zip64_extra},
    sha256,
};
use dayfly_types::{Limits, Runtime};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
    sync::{Arc, atomic::Ordering},
};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn modes_are_normalised_times_kept_and_links_made() {
    let fixture = Fixture::new(&Limits::default());
    let archive = Archive::of([
        Entry { mode: 0o104_711, ..Entry::deflated("bin/run", b"#!/bin/sh\n") },
        Entry { mode: 0o100_600, ..Entry::stored("data/secret", b"") },
        Entry { mode: 0, ..Entry::stored("main.py", b"x = 1\n") },
        Entry { mode: 0o041_777, ..Entry::stored("empty/", b"") },
        Entry::stored("data/caf\u{e9}", "caf\u{e9}".as_bytes()),
        Entry::link("data/libfoo.so", "libfoo.so.1"),
        Entry::link("data/libfoo.so.1", "../bin/run"),
        Entry::link("dangling", "nowhere/at/../../all"),
    ]);
    let zip = archive.bytes();
    let tree = fixture.publish(&zip).await.unwrap();
    assert_eq!(fixture.trees(), [format!("{}-cpython-311", sha256(&zip))]);
    for (path, expected) in [
        ("", 0o755),
        ("bin", 0o755),
        ("bin/run", 0o755),
        ("data/secret", 0o644),
        ("main.py", 0o644),
        ("empty", 0o755),
        ("data/caf\u{e9}", 0o644),
    ] {
        assert_eq!(mode(&tree.join(path)), expected, "{path}");
    }
    assert_eq!(fs::metadata(tree.join("main.py")).unwrap().mtime() as u64, MODIFIED_S);
    assert_eq!(fs::read(tree.join("data/libfoo.so")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(fs::read_link(tree.join("dangling")).unwrap(), Path::new("nowhere/at/../../all"));
    assert_eq!(names(&tree).len(), 5);
}

#[tokio::test]
async fn a_tree_is_made_once_found_again_and_removed() {
    let fixture = Fixture::new(&Limits::default());
    let zip = Archive::of([Entry::stored("main.py", b"x = 1\n")]).bytes();
    let (runtime, hash) = (Runtime::Python { minor: 11 }, sha256(&zip));
    assert_eq!(fixture.cache.path_of(&hash, runtime), None);
    let tree = fixture.publish(&zip).await.unwrap();
    let upload = fixture.folder.path().join("uploads/zip");
    assert_eq!(fixture.cache.publish(&hash, &upload, &super::interpreter()).await.unwrap(), tree);
    assert_eq!(fixture.compiled.load(Ordering::Relaxed), 1);
    assert_eq!(fixture.cache.path_of(&hash, runtime), Some(tree));
    assert_eq!(fixture.cache.path_of(&hash, Runtime::Python { minor: 12 }), None);
    assert_eq!(fixture.cache.path_of("../../etc", runtime), None);
    fixture.cache.remove(&hash).unwrap();
    fixture.cache.remove(&hash).unwrap();
    assert_eq!(fixture.cache.path_of(&hash, runtime), None);
    assert_eq!(fixture.trees(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_of_one_package_share_the_work_even_when_the_first_caller_leaves() {
    let fixture = Fixture::new(&Limits::default());
    let content: Vec<Entry> = (0..300).map(|n| Entry::stored(&format!("m{n}.py"), b"x = 1\n")).collect();
    let zip = Archive::of(content).bytes();
    let upload = fixture.folder.path().join("uploads/zip");
    fs::write(&upload, &zip).unwrap();
    let publish = || {
        let (cache, hash, upload) = (fixture.cache.clone(), sha256(&zip), upload.clone());
        tokio::spawn(async move { cache.publish(&hash, &upload, &super::interpreter()).await })
    };
    let first = publish();
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    let others: Vec<_> = (0..6).map(|_| publish()).collect();
    first.abort();
    for other in others {
        assert_eq!(names(&other.await.unwrap().unwrap()).len(), 300);
    }
    assert_eq!(fixture.compiled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_start_removes_what_a_crash_left() {
    let fixture = Fixture::new(&Limits::default());
    let zip = Archive::of([Entry::stored("main.py", b"x = 1\n")]).bytes();
    let tree = fixture.publish(&zip).await.unwrap();
    let folder = fixture.folder.path().join("cache");
    fs::create_dir_all(folder.join(".part-abc/tree/half")).unwrap();
    super::Cache::open(&folder, &Limits::default(), Arc::new(super::NoCompiler(Arc::default()))).unwrap();
    assert_eq!(fixture.trees(), [tree.file_name().unwrap().to_str().unwrap()]);
}

#[tokio::test]
async fn zip64_records_are_read_where_they_are_needed_and_where_not() {
    let fixture = Fixture::new(&Limits::default());
    let entry = Entry::stored("main.py", b"x = 1\n");
    // As Python writes it when it does not know the size beforehand.
    let wide_local = Entry {
        local_sizes: Some((entry.crc32, u32::MAX, u32::MAX)),
        local_extra: zip64_extra(&[6, 6]),
        ..entry.clone()
    };
    let wide = Entry {
        compressed_bytes: u32::MAX,
        content_bytes: u32::MAX,
        offset: Some(u32::MAX),
        extra: zip64_extra(&[6, 6, 0]),
        local_extra: zip64_extra(&[6, 6]),
        ..entry.clone()
    };
    // As a streaming writer leaves it: sizes behind the data, and in the directory.
    let streamed = Entry { flags: 8, local_sizes: Some((0, 0, 0)), ..entry.clone() };
    for (name, archive) in [
        ("local", Archive::of([wide_local])),
        ("central", Archive::of([wide])),
        ("streamed", Archive { gap: b"PK\x07\x08descriptor--".to_vec(), ..Archive::of([streamed]) }),
        ("end", Archive { before_end: end64(1, 53, 43), ..Archive::of([entry.clone()]) }),
        (
            "end, needed",
            Archive {
                before_end: end64(1, 53, 43),
                entry_count: Some((u16::MAX, u16::MAX)),
                directory_bytes: Some(u32::MAX),
                directory_offset: Some(u32::MAX),
                ..Archive::of([entry.clone()])
            },
        ),
        ("comment", Archive { comment: vec![b'c'; 65_535], ..Archive::of([entry]) }),
    ] {
        let tree = fixture.publish(&archive.bytes()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(fs::read(tree.join("main.py")).unwrap(), b"x = 1\n", "{name}");
    }
}

/// What Python's own zipfile writes: files, streams, and more entries than the old end record can count (folders that
/// are named again and again, which some tools do, and which make no work).
const WRITER: &str = r#"
import io, sys, warnings, zipfile
warnings.simplefilter("ignore")
kind, path = sys.argv[1:]
class Stream(io.RawIOBase):
    def __init__(self, file): self.file = file
    def writable(self): return True
    def write(self, data): return self.file.write(data)
with open(path, "wb") as file:
    with zipfile.ZipFile(Stream(file) if kind == "stream" else file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", "x = 1\n")
        archive.writestr("data/caf\u00e9.txt", "caf\u00e9" * 1000)
        with archive.open("wide.bin", "w", force_zip64=True) as wide:
            wide.write(b"w" * 100000)
        if kind == "many":
            for number in range(66000):
                archive.writestr("many/%d/" % (number % 100), "")
    if kind == "append":
        file.flush()
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("more.py", "y = 2\n")
"#;

#[tokio::test]
async fn what_common_tools_write_is_taken() {
    let fixture = Fixture::new(&Limits::default());
    let folder = tempfile::tempdir().unwrap();
    for kind in ["file", "stream", "many", "append"] {
        let path = folder.path().join(kind);
        let status = Command::new("python3").args(["-c", WRITER, kind]).arg(&path).status().unwrap();
        assert!(status.success(), "{kind}");
        let tree = fixture.publish(&fs::read(&path).unwrap()).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(fs::read_to_string(tree.join("data/caf\u{e9}.txt")).unwrap(), "caf\u{e9}".repeat(1000), "{kind}");
        assert_eq!(fs::metadata(tree.join("wide.bin")).unwrap().len(), 100_000, "{kind}");
        assert_eq!(tree.join("more.py").exists(), kind == "append");
        if kind == "many" {
            assert_eq!(names(&tree.join("many")).len(), 100);
        }
    }
}

#[tokio::test]
async fn what_info_zip_writes_is_taken() {
    let fixture = Fixture::new(&Limits::default());
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("lib")).unwrap();
    fs::write(source.join("lib/a.py"), "a = 1\n".repeat(100)).unwrap();
    fs::write(source.join("na\u{ef}ve.txt"), "x").unwrap();
    std::os::unix::fs::symlink("lib/a.py", source.join("link.py")).unwrap();
    for (arguments, output) in [("zip -qry", "file.zip"), ("zip -qry - . >", "stream.zip")] {
        let script = match output {
            "file.zip" => format!("{arguments} ../{output} ."),
            _ => format!("{arguments} ../{output}"),
        };
        let status = Command::new("sh").args(["-c", &script]).current_dir(&source).status().unwrap();
        if status.code() == Some(127) {
            eprintln!("skipped: no zip command on this machine");
            return;
        }
        assert!(status.success(), "{script}");
        let zip = fs::read(folder.path().join(output)).unwrap();
        let tree = fixture.publish(&zip).await.unwrap_or_else(|error| panic!("{script}: {error}"));
        assert_eq!(fs::read_to_string(tree.join("link.py")).unwrap(), "a = 1\n".repeat(100));
        assert!(fs::symlink_metadata(tree.join("link.py")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(tree.join("na\u{ef}ve.txt")).unwrap(), "x");
    }
}
