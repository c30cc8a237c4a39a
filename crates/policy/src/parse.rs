//! Parses rules. Rules files, `--rule` and `KEEPALIVE_RULES` share this grammar:
//!
//! ```text
//! line       = [ default | rule ] [ "#" anything ]          ended by a newline or ";"
//! default    = "default" settings
//! rule       = [ "program" NAME ] [ ( "connect" | "accept" ) [ WHERE ] ] settings
//! WHERE      = [ ADDRESS [ "/" LENGTH ] | "[" ADDRESS [ "/" LENGTH ] "]" | "*" ] [ ":" PORT [ "-" PORT ] ]
//! settings   = "off" | 1*( NAME "=" VALUE )
//! ```

mod mistake;

use crate::mode::Mode;
use crate::option::SocketOption;
use crate::preset::{self, Remedy};
use crate::rule::{Direction, Network, Ports, Rule};
use crate::settings::{Invalid, Keepalive, Number, Problem, Settings, is_word};
use core::fmt;

/// The content of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The settings of the connections that no rule matches.
    Default(Settings),
    /// A rule.
    Rule(Rule<'a>),
}

/// A line that is invalid, and the position of the mistake in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The number of the line, from 1.
    pub line: u32,
    /// The position of the mistake's first byte in the line, from 0.
    pub start: usize,
    /// The position after the mistake's last byte.
    pub end: usize,
    /// The mistake.
    pub mistake: Mistake,
}

/// The mistake in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The line begins with a word other than `default`, `connect`, `accept` or `program`.
    UnknownKeyword,
    /// `program` without a name.
    NoProgram,
    /// The text is not an address, a network or `*`.
    BadAddress,
    /// The prefix length is above 32 or 128 bits, or is not a number.
    BadLength,
    /// The address has bits set behind its prefix length.
    StrayBits,
    /// The text is not a port or a range of ports.
    BadPorts,
    /// The rule contains no settings.
    NoSettings,
    /// `off` is combined with other settings.
    OffAndMore,
    /// The word is neither `name=value` nor `off`.
    NotASetting,
    /// No setting has this name.
    UnknownSetting,
    /// The rule contains the same setting twice.
    Twice,
    /// The value is invalid for the setting.
    BadValue(Invalid),
    /// No mode has this name.
    BadMode,
    /// No preset has this name.
    UnknownPreset,
    /// The preset's middlebox is one that keepalive cannot help with.
    UselessPreset,
    /// The text contains a second `default`.
    SecondDefault,
}

/// Returns an iterator over the lines of `text` that are not empty: their content, or their mistake.
pub fn parse(text: &[u8]) -> Lines<'_> {
    Lines {
        rest: without_mark(text),
        line: 1,
        column: 0,
        has_default: false,
    }
}

/// Returns `text` without the byte order mark that some editors write at the beginning of a file.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Returns the statements of `text` in order. Removes comments, surrounding white space and empty statements. Joined
/// with `;`, the statements mean the same as `text`.
pub fn statements(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lines = parse(text);
    core::iter::from_fn(move || {
        while !lines.rest.is_empty() {
            let statement = lines.take_statement().trim_ascii();
            if !statement.is_empty() {
                return Some(statement);
            }
        }
        None
    })
}

/// Iterates over the lines of a text; see [`parse`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    line: u32,
    column: usize,
    has_default: bool,
}

/// What [`Lines::read_into`] has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The settings of the connections that no rule matches.
    Default,
    /// A rule.
    Rule,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Item<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rule = Rule::EMPTY;
        Some(self.read_into(&mut rule)?.map(|kind| match kind {
            Kind::Default => Item::Default(rule.settings),
            Kind::Rule => Item::Rule(rule),
        }))
    }
}

impl<'a> Lines<'a> {
    /// Reads the next line that is not empty into `rule`; of a `default` only the settings. Returns what the line is, or
    /// its mistake; `None` at the end. Uses less of the stack than the iterator does.
    pub fn read_into(&mut self, rule: &mut Rule<'a>) -> Option<Result<Kind, Error>> {
        while !self.rest.is_empty() {
            let (line, column) = (self.line, self.column);
            let statement = self.take_statement();
            let mut words = Words { statement, next: 0 };
            let Some(first) = words.next() else { continue };
            *rule = Rule { line, ..Rule::EMPTY };
            let read = self.read(first, &mut words, rule);
            return Some(read.map_err(|(span, mistake)| Error {
                line,
                start: column + span.start,
                end: column + span.end,
                mistake,
            }));
        }
        None
    }

