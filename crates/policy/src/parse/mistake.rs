//! Describes the mistakes in a line, and how to correct them.

use super::Mistake;
use crate::option::{KEEPALIVE, OPTIONS, OTHERS, SocketOption};
use crate::settings::Invalid;

impl Mistake {
    /// Returns the reason in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownKeyword => "unknown keyword",
            Self::NoProgram => "no program is named",
            Self::BadAddress => "not an address",
            Self::BadLength => "not a prefix length",
            Self::StrayBits => "the address has bits behind its prefix length",
            Self::BadPorts => "not a port or a range of ports",
            Self::NoSettings => "nothing is set",
            Self::OffAndMore => "'off' stands alone",
            Self::NotASetting => "not a setting",
            Self::UnknownSetting => "unknown setting",
            Self::Twice => "set twice",
            Self::BadValue(invalid) => invalid.problem.reason(),
            Self::BadMode => "unknown mode",
            Self::UnknownPreset => "unknown preset",
            Self::UselessPreset => "keepalive cannot help there",
            Self::SecondDefault => "a second default",
        }
    }

    /// Returns how to correct the mistake.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::UnknownKeyword => "a line begins with default, connect, accept or program",
            Self::NoProgram => "write the last part of its path, as in: program sshd off",
            Self::BadAddress => "write 10.0.0.0/8, 192.0.2.1:443, [2001:db8::/32]:443, *:80 or :8000-8999",
            Self::BadLength => "0 to 32 for IPv4, 0 to 128 for IPv6",
            Self::StrayBits => "clear them, or write a longer prefix length",
            Self::BadPorts => "write 443 or 8000-8999, from 0 to 65535, the lower first",
            Self::NoSettings => "say what to set, as in: idle=60s, or off",
            Self::OffAndMore => "write off alone, or the settings without it",
            Self::NotASetting => "write name=value, or off",
            Self::UnknownSetting => NAMES,
            Self::Twice => "write it once",
            Self::BadValue(Invalid {
                option: SocketOption::Keepalive,
                ..
            }) => "on or leave; a rule that switches nothing on is: off",
            Self::BadValue(invalid) => invalid.expected(),
            Self::BadMode => "fill, cap, floor or enforce",
            Self::UnknownPreset => "keepalive presets lists them",
            Self::UselessPreset => "keepalive presets says why",
            Self::SecondDefault => "one line says the default",
        }
    }
}

/// The names of all settings, as a list in words.
const NAMES: &str = {
    const LENGTH: usize = write_names(&mut [0; 1024]);
    const BYTES: [u8; LENGTH] = {
        let mut bytes = [0; LENGTH];
        write_names(&mut bytes);
        bytes
    };
    match str::from_utf8(&BYTES) {
        Ok(names) => names,
        Err(_) => panic!("names are ASCII"),
    }
};

/// Writes [`NAMES`], and returns its length.
const fn write_names(to: &mut [u8]) -> usize {
    const COUNT: usize = OPTIONS.len() + 2;
    let (mut index, mut written) = (0, 0);
    while index < COUNT {
        let name = if index < KEEPALIVE.len() {
            KEEPALIVE[index].row().name
        } else if index == KEEPALIVE.len() {
            "mode"
        } else if index == KEEPALIVE.len() + 1 {
            "preset"
        } else {
            OTHERS[index - KEEPALIVE.len() - 2].row().name
        };
        let separator = if index == 0 {
            ""
        } else if index + 1 < COUNT {
            ", "
        } else {
            " or "
        };
        written = append(to, written, separator);
        written = append(to, written, name);
        index += 1;
    }
    written
}

const fn append(to: &mut [u8], at: usize, text: &str) -> usize {
    let mut index = 0;
    while index < text.len() {
        to[at + index] = text.as_bytes()[index];
        index += 1;
    }
    at + index
}
