//! Counters and histograms of calls, in Prometheus' text format.
//!
//! They count since the process started, like every Prometheus counter; the bill is what must be exact.

use dayfly_types::{FunctionArn, Usage, UsageStatus};
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, PoisonError},
};

/// Functions with series of their own; calls of any further one count under [`OTHERS`].
const FUNCTIONS_MAX: usize = 500;
const OTHERS: &str = "others";

/// Upper bounds of the histogram's buckets, in microseconds, and as Prometheus prints them in seconds.
const BUCKETS: [(u64, &str); 14] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (30_000_000, "30"),
    (120_000_000, "120"),
    (900_000_000, "900"),
];

const STATUSES: [(UsageStatus, &str); 7] = [
    (UsageStatus::Success, "success"),
    (UsageStatus::Error, "error"),
    (UsageStatus::Timeout, "timeout"),
    (UsageStatus::OutOfMemory, "out_of_memory"),
    (UsageStatus::Exit, "exit"),
    (UsageStatus::InitError, "init_error"),
    (UsageStatus::Cancelled, "cancelled"),
];

/// All series.
#[derive(Default)]
pub(crate) struct Metrics {
    functions: Mutex<BTreeMap<String, Function>>,
}

#[derive(Default)]
struct Function {
    by_status: [u64; STATUSES.len()],
    billed_ms: u64,
    duration_us: u64,
    /// Calls that got a provisioned instance, and those that found all taken.
    provisioned: u64,
    spilled: u64,
    buckets: [u64; BUCKETS.len()],
}

impl Function {
    fn count(&mut self, usage: &Usage) {
        if let Some(status) = STATUSES.iter().position(|(status, _)| *status == usage.status) {
            self.by_status[status] += 1;
        }
        self.billed_ms += usage.billed_ms;
        self.duration_us += usage.duration_us;
        if let Some(bucket) = BUCKETS.iter().position(|(bound_us, _)| usage.duration_us <= *bound_us) {
            self.buckets[bucket] += 1;
        }
    }
}

impl Metrics {
    pub fn count(&self, usage: &Usage) {
        self.change(&usage.function, |function| function.count(usage));
    }

    pub fn count_provisioned(&self, function: &FunctionArn, got: bool) {
        self.change(function, |function| *if got { &mut function.provisioned } else { &mut function.spilled } += 1);
    }

    fn change(&self, function: &FunctionArn, change: impl FnOnce(&mut Function)) {
        let name = function.unqualified().to_string();
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = functions.contains_key(&name) || functions.len() < FUNCTIONS_MAX;
        change(functions.entry(if known { name } else { OTHERS.to_owned() }).or_default());
    }

    /// The page that Prometheus scrapes. ARNs have no character that a label would have to escape.
    pub fn text(&self) -> String {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        head(&mut text, "dayfly_invocations_total", "counter", "Calls that ran, by how they ended.");
        for (name, function) in functions.iter() {
            for ((_, status), count) in STATUSES.iter().zip(function.by_status).filter(|(_, count)| *count > 0) {
                line(
                    &mut text,
                    &format!("dayfly_invocations_total{{function=\"{name}\",status=\"{status}\"}} {count}"),
                );
            }
        }
        head(&mut text, "dayfly_billed_milliseconds_total", "counter", "Billed milliseconds.");
        for (name, function) in functions.iter() {
            let billed = function.billed_ms;
            line(&mut text, &format!("dayfly_billed_milliseconds_total{{function=\"{name}\"}} {billed}"));
        }
        let provisioned = [
            ("invocations", "Calls that got a provisioned instance."),
            ("spillover_invocations", "Calls that found all provisioned instances taken."),
        ];
        for (at, (what, help)) in provisioned.into_iter().enumerate() {
            let series = format!("dayfly_provisioned_concurrency_{what}_total");
            head(&mut text, &series, "counter", help);
            for (name, function) in functions.iter() {
                let count = [function.provisioned, function.spilled][at];
                if function.provisioned + function.spilled > 0 {
                    line(&mut text, &format!("{series}{{function=\"{name}\"}} {count}"));
                }
            }
        }
        head(&mut text, "dayfly_duration_seconds", "histogram", "Wall time of calls.");
        for (name, function) in functions.iter() {
            let mut below = 0;
            for ((_, bound), count) in BUCKETS.iter().zip(function.buckets) {
                below += count;
                line(
                    &mut text,
                    &format!("dayfly_duration_seconds_bucket{{function=\"{name}\",le=\"{bound}\"}} {below}"),
                );
            }
            let count: u64 = function.by_status.iter().sum();
            let seconds = function.duration_us as f64 / 1e6;
            line(&mut text, &format!("dayfly_duration_seconds_bucket{{function=\"{name}\",le=\"+Inf\"}} {count}"));
            line(&mut text, &format!("dayfly_duration_seconds_sum{{function=\"{name}\"}} {seconds}"));
            line(&mut text, &format!("dayfly_duration_seconds_count{{function=\"{name}\"}} {count}"));
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, &format!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
