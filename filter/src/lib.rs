//! Filters for eBPF: from fields or a pcap expression to a program that decides exactly as libpcap would.
//!
//! ```
//! use polycube_filter::{Fields, Hook, Link, Target, compile};
//!
//! # if let Err(error) = polycube_filter::raw("ip", Link::default()) { panic!("{error}") }
//! // In a TC program, 2 is TCX_DROP and -1 is TCX_NEXT.
//! let target = Target::returning(Hook::Tc, 2, -1);
//! let program = compile(&Fields::default(), "tcp port 80 or icmp6", Link::default(), &target)?;
//! let program = program.expect("an expression that some packets do not match");
//! let bytes = program.instructions.iter().flat_map(|insn| insn.to_bytes()).collect::<Vec<_>>();
//! // `bytes` is what BPF_PROG_LOAD takes as `insns`.
//! # assert_eq!(bytes.len(), 8 * program.instructions.len());
//! println!("{}", program.listing());
//! # Ok::<(), polycube_filter::FilterError>(())
//! ```
//!
//! An expression decides as libpcap does: `udp` is UDP in a frame without a tag, and `vlan` moves the offsets of what
//! follows. The fields are our own, and are looked for within no tag, one and two, whatever the expression moves.
//!
//! # To embed it
//!
//! A [`Target`] says for which [`Hook`] the program is, and how it ends, for packets that match and for others: it
//! returns a value or continues with another program, and may count the packet before. What is generated is a whole
//! program, which can
//! - be attached by itself, with verdicts as its values;
//! - stand before another program, which gets the packets by a tail call;
//! - be a function of another program: it takes the context in R1, returns a value, and calls nothing but its own
//!   functions, so that its instructions, appended to a program, are the body of a function that this program calls.
//!
//! It refers to maps by names that the target chooses. [`Compiled::maps`] has the index of each instruction that takes
//! a map: write the map's descriptor into the `immediate` of that `ld_imm64`, whose `src_reg` is `BPF_PSEUDO_MAP_FD`
//! already. Nothing else has to be relocated, and there is no BTF. The program needs no GPL-compatible licence.
//!
//! # What the program does
//!
//! It never alters the packet, and an access past the packet's end means "no match", as in libpcap. It contains up to
//! four versions of the filter. A *linear* version reads the packet's memory directly; if that does not reach far enough,
//! the filter starts again in *general* mode, which uses `bpf_skb_load_bytes` or `bpf_xdp_load_bytes`. Restarting is safe
//! because a filter has no side effects. If the kernel has removed the VLAN tag from the frame, a *tagged* version reads
//! the frame as if the tag were still there. Long filters have jumps (`gotol`) that need Linux 6.6.
//!
//! libpcap is loaded when the first filter is compiled ([`Missing`] says how to install it), and runs in a thread of its
//! own, so that no caller waits for more than two seconds.
//!
//! # Inside
//!
//! In the order of the passes: `fields` (to an expression) · `terms` (combined with the user's own) · `attempt` and
//! `libpcap` (to classic BPF; `diagnosis` locates errors in an expression, `join` makes one program of two) · `classic`
//! (decodes and checks it) · `blocks` · `verdict` (does it decide anything?) · `bounds` and `liveness` (what holds at the
//! start of each block, and what is read after it) · `emit` and `body` (to eBPF; `mode` and `stack` define the versions
//! and the stack layout) over `access` (how a program reaches the packet), implemented for the hooks by `reader` and
//! `reach` · `assembly` (resolves labels) · `listing` (for people). `interpreter` applies a filter to packets in user space.

mod access;
mod assembly;
mod attempt;
mod blocks;
mod body;
mod bounds;
mod classic;
mod diagnosis;
mod emit;
mod fields;
mod insn;
mod interpreter;
mod join;
mod libpcap;
mod link;
mod listing;
mod liveness;
mod mode;
mod netmask;
mod reach;
mod reader;
#[cfg(feature = "settings")]
mod settings;
mod stack;
mod target;
mod terms;
mod verdict;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;

pub use assembly::TooLong;
pub use classic::{Invalid, Raw};
pub use diagnosis::ExpressionError;
pub use fields::{Fields, FieldsError, PrefixError, Protocol, ProtocolError, prefix};
pub use insn::Insn;
pub use interpreter::Interpreter;
pub use libpcap::Missing;
pub use link::{Link, LinkType};
pub use netmask::{Netmask, NetmaskError};
#[cfg(feature = "settings")]
pub use settings::{Filters, FiltersError};
pub use target::{Counter, Element, Exit, Hook, Target, Then};

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
    /// The instructions to load, as a program of the target's kind without an expected attach type.
    pub instructions: Vec<Insn>,
    /// Indices of the `ld_imm64` that take a map's descriptor, and the target's name of the map.
    pub maps: Vec<(usize, &'static str)>,
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
/// expression that is empty, `all`, or true of every packet.
///
/// # Errors
/// Any [`FilterError`]; an [`ExpressionError`] says where the expression is wrong, or that no packet can match.
pub fn compile(
    fields: &Fields,
    expression: &str,
    link: Link,
    target: &Target,
) -> Result<Option<Compiled>, FilterError> {
    let Some(terms) = Terms::of(fields, expression)? else { return Ok(None) };
    let raw = attempt::compile(terms.clone(), link)?;
    match verdict_of(&raw)? {
        Verdict::Always => Ok(None),
        Verdict::Depends => translate(&raw, &terms.to_string(), link.link_type, target).map(Some),
        Verdict::Never => Err(match &terms {
            // The fields are not to blame for an expression that no packet matches anyway.
            Terms::Both { expression, .. } if never_matches(expression, link)? => {
                ExpressionError::rejects_all(&Terms::Expression(expression.clone()))
            }
            terms => ExpressionError::rejects_all(terms),
        }
        .into()),
    }
}

fn never_matches(expression: &str, link: Link) -> Result<bool, FilterError> {
    Ok(verdict_of(&raw(expression, link)?)? == Verdict::Never)
}

fn verdict_of(raw: &[Raw]) -> Result<Verdict, Invalid> {
    let program = classic::decode(raw)?;
    Ok(verdict::verdict(&blocks::split(&program), &program))
}

/// libpcap's program for `expression`.
///
/// # Errors
/// As [`compile`].
pub fn raw(expression: &str, link: Link) -> Result<Vec<Raw>, FilterError> {
    attempt::compile(Terms::Expression(expression.to_owned()), link)
}

/// The eBPF program for libpcap's program `raw` of the expression `title`.
///
/// # Errors
/// [`FilterError::Invalid`] and [`FilterError::TooLong`].
pub fn translate(raw: &[Raw], title: &str, link_type: LinkType, target: &Target) -> Result<Compiled, FilterError> {
    let program = classic::decode(raw)?;
    let blocks = blocks::split(&program);
    let headers = bounds::Headers::of(&blocks, &program);
    let liveness = liveness::Liveness::of(&blocks, &program);
    let (program, blocks) = (&program[..], &blocks[..]);
    let filter = emit::Filter { program, blocks, headers: &headers, liveness: &liveness, link_type, target };
    let assembled = emit::emit(&filter).assemble()?;
    let listing = listing::listing(title, program, &assembled);
    Ok(Compiled { instructions: assembled.instructions, maps: assembled.maps, classic: program.len(), listing })
}
