//! Filters: from five fields or a pcap expression to an eBPF program that decides exactly as libpcap would.
//!
//! In the order of the passes: [`fields`] (to an expression) · `terms` (combined with the user's own) · `attempt` and
//! `libpcap` (to classic BPF; `diagnosis` locates errors in an expression, `join` makes one program of two) · `classic`
//! (decodes and checks it) · `blocks` · `verdict` (does it decide anything?) · `bounds` and `liveness` (what holds at the
//! start of each block, and what is read after it) · `emit` and `body` (to eBPF; `mode` and `stack` define the versions
//! and the stack layout) over `access` (how a program reaches the packet), implemented for the TC hook by `skb` and
//! `reach` · `assembly` (resolves labels) · `listing` (for people).
//!
//! An expression decides as libpcap does: `udp` is UDP in a frame without a tag, and `vlan` moves the offsets of what
//! follows. The fields are our own, and are looked for within no tag, one and two, whatever the expression moves.
//!
//! # What the program does
//!
//! It runs before the capture program in the chain. A packet that matches goes to slot 0 of [`MapName::Accept`]; any
//! other is counted in [`MapName::Rings`] and goes to slot 0 of [`MapName::Next`]. If the slot is empty, the program
//! ends with `TCX_NEXT`. It never alters the packet, and an access past the packet's end means "no match", as in
//! libpcap.
//!
//! A program contains up to four versions of the filter. A *linear* version reads the skb's memory directly; if that
//! does not reach far enough, the filter starts again in *general* mode, which uses `bpf_skb_load_bytes`. Restarting is
//! safe because a filter has no side effects. If the kernel has removed the VLAN tag from the frame, a *tagged* version
//! reads the frame as if the tag were still there, as it will be in the record.

mod access;
mod assembly;
mod attempt;
mod blocks;
mod body;
mod bounds;
mod classic;
mod diagnosis;
mod emit;
mod insn;
mod join;
mod libpcap;
mod listing;
mod liveness;
mod mode;
mod netmask;
mod reach;
mod skb;
mod stack;
mod terms;
mod verdict;

pub mod fields;

#[cfg(test)]
mod tests;

pub use assembly::{MapName, TooLong};
pub use classic::{Invalid, Raw};
pub use diagnosis::ExpressionError;
pub use fields::{Fields, FieldsError, Protocol};
pub use insn::Insn;
pub use libpcap::Missing;
pub use mode::Modes;
pub use netmask::{Netmask, NetmaskError};

use terms::Terms;
use verdict::Verdict;

/// Why there is no program for a filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// This machine has no libpcap.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The fields contradict each other.
    #[error(transparent)]
    Fields(#[from] FieldsError),
    /// libpcap rejects the expression.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// libpcap is still compiling this filter, or too many others.
    #[error(
        "libpcap takes more than {} s for the filter: give addresses in place of names, and prefixes and port ranges in \
         place of long lists, or set it again in a while",
        attempt::PATIENCE.as_secs()
    )]
    Timeout,
    /// libpcap's thread cannot be started.
    #[error("cannot start a thread for libpcap: {0}")]
    Thread(#[source] std::io::Error),
    /// libpcap's thread has ended without a result.
    #[error("libpcap's thread has ended early: set the filter again")]
    Ended,
    /// libpcap's program is not a valid filter, or too long.
    #[error("the filter cannot be used: {0}")]
    Invalid(#[from] Invalid),
    /// The program needs jumps that are too long for any instruction.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// An eBPF program, and where it refers to maps.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The instructions to load. Type `SCHED_CLS`, no expected attach type.
    pub instructions: Vec<Insn>,
    /// Indices of the `ld_imm64` that take a map's descriptor.
    pub maps: Vec<(usize, MapName)>,
    /// Number of instructions of the classic program.
    pub classic: usize,
    listing: String,
}

impl Compiled {
    /// The program as text, one instruction per line, with the classic instructions that they implement.
    pub fn listing(&self) -> &str {
        &self.listing
    }
}

/// Combines `fields` and `expression`; `None` lets everything pass.
///
/// # Errors
/// Fields that contradict each other. The expression is not checked.
pub fn joined(fields: &Fields, expression: &str) -> Result<Option<String>, FieldsError> {
    Ok(Terms::of(fields, expression)?.map(|terms| terms.to_string()))
}

/// The program for `fields` and `expression`, which must both match. `None` if everything passes: no fields, and an
/// expression that is empty, `all`, or true of every packet. `ip broadcast` needs the netmask.
///
/// # Errors
/// Any [`FilterError`]; an [`ExpressionError`] says where the expression is wrong, or that no packet can match.
pub fn compile(fields: &Fields, expression: &str, netmask: Netmask) -> Result<Option<Compiled>, FilterError> {
    let Some(terms) = Terms::of(fields, expression)? else { return Ok(None) };
    let raw = attempt::compile(terms.clone(), netmask)?;
    match verdict_of(&raw)? {
        Verdict::Always => Ok(None),
        Verdict::Depends => translate(&raw, &terms.to_string(), Modes::All).map(Some),
        Verdict::Never => Err(match &terms {
            // The fields are not to blame for an expression that no packet matches anyway.
            Terms::Both { expression, .. } if never_matches(expression, netmask)? => {
                ExpressionError::rejects_all(&Terms::Expression(expression.clone()))
            }
            terms => ExpressionError::rejects_all(terms),
        }
        .into()),
    }
}

fn never_matches(expression: &str, netmask: Netmask) -> Result<bool, FilterError> {
    Ok(verdict_of(&raw(expression, netmask)?)? == Verdict::Never)
}

fn verdict_of(raw: &[Raw]) -> Result<Verdict, Invalid> {
    let program = classic::decode(raw)?;
    Ok(verdict::verdict(&blocks::split(&program), &program))
}

/// libpcap's program for `expression`.
///
/// # Errors
/// As [`compile`].
pub fn raw(expression: &str, netmask: Netmask) -> Result<Vec<Raw>, FilterError> {
    attempt::compile(Terms::Expression(expression.to_owned()), netmask)
}

/// The eBPF program for libpcap's program `raw` of the expression `title`.
///
/// # Errors
/// [`FilterError::Invalid`] and [`FilterError::TooLong`].
pub fn translate(raw: &[Raw], title: &str, modes: Modes) -> Result<Compiled, FilterError> {
    let program = classic::decode(raw)?;
    let blocks = blocks::split(&program);
    let headers = bounds::Headers::of(&blocks, &program);
    let liveness = liveness::Liveness::of(&blocks, &program);
    let filter = emit::Filter { program: &program, blocks: &blocks, headers: &headers, liveness: &liveness };
    let assembled = emit::emit(&filter, modes).assemble()?;
    let listing = listing::listing(title, &program, &assembled);
    Ok(Compiled { instructions: assembled.instructions, maps: assembled.maps, classic: program.len(), listing })
}
