//! AWS Signature Version 4 for one request with its whole body in hand.
//!
//! Source: AWS's "Create a signed AWS API request" and its published examples, which are the test.

use super::Request;
use dayfly_types::{Timestamp, credentials::Credentials};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What goes onto the wire.
#[derive(Debug)]
pub(super) struct Signed {
    /// Path and query, encoded.
    pub(super) path_and_query: String,
    /// All headers, `authorization` among them.
    pub(super) headers: Vec<(String, String)>,
}

/// Signs `request` for `host` at time `now`.
pub(super) fn sign(
    request: &Request<'_>,
    host: &str,
    credentials: &Credentials,
    region: &str,
    now: Timestamp,
) -> Signed {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let scope = format!("{}/{region}/{}/aws4_request", &stamp[..8], request.service);
    let body_hash = hex::encode(Sha256::digest(&request.body));

    let mut headers: Vec<(String, String)> =
        request.headers.iter().map(|(name, value)| ((*name).to_owned(), value.trim().to_owned())).collect();
    headers.push(("host".into(), host.into()));
    headers.push(("x-amz-date".into(), stamp.clone()));
    headers.push(("x-amz-content-sha256".into(), body_hash.clone()));
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token".into(), token.clone()));
    }
    headers.sort();

    let path = format!("/{}", request.path.iter().map(|segment| encode(segment)).collect::<Vec<_>>().join("/"));
    let mut query: Vec<String> =
        request.query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    query.sort();
    let query = query.join("&");

    // Every service but S3 signs the path encoded once more than it travels.
    let encoded_again = || path.split('/').map(encode).collect::<Vec<_>>().join("/");
    let signed_path = if request.service == "s3" { path.clone() } else { encoded_again() };
    let (signature, signed_headers) = signature(
        &[request.method, &signed_path, &query],
        &headers,
        &body_hash,
        &stamp,
        &scope,
        &credentials.secret_access_key,
    );
    headers.push((
        "authorization".into(),
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed_headers}, Signature={signature}",
            credentials.access_key_id
        ),
    ));
    Signed { path_and_query: if query.is_empty() { path } else { format!("{path}?{query}") }, headers }
}

/// The signature and the list of signed headers. `headers` are sorted by name.
fn signature(
    first_lines: &[&str; 3],
    headers: &[(String, String)],
    body_hash: &str,
    stamp: &str,
    scope: &str,
    secret: &str,
) -> (String, String) {
    let signed_headers = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let mut canonical = first_lines.join("\n");
    canonical.push('\n');
    for (name, value) in headers {
        let _ = writeln!(canonical, "{name}:{value}");
    }
    let _ = write!(canonical, "\n{signed_headers}\n{body_hash}");
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part.as_bytes()));
    (hex::encode(mac(&key, to_sign.as_bytes())), signed_headers)
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of AWS's documentation (IAM ListUsers).
    #[test]
    fn the_documented_example_gives_the_documented_signature() {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (signature, signed_headers) = signature(
            &["GET", "/", "Action=ListUsers&Version=2010-05-08"],
            &headers,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "20150830T123600Z",
            "20150830/us-east-1/iam/aws4_request",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        );
        assert_eq!(signed_headers, "content-type;host;x-amz-date");
        assert_eq!(signature, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    }

    #[test]
    fn paths_travel_encoded_and_queries_sorted() {
        let credentials = Credentials {
            access_key_id: "AKIA".into(),
            secret_access_key: "s".into(),
            session_token: Some("t".into()),
        };
        let request = Request {
            service: "lambda",
            method: "GET",
            path: &["2015-03-31", "functions", "a:$LATEST/../x"],
            query: &[("b", "2 3"), ("a", "&")],
            ..Request::default()
        };
        let signed = sign(&request, "h:1", &credentials, "us-east-1", Timestamp::UNIX_EPOCH);
        assert_eq!(signed.path_and_query, "/2015-03-31/functions/a%3A%24LATEST%2F..%2Fx?a=%26&b=2%203");
        let authorization = &signed.headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
        assert!(authorization.contains("Credential=AKIA/19700101/us-east-1/lambda/aws4_request"));
        assert!(authorization.contains("host;x-amz-content-sha256;x-amz-date;x-amz-security-token"));
    }
}
