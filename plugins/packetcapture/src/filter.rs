//! The filter's stage: accepted packets go on to the capture's program, others are counted and go to the next cube.

#![forbid(unsafe_code)]

use std::mem::offset_of;

use polycube_filter::{
    Compiled, Counter, Element, Exit, Fields, FilterError, Hook, Invalid, Link, LinkType, Netmask, Target,
};
use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_layout::ring::{self, FILTER, RINGS};
use polycube_plugin_api::{Refusal, Tag};

/// Programs that others attached after the chain still run.
const TCX_NEXT: i32 = -1;

/// The packets that do not match are counted in the capture's rings.
const TARGET: Target = Target {
    hook: Hook::Tc,
    on_match: Exit::tail_call(ACCEPT, 0, TCX_NEXT),
    on_mismatch: Exit::tail_call(NEXT, 0, TCX_NEXT).counted(Counter {
        map: RINGS,
        element: Element::OfCpu,
        offset: (FILTER + offset_of!(ring::Filter, rejected)) as i16,
    }),
};

/// What a filter is compiled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) fields: Fields,
    pub(crate) expression: String,
    pub(crate) netmask: Netmask,
    /// What packets begin with at the capture's places. Without any, the filter is only checked, for Ethernet.
    pub(crate) has_ethernet: bool,
    pub(crate) has_raw_ip: bool,
}

/// A filter's programs, for each kind of link one; `None` where everything passes.
#[derive(Default)]
pub(crate) struct Programs {
    ethernet: Option<Compiled>,
    raw_ip: Option<Compiled>,
}

impl Programs {
    pub(crate) fn of(&self, link_type: LinkType) -> Option<&Compiled> {
        match link_type {
            LinkType::Ethernet => self.ethernet.as_ref(),
            LinkType::RawIp => self.raw_ip.as_ref(),
        }
    }

    /// One of them, if anything is filtered.
    pub(crate) fn any(&self) -> Option<&Compiled> {
        self.ethernet.as_ref().or(self.raw_ip.as_ref())
    }
}

/// A filter that is wrong for one kind of link.
#[derive(Debug)]
pub(crate) struct Wrong {
    error: FilterError,
    /// Which one, if it is right for the other.
    link_type: Option<LinkType>,
}

impl From<FilterError> for Wrong {
    fn from(error: FilterError) -> Self {
        Self { error, link_type: None }
    }
}

/// The programs for `source`.
///
/// # Errors
/// Any [`FilterError`].
pub(crate) fn compile(source: &Source) -> Result<Programs, Wrong> {
    let Source { fields, expression, netmask, has_ethernet, has_raw_ip } = source;
    let of = |link_type| polycube_filter::compile(fields, expression, Link { link_type, netmask: *netmask }, &TARGET);
    let whole = |error| Wrong { error, link_type: None };
    if !has_raw_ip {
        return Ok(Programs { ethernet: of(LinkType::Ethernet).map_err(whole)?, raw_ip: None });
    }
    let ethernet = of(LinkType::Ethernet);
    let raw_ip =
        of(LinkType::RawIp).map_err(|error| Wrong { error, link_type: ethernet.is_ok().then_some(LinkType::RawIp) })?;
    let ethernet = match ethernet {
        Ok(ethernet) => ethernet.filter(|_| *has_ethernet),
        Err(error) if *has_ethernet => return Err(Wrong { error, link_type: Some(LinkType::Ethernet) }),
        Err(_) => None,
    };
    Ok(Programs { ethernet, raw_ip })
}

/// The user's view of a filter error.
pub(crate) fn refusal(Wrong { error, link_type }: &Wrong) -> Refusal {
    let (tag, path) = match error {
        FilterError::Missing(_) | FilterError::Timeout | FilterError::Thread(_) | FilterError::Ended => {
            (Tag::OperationFailed, "filter")
        }
        FilterError::Fields(_) => (Tag::InvalidValue, "filters"),
        FilterError::Expression(_) | FilterError::Invalid(_) | FilterError::TooLong(_) => (Tag::InvalidValue, "filter"),
    };
    let message = match error {
        FilterError::Invalid(Invalid::Direction) => "the filter cannot be used: a packet does not say its direction: \
             instead of `inbound` or `outbound`, set `capture` to ingress or egress"
            .to_owned(),
        error => error.to_string(),
    };
    let message = match link_type {
        None => message,
        Some(LinkType::Ethernet) => format!("{message} (where packets have Ethernet headers)"),
        Some(LinkType::RawIp) => format!("{message} (where packets have no Ethernet headers, as on tun devices)"),
    };
    Refusal::new(tag, message).at(path)
}
