//! Makes its network namespace a NAT router that drops idle TCP connections, as gateways do.
//!
//! ```text
//! forgetful_nat SECONDS silent|reset
//! ```
//!
//! An established connection without a packet for SECONDS is dropped from the table; its next packet, from either side, is
//! then dropped silently (`silent`) or answered with a RST (`reset`). The program configures the kernel's `nf_tables` and
//! connection tracking by netlink, because nft and iptables are not always installed. In nft's language:
//!
//! ```text
//! table inet forgetful_nat {
//!     chain prerouting {
//!         type filter hook prerouting priority mangle; policy accept;
//!         ct state == invalid drop                       # or: reject with tcp reset
//!     }
//!     chain postrouting {
//!         type nat hook postrouting priority srcnat; policy accept;
//!         masquerade
//!     }
//! }
//! ```
//!
//! Requires `CAP_NET_ADMIN` over the namespace and Linux 5.9, the first to reject in prerouting (commit f53b9b0bdc59).

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};
use std::io::{Error, ErrorKind};
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (seconds, on_forget) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [seconds, "silent"] => (seconds, drop_packet()),
        [seconds, "reset"] => (seconds, reject_with_tcp_reset()),
        _ => {
            eprintln!("usage: forgetful_nat SECONDS silent|reset");
            return ExitCode::from(2);
        }
    };
    // The rules first: they make the kernel track the connections of this namespace.
    match program_rules(&on_forget).and_then(|()| set_timeout(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forgetful_nat: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Enables forwarding, a timeout of `seconds` for idle connections, and no tracking of connections whose start was not
/// seen (`tcp_loose`).
fn set_timeout(seconds: &str) -> Result<(), Error> {
    for (setting, value) in [
        ("netfilter/nf_conntrack_tcp_timeout_established", seconds),
        ("netfilter/nf_conntrack_tcp_loose", "0"),
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
    ] {
        let path = format!("/proc/sys/net/{setting}");
        match fs::write(&path, value) {
            Err(error) if error.kind() == ErrorKind::NotFound && setting.starts_with("ipv6") => {} // a kernel without
            Err(error) => return Err(Error::new(error.kind(), format!("{path}: {error}"))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Sends the table, its chains and their rules as one transaction: the kernel accepts all or nothing.
fn program_rules(on_forget: &[u8]) -> Result<(), Error> {
    let name = "forgetful_nat";
    let chain = |chain: &str, kind: &str, hook: u32, priority: i32| {
        let hook = [
            number(NFTA_HOOK_HOOKNUM, hook),
            number(NFTA_HOOK_PRIORITY, priority.cast_unsigned()),
        ]
        .concat();
        let (table, hook) = (text(NFTA_CHAIN_TABLE, name), nested(NFTA_CHAIN_HOOK, &hook));
        [table, text(NFTA_CHAIN_NAME, chain), hook, text(NFTA_CHAIN_TYPE, kind)].concat()
    };
    let rule = |chain: &str, expressions: &[u8]| {
        let (table, chain) = (text(NFTA_RULE_TABLE, name), text(NFTA_RULE_CHAIN, chain));
        [table, chain, nested(NFTA_RULE_EXPRESSIONS, expressions)].concat()
    };
    let operations = [
        (NFT_MSG_NEWTABLE, text(NFTA_TABLE_NAME, name)),
        (
            NFT_MSG_NEWCHAIN,
            chain("prerouting", "filter", NF_INET_PRE_ROUTING, -150),
        ),
        (
            NFT_MSG_NEWRULE,
            rule("prerouting", &[&state_is_invalid(), on_forget].concat()),
        ),
        (NFT_MSG_NEWCHAIN, chain("postrouting", "nat", NF_INET_POST_ROUTING, 100)),
        (NFT_MSG_NEWRULE, rule("postrouting", &expression("masq", &[]))),
    ];

    let mut batch = message(NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES, &[]);
    for (operation, attributes) in &operations {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | operation;
        batch.extend(message(kind, NLM_F_CREATE | NLM_F_ACK, NFPROTO_INET, 0, attributes));
    }
    batch.extend(message(NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES, &[]));

    let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER))?;
    send(&kernel, &batch, SendFlags::empty())?;
    // Each operation is answered by a datagram: struct nlmsghdr (16 bytes), then 0 or a negative errno.
    for _ in &operations {
        let mut answer = [0; 4096];
        recv(&kernel, &mut answer, RecvFlags::empty())?;
        let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        if code != 0 {
            let error = Error::from(Errno::from_raw_os_error(-code));
            return Err(Error::new(
                error.kind(),
                format!("the kernel refuses the nf_tables rules: {error}"),
            ));
        }
    }
    Ok(())
}

/// `ct state == invalid`: load the state into register 1, continue the rule if it is exactly this bit.
fn state_is_invalid() -> Vec<u8> {
    let load = [number(NFTA_CT_DREG, NFT_REG_1), number(NFTA_CT_KEY, NFT_CT_STATE)].concat();
    let bit = attribute(NFTA_DATA_VALUE, &NF_CT_STATE_INVALID_BIT.to_ne_bytes());
    let (register, equal) = (number(NFTA_CMP_SREG, NFT_REG_1), number(NFTA_CMP_OP, NFT_CMP_EQ));
    let compare = [register, equal, nested(NFTA_CMP_DATA, &bit)].concat();
    [expression("ct", &load), expression("cmp", &compare)].concat()
}

/// `drop`: store that verdict in the verdict register.
fn drop_packet() -> Vec<u8> {
    let verdict = nested(NFTA_DATA_VERDICT, &number(NFTA_VERDICT_CODE, NF_DROP));
    let register = number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    expression("immediate", &[register, nested(NFTA_IMMEDIATE_DATA, &verdict)].concat())
}

/// `reject with tcp reset`
fn reject_with_tcp_reset() -> Vec<u8> {
    expression("reject", &number(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST))
}

/// One expression of a rule, as an element of the list of expressions.
fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(
        NFTA_LIST_ELEM,
        &[text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, data)].concat(),
    )
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// A number in network byte order, as netfilter requires.
fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(NLA_F_NESTED | kind, attributes)
}

/// struct nlattr: length and kind, then the value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("an attribute is short");
    let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// struct nlmsghdr, struct nfgenmsg, then the attributes.
fn message(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).expect("a message is short");
    let flags = flags | NLM_F_REQUEST;
    let mut bytes = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8],
    ]
    .concat();
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

// linux/netlink.h, linux/netfilter.h, linux/netfilter/{nfnetlink,nf_tables,nf_conntrack_common}.h
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 0x8000;
const NFPROTO_INET: u8 = 1;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_POST_ROUTING: u32 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFT_CT_STATE: u32 = 0;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFTA_DATA_VALUE: u16 = 1;
const NF_CT_STATE_INVALID_BIT: u32 = 1;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NF_DROP: u32 = 0;
const NFTA_REJECT_TYPE: u16 = 1;
const NFT_REJECT_TCP_RST: u32 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
