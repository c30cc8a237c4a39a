//! What a call means, with its arguments in the memory of this process.

use super::{Address, Call, parse};
use crate::seccomp::Notification;
use std::net::SocketAddr;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

fn notification(arch: u32, number: u32, arguments: [u64; 6]) -> Notification {
    Notification {
        id: 1,
        tid: std::process::id(),
        arch,
        number,
        arguments,
    }
}

fn read(arch: u32, number: u32, arguments: [u64; 6]) -> Option<Call> {
    Call::read(&notification(arch, number, arguments)).expect("memory of this process")
}

fn place(of: &[u8]) -> u64 {
    u64::try_from(of.as_ptr().addr()).expect("an address has 64 bits")
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn socket_address(address: &str) -> Vec<u8> {
    let address: SocketAddr = address.parse().expect("an address");
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(address) => {
            let family = u16::try_from(libc::AF_INET).expect("2").to_ne_bytes();
            [&family[..], &port, &address.ip().octets(), &[0; 8]].concat()
        }
        SocketAddr::V6(address) => {
            let family = u16::try_from(libc::AF_INET6).expect("10").to_ne_bytes();
            [&family[..], &port, &[0; 4], &address.ip().octets(), &[0; 4]].concat()
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_direct_call_has_its_arguments_in_registers() {
    for (arch, connect, listen, setsockopt, sendto) in [(X86_64, 42, 50, 54, 44), (I386, 362, 363, 366, 369)] {
        let address = Address {
            pointer: 0x1000,
            length: 16,
        };
        // The kernel takes the lower half of a number, and so does this.
        let fd = 0xdead_beef_0000_0003;
        assert_eq!(
            read(arch, connect, [fd, 0x1000, 0xdead_beef_0000_0010, 0, 0, 0]),
            Some(Call::Connect { fd: 3, address })
        );
        assert_eq!(
            read(arch, sendto, [fd, 1, 2, 3, 0x1000, 16]),
            Some(Call::Connect { fd: 3, address })
        );
        assert_eq!(read(arch, listen, [fd, 8, 0, 0, 0, 0]), Some(Call::Listen { fd: 3 }));
        let option = Call::SetOption {
            fd: 3,
            level: 6,
            name: 4,
            value: 0x2000,
            length: 4,
        };
        assert_eq!(read(arch, setsockopt, [fd, 6, 4, 0x2000, 4, 0]), Some(option));
        assert_eq!(option.fd(), 3);
        assert_eq!(read(arch, 0, [0; 6]), None);
    }
    assert_eq!(
        read(0, 42, [3, 0x1000, 16, 0, 0, 0]),
        None,
        "nobody knows this architecture"
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn socketcall_has_its_arguments_in_memory() {
    let call = |number: u64, words: [u32; 6]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        read(I386, 102, [number, place(&bytes), 0, 0, 0, 0])
    };
    let address = Address {
        pointer: 0xffff_1000,
        length: 28,
    };
    let connect = Some(Call::Connect { fd: 3, address });
    assert_eq!(call(3, [3, 0xffff_1000, 28, 0, 0, 0]), connect);
    assert_eq!(call(11, [3, 1, 2, 0x2000_0000, 0xffff_1000, 28]), connect);
    assert_eq!(call(4, [3, 8, 0, 0, 0, 0]), Some(Call::Listen { fd: 3 }));
    assert_eq!(
        call(14, [3, 1, 9, 0xffff_2000, 4, 0]),
        Some(Call::SetOption {
            fd: 3,
            level: 1,
            name: 9,
            value: 0xffff_2000,
            length: 4
        })
    );
    for other in [0, 1, 2, 5, 15, 21, u64::MAX] {
        assert_eq!(call(other, [3; 6]), None, "{other}");
    }
    // On x86_64 this number is getuid(2).
    assert_eq!(read(X86_64, 102, [3, 0x1000, 0, 0, 0, 0]), None);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_message_names_its_address_itself() {
    let wide = [&0x7fff_1234_5678_u64.to_ne_bytes()[..], &28_u32.to_ne_bytes()].concat();
    let narrow = [&0xffff_1000_u32.to_ne_bytes()[..], &16_u32.to_ne_bytes(), &[0xff; 4]].concat();
    let address = |pointer, length| {
        Some(Call::Connect {
            fd: 3,
            address: Address { pointer, length },
        })
    };
    for number in [46, 307] {
        assert_eq!(
            read(X86_64, number, [3, place(&wide), 0, 0, 0, 0]),
            address(0x7fff_1234_5678, 28)
        );
    }
    for number in [370, 345] {
        assert_eq!(
            read(I386, number, [3, place(&narrow), 0, 0, 0, 0]),
            address(0xffff_1000, 16)
        );
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let unreadable = [3, 8, 0, 0, 0, 0];
    for (arch, number) in [(I386, 102), (I386, 370)] {
        let error = Call::read(&notification(arch, number, unreadable));
        if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
            assert_eq!(error.expect_err("nothing is there").raw_os_error(), Some(libc::EFAULT));
        }
    }
    let address = Address { pointer: 8, length: 16 };
    let error = address.read(std::process::id()).expect_err("nothing is there");
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
}

#[test]
fn an_address_is_read_from_memory() {
    for text in [
        "127.0.0.1:80",
        "10.1.2.3:65535",
        "[2001:db8::1]:443",
        "[::ffff:10.1.2.3]:80",
    ] {
        let bytes = socket_address(text);
        let at = |length: usize| {
            let length = u32::try_from(length).expect("a short address");
            let address = Address {
                pointer: place(&bytes),
                length,
            };
            address.read(std::process::id()).expect("memory of this process")
        };
        assert_eq!(at(bytes.len()), Some(text.parse().expect("an address")));
        assert_eq!(at(0), None);
        assert_eq!(at(15), None);
    }
    // Programs may give more room than the address has.
    let mut long = socket_address("127.0.0.1:80");
    long.resize(128, 0);
    let address = Address {
        pointer: place(&long),
        length: 128,
    };
    assert_eq!(
        address.read(std::process::id()).expect("memory of this process"),
        Some("127.0.0.1:80".parse().expect("an address"))
    );
}

#[test]
fn an_address_that_is_cut_short_is_none() {
    for text in ["127.0.0.1:80", "[2001:db8::1]:443"] {
        let bytes = socket_address(text);
        let needed = if bytes.len() == 16 { 8 } else { 24 };
        for length in 0..=bytes.len() {
            assert_eq!(parse(&bytes[..length]).is_some(), length >= needed, "{text} {length}");
        }
    }
    assert_eq!(parse(&[1; 28]), None, "another family");
}
