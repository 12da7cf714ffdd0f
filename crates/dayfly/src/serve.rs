//! `dayfly serve`: opens the parts in order, runs until a signal, drains, leaves nothing behind.

use crate::{
    cli, client::DEFAULT_ENDPOINT, config, config::Config, folder, folder::Folder, idle, output, socket::Socket,
};
use dayfly_gateway::{Gateway, Listener, Tls, TlsError};
use dayfly_types::{
    Clock, FunctionConfiguration, SystemClock,
    credentials::{Credentials, Principal, SessionIssuer},
};
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{error, info, warn};

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum Error {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// `--listen`.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate or its key.
    #[error("no TLS: {0}")]
    Tls(#[from] TlsError),
    /// The socket in the data folder.
    #[error("cannot listen on dayfly.sock in the data folder: {0}")]
    Socket(std::io::Error),
    /// `credentials.json` was changed by hand.
    #[error("credentials.json: server_secret must be 64 hexadecimal digits")]
    Secret,
    /// The store.
    #[error("the store does not open: {0}")]
    Store(#[from] dayfly_store::Error),
    /// The queues.
    #[error("the queues do not open: {0}")]
    Queues(#[from] dayfly_triggers::queues::Error),
    /// The event source mappings.
    #[error("the event source mappings do not open: {0}")]
    Mappings(#[from] dayfly_triggers::mappings::Error),
    /// The rules of events.
    #[error("the rules do not open: {0}")]
    Events(#[from] dayfly_triggers::events::Error),
    /// The schedules.
    #[error("the schedules do not open: {0}")]
    Schedules(#[from] dayfly_triggers::schedules::Error),
    /// The tables.
    #[error("the tables do not open: {0}")]
    Tables(#[from] dayfly_tables::Error),
    /// The worker.
    #[error(transparent)]
    Worker(#[from] dayfly_worker::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

/// Session credentials of an execution role live as long as AWS's longest sessions.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Runs the server until it is told to stop and everything has ended.
pub async fn run(options: &cli::Serve) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let path = folder::locate(options.data.as_deref())?;
    let folder = Folder::open(&path)?;
    let config = Config::load(options.config.as_deref(), &path)?;
    let keys = folder.keys()?;
    let sessions = SessionIssuer::new(secret(&keys.server_secret)?);
    let listener = listen(options.listen)?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::load(certificate, key)?),
        _ => None,
    };
    let endpoint = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    let (_socket, own_listener) = Socket::bind(&path).map_err(Error::Socket)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    info!(data = %path.display(), "opening the store");
    let store = dayfly_store::embedded::open(&path.join("store"))?;
    let meter = dayfly_meter::Handle::start(store.clone(), config.prices.clone()).await?;

    info!("starting the worker");
    // Holds at most one listener per sandbox network that is made before the gateway takes them over.
    let (sandbox_listeners, mut new_listeners) = mpsc::unbounded_channel::<(TcpListener, watch::Receiver<bool>)>();
    let worker = dayfly_worker::Handle::start(dayfly_worker::Options {
        folder: path.join("cache"),
        limits: config.limits.clone(),
        server_id: keys.server_id.clone(),
        credentials: role_credentials(sessions.clone(), clock.clone()),
        endpoint: Arc::new(move |listener| {
            // The sender is the guard: when the sandbox ends it goes, and the listener is closed.
            let (guard, ended) = watch::channel(false);
            if sandbox_listeners.send((listener, ended)).is_err() {
                warn!("a sandbox network came up after the gateway had stopped");
            }
            Box::new(guard)
        }),
        environments: config.environments.clone(),
        zygote_idle: Duration::from_secs(config.zygote_idle_s.into()),
        memory_mb: config.memory_mb,
    })
    .await?;

    info!("starting the scheduler");
    let scheduler = dayfly_scheduler::Handle::start(dayfly_scheduler::Parts {
        store: store.clone(),
        worker: Arc::new(worker.clone()),
        meter: meter.clone(),
        clock: clock.clone(),
        limits: config.limits.clone(),
    })
    .await?;

    let environments = dayfly_scheduler::Environments::start(worker.builder().clone());
    let layers = dayfly_scheduler::Layers::new(store.clone(), environments.clone(), clock.clone(), &config.limits);

    info!("starting the triggers");
    let queues = dayfly_triggers::Queues::start(store.clone(), clock.clone()).await?;
    let mappings =
        dayfly_triggers::Mappings::start(store.clone(), clock.clone(), queues.clone(), scheduler.clone()).await?;
    let calls = Arc::new(scheduler.clone());
    let deliveries = dayfly_triggers::Deliveries::start(store.clone(), clock.clone(), queues.clone(), calls);
    let events = dayfly_triggers::Events::start(store.clone(), clock.clone(), deliveries.clone()).await?;

    dayfly_triggers::destinations::start(store.clone(), scheduler.clone(), deliveries.clone(), events.clone());
    let schedules = dayfly_triggers::Schedules::start(store.clone(), clock.clone(), deliveries.clone()).await?;

    info!("starting the gateway");
    let gateway = Gateway::new(dayfly_gateway::Options {
        scheduler: scheduler.clone(),
        layers,
        environments,
        meter: meter.clone(),
        store: store.clone(),
        objects: dayfly_objects::Objects::start(store.clone(), clock.clone()),
        tables: dayfly_tables::Tables::start(store.clone(), clock.clone()).await?,
        queues: queues.clone(),
        mappings: mappings.clone(),
        events,
        schedules,
        deliveries,
        clock,
        limits: config.limits,
        account: keys.account,
        root: keys.root,
        sessions: sessions.clone(),
        public_endpoint: endpoint.clone(),
        region: config.region.clone(),
        secret: secret(&keys.server_secret)?,
    });
    let encrypted = tls.is_some();
    let (stop_front, stopped_front) = watch::channel(false);
    let drain = Duration::from_secs(options.drain_seconds);
    let activity = gateway.activity().clone();
    let front = tokio::spawn({
        let own = tokio::net::UnixListener::from_std(own_listener).map_err(Error::Socket)?;
        let (gateway, stopped) = (gateway.clone(), stopped_front.clone());
        async move {
            let public = serve(gateway.clone(), listener, tls, stopped_front, drain);
            tokio::join!(public, serve_on(gateway, own.into(), stopped, drain));
        }
    });
    let inner = tokio::spawn(async move {
        while let Some((listener, ended)) = new_listeners.recv().await {
            tokio::spawn(serve(gateway.for_sandbox(), listener, None, ended, Duration::ZERO));
        }
    });
    folder.announce(&endpoint, config.region.as_str())?;
    if !address.ip().is_loopback() && !encrypted {
        output::note(&format!(
            "dayfly: warning: {address} can be reached from other machines, without TLS: name a certificate (--tls-cert, --tls-key) or put a proxy with TLS in front"
        ));
    }
    let ready = if endpoint == DEFAULT_ENDPOINT { String::new() } else { format!(" (data folder {})", path.display()) };
    let _ = output::line(&format!("dayfly: listening on {endpoint}{ready}"));

    let idle_time = options.exit_when_idle.map(Duration::from_secs);
    tokio::select! {
        name = signals.next() => info!(signal = name, "draining"),
        () = idle::idle_for(idle_time, &activity, &scheduler) => info!("nobody needs this server: draining"),
    }
    let _ = stop_front.send(true);
    queues.stop();
    tokio::select! {
        () = async { tokio::join!(mappings.drain(drain), scheduler.drain(drain), async { let _ = front.await; }); } => {}
        name = signals.next() => warn!(signal = name, "ending the calls that run"),
    }
    // What still runs has had its time: the worker ends it and takes down cgroups, mounts and networks.
    worker.drain(Duration::ZERO).await;
    // Calls that ran to the end could use the endpoint until then.
    inner.abort();
    if let Err(source) = meter.flush().await {
        warn!(%source, "the last log lines may be missing");
    }
    store.close().await;
    info!("stopped");
    Ok(())
}

async fn serve_on(gateway: Gateway, listener: Listener, mut stop: watch::Receiver<bool>, deadline: Duration) {
    let stopped = async move {
        // The sender going away means the same as its word.
        let _ = stop.wait_for(|stopped| *stopped).await;
    };
    gateway.serve(listener, stopped, deadline).await;
}

async fn serve(
    gateway: Gateway,
    listener: TcpListener,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
    deadline: Duration,
) {
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = listener.map(|listener| match tls {
        Some(tls) => Listener::from((listener, tls)),
        None => listener.into(),
    });
    match listener {
        Ok(listener) => serve_on(gateway, listener, stop, deadline).await,
        Err(source) => error!(%source, "a listener cannot be used"),
    }
}

/// Binds at once, so that a port in use is said before anything is opened.
fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| Error::Listen { address, source })
}

fn role_credentials(
    sessions: SessionIssuer,
    clock: Arc<dyn Clock>,
) -> Arc<dyn Fn(&FunctionConfiguration) -> Credentials + Send + Sync> {
    Arc::new(move |function| {
        let principal = Principal::ExecutionRole {
            account: function.arn.account.clone(),
            role_arn: function.role.clone(),
            session: function.arn.name.to_string(),
        };
        sessions.issue(&principal, clock.now() + SESSION)
    })
}

fn secret(text: &str) -> Result<[u8; 32], Error> {
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(Error::Secret)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_32_bytes() {
        assert_eq!(secret(&"0f".repeat(32)).unwrap(), [15; 32]);
        for bad in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            assert!(matches!(secret(bad), Err(Error::Secret)), "{bad:?}");
        }
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = listen(taken.local_addr().unwrap()).unwrap_err().to_string();
        assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
    }
}
