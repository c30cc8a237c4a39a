//! Random policies and connections; the same seed gives the same ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Pseudo-random numbers (`SplitMix64`).
pub struct Random(pub u64);

/// The addresses of the network in which the connections are.
pub const ADDRESSES: [&str; 13] = [
    "127.0.0.1",
    "10.1.2.3",
    "10.1.2.4",
    "10.2.0.1",
    "172.16.0.1",
    "192.0.2.7",
    "::1",
    "2001:db8::1",
    "2001:db8:0:1::1",
    "2001:db8:1::1",
    "fd00::a01:203",
    "64:ff9b::a01:203",
    "::a01:203",
];

/// The ports with listeners.
pub const PORTS: [u16; 8] = [1, 80, 443, 5432, 8000, 8500, 27017, 65535];

/// The options in the order in which they are printed, with numbers that the kernel accepts and some that it refuses.
pub const OPTIONS: [(&str, [i64; 6]); 5] = [
    ("keepalive", [0, 1, 0, 1, 0, 1]),
    ("idle", [1, 60, 7200, 32767, 0, 40000]),
    ("interval", [1, 15, 75, 32767, -1, 32768]),
    ("count", [1, 5, 9, 127, 0, 200]),
    ("user_timeout", [0, 1, 5000, 135_000, 2_147_483_647, -1]),
];

impl Random {
    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("below an usize")
    }

    /// Returns true once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    pub fn address(&mut self) -> IpAddr {
        self.of(&ADDRESSES).parse().expect("an address")
    }

    /// Returns an address of the same family.
    pub fn address_like(&mut self, other: IpAddr) -> IpAddr {
        loop {
            let address = self.address();
            if address.is_ipv4() == other.is_ipv4() {
                return address;
            }
        }
    }

    /// Returns this many rules, with or without a default. Sometimes all rules are narrow, so that the first ones do
    /// not match most connections.
    pub fn rules(&mut self, count: usize) -> String {
        let is_narrow = count > 10 && !self.once_in(3);
        let mut lines: Vec<String> = (0..count).map(|_| self.rule(is_narrow)).collect();
        if !self.once_in(3) {
            lines.insert(self.below(count + 1), format!("default {}", self.settings()));
        }
        lines.join("\n")
    }

    fn rule(&mut self, is_narrow: bool) -> String {
        if is_narrow {
            let end = self.of(&["connect", "accept", "program python3 connect"]);
            let place = SocketAddr::new(self.address(), self.port());
            return format!("{end} {place} {}", self.settings());
        }
        let program = self.of(&["", "", "", "", "program python3 ", "program python ", "program sshd "]);
        let end = if program.is_empty() {
            self.of(&["connect ", "accept "])
        } else {
            self.of(&["connect ", "accept ", ""])
        };
        let place = if end.is_empty() { String::new() } else { self.place() };
        format!("{program}{end}{place} {}", self.settings())
    }

    fn place(&mut self) -> String {
        let ports = match self.below(4) {
            0 => format!(":{}", self.port()),
            1 => {
                let mut ports = [self.port(), self.port()];
                ports.sort_unstable();
                format!(":{}-{}", ports[0], ports[1])
            }
            _ => String::new(),
        };
        let network = match self.below(6) {
            0 => String::new(),
            1 if !ports.is_empty() => "*".to_owned(),
            _ => self.network(),
        };
        format!("{network}{ports}")
    }

    /// Returns a port with a listener, or an adjacent port.
    fn port(&mut self) -> u16 {
        let port = self.of(&PORTS);
        self.of(&[port, port, port.saturating_sub(1), port.saturating_add(1)])
    }

    fn network(&mut self) -> String {
        match self.address() {
            IpAddr::V4(address) => {
                let length = self.below(33);
                let bits = u32::MAX.checked_shl(32 - bits_of(length)).unwrap_or(0);
                let address = Ipv4Addr::from(u32::from(address) & bits);
                if self.once_in(4) {
                    return format!("[{}/{}]", address.to_ipv6_mapped(), 96 + length);
                }
                format!("{address}/{length}")
            }
            IpAddr::V6(address) => {
                let length = self.below(129);
                let bits = u128::MAX.checked_shl(128 - bits_of(length)).unwrap_or(0);
                format!("[{}/{length}]", Ipv6Addr::from(u128::from(address) & bits))
            }
        }
    }

    fn settings(&mut self) -> String {
        if self.once_in(8) {
            return "off".to_owned();
        }
        let mut words = Vec::new();
        let mut say = |chance: &mut Self, times, word: String| {
            if chance.once_in(times) {
                words.push(word);
            }
        };
        let [idle, interval] = [1 + self.below(32767), 1 + self.below(300)];
        say(self, 2, format!("idle={idle}"));
        say(self, 2, format!("interval={interval}s"));
        let count = 1 + self.below(127);
        say(self, 2, format!("count={count}"));
        let user_timeout = match self.below(4) {
            0 => "off".to_owned(),
            1 => "auto".to_owned(),
            _ => format!("{}ms", 1 + self.below(200_000)),
        };
        say(self, 2, format!("user-timeout={user_timeout}"));
        let mode = self.of(&["fill", "cap", "floor", "enforce"]);
        say(self, 2, format!("mode={mode}"));
        let keepalive = self.of(&["on", "leave"]);
        say(self, 4, format!("keepalive={keepalive}"));
        if words.is_empty() {
            return "keepalive=on".to_owned();
        }
        words.join(" ")
    }

    /// Returns options that a program sets: indices into [`OPTIONS`], with numbers.
    pub fn own(&mut self, is_valid: bool) -> Vec<(usize, i64)> {
        let mut own = Vec::new();
        for (place, (_, numbers)) in OPTIONS.iter().enumerate() {
            if self.once_in(4) {
                let number = self.of(if is_valid { &numbers[..4] } else { numbers });
                own.push((place, number));
            }
        }
        own
    }
}

/// Returns the length of a prefix as a type for shifts.
fn bits_of(length: usize) -> u32 {
    u32::try_from(length).expect("at most 128")
}
