//! Objects over HTTP, and files: many of one size, each with bytes of its own, written or read by several clients.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use crate::{Client, Result, Total, together};

/// The two things to do with an object or a file.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Put,
    Get,
}

impl Verb {
    fn new(text: &str) -> Result<Self> {
        match text {
            "PUT" => Ok(Self::Put),
            "GET" => Ok(Self::Get),
            other => Err(format!("{other} is neither PUT nor GET").into()),
        }
    }

    /// How many bytes have to be made for one.
    fn written(self, bytes: usize) -> usize {
        if self == Self::Put { bytes } else { 0 }
    }
}

/// Requests every target (a path with a signed query) in the lines of `list` once.
pub fn objects(address: &str, list: &str, verb: &str, bytes: &str, connections: &str) -> Result<Total> {
    let (verb, bytes) = (Verb::new(verb)?, bytes.parse()?);
    let list = fs::read_to_string(list)?;
    let targets: Vec<&str> = list.lines().collect();
    let host = address;
    let address = address.parse()?;
    each(targets.len(), connections, verb.written(bytes), |client: &mut Option<Client>, number, body: &[u8]| {
        let client = client.get_or_insert_with(|| Client::new(address));
        let target = targets.get(number).ok_or("no such target")?;
        let done = match verb {
            Verb::Put => {
                let head = format!("PUT {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
                client.call(&[head.as_bytes(), body], 200).map(|_| ())
            }
            Verb::Get => {
                let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                client.call(&[head.as_bytes()], 200).and_then(|length| whole(length, bytes))
            }
        };
        if done.is_err() {
            client.close();
        }
        done
    })
}

/// The least that durable objects can cost: a file each, written, synced and renamed, or read.
pub fn files(folder: &str, verb: &str, bytes: &str, threads: &str, count: &str) -> Result<Total> {
    let (verb, bytes) = (Verb::new(verb)?, bytes.parse()?);
    let folder = Path::new(folder);
    each(count.parse()?, threads, verb.written(bytes), |scratch: &mut Vec<u8>, number, body: &[u8]| {
        let path = folder.join(number.to_string());
        match verb {
            Verb::Put => {
                let fresh = path.with_extension("new");
                let mut file = File::create(&fresh)?;
                file.write_all(body)?;
                file.sync_all()?;
                Ok(fs::rename(&fresh, &path)?)
            }
            Verb::Get => {
                scratch.resize(256 << 10, 0);
                let (mut file, mut length) = (File::open(path)?, 0);
                loop {
                    match file.read(scratch)? {
                        0 => return whole(length, bytes),
                        more => length += more,
                    }
                }
            }
        }
    })
}

fn whole(length: usize, bytes: usize) -> Result<()> {
    if length == bytes { Ok(()) } else { Err(format!("{length} bytes rather than {bytes}").into()) }
}

/// Does `one` for the numbers below `count`, shared out to threads that each have a state of their own.
pub fn each<S: Default>(
    count: usize,
    threads: &str,
    written: usize,
    one: impl Fn(&mut S, usize, &[u8]) -> Result<()> + Send + Sync,
) -> Result<Total> {
    let next = AtomicUsize::new(0);
    Ok(together(threads.parse()?, |barrier| {
        let (mut total, mut state, mut body) = (Total::default(), S::default(), noise(written));
        barrier.wait();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return total;
            }
            stamp(&mut body, number);
            let started = Instant::now();
            match one(&mut state, number, &body) {
                Ok(()) => total.latencies.push(started.elapsed()),
                Err(error) => {
                    total.errors += 1;
                    total.first_error.get_or_insert(error.to_string());
                }
            }
        }
    }))
}

/// Bytes that do not compress (xorshift64).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

/// Makes every page differ from that of all other objects: nobody stores one only once.
fn stamp(body: &mut [u8], number: usize) {
    for page in body.chunks_mut(4096) {
        for (byte, new) in page.iter_mut().zip(number.to_le_bytes()) {
            *byte = new;
        }
    }
}
