//! The gateway on a real port, over a real scheduler, meter and store; only the worker is scripted. Driven with raw
//! sockets where the client misbehaves, and with boto3 where AWS's own must be content.
#![allow(clippy::unwrap_used)]

mod boto3;
mod bounds;
mod cost;
mod harness;
mod jobs;
mod lambda;
mod signatures;
