//! `plugin`: projects for plugins of one's own, written, checked and tried.

mod dev;

use crate::failure::Failure;
use crate::grammar::PluginOrder;
use crate::output::print;
use crate::project;
use crate::session::Session;
use crate::show::{self, Schema};
use crate::terminal::width;

/// Does what is asked for.
///
/// # Errors
///
/// The project cannot be written or built, the plugin cannot be loaded, or the daemon refuses.
pub(crate) fn run(order: &PluginOrder, session: impl FnOnce() -> Result<Session, Failure>) -> Result<(), Failure> {
    match order {
        PluginOrder::New(asked) => print(&project::write(asked)?),
        PluginOrder::Check { file, view } => {
            let found = project::check(file)?;
            print(&show::render(view, &found, Schema::default(), width()))
        }
        PluginOrder::Dev(asked) => dev::run(asked, &session()?),
    }
}
