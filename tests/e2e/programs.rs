//! Real programs, unmodified, under each engine: their connections have the policy's values, and where a program sets its
//! own, what the mode makes of both. Each runs a last time without any, which proves what it sets itself.

mod clients;
mod peer;
mod sandbox;
mod servers;
mod stage;
mod start;

use crate::support::engine::Engine;
use crate::support::{find_program, process::within};
use keepalive_policy::{Mode, SocketOption};
use stage::{Stage, is_root};
use start::{LIMIT, Session, Start};
use std::collections::HashSet;
use std::fs;

/// The policy of these tests: values that no program uses itself.
const IDLE: u64 = 61;
const INTERVAL: u64 = 13;
const COUNT: u32 = 4;

/// (keepalive, idle, interval, count), as `Seen::timing` gives it.
type Timing = (bool, u64, u64, u32);

/// What a program sets on its sockets itself; the rest it leaves alone.
#[derive(Clone, Copy, Debug)]
struct Own {
    keepalive: Option<bool>,
    idle: Option<u64>,
    interval: Option<u64>,
    count: Option<u32>,
}

const NOTHING: Own = Own {
    keepalive: None,
    idle: None,
    interval: None,
    count: None,
};
const ON: Own = Own {
    keepalive: Some(true),
    ..NOTHING
};

impl Own {
    const fn idle(self, seconds: u64) -> Self {
        Self {
            idle: Some(seconds),
            ..self
        }
    }

    const fn interval(self, seconds: u64) -> Self {
        Self {
            interval: Some(seconds),
            ..self
        }
    }

    const fn count(self, count: u32) -> Self {
        Self {
            count: Some(count),
            ..self
        }
    }

    /// What the socket has when everything else is `rest`.
    fn over(self, rest: Timing) -> Timing {
        (
            self.keepalive.unwrap_or(rest.0),
            self.idle.unwrap_or(rest.1),
            self.interval.unwrap_or(rest.2),
            self.count.unwrap_or(rest.3),
        )
    }

    /// What the socket has when the policy and these meet under `mode`.
    fn under(self, mode: Mode) -> Timing {
        let settle = |option, ours: u64, theirs: u64| -> u64 {
            let [ours, theirs] = [ours, theirs].map(|number| number.try_into().expect("a number for the kernel"));
            mode.resolve(option, ours, theirs).into()
        };
        let (on, idle, interval, count) = self.over(OURS);
        (
            settle(SocketOption::Keepalive, OURS.0.into(), on.into()) != 0,
            settle(SocketOption::Idle, OURS.1, idle),
            settle(SocketOption::Interval, OURS.2, interval),
            settle(SocketOption::Count, OURS.3.into(), count.into())
                .try_into()
                .expect("at most 127"),
        )
    }
}

struct Program {
    name: &'static str,
    own: Own,
    expected: Timing,
    start: Start,
}

const LIBRARY: Engine = Engine::Library;
const SUPERVISOR: Engine = Engine::Supervisor;
const KERNEL: Engine = Engine::Kernel;

/// Writes the table, and for each of its rows one test with each engine in each mode, and one without any.
macro_rules! programs {
    ($($name:ident: $own:expr => $expected:expr, $start:expr;)*) => {
        const PROGRAMS: &[Program] = &[
            $(Program { name: stringify!($name), own: $own, expected: $expected, start: $start },)*
        ];

        mod preload {
            use super::LIBRARY;
            use keepalive_policy::Mode::Fill;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((LIBRARY, Fill))); })*
        }

        mod under_cap {
            use super::LIBRARY;
            use keepalive_policy::Mode::Cap;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((LIBRARY, Cap))); })*
        }

        mod under_floor {
            use super::LIBRARY;
            use keepalive_policy::Mode::Floor;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((LIBRARY, Floor))); })*
        }

        mod under_enforce {
            use super::LIBRARY;
            use keepalive_policy::Mode::Enforce;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((LIBRARY, Enforce))); })*
        }

        mod with_the_supervisor {
            use super::SUPERVISOR;
            use keepalive_policy::Mode::Fill;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((SUPERVISOR, Fill))); })*
        }

        mod with_the_supervisor_under_cap {
            use super::SUPERVISOR;
            use keepalive_policy::Mode::Cap;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((SUPERVISOR, Cap))); })*
        }

        mod with_the_supervisor_under_floor {
            use super::SUPERVISOR;
            use keepalive_policy::Mode::Floor;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((SUPERVISOR, Floor))); })*
        }

        mod with_the_supervisor_under_enforce {
            use super::SUPERVISOR;
            use keepalive_policy::Mode::Enforce;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((SUPERVISOR, Enforce))); })*
        }

        mod cgroup {
            use super::KERNEL;
            use keepalive_policy::Mode::Fill;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((KERNEL, Fill))); })*
        }

        mod cgroup_cap {
            use super::KERNEL;
            use keepalive_policy::Mode::Cap;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((KERNEL, Cap))); })*
        }

        mod cgroup_floor {
            use super::KERNEL;
            use keepalive_policy::Mode::Floor;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((KERNEL, Floor))); })*
        }

        mod cgroup_enforce {
            use super::KERNEL;
            use keepalive_policy::Mode::Enforce;
            $(#[test] fn $name() { super::expect(stringify!($name), Some((KERNEL, Enforce))); })*
        }

        mod on_its_own {
            $(#[test] fn $name() { super::expect(stringify!($name), None); })*
        }
    };
}

