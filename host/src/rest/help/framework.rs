//! Help on the root and on the framework's own paths, from their declarations.

use polycube_api::{Help, Keyword, KeywordKind, Method, Verb};

use super::names::Asker;
use super::{reads, takes};
use crate::problem::Problem;
use crate::rest::context::Context;
use crate::rest::error::Refusal;
use crate::rest::resource_kind::ResourceKind;
use crate::rest::route::{Body, CommandLine, Field, Handler, Names, Route};

/// Help on the empty path.
pub(super) fn on_all(context: &Context, verb: Option<Verb>, routes: &'static [Route]) -> Help {
    let mut help = Help::of("The daemon");
    if verb.is_none() {
        help.commands = Verb::ALL.to_vec();
    }
    let fits = |route: &&Route| {
        let takes = verb.is_none_or(|verb| route.verbs().contains(&verb));
        route.path.len() == 1 && takes && !matches!(route.command_line, CommandLine::Hidden)
    };
    let words = routes.iter().filter(fits).filter_map(|route| Some((route.word()?, route.about())));
    help.params = words.map(|(word, about)| Keyword::new(word.as_str(), KeywordKind::Command, about)).collect();
    let asker = Asker::new(context);
    // A service has no settings, and goes with `services del`.
    if verb.is_none_or(|verb| takes(ResourceKind::Service, verb)) {
        help.params.extend(asker.services());
    }
    help.params.extend(asker.cubes(|_| true));
    help
}

/// Help on a path that begins with one of the framework's words.
pub(super) async fn on(
    context: &Context,
    path: &[String],
    verb: Option<Verb>,
    routes: &'static [Route],
) -> Result<Option<Help>, Refusal> {
    // The operands of a command follow its word as if they were words of its path.
    let is_command = |route: &&Route| matches!(route.command_line, CommandLine::Command) && route.is_at(&path[..1]);
    if let Some(command) = routes.iter().find(is_command) {
        return Ok(Some(on_operands(context, command, &path[1..]).await?));
    }
    if let Some(help) = on_action(context, path, verb, routes).await? {
        return Ok(Some(help));
    }
    match routes.iter().find(|route| route.is_at(path)) {
        Some(route) => Ok(Some(on_route(context, route, path, verb, routes).await?)),
        None if routes.iter().any(|route| route.is_at(&path[..1])) => {
            let message = format!("there is nothing at `{}`", path.join(" "));
            let problem = Problem::new(polycube_api::ErrorTag::UnknownElement, path.join("/"), message);
            Err(Refusal::from(problem))
        }
        None => Ok(None),
    }
}

async fn on_route(
    context: &Context,
    route: &'static Route,
    path: &[String],
    verb: Option<Verb>,
    routes: &'static [Route],
) -> Result<Help, Refusal> {
    if let (Some(_), Some(name)) = (route.name(), path.last()) {
        exists(context, route, name).await?;
    }
    let mut help = Help::of(route.about());
    if verb.is_none() {
        help.commands = route.verbs().to_vec();
    }
    if verb == Some(Verb::Add) {
        let created = route.endpoint(Method::Post);
        help.description = created.map_or(route.about(), |endpoint| endpoint.summary).to_owned();
        if let Some(Body::Fields(fields)) = created.map(|endpoint| &endpoint.body) {
            help.params = fields.iter().map(|field| pair(field, &[])).collect();
        }
    }
    let below = routes.iter().find(|one| one.word() == route.word() && one.path.len() == path.len() + 1);
    let takes = |route: &&Route| reads(verb) || verb.is_some_and(|verb| route.verbs().contains(&verb));
    if let Some((_, names)) = below.filter(takes).and_then(Route::name) {
        help.params = Asker::new(context).keywords(names).await?;
    }
    if verb.is_none() {
        let actions = routes.iter().filter(|one| one.word() == route.word() && route.word().is_some());
        let actions = actions.filter_map(|one| Some((one.action()?, one.about())));
        help.params.extend(actions.map(|(word, about)| Keyword::new(word, KeywordKind::Command, about)));
    }
    Ok(help)
}

/// Help on a path that has an action's word before a name, or at its end.
async fn on_action(
    context: &Context,
    path: &[String],
    verb: Option<Verb>,
    routes: &'static [Route],
) -> Result<Option<Help>, Refusal> {
    let is_first = |route: &&Route| path.get(1).is_some_and(|word| route.action() == Some(word.as_str()));
    let is_of_word = |route: &&Route| route.is_at(path) || path.len() < 4 && is_first(route) && route.word_is(&path[0]);
    let actions = routes.iter().filter(|route| route.action().is_some() && verb.is_none());
    let Some(action) = { actions }.find(is_of_word) else { return Ok(None) };
    let name = if action.is_at(path) { path.get(1) } else { path.get(2) };
    let mut help = Help::of(action.about());
    let above = routes.iter().find(|route| route.word() == action.word() && route.name().is_some());
    match (name, above) {
        (None, Some(above)) => {
            let names = above.name().map_or(Names::Nothing, |(_, names)| names);
            help.params = Asker::new(context).keywords(names).await?;
        }
        (Some(name), above) => {
            if let Some(above) = above {
                exists(context, above, name).await?;
            }
            if let Some(Body::Fields(fields)) = action.endpoint(Method::Post).map(|endpoint| &endpoint.body) {
                help.optional = fields.iter().map(|field| pair(field, &[])).collect();
            }
        }
        (None, None) => {}
    }
    Ok(Some(help))
}

/// Refuses a name as a request to read it would.
async fn exists(context: &Context, route: &Route, name: &str) -> Result<(), Refusal> {
    let found = match route.endpoint(Method::Get).map(|endpoint| endpoint.handler) {
        Some(Handler::Model(read)) => read(context, name),
        Some(Handler::Live(read)) => read(context.clone(), name.to_owned()).await,
        Some(Handler::Api(_) | Handler::Change(_) | Handler::Comparison(_) | Handler::Engine(_)) | None => {
            return Ok(());
        }
    };
    found.map(drop).map_err(Refusal::framework)
}

/// Help on a command, where `given` are the operands that are there already.
async fn on_operands(context: &Context, command: &Route, given: &[String]) -> Result<Help, Problem> {
    let mut help = Help::of(command.about());
    let fields = command.endpoint(Method::Post).map(|endpoint| &endpoint.body);
    let Some(Body::Fields(fields)) = fields else { return Ok(help) };
    let (operands, options): (Vec<&Field>, Vec<&Field>) = fields.iter().partition(|field| field.is_required);
    let asker = Asker::new(context);
    match operands.get(given.len()) {
        Some(Field { name, about, example, names, .. }) => {
            let key = Keyword::key(name, about, asker.names(*names, given).await?);
            help.params.push(Keyword { example: (*example).to_owned(), ..key });
        }
        None if given.len() == operands.len() => {
            for option in options {
                let values = asker.names(option.names, given).await?;
                help.optional.push(pair(option, &values));
            }
        }
        None => {}
    }
    Ok(help)
}

/// A field as `name=value`; `values` are those that exist.
fn pair(field: &Field, values: &[String]) -> Keyword {
    let Field { name, about, example, is_required, .. } = *field;
    let fixed = field.values.iter().map(|&value| value.to_owned());
    Keyword {
        simpletype: if field.values.is_empty() { "string" } else { "enum" }.to_owned(),
        example: example.to_owned(),
        values: fixed.chain(values.iter().cloned()).collect(),
        pair: true,
        mandatory: is_required,
        ..Keyword::new(name, KeywordKind::Leaf, about)
    }
}
