//! Timeouts by which well-known services end a connection that does not log in.

use keepalive_engine::timeline::spell;

/// A service, and its timeout for a connection on which the client sends nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// The ports that the service has by default.
    ports: &'static [u16],
    /// The service.
    service: &'static str,
    /// What the client has not sent.
    without: &'static str,
    /// The setting that contains the timeout.
    setting: &'static str,
    /// The default in seconds.
    timeout: u32,
}

/// A port is all that is known of a service before the measurement, so that this is a list. It chooses words only: whether
/// there is such a timeout is measured.
///
/// Sources: the documentation of each service, for its setting.
const LOGINS: [Login; 8] = [
    Login::new(&[22], "OpenSSH", "a login", "LoginGraceTime", 120),
    Login::new(&[25, 465, 587], "Postfix", "a command", "smtpd_timeout", 300),
    Login::new(
        &[80, 443, 8080, 8443],
        "nginx",
        "a request",
        "client_header_timeout",
        60,
    ),
    Login::new(&[110, 143, 993, 995], "Dovecot", "a login", "not settable", 180),
    Login::new(&[1521], "Oracle", "a login", "SQLNET.INBOUND_CONNECT_TIMEOUT", 60),
    Login::new(&[3306], "MySQL", "a login", "connect_timeout", 10),
    Login::new(&[5432], "PostgreSQL", "a login", "authentication_timeout", 60),
    Login::new(&[5672], "RabbitMQ", "a login", "handshake_timeout", 10),
];

impl Login {
    const fn new(
        ports: &'static [u16],
        service: &'static str,
        without: &'static str,
        setting: &'static str,
        timeout: u32,
    ) -> Self {
        Self {
            ports,
            service,
            without,
            setting,
            timeout,
        }
    }

    /// Returns the service that usually has this port.
    pub(super) fn at(port: u16) -> Option<&'static Self> {
        LOGINS.iter().find(|login| login.ports.contains(&port))
    }

    /// Returns what the service does by default, in a sentence.
    pub(super) fn describe(&self, port: u16) -> String {
        let Self {
            service,
            without,
            setting,
            ..
        } = self;
        let timeout = spell(1000 * u64::from(self.timeout));
        format!(
            "Port {port} is usually {service}, which by default ends a connection without {without} after {timeout} \
             ({setting})."
        )
    }

    /// Returns what a measurement must expect.
    pub(super) fn expected(&self, port: u16) -> String {
        format!(
            "keepalive: {} To measure on one that is in use: keepalive probe --pid PID",
            self.describe(port)
        )
    }
}
