//! The store, from outside: one suite for every implementation, and what only the embedded one promises.

mod embedded;
mod kill;
mod suite;
