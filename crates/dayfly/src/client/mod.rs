//! The HTTP client of the verbs: signed requests to one server, one connection each. No AWS SDK: the few operations that
//! the verbs need are a path and a JSON body.

mod query;
mod sign;

pub use query::value;

use crate::{cli::Target, folder, socket};
use bytes::Bytes;
use dayfly_types::{Timestamp, credentials::Credentials};
use http::response::Parts;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{path::PathBuf, time::Duration};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

/// Talks to one server as one user.
#[derive(Debug, Clone)]
pub struct Client {
    /// `HOST:PORT`.
    authority: String,
    /// Where the server listens with TLS: the folder with its own socket, through which we speak to it instead.
    socket_folder: Option<PathBuf>,
    credentials: Credentials,
    region: String,
}

/// One request. Paths are given as segments, unencoded.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// Service in the credential scope: `lambda`, `logs`, `sts`, `dayfly`.
    pub service: &'a str,
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Segments of the path.
    pub path: &'a [&'a str],
    /// Query, unencoded.
    pub query: &'a [(&'a str, &'a str)],
    /// Further headers, names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: Bytes,
}

/// An answer with a status below 300.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why a request got no answer, or a refusal.
#[derive(Debug, Error)]
pub enum Error {
    /// Nothing listens there.
    #[error("no server answers at http://{0}: start it with `dayfly serve`")]
    NotRunning(String),
    /// The endpoint is not one that this client can talk to.
    #[error("AWS_ENDPOINT_URL is {0:?}: the dayfly command speaks plain http://HOST:PORT only")]
    Endpoint(String),
    /// The endpoint is set in the environment, the keys are not.
    #[error(
        "AWS_ENDPOINT_URL is set but AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not: run `eval \"$(dayfly env)\"`"
    )]
    NoKeys,
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// The connection failed.
    #[error("the connection to http://{authority} failed: {message}")]
    Connection {
        /// `HOST:PORT`.
        authority: String,
        /// What happened.
        message: String,
    },
    /// No answer in time.
    #[error("no answer from http://{0} in time")]
    Timeout(String),
    /// The server refused.
    #[error("{code}: {message}")]
    Service {
        /// AWS's error code.
        code: String,
        /// The message.
        message: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what was expected.
    #[error("the server's answer was not understood: {0}")]
    Answer(String),
}

// The longest function timeout, its init and time in a queue, so that the server's own error comes first.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(900 + 120);
// The longest build of an environment, and its time in a queue.
const LINES_TIMEOUT: Duration = Duration::from_secs(3600);
const LINE_BYTES_MAX: usize = 16 << 20;
/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
// A 6 MiB payload can grow sixfold when it travels escaped in JSON; a page of log events is smaller.
const ANSWER_BYTES_MAX: usize = 64 << 20;

impl Client {
    /// The server of `--data`; else the one that the AWS_* variables name; else the one of the default folder.
    pub fn new(target: &Target) -> Result<Self, Error> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region =
            target.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        if target.data.is_none()
            && let Some(endpoint) = variable("AWS_ENDPOINT_URL")
        {
            let (Some(access_key_id), Some(secret_access_key)) =
                (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
            else {
                return Err(Error::NoKeys);
            };
            let session_token = variable("AWS_SESSION_TOKEN");
            let credentials = Credentials { access_key_id, secret_access_key, session_token };
            return Self::at(&endpoint, credentials, region);
        }
        let path = folder::locate(target.data.as_deref())?;
        let keys = folder::keys(&path)?;
        let server = folder::server(&path)?;
        let endpoint = server.as_ref().map_or(DEFAULT_ENDPOINT, |server| server.endpoint.as_str());
        let region = region.or_else(|| server.as_ref().map(|server| server.region.clone()));
        match endpoint.strip_prefix("https://") {
            // Whose certificate that is, and whether we trust it, does not matter on its own socket.
            Some(authority) => {
                let client = Self::at(&format!("http://{authority}"), keys.root, region)?;
                Ok(Self { socket_folder: Some(path), ..client })
            }
            None => Self::at(endpoint, keys.root, region),
        }
    }

