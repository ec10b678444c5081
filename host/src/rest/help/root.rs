//! Help where no cube's data model is concerned: the root, and the framework's own words.

use axum::http::{HeaderMap, Method};
use serde_json::Value;

use super::keyword::{Help, Keyword, Kind};
use super::{Verb, link};
use crate::rest::dispatch::Call;
use crate::rest::error::Refused;
use crate::rest::{Api, framework};
use crate::topology::Cube;

/// The framework's words: what stands behind each, and which commands it takes.
const WORDS: [(&str, &[&str], &str); 9] = [
    ("attach", &[], "Attach a transparent cube to a port or a netdev"),
    ("connect", &[], "Connect a port"),
    ("cubes", &["add", "show"], "All cubes"),
    ("detach", &[], "Take a transparent cube off a port or a netdev"),
    ("disconnect", &[], "Disconnect a port"),
    ("netdevs", &["show"], "Network devices"),
    ("services", &["add", "show", "del"], "Services that are loaded"),
    ("topology", &["show"], "All cubes with their ports, peers and parents"),
    ("version", &["show"], "Version of the daemon"),
];

/// The same of one of those that a word stands for.
const ONE: [(&str, &[&str], &str); 4] = [
    ("cubes", &["show"], "A cube"),
    ("netdevs", &["show"], "A network device"),
    ("services", &["show", "del"], "A service that is loaded"),
    ("topology", &["show"], "Cubes that packets pass at a port or a netdev, in their order"),
];

/// Help on the empty path.
pub fn on_all(api: &Api, verb: Verb) -> Help {
    let mut help = Help::of("The daemon");
    let command = match verb {
        Verb::None => {
            help.commands = vec!["add", "set", "show", "del"];
            None
        }
        Verb::Add => Some("add"),
        Verb::Show => Some("show"),
        Verb::Set => Some("set"),
        Verb::Del => Some("del"),
    };
    let fits = |commands: &[&str]| command.is_none_or(|command| commands.contains(&command));
    let words = WORDS.iter().filter(|(_, commands, _)| fits(commands));
    help.params = words.map(|(word, _, about)| Keyword::new(*word, Kind::Command, *about)).collect();
    help.params.extend(services(api));
    help.params.extend(cubes(api, |_| true));
    help
}

/// Help on a path that begins with one of the framework's words.
pub async fn on_framework(api: &Api, first: &str, rest: &[String], verb: Verb) -> Result<Option<Help>, Refused> {
    let Some((_, commands, about)) = WORDS.iter().find(|(word, ..)| *word == first) else { return Ok(None) };
    let mut help = Help::of(*about);
    if verb == Verb::None {
        help.commands = commands.to_vec();
    }
    match (first, rest) {
        ("connect" | "disconnect" | "attach" | "detach", _) => link::complete(api, first, rest, &mut help).await?,
        (_, [_, ..]) => return on_one(api, first, rest, verb).await.map(Some),
        ("services", []) if verb.reads() || verb == Verb::Del => help.params = services(api),
        ("services", []) if verb == Verb::Add => {
            help.description = "Load a service from a file of the plugin directory".into();
            help.params = loading();
        }
        ("cubes", []) if verb.reads() => help.params = cubes(api, |_| true),
        ("cubes", []) if verb == Verb::Add => {
            help.description =
                "Create several cubes at once: a list of them, in YAML or JSON, on standard input".into();
        }
        ("netdevs", []) if verb.reads() => help.params = netdevs(api).await?,
        ("topology", []) if verb.reads() => {
            let ports = link::ports(&api.view.topology).into_iter();
            help.params = ports.map(|port| Keyword::new(port, Kind::Port, "Port")).collect();
            help.params.extend(netdevs(api).await?);
        }
        _ => {}
    }
    Ok(Some(help))
}

/// Help on one cube, netdev, service or chain, which has to be there as for whoever reads it.
async fn on_one(api: &Api, first: &str, rest: &[String], verb: Verb) -> Result<Help, Refused> {
    let path = [&[first.to_owned()], rest].concat();
    let (method, query, headers, body) = (Method::GET, String::new(), HeaderMap::new(), Value::Null);
    framework::answer(api.clone(), Call { method, is_head: false, path, query, headers, body }).await?;
    let (_, commands, about) = ONE.iter().find(|(word, ..)| *word == first).copied().unwrap_or_default();
    Ok(Help { commands: if verb == Verb::None { commands.to_vec() } else { Vec::new() }, ..Help::of(about) })
}

/// What is said of a service that is to be loaded.
fn loading() -> Vec<Keyword> {
    let pair = |name: &str, example: &str, about: &str| Keyword {
        example: example.to_owned(),
        simpletype: "string".to_owned(),
        pair: true,
        mandatory: true,
        ..Keyword::new(name, Kind::Leaf, about)
    };
    let kind = Keyword {
        simpletype: "enum".to_owned(),
        values: vec!["lib".to_owned()],
        ..pair("type", "", "How the service comes: a library that the daemon loads")
    };
    vec![
        kind,
        pair("uri", "libpcn_simplebridge.so", "File of the plugin directory"),
        pair("name", "simplebridge", "Name of the service, which the file has to agree with"),
    ]
}

fn services(api: &Api) -> Vec<Keyword> {
    let services = api.view.registry.services();
    let about = services.map(|(name, service)| (name, service.model.service.description.as_str()));
    about.map(|(name, about)| Keyword::new(name, Kind::Service, about)).collect()
}

async fn netdevs(api: &Api) -> Result<Vec<Keyword>, Refused> {
    let netdevs = link::netdevs(api).await?;
    Ok(netdevs.into_iter().map(|name| Keyword::new(name, Kind::Netdev, "Netdev")).collect())
}

/// The cubes that fit.
pub fn cubes(api: &Api, fits: impl Fn(&Cube) -> bool) -> Vec<Keyword> {
    let view = &*api.view;
    let cubes = view.topology.cubes().filter(|(_, cube)| fits(cube));
    cubes
        .map(|(name, cube)| Keyword::new(name.as_str(), Kind::Cube, format!("Cube of service {}", cube.service)))
        .collect()
}
