//! Filters: from five fields or a pcap expression to an eBPF program that decides exactly as libpcap would.
//!
//! In the order of a filter's way: [`fields`] (to an expression) · `terms` (with the user's own) · `attempt` and `libpcap` (to
//! classic BPF; `diagnosis` finds where an expression is wrong) · `classic` (decoded and checked) · `blocks` · `bounds` and `liveness` (what the blocks may take
//! for granted and what they hand on) · `emit` and `body` (to eBPF; `mode` and `stack` say in
//! which versions, and what they keep where) over `access` (how a program reaches the packet), of which `skb` and `reach` are
//! the TC hook's · `assembly` (labels to jumps) · `listing` (for people).
//!
//! # What the program does
//!
//! It stands before the capture program in the chain. A packet that matches goes to slot 0 of [`MapName::Accept`], any
//! other is counted in [`MapName::Rings`] and goes to slot 0 of [`MapName::Next`]; where a slot is empty, the program
//! ends with `TCX_NEXT`. It never alters the packet, and an access past the packet's end is "no match", as in libpcap.
//!
//! A packet is filtered in one of up to four versions of the same filter. What is *linear* reads the skb's memory
//! directly; where that does not reach, the filter starts again in *general* mode, which reads by
//! `bpf_skb_load_bytes`: a filter has no effects, so nobody can tell. And where the kernel has taken the VLAN tag out of
//! the frame, a *tagged* version reads the frame as if the tag were still there, as the record will have it.

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
mod libpcap;
mod listing;
mod liveness;
mod mode;
mod reach;
mod skb;
mod stack;
mod terms;

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

use terms::Terms;

/// A filter that no program could be made of.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// This machine has no libpcap.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The fields contradict each other.
    #[error(transparent)]
    Fields(#[from] FieldsError),
    /// libpcap does not take the expression.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// libpcap is still at work on this filter, or on too many others.
    #[error(
        "libpcap takes more than {} s for the filter: give addresses in place of names, and prefixes and port ranges in \
         place of long lists, or set it again in a while",
        attempt::PATIENCE.as_secs()
    )]
    Timeout,
    /// libpcap has no thread to run in.
    #[error("cannot start a thread for libpcap: {0}")]
    Thread(#[source] std::io::Error),
    /// Nor has it one any more.
    #[error("libpcap's thread has ended early: set the filter again")]
    Ended,
    /// libpcap made something that is no filter, or too much of it.
    #[error("the filter cannot be used: {0}")]
    Invalid(#[from] Invalid),
    /// The program has jumps that no instruction can make.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// An eBPF program, and where it refers to maps.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// For a loader. Type `SCHED_CLS`, no expected attach type.
    pub instructions: Vec<Insn>,
    /// Indices of the `ld_imm64` that take a map's descriptor.
    pub maps: Vec<(usize, MapName)>,
    /// Instructions of the classic program.
    pub classic: usize,
    listing: String,
}

impl Compiled {
    /// The program as text, one instruction a line, with the classic instructions that they come from.
    pub fn listing(&self) -> &str {
        &self.listing
    }
}

/// The expression that `fields` and `expression` are together; `None` lets everything pass.
///
/// # Errors
/// Fields that contradict each other. The expression is not looked at.
pub fn joined(fields: &Fields, expression: &str) -> Result<Option<String>, FieldsError> {
    Ok(Terms::of(fields, expression)?.map(|terms| terms.to_string()))
}

/// The program for `fields` and `expression`, which are ANDed. `None` stands for a filter that everything passes: no
/// fields, and an expression that is empty or `all`.
///
/// # Errors
/// Any [`FilterError`]; a [`ExpressionError`] says where the expression is wrong.
pub fn compile(fields: &Fields, expression: &str) -> Result<Option<Compiled>, FilterError> {
    let Some(terms) = Terms::of(fields, expression)? else { return Ok(None) };
    let title = terms.to_string();
    translate(&attempt::compile(terms)?, &title, Modes::All).map(Some)
}

/// What libpcap makes of `expression`.
///
/// # Errors
/// As [`compile`].
pub fn raw(expression: &str) -> Result<Vec<Raw>, FilterError> {
    attempt::compile(Terms::One(expression.to_owned()))
}

/// The program for what libpcap made of the expression `title`.
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