    /// The server at `endpoint`, as the owner of `credentials`.
    pub fn at(endpoint: &str, credentials: Credentials, region: Option<String>) -> Result<Self, Error> {
        let authority = endpoint
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| !rest.is_empty() && !rest.contains(['/', '@', '?', '#', ' ']))
            .ok_or_else(|| Error::Endpoint(endpoint.to_owned()))?;
        let authority = if authority.parse::<http::uri::Authority>().is_ok_and(|a| a.port().is_none()) {
            format!("{authority}:80")
        } else {
            authority.to_owned()
        };
        let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
        Ok(Self { authority, socket_folder: None, credentials, region })
    }

    /// Where the server is, for example `http://127.0.0.1:4566`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.socket_folder.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// The region of what it asks for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Sends a request; a status of 300 or more becomes an error.
    pub async fn send(&self, request: Request<'_>) -> Result<Response, Error> {
        tokio::time::timeout(INVOKE_TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| Error::Timeout(self.authority.clone()))?
    }

    /// Sends JSON (or nothing, for `Null`) and reads JSON.
    pub async fn json(
        &self,
        service: &str,
        method: &str,
        path: &[&str],
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value, Error> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let headers = [("content-type", "application/json")];
        let response = self.send(Request { service, method, path, query, headers: &headers, body }).await?;
        parse(&response.body)
    }

    /// Calls an operation of a JSON-RPC service (`X-Amz-Target`), as CloudWatch Logs is one.
    pub async fn target(&self, service: &str, target: &str, body: &Value) -> Result<Value, Error> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let body = Bytes::from(body.to_string());
        let request = Request { service, method: "POST", path: &[""], query: &[], headers: &headers, body };
        parse(&self.send(request).await?.body)
    }

    /// Calls an operation of Dayfly's own service.
    pub async fn dayfly(&self, operation: &str, body: &Value) -> Result<Value, Error> {
        self.target("dayfly", &format!("Dayfly_20261101.{operation}"), body).await
    }

    /// Sends a request whose answer is a JSON object a line, and gives each to `take` as it comes.
    pub async fn lines(&self, request: Request<'_>, take: &mut (dyn FnMut(Value) + Send)) -> Result<(), Error> {
        let follow = async {
            let (parts, mut body, _connection) = self.open(request).await?;
            if !parts.status.is_success() {
                return Err(refusal(&self.whole(parts, body).await?));
            }
            let mut text = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.failed(error.to_string()))?;
                text.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    take(parse(&line)?);
                }
                if text.len() > LINE_BYTES_MAX {
                    return Err(Error::Answer("a line without an end".to_owned()));
                }
            }
            Ok(())
        };
        let followed = tokio::time::timeout(LINES_TIMEOUT, follow).await;
        followed.map_err(|_| Error::Timeout(self.authority.clone()))?
    }

    async fn exchange(&self, request: Request<'_>) -> Result<Response, Error> {
        let (parts, body, _connection) = self.open(request).await?;
        let response = self.whole(parts, body).await?;
        if response.status < 300 { Ok(response) } else { Err(refusal(&response)) }
    }

    fn failed(&self, message: String) -> Error {
        Error::Connection { authority: self.authority.clone(), message }
    }

    /// Sends a request; the connection ends when what is given with the answer is dropped.
    async fn open(&self, request: Request<'_>) -> Result<(Parts, Incoming, Connection), Error> {
        let failed = |message: String| self.failed(message);
        let signed = sign::sign(&request, &self.authority, &self.credentials, &self.region, Timestamp::now());
        let mut outgoing = http::Request::builder().method(request.method).uri(signed.path_and_query);
        for (name, value) in &signed.headers {
            outgoing = outgoing.header(name, value);
        }
        let outgoing = outgoing.body(Full::new(request.body)).map_err(|error| failed(error.to_string()))?;
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, self.connect())
            .await
            .map_err(|_| Error::Timeout(self.authority.clone()))?
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::ConnectionRefused => Error::NotRunning(self.authority.clone()),
                _ => failed(error.to_string()),
            })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let connection = Connection(tokio::spawn(async move {
            // What went wrong shows in the answer.
            let _ = connection.await;
        }));
        let answer = sender.send_request(outgoing).await.map_err(|error| failed(error.to_string()))?;
        let (parts, body) = answer.into_parts();
        Ok((parts, body, connection))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        if let Some(folder) = &self.socket_folder {
            let stream = socket::connect(folder)?;
            stream.set_nonblocking(true)?;
            return Ok(Box::new(tokio::net::UnixStream::from_std(stream)?));
        }
        let stream = tokio::net::TcpStream::connect(&self.authority).await?;
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream))
    }

    async fn whole(&self, parts: Parts, body: Incoming) -> Result<Response, Error> {
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.failed(error.to_string()))?.to_bytes();
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// A connection that ends when this is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a server listens unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4566";
/// Region unless told otherwise.
pub const DEFAULT_REGION: &str = "us-east-1";

