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

/// Whether there are places with a kind of link, and whether users named one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    #[default]
    None,
    /// A place such as `any` stands for all of them: the filter need not fit.
    Chosen,
    Named,
}

/// What a filter is compiled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) fields: Fields,
    pub(crate) expression: String,
    pub(crate) netmask: Netmask,
    /// What packets begin with at the capture's places. Without any, the filter is only checked, for Ethernet.
    pub(crate) ethernet: Need,
    pub(crate) raw_ip: Need,
}

/// A filter's programs, for each kind of link one; `None` where everything passes.
#[derive(Default)]
pub(crate) struct Programs {
    ethernet: Option<Compiled>,
    raw_ip: Option<Compiled>,
    /// The kind of link that the filter does not fit, and why.
    unfit: Option<(LinkType, String)>,
}

impl Programs {
    pub(crate) fn of(&self, link_type: LinkType) -> Option<&Compiled> {
        match link_type {
            LinkType::Ethernet => self.ethernet.as_ref(),
            LinkType::RawIp => self.raw_ip.as_ref(),
        }
    }

    /// Why places with this kind of link are left out, if they are.
    pub(crate) fn unfit(&self, link_type: LinkType) -> Option<&str> {
        self.unfit.as_ref().filter(|(unfit, _)| *unfit == link_type).map(|(_, why)| why.as_str())
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

/// The programs for `source`. Of places that nobody named, those that the filter does not fit are left out.
///
/// # Errors
/// Any [`FilterError`].
pub(crate) fn compile(source: &Source) -> Result<Programs, Wrong> {
    let Source { fields, expression, netmask, ethernet, raw_ip } = source;
    let of = |link_type| polycube_filter::compile(fields, expression, Link { link_type, netmask: *netmask }, &TARGET);
    let is_optional = |need: Need, error: &FilterError| need == Need::Chosen && is_about_expression(error);
    let for_ethernet = match of(LinkType::Ethernet) {
        Err(error) if *raw_ip == Need::None && !is_optional(*ethernet, &error) => return Err(error.into()),
        compiled => compiled,
    };
    if *raw_ip == Need::None && for_ethernet.is_ok() {
        return Ok(Programs { ethernet: for_ethernet?, ..Programs::default() });
    }
    match (for_ethernet, of(LinkType::RawIp)) {
        (Ok(programs), Ok(raw_ip)) => {
            Ok(Programs { ethernet: programs.filter(|_| *ethernet != Need::None), raw_ip, unfit: None })
        }
        (Ok(programs), Err(error)) if is_optional(*raw_ip, &error) => {
            Ok(Programs { ethernet: programs, raw_ip: None, unfit: Some((LinkType::RawIp, text(&error))) })
        }
        (Ok(_), Err(error)) => Err(Wrong { error, link_type: Some(LinkType::RawIp) }),
        (Err(error), Ok(raw_ip)) if *ethernet == Need::None || is_optional(*ethernet, &error) => {
            Ok(Programs { ethernet: None, raw_ip, unfit: Some((LinkType::Ethernet, text(&error))) })
        }
        (Err(error), Ok(_)) => Err(Wrong { error, link_type: Some(LinkType::Ethernet) }),
        // It is wrong wherever packets are.
        (Err(error), Err(_)) => Err(error.into()),
    }
}

/// Whether the expression is wrong, and not what compiles it.
fn is_about_expression(error: &FilterError) -> bool {
    matches!(error, FilterError::Expression(_) | FilterError::Invalid(_) | FilterError::TooLong(_))
}

fn text(error: &FilterError) -> String {
    match error {
        FilterError::Invalid(Invalid::Direction) => "the filter cannot be used: a packet does not say its direction: \
             instead of `inbound` or `outbound`, use --in or --out of `capture`, or set `capture` to ingress or egress"
            .to_owned(),
        error => error.to_string(),
    }
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
    let message = text(error);
    let message = match link_type {
        None => message,
        Some(LinkType::Ethernet) => format!("{message} (where packets have Ethernet headers)"),
        Some(LinkType::RawIp) => format!("{message} (where packets have no Ethernet headers, as on tun devices)"),
    };
    Refusal::new(tag, message).at(path)
}
