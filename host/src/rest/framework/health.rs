//! `GET /healthz`: whether the daemon works, for probes, which need no token for it.

use std::time::Duration;

use crate::problem::Problem;
use crate::rest::call::Content;
use crate::rest::context::Context;

/// How long the engine may be busy: longer than any call of a plugin that it waits for.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn answer(context: &Context, _: &str) -> Result<Content, Problem> {
    let silence = context.pulse.silence();
    if silence > PATIENCE {
        let message = format!("the engine has not answered for {} s: the log may say why", silence.as_secs());
        return Err(Problem::failed("healthz", message));
    }
    Ok(Content::Text { media_type: "text/plain; charset=utf-8", text: "ok\n".to_owned() })
}
