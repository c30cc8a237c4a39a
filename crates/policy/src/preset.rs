//! Defines the presets: named middleboxes, their idle timeouts, and the settings that keep a connection alive. Only the
//! command contains the descriptions and sources. [`remedy`], which the preload library calls, uses only names and
//! numbers.

use crate::settings::{Settings, is_word};

/// A middlebox, or a class of middleboxes, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name in `--preset` and `preset=`: small letters, digits and dashes.
    pub name: &'static str,
    /// The description in a few words.
    pub what: &'static str,
    /// The default idle timeout in seconds: then the middlebox forgets the connection. `None` if the preset is not for
    /// a particular middlebox.
    pub timeout: Option<u32>,
    /// What happens to the connection after the timeout.
    pub when_idle: WhenIdle,
    /// The remedy: settings, or the reason why keepalive does not help.
    pub remedy: Remedy<Timings, &'static str>,
    /// The source of the timeout: an address, or a citation.
    pub source: &'static str,
    /// The date of the source as `yyyy-mm` or `yyyy-mm-dd`. If the source has no date, the day on which we read it.
    pub date: &'static str,
}

/// What happens to a connection after the idle timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenIdle {
    /// The middlebox answers the next packet with a reset.
    Reset,
    /// The middlebox drops packets without a notification.
    Silence,
    /// Reset or silence, depending on the model, the place or the configuration.
    Either,
    /// The middlebox closes the connection on both sides.
    Close,
    /// The vendor does not document the behaviour.
    Unknown,
}

/// The timings that keep a connection alive through every common layer-4 middlebox.
pub const DEFAULT: Timings = Timings {
    idle: 60,
    interval: 15,
    count: 5,
};

/// The remedy against an idle timeout. In the table a remedy contains the timings or the reason; [`remedy`] returns one
/// with the settings and without the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy<Help = Settings, Why = ()> {
    /// Keepalive with these timings or settings.
    Settings(Help),
    /// Keepalive does not help. The reason is one sentence.
    Useless(Why),
}

/// The timings of the probes. Two probes may be lost before the middlebox forgets the connection: idle + 2 × interval
/// is less than the timeout. As a margin, idle is at most a third of the timeout; for mobile carriers at most half,
/// because each probe wakes a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Seconds before the first probe.
    pub idle: u16,
    /// Seconds between probes.
    pub interval: u8,
    /// Unanswered probes that end the connection.
    pub count: u8,
}

impl Timings {
    /// Returns settings with these timings. All other settings are unset.
    pub const fn settings(self) -> Settings {
        Settings::timings(self.idle as u32, self.interval as u32, self.count as u32)
    }
}

impl WhenIdle {
    /// Returns a description in a few words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Reset => "RST on next packet",
            Self::Silence => "silence",
            Self::Either => "silence or RST",
            Self::Close => "closed on both sides",
            Self::Unknown => "not documented",
        }
    }
}

