//! Connections: accepts them, bounds their number and their time, and drains them at the end.

mod patient;
mod tls;

use crate::{Activity, Gateway, body, front};
use http::{HeaderValue, Request, Version, header::HOST};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use patient::Patient;
use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

pub use tls::{Error as TlsError, Tls};

/// Pause after a failed accept: most likely the file descriptors are used up, and spinning would not free any.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections and body memory of the public listener, and of one sandbox network.
const PUBLIC: Share = Share { connections: 2048, body_bytes: 1 << 30 };
/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 128;
const SANDBOX: Share = Share { connections: 256, body_bytes: 128 << 20 };

struct Share {
    connections: usize,
    body_bytes: u64,
}

/// Where connections come from.
pub enum Listener {
    /// The network.
    Network(TcpListener),
    /// The network, encrypted.
    Encrypted(TcpListener, Tls),
    /// A socket file that only its owner can open. What comes through it is the owner's, also without a signature.
    Socket(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Network(listener)
    }
}

impl From<(TcpListener, Tls)> for Listener {
    fn from((listener, tls): (TcpListener, Tls)) -> Self {
        Self::Encrypted(listener, tls)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Socket(listener)
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Network(SocketAddr),
    /// A process of the user who runs the server, or of root, on this machine.
    Owner,
}

impl Peer {
    /// Its address, for those who want to know where a request came from.
    pub fn source_ip(self) -> String {
        match self {
            Self::Network(address) => address.ip().to_canonical().to_string(),
            Self::Owner => "127.0.0.1".to_owned(),
        }
    }

    /// Whether it is on this machine.
    pub fn is_local(self) -> bool {
        match self {
            Self::Network(address) => address.ip().is_loopback(),
            Self::Owner => true,
        }
    }
}

enum Stream {
    Network(TcpStream, SocketAddr, Option<Tls>),
    Socket(UnixStream),
}

/// What `Gateway::serve` does.
pub async fn serve(gateway: &Gateway, listener: Listener, stop: impl Future<Output = ()>, deadline: Duration) {
    let share = if gateway.in_sandbox { SANDBOX } else { PUBLIC };
    // One request of the largest size must fit, however the limits are set.
    let memory = body::Memory::new(share.body_bytes.max(front::largest_body(&gateway.options.limits)));
    let connections = Arc::new(Semaphore::new(share.connections));
    let (stopping, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        while running.try_join_next().is_some() {}
        let (gateway, memory, stopped) = (gateway.clone(), memory.clone(), stopped.clone());
        let answer_time = gateway.patience.answer;
        match stream {
            Stream::Network(stream, address, tls) => match prepare(&stream, answer_time) {
                Ok(()) => {
                    let peer = Peer::Network(address);
                    match tls {
                        None => running.spawn(connection(gateway, stream, peer, memory, stopped, permit)),
                        Some(tls) => running.spawn(encrypted(gateway, tls, stream, peer, memory, stopped, permit)),
                    };
                }
                Err(error) => debug!(%address, %error, "connection ended before it began"),
            },
            Stream::Socket(stream) => {
                let stream = Patient::new(stream, answer_time);
                running.spawn(connection(gateway, stream, Peer::Owner, memory, stopped, permit));
            }
        }
    }
    drop(listener);
    let _ = stopping.send(true);
    let finished = timeout(deadline, async { while running.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        warn!(connections = running.len(), "requests were still running at the deadline");
        running.shutdown().await;
    }
}

async fn accept(listener: &Listener, connections: &Arc<Semaphore>) -> (Stream, OwnedSemaphorePermit) {
    loop {
        // At the maximum, newcomers wait in the kernel's backlog, which is bounded too.
        let Ok(permit) = connections.clone().acquire_owned().await else {
            unreachable!("the semaphore is never closed")
        };
        let accepted = match listener {
            Listener::Network(listener) => {
                listener.accept().await.map(|(stream, peer)| Stream::Network(stream, peer, None))
            }
            Listener::Encrypted(listener, tls) => {
                listener.accept().await.map(|(stream, peer)| Stream::Network(stream, peer, Some(tls.clone())))
            }
            Listener::Socket(listener) => listener.accept().await.map(|(stream, _)| Stream::Socket(stream)),
        };
        match accepted {
            Ok(Stream::Socket(stream)) if !is_owner(&stream) => {
                warn!("somebody else came to the server's own socket, and was sent away");
            }
            Ok(stream) => return (stream, permit),
            Err(error) => {
                warn_of_accept(&error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn warn_of_accept(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => {}
        _ => warn!(%error, "no connection could be accepted"),
    }
}

async fn encrypted(
    gateway: Gateway,
    tls: Tls,
    stream: TcpStream,
    peer: Peer,
    memory: body::Memory,
    stopped: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    match tls.accept(stream, gateway.patience.headers).await {
        Ok(stream) => connection(gateway, stream, peer, memory, stopped, permit).await,
        Err(error) => debug!(?peer, %error, "no TLS was agreed on"),
    }
}

async fn connection(
    gateway: Gateway,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    memory: body::Memory,
    mut stopped: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    let header_time = gateway.patience.headers;
    let headers_bytes = gateway.options.limits.request_headers_bytes.max(8192);
    let own = Activity::default();
    let service = service_fn({
        let own = own.clone();
        move |mut request: Request<Incoming>| {
            let (gateway, memory) = (gateway.clone(), memory.clone());
            let (here, under_way) = (own.begin(), gateway.activity.begin());
            name_host(&mut request);
            async move {
                let answer = front::answer(&gateway, peer, &memory, request).await;
                Ok::<_, Infallible>(here.answered(under_way.answered(answer)))
            }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_time).max_buf_size(headers_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(headers_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(header_time)
        .keep_alive_timeout(header_time);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // The watched value's lock guard must not live across an await.
    let mut stop = pin!(async { drop(stopped.wait_for(|stopped| *stopped).await) });
    let mut idle = pin!(idle(&own, header_time));
    let mut last_word = false;
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = &mut stop, if !last_word => {
                last_word = true;
                connection.as_mut().graceful_shutdown();
            }
            // Also before it is known which version of HTTP the client speaks: hyper waits for that for ever.
            () = &mut idle => {
                debug!(?peer, "a connection was idle for too long");
                return;
            }
        }
    };
    if let Err(error) = result {
        debug!(?peer, %error, "connection ended");
    }
}

/// Resolves when a connection has had no request under way for longer than `patience`: at the second look that finds none
/// and nothing new, or at the first if there never was one.
async fn idle(own: &Activity, patience: Duration) {
    let mut ever = 0;
    loop {
        sleep(patience).await;
        if own.under_way() == 0 && own.ever() == ever {
            return;
        }
        ever = own.ever();
    }
}

/// HTTP/2 has the host in the address: signatures look for it among the headers.
fn name_host(request: &mut Request<Incoming>) {
    if request.version() != Version::HTTP_2 || request.headers().contains_key(HOST) {
        return;
    }
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        request.headers_mut().insert(HOST, host);
    }
}

/// Whether the process at the other end is of the user who runs the server, or root's. The file's mode says the same; this
/// holds also when somebody changed that.
fn is_owner(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw())
}

/// Sends at once, and lets the kernel end a connection whose client takes nothing of its answer: hyper would wait for
/// ever.
fn prepare(stream: &TcpStream, answer: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let milliseconds = u32::try_from(answer.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds)?)
}
