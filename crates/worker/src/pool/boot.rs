//! Boot and init of a version: starting the launcher and the zygote, and what becomes of those who wait when init fails.

use super::{
    Live, Refusal, Version, Zygote, platform,
    sandbox::{Purpose, Sandbox},
};
use crate::{instance, interpreters::Mount, report};
use dayfly_sandbox::{cgroup::Cgroup, protocol::Exit};
use dayfly_types::{LogLine, LogSink, Qualifier, Timestamp, UsageStatus};
use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

impl Version {
    pub(super) fn boot(&mut self, logs: Arc<dyn LogSink>) {
        if let Err(error) = self.try_boot(logs) {
            self.lost(&format!("no sandbox: {error}"));
        }
    }

    fn try_boot(&mut self, logs: Arc<dyn LogSink>) -> Result<(), Box<dyn std::error::Error>> {
        let (shared, recipe) = (&self.shared, &self.recipe);
        let stream: Arc<str> = log_stream_name(&recipe.function.version()).into();
        let one_use = self.one_use.is_some();
        let purpose = if one_use { Purpose::OneUse(&stream) } else { Purpose::Zygote(&stream) };
        let from_ahead = if one_use { None } else { shared.ahead.take(shared, recipe) };
        let ahead = from_ahead.is_some();
        let sandbox = match from_ahead {
            Some(sandbox) => sandbox,
            None => Sandbox::boot(shared, recipe, purpose)?,
        };
        if !one_use && let Err(error) = sandbox.give_job(shared, recipe, &stream) {
            sandbox.end(shared);
            return Err(error);
        }
        let Sandbox { control, process, zygote, lines, endpoint, task, started: _ } = sandbox;
        let allowed = match self.timeouts_in_init {
            0 => Duration::from_millis(shared.options.limits.init_ms),
            // Lambda's second try has the function's timeout.
            _ => Duration::from_secs(recipe.function.timeout_s.into()),
        };
        let (zygote_cgroup, zygote) = match zygote {
            Some((cgroup, log)) => {
                (Some(cgroup), Zygote::Booting { log, logs, deadline: Instant::now() + allowed, error: None })
            }
            None => (None, Zygote::None),
        };
        self.live = Some(Live {
            control,
            process,
            stream,
            zygote,
            zygote_cgroup,
            task,
            ahead,
            started: Instant::now(),
            resident_bytes: 0,
            init_us: None,
            spares: VecDeque::new(),
            ordered: HashMap::new(),
            endpoint,
            running: HashMap::new(),
            to_kill: VecDeque::new(),
        });
        let version = &self.recipe.interpreter.version;
        self.init_said(vec![platform(format!("INIT_START Runtime Version: python:{version}"))]);
        self.init_said(lines);
        Ok(())
    }

    pub(super) fn init_said(&mut self, lines: Vec<LogLine>) {
        if let Some(Live { zygote: Zygote::Booting { logs, .. }, stream, .. }) = &self.live
            && !lines.is_empty()
        {
            logs.lines(stream, lines);
        }
    }

    pub(super) fn zygote_ready(&mut self, unclonable: Option<String>) {
        let Some(live) = &mut self.live else { return };
        let mut lines = Vec::new();
        if let Zygote::Booting { log, .. } = &mut live.zygote {
            lines.extend(log.take_all());
        }
        if let Some(why) = &unclonable {
            lines.push(platform(format!(
                "[dayfly] this version is not cloned, since {why}. Each call boots an instance of its own, ahead of demand \
                 where there is a steady one"
            )));
            if let Zygote::Booting { logs, .. } = &live.zygote {
                logs.not_cloned(why);
            }
        }
        self.init_said(lines);
        self.timeouts_in_init = 0;
        self.owes_one_ahead = self.recipe.function.job.is_some();
        if let Some(why) = unclonable {
            self.one_use = Some(why);
            self.end_live();
            return;
        }
        if let Some(live) = &mut self.live {
            live.zygote = Zygote::Ready;
            live.init_us = Some(live.started.elapsed().as_micros() as u64);
            let resident_bytes = live.zygote_cgroup.as_ref().map_or(0, Cgroup::resident_bytes);
            live.resident_bytes = resident_bytes.saturating_sub(self.recipe.code.shared_bytes());
            let processes = self.shared.options.limits.processes;
            if let Some(Err(error)) = live.zygote_cgroup.as_ref().map(|cgroup| cgroup.admit_clones(processes)) {
                tracing::warn!(%error, "calls of a version share the count of processes of its init");
            }
        }
    }

