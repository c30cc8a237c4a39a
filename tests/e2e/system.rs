//! `keepalive system`: /etc/ld.so.preload of small test systems, which must always run their programs without messages.

/// Creates a test system; skips the test where that is impossible.
macro_rules! system {
    () => {
        match $crate::support::root::SmallRoot::missing() {
            Some(why) => skip!("{why}"),
            None => $crate::system::test_system::TestSystem::new(),
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
mod test_system;
