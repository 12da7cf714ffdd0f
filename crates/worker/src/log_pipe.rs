//! An instance's output, from its pipe to lines, within bounds.

use dayfly_types::{Limits, LogLine, LogSource, Timestamp};
use std::io;
use tokio::net::unix::pipe;

/// Most bytes read from the pipe at once.
const READ_BYTES: usize = 64 << 10;
/// Most bytes that a pipe holds, unless root has raised `pipe-max-size`.
const PIPE_BYTES_MAX: usize = 1 << 20;

/// Reads one instance's log pipe. Lines longer than the limit are split; what goes over the limit per call is counted and dropped.
pub struct LogPipe {
    pipe: pipe::Receiver,
    line: Vec<u8>,
    line_bytes_max: usize,
    bytes_left: usize,
    bytes_max: usize,
    dropped_bytes: u64,
    /// The other end is closed: there will be nothing more.
    pub ended: bool,
}

impl LogPipe {
    /// Wraps the read end.
    pub fn new(pipe: pipe::Receiver, limits: &Limits) -> Self {
        Self {
            pipe,
            line: Vec::new(),
            line_bytes_max: limits.log_event_bytes.max(1),
            bytes_left: limits.log_bytes_per_call,
            bytes_max: limits.log_bytes_per_call,
            dropped_bytes: 0,
            ended: false,
        }
    }

    /// Waits for output and returns the lines that are complete. Cancel-safe.
    pub async fn read(&mut self) -> Vec<LogLine> {
        loop {
            // A process that never stops writing must not keep a thread of the runtime to itself.
            tokio::task::consume_budget().await;
            if self.pipe.readable().await.is_err() {
                self.ended = true;
                return Vec::new();
            }
            if let Some(lines) = self.take() {
                return lines;
            }
        }
    }

    /// Takes what is in the pipe now, without waiting; `None` when there was nothing. Bounded per call of this.
    pub fn take(&mut self) -> Option<Vec<LogLine>> {
        let mut lines = Vec::new();
        let mut buffer = [0; READ_BYTES];
        match self.pipe.try_read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(bytes) => self.split(&buffer[..bytes], &mut lines),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => self.ended = true,
        }
        Some(lines)
    }

    /// What is in the pipe now, and the rest. No more than a pipe holds: whoever is still writing is not waited for.
    pub fn take_all(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for _ in 0..PIPE_BYTES_MAX / READ_BYTES {
            match self.take() {
                Some(some) if !self.ended => lines.extend(some),
                _ => break,
            }
        }
        lines.extend(self.finish());
        lines
    }

    /// Another call's lines begin.
    pub fn begin_anew(&mut self) {
        self.bytes_left = self.bytes_max;
    }

    /// The rest: a line without a line feed, and a notice of what was dropped.
    pub fn finish(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        if !self.line.is_empty() {
            lines.push(function_line(&self.line));
            self.line.clear();
        }
        if self.dropped_bytes > 0 {
            let text = format!("[dayfly] {} bytes of log were dropped: over the limit of one call", self.dropped_bytes);
            lines.push(LogLine { at: Timestamp::now(), source: LogSource::Platform, text });
            self.dropped_bytes = 0;
        }
        lines
    }

    fn split(&mut self, mut bytes: &[u8], lines: &mut Vec<LogLine>) {
        let taken = bytes.len().min(self.bytes_left);
        self.dropped_bytes += (bytes.len() - taken) as u64;
        self.bytes_left -= taken;
        bytes = &bytes[..taken];
        loop {
            let room = self.line_bytes_max - self.line.len();
            // A line that just fits ends at its line feed, not before it.
            match bytes.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.line.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    lines.push(function_line(&self.line));
                    self.line.clear();
                }
                None if bytes.len() > room => {
                    self.line.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    let next = self.line.split_off(whole_characters(&self.line));
                    lines.push(function_line(&self.line));
                    self.line = next;
                }
                None => return self.line.extend_from_slice(bytes),
            }
        }
    }
}

/// Length of `line` without the character that its end cuts in two; all of it, if nothing else would be left.
fn whole_characters(line: &[u8]) -> usize {
    match std::str::from_utf8(line) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => line.len(),
    }
}

