//! The walls: namespaces, mounts, cgroups, seccomp, and the protocol by which a zygote is cloned.
//!
//! One launcher process per function version stands between the server and the zygote. It is the first process of the
//! version's pid namespace and root of its user namespace; it has no root on the host. The server orders, the launcher
//! does. Single-threaded, no tokio: the server re-executes its own binary as `dayfly launcher`.
//!
//! Way of a clone: `control::Control` (server's end) → `launcher` → `zygote` → `clone` prepared by `launcher`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cgroup;
pub mod control;
pub mod doctor;
mod idle;
pub mod launcher;
pub mod protocol;
pub mod root;
pub mod seccomp;
mod sys;
mod zygote;

pub use control::{Control, Launcher};
pub use protocol::{BindMount, Order, Report, Spec};
