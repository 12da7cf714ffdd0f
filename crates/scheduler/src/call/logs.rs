//! The log lines of one call between the worker and the meter.

use dayfly_meter as meter;
use dayfly_types::{FunctionConfiguration, LogLine, LogSink, LogSource};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A call that has run this long has its lines stored as they come, so that `logs -f` shows them; a shorter one has
/// them stored with its record, in one commit.
pub(super) const LIVE_AFTER: Duration = Duration::from_millis(250);

/// Collects lines. The worker bounds their bytes.
pub(super) struct CallLogs {
    function: Arc<FunctionConfiguration>,
    meter: meter::Handle,
    /// Takes them too.
    listener: Option<Box<dyn LogSink>>,
    /// Lines of one stream each, in order.
    waiting: Mutex<Vec<(String, Vec<LogLine>)>>,
    /// Held while lines are on their way to the meter, so that they arrive in order and are never given up half-way.
    storing: tokio::sync::Mutex<()>,
}

impl CallLogs {
    pub(super) fn new(
        function: Arc<FunctionConfiguration>,
        meter: meter::Handle,
        listener: Option<Box<dyn LogSink>>,
    ) -> Self {
        Self { function, meter, listener, waiting: Mutex::default(), storing: tokio::sync::Mutex::new(()) }
    }

    /// Starts to store what may be stored before the call ends.
    pub(super) fn store_live(self: &Arc<Self>) {
        if self.lock().is_empty() {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // The store is slow: the lines go with a later turn.
            let Ok(_turn) = this.storing.try_lock() else { return };
            let live = split_live(&mut this.lock());
            let mut failed = Vec::new();
            for (stream, lines) in live {
                let stored = this.meter.append(&this.function.arn, &this.function.logging.group, &stream, &lines).await;
                if let Err(error) = stored {
                    tracing::warn!(function = %this.function.arn, stream, %error, "log lines wait for the call's end");
                    failed.push((stream, lines));
                }
            }
            let mut waiting = this.lock();
            failed.append(&mut waiting);
            *waiting = failed;
        });
    }

    /// All that is left, by stream; for the end of the call.
    pub(super) async fn rest(&self) -> Vec<(String, Vec<LogLine>)> {
        let _turn = self.storing.lock().await;
        std::mem::take(&mut *self.lock())
    }

    /// Stores all that is left, for an init that is no call's.
    async fn store_all(&self) {
        let _turn = self.storing.lock().await;
        let lines = std::mem::take(&mut *self.lock());
        for (stream, lines) in lines {
            if let Err(error) =
                self.meter.append(&self.function.arn, &self.function.logging.group, &stream, &lines).await
            {
                tracing::error!(function = %self.function.arn, stream, %error, "log lines were lost");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Vec<LogLine>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSink for CallLogs {
    fn lines(&self, stream: &str, lines: Vec<LogLine>) {
        if let Some(listener) = self.listener.as_ref().filter(|listener| listener.wants_lines()) {
            listener.lines(stream, lines.clone());
        }
        let mut waiting = self.lock();
        match waiting.last_mut() {
            Some((last, tail)) if last == stream => tail.extend(lines),
            _ => waiting.push((stream.to_owned(), lines)),
        }
    }

    fn not_cloned(&self, why: &str) {
        if let Some(listener) = &self.listener {
            listener.not_cloned(why);
        }
    }
}

/// The lines of inits that no call waits for; stored as they come. The worker bounds their bytes.
pub(crate) struct InitLogs(Arc<CallLogs>);

impl InitLogs {
    pub(crate) fn new(function: Arc<FunctionConfiguration>, meter: meter::Handle) -> Self {
        Self(Arc::new(CallLogs::new(function, meter, None)))
    }
}

impl LogSink for InitLogs {
    fn lines(&self, stream: &str, lines: Vec<LogLine>) {
        self.0.lines(stream, lines);
        let logs = Arc::clone(&self.0);
        tokio::spawn(async move { logs.store_all().await });
    }
}

/// Takes the lines that may be stored ahead of the record: those before the first platform line that could be the
/// call's END or REPORT. These go with the record or not at all.
fn split_live(waiting: &mut Vec<(String, Vec<LogLine>)>) -> Vec<(String, Vec<LogLine>)> {
    let mut live = Vec::new();
    for (index, (stream, lines)) in waiting.iter_mut().enumerate() {
        match lines.iter().position(|line| !may_go_ahead(line)) {
            None => live.push((stream.clone(), std::mem::take(lines))),
            Some(at) => {
                let held = lines.split_off(at);
                live.push((stream.clone(), std::mem::replace(lines, held)));
                waiting.drain(..index);
                live.retain(|(_, lines)| !lines.is_empty());
                return live;
            }
        }
    }
    waiting.clear();
    live
}

fn may_go_ahead(line: &LogLine) -> bool {
    line.source == LogSource::Function
        || ["START ", "INIT_"].iter().any(|start| line.text.starts_with(start))
        || ["\"platform.start\"", "\"platform.init"].iter().any(|kind| line.text.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_first_closing_platform_line_on_goes_ahead() {
        let line = |source, text: &str| LogLine { at: jiff::Timestamp::UNIX_EPOCH, source, text: text.to_owned() };
        let said = |text| line(LogSource::Function, text);
        let platform = |text| line(LogSource::Platform, text);
        let mut waiting = vec![
            ("a".to_owned(), vec![platform("START RequestId: 1"), said("REPORT forged")]),
            ("b".to_owned(), vec![said("x"), platform("END RequestId: 1"), platform("REPORT RequestId: 1")]),
            ("c".to_owned(), vec![said("late")]),
        ];
        let live = split_live(&mut waiting);
        let texts = |parts: &[(String, Vec<LogLine>)]| -> Vec<String> {
            parts.iter().flat_map(|(_, lines)| lines.iter().map(|line| line.text.clone())).collect()
        };
        assert_eq!(texts(&live), ["START RequestId: 1", "REPORT forged", "x"]);
        assert_eq!(texts(&waiting), ["END RequestId: 1", "REPORT RequestId: 1", "late"]);
        assert_eq!(texts(&split_live(&mut waiting)), Vec::<String>::new());
        assert_eq!(texts(&waiting), ["END RequestId: 1", "REPORT RequestId: 1", "late"]);
    }
}
