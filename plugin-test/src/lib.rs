//! Test kit for polycube plugins.
//!
//! A [`Cube`] is created, changed and asked as the daemon does it, by the daemon's own code, in the process of the test. Its
//! programs are loaded into the real kernel, and a frame passes them without a netdev:
//!
//! ```no_run
//! # use polycube_plugin_api::{Datapath, Refusal, Service, ServiceKind, Wanted};
//! # #[derive(Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! # struct Config {}
//! # struct Hello;
//! # impl Service for Hello {
//! #     const NAME: &'static str = "hello";
//! #     const DESCRIPTION: &'static str = "";
//! #     const KIND: ServiceKind = ServiceKind::Transparent;
//! #     type Config = Config;
//! #     type State = Config;
//! #     fn create(_: polycube_plugin_api::Cube) -> Result<Self, Refusal> { Ok(Self) }
//! #     fn datapath(&self, _: &Wanted<Config>) -> Result<Datapath, Refusal> { Ok(Datapath::default()) }
//! #     fn prepare(&self, _: &Wanted<Config>, _: polycube_plugin_api::Maps) -> Result<(), Refusal> { Ok(()) }
//! #     fn commit(&self) {}
//! #     fn abort(&self) {}
//! #     fn state(&self) -> Result<Config, Refusal> { Ok(Config {}) }
//! # }
//! use polycube_plugin_test::{Cube, Failure, Place, Verdict};
//! use serde_json::json;
//!
//! #[test]
//! fn drops_what_it_is_told_to_drop() -> Result<(), Failure> {
//!     let cube = Cube::<Hello>::create(json!({ "action": "drop" }))?;
//!     cube.check(Place::Ingress(1), &[0; 60], Verdict::Drop);
//!     cube.reconfigure(json!({ "action": "pass" }))?;
//!     cube.check(Place::Ingress(1), &[0; 60], Verdict::Next);
//!     assert_eq!(cube.state()?["packets"], 2);
//!     Ok(())
//! }
//! ```
//!
//! [`conformance!`] adds the tests that every plugin should pass. Tests need root, or CAP_BPF and CAP_NET_ADMIN. The
//! plugin's crate needs the crate type `rlib` besides `cdylib`, so that tests can name its service.

#![warn(missing_docs)]

mod border;
pub mod conformance;
mod cube;
mod failure;
mod generation;
mod host;
mod pcap;
mod place;
mod setup;

pub use cube::{Cube, Stop, run_chain};
pub use failure::Failure;
pub use host::Line;
pub use pcap::read_pcap;
pub use place::{Answer, Exit, Place, Verdict};
pub use setup::Setup;

#[doc(hidden)]
pub use serde_json::Value;