    /// Consumes a statement: the bytes up to the next newline or semicolon. Returns the statement without its comment.
    fn take_statement(&mut self) -> &'a [u8] {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b';' | b'#');
        let (statement, mut rest) = cut(self.rest, self.rest.iter().position(is_end));
        if rest.first() == Some(&b'#') {
            rest = cut(rest, rest.iter().position(|byte| *byte == b'\n')).1;
        }
        self.column += statement.len() + 1;
        if let Some((end, rest)) = rest.split_first() {
            if *end == b'\n' {
                self.line = self.line.saturating_add(1);
                self.column = 0;
            }
            self.rest = rest;
        } else {
            self.rest = rest;
        }
        statement
    }

    fn read(&mut self, first: Word<'a>, words: &mut Words<'a>, rule: &mut Rule<'a>) -> Result<Kind, (Span, Mistake)> {
        if first.text == b"default" {
            if self.has_default {
                return Err((first.span, Mistake::SecondDefault));
            }
            settings(words.next(), words, first.span, &mut rule.settings)?;
            self.has_default = true;
            return Ok(Kind::Default);
        }
        let mut last = first.span;
        let mut word = Some(first);
        if first.text == b"program" {
            let name = words.next().ok_or((first.span, Mistake::NoProgram))?;
            rule.program = Some(name.text);
            last = name.span;
            word = words.next();
            // A setting is in the place of the name. Report the missing name, not missing settings.
            if word.is_none() && has_byte(name.text, b'=') {
                return Err((first.span, Mistake::NoProgram));
            }
        }
        if let Some(direction) = word.and_then(|word| Direction::from_word(word.text)) {
            rule.direction = Some(direction);
            last = word.map_or(last, |word| word.span);
            word = words.next();
            if let Some(place) = word.filter(|word| !word.is_setting()) {
                (rule.network, rule.ports) = place.read_place()?;
                last = place.span;
                word = words.next();
            }
        } else if rule.program.is_none() {
            return Err((first.span, Mistake::UnknownKeyword));
        }
        settings(word, words, last, &mut rule.settings)?;
        Ok(Kind::Rule)
    }
}

/// Parses the settings that begin with `first` into `settings`, which must be empty. `before` is the position of the
/// word before them.
fn settings(
    first: Option<Word<'_>>,
    words: &mut Words<'_>,
    before: Span,
    settings: &mut Settings,
) -> Result<(), (Span, Mistake)> {
    let mut word = first.ok_or((before, Mistake::NoSettings))?;
    if word.text == b"off" {
        settings.keepalive = Some(Keepalive::Off);
        return words
            .next()
            .map_or(Ok(()), |more| Err((more.span, Mistake::OffAndMore)));
    }
    let mut preset = None;
    loop {
        word.read_setting(settings, &mut preset)?;
        let Some(next) = words.next() else { break };
        word = next;
    }
    if let Some(preset) = &preset {
        settings.complete(preset);
    }
    Ok(())
}

/// A range of bytes in a statement; `end` is exclusive.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    text: &'a [u8],
    span: Span,
}

struct Words<'a> {
    statement: &'a [u8],
    next: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<Word<'a>> {
        let rest = cut(self.statement, Some(self.next)).1;
        let start = self.next + rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let rest = cut(self.statement, Some(start)).1;
        let text = cut(rest, rest.iter().position(u8::is_ascii_whitespace)).0;
        let end = start + text.len();
        self.next = end;
        Some(Word {
            text,
            span: Span { start, end },
        })
    }
}