const OURS: Timing = (true, IDLE, INTERVAL, COUNT);

programs! {
    // name                what it sets itself                    what its sockets have        how it is started
    curl:                  ON.idle(60).interval(60)            => (true, 60, 60, COUNT),       clients::CURL;
    curl_keepalive_time:   ON.idle(33).interval(33)            => (true, 33, 33, COUNT),       clients::CURL_TIME;
    wget:                  NOTHING                             => OURS,                        clients::WGET;
    git:                   ON                                  => OURS,                        clients::GIT;
    git_http:              ON.idle(60).interval(60)            => (true, 60, 60, COUNT),       clients::GIT_HTTP;
    ssh:                   ON                                  => OURS,                        clients::SSH;
    sftp:                  ON                                  => OURS,                        clients::SFTP;
    psql:                  ON                                  => OURS,                        clients::PSQL;
    psql_keepalives_idle:  ON.idle(77)                         => (true, 77, INTERVAL, COUNT), clients::PSQL_IDLE;
    mariadb:               ON                                  => OURS,                        clients::MARIADB;
    redis_cli:             ON.idle(15).interval(5).count(3)    => (true, 15, 5, 3),            clients::REDIS_CLI;
    ldapsearch:            ON                                  => OURS,                        clients::LDAPSEARCH;
    lftp:                  ON                                  => OURS,                        clients::LFTP;
    irssi:                 ON                                  => OURS,                        clients::IRSSI;
    nc:                    NOTHING                             => OURS,                        clients::NC;
    socat:                 NOTHING                             => OURS,                        clients::SOCAT;
    socat_keepcnt:         ON.count(7)                         => (true, IDLE, INTERVAL, 7),   clients::SOCAT_KEEPCNT;
    telnet:                NOTHING                             => OURS,                        clients::TELNET;
    rsync:                 NOTHING                             => OURS,                        clients::RSYNC;
    openssl_s_client:      NOTHING                             => OURS,                        clients::OPENSSL;
    mosquitto_sub:         NOTHING                             => OURS,                        clients::MOSQUITTO_SUB;
    dig:                   NOTHING                             => OURS,                        clients::DIG;
    links:                 NOTHING                             => OURS,                        clients::LINKS;
    lynx:                  NOTHING                             => OURS,                        clients::LYNX;
    w3m:                   NOTHING                             => OURS,                        clients::W3M;
    aria2c:                NOTHING                             => OURS,                        clients::ARIA2C;
    apt:                   NOTHING                             => OURS,                        clients::APT;
    bash:                  NOTHING                             => OURS,                        clients::BASH;
    gawk:                  NOTHING                             => OURS,                        clients::GAWK;
    tclsh:                 NOTHING                             => OURS,                        clients::TCLSH;
    python_socket:         NOTHING                             => OURS,                        clients::PYTHON_SOCKET;
    python_urllib:         NOTHING                             => OURS,                        clients::PYTHON_URLLIB;
    python_asyncio:        NOTHING                             => OURS,                        clients::PYTHON_ASYNCIO;
    perl:                  NOTHING                             => OURS,                        clients::PERL;
    ruby:                  NOTHING                             => OURS,                        clients::RUBY;
    ruby_net_http:         NOTHING                             => OURS,                        clients::RUBY_NET_HTTP;
    php:                   NOTHING                             => OURS,                        clients::PHP;
    lua:                   NOTHING                             => OURS,                        clients::LUA;
    node_net:              NOTHING                             => OURS,                        clients::NODE_NET;
    node_http:             ON.idle(1).interval(1).count(10)    => (true, 1, 1, 10),            clients::NODE_HTTP;
    node_fetch:            ON.idle(60).interval(1).count(10)   => (true, 60, 1, 10),           clients::NODE_FETCH;
    java_socket:           NOTHING                             => OURS,                        clients::JAVA_SOCKET;
    java_nio:              NOTHING                             => OURS,                        clients::JAVA_NIO;
    java_http:             NOTHING                             => OURS,                        clients::JAVA_HTTP;
    java_options:          ON.idle(45).interval(7).count(9)    => (true, 45, 7, 9),            clients::JAVA_OPTIONS;

    nginx:                 NOTHING                             => OURS,                        servers::NGINX;
    nginx_so_keepalive:    ON.idle(77).count(5)                => (true, 77, INTERVAL, 5),     servers::NGINX_TIMED;
    apache_prefork:        ON                                  => OURS,                        servers::APACHE;
    lighttpd:              NOTHING                             => OURS,                        servers::LIGHTTPD;
    haproxy:               NOTHING                             => OURS,                        servers::HAPROXY;
    haproxy_tcpka:         ON                                  => OURS,                        servers::HAPROXY_TCPKA;
    tinyproxy:             NOTHING                             => OURS,                        servers::TINYPROXY;
    stunnel:               NOTHING                             => OURS,                        servers::STUNNEL;
    socat_fork:            NOTHING                             => OURS,                        servers::SOCAT;
    redis_server:          ON.idle(300).interval(100).count(3) => (true, 300, 100, 3),         servers::REDIS;
    memcached:             ON                                  => OURS,                        servers::MEMCACHED;
    postgres:              ON                                  => OURS,                        servers::POSTGRES;
    mariadbd:              ON                                  => OURS,                        servers::MARIADBD;
    mosquitto:             NOTHING                             => OURS,                        servers::MOSQUITTO;
    slapd:                 ON                                  => OURS,                        servers::SLAPD;
    dnsmasq:               NOTHING                             => OURS,                        servers::DNSMASQ;
    sshd:                  ON                                  => OURS,                        servers::SSHD;
    rsync_daemon:          ON                                  => OURS,                        servers::RSYNC;
    vsftpd:                ON                                  => OURS,                        servers::VSFTPD;
    git_daemon:            ON                                  => OURS,                        servers::GIT_DAEMON;
    inetd:                 NOTHING                             => OURS,                        servers::INETD;
    systemd_accept:        NOTHING                             => OURS,                        servers::SYSTEMD_ACCEPT;
    systemd_listener:      NOTHING                             => OURS,                        servers::SYSTEMD_LISTEN;
    nc_listen:             NOTHING                             => OURS,                        servers::NC;
    openssl_s_server:      NOTHING                             => OURS,                        servers::OPENSSL;
    python_http_server:    NOTHING                             => OURS,                        servers::PYTHON_HTTP;
    python_asyncio_server: NOTHING                             => OURS,                        servers::PYTHON_ASYNCIO;
    perl_server:           NOTHING                             => OURS,                        servers::PERL;
    ruby_server:           NOTHING                             => OURS,                        servers::RUBY;
    php_server:            NOTHING                             => OURS,                        servers::PHP;
    tclsh_server:          NOTHING                             => OURS,                        servers::TCLSH;
    node_net_server:       NOTHING                             => OURS,                        servers::NODE_NET;
    node_cluster:          NOTHING                             => OURS,                        servers::NODE_CLUSTER;
    node_http_server:      NOTHING                             => OURS,                        servers::NODE_HTTP;
    java_server_socket:    NOTHING                             => OURS,                        servers::JAVA_SOCKET;
    java_nio_server:       NOTHING                             => OURS,                        servers::JAVA_NIO;
}

