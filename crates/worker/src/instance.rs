//! One call in one instance: hands over the event, waits for the answer within the deadline, and settles what was used.

use crate::{
    Call, Cancel,
    log_pipe::{LogPipe, function_line},
    pool::{Taken, VersionHandle},
    report,
};
use bytes::Bytes;
use dayfly_sandbox::{cgroup::Cgroup, protocol::Exit};
use dayfly_types::{FunctionError, LogLine, LogSource, Outcome, Timestamp, Usage, UsageStatus};
use std::{collections::VecDeque, io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::oneshot,
    time::{Instant, timeout},
};

/// How long an instance that has answered may take to end by itself.
const END_GRACE: Duration = Duration::from_millis(50);
/// How long a killed instance may take to be gone; then its launcher is given up.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long the rest of the output may take after the end.
const LOG_GRACE: Duration = Duration::from_millis(200);
/// Longest error body and error log.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// Longest event that goes out with its head in one write.
const COPIED_MAX: usize = 64 << 10;
/// Bytes of `X-Amz-Log-Result`.
const LOG_TAIL_BYTES: usize = 4096;

/// `FunctionError::error_type` of a job's call that raised; the payload is the function's own.
const RAISED: &str = "Function.Raised";

/// What an instance answers before it ends.
pub enum Answer {
    /// The handler's JSON.
    Result(Bytes),
    /// The handler's, or init's, error JSON.
    Error { body: Bytes, in_init: bool },
    /// Bytes that stand for what a job's function raised.
    Raised(Bytes),
    /// A result over the limit: its length.
    TooLarge(usize),
    /// Init is done; the event may come.
    Ready,
}

