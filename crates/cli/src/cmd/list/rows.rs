//! The table of `keepalive list`: the cells of a socket, and how the table fits into a terminal.

use super::Named;
use crate::table::{Cell, Column, Style, Table, has_colour};
use keepalive_engine::container::short_id;
use keepalive_engine::sockets::{Holder, Socket, TimerState};
use keepalive_engine::timeline::brief;
use keepalive_policy::SocketOption;
use keepalive_sys::sock_diag::{Timer, TimerKind};
use std::borrow::Cow;
use std::net::SocketAddr;

const COLUMNS: [Column; 12] = [
    Column::right("PID"),
    Column::left("/FD").joined(),
    Column::left("PROGRAM"),
    Column::left("STATE"),
    Column::left("LOCAL"),
    Column::left("PEER"),
    Column::left("KEEPALIVE"),
    Column::right("USER-TIMEOUT").or_short("TIMEOUT"),
    Column::right("NEXT-PROBE").or_short("NEXT"),
    Column::right("LOST-PROBES").or_short("LOST"),
    Column::right("DEAD-AFTER").or_short("DEAD"),
    Column::left("CONTAINER"),
];
const FD: usize = 1;
const PROGRAM: usize = 2;
const STATE: usize = 3;
const ADDRESSES: [usize; 2] = [4, 5];
const USER_TIMEOUT: usize = 7;
const NEXT: usize = 8;
const LOST: usize = 9;
const DEAD: usize = 10;
const CONTAINER: usize = 11;

/// The width of the longest IPv4 address with its port.
const IPV4: usize = "255.255.255.255:65535".len();

const UNKNOWN: &str = "?";
const NONE: &str = "-";

/// Returns the table of `sockets`, each with its process. If a terminal has `width` columns, the
/// table is made as narrow as required.
pub(super) fn table<'a>(
    sockets: impl Iterator<Item = (&'a Socket, Option<&'a Named>)>,
    width: Option<usize>,
) -> String {
    let rows = sockets.map(|(socket, named)| row(socket, named)).collect();
    let mut table = Table::new(COLUMNS, rows);
    hide_empty(&mut table);
    if let Some(width) = width {
        fit(&mut table, width);
    }
    table.render(has_colour())
}

/// Hides the column of containers if no process is in one.
fn hide_empty(table: &mut Table<12>) {
    if table.has_only(CONTAINER, &[NONE, UNKNOWN]) {
        table.hide(CONTAINER);
    }
}

/// Makes the table narrower, step by step, until it fits. The columns that identify the connection and show
/// its keepalive settings stay.
fn fit(table: &mut Table<12>, width: usize) {
    type Step = fn(&mut Table<12>, usize);
    let steps: [Step; 12] = [
        |table, _| {
            for column in [USER_TIMEOUT, LOST] {
                if table.has_only(column, &[NONE, UNKNOWN]) {
                    table.hide(column);
                }
            }
        },
        |table, _| table.shorten_headings(),
        |table, _| table.narrow_gaps(),
        // A row with a long IPv6 address may be wider than the terminal; the other rows need not be.
        |table, _| ADDRESSES.into_iter().for_each(|column| table.limit(column, IPV4)),
        |table, excess| table.shorten(PROGRAM, excess, 8),
        |table, _| table.hide(CONTAINER),
        |table, _| table.hide(FD),
        |table, _| table.hide(DEAD),
        |table, _| table.hide(NEXT),
        |table, _| table.hide(USER_TIMEOUT),
        |table, excess| table.shorten(PROGRAM, excess, 4),
        |table, excess| table.shorten(STATE, excess, 6),
    ];
    for step in steps {
        let excess = table.width().saturating_sub(width);
        if excess == 0 {
            break;
        }
        step(table, excess);
    }
    table.lengthen(PROGRAM, width.saturating_sub(table.width()));
}

