//! Lambda's log lines and error bodies. Made by the server: a function cannot forge them.

use bytes::Bytes;
use dayfly_types::{RequestId, Usage, UsageStatus};
use std::fmt::Write;

/// `START RequestId: … Version: …`.
pub fn start(request_id: RequestId, version: &str) -> String {
    format!("START RequestId: {request_id} Version: {version}")
}

/// `END RequestId: …`.
pub fn end(request_id: RequestId) -> String {
    format!("END RequestId: {request_id}")
}

/// The REPORT line. Its figures are the record's.
pub fn report(usage: &Usage) -> String {
    let mut line = format!(
        "REPORT RequestId: {}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
        usage.request_id,
        millis(usage.duration_us),
        usage.billed_ms,
        usage.memory_mb,
        mebibytes(usage.memory_peak_bytes),
    );
    // Writing to a string cannot fail.
    if let Some(init_us) = usage.init_us {
        let _ = write!(line, "Init Duration: {} ms\t", millis(init_us));
    }
    if let Some(restore_us) = usage.restore_us {
        let _ = write!(line, "Restore Duration: {} ms\tBilled Restore Duration: 0 ms\t", millis(restore_us));
    }
    match usage.status {
        UsageStatus::Success | UsageStatus::Error => {}
        UsageStatus::Timeout => line.push_str("Status: timeout\t"),
        UsageStatus::OutOfMemory => line.push_str("Status: error\tError Type: Runtime.OutOfMemory\t"),
        UsageStatus::Exit => line.push_str("Status: error\tError Type: Runtime.ExitError\t"),
        UsageStatus::InitError => line.push_str("Status: error\tError Type: Runtime.InitError\t"),
    }
    line
}

/// The INIT_REPORT line of an init that did not succeed.
pub fn init_report(init_us: u64, status: &str, error_type: Option<&str>) -> String {
    let kind = error_type.map(|kind| format!("\tError Type: {kind}")).unwrap_or_default();
    format!("INIT_REPORT Init Duration: {} ms\tPhase: init\tStatus: {status}{kind}", millis(init_us))
}

/// Error body of a call that took too long.
pub fn timed_out(request_id: RequestId, timeout_s: u32) -> (String, String) {
    let text = format!("Task timed out after {timeout_s}.00 seconds");
    (error("Sandbox.Timedout", &format!("RequestId: {request_id} Error: {text}")), text)
}

/// Error body of a call whose instance ended before it had answered, and the line for the log.
pub fn ended(request_id: RequestId, error_type: &str, code: Option<i32>, signal: Option<i32>) -> (String, String) {
    let how = match (code, signal) {
        (_, Some(signal)) => format!("Runtime exited with error: signal: {}", signal_name(signal)),
        (Some(code), _) if code != 0 => format!("Runtime exited with error: exit status {code}"),
        _ => "Runtime exited without providing a reason".to_owned(),
    };
    let text = format!("RequestId: {request_id} Error: {how}");
    (error(error_type, &text), format!("{text}\n{error_type}"))
}

/// An init's error body, with the id of the call that gets it.
pub fn with_request_id(body: &[u8], request_id: RequestId) -> Bytes {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body) {
        Ok(mut fields) => {
            fields.insert("requestId".to_owned(), request_id.to_string().into());
            serde_json::to_vec(&fields).map_or_else(|_| Bytes::copy_from_slice(body), Bytes::from)
        }
        Err(_) => error("Runtime.Unknown", "init failed, and its error could not be read").into(),
    }
}

/// An error body without a stack trace.
pub fn error(error_type: &str, message: &str) -> String {
    serde_json::json!({ "errorType": error_type, "errorMessage": message }).to_string()
}

/// Wall time rounded up to milliseconds; a call is at least one.
pub fn billed_ms(duration_us: u64) -> u64 {
    duration_us.div_ceil(1000).max(1)
}

fn millis(us: u64) -> String {
    // Rounded to hundredths upwards, so that the bill is the ceiling of what is printed.
    let hundredths = us.div_ceil(10);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn signal_name(signal: i32) -> String {
    match signal {
        1 => "hangup".to_owned(),
        2 => "interrupt".to_owned(),
        3 => "quit".to_owned(),
        4 => "illegal instruction".to_owned(),
        6 => "aborted".to_owned(),
        7 => "bus error".to_owned(),
        8 => "floating point exception".to_owned(),
        9 => "killed".to_owned(),
        11 => "segmentation fault".to_owned(),
        13 => "broken pipe".to_owned(),
        15 => "terminated".to_owned(),
        31 => "bad system call".to_owned(),
        other => format!("signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_hundredths_and_bills_their_ceiling() {
        for (us, text, billed) in
            [(1, "0.01", 1), (2340, "2.34", 3), (3_000_000, "3000.00", 3000), (999_991, "1000.00", 1000)]
        {
            assert_eq!(millis(us), text);
            assert_eq!(billed_ms(us), billed);
        }
    }

    #[test]
    fn an_instance_that_ended_is_told_as_lambda_tells_it() {
        let id = RequestId::random();
        assert!(ended(id, "Runtime.ExitError", Some(3), None).0.contains("exit status 3"));
        assert!(ended(id, "Runtime.ExitError", None, Some(9)).0.contains("signal: killed"));
        assert!(ended(id, "Runtime.ExitError", Some(0), None).0.contains("without providing a reason"));
    }
}
