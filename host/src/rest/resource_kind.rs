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
            Node::List { .. } | Node::Part { .. } => Self::List,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_polycubes() {
        for (kind, statuses) in [
            (ResourceKind::Read, [("GET", 200)].as_slice()),
            (ResourceKind::Run, &[("POST", 200)]),
            (ResourceKind::Service, &[("GET", 200), ("POST", 201)]),
            (ResourceKind::Ports, &[("GET", 200), ("POST", 201), ("DELETE", 204)]),
            (ResourceKind::Cube, &[("GET", 200), ("POST", 201), ("PUT", 201), ("PATCH", 200), ("DELETE", 200)]),
            (ResourceKind::Whole, &[("GET", 200), ("POST", 201), ("PUT", 201), ("PATCH", 201), ("DELETE", 204)]),
            (ResourceKind::List, &[("GET", 200), ("POST", 201), ("PUT", 201), ("PATCH", 201), ("DELETE", 204)]),
            (ResourceKind::Leaf, &[("GET", 200), ("PUT", 200), ("PATCH", 200), ("DELETE", 204)]),
        ] {
            let done = |method: &Method| {
                let http = http::Method::from_bytes(method.as_str().as_bytes()).unwrap();
                (method.as_str(), kind.done(&http).as_u16())
            };
            assert_eq!(kind.methods().iter().map(done).collect::<Vec<_>>(), statuses, "{kind:?}");
        }
    }
}
