//! An instance's output, from its pipe to lines, within bounds.

use dayfly_types::{Limits, LogLine, LogSource, Timestamp};
use std::io;
use tokio::net::unix::pipe;

/// Most bytes read from the pipe at once.
const READ_BYTES: usize = 64 << 10;

/// Reads one instance's log pipe. Lines longer than the limit are split; what goes over the limit per call is counted and dropped.
pub struct LogPipe {
    pipe: pipe::Receiver,
    line: Vec<u8>,
    line_bytes_max: usize,
    bytes_left: usize,
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
            line_bytes_max: limits.log_event_bytes,
            bytes_left: limits.log_bytes_per_call,
            dropped_bytes: 0,
            ended: false,
        }
    }

    /// Waits for output and returns the lines that are complete. Cancel-safe.
    pub async fn read(&mut self) -> Vec<LogLine> {
        loop {
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
        while !bytes.is_empty() {
            let room = self.line_bytes_max - self.line.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.line.extend_from_slice(&window[..end]);
                    bytes = &bytes[end + 1..];
                }
                None => {
                    self.line.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.line.len() < self.line_bytes_max {
                        break;
                    }
                }
            }
            lines.push(function_line(&self.line));
            self.line.clear();
        }
    }
}

/// A line of the function's.
pub fn function_line(bytes: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned();
    LogLine { at: Timestamp::now(), source: LogSource::Function, text }
}
