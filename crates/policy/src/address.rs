//! Parses IP addresses. The parser of `core::net` is larger than the rest of the preload library's grammar, and has
//! paths to a panic. This parser accepts the same texts.

use crate::parse::has_byte;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses an IPv4 or IPv6 address (RFC 4291 §2.2), without brackets, zone or port.
pub fn parse(text: &[u8]) -> Option<IpAddr> {
    if has_byte(text, b':') {
        parse_v6(text).map(IpAddr::V6)
    } else {
        parse_v4(text).map(IpAddr::V4)
    }
}

fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split(|byte| *byte == b'.');
    for octet in &mut octets {
        let part = parts.next()?;
        // Some parsers read a number with a leading zero as octal, others as decimal.
        if part.is_empty() || part.len() > 3 || (part.len() > 1 && part.starts_with(b"0")) {
            return None;
        }
        *octet = u8::try_from(number(part, 10)?).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn parse_v6(text: &[u8]) -> Option<Ipv6Addr> {
    let gap = text.windows(2).position(|pair| pair == b"::");
    let (head, tail) = match gap {
        None => (text, &b""[..]),
        Some(gap) => {
            let (head, rest) = text.split_at_checked(gap)?;
            (head, rest.strip_prefix(b"::")?)
        }
    };
    let (head, head_count) = groups(head, gap.is_none())?;
    let (tail, tail_count) = groups(tail, true)?;
    // A gap stands for at least one group. Without a gap, the text must contain all eight groups.
    if (gap.is_none() && head_count != 8) || (gap.is_some() && head_count + tail_count > 7) {
        return None;
    }
    let mut all = head;
    let tail = tail.iter().take(tail_count).rev();
    all.iter_mut().rev().zip(tail).for_each(|(to, from)| *to = *from);
    Some(Ipv6Addr::from(all))
}

/// Returns the groups of 16 bits in `text`, and their number. With `may_end` (the text is the end of the whole
/// address), the last two groups may be written as an IPv4 address.
fn groups(text: &[u8], may_end: bool) -> Option<([u16; 8], usize)> {
    let mut groups = [0; 8];
    let mut count = 0;
    if text.is_empty() {
        return Some((groups, 0));
    }
    let mut parts = text.split(|byte| *byte == b':').peekable();
    while let Some(part) = parts.next() {
        if may_end && parts.peek().is_none() && has_byte(part, b'.') {
            let [a, b, c, d] = parse_v4(part)?.octets();
            *groups.get_mut(count)? = u16::from_be_bytes([a, b]);
            *groups.get_mut(count + 1)? = u16::from_be_bytes([c, d]);
            return Some((groups, count + 2));
        }
        if part.is_empty() || part.len() > 4 {
            return None;
        }
        *groups.get_mut(count)? = number(part, 16)?;
        count += 1;
    }
    Some((groups, count))
}

/// Parses a number of at most four digits.
fn number(digits: &[u8], radix: u8) -> Option<u16> {
    digits.iter().try_fold(0_u16, |number, digit| {
        let digit = char::from(*digit).to_digit(radix.into())?;
        Some(
            number
                .wrapping_mul(radix.into())
                .wrapping_add(u16::try_from(digit).ok()?),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn agrees(text: &str) {
        assert_eq!(parse(text.as_bytes()), text.parse().ok(), "{text}");
    }

    #[test]
    fn addresses_parse_as_in_the_standard_library() {
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "256.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1..3.4",
            "",
            "1.2.3.4x",
            "::",
            "::1",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            ":::",
            ":",
            "1:",
            ":1",
            "2001:db8::/32",
            "12345::",
            "g::",
            "::ffff:10.0.0.1",
            "::10.0.0.1:1",
            "10.0.0.1::",
            "1:2:3:4:5:6:10.0.0.1",
            "1:2:3:4:5:6:7:10.0.0.1",
            "::1.2.3",
            "fe80::1%eth0",
            "[::1]",
            "::FFFF",
            "1:2:3:4:5::6:7:8",
            "1:2:3:4::5:6:7:8",
            "::1:2:3:4:5:6:1.2.3.4",
            "::2:3:4:5:6:1.2.3.4",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn printed_text_is_parsed() {
        for seed in 0..20_000_u32 {
            let bits = u128::from(seed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
                .rotate_left(seed % 128);
            let sparse = bits & u128::from(seed).wrapping_mul(0xffff_0000_ffff_0000_0000_ffff_ffff_0000 ^ bits);
            agrees(&Ipv6Addr::from(sparse).to_string());
            agrees(&Ipv4Addr::from(seed.wrapping_mul(0x9e37_79b9)).to_string());
        }
    }
}
