//! Policies of the cgroup engine under stress: replaced while connections are made, by commands that are killed at any
//! moment or run at the same time; and thousands of connections against the decision of the policy.

mod at_once;
mod crowd;
mod decided;
mod killed;
mod place;
mod probe;
mod random;
mod replaced;
