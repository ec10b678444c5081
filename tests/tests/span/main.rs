//! Does `span` mirror what passes, to netdevs, ports and collectors, and is the original left alone?

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod collector;
mod decoded;
mod local;
mod stage;
