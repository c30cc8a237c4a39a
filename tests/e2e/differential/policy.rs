//! The policies under which programs are compared, and the option values that they may change.

use keepalive_policy::{Mode, SocketOption};

/// A mode, with or without rules and a user timeout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) mode: Mode,
    /// Rules for every address, with an idle time other than the default's, and a user timeout.
    pub(super) has_rules: bool,
}

const IDLE: u32 = 61;
const RULE_IDLE: u32 = 33;
const INTERVAL: u32 = 13;
const COUNT: u32 = 4;
pub(super) const USER_TIMEOUT: u32 = 30_000;

impl Policy {
    /// Returns every mode, with and without rules.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let both = |mode| [false, true].map(|has_rules| Self { mode, has_rules });
        Mode::ALL.into_iter().flat_map(both)
    }

    /// Returns the environment variables of the policy.
    pub(super) fn environment(self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("KEEPIDLE", IDLE.to_string()),
            ("KEEPINTVL", INTERVAL.to_string()),
            ("KEEPCNT", COUNT.to_string()),
            ("KEEPALIVE_MODE", self.mode.name().to_owned()),
        ];
        if self.has_rules {
            let settings = format!(
                "keepalive=on idle={RULE_IDLE} interval={INTERVAL} count={COUNT} user-timeout={USER_TIMEOUT}ms mode={}",
                self.mode.name()
            );
            let rules = format!("connect 192.0.2.0/24 off; connect *:1-65535 {settings}; accept *:1-65535 {settings}");
            variables.push(("KEEPALIVE_RULES", rules));
            variables.push(("KEEPALIVE_USER_TIMEOUT", format!("{USER_TIMEOUT}ms")));
        }
        variables
    }

    /// Returns the options of a connection whose program sets nothing: keepalive, idle, interval and count.
    pub(super) fn defaults(self) -> [u32; 4] {
        let idle = if self.has_rules { RULE_IDLE } else { IDLE };
        [1, idle, INTERVAL, COUNT]
    }

    /// Returns the values that `option` may have after the program has set `program_value`. On connections and
    /// listeners the value is final: one value is right. Before, the policy may not have been applied yet; and the user
    /// timeout is set when the engine sees that a connection is complete.
    pub(super) fn allows(self, option: SocketOption, program_value: u32, is_final: bool) -> Vec<u32> {
        let [keepalive, idle, interval, count] = self.defaults();
        let policy_value = match option {
            SocketOption::Keepalive => keepalive,
            SocketOption::Idle => idle,
            SocketOption::Interval => interval,
            SocketOption::Count => count,
            SocketOption::UserTimeout if self.has_rules => USER_TIMEOUT,
            _ => return vec![program_value],
        };
        let resolved = self.mode.resolve(option, policy_value, program_value);
        if is_final && option != SocketOption::UserTimeout {
            return vec![resolved];
        }
        let mut allowed = vec![program_value, resolved];
        if option == SocketOption::Idle {
            allowed.push(self.mode.resolve(option, IDLE, program_value));
        }
        allowed
    }
}
