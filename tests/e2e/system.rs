//! `keepalive system`: /etc/ld.so.preload of small systems of the tests' own, which always run their programs silently.

/// A system of the test's own; skips the test where there can be none.
macro_rules! system {
    () => {
        match $crate::support::root::SmallRoot::missing() {
            Some(why) => skip!("{why}"),
            None => $crate::system::stage::Stage::new(),
        }
    };
}

mod damaged;
mod distributions;
mod foreign;
mod foreign_files;
mod killed;
mod kinds;
mod lines;
mod order;
mod packaged;
mod plain;
mod refresh;
mod refused;
mod run;
mod setuid;
mod stage;
