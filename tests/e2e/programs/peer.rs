//! The other end of a client's connection: a server inside the test that keeps every connection open.

use rustix::net::{Shutdown, shutdown};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// How much of the client's protocol the peer speaks.
#[derive(Clone, Copy, Debug)]
pub enum Speech {
    /// Nothing: it accepts, and the client waits for its greeting or its answer.
    Silent,
    /// Complete HTTP answers, for clients that keep the idle connection in a pool.
    Http,
}

/// A listener on loopback, on a port of the kernel's choice, that accepts until it is dropped.
pub struct Peer {
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

impl Peer {
    pub fn start(speech: Speech) -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port on loopback"));
        let address = listener.local_addr().expect("a bound listener has an address");
        let accepting = Arc::clone(&listener);
        thread::spawn(move || {
            let mut open = Vec::new();
            while let Ok((stream, _)) = accepting.accept() {
                if let (Speech::Http, Ok(stream)) = (speech, stream.try_clone()) {
                    thread::spawn(|| answer(stream));
                }
                open.push(stream);
            }
        });
        Self { listener, address }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Peer {
    /// Wakes the thread in accept(2), which then closes what it holds.
    fn drop(&mut self) {
        let _ = shutdown(&*self.listener, Shutdown::Both);
    }
}

/// Answers each request head with two bytes, until the client closes.
fn answer(stream: TcpStream) {
    let Ok(mut writer) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines() {
        match line {
            Ok(line) if line.is_empty() => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok");
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
