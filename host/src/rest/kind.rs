//! Kinds of resources, with the methods that each takes and the status of what is done: for routing, for the `Allow` of
//! a 405, and for OpenAPI.

use axum::http::{Method, StatusCode};

use crate::schema::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What can only be read.
    Read,
    /// An action, or a call of the framework.
    Run,
    /// A service: its list of cubes.
    Service,
    /// A service in the list of those that are loaded.
    Loaded,
    Cube,
    /// The list of a cube's ports.
    Ports,
    /// A port, a container or an entry of a list.
    Whole,
    /// A list as a whole.
    List,
    Leaf,
}

impl Kind {
    /// The kind of a node that can be set.
    pub fn of(node: &Node<'_>) -> Self {
        match node {
            Node::Container(_) | Node::Entry(_) => Self::Whole,
            Node::List { .. } => Self::List,
            Node::Leaf(_) => Self::Leaf,
        }
    }

    pub fn methods(self) -> &'static str {
        match self {
            Self::Read => "GET",
            Self::Run => "POST",
            Self::Service => "GET, POST",
            Self::Loaded => "GET, DELETE",
            Self::Ports => "GET, POST, DELETE",
            Self::Cube | Self::Whole | Self::List => "GET, POST, PUT, PATCH, DELETE",
            Self::Leaf => "GET, PUT, PATCH, DELETE",
        }
    }

    /// The status of a change that was made; Polycube's.
    pub fn done(self, method: &Method) -> StatusCode {
        match (self, method.as_str()) {
            (_, "GET") | (Self::Run, _) | (Self::Cube, "PATCH" | "DELETE") | (Self::Leaf, "PUT" | "PATCH") => {
                StatusCode::OK
            }
            (_, "DELETE") => StatusCode::NO_CONTENT,
            _ => StatusCode::CREATED,
        }
    }
}
