//! The server's end of a launcher: starting it, sending orders, receiving reports. Non-blocking but where it says so; the worker waits.

use crate::protocol::{DATAGRAM_BYTES_MAX, DESCRIPTORS_MAX, Order, Report, Spec};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A launcher process and the server's end of its control socket.
pub struct Launcher {
    /// The process; it ends by itself when `control` is dropped.
    pub process: Child,
    /// Where orders go and reports come from.
    pub control: Control,
}

impl Launcher {
    /// Starts `binary launcher` for `spec`. Does not wait: `Report::Up` or `Report::Broken` comes through `control`.
    pub fn start(binary: &Path, spec: &Spec) -> io::Result<Self> {
        let (ours, theirs) = Control::pair()?;
        let process = Command::new(binary)
            .arg("launcher")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs.socket))
            .stdout(Stdio::null())
            .spawn()?;
        ours.send(spec, &[])?;
        Ok(Self { process, control: ours })
    }

    /// Ends the launcher and everything in its sandbox. Blocks until it is gone.
    pub fn end(self) -> io::Result<()> {
        let Self { mut process, control } = self;
        drop(control);
        // It goes when the socket closes, which is the better way, for it takes everything along; it is killed if not.
        for _ in 0..500 {
            if process.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(4));
        }
        process.kill()?;
        process.wait().map(|_| ())
    }
}

/// One end of a control socket.
pub struct Control {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Control {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Control {
    /// Two connected ends.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::from_socket(one), Self::from_socket(other)))
    }

    pub(crate) fn from_socket(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; DATAGRAM_BYTES_MAX] }
    }

    /// Sends an order. `WouldBlock` when the launcher has not kept up.
    pub fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(order, descriptors)
    }

    /// The next report; `WouldBlock` when there is none yet, `None` when the launcher has ended.
    pub fn report(&mut self) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
        self.receive(false)
    }

    /// The next report, waited for: `TimedOut` at the deadline, `None` when the launcher has ended.
    pub fn report_before(&mut self, deadline: Instant) -> io::Result<Option<Report>> {
        loop {
            match self.report() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Ok(other?.map(|(report, _descriptors)| report)),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = Timespec::try_from(left).unwrap_or_default();
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn send<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send_bytes(&self.socket, &serde_json::to_vec(message)?, descriptors, false)
    }

    pub(crate) fn send_waiting<T: Serialize>(&self, message: &T) -> io::Result<()> {
        send_bytes(&self.socket, &serde_json::to_vec(message)?, &[], true)
    }

    pub(crate) fn receive<T: DeserializeOwned>(&mut self, wait: bool) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let (bytes, descriptors) = receive_bytes(&self.socket, &mut self.buffer, wait)?;
        if bytes == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&self.buffer[..bytes])?, descriptors)))
    }
}

/// Sends one datagram with descriptors beside it.
pub(crate) fn send_bytes(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| ()).map_err(io::Error::from),
        }
    }
}

/// Receives one datagram with the descriptors beside it; 0 bytes at the end. A cut datagram is an error.
pub(crate) fn receive_bytes(socket: impl AsFd, buffer: &mut [u8], wait: bool) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "datagram was cut"));
    }
    Ok((received.bytes, descriptors))
}