/// All presets, in the order in which `keepalive presets` lists them. Only code that reads this table at run time
/// contains the texts: the command does, the library does not.
pub const PRESETS: [Preset; 25] = [
    Preset {
        name: "aws-nat",
        what: "AWS NAT gateway, VPC interface endpoint (not settable)",
        timeout: Some(350),
        when_idle: WhenIdle::Reset,
        remedy: timings(110, 30, 5),
        source: "https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html",
        date: "2026-11-22",
    },
    Preset {
        name: "aws-nlb",
        what: "AWS Network Load Balancer (60 to 6000 s settable; not for TLS listeners)",
        timeout: Some(350),
        when_idle: WhenIdle::Reset,
        remedy: timings(110, 30, 5),
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.md",
        date: "2026-11-22",
    },
    Preset {
        name: "aws-gwlb",
        what: "AWS Gateway Load Balancer (60 to 6000 s and RST settable)",
        timeout: Some(350),
        when_idle: WhenIdle::Silence,
        remedy: timings(110, 30, 5),
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/gateway/gateway-listeners.md",
        date: "2026-11-22",
    },
    Preset {
        name: "aws-ec2",
        what: "security groups of EC2 instances on Nitro v6, 2025 (before: 5 days; settable)",
        timeout: Some(350),
        when_idle: WhenIdle::Silence,
        remedy: timings(110, 30, 5),
        source: "https://aws.amazon.com/blogs/networking-and-content-delivery/\
                 best-practices-for-tcp-connection-management-on-ec2/",
        date: "2026-11-22",
    },
    Preset {
        name: "aws-nfw",
        what: "AWS Network Firewall (60 to 6000 s settable)",
        timeout: Some(350),
        when_idle: WhenIdle::Silence,
        remedy: timings(110, 30, 5),
        source: "https://docs.aws.amazon.com/network-firewall/latest/APIReference/API_FlowTimeouts.html",
        date: "2026-11-22",
    },
    Preset {
        name: "aws-elb",
        what: "AWS Classic Load Balancer",
        timeout: Some(60),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "it ends the connection and opens another to the instance, and a probe, which carries no data, does not \
             count: raise its idle timeout",
        ),
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/config-idle-timeout.md",
        date: "2026-11-22",
    },
    Preset {
        name: "aws-alb",
        what: "AWS Application Load Balancer",
        timeout: Some(60),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "it ends the connection and opens another to the target, and a probe, which carries no data, does not \
             count: raise its idle timeout",
        ),
        source: "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/\
                 edit-load-balancer-attributes.html",
        date: "2026-11-22",
    },
    Preset {
        name: "aws-ga",
        what: "AWS Global Accelerator (not settable)",
        timeout: Some(340),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "a probe, which carries no data, does not keep the connection open, as its guide says: let the program send \
             data, at least a byte in 340 s",
        ),
        source: "https://docs.aws.amazon.com/global-accelerator/latest/dg/introduction-how-it-works.html",
        date: "2026-11-29",
    },
    Preset {
        name: "azure",
        what: "Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)",
        timeout: Some(240),
        when_idle: WhenIdle::Either,
        remedy: timings(80, 20, 5),
        source: "https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-idle-timeout",
        date: "2025-02-12",
    },
    Preset {
        name: "azure-fw",
        what: "Azure Firewall (4 min to and from the Internet, to 15 min on request; 5 min inside)",
        timeout: Some(240),
        when_idle: WhenIdle::Either,
        remedy: timings(80, 20, 5),
        source: "https://learn.microsoft.com/en-us/azure/firewall/tcp-session-behavior",
        date: "2026-03-28",
    },
    Preset {
        name: "gcp",
        what: "Google Cloud VPC firewall (Cloud NAT: 1200 s); the vendor's own settings",
        timeout: Some(600),
        when_idle: WhenIdle::Silence,
        remedy: timings(60, 60, 5),
        source: "https://cloud.google.com/compute/docs/troubleshooting/general-tips",
        date: "2025-08-19",
    },
    Preset {
        name: "oci-nlb",
        what: "Oracle Cloud Network Load Balancer (settable)",
        timeout: Some(360),
        when_idle: WhenIdle::Unknown,
        remedy: timings(120, 30, 5),
        source: "https://docs.oracle.com/en-us/iaas/Content/NetworkLoadBalancer/NetworkLoadBalancers/\
                 configure-idle-timeout.htm",
        date: "2026-11-22",
    },
    Preset {
        name: "ipvs",
        what: "Kubernetes kube-proxy in IPVS mode (settable: --ipvs-tcp-timeout)",
        timeout: Some(900),
        when_idle: WhenIdle::Either,
        remedy: timings(180, 30, 3),
        source: "https://github.com/kubernetes/kubernetes/issues/84041",
        date: "2019-10-17",
    },
    Preset {
        name: "swarm",
        what: "virtual address of a Docker Swarm service",
        timeout: Some(900),
        when_idle: WhenIdle::Either,
        remedy: timings(180, 30, 3),
        source: "https://github.com/moby/moby/issues/31208",
        date: "2017-02-21",
    },
    Preset {
        name: "fw-30m",
        what: "Juniper SRX (settable for each application)",
        timeout: Some(1800),
        when_idle: WhenIdle::Silence,
        remedy: timings(300, 60, 6),
        source: "https://www.juniper.net/documentation/us/en/software/junos/flow-packet-processing/topics/topic-map/\
                 security-flow-based-session-for-srx-series-devices.html",
        date: "2026-11-29",
    },
    Preset {
        name: "fw-1h",
        what: "Cisco ASA, FortiGate, Palo Alto (settable)",
        timeout: Some(3600),
        when_idle: WhenIdle::Silence,
        remedy: timings(600, 60, 6),
        source: "Cisco document 222075; Fortinet article 194357; PAN-OS, Configure Session Timeouts",
        date: "2026-11-22",
    },
    Preset {
        name: "istio",
        what: "Istio sidecar",
        timeout: Some(3600),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "it ends the connection and opens another, its kernel answers the probes, and they do not count as \
             traffic: raise ISTIO_META_IDLE_TIMEOUT",
        ),
        source: "https://github.com/istio/istio/issues/43233",
        date: "2023-02-09",
    },
    Preset {
        name: "envoy",
        what: "Envoy as a TCP proxy, and products built on it that set no other timeout",
        timeout: Some(3600),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "it ends the connection and opens another, its kernel answers the probes, and they do not count as \
             traffic: raise the idle_timeout of its tcp_proxy",
        ),
        source: "https://github.com/envoyproxy/envoy/issues/28196",
        date: "2023-07-03",
    },
    Preset {
        name: "haproxy",
        what: "HAProxy (50 s is Debian's and Octavia's setting; without one there is no timeout)",
        timeout: Some(50),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "it ends the connection and opens another, its kernel answers the probes, and they do not count as \
             traffic: raise 'timeout client' and 'timeout server', or set 'timeout tunnel'",
        ),
        source: "https://docs.haproxy.org/2.6/configuration.html; haproxy.cfg of Debian's haproxy 2.6.12",
        date: "2026-11-29",
    },
    Preset {
        name: "octavia",
        what: "OpenStack Octavia with amphorae (settable)",
        timeout: Some(50),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "its HAProxy ends the connection and opens another to the member, and a probe, which carries no data, does \
             not count: raise timeout_client_data and timeout_member_data of the listener",
        ),
        source: "https://docs.openstack.org/octavia/latest/configuration/configref.html",
        date: "2026-11-29",
    },
    Preset {
        name: "nginx",
        what: "nginx as a TCP proxy (module stream)",
        timeout: Some(600),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "it ends the connection and opens another, its kernel answers the probes, and they do not count as \
             traffic: raise proxy_timeout",
        ),
        source: "https://nginx.org/en/docs/stream/ngx_stream_proxy_module.html",
        date: "2026-11-29",
    },
    Preset {
        name: "docker-desktop",
        what: "Docker Desktop on macOS and Windows (vpnkit)",
        timeout: Some(300),
        when_idle: WhenIdle::Close,
        remedy: Remedy::Useless(
            "it ends the container's connection and opens another on the host, and closes both even while probes \
             arrive: raise vpnKitMaxPortIdleTime in its settings file",
        ),
        source: "https://github.com/docker/for-mac/issues/5886; github.com/moby/vpnkit/issues/414",
        date: "2021-07-28",
    },
    Preset {
        name: "home",
        what: "home routers (the shortest of 34 measured; their mean is over six hours)",
        timeout: Some(240),
        when_idle: WhenIdle::Either,
        remedy: timings(80, 20, 5),
        source: "Hätönen et al., An experimental study of home gateway characteristics, IMC 2010",
        date: "2010-11",
    },
    Preset {
        name: "mobile",
        what: "mobile carriers (4 of 73 wait for 5 min or less, 11 for less than 10); probes cost battery",
        timeout: Some(300),
        when_idle: WhenIdle::Either,
        remedy: timings(150, 30, 4),
        source: "Wang et al., An untold story of middleboxes in cellular networks, SIGCOMM 2011",
        date: "2011-08",
    },
    Preset {
        name: "default",
        what: "unknown path: short enough for every middlebox here",
        timeout: None,
        when_idle: WhenIdle::Either,
        remedy: Remedy::Settings(DEFAULT),
        source: "the sources of the other presets",
        date: "2026-11-22",
    },
];

