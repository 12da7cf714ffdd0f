//! Log lines on their way from an instance to the meter.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Who wrote a line. A function cannot forge `Platform`: only the server sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The function's stdout or stderr.
    Function,
    /// START, END, REPORT, INIT_REPORT and Dayfly's own notices.
    Platform,
}

/// One log event: a line without its line feed, at most `Limits::log_event_bytes` long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the server read it.
    pub at: Timestamp,
    /// Who wrote it.
    pub source: LogSource,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Takes the lines of one call (or of one init) as they come. Must not block.
///
/// Implemented by the scheduler, called by the worker, which bounds the bytes per call beforehand.
pub trait LogSink: Send + Sync {
    /// Takes `lines`, in order, of log stream `stream`.
    fn lines(&self, stream: &str, lines: Vec<LogLine>);

    /// Whether somebody reads what `lines` is told.
    fn wants_lines(&self) -> bool {
        true
    }

    /// The function's instances are not cloned, and why; a line says so too. Told while the call that found out waits.
    fn not_cloned(&self, _why: &str) {}
}
