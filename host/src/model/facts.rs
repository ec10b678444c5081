//! What a change may know of the world.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::netdev::{Inside, Table};
use crate::topology::{CubeName, Namespace};
use crate::wiring::Netdevs;

/// What is known of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Found(Inside),
    /// There is no such namespace, and why.
    Gone(String),
    /// It cannot be said now whether there is, and why not.
    Unknown(String),
}

/// What is known of the namespaces that selectors name.
pub(crate) type Looks = BTreeMap<Namespace, Look>;

/// What is so, whatever users want: looked up once for each change, before it begins.
pub(crate) struct Facts {
    /// The netdevs that exist.
    pub present: Table,
    /// Those that are wired.
    pub wired: Netdevs,
    /// What is known of the namespaces that selectors name.
    pub looks: Looks,
    /// Cubes whose plugin panicked, and its message.
    pub failed: BTreeMap<CubeName, String>,
    /// Random bytes, from which the change makes its UUIDs.
    pub seed: [u8; 16],
}

impl Facts {
    /// The UUID number `nth` of this change (version 4, RFC 9562 section 5.4).
    pub(crate) fn uuid(&self, nth: u32) -> String {
        let digest = Sha256::new().chain_update(self.seed).chain_update(nth.to_be_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_uuid_of_a_change_is_another_and_of_version_4() {
        let facts = Facts {
            present: Table::default(),
            wired: Netdevs::default(),
            looks: Looks::new(),
            failed: BTreeMap::new(),
            seed: [7; 16],
        };
        let (first, second) = (facts.uuid(0), facts.uuid(1));
        assert_ne!(first, second);
        assert_eq!(first, facts.uuid(0));
        assert_eq!(uuid::Uuid::parse_str(&second).unwrap().get_version_num(), 4);
    }
}
