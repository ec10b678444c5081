//! The host, as a plugin calls it.

use std::sync::Arc;

use abi_stable::std_types::{RErr, ROk, ROption, RStr, RString};
use polycube_plugin_api::abi::{Answer, HostAbi, MapHandle, SenderHandle};
use polycube_plugin_api::{Level, Refusal};
use serde_json::json;

use super::super::doors::Doors;
use super::super::log::CubeLog;
use super::{MakeMap, NetdevAt, Request};

/// The host, as one cube sees it.
pub(super) struct Host {
    pub log: Arc<CubeLog>,
    pub configure: Request,
    pub doors: Doors,
    pub make_map: MakeMap,
    pub netdev_at: NetdevAt,
}

impl HostAbi for Host {
    fn log(&self, level: u8, message: RStr<'_>) {
        self.log.write_number(level, message.as_str());
    }

    fn configure(&self, patch: RStr<'_>) {
        match serde_json::from_str(patch.as_str()) {
            Ok(patch) => (self.configure)(patch),
            Err(error) => {
                self.log.write(Level::Error, &format!("the plugin asks for a change that is not JSON: {error}"));
            }
        }
    }

    fn sender(&self) -> Answer<SenderHandle> {
        self.doors.open()
    }

    fn make_map(&self, spec: RStr<'_>) -> Answer<MapHandle> {
        let made = serde_json::from_str(spec.as_str()).map_err(Refusal::from).and_then(|spec| (self.make_map)(spec));
        match made {
            Ok(map) => ROk(map.into()),
            Err(refusal) => RErr(json!(refusal).to_string().into()),
        }
    }

    fn netdev_at(&self, point: RStr<'_>) -> ROption<RString> {
        (self.netdev_at)(point.as_str()).map(RString::from).into()
    }
}
