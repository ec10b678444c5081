//! Does `span` mirror what passes, to netdevs, ports and collectors, and is the original left alone?

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod collector;
mod conditions;
mod decoded;
mod local;
mod stage;
