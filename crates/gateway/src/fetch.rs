//! Small documents of other servers, such as the keys of an issuer of tokens. Bounded in size; whoever asks bounds the time.
//! Redirects are not followed.

use bytes::Bytes;
use http::{
    Request, Uri,
    header::{ACCEPT, HOST, USER_AGENT},
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use std::sync::Arc;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Largest document.
const BYTES_MAX: usize = 256 << 10;

/// Why there is no document.
#[derive(Debug, Error)]
pub enum Error {
    /// No such address.
    #[error("{0} is no address of a document")]
    Address(String),
    /// No connection, or none that can be trusted.
    #[error("no connection: {0}")]
    Connection(#[from] std::io::Error),
    /// What came is no HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// Another answer than 200.
    #[error("the answer is {0}")]
    Status(u16),
    /// The document is too large or broke off.
    #[error("the document cannot be read: {0}")]
    Body(String),
}

/// The document at a URL with `http` or `https`.
pub async fn get(address: &str) -> Result<Bytes, Error> {
    let bad = || Error::Address(address.chars().take(200).collect());
    let uri: Uri = address.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
    let encrypted = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    if !encrypted {
        return exchange(stream, &uri).await;
    }
    let name = ServerName::try_from(host).map_err(|_| bad())?;
    // Reads the system's certificates.
    let config = tokio::task::spawn_blocking(trust).await.map_err(std::io::Error::other)?;
    let config = config.map_err(std::io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    exchange(stream, &uri).await
}

fn trust() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> Result<Bytes, Error> {
    let bad = || Error::Address(uri.to_string());
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, uri.authority().map(http::uri::Authority::as_str).unwrap_or_default())
        .header(USER_AGENT, "dayfly")
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|_| bad())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function, however that ends.
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != 200 {
            return Err(Error::Status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
        Ok(body.map_err(|error| Error::Body(error.to_string()))?.to_bytes())
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}
