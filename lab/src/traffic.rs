//! Frames of exact size and content, and means to send them.

mod flow;
mod pages;
mod ping;
mod segments;
mod sender;
mod steady;
mod stream;

pub use flow::{Endpoint, Flow, Protocol, VLAN_TAG_LEN, sequence_of};
pub use pages::send_from_pages;
pub use ping::ping;
pub use segments::Segments;
pub use sender::{Pace, Sender, Sent, pin_to_core};
pub use steady::Steady;
pub use stream::{Transfer, reachable, tcp_transfer};
