//! The REST API, `/polycube/v1/`: requests to the engine's changes and views, and answers back. Only this room knows
//! HTTP.
//!
//! From top to bottom: `listen` accepts connections, `dispatch` finds what answers a request, `permission` says which role
//! it needs, and `audit` logs changes. The framework's own paths are declared in `routes`, with the functions of `framework` that answer them; what is below a service or a cube is
//! answered by `resource`, `stream`, `shared` (a stream that needs no cube) and `ephemeral` (a cube that goes with its stream), from the service's data model. `help` and `openapi` describe both, and `present`
//! writes cubes as JSON. Below them are `route` (what a declaration says), `resource_kind` (what the nodes of a data
//! model take), `context` (what requests are answered from), and `call` (a request and its answer). The ground is
//! `client`, `statistics`, `error` and `document`.

mod audit;
mod call;
mod client;
mod context;
mod dispatch;
mod document;
mod ephemeral;
mod error;
#[cfg(test)]
mod fixture;
mod framework;
mod handed;
mod help;
mod listen;
mod openapi;
mod permission;
mod present;
mod resource;
mod resource_kind;
mod route;
mod routes;
mod shared;
mod statistics;
mod stream;

pub(crate) use context::Api;
pub(crate) use listen::{
    Access, Current, Security, TlsFiles, UnixSocket, bind_tcp, serve_tcp, serve_unix, tls_acceptor,
};
pub(crate) use statistics::Statistics;
