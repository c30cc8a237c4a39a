//! A SOCKS5 proxy (RFC 1928) that makes no connections: it reports success, and then echoes.

use rustix::net::{Shutdown, shutdown};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// A proxy on loopback, on a port that the kernel chooses. It accepts until it is dropped.
pub struct Socks {
    listener: Arc<TcpListener>,
}

impl Socks {
    pub fn start() -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port on loopback"));
        let accepting = Arc::clone(&listener);
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                thread::spawn(move || serve(stream));
            }
        });
        Self { listener }
    }

    pub fn port(&self) -> u16 {
        self.listener
            .local_addr()
            .expect("a bound listener has an address")
            .port()
    }
}

impl Drop for Socks {
    /// Wakes the thread in accept(2), which then ends.
    fn drop(&mut self) {
        let _ = shutdown(&*self.listener, Shutdown::Both);
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    // Version, number of methods, methods. The answer selects the method without a password.
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting)?;
    stream.read_exact(&mut vec![0; greeting[1].into()])?;
    stream.write_all(&[5, 0])?;
    // Version, connect, reserved, IPv4, address, port.
    stream.read_exact(&mut [0; 10])?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let mut writer = stream.try_clone()?;
    io::copy(&mut stream, &mut writer)?;
    Ok(())
}