fn row(socket: &Socket, named: Option<&Named>) -> [Cell; 12] {
    let or_none = |text: Option<String>| text.map_or_else(|| Cell::new(NONE), Cell::new);
    let holder = socket.holder;
    let keepalive = socket.keepalive();
    let user_timeout = socket.number(SocketOption::UserTimeout);
    let off = match keepalive {
        Some(false) => Style::Warning,
        Some(true) | None => Style::Plain,
    };
    [
        cell(holder.map(|holder| match holder {
            Holder { pid, tid, .. } if pid == tid => pid.to_string(),
            Holder { pid, tid, .. } => format!("{pid}:{tid}"),
        })),
        holder.map_or_else(|| Cell::new(""), |holder| Cell::new(format!("/{}", holder.fd))),
        cell(named.map(|named| named.program.clone())),
        Cell::new(socket.state.map_or(UNKNOWN, |state| state.short_name())),
        or_none(socket.local.map(address)),
        or_none(socket.peer.map(address)),
        cell(settings(socket)).with_style(off),
        match user_timeout {
            Some(0) => Cell::new(NONE),
            timeout => cell(timeout.map(|timeout| brief(timeout.into()))),
        },
        match socket.timer {
            TimerState::Running(timer) => Cell::new(next(timer)),
            TimerState::Stopped => Cell::new(NONE),
            TimerState::Unknown => Cell::new(UNKNOWN),
        },
        lost(socket),
        match (keepalive, socket.dead_after()) {
            (Some(false), _) => Cell::new("never"),
            (_, seconds) => cell(seconds.map(|seconds| brief(1000 * seconds))),
        },
        match named {
            Some(named) => or_none(named.container.as_deref().map(|id| short_id(id).to_owned())),
            None => Cell::new(UNKNOWN),
        },
    ]
}

/// Returns an address in the form of ss(8); for an IPv4 connection of an IPv6 socket, the IPv4 address.
fn address(address: SocketAddr) -> String {
    let mapped = match address {
        SocketAddr::V4(_) => None,
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped(),
    };
    mapped.map_or(address, |ip| (ip, address.port()).into()).to_string()
}

/// Returns a cell with `text`, if known.
fn cell(text: Option<impl Into<Cow<'static, str>>>) -> Cell {
    text.map_or_else(|| Cell::new(UNKNOWN), Cell::new)
}

fn settings(socket: &Socket) -> Option<Cow<'static, str>> {
    let is_on = socket.keepalive()?;
    if !is_on || socket.numbers.is_none() {
        return Some(if is_on { "on" } else { "off" }.into());
    }
    let [idle, interval, count] = [SocketOption::Idle, SocketOption::Interval, SocketOption::Count].map(|option| {
        let number = socket.number(option);
        number.map_or_else(|| String::from(UNKNOWN), |number| number.to_string())
    });
    Some(format!("{idle}/{interval}/{count}").into())
}

fn next(timer: Timer) -> String {
    match timer.kind {
        TimerKind::Keepalive => brief(timer.expires_ms),
        TimerKind::Retransmit => String::from("unacked"),
        TimerKind::ZeroWindow => String::from("zero-win"),
    }
}