/// A line of the function's.
pub fn function_line(bytes: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned();
    LogLine { at: Timestamp::now(), source: LogSource::Function, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{PipeWriter, Write},
        os::fd::OwnedFd,
        thread,
    };

    fn pipe(line_bytes_max: usize, bytes_max: usize) -> (PipeWriter, LogPipe) {
        let limits = Limits { log_event_bytes: line_bytes_max, log_bytes_per_call: bytes_max, ..Limits::default() };
        let (reader, writer) = io::pipe().unwrap();
        (writer, LogPipe::new(pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).unwrap(), &limits))
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// Lines that come of these writes, each read on its own, with a limit of 8 bytes per line and 64 in all.
    async fn lines_of(writes: &[&[u8]]) -> Vec<LogLine> {
        let (mut writer, mut log) = pipe(8, 64);
        let mut lines = Vec::new();
        for write in writes {
            writer.write_all(write).unwrap();
            lines.extend(log.read().await);
        }
        drop(writer);
        while !log.ended {
            lines.extend(log.read().await);
        }
        lines.extend(log.finish());
        lines
    }

    #[tokio::test]
    async fn output_becomes_lines_wherever_it_is_cut() {
        let cases: [(&[&[u8]], &[&str]); 12] = [
            (&[b"one\ntwo\n"], &["one", "two"]),
            (&[b"one\r\ntwo"], &["one", "two"]),
            (&[b"o", b"n", b"e\nt", b"wo\n"], &["one", "two"]),
            (&[b"\n\na\n"], &["", "", "a"]),
            (&[], &[]),
            // The limit is 8 bytes: what just fits is one line, also when its line feed comes later.
            (&[b"12345678\nx\n"], &["12345678", "x"]),
            (&[b"12345678", b"\nx\n"], &["12345678", "x"]),
            (&[b"123456789\n"], &["12345678", "9"]),
            (&[b"12345", b"6789012345678", b"\n"], &["12345678", "90123456", "78"]),
            // A character is not cut in two, unless there is no whole one.
            (&["1234567ä9\n".as_bytes()], &["1234567", "ä9"]),
            (&[b"a\xffb\n\xc3"], &["a\u{fffd}b", "\u{fffd}"]),
            (&[&[0xff; 9]], &["\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}"]),
        ];
        for (writes, expected) in cases {
            let lines = lines_of(writes).await;
            assert_eq!(texts(&lines), expected, "{writes:?}");
            assert!(lines.iter().all(|line| line.source == LogSource::Function));
        }
    }

    #[tokio::test]
    async fn what_is_over_the_limit_is_counted_and_told_once() {
        let lines = lines_of(&[&[b'x'; 60], b"\n1234567\n"]).await;
        let mut expected = vec!["xxxxxxxx"; 7];
        // 64 bytes: seven lines of 8, 4 more, the line feed, and 3.
        expected.extend(["xxxx", "123", "[dayfly] 5 bytes of log were dropped: over the limit of one call"]);
        assert_eq!(texts(&lines), expected);
        assert_eq!(lines.last().unwrap().source, LogSource::Platform);
        let (_writer, mut log) = pipe(8, 64);
        assert!(log.finish().is_empty());
        assert!(log.take().is_none(), "nothing is there yet");
    }

    #[tokio::test]
    async fn a_limit_of_nothing_is_survived() {
        let (mut writer, mut log) = pipe(0, 3);
        writer.write_all(b"abcd").unwrap();
        log.pipe.readable().await.unwrap();
        assert_eq!(
            texts(&log.take_all()),
            ["a", "b", "c", "[dayfly] 1 bytes of log were dropped: over the limit of one call"]
        );
    }

    #[tokio::test]
    async fn a_writer_without_end_is_not_waited_for() {
        let (mut writer, mut log) = pipe(8, 1 << 20);
        let writing = thread::spawn(move || while writer.write_all(&[b'x'; 64 << 10]).is_ok() {});
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        assert!(!log.take_all().is_empty());
        // On this runtime's only thread: the reader lets others have it, so the timer fires.
        let forever = async {
            loop {
                log.read().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_millis(50), forever).await.unwrap_err();
        drop(log);
        writing.join().unwrap();
    }
}