impl Response {
    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn parse(body: &[u8]) -> Result<Value, Error> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| Error::Answer(error.to_string()))
}

/// The code is in a header (REST services) or in `__type` (JSON services), perhaps with a namespace or an address.
fn refusal(response: &Response) -> Error {
    let xml = String::from_utf8_lossy(&response.body);
    if let (Some(code), Some(message)) = (value(&xml, "Code"), value(&xml, "Message")) {
        return Error::Service { code, message, status: response.status };
    }
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |names: &[&str]| names.iter().find_map(|name| body[*name].as_str()).map(str::to_owned);
    let code = response.header("x-amzn-errortype").map(str::to_owned).or_else(|| text(&["__type", "code", "Code"]));
    let code = code.unwrap_or_else(|| format!("HTTP {}", response.status));
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default().to_owned();
    let message = text(&["message", "Message"])
        .unwrap_or_else(|| String::from_utf8_lossy(&response.body).chars().take(300).collect());
    Error::Service { code, message, status: response.status }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Credentials {
        Credentials { access_key_id: "AKIA".into(), secret_access_key: "s".into(), session_token: None }
    }

    #[test]
    fn endpoints_are_plain_http_with_nothing_behind_the_port() {
        for (text, authority) in [
            ("http://127.0.0.1:4566", "127.0.0.1:4566"),
            ("http://localhost:4566/", "localhost:4566"),
            ("http://example", "example:80"),
            ("http://[::1]:4566", "[::1]:4566"),
        ] {
            assert_eq!(Client::at(text, keys(), None).unwrap().authority, authority);
        }
        for text in ["https://127.0.0.1", "127.0.0.1:4566", "http://", "http://a/b", "http://u@h", "http://h?x"] {
            assert!(matches!(Client::at(text, keys(), None), Err(Error::Endpoint(_))), "{text} was taken");
        }
    }

    #[test]
    fn a_refusal_is_read_from_header_or_body() {
        let answer = |header: Option<&str>, body: &str| {
            let mut headers = http::HeaderMap::new();
            if let Some(value) = header {
                headers.insert("x-amzn-errortype", value.parse().unwrap());
            }
            refusal(&Response { status: 404, headers, body: Bytes::copy_from_slice(body.as_bytes()) }).to_string()
        };
        assert_eq!(
            answer(Some("ResourceNotFoundException:http://x/"), r#"{"Message":"m"}"#),
            "ResourceNotFoundException: m"
        );
        assert_eq!(answer(None, r#"{"__type":"com.amazon#Bad","message":"m"}"#), "Bad: m");
        assert_eq!(answer(None, "<html>"), "HTTP 404: <html>");
    }

    #[tokio::test]
    async fn a_closed_port_says_what_to_do() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::at(&format!("http://127.0.0.1:{port}"), keys(), None).unwrap();
        let error = client.json("lambda", "GET", &["x"], &[], &Value::Null).await.unwrap_err();
        assert!(error.to_string().contains("dayfly serve"), "{error}");
    }
}
