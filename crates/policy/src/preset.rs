//! Named middleboxes: when they forget an idle connection, and the settings that keep it. What they are and where that
//! is written is for the command alone; [`remedy`], which the preload library calls, knows only names and numbers.

use crate::settings::{Settings, is_word};

/// A middlebox, or a class of them, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name in `--preset` and `preset=`: small letters, digits and dashes.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Seconds of silence after which it forgets a connection, unless it was configured otherwise. `None` where the
    /// preset stands for no middlebox in particular.
    pub timeout: Option<u32>,
    /// What becomes of the connection then.
    pub when_idle: WhenIdle,
    /// What helps.
    pub remedy: Remedy<Timings, &'static str>,
    /// Where the timeout is written: an address, or a citation.
    pub source: &'static str,
    /// When, as `yyyy-mm` or `yyyy-mm-dd`: the source's own date; where it carries none, the day on which it was read.
    pub date: &'static str,
}

/// What becomes of a connection that was idle for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenIdle {
    /// The next packet is answered with a reset.
    Reset,
    /// Packets are dropped, and nobody is told.
    Silence,
    /// The one or the other, by model, place or configuration.
    Either,
    /// The middlebox closes it towards both sides.
    Close,
    /// Its maker does not say.
    Unknown,
}

/// What keeps a connection through every common layer-4 middlebox.
pub const DEFAULT: Timings = Timings {
    idle: 60,
    interval: 15,
    count: 5,
};

/// What helps against a middlebox that forgets: in the table with the timings and the reason, from [`remedy`] with the
/// settings and without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy<Help = Settings, Why = ()> {
    /// Keepalive with these.
    Settings(Help),
    /// Not keepalive, and why not: one sentence.
    Useless(Why),
}

/// When to probe. Two probes may be lost before the middlebox forgets the connection: idle + 2 × interval is less than
/// its timeout. For good measure idle is at most a third of it; half for mobile carriers: each probe wakes a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Seconds before the first probe.
    pub idle: u16,
    /// Seconds between probes.
    pub interval: u16,
    /// Unanswered probes that end the connection.
    pub count: u8,
}

impl Timings {
    /// These timings as settings that say nothing else.
    pub const fn settings(self) -> Settings {
        Settings::timings(self.idle as u32, self.interval as u32, self.count as u32)
    }
}

impl WhenIdle {
    /// The fact in a few words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Reset => "RST on the next packet",
            Self::Silence => "silence",
            Self::Either => "silence or RST",
            Self::Close => "closed on both sides",
            Self::Unknown => "not documented",
        }
    }
}

/// All presets, in the order in which they are listed. The texts go where this is read at run time: into the command,
/// not into the library.
pub const PRESETS: [Preset; 18] = [
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
        name: "azure",
        what: "Azure Load Balancer (4 to 100 min and RST settable), NAT gateway (to 120 min)",
        timeout: Some(240),
        when_idle: WhenIdle::Either,
        remedy: timings(80, 20, 5),
        source: "https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-idle-timeout",
        date: "2025-02-12",
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
        what: "Envoy as a TCP proxy",
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

/// The preset of this name, in capitals or not, with all its texts.
pub fn find(name: &[u8]) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| is_word(name, preset.name.as_bytes()))
}

/// What helps according to the preset of this name, in capitals or not; `None` when there is none of this name.
pub fn remedy(name: &[u8]) -> Option<Remedy> {
    let row = ROWS.iter().find(|row| is_word(name, row.name()))?;
    Some(match row.remedy {
        Remedy::Settings(timings) => Remedy::Settings(timings.settings()),
        Remedy::Useless(()) => Remedy::Useless(()),
    })
}

/// A preset without its texts, and without a pointer, which would be a relocation in the preload library.
#[derive(Clone, Copy)]
struct Row {
    name: [u8; LONGEST_NAME],
    length: u8,
    remedy: Remedy<Timings, ()>,
}

impl Row {
    fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// What is left of [`PRESETS`] for [`remedy`].
static ROWS: [Row; PRESETS.len()] = rows();

/// Bytes of the longest name.
const LONGEST_NAME: usize = {
    let mut longest = 0;
    let mut index = 0;
    while index < PRESETS.len() {
        if PRESETS[index].name.len() > longest {
            longest = PRESETS[index].name.len();
        }
        index += 1;
    }
    longest
};

// No name is longer than 255 bytes: the tests look.
#[expect(clippy::cast_possible_truncation)]
const fn rows() -> [Row; PRESETS.len()] {
    let mut rows = [Row {
        name: [0; LONGEST_NAME],
        length: 0,
        remedy: Remedy::Useless(()),
    }; PRESETS.len()];
    let mut index = 0;
    while index < PRESETS.len() {
        let name = PRESETS[index].name.as_bytes();
        rows[index].length = name.len() as u8;
        let mut byte = 0;
        while byte < name.len() {
            rows[index].name[byte] = name[byte];
            byte += 1;
        }
        if let Remedy::Settings(timings) = PRESETS[index].remedy {
            rows[index].remedy = Remedy::Settings(timings);
        }
        index += 1;
    }
    rows
}

const fn timings(idle: u16, interval: u16, count: u8) -> Remedy<Timings, &'static str> {
    Remedy::Settings(Timings { idle, interval, count })
}

#[cfg(test)]
mod tests;
