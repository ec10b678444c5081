//! The whole configuration: saved, applied and compared.

use crate::model::{Absent, Apply, Change, Mode, Others, export};
use crate::problem::{Problem, Problems};
use crate::rest::call::Content;
use crate::rest::context::Context;
use crate::rest::route::Input;

pub(crate) fn save(context: &Context, _: &str) -> Result<Content, Problem> {
    Ok(Content::Document(export(&context.view.model())))
}

pub(crate) fn replace(input: Input) -> Result<Change, Problems> {
    change(input, Others::Go, Mode::CarryOut)
}

pub(crate) fn apply(input: Input) -> Result<Change, Problems> {
    change(input, Others::Stay, Mode::CarryOut)
}

pub(crate) fn compare_replaced(input: Input) -> Result<Change, Problems> {
    change(input, Others::Go, Mode::Compare)
}

pub(crate) fn compare_applied(input: Input) -> Result<Change, Problems> {
    change(input, Others::Stay, Mode::Compare)
}

fn change(input: Input, others: Others, mode: Mode) -> Result<Change, Problems> {
    // Without a body, PUT would remove everything.
    if input.body.is_null() {
        return Err(Problem::bad("config", "the body is a configuration: an object with `cubes` and `chains`").into());
    }
    Ok(Change::Apply(Apply { document: input.body, others, absent: Absent::Refused, mode }))
}
