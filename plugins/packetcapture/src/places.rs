//! The places where a capture is.
//!
//! Users name places one by one, or have `any` and others of its kind choose netdevs, also such as come later. What the
//! configuration does not fit is refused where it was named, and left out where it was chosen: one tunnel must not end the
//! capture of all other netdevs.

#![forbid(unsafe_code)]

use polycube_filter::LinkType;
use polycube_plugin_api::{LeftOut, Point};

use crate::config::Config;
use crate::filter::{Need, Programs};
use crate::format::Format;

/// The places of a capture.
#[derive(Default)]
pub(crate) struct Places {
    /// Those that are captured, or wait for a netdev.
    pub(crate) taken: Vec<Point>,
    left_out: Vec<(Point, String)>,
}

impl Places {
    /// Those of `points` that the formats of `config` have room for.
    pub(crate) fn of(config: &Config, points: &[Point]) -> Self {
        let mut places = Self { taken: points.to_vec(), left_out: Vec::new() };
        if let Some((link_type, reason)) = unfit_format(config, points) {
            places.leave_out(link_type, reason);
        }
        places
    }

    /// Leaves out what a filter does not fit.
    pub(crate) fn fit(&mut self, programs: &Programs) {
        for link_type in [LinkType::Ethernet, LinkType::RawIp] {
            if let Some(reason) = programs.unfit(link_type) {
                self.leave_out(link_type, reason);
            }
        }
    }

    fn leave_out(&mut self, unfit: LinkType, reason: &str) {
        let is_meant = |point: &mut Point| point.is_chosen && is_there(point) && link_type(point) == unfit;
        self.left_out.extend(self.taken.extract_if(.., is_meant).map(|point| (point, reason.to_owned())));
    }

    /// What the filter has to fit.
    pub(crate) fn need(&self, of: LinkType) -> Need {
        need(&self.taken, of)
    }

    /// For the host, which shows it to users.
    pub(crate) fn left_out(&self) -> Vec<LeftOut> {
        let left_out = self.left_out.iter();
        left_out.map(|(point, reason)| LeftOut { point: point.id, reason: reason.clone() }).collect()
    }

    /// To be said of the cube: `not capturing at tun0, because …`.
    pub(crate) fn lack(&self) -> Option<String> {
        let (_, reason) = self.left_out.first()?;
        let names: Vec<&str> = self.left_out.iter().map(|(point, _)| point.name.as_str()).collect();
        Some(format!("not capturing at {}: {reason}", names.join(", ")))
    }
}

/// What packets begin with at `point`.
pub(crate) fn link_type(point: &Point) -> LinkType {
    if point.is_raw_ip { LinkType::RawIp } else { LinkType::Ethernet }
}

fn is_there(point: &Point) -> bool {
    point.netdev.is_some()
}

fn need(points: &[Point], of: LinkType) -> Need {
    let there = points.iter().filter(|point| is_there(point) && link_type(point) == of);
    there.map(|point| if point.is_chosen { Need::Chosen } else { Need::Named }).max().unwrap_or_default()
}

/// The kind of link that the formats have no room for. Only pcapng has a link type for each interface.
fn unfit_format(config: &Config, points: &[Point]) -> Option<(LinkType, &'static str)> {
    if config.networkmode {
        return Some((LinkType::RawIp, "its packets have no Ethernet headers, which clients of network mode need"));
    }
    if config.recorded() != Format::Pcapng {
        return Some((LinkType::RawIp, "its packets have no Ethernet headers: set format=pcapng"));
    }
    if config.format == Format::Pcapng {
        return None;
    }
    // The stream can have either.
    let [ethernet, raw_ip] = [LinkType::Ethernet, LinkType::RawIp].map(|link_type| need(points, link_type));
    if raw_ip > ethernet {
        Some((LinkType::Ethernet, "its packets have Ethernet headers, and others have none: write pcapng"))
    } else if ethernet > Need::None {
        Some((LinkType::RawIp, "its packets have no Ethernet headers, and others have them: write pcapng"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn point(id: u32, is_raw_ip: bool, is_chosen: bool) -> Point {
        Point {
            id,
            name: format!("dev{id}"),
            netdev: Some(format!("dev{id}")),
            is_loopback: false,
            is_raw_ip,
            is_reversed: false,
            is_chosen,
            peer: None,
        }
    }

    #[track_caller]
    fn check(config: serde_json::Value, points: &[Point], left_out: &[u32]) {
        let config: Config = serde_json::from_value(config).unwrap();
        let places = Places::of(&config, points);
        let ids: Vec<u32> = places.left_out().iter().map(|left_out| left_out.point).collect();
        assert_eq!(ids, left_out);
        assert_eq!(places.taken.len() + left_out.len(), points.len());
        assert_eq!(places.lack().is_some(), !left_out.is_empty());
    }

    #[test]
    fn a_format_leaves_out_what_was_chosen_and_not_what_was_named() {
        let any = [point(1, false, true), point(2, true, true)];
        check(json!({}), &any, &[2]);
        check(json!({ "format": "pcapng" }), &any, &[]);
        check(json!({ "format": "pcapng", "networkmode": true }), &any, &[2]);
        check(json!({}), &[point(1, false, true), point(2, true, false)], &[]);
        check(json!({ "store": "none" }), &any, &[2]);
        check(json!({ "store": "none" }), &[point(1, false, true), point(2, true, false)], &[1]);
        check(json!({ "store": "none" }), &any[1..], &[]);
        check(json!({ "store": "none" }), &[point(1, false, false), point(2, true, false)], &[]);
    }
}
