//! The server's own socket, `dayfly.sock` in the data folder: for programs of the user who runs the server, on this machine.

use std::{
    fs::File,
    io,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
};

/// Its name in the data folder.
const NAME: &str = "dayfly.sock";
/// Longest path of a socket, without the zero byte at its end.
const PATH_BYTES_MAX: usize = 107;

/// Listens in the data folder, which the caller holds: a socket that is there is a dead server's. Removed when dropped.
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Makes the socket.
    pub fn bind(folder: &Path) -> io::Result<(Self, UnixListener)> {
        let path = folder.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = with_short_path(folder, |path| UnixListener::bind(path))?;
        // Nobody else came in before this: the gateway asks the kernel who each peer is.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok((Self { path }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Connects to the server of a data folder.
pub fn connect(folder: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    with_short_path(folder, |path| std::os::unix::net::UnixStream::connect(path))
}

/// The kernel takes only short paths of sockets, so a deep folder is named by a descriptor.
fn with_short_path<T>(folder: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(NAME);
    if path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
        return work(&path);
    }
    let folder = File::open(folder)?;
    work(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_servers_socket_is_replaced_and_long_paths_work() {
        let parent = tempfile::tempdir().unwrap();
        for folder in [parent.path().join("short"), parent.path().join("long".repeat(40))] {
            std::fs::create_dir(&folder).unwrap();
            let (dead, listener) = Socket::bind(&folder).unwrap();
            // As after a kill: the file stays, nobody listens.
            drop(listener);
            std::mem::forget(dead);
            assert!(connect(&folder).is_err());
            let (socket, _listener) = Socket::bind(&folder).unwrap();
            assert_eq!(std::fs::metadata(folder.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
            connect(&folder).unwrap();
            drop(socket);
            assert!(!folder.join(NAME).exists());
        }
    }
}