#[test]
fn the_table_is_what_fill_mode_promises() {
    let names: HashSet<_> = PROGRAMS.iter().map(|program| program.name).collect();
    assert_eq!(names.len(), PROGRAMS.len(), "a name stands twice");
    for program in PROGRAMS {
        assert_eq!(
            program.own.over(OURS),
            program.expected,
            "{}: its own values, else the policy's",
            program.name
        );
        assert_eq!(program.own.under(Mode::Fill), program.expected, "{}", program.name);
        assert_eq!(program.own.under(Mode::Enforce), OURS, "{}", program.name);
    }
}

/// Starts the program, and waits until all its sockets of the connection have what the table says.
fn expect(name: &str, by: Option<(Engine, Mode)>) {
    let (engine, mode) = by.unzip();
    let program = PROGRAMS
        .iter()
        .find(|program| program.name == name)
        .expect("the test was made from the table");
    let start = &program.start;
    for needed in start.needs() {
        if find_program(needed).is_none() {
            skip!("{needed} is not installed");
        }
    }
    if start.root && !is_root() {
        skip!("{name} needs root");
    }
    if let Some(why) = engine.and_then(Engine::missing) {
        skip!("{why}");
    }
    let mut stage = Stage::new(engine, start.root);
    let own = if start.is_older(&stage) { NOTHING } else { program.own };
    let expected = mode.map_or_else(|| own.over(kernel_defaults()), |mode| own.under(mode));
    if let Some(mode) = mode.filter(|mode| *mode != Mode::Fill) {
        stage = stage.with("KEEPALIVE_MODE", mode.name());
    }

    let mut session = Session::start(start, &stage);
    let mut sockets = Vec::new();
    let settled = within(LIMIT, || {
        sockets = session.sockets();
        let as_expected = !sockets.is_empty() && sockets.iter().all(|seen| seen.timing() == expected);
        if as_expected {
            Some(true)
        } else {
            session.is_over().then_some(false)
        }
    });
    assert_eq!(
        settled,
        Some(true),
        "{name}: expected {expected:?}; saw {sockets:#?}; {}it wrote:\n{}",
        if settled.is_some() { "it ended; " } else { "" },
        stage.output()
    );
}

/// What a socket has when nobody sets anything.
fn kernel_defaults() -> Timing {
    let read = |name| -> u64 {
        let path = format!("/proc/sys/net/ipv4/tcp_keepalive_{name}");
        fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or_else(|| panic!("{path}"))
    };
    (
        false,
        read("time"),
        read("intvl"),
        read("probes").try_into().expect("at most 127"),
    )
}
