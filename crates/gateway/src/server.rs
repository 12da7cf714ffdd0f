//! Connections: accepts them, bounds their number and their time, and drains them at the end.

mod patient;

use crate::{Gateway, body, front};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
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

/// Pause after a failed accept: most likely the file descriptors are used up, and spinning would not free any.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections and body memory of the public listener, and of one sandbox network.
const PUBLIC: Share = Share { connections: 2048, body_bytes: 1 << 30 };
const SANDBOX: Share = Share { connections: 256, body_bytes: 128 << 20 };

struct Share {
    connections: usize,
    body_bytes: u64,
}

/// Where connections come from.
pub enum Listener {
    /// The network.
    Network(TcpListener),
    /// A socket file that only its owner can open. What comes through it is the owner's, also without a signature.
    Socket(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Network(listener)
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
    Network(TcpStream, SocketAddr),
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
            Stream::Network(stream, address) => match prepare(&stream, answer_time) {
                Ok(()) => {
                    drop(running.spawn(connection(gateway, stream, Peer::Network(address), memory, stopped, permit)))
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
            Listener::Network(listener) => listener.accept().await.map(|(stream, peer)| Stream::Network(stream, peer)),
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
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, memory) = (gateway.clone(), memory.clone());
        async move {
            let under_way = gateway.activity.begin();
            Ok::<_, Infallible>(under_way.answered(front::answer(&gateway, peer, &memory, request).await))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_time)
            .max_buf_size(headers_bytes)
            .serve_connection(TokioIo::new(stream), service)
    );
    // The watched value's lock guard must not live across an await.
    let stop = async { drop(stopped.wait_for(|stopped| *stopped).await) };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(?peer, %error, "connection ended");
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
