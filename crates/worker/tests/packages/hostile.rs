//! Every known attack gives a typed error, and leaves nothing behind.

use super::{
    Fixture,
    raw::{Archive, Entry, deflate, end64, zip64_extra},
};
use dayfly_types::Limits;
use dayfly_worker::code::Error;

const PREFIX: &str = "Could not unzip uploaded file. Please check your file, then try to upload again. (";

fn file() -> Entry {
    Entry::stored("main.py", b"x = 1\n")
}

fn named(name: &str) -> Vec<u8> {
    Archive::of([file(), Entry::stored(name, b"!")]).bytes()
}

fn moded(mode: u32) -> Vec<u8> {
    Archive::of([file(), Entry { mode, ..Entry::stored("special", b"") }]).bytes()
}

fn linked(links: &[(&str, &str)]) -> Vec<u8> {
    let links = links.iter().map(|(name, target)| Entry::link(name, target));
    Archive::of([Entry::stored("a/b/c/file", b"!")].into_iter().chain(links)).bytes()
}

/// An archive, and what the error says about it.
fn attacks() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let plain = Archive::of([file()]);
    let bytes = plain.bytes();
    let mebibyte = vec![0; 1 << 20];
    let mut all = vec![
        ("an empty file", Vec::new(), "not a zip file"),
        ("not a zip", b"#!/bin/sh\nexec something that is not a zip at all\n".to_vec(), "not a zip file"),
        ("cut off at the end", bytes[..bytes.len() - 1].to_vec(), "cut off"),
        ("cut off at the front", bytes[7..].to_vec(), "not where the end record says"),
        ("data before, offsets not adjusted", [b"#!/bin/sh\n", &bytes[..]].concat(), "not where the end record says"),
        (
            "data before, offsets adjusted",
            Archive { before: b"MZ".to_vec(), ..plain.clone() }.bytes(),
            "before the first",
        ),
        ("data after", Archive { after: b"x".to_vec(), ..plain.clone() }.bytes(), "data follows it"),
        (
            "a comment longer than the file",
            Archive { comment_bytes: Some(65_535), ..plain.clone() }.bytes(),
            "truncated",
        ),
        ("an archive in the comment", Archive { comment: bytes.clone(), ..plain.clone() }.bytes(), "two end records"),
        ("second disk", Archive { disks: (1, 0), ..plain.clone() }.bytes(), "several files"),
        ("directory on the second disk", Archive { disks: (0, 1), ..plain.clone() }.bytes(), "several files"),
        ("entry on the second disk", Archive::of([Entry { disk: 1, ..file() }]).bytes(), "several files"),
        ("entries elsewhere", Archive { entry_count: Some((1, 2)), ..plain.clone() }.bytes(), "several files"),
        ("more entries than there are", Archive { entry_count: Some((9, 9)), ..plain.clone() }.bytes(), "shorter"),
        (
            "fewer entries than there are",
            Archive { entry_count: Some((1, 1)), ..Archive::of([file(), Entry::stored("b", b"")]) }.bytes(),
            "size disagrees",
        ),
        ("a directory that is too small", Archive { directory_bytes: Some(50), ..plain.clone() }.bytes(), "not where"),
        ("a directory elsewhere", Archive { directory_offset: Some(0), ..plain.clone() }.bytes(), "not where"),
        (
            "no directory where it should be",
            Archive { directory_offset: Some(30), directory_bytes: Some(66), ..plain.clone() }.bytes(),
            "broken",
        ),
        (
            "two end records that disagree",
            Archive { before_end: end64(2, 53, 43), ..plain.clone() }.bytes(),
            "disagree",
        ),
        ("wrong CRC", Archive::of([Entry { crc32: 7, ..file() }]).bytes(), "CRC"),
        ("wrong CRC, compressed", Archive::of([Entry { crc32: 7, ..Entry::deflated("a", b"aaaa") }]).bytes(), "CRC"),
        ("encrypted", Archive::of([Entry { flags: 1, ..file() }]).bytes(), "encrypted"),
        ("strongly encrypted", Archive::of([Entry { flags: 1 << 6, ..file() }]).bytes(), "encrypted"),
        ("unknown compression", Archive::of([Entry { method: 12, ..file() }]).bytes(), "compression method 12"),
        ("corrupt deflate", Archive::of([Entry { method: 8, ..file() }]).bytes(), "corrupt"),
        (
            "names that differ",
            Archive::of([Entry { local_name: Some(b"evil.py".into()), ..file() }]).bytes(),
            "disagree",
        ),
        ("methods that differ", Archive::of([Entry { local_method: Some(8), ..file() }]).bytes(), "disagree"),
        ("sizes that differ", Archive::of([Entry { local_sizes: Some((0, 1, 1)), ..file() }]).bytes(), "disagree"),
        ("no local header", Archive::of([file(), Entry { offset: Some(44), ..file() }]).bytes(), "disagree"),
        (
            "a header beyond the end",
            Archive::of([Entry { offset: Some(1 << 30), ..file() }]).bytes(),
            "before the first",
        ),
        ("beyond the file", Archive::of([file(), Entry { offset: Some(1 << 30), ..file() }]).bytes(), "cut off"),
        ("one entry twice", Archive::of([file(), Entry { offset: Some(0), ..file() }]).bytes(), "overlap"),
        ("a stored size that lies", Archive::of([Entry { content_bytes: 5, ..file() }]).bytes(), "impossible sizes"),
        (
            "larger than it says",
            Archive::of([Entry { content_bytes: 999, ..Entry::deflated("a", &mebibyte) }]).bytes(),
            "larger than the directory says",
        ),
        (
            "smaller than it says",
            Archive::of([Entry { content_bytes: 999, ..Entry::deflated("a", b"aaaa") }]).bytes(),
            "smaller than the directory says",
        ),
        (
            "a ratio that deflate cannot reach",
            Archive::of([Entry { content_bytes: 2_000_000, ..Entry::deflated("a", &mebibyte) }]).bytes(),
            "impossible sizes",
        ),
        (
            "bytes hidden behind the compressed data",
            {
                let data = [deflate(b"aaaa"), b"hidden".to_vec()].concat();
                Archive::of([Entry { compressed_bytes: data.len() as u32, data, ..Entry::deflated("a", b"aaaa") }])
                    .bytes()
            },
            "compressed size",
        ),
        (
            "data reaches into the directory",
            Archive::of([Entry { compressed_bytes: 60, content_bytes: 60, ..file() }]).bytes(),
            "beyond the entries",
        ),
        (
            "sizes that overflow",
            Archive::of([Entry {
                compressed_bytes: u32::MAX,
                content_bytes: u32::MAX,
                extra: zip64_extra(&[u64::MAX, u64::MAX]),
                local_extra: zip64_extra(&[u64::MAX, u64::MAX]),
                ..file()
            }])
            .bytes(),
            "beyond the entries",
        ),
        (
            "a zip64 size without its field",
            Archive::of([Entry { compressed_bytes: u32::MAX, content_bytes: u32::MAX, ..file() }]).bytes(),
            "beyond the entries",
        ),
        (
            "two zip64 fields",
            Archive::of([Entry { extra: [zip64_extra(&[1]), zip64_extra(&[2])].concat(), ..file() }]).bytes(),
            "two zip64 fields",
        ),
        ("extra data that is cut off", Archive::of([Entry { extra: vec![9, 0, 200, 0], ..file() }]).bytes(), "cut off"),
        ("up", named("../evil"), "`..`"),
        ("up in the middle", named("a/../../evil"), "`..`"),
        ("up at the end", named("a/.."), "`..`"),
        ("absolute", named("/etc/cron.d/evil"), "absolute"),
        ("two slashes", named("//evil"), "absolute"),
        ("an empty part", named("a//b"), "empty part"),
        ("no name", named(""), "empty part"),
        ("the root as a file", named("."), "not a file name"),
        ("a backslash", named("..\\evil"), "backslash"),
        ("a drive letter", named("C:/evil"), "absolute"),
        ("NUL in a name", named("evil.py\0.txt"), "NUL"),
        ("a long name", named(&"n".repeat(256)), "too long"),
        ("a long path", named(&format!("{}f", "p/".repeat(2_000))), "too long"),
        ("a deep path", named(&format!("{}f", "d/".repeat(128))), "too deep"),
        (
            "a name that is not UTF-8",
            Archive::of([Entry { name: b"caf\xe9.py".into(), ..file() }]).bytes(),
            "not UTF-8",
        ),
        ("a name twice", Archive::of([file(), file()]).bytes(), "twice"),
        ("a name twice, spelled in two ways", Archive::of([file(), Entry::stored("./main.py", b"")]).bytes(), "twice"),
        ("a file that is a folder", Archive::of([file(), Entry::stored("main.py/x", b"")]).bytes(), "also a folder"),
        ("a folder that is a file", Archive::of([Entry::stored("a/x", b""), Entry::stored("a", b"")]).bytes(), "twice"),
        ("a folder with content", named("a/"), "has content"),
        ("a device", moded(0o020_666), "neither"),
        ("a block device", moded(0o060_666), "neither"),
        ("a pipe", moded(0o010_666), "neither"),
        ("a socket", moded(0o140_666), "neither"),
        ("an unknown type", moded(0o150_666), "neither"),
        ("a folder by mode only", moded(0o040_755), "neither"),
        ("an absolute link", linked(&[("l", "/etc/passwd")]), "absolute"),
        ("a link out", linked(&[("a/l", "../../etc/passwd")]), "leads out"),
        ("a link out and in again", linked(&[("l", "../tree/a")]), "leads out"),
        // `up` leads to the root, so that `..` behind it leads out, though by its letters it does not.
        ("a link out through a link", linked(&[("a/b/up", "../.."), ("a/b/c/l", "../up/../x")]), "leads out"),
        ("a link to itself", linked(&[("l", "l")]), "too many links"),
        ("links in a ring", linked(&[("l", "m"), ("m", "a/../l")]), "too many links"),
        ("an empty link", linked(&[("l", "")]), "not a path"),
        ("NUL in a link", linked(&[("l", "a\0b")]), "not a path"),
        ("a long link", linked(&[("l", &"x/".repeat(3_000))]), "too long"),
        (
            "a file through a link",
            Archive::of([Entry::link("l", "a"), Entry::stored("l/evil", b"")]).bytes(),
            "also a folder",
        ),
        ("a link over a folder", Archive::of([Entry::stored("l/good", b""), Entry::link("l", "..")]).bytes(), "twice"),
    ];
    // 200 links, each through 40 others that each walk up and down: more steps than are allowed.
    let walk = "a/../".repeat(800);
    let chain = (0..39).map(|n| Entry::deflated(&format!("l{n}"), format!("{walk}l{}", n + 1).as_bytes()));
    let many = (0..200).map(|n| Entry::deflated(&format!("m{n}"), format!("{walk}l0").as_bytes()));
    let links = chain.chain(many).map(|entry| Entry { mode: 0o120_777, ..entry });
    let archive = Archive::of([Entry::stored("a/b", b"")].into_iter().chain(links));
    all.push(("links that take long to follow", archive.bytes(), "one of too many"));
    all
}

