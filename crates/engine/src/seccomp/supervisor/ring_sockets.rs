//! Sets the sockets of processes that have an io_uring.

use super::Supervisor;
use crate::seccomp::progress::Subject;
use crate::seccomp::rings::Ring;
use keepalive_policy::Moment;
use keepalive_sys::proc;
use keepalive_sys::sock_diag::State;
use keepalive_sys::sockopt::{self, Kind};
use rustix::fd::OwnedFd;
use std::collections::HashSet;
use std::time::Instant;

impl Supervisor<'_> {
    /// Looks at the sockets of one process that has an io_uring, if its look is due.
    pub(super) fn check_rings(&mut self) {
        let Some(mut ring) = ({ self.memory.rings().take_due() }) else {
            return;
        };
        if self.memory.is_offender(ring.pid) || !ring.thread.is_alive() {
            return;
        }
        let begin = Instant::now();
        let subject = Subject::Connection {
            thread: ring.thread.clone(),
            tid: ring.pid,
        };
        self.progress.begin(subject, self.watcher);
        let has_news = self.set_sockets_of(&mut ring);
        if self.progress.end() {
            self.memory.rings().check_again(ring, has_news, begin.elapsed());
        }
    }

    /// Sets the sockets of a process that has an io_uring, a limited number at a time. Returns whether there were new ones.
    fn set_sockets_of(&mut self, ring: &mut Ring) -> bool {
        /// Other calls wait meanwhile.
        const MOST: usize = 64;
        let Ok(sockets) = proc::sockets(ring.pid, ring.pid) else {
            return false;
        };
        // Numbers of sockets that are closed may be those of others later.
        let open: HashSet<u64> = sockets.iter().map(|(_, inode)| *inode).collect();
        ring.done.retain(|inode| open.contains(inode));
        let new = sockets.into_iter().filter(|(_, inode)| !ring.done.contains(inode));
        let new: Vec<_> = new.take(MOST).collect();
        let mut is_done = false;
        for (fd, inode) in new {
            if ring
                .thread
                .duplicate(fd)
                .is_ok_and(|socket| self.set_socket_of_ring(ring.pid, &socket))
            {
                ring.done.insert(inode);
                is_done = true;
            }
        }
        is_done
    }

    /// Sets a socket that a ring may have made. Returns whether it needs no second look.
    fn set_socket_of_ring(&mut self, pid: u32, socket: &OwnedFd) -> bool {
        if !matches!(sockopt::kind(socket), Ok(Kind::Tcp(_))) {
            return true;
        }
        let Ok((state, _)) = sockopt::state(socket) else {
            return true;
        };
        let (local, peer) = (sockopt::local(socket), sockopt::peer(socket));
        match (state, local) {
            (Some(State::Listen), _) => {
                let settings = self.decide(pid, Moment::Listen, None, local);
                self.applier.apply_to_listener(socket, &settings);
                if let Some(local) = local {
                    self.memory.add_listening(local.port());
                }
                true
            }
            // Its peer is not known yet.
            (Some(State::Closed), _) => {
                let settings = self.decide(pid, Moment::Create, None, None);
                self.applier.apply(socket, &settings);
                false
            }
            (_, Some(local)) if self.memory.listens(local.port()) => {
                let settings = self.decide(pid, Moment::Accept, peer, Some(local));
                self.applier.apply(socket, &settings);
                self.applier.limit_unacknowledged(socket, &settings);
                true
            }
            _ => {
                let settings = self.decide(pid, Moment::Connect, peer, peer);
                self.applier.apply(socket, &settings);
                let is_connecting = state == Some(State::SynSent);
                if !is_connecting {
                    self.applier.limit_unacknowledged(socket, &settings);
                }
                !is_connecting
            }
        }
    }
}
