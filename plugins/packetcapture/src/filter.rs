//! The filter's stage: accepted packets go on to the capture's program, others are counted and go to the next cube.

#![forbid(unsafe_code)]

use std::mem::offset_of;

use polycube_filter::{Compiled, Counter, Element, Exit, Fields, FilterError, Hook, Invalid, Netmask, Target};
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

/// The program for `fields` and `expression`; `None` if everything passes.
///
/// # Errors
/// Any [`FilterError`].
pub(crate) fn compile(fields: &Fields, expression: &str, netmask: Netmask) -> Result<Option<Compiled>, FilterError> {
    polycube_filter::compile(fields, expression, netmask.into(), &TARGET)
}

/// The user's view of a filter error.
pub(crate) fn refusal(error: &FilterError) -> Refusal {
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
    Refusal::new(tag, message).at(path)
}
