//! Who sent a request: proven, by a signature or by the socket that it came through.

use crate::authorise::Caller;
use dayfly_types::{Region, credentials::Principal};

/// The sender of a request.
#[derive(Debug, Clone)]
pub struct Sender {
    /// For whom it acts.
    pub principal: Caller,
    /// The region that is meant.
    pub region: Region,
    /// Whether it came through the server's own socket, from the user who runs the server.
    pub through_socket: bool,
}

impl Sender {
    /// Whether it may ask for what only this machine's user may.
    pub fn is_owner(&self) -> bool {
        self.through_socket && matches!(*self.principal, Principal::Root { .. })
    }
}
