//! Well-formed archives with hostile names, types and links. Random bytes seldom get past the checks of a zip's
//! structure; this writes that structure itself, so that every input reaches the checks of the tree.
//!
//! The input is a list of entries: a byte for the type, a name, a content; texts end with a line feed.

#![no_main]

mod checked;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let mut entries = Vec::new();
    while let (Some([kind, name @ ..]), Some(content)) = (lines.next(), lines.next()) {
        let mode: u32 = match kind {
            b'l' => 0o120_777,
            b'd' => 0o040_755,
            b'x' => 0o100_755,
            b'0' => 0,
            b'?' => 0o010_644,
            _ => 0o100_644,
        };
        entries.push((mode, name, content));
    }
    checked::unpacked(&archive(&entries));
});

fn archive(entries: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (mode, name, content) in entries {
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc32fast::hash(content).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend((bytes.len() as u32).to_le_bytes());
        directory.extend(*name);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(*name);
        bytes.extend(*content);
    }
    let offset = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([(entries.len() as u16).to_le_bytes(); 2].concat());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}