/// Returns the number of unanswered keepalive probes, and their limit.
fn lost(socket: &Socket) -> Cell {
    // The kernel counts window probes in the same field.
    let is_probing = match socket.timer {
        TimerState::Running(timer) => timer.kind == TimerKind::Keepalive,
        TimerState::Unknown => true,
        TimerState::Stopped => false,
    };
    match socket.unanswered {
        Some(lost @ 1..) if is_probing => {
            let of = socket.times().map(|times| format!("/{}", times.lost_probes()));
            Cell::new(format!("{lost}{}", of.unwrap_or_default())).with_style(Style::Alarm)
        }
        _ => Cell::new(NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, address, fit, hide_empty};
    use crate::output::display_width;
    use crate::table::{Cell, Table};

    const HEADINGS: &str = "PID/FD PROGRAM STATE LOCAL PEER KEEPALIVE USER-TIMEOUT NEXT-PROBE LOST-PROBES DEAD-AFTER";

    fn fitted(rows: &[[&'static str; 12]], width: usize) -> String {
        let mut table = Table::new(COLUMNS, rows.iter().map(|row| row.map(Cell::new)).collect());
        hide_empty(&mut table);
        fit(&mut table, width);
        table.render(false)
    }

    fn with_single_spaces(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Checks that each line fits into 80 columns; returns the lines with single spaces.
    #[track_caller]
    fn fitted_to_80(rows: &[[&'static str; 12]]) -> Vec<String> {
        let text = fitted(rows, 80);
        assert!(text.lines().all(|line| display_width(line) <= 80), "{text}");
        assert_eq!(text.lines().count(), rows.len() + 1, "{text}");
        text.lines().map(with_single_spaces).collect()
    }

    const LISTENER: [&str; 12] = [
        "812",
        "/7",
        "postgres",
        "LISTEN",
        "10.0.3.17:5432",
        "-",
        "off",
        "-",
        "-",
        "-",
        "never",
        "-",
    ];
    const TYPICAL: [&str; 12] = [
        "18779",
        "/12",
        "postgres",
        "ESTAB",
        "10.0.3.17:5432",
        "10.0.12.34:45678",
        "60/15/5",
        "-",
        "42s",
        "-",
        "2m15s",
        "-",
    ];
    const LONGEST: [&str; 12] = [
        "1234567",
        "/123",
        "prometheus-node",
        "ESTAB",
        "192.168.123.234:45678",
        "192.168.210.111:15432",
        "7200/75/9",
        "-",
        "1h59m",
        "-",
        "2h11m",
        "-",
    ];

    #[test]
    fn only_ipv4_mapped_addresses_are_printed_as_ipv4() {
        for (given, shown) in [
            ("[::ffff:10.0.3.17]:5432", "10.0.3.17:5432"),
            ("10.0.3.17:5432", "10.0.3.17:5432"),
            ("[fe80::1%2]:80", "[fe80::1%2]:80"),
            ("[::]:22", "[::]:22"),
        ] {
            assert_eq!(address(given.parse().expect("an address")), shown);
        }
    }

    #[test]
    fn a_typical_table_has_all_that_has_values() {
        assert_eq!(
            fitted_to_80(&[LISTENER, TYPICAL]),
            [
                "PID/FD PROGRAM STATE LOCAL PEER KEEPALIVE NEXT DEAD",
                "812/7 postgres LISTEN 10.0.3.17:5432 - off - never",
                "18779/12 postgres ESTAB 10.0.3.17:5432 10.0.12.34:45678 60/15/5 42s 2m15s",
            ]
        );
        let wide = fitted(&[LISTENER, TYPICAL], 200);
        assert_eq!(wide.lines().next().map(with_single_spaces).as_deref(), Some(HEADINGS));
    }

    #[test]
    fn containers_have_a_column_where_it_fits() {
        let mut contained = TYPICAL;
        contained[11] = "0123456789ab";
        let wide = fitted(&[LISTENER, contained], 200);
        let lines: Vec<String> = wide.lines().map(with_single_spaces).collect();
        assert_eq!(lines[0], format!("{HEADINGS} CONTAINER"));
        assert!(
            lines[1].ends_with(" never -") && lines[2].ends_with(" 2m15s 0123456789ab"),
            "{wide}"
        );
        assert!(!fitted_to_80(&[LISTENER, contained])[0].contains("CONTAINER"));
    }

    #[test]
    fn the_longest_ipv4_connection_fits() {
        assert_eq!(
            fitted_to_80(&[LONGEST])[1],
            "1234567 prometheus-… ESTAB 192.168.123.234:45678 192.168.210.111:15432 7200/75/9"
        );
        assert_eq!(
            fitted_to_80(&[LISTENER, LONGEST])[1],
            "812 postgres LISTEN 10.0.3.17:5432 - off"
        );
    }

    #[test]
    fn unanswered_probes_are_shown_where_the_longest_connection_is() {
        let mut lost = LONGEST;
        (lost[6], lost[8], lost[9]) = ("60/15/5", "14s", "3/5");
        let mut closing = LONGEST;
        (closing[2], closing[3]) = ("sh", "CLOSE-WAIT");
        let lines = fitted_to_80(&[lost, closing]);
        assert!(
            lines[0].ends_with(" KEEPALIVE LOST") && lines[1].ends_with(" 60/15/5 3/5"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_long_ipv6_address_widens_its_own_row_alone() {
        let mut ipv6 = TYPICAL;
        (ipv6[4], ipv6[5]) = ("[2001:db8:1234:5678:9abc:def0:1234:5678]:45678", "[2001:db8::1]:5432");
        let text = fitted(&[TYPICAL, ipv6, LISTENER], 80);
        let widths: Vec<usize> = text.lines().map(display_width).collect();
        assert!(widths[0] <= 80 && widths[1] <= 80 && widths[3] <= 80, "{text}");
        assert!(text.contains(ipv6[4]) && text.contains(ipv6[5]), "{text}");
    }
}
