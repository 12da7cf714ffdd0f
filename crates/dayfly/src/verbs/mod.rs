//! The verbs that talk to a server, one file each, and what they share.

pub mod access;
pub mod bill;
pub mod demo;
pub mod deploy;
pub mod doctor;
pub mod env;
pub mod environments;
pub mod init;
pub mod invoke;
pub mod jobs;
pub mod layer;
pub mod logs;
pub mod ls;
pub mod project;
pub mod rm;
pub mod traffic;
pub mod url;
pub mod web;

use crate::{client, folder, package, project::read::Mistake, serve};
use thiserror::Error;

/// Why a verb did not do it.
#[derive(Debug, Error)]
pub enum Error {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The function failed; its error is on stdout already.
    #[error("the function failed: {0}")]
    Function(String),
    /// What the verb looked for is not as it should be; the rest has been printed.
    #[error("{0}")]
    Failed(String),
    /// A project's file says something that cannot be.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// The server.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// The code.
    #[error(transparent)]
    Package(#[from] package::Error),
    /// The server did not start or did not stop well.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// A file or the terminal.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }

    /// Whether stdout went away, as under `head`: no failure.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// The path of the functions.
pub(crate) const FUNCTIONS: [&str; 2] = ["2015-03-31", "functions"];

/// The code of an error that the server sent, if it is one.
pub(crate) fn service_code(error: &client::Error) -> Option<&str> {
    match error {
        client::Error::Service { code, .. } => Some(code),
        _ => None,
    }
}
