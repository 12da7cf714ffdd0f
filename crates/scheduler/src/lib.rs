//! Between the front-ends and the worker: resolves names, admits, keeps asynchronous events until they are done, and
//! sees to it that every call is accounted for. Called by the gateway and the triggers; knows nothing of HTTP or of
//! how an instance is made.
//!
//! The files in the order of a call: `handle`, `functions` (whom it is for), `admission` (whether it may), `call` (the
//! one path to the worker, and the accounting), `asynchronous` (the pump that feeds events into the same path).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod asynchronous;
mod call;
pub mod environments;
mod executor;
pub mod functions;
mod handle;
#[cfg(test)]
mod handle_tests;
pub mod jobs;
pub mod layers;
#[cfg(test)]
mod testing;

pub use asynchronous::{
    AsyncPolicy,
    letters::{Kind as LetterKind, Letter},
    outcomes::{AsyncOutcome, Conclusion},
};
pub use environments::Environments;
pub use executor::Executor;
pub use handle::{Handle, Parts};
pub use layers::Layers;
