//! HTTP in, HTTP out. The first and the last step of a call: bounds, signatures and authorisation, then one folder per
//! AWS service. HTTP types stop here. Started by the binary, once for the public address and once per sandbox network,
//! whose clients are as hostile as function code can be.
//!
//! The life of a request: `server` (connection) → `front` (span, who, which) → `body` → `sigv4` → `authorise` →
//! `aws/<service>/<operation>` → `aws::response`. What the world sends to functions through routes and URLs leaves that way
//! in `front`, for `http_in`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activity;
mod authorise;
mod aws;
mod body;
mod dayfly;
mod fetch;
mod front;
mod host;
mod http_api;
mod http_in;
mod identities;
mod managed;
mod rest_api;
mod rights;
mod roles;
mod rows;
mod sender;
mod server;
mod signer;
mod sigv4;
mod unsigned;

use dayfly_types::{
    AccountId, Clock, Limits, Region,
    credentials::{Credentials, SessionIssuer},
};
use std::{future::Future, sync::Arc, time::Duration};

pub use activity::Activity;
#[doc(hidden)]
pub use dayfly::jobs::frames;
pub use server::{Listener, Tls, TlsError};

/// What a gateway is made of.
pub struct Options {
    /// Runs calls and keeps functions.
    pub scheduler: dayfly_scheduler::Handle,
    /// Layers, published and built.
    pub layers: dayfly_scheduler::Layers,
    /// Builds environments.
    pub environments: dayfly_scheduler::Environments,
    /// Reads logs and bills.
    pub meter: dayfly_meter::Handle,
    /// Code packages, for downloads.
    pub store: dayfly_store::Store,
    /// Buckets and objects of that store.
    pub objects: dayfly_objects::Objects,
    /// Tables of items in that store.
    pub tables: dayfly_tables::Tables,
    /// Message queues in that store.
    pub queues: dayfly_triggers::Queues,
    /// Rules of events and schedules.
    pub events: dayfly_triggers::Events,
    /// EventBridge Scheduler's schedules.
    pub schedules: dayfly_triggers::Schedules,
    /// What is on its way to functions and queues.
    pub deliveries: dayfly_triggers::Deliveries,
    /// Which queue's messages call which function.
    pub mappings: dayfly_triggers::Mappings,
    /// Time for signatures and expiry.
    pub clock: Arc<dyn Clock>,
    /// Sizes of headers, bodies and fields.
    pub limits: Limits,
    /// The account that is served.
    pub account: AccountId,
    /// The account's root key.
    pub root: Credentials,
    /// Verifies the credentials of execution roles.
    pub sessions: SessionIssuer,
    /// Where this server is reached when a request does not say, for example `http://127.0.0.1:4566`.
    pub public_endpoint: String,
    /// Region of requests that do not say theirs.
    pub region: Region,
    /// Seals the URLs of code packages.
    pub secret: [u8; 32],
}

/// How long clients may take.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a request's line and headers to arrive; also the longest idle time of a connection.
    pub headers: Duration,
    /// Longest silence within a body.
    pub silence: Duration,
    /// Time that every body has, however small; larger ones have more.
    pub grace: Duration,
    /// Longest time that a client takes nothing of its answer.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(30),
            silence: Duration::from_secs(20),
            grace: Duration::from_secs(30),
            answer: Duration::from_secs(60),
        }
    }
}

/// The front-end. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    options: Arc<Options>,
    patience: Arc<Patience>,
    activity: Activity,
    http_in: http_in::State,
    rights: rights::Known,
    in_sandbox: bool,
}

impl Gateway {
    /// A gateway for the server's public address.
    pub fn new(options: Options) -> Self {
        options.objects.observe(Arc::new(aws::s3::Notifier(options.deliveries.clone())));
        Self {
            options: Arc::new(options),
            patience: Arc::default(),
            activity: Activity::default(),
            http_in: http_in::State::default(),
            rights: rights::Known::default(),
            in_sandbox: false,
        }
    }

    /// The same gateway with other times.
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self { patience: Arc::new(patience), ..self.clone() }
    }

    /// The same gateway for listeners in sandbox networks: no unsigned endpoints but code downloads, and a smaller
    /// share of connections and memory.
    pub fn for_sandbox(&self) -> Self {
        Self { in_sandbox: true, ..self.clone() }
    }

    /// How clients of this gateway speak to it.
    fn scheme(&self) -> &'static str {
        let encrypted = !self.in_sandbox && self.options.public_endpoint.starts_with("https:");
        if encrypted { "https" } else { "http" }
    }

    /// Who is being served, by this gateway and those made of it.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Serves until `stop` resolves, then finishes the requests in flight within `deadline`; idle connections are
    /// closed at once.
    pub async fn serve(&self, listener: impl Into<Listener>, stop: impl Future<Output = ()>, deadline: Duration) {
        server::serve(self, listener.into(), stop, deadline).await;
    }
}
