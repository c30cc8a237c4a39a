//! Any bytes as the kernel's answer about sockets: there is no panic, and the number of rows is limited by the length
//! of the message.
#![no_main]

use keepalive_sys::sock_diag::decode;
use libfuzzer_sys::fuzz_target;

/// The header of a message and the fixed part of a socket's row (`include/uapi/linux/inet_diag.h`).
const SHORTEST: usize = 16 + 72;

fuzz_target!(|datagram: &[u8]| {
    let mut rows = Vec::new();
    let result = decode(datagram, &mut rows);
    assert!(rows.len() * SHORTEST <= datagram.len());

    let mut again = Vec::new();
    assert_eq!(result.is_ok(), decode(datagram, &mut again).is_ok());
    assert_eq!(rows, again);
});
