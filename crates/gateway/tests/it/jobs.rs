//! Who may start and end jobs. What a job is and does is tested with real sandboxes, in `tests/it/test_jobs.py`.

use crate::harness::{KEY, SECRET, Server, send, signed};
use dayfly_types::Limits;

#[tokio::test]
async fn function_code_starts_no_jobs_and_ends_none() {
    let server = Server::start(Limits::default()).await;
    let ask = async |to, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        send(to, &signed(to, "dayfly", "POST", target, headers, body, KEY, SECRET)).await
    };
    for target in ["/jobs", "/jobs/01234567-89ab-4def-8123-456789abcdef/outcomes"] {
        let answer = ask(server.sandbox, target, &[], b"").await;
        assert_eq!((answer.status, answer.error()), (403, "AccessDeniedException"), "{target}");
        // From outside, it is the signature that is wrong: it covers the body.
        let answer = ask(server.address, target, &[], b"").await;
        assert_eq!((answer.status, answer.error()), (400, "InvalidSignatureException"), "{target}");
    }
    let cancel = [("x-amz-target", "Dayfly_20261101.CancelJob")];
    let body = br#"{"job": "01234567-89ab-4def-8123-456789abcdef"}"#;
    assert_eq!(ask(server.sandbox, "/", &cancel, body).await.status, 403);
    assert_eq!(ask(server.address, "/", &cancel, body).await.status, 404);
}
