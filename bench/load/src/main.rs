//! Load for the benchmarks, by threads that block: it shares the machine with what it measures, so it must cost little.
//!
//! `load http ADDRESS REQUEST_FILE CONNECTIONS (SECONDS | COUNTx) [STATUS]` sends the bytes of the file again and again,
//! each connection one at a time, and reads whole answers. It opens a connection anew when the server has closed it
//! (that time counts, as a client would feel it), and only if it had to.
//! `load each ADDRESS REQUESTS_FILE CONNECTIONS` sends every request of the file once; before each stands a line with its length.
//! `load fsync FOLDER BYTES THREADS SECONDS` appends events to a file there, one fdatasync for each.
//! `load objects ADDRESS LIST_FILE PUT|GET BYTES CONNECTIONS` requests each target of the list once.
//! `load files FOLDER PUT|GET BYTES THREADS COUNT` writes or reads as many files.
//!
//! Prints one line of JSON. Times are microseconds.

mod objects;

use std::{
    fmt::Display,
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    str::FromStr,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest head of an answer, and what is read at a time.
const BUFFER_BYTES: usize = 64 << 10;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["http", address, request, connections, until, rest @ ..] => http(address, request, connections, until, rest),
        ["each", address, requests, connections] => each(address, requests, connections),
        ["fsync", folder, bytes, threads, seconds] => fsync(folder, bytes, threads, seconds),
        ["objects", address, list, verb, bytes, connections] => {
            objects::objects(address, list, verb, bytes, connections)
        }
        ["files", folder, verb, bytes, threads, count] => objects::files(folder, verb, bytes, threads, count),
        _ => Err("usage: see the head of main.rs".into()),
    };
    match done {
        Ok(total) => {
            println!("{total}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// When a run ends: after a time, or after so many events in all.
#[derive(Clone)]
struct Until {
    time: Option<Duration>,
    left: Arc<AtomicU64>,
}

impl FromStr for Until {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.strip_suffix('x') {
            Some(count) => Self { time: None, left: Arc::new(AtomicU64::new(count.parse()?)) },
            None => {
                let time = Duration::try_from_secs_f64(text.parse()?)?;
                Self { time: Some(time), left: Arc::new(AtomicU64::new(u64::MAX)) }
            }
        })
    }
}

impl Until {
    /// Whether there is one more to do.
    fn one_more(&self, started: Instant) -> bool {
        self.time.is_none_or(|time| started.elapsed() < time)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// What came of a run.
#[derive(Default)]
struct Total {
    latencies: Vec<Duration>,
    errors: u64,
    first_error: Option<String>,
    wall: Duration,
}

impl Total {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

impl Display for Total {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = |permille: usize| {
            let place = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
            sorted.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        let seconds = self.wall.as_secs_f64();
        let error =
            self.first_error.as_ref().map_or("null".to_owned(), |text| format!("{:?}", text.replace(['"', '\\'], "'")));
        write!(
            out,
            "{{\"count\": {}, \"errors\": {}, \"first_error\": {error}, \"seconds\": {seconds:.6}, \"per_second\": {:.3}, \
             \"p50_us\": {:.1}, \"p90_us\": {:.1}, \"p99_us\": {:.1}, \"max_us\": {:.1}}}",
            sorted.len(),
            self.errors,
            sorted.len() as f64 / seconds,
            at(500),
            at(900),
            at(990),
            at(1000),
        )
    }
}

/// Runs `work` in threads that start together; each is given its first moment and says what came of it.
fn together(threads: usize, work: impl Fn(&Barrier) -> Total + Send + Sync) -> Total {
    let barrier = Barrier::new(threads + 1);
    let total = Mutex::new(Total::default());
    let mut started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let part = work(&barrier);
                if let Ok(mut total) = total.lock() {
                    total.add(part);
                }
            });
        }
        barrier.wait();
        started = Instant::now();
    });
    let wall = started.elapsed();
    let total = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    Total { wall, ..total }
}

