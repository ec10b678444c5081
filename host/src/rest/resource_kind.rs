//! Kinds of nodes below a service, with the methods that each takes and the status of a change that was made: for
//! routing, for the `Allow` of a 405, and for OpenAPI.

use axum::http::{self, StatusCode};
use polycube_api::Method;

use crate::schema::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResourceKind {
    /// What can only be read.
    Read,
    /// An action.
    Run,
    /// A service: its list of cubes.
    Service,
    Cube,
    /// The list of a cube's ports.
    Ports,
    /// A port, a container or an entry of a list.
    Whole,
    /// A list as a whole.
    List,
    Leaf,
}

impl ResourceKind {
    /// The kind of a node that can be set.
    pub(super) fn of(node: &Node<'_>) -> Self {
        match node {
            Node::Container(_) | Node::Entry(_) => Self::Whole,
            Node::List { .. } => Self::List,
            Node::Leaf(_) => Self::Leaf,
        }
    }

    pub(super) fn methods(self) -> &'static [Method] {
        use Method::{Delete, Get, Patch, Post, Put};
        match self {
            Self::Read => &[Get],
            Self::Run => &[Post],
            Self::Service => &[Get, Post],
            Self::Ports => &[Get, Post, Delete],
            Self::Cube | Self::Whole | Self::List => &[Get, Post, Put, Patch, Delete],
            Self::Leaf => &[Get, Put, Patch, Delete],
        }
    }

    /// The status of a request that was carried out; Polycube's.
    pub(super) fn done(self, method: &http::Method) -> StatusCode {
        match (self, method.as_str()) {
            (_, "GET") | (Self::Run, _) | (Self::Cube, "PATCH" | "DELETE") | (Self::Leaf, "PUT" | "PATCH") => {
                StatusCode::OK
            }
            (_, "DELETE") => StatusCode::NO_CONTENT,
            _ => StatusCode::CREATED,
        }
    }
}
