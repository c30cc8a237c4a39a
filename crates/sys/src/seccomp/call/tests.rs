//! Tests of the meaning of calls, with arguments in the memory of this process.

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

/// A page of memory; the next page is unmapped.
struct Page(*mut u8);

const PAGE: usize = 4096;

impl Page {
    fn before_nothing() -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours (mmap(2)).
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, protection, flags, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED);
        // SAFETY: the address is within the mapping, which has two pages.
        let second = unsafe { pages.byte_add(PAGE) };
        // SAFETY: the second page of the mapping is ours, and nothing refers to it.
        assert_eq!(unsafe { libc::munmap(second, PAGE) }, 0);
        Self(pages.cast())
    }

    /// Copies `bytes` to the end of the page, and returns their address.
    fn end_with(&self, bytes: &[u8]) -> u64 {
        // SAFETY: the bytes are fewer than the page has.
        let at = unsafe { self.0.add(PAGE - bytes.len()) };
        // SAFETY: from there to the end of the page there is room for them, which nothing else refers to.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        u64::try_from(at.addr()).expect("an address has 64 bits")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the page is a mapping of ours, and nothing refers to it.
        unsafe { libc::munmap(self.0.cast(), PAGE) };
    }
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
        let address = Address::Plain {
            pointer: 0x1000,
            length: 16,
        };
        // Like the kernel, the code uses the lower half of a number.
        let fd = 0xdead_beef_0000_0003;
        assert_eq!(
            read(arch, connect, [fd, 0x1000, 0xdead_beef_0000_0010, 0, 0, 0]),
            Some(Call::Connect { fd: 3, address })
        );
        assert_eq!(
            read(arch, sendto, [fd, 1, 2, 3, 0x1000, 16]),
            Some(Call::Connect { fd: 3, address })
        );
        let listening = Call::Listen { fd: 3, backlog: 8 };
        assert_eq!(read(arch, listen, [fd, 8, 0, 0, 0, 0]), Some(listening));
        let option = Call::SetOption {
            fd: 3,
            level: 6,
            name: 4,
            value: 0x2000,
            length: 4,
        };
        assert_eq!(read(arch, setsockopt, [fd, 6, 4, 0x2000, 4, 0]), Some(option));
        assert_eq!(option.fd(), 3);
        // The kernel treats the length as signed.
        let negative = read(arch, setsockopt, [fd, 6, 4, 0x2000, 0xffff_ffff, 0]);
        assert!(
            matches!(negative, Some(Call::SetOption { length: -1, .. })),
            "{negative:?}"
        );
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
    let address = Address::Plain {
        pointer: 0xffff_1000,
        length: 28,
    };
    let connect = Some(Call::Connect { fd: 3, address });
    assert_eq!(call(3, [3, 0xffff_1000, 28, 0, 0, 0]), connect);
    assert_eq!(call(11, [3, 1, 2, 0x2000_0000, 0xffff_1000, 28]), connect);
    assert_eq!(call(4, [3, 8, 0, 0, 0, 0]), Some(Call::Listen { fd: 3, backlog: 8 }));
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
fn socketcall_reads_no_more_arguments_than_the_call_has() {
    // The memory after this page cannot be read.
    let page = Page::before_nothing();
    for (number, words) in [(3, 3_u32), (4, 2), (11, 6), (14, 5), (16, 3), (20, 4)] {
        let all: Vec<u8> = (3..3 + words).flat_map(u32::to_ne_bytes).collect();
        let call = read(I386, 102, [number, page.end_with(&all), 0, 0, 0, 0]);
        assert_eq!(call.map(|call| call.fd()), Some(3), "{number}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_message_names_its_address_itself() {
    let target = socket_address("127.0.0.1:80");
    let expected = Some("127.0.0.1:80".parse().expect("an address"));
    let read_peer = |number: u32, arch: u32, header: &[u8]| {
        let Some(Call::Connect { fd: 3, address }) = read(arch, number, [3, place(header), 0, 0, 0, 0]) else {
            panic!("{number} opens a connection");
        };
        address.read(std::process::id(), false).expect("memory of this process")
    };
    for length in [16_i32, 128, 129, i32::MAX] {
        // The kernel shortens a length that is too long.
        let mut long = target.clone();
        long.resize(128, 0);
        let wide = [&place(&long).to_ne_bytes()[..], &length.to_ne_bytes()].concat();
        for number in [46, 307] {
            assert_eq!(read_peer(number, X86_64, &wide), expected, "{length}");
        }
    }
    for length in [-1_i32, 0, 15] {
        let wide = [&place(&target).to_ne_bytes()[..], &length.to_ne_bytes()].concat();
        assert_eq!(read_peer(46, X86_64, &wide), None, "{length}");
    }
    // The header of a program with 32-bit pointers has two words before the vector, whose address follows.
    let narrow = [&8_u32.to_ne_bytes()[..], &16_i32.to_ne_bytes(), &[0xff; 4]].concat();
    for number in [370, 345] {
        let Some(Call::Connect { address, .. }) = read(I386, number, [3, place(&narrow), 0, 0, 0, 0]) else {
            panic!("{number} opens a connection");
        };
        let error = address.read(std::process::id(), false).expect_err("nothing is at 8");
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    }
}

#[test]
fn unreadable_input_is_an_error() {
    if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
        let unreadable = Call::read(&notification(I386, 102, [3, 8, 0, 0, 0, 0]));
        assert_eq!(
            unreadable.expect_err("nothing is there").raw_os_error(),
            Some(libc::EFAULT)
        );
    }
    let header = Address::Message {
        header: 8,
        is_narrow: false,
    };
    for address in [Address::Plain { pointer: 8, length: 16 }, header] {
        let error = address.read(std::process::id(), false).expect_err("nothing is there");
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    }
}

#[test]
fn an_address_is_read_from_memory() {
    for text in [
        "127.0.0.1:80",
        "10.1.2.3:65535",
        "[2001:db8::1]:443",
        "[::ffff:10.1.2.3]:80",
    ] {
        let expected: SocketAddr = text.parse().expect("an address");
        let mut bytes = socket_address(text);
        bytes.resize(200, 0);
        let at = |length: i32, is_ipv6| {
            let address = Address::Plain {
                pointer: place(&bytes),
                length,
            };
            address
                .read(std::process::id(), is_ipv6)
                .expect("memory of this process")
        };
        // The kernel takes an IPv6 address without its scope, and more room than an address has, up to 128 bytes.
        let shortest = if expected.is_ipv6() { 24 } else { 16 };
        for length in [shortest, 28, 110, 128] {
            assert_eq!(at(length, expected.is_ipv6()), Some(expected), "{text} {length}");
            assert_eq!(
                at(length, !expected.is_ipv6()),
                None,
                "{text}: a socket of the other family"
            );
        }
        for length in [i32::MIN, -1, 0, 1, 15, shortest - 1, 129, i32::MAX] {
            assert_eq!(at(length, expected.is_ipv6()), None, "{text} {length}");
        }
    }
}

/// Like connect(2), which copies the whole length before it checks the address.
#[test]
fn an_address_that_is_not_there_to_its_end_is_an_error() {
    let page = Page::before_nothing();
    let pointer = page.end_with(&socket_address("127.0.0.1:80"));
    let read = |length| Address::Plain { pointer, length }.read(std::process::id(), false);
    assert!(read(16).expect("it is there").is_some());
    for length in [17, 28, 128] {
        let error = read(length).expect_err("the rest is not there");
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{length}");
    }
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
