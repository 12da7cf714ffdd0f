//! The store, from outside: one suite for every implementation, and what only the embedded one promises.

#![allow(clippy::unwrap_used)]

mod embedded;
mod kill;
mod suite;
