//! What the unit tests share.

use bytes::Bytes;
use dayfly_types::{Invocation, RequestId};

pub(crate) fn arn(name: &str) -> dayfly_types::FunctionArn {
    format!("arn:aws:lambda:eu-west-1:000000000000:function:{name}").parse().unwrap()
}

pub(crate) fn invocation(name: &str, payload: &[u8]) -> Invocation {
    Invocation {
        request_id: RequestId::random(),
        function: arn(name),
        payload: Bytes::copy_from_slice(payload),
        client_context: None,
        tenant_id: None,
        trace_header: None,
        received_at: jiff::Timestamp::now(),
    }
}
