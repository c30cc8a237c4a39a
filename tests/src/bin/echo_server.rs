//! A TCP server that echoes and never sets keepalive: the server of an idle connection.
//!
//! ```text
//! echo_server ADDRESS:PORT
//! ```
//!
//! Prints `listening on ADDRESS:PORT` once connections are accepted, so that a script can wait for it.

use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::{env, io, thread};

fn main() -> ExitCode {
    let Some(address) = env::args().nth(1) else {
        eprintln!("usage: echo_server ADDRESS:PORT");
        return ExitCode::from(2);
    };
    match serve(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for connection in listener.incoming() {
        let connection = connection?;
        thread::spawn(move || echo(&connection));
    }
    Ok(())
}

/// A broken connection ends here without a message, because this is expected.
fn echo(connection: &TcpStream) {
    let (mut from, mut to) = (connection, connection);
    let _ = io::copy(&mut from, &mut to);
}
