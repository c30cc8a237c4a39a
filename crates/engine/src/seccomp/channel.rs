//! The socket between the command and a supervisor, which carries numbers and one descriptor.

use super::Obstacle;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, read, retry_on_intr, write};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// Returns both ends of a new socket.
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Obstacle> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| Obstacle::Refused("socketpair", error.into()))
}

/// Sends a number to the other side.
pub(super) fn send(socket: &OwnedFd, number: i32) {
    // If the other side has ended, [`receive`] reports it.
    let _ = write(socket, &number.to_ne_bytes());
}

/// Returns the next number from the other side; `None` if the other side has ended.
pub(super) fn receive(socket: &OwnedFd) -> Option<i32> {
    let mut number = [0; 4];
    loop {
        match read(socket, &mut number) {
            Ok(4) => return Some(i32::from_ne_bytes(number)),
            Err(Errno::INTR) => {}
            _ => return None,
        }
    }
}

/// Sends a descriptor to the other side.
pub(super) fn send_descriptor(socket: &OwnedFd, descriptor: impl AsFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Returns the descriptor that the other side sends; `None` if the other side has ended.
pub(super) fn receive_descriptor(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    })
    .ok()?;
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}