    pub(super) fn zygote_exited(&mut self, exit: Exit) {
        let Some(live) = &mut self.live else { return };
        let init_us = live.started.elapsed().as_micros() as u64;
        let killed = live.zygote_cgroup.as_ref().is_some_and(|cgroup| cgroup.out_of_memory_kills() > 0);
        let Zygote::Booting { error, .. } = &mut live.zygote else {
            // A zygote that had served: the next call boots another.
            self.provisioned.set_back("its zygote ended");
            return self.give_up_live();
        };
        let (error_type, body, status) = match error.take() {
            // It may have ended before it had this job. One that boots for this job alone will tell.
            None if live.ahead => return self.end_live(),
            Some(body) => (instance::error_type_of(&body), body, UsageStatus::InitError),
            None => {
                let kind = if killed { "Runtime.OutOfMemory" } else { "Runtime.ExitError" };
                let status = if killed { UsageStatus::OutOfMemory } else { UsageStatus::InitError };
                let how = match (exit.code, exit.signal) {
                    (_, Some(9)) => "signal: killed".to_owned(),
                    (_, Some(signal)) => format!("signal {signal}"),
                    (code, None) => format!("exit status {}", code.unwrap_or(0)),
                };
                let text = format!("Error: Runtime exited with error: {how}");
                (kind.to_owned(), report::error(kind, &text).into(), status)
            }
        };
        self.init_failed(&error_type, &body, init_us, status);
    }

    fn init_failed(&mut self, error_type: &str, body: &bytes::Bytes, init_us: u64, status: UsageStatus) {
        let Some(live) = &mut self.live else { return };
        let stream = live.stream.clone();
        let mut lines = Vec::new();
        if let Zygote::Booting { log, .. } = &mut live.zygote {
            lines.extend(log.take_all());
        }
        let word = if status == UsageStatus::Timeout { "timeout" } else { "error" };
        lines.push(platform(report::init_report(init_us, word, (word == "error").then_some(error_type))));
        self.init_said(lines);
        self.end_live();
        self.provisioned.set_back(error_type);
        self.refuse_all(|pays| Refusal::Init {
            error_type: error_type.to_owned(),
            body: body.clone(),
            init_us,
            status,
            pays,
            stream: stream.clone(),
        });
    }

    pub(super) fn refuse_all(&mut self, refusal: impl Fn(bool) -> Refusal) {
        for (place, waiting) in self.waiting.drain(..).enumerate() {
            let _ = waiting.reply.send(Err(refusal(place == 0)));
        }
    }

    /// What the sandbox is to show and is not there any more: of a caller's own environment, anything may go.
    pub(super) fn gone(&self) -> Option<PathBuf> {
        let mut mounts = self.recipe.interpreter.mounts.iter().filter(|mount| !matches!(mount, Mount::Link { .. }));
        mounts.find(|mount| !mount.path().exists()).map(|mount| mount.path().to_owned())
    }

    pub(super) fn refuse_for_gone(&mut self, path: &Path) {
        let text = format!("{} of the job's environment is not there any more", path.display());
        let body: bytes::Bytes = report::error("InvalidEnvironment", &text).into();
        let stream: Arc<str> = log_stream_name(&self.recipe.function.version()).into();
        self.refuse_all(|pays| Refusal::Init {
            error_type: "InvalidEnvironment".to_owned(),
            body: body.clone(),
            init_us: 0,
            status: UsageStatus::InitError,
            pays,
            stream: stream.clone(),
        });
    }

    pub(super) fn init_timed_out(&mut self) {
        self.timeouts_in_init += 1;
        let timeout_s = self.recipe.function.timeout_s;
        if self.timeouts_in_init == 1 {
            // Tried again under the function's own timeout, as Lambda does.
            let Some(live) = &self.live else { return };
            let init_us = live.started.elapsed().as_micros() as u64;
            self.init_said(vec![platform(report::init_report(init_us, "timeout", None))]);
            return self.end_live();
        }
        self.timeouts_in_init = 0;
        let body = report::error("Sandbox.Timedout", &format!("Error: Task timed out after {timeout_s}.00 seconds"));
        let init_us = u64::from(timeout_s) * 1_000_000;
        self.init_failed("Sandbox.Timedout", &body.into(), init_us, UsageStatus::Timeout);
    }
}

/// `2026/11/23/[VERSION]` and 32 hexadecimal digits, as Lambda names the streams of its environments.
fn log_stream_name(version: &Qualifier) -> String {
    let day = Timestamp::now().strftime("%Y/%m/%d").to_string();
    format!("{day}/[{version}]{}", uuid::Uuid::new_v4().simple())
}