/// The first frame that is not log text, and the log text before it. Bounded; an instance may send anything.
pub async fn answer(socket: &mut UnixStream, result_bytes_max: usize) -> io::Result<(Answer, Option<Bytes>)> {
    let mut log = None;
    loop {
        let mut head = [0; 5];
        socket.read_exact(&mut head).await?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let most = if matches!(head[0], b'R' | b'P') { result_bytes_max } else { ERROR_BYTES_MAX };
        if length > most {
            return match head[0] {
                b'R' | b'P' | b'E' => Ok((Answer::TooLarge(length), log)),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        let body = Bytes::from(body);
        match head[0] {
            b'L' if log.is_none() => log = Some(body),
            b'R' => return Ok((Answer::Result(body), log)),
            b'P' => return Ok((Answer::Raised(body), log)),
            b'E' => return Ok((Answer::Error { body, in_init: false }, log)),
            b'F' => return Ok((Answer::Error { body, in_init: true }, log)),
            b'I' => return Ok((Answer::Ready, log)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// What an instance is told of its call, as `bootstrap.py` documents it: lengths, deadline, texts.
fn head(call: &Call, deadline_ms: i64) -> Vec<u8> {
    let invocation = &call.invocation;
    let (request_id, arn) = (invocation.request_id.to_string(), invocation.function.to_string());
    let [client_context, tenant_id, trace_id] =
        [&invocation.client_context, &invocation.tenant_id, &invocation.trace_header].map(|text| text.as_deref());
    let texts = [Some(request_id.as_str()), Some(arn.as_str()), client_context, tenant_id, trace_id]
        .map(Option::unwrap_or_default);
    let mut head = Vec::with_capacity(512 + invocation.payload.len().min(COPIED_MAX));
    head.extend_from_slice(&(invocation.payload.len() as u32).to_le_bytes());
    for text in texts {
        head.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
    head.extend_from_slice(&deadline_ms.to_le_bytes());
    for text in texts {
        head.extend_from_slice(text.as_bytes());
    }
    head
}

/// How the wait for an answer ended.
enum Ending {
    Answered(Answer, Option<Bytes>),
    /// The socket closed, or the instance talked nonsense.
    Silent,
    TimedOut,
    /// Who made the call took it back.
    Cancelled,
}

/// Lines of one call on their way to the sink, with the tail kept when it is wanted.
pub struct Lines<'a> {
    call: &'a Call,
    stream: &'a str,
    tail: Option<VecDeque<u8>>,
}

impl<'a> Lines<'a> {
    /// For the lines of `call`.
    pub fn new(call: &'a Call, stream: &'a str) -> Self {
        Self { call, stream, tail: call.want_log_tail.then(VecDeque::new) }
    }

    /// Hands lines over.
    pub fn push(&mut self, lines: Vec<LogLine>) {
        if lines.is_empty() {
            return;
        }
        if let Some(tail) = &mut self.tail {
            for line in &lines {
                tail.extend(line.text.as_bytes());
                tail.push_back(b'\n');
                let over = tail.len().saturating_sub(LOG_TAIL_BYTES);
                tail.drain(..over);
            }
        }
        self.call.logs.lines(self.stream, lines);
    }

    /// Hands a line of ours over.
    pub fn platform(&mut self, text: String) {
        self.push(vec![LogLine { at: Timestamp::now(), source: LogSource::Platform, text }]);
    }

    /// The last 4 KiB, when wanted.
    pub fn into_tail(self) -> Option<Bytes> {
        self.tail.map(|tail| Bytes::from(Vec::from(tail)))
    }
}

/// Runs `call` in the instance that was taken for it.
pub async fn run(mut call: Call, taken: Taken, mut cancel: Cancel) -> Outcome {
    let early = call.early.take();
    if let Some(started) = call.started.take() {
        // Nobody may be waiting for it.
        let _ = started.send(());
    }
    let call = call;
    let Taken { lease, service, mut socket, mut log, log_head, exit, stream, init_us, restore_us, resident_bytes } =
        taken;
    let (version, number, cgroup) = (lease.version(), lease.number(), lease.cgroup());
    let function = &call.function;
    let invocation = &call.invocation;
    let mut lines = Lines::new(&call, &stream);
    lines.push(log_head);
    lines.platform(report::start(invocation.request_id, &function.version().to_string()));
    let cpu_before_us = version.reuse().and_then(|_| cgroup.cpu_us());
    let started_at = Timestamp::now();
    let started = Instant::now();
    let limit = Duration::from_secs(function.timeout_s.into());
    let head = head(&call, started_at.as_millisecond() + limit.as_millis() as i64);
    let result_bytes_max = version.limits().sync_payload_bytes + 100;
    let ending = {
        let exchange = exchange(&mut socket, head, &invocation.payload, result_bytes_max);
        tokio::pin!(exchange);
        let deadline = tokio::time::sleep_until(started + limit);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                ending = &mut exchange => break ending,
                () = &mut deadline => break Ending::TimedOut,
                () = cancel.asked() => break Ending::Cancelled,
                some = log.read(), if !log.ended => lines.push(some),
            }
        }
    };
    let elapsed = started.elapsed();
    let mut usage = Usage {
        request_id: invocation.request_id,
        function: function.versioned_arn(),
        instance_id: service.id.clone(),
        log_stream: stream.to_string(),
        attempt: call.attempt,
        started_at,
        duration_us: elapsed.as_micros() as u64,
        billed_ms: 0,
        memory_mb: function.memory_mb,
        memory_peak_bytes: 0,
        cpu_us: 0,
        init_us,
        restore_us,
        ephemeral_storage_mb: function.ephemeral_storage_mb,
        status: UsageStatus::Success,
        tags: function.tags.clone(),
    };
    let answered = matches!(ending, Ending::Answered(Answer::Result(_) | Answer::Error { .. } | Answer::Raised(_), _));
    if answered {
        usage.billed_ms = report::billed_ms(usage.duration_us);
        usage.memory_peak_bytes = memory_peak_bytes(cgroup, resident_bytes, usage.memory_mb);
    } else {
        cgroup.hurry();
        version.kill(number);
    }
    let (result, last_words) = match ending {
        Ending::Answered(Answer::Result(body), log) => (Ok(body), log),
        Ending::Answered(Answer::Error { body, .. }, log) => {
            usage.status = UsageStatus::Error;
            let error_type = error_type_of(&body);
            (Err(FunctionError { error_type, payload: body }), log)
        }
        Ending::Answered(Answer::Raised(payload), log) => {
            usage.status = UsageStatus::Error;
            (Err(FunctionError { error_type: RAISED.to_owned(), payload }), log)
        }
        Ending::Answered(Answer::TooLarge(length), log) => {
            usage.status = UsageStatus::Error;
            let kind = "Function.ResponseSizeTooLarge";
            let text = format!(
                "Response payload size ({length} bytes) exceeded maximum allowed payload size ({result_bytes_max} bytes)."
            );
            (Err(function_error(kind, report::error(kind, &text))), log)
        }
        Ending::Answered(Answer::Ready, log) => (Ok(Bytes::new()), log),
        Ending::TimedOut => {
            usage.status = UsageStatus::Timeout;
            usage.duration_us = usage.duration_us.min(limit.as_micros() as u64);
            (Ok(Bytes::new()), None)
        }
        Ending::Cancelled => {
            usage.status = UsageStatus::Cancelled;
            (Ok(Bytes::new()), None)
        }
        Ending::Silent => {
            usage.status = UsageStatus::Exit;
            (Ok(Bytes::new()), None)
        }
    };
    // One that goes on is back before its caller can make another call.
    let (mut goes_on, mut ready) = (false, Ready::default());
    let goes_on_at_all = answered
        && version.reuse().is_some_and(|reuse| service.after_call(started).may_serve(reuse))
        && cgroup.out_of_memory_kills() == 0;
    if goes_on_at_all {
        goes_on = ready.comes(&mut socket, &mut log, &mut lines, Instant::now() + END_GRACE).await;
    }
    if answered
        && !goes_on
        && !call.want_log_tail
        && let Some(early) = early
    {
        let outcome = Outcome {
            executed_version: function.version().to_string(),
            result: result.clone(),
            usage: usage.clone(),
            log_tail: None,
        };
        // Nobody may be waiting any more.
        let _ = early.send(outcome);
    }
    if goes_on_at_all && !goes_on {
        goes_on = ready.comes(&mut socket, &mut log, &mut lines, started + limit).await;
    }
    if goes_on {
        lines.push(log.take_all());
        goes_on = !log.ended;
    }
    let (mut exit, mut ended_with) = (Some(exit), None);
    let mut socket = Some(socket);
    if goes_on {
        let used_us = |before| Some(cgroup.cpu_us()?.saturating_sub(before));
        usage.cpu_us = cpu_before_us.and_then(used_us).unwrap_or(0);
    } else {
        drop(socket.take());
        if let Some(exit) = exit.take() {
            ended_with = ended(version, number, exit, cgroup, answered).await;
        }
        usage.cpu_us = ended_with.as_ref().map_or(0, |exit| exit.cpu_us);
        if let Some(before_us) = cpu_before_us.filter(|_| service.calls > 0) {
            // What it was told at its end is of all its calls.
            usage.cpu_us = cgroup.cpu_us().map_or(0, |now_us| now_us.saturating_sub(before_us));
        }
        drain(&mut log, &mut lines).await;
    }
    let exit_of = ended_with;
    if !answered {
        usage.memory_peak_bytes = memory_peak_bytes(cgroup, resident_bytes, usage.memory_mb);
    }
    let result = match usage.status {
        UsageStatus::Timeout => {
            let (body, text) = report::timed_out(invocation.request_id, function.timeout_s);
            lines.platform(format!("{} {} {text}", log_time(), invocation.request_id));
            Err(function_error("Sandbox.Timedout", body))
        }
        UsageStatus::Cancelled => {
            let (body, text) = report::cancelled(invocation.request_id);
            lines.platform(format!("{} {} {text}", log_time(), invocation.request_id));
            Err(function_error("Sandbox.Cancelled", body))
        }
        UsageStatus::Exit => {
            let out_of_memory = cgroup.out_of_memory_kills() > 0;
            let kind = if out_of_memory { "Runtime.OutOfMemory" } else { "Runtime.ExitError" };
            if out_of_memory {
                usage.status = UsageStatus::OutOfMemory;
                usage.memory_peak_bytes = u64::from(usage.memory_mb) << 20;
            }
            let (body, text) = report::ended(
                invocation.request_id,
                kind,
                exit_of.and_then(|e| e.code),
                exit_of.and_then(|e| e.signal),
            );
            lines.platform(text);
            Err(function_error(kind, body))
        }
        _ => result,
    };
    if let Some(words) = last_words {
        lines.push(vec![function_line(&words)]);
    }
    usage.billed_ms = report::billed_ms(usage.duration_us);
    lines.platform(report::end(invocation.request_id));
    lines.platform(report::report(&usage));
    match (goes_on, socket, exit) {
        (true, Some(socket), Some(exit)) => lease.again(socket, log, exit, service.after_call(started)),
        _ => lease.done(),
    }
    Outcome { executed_version: function.version().to_string(), result, usage, log_tail: lines.into_tail() }
}

async fn exchange(socket: &mut UnixStream, mut head: Vec<u8>, event: &Bytes, result_bytes_max: usize) -> Ending {
    let give = async {
        // One write for what is small; a copy of what is large would cost more than a second write.
        if event.len() <= COPIED_MAX {
            head.extend_from_slice(event);
            return socket.write_all(&head).await;
        }
        socket.write_all(&head).await?;
        socket.write_all(event).await
    };
    if give.await.is_err() {
        return Ending::Silent;
    }
    match answer(socket, result_bytes_max).await {
        Ok((Answer::Ready, _)) | Err(_) => Ending::Silent,
        Ok((answer, log)) => Ending::Answered(answer, log),
    }
}

/// What an instance that has answered says next, as far as it has come.
#[derive(Default)]
struct Ready {
    head: [u8; 5],
    bytes: usize,
}

impl Ready {
    /// Whether it asks for another call by then. Its output goes on meanwhile.
    async fn comes(
        &mut self,
        socket: &mut UnixStream,
        log: &mut LogPipe,
        lines: &mut Lines<'_>,
        deadline: Instant,
    ) -> bool {
        while self.bytes < self.head.len() {
            tokio::select! {
                biased;
                read = socket.read(&mut self.head[self.bytes..]) => match read {
                    Ok(bytes) if bytes > 0 => self.bytes += bytes,
                    _ => return false,
                },
                () = tokio::time::sleep_until(deadline) => return false,
                some = log.read(), if !log.ended => lines.push(some),
            }
        }
        self.head == [b'I', 0, 0, 0, 0]
    }
}

/// Waits until the instance, and all it started, is gone: by itself if it has answered, else by force.
async fn ended(
    version: &VersionHandle,
    number: u64,
    mut exit: oneshot::Receiver<Exit>,
    cgroup: &Cgroup,
    answered: bool,
) -> Option<Exit> {
    if answered {
        if let Ok(exit) = timeout(END_GRACE, &mut exit).await {
            if exit.is_err() {
                // Its launcher was lost, and it may still be ending: its cgroup is not for another.
                cgroup.hurry();
            }
            return exit.ok();
        }
        cgroup.hurry();
        version.kill(number);
    }
    match timeout(KILL_DEADLINE, &mut exit).await {
        Ok(exit) => exit.ok(),
        Err(_) => {
            tracing::error!(number, "an instance outlived its kill; its launcher is given up");
            version.give_up();
            None
        }
    }
}

async fn drain(log: &mut LogPipe, lines: &mut Lines<'_>) {
    let deadline = Instant::now() + LOG_GRACE;
    while !log.ended {
        match tokio::time::timeout_at(deadline, log.read()).await {
            Ok(some) => lines.push(some),
            Err(_) => break,
        }
    }
    lines.push(log.finish());
}

/// Highest memory use of the instance with what it shares with its zygote, but no more than its size.
fn memory_peak_bytes(cgroup: &Cgroup, resident_bytes: u64, memory_mb: u32) -> u64 {
    (cgroup.memory_peak_bytes() + resident_bytes).min(u64::from(memory_mb) << 20)
}

fn function_error(error_type: &str, body: String) -> FunctionError {
    FunctionError { error_type: error_type.to_owned(), payload: body.into() }
}

/// `errorType` of an error body that the function's process made.
pub fn error_type_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(rename = "errorType")]
        error_type: String,
    }
    serde_json::from_slice::<Body>(body).map_or_else(|_| "Runtime.Unknown".to_owned(), |body| body.error_type)
}

fn log_time() -> String {
    let now = Timestamp::now().as_millisecond();
    Timestamp::from_millisecond(now).map(|t| format!("{t:.3}")).unwrap_or_default()
}
