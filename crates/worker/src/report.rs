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
        UsageStatus::Cancelled => line.push_str("Status: cancelled\t"),
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

/// Error body of a call that its maker took back.
pub fn cancelled(request_id: RequestId) -> (String, String) {
    let text = "Task was cancelled";
    (error("Sandbox.Cancelled", &format!("RequestId: {request_id} Error: {text}")), text.to_owned())
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

    fn usage() -> Usage {
        Usage {
            request_id: RequestId(uuid::Uuid::nil()),
            function: "arn:aws:lambda:us-east-1:000000000000:function:f".parse().unwrap(),
            instance_id: "0".to_owned(),
            log_stream: "stream".to_owned(),
            attempt: 1,
            started_at: dayfly_types::Timestamp::UNIX_EPOCH,
            duration_us: 12_345,
            billed_ms: 13,
            memory_mb: 128,
            memory_peak_bytes: (40 << 20) + 1,
            cpu_us: 0,
            init_us: None,
            restore_us: None,
            ephemeral_storage_mb: 512,
            status: UsageStatus::Success,
            tags: Default::default(),
        }
    }

    #[test]
    fn a_report_is_lambdas_line_with_the_records_figures() {
        let common = "REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 12.35 ms\tBilled Duration: 13 ms\t\
                      Memory Size: 128 MB\tMax Memory Used: 41 MB\t";
        assert_eq!(report(&usage()), common);
        let cold = Usage { init_us: Some(201_500), ..usage() };
        assert_eq!(report(&cold), format!("{common}Init Duration: 201.50 ms\t"));
        let cloned = Usage { restore_us: Some(900), ..usage() };
        let restored = "Restore Duration: 0.90 ms\tBilled Restore Duration: 0 ms\t";
        assert_eq!(report(&cloned), format!("{common}{restored}"));
        for (status, end) in [
            (UsageStatus::Error, ""),
            (UsageStatus::Timeout, "Status: timeout\t"),
            (UsageStatus::OutOfMemory, "Status: error\tError Type: Runtime.OutOfMemory\t"),
            (UsageStatus::Exit, "Status: error\tError Type: Runtime.ExitError\t"),
            (UsageStatus::InitError, "Status: error\tError Type: Runtime.InitError\t"),
            (UsageStatus::Cancelled, "Status: cancelled\t"),
        ] {
            assert_eq!(report(&Usage { status, ..usage() }), format!("{common}{end}"));
        }
    }

    #[test]
    fn the_bill_is_the_ceiling_of_what_is_printed() {
        for us in (0..20_000).chain([u64::MAX / 2]) {
            let printed: f64 = millis(us).parse().unwrap();
            assert_eq!(billed_ms(us) as f64, printed.ceil().max(1.0), "{us}");
        }
    }

    #[test]
    fn an_init_error_gets_the_calls_id_and_nonsense_becomes_an_error() {
        let id = RequestId(uuid::Uuid::nil());
        let told = |body: &str| -> serde_json::Value {
            serde_json::from_slice(&with_request_id(body.as_bytes(), id)).unwrap()
        };
        let own =
            told(r#"{"errorType": "ImportError", "errorMessage": "no", "requestId": "forged", "stackTrace": []}"#);
        assert_eq!(own["requestId"], id.to_string());
        assert_eq!(own["errorType"], "ImportError");
        for nonsense in ["", "[]", "\"text\"", "{\"errorType\": ", "\u{0}"] {
            assert_eq!(told(nonsense)["errorType"], "Runtime.Unknown", "{nonsense}");
        }
    }

    #[test]
    fn a_signal_comes_before_a_status_and_unknown_ones_have_their_number() {
        let id = RequestId::random();
        let text = |code, signal| ended(id, "Runtime.ExitError", code, signal).1;
        assert!(text(Some(1), Some(11)).contains("signal: segmentation fault"));
        assert!(text(None, Some(64)).contains("signal: signal 64"));
        assert!(text(None, None).contains("without providing a reason"));
        assert!(text(Some(1), None).ends_with("\nRuntime.ExitError"));
    }
}