impl Word<'_> {
    fn is_setting(&self) -> bool {
        self.text == b"off" || has_byte(self.text, b'=')
    }

    /// Parses a network and ports, such as `10.0.0.0/8:5432`, `[2001:db8::/32]:443`, `*:80` or `:8000-8999`.
    fn read_place(&self) -> Result<(Network, Ports), (Span, Mistake)> {
        let fail = |mistake| (self.span, mistake);
        let (network, ports) = match self.text {
            [b'[', rest @ ..] => {
                let (inside, after) = cut(rest, rest.iter().position(|byte| *byte == b']'));
                let after = after.strip_prefix(b"]").ok_or(fail(Mistake::BadAddress))?;
                let ports = match after {
                    [] => None,
                    [b':', ports @ ..] => Some(ports),
                    _ => return Err(fail(Mistake::BadAddress)),
                };
                let network = read_network(inside).map_err(fail)?;
                (network, ports)
            }
            // An IPv6 address without brackets has more than one colon, and no port follows it.
            text if text.split(|byte| *byte == b':').nth(2).is_some() => (read_network(text).map_err(fail)?, None),
            text => {
                let (address, after) = cut(text, text.iter().position(|byte| *byte == b':'));
                let network = match address {
                    b"" | b"*" => Network::ANY,
                    address => read_network(address).map_err(fail)?,
                };
                (network, after.strip_prefix(b":"))
            }
        };
        let ports = match ports {
            None => Ports::ANY,
            Some(ports) => read_ports(ports).ok_or(fail(Mistake::BadPorts))?,
        };
        Ok((network, ports))
    }

    fn read_setting(&self, settings: &mut Settings, preset: &mut Option<Settings>) -> Result<(), (Span, Mistake)> {
        let fail = |mistake| (self.span, mistake);
        let (name, value) = cut(self.text, self.text.iter().position(|byte| *byte == b'='));
        let Some(value) = value.strip_prefix(b"=") else {
            return Err(fail(if name == b"off" {
                Mistake::OffAndMore
            } else {
                Mistake::NotASetting
            }));
        };
        match name {
            b"mode" => {
                let mode = Mode::from_name(value).ok_or(fail(Mistake::BadMode))?;
                once(settings.mode.replace(mode).is_none()).map_err(fail)
            }
            b"preset" => match preset::remedy(value) {
                None => Err(fail(Mistake::UnknownPreset)),
                Some(Remedy::Useless(())) => Err(fail(Mistake::UselessPreset)),
                Some(Remedy::Settings(found)) => once(preset.replace(found).is_none()).map_err(fail),
            },
            name => {
                let option = SocketOption::from_name(name).ok_or(fail(Mistake::UnknownSetting))?;
                once(match option {
                    SocketOption::Keepalive => settings.keepalive.is_none(),
                    option => settings.written(option) == Number::Unset,
                })
                .map_err(fail)?;
                // `off` must be the only setting of a rule; `keepalive=off` is refused.
                if option == SocketOption::Keepalive && is_word(value, b"off") {
                    return Err(fail(Mistake::BadValue(Invalid {
                        option,
                        problem: Problem::UnknownWord,
                    })));
                }
                settings
                    .set(option, value)
                    .map_err(|invalid| fail(Mistake::BadValue(invalid)))
            }
        }
    }
}

fn once(first: bool) -> Result<(), Mistake> {
    if first { Ok(()) } else { Err(Mistake::Twice) }
}

fn read_network(text: &[u8]) -> Result<Network, Mistake> {
    let (address, length) = cut(text, text.iter().position(|byte| *byte == b'/'));
    let address = crate::address::parse(address).ok_or(Mistake::BadAddress)?;
    let largest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length.strip_prefix(b"/") {
        None => largest,
        Some(length) => read_number(length)
            .filter(|length| *length <= largest)
            .ok_or(Mistake::BadLength)?,
    };
    let length = u8::try_from(length).map_err(|_| Mistake::BadLength)?;
    Network::new(address, length).ok_or(Mistake::StrayBits)
}

fn read_ports(text: &[u8]) -> Option<Ports> {
    let (first, last) = cut(text, text.iter().position(|byte| *byte == b'-'));
    let first = read_number(first)?;
    let last = match last.strip_prefix(b"-") {
        None => first,
        Some(last) => read_number(last)?,
    };
    (first <= last).then_some(Ports { first, last })
}

/// Parses a decimal number without a sign.
fn read_number(text: &[u8]) -> Option<u16> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(u16::from(digit))
    })
}

/// Whether `text` contains `byte`. `contains` of the core library would add its search by words to the preload library.
#[allow(clippy::manual_contains, reason = "see above")]
pub fn has_byte(text: &[u8], byte: u8) -> bool {
    text.iter().any(|other| *other == byte)
}

/// Splits `text` before `position`; without a position, at the end.
fn cut(text: &[u8], position: Option<usize>) -> (&[u8], &[u8]) {
    position
        .and_then(|position| text.split_at_checked(position))
        .unwrap_or((text, &[]))
}

impl Direction {
    fn from_word(word: &[u8]) -> Option<Self> {
        match word {
            b"connect" => Some(Self::Connect),
            b"accept" => Some(Self::Accept),
            _ => None,
        }
    }
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(settings) => write!(formatter, "default {settings}"),
            Self::Rule(rule) => write!(formatter, "{rule}"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
