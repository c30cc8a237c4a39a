//! Policies of the cgroup engine under load: they are replaced while connections are made, by commands that are killed
//! at any call or run at the same time; and thousands of random connections are compared with the decision of the
//! policy.

mod at_once;
mod decided;
mod killed;
mod policy_state;
mod probe;
mod random;
mod replaced;
mod self_connections;