fn http(address: &str, request: &str, connections: &str, until: &str, status: &[&str]) -> Result<Total> {
    let address: SocketAddr = address.parse()?;
    if !address.ip().is_loopback() {
        return Err("only loopback addresses are loaded".into());
    }
    let request = std::fs::read(request)?;
    let until: Until = until.parse()?;
    let status: u16 = status.first().map_or(Ok(200), |text| text.parse())?;
    Ok(together(connections.parse()?, |barrier| {
        let mut total = Total::default();
        let mut client = Client::new(address);
        // The first connection is made ahead, as a client's pool has it.
        if let Err(error) = client.connect() {
            total.first_error = Some(error.to_string());
        }
        barrier.wait();
        let started = Instant::now();
        while until.one_more(started) {
            let one = Instant::now();
            match client.call(&[&request], status) {
                Ok(_) => total.latencies.push(one.elapsed()),
                Err(error) => {
                    total.errors += 1;
                    total.first_error.get_or_insert(error.to_string());
                    client.close();
                    // A server that refuses everything is not to be hammered.
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
        total
    }))
}

/// Sends every request of a file once, as they come to be free.
fn each(address: &str, requests: &str, connections: &str) -> Result<Total> {
    let address: SocketAddr = address.parse()?;
    let file = std::fs::read(requests)?;
    let mut requests = Vec::new();
    let mut rest = &file[..];
    while let Some(line) = rest.iter().position(|byte| *byte == b'\n') {
        let length: usize = std::str::from_utf8(&rest[..line])?.parse()?;
        let (request, after) = rest[line + 1..].split_at_checked(length).ok_or("the last request is cut short")?;
        requests.push(request);
        rest = after;
    }
    objects::each(requests.len(), connections, 0, |client: &mut Option<Client>, number, _: &[u8]| {
        let client = client.get_or_insert_with(|| Client::new(address));
        let request = requests.get(number).ok_or("no such request")?;
        let done = client.call(&[request], 200).map(|_| ());
        if done.is_err() {
            client.close();
        }
        done
    })
}

struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: vec![0; BUFFER_BYTES] }
    }

    fn connect(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.stream = Some(stream);
        Ok(())
    }

    fn close(&mut self) {
        self.stream = None;
    }

    /// Sends one request, given in parts, and reads its whole answer; returns the length of the answer's body.
    fn call(&mut self, request: &[&[u8]], status: u16) -> Result<usize> {
        if self.stream.is_none() {
            self.connect()?;
        }
        let Some(stream) = &mut self.stream else { return Err("no connection".into()) };
        for part in request {
            stream.write_all(part)?;
        }
        let mut have = 0;
        let head_end = loop {
            match stream.read(&mut self.buffer[have..])? {
                0 => return Err(format!("the answer ended after {have} bytes").into()),
                more => have += more,
            }
            if let Some(at) = self.buffer[..have].windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..head_end])?;
        let length: usize = header(head, "content-length").ok_or("an answer without a length")?.parse()?;
        let close = header(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let got: u16 = head.get(9..12).ok_or("an answer without a status")?.parse()?;
        if got != status || header(head, "x-amz-function-error").is_some() {
            let body = &self.buffer[head_end..have.min(head_end + 300)];
            return Err(format!("status {got}: {}", String::from_utf8_lossy(body)).into());
        }
        let mut left = (head_end + length).checked_sub(have).ok_or("more than an answer")?;
        while left > 0 {
            match stream.read(&mut self.buffer)? {
                0 => return Err(format!("the answer ended {left} bytes early").into()),
                more => left = left.checked_sub(more).ok_or("more than an answer")?,
            }
        }
        if close {
            self.close();
        }
        Ok(length)
    }
}

/// Value of a header of an HTTP/1.1 head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The least that a durable event can cost without sharing: an append, and its own fdatasync.
fn fsync(folder: &str, bytes: &str, threads: &str, seconds: &str) -> Result<Total> {
    let path = Path::new(folder).join("events");
    let file = Mutex::new(File::create(&path)?);
    let until: Until = seconds.parse()?;
    let event = vec![b'x'; bytes.parse()?];
    let total = together(threads.parse()?, |barrier| {
        let mut total = Total::default();
        barrier.wait();
        let started = Instant::now();
        while until.one_more(started) {
            let one = Instant::now();
            let written = file.lock().map_err(|_| io::Error::other("poisoned")).and_then(|mut file| {
                file.write_all(&event)?;
                file.sync_data()
            });
            match written {
                Ok(()) => total.latencies.push(one.elapsed()),
                Err(error) => {
                    total.errors += 1;
                    total.first_error.get_or_insert(error.to_string());
                    break;
                }
            }
        }
        total
    });
    std::fs::remove_file(path)?;
    Ok(total)
}