fn limits() -> Limits {
    Limits { code_entries: 1_000, code_unzipped_bytes: 4 << 20, ..Limits::default() }
}

#[tokio::test]
async fn every_attack_is_named_and_leaves_nothing_behind() {
    let fixture = Fixture::new(&limits());
    let mut wrong = Vec::new();
    for (attack, zip, expected) in attacks() {
        let result = fixture.publish(&zip).await;
        let named = matches!(&result, Err(Error::Invalid(message)) if message.len() < 1_000
            && message.strip_prefix(PREFIX).is_some_and(|detail| detail.contains(expected)));
        if !named || !fixture.trees().is_empty() {
            wrong.push(format!("{attack}: {result:?}, not {expected:?}; left {:?}", fixture.trees()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_empty_archive_gets_lambdas_own_sentence() {
    let fixture = Fixture::new(&limits());
    let error = fixture.publish(&Archive::default().bytes()).await.unwrap_err();
    assert_eq!(error.to_string(), "Uploaded file must be a non-empty zip");
    assert_eq!(fixture.trees(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_hash_is_refused_before_the_archive_is_looked_at() {
    let fixture = Fixture::new(&limits());
    let path = fixture.folder.path().join("uploads/zip");
    std::fs::write(&path, Archive::of([file()]).bytes()).unwrap();
    for hash in ["0".repeat(64), "../../evil".into(), "A".repeat(64), String::new()] {
        let error = fixture.cache.publish(&hash, &path, &super::interpreter()).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(message) if message.contains("SHA-256")), "{error}");
    }
    assert_eq!(fixture.trees(), [""; 0]);
}

#[tokio::test]
async fn a_bomb_is_too_large_before_a_byte_of_it_is_written() {
    let fixture = Fixture::new(&limits());
    // 6 MiB in 6 KiB; and 5 files that are small enough one by one.
    for bomb in [
        Archive::of([Entry::deflated("a", &vec![0; 6 << 20])]),
        Archive::of((0..5).map(|n| Entry::deflated(&n.to_string(), &vec![0; 1 << 20]))),
        // Link targets are bytes too.
        Archive::of((0..900).map(|n| Entry { mode: 0o120_777, ..Entry::deflated(&n.to_string(), &[b'.'; 5_000]) })),
    ] {
        let error = fixture.publish(&bomb.bytes()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit_bytes } if limit_bytes == 4 << 20), "{error}");
        assert_eq!(fixture.trees(), [""; 0]);
    }
}

#[tokio::test]
async fn entries_are_counted_before_they_are_read() {
    let fixture = Fixture::new(&limits());
    // The directory of a million entries is not even there.
    let archive = Archive {
        before_end: end64(1_000_000, 46_000_000, 43),
        entry_count: Some((u16::MAX, u16::MAX)),
        directory_bytes: Some(u32::MAX),
        ..Archive::of([file()])
    };
    let error = fixture.publish(&archive.bytes()).await.unwrap_err().to_string();
    assert!(error.contains("zip64 end record is not where") || error.contains("1000000 entries"), "{error}");
    let archive = Archive::of((0..1_001).map(|n| Entry::stored(&n.to_string(), b"")));
    let error = fixture.publish(&archive.bytes()).await.unwrap_err().to_string();
    assert!(error.contains("1001 entries; at most 1000"), "{error}");
    // Folders that are only implied count as well.
    let archive = Archive::of((0..100).map(|n| Entry::stored(&format!("{n}/{}f", "d/".repeat(100)), b"")));
    let error = fixture.publish(&archive.bytes()).await.unwrap_err().to_string();
    assert!(error.contains("more than 1000 files"), "{error}");
    assert_eq!(fixture.trees(), [""; 0]);
}