/// Returns the preset with this name, with all its texts. Ignores case.
pub fn find(name: &[u8]) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| is_word(name, preset.name.as_bytes()))
}

/// Returns the remedy of the preset with this name; `None` if no preset has the name. Ignores case.
pub fn remedy(name: &[u8]) -> Option<Remedy> {
    let mut rows = NAMES.split(|byte| *byte == b' ').zip(&ROWS);
    let (_, row) = rows.find(|(own, _)| is_word(name, own))?;
    Some(match row {
        Remedy::Settings(timings) => Remedy::Settings(timings.settings()),
        Remedy::Useless(()) => Remedy::Useless(()),
    })
}

/// The names in [`PRESETS`], separated by spaces. [`remedy`] uses this table and [`ROWS`], which contain no pointers,
/// because a pointer would need a relocation in the preload library.
static NAMES: [u8; NAMES_LENGTH] = names();

/// The remedies in [`PRESETS`] without their texts.
static ROWS: [Remedy<Timings>; PRESETS.len()] = rows();

/// The length of [`NAMES`] in bytes.
const NAMES_LENGTH: usize = {
    let mut length = PRESETS.len() - 1;
    let mut index = 0;
    while index < PRESETS.len() {
        length += PRESETS[index].name.len();
        index += 1;
    }
    length
};

const fn names() -> [u8; NAMES_LENGTH] {
    let mut names = [b' '; NAMES_LENGTH];
    let mut end = 0;
    let mut index = 0;
    while index < PRESETS.len() {
        let name = PRESETS[index].name.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            names[end + byte] = name[byte];
            byte += 1;
        }
        end += name.len() + 1;
        index += 1;
    }
    names
}

const fn rows() -> [Remedy<Timings>; PRESETS.len()] {
    let mut rows = [Remedy::Useless(()); PRESETS.len()];
    let mut index = 0;
    while index < PRESETS.len() {
        if let Remedy::Settings(timings) = PRESETS[index].remedy {
            rows[index] = Remedy::Settings(timings);
        }
        index += 1;
    }
    rows
}

const fn timings(idle: u16, interval: u8, count: u8) -> Remedy<Timings, &'static str> {
    Remedy::Settings(Timings { idle, interval, count })
}

#[cfg(test)]
mod tests;
