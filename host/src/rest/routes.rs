//! The framework's paths, each declared once.
//!
//! Whatever has to agree about a path reads it here. The dispatcher finds the handler, and the `Allow` of a 405 where a
//! method is not declared. `OPTIONS` makes help of summaries, verbs and fields. The root links to the first words. The
//! OpenAPI document takes paths, bodies and statuses. A body of fields is checked before its handler sees it. So adding
//! a path means adding an entry and a handler in `framework`, and nothing else.
//!
//! The first word of a path is a [`Word`], an enumeration in `polycube-api`, because two more places must know these
//! words and cannot read this table: the topology, which is below it and gives no cube such a name, and the command
//! line, which treats some of them as commands. A test finds a path whose first word is not reserved.
//!
//! Handlers have one of five shapes, by what they need: the model as it is, the kernel or plugins as well, this table,
//! nothing but the request, which they turn into a change, or the engine. None of them sees HTTP. The paths of services are not
//! here: they follow from data models, and `resource_kind` says what their nodes take.

use axum::http::StatusCode;
use polycube_api::{Method, Verb, Word};

use super::client::Role;
use super::framework::{self, bundle, config, health, links, metrics, netdevs, services, topology};
use super::openapi;
use super::openapi::components::{
    array_of, bundle as bundle_schema, by_service, configuration, cubes, one, report, root_links, version,
};
use super::route::{AnswerSchema, Body, CommandLine, Endpoint, Field, Handler, Names, Needs, Route, Segment};
use crate::file_type::FileType;

/// All of them, in the order in which the API is described.
pub(super) static ROUTES: [Route; 21] = [
    Route {
        path: &[],
        command_line: CommandLine::Hidden,
        endpoints: &[get("Where everything is", root_links, Handler::Api(framework::root))],
    },
    Route {
        path: &[Segment::Word(Word::Version)],
        command_line: CommandLine::Takes(&[Verb::Show]),
        endpoints: &[get("Version of the daemon", version, Handler::Model(framework::version))],
    },
    Route {
        path: &[Segment::Word(Word::Services)],
        command_line: CommandLine::Takes(&[Verb::Add, Verb::Show, Verb::Del]),
        endpoints: &[
            get("Services that are loaded", || array_of("service"), Handler::Model(services::all)),
            Endpoint {
                summary: "Load a service from a file of the plugin directory",
                ..post(
                    "",
                    Body::Fields(&SERVICE),
                    Handler::Engine(|context, input| Box::pin(services::load(context, input))),
                )
            },
        ],
    },
    Route {
        path: &[Segment::Word(Word::Services), Segment::Name("service", Names::Services)],
        command_line: CommandLine::Takes(&[Verb::Show, Verb::Del]),
        endpoints: &[
            get("A service that is loaded", || one("service"), Handler::Model(services::one)),
            Endpoint {
                method: Method::Delete,
                status: StatusCode::NO_CONTENT,
                ..post("Unload a service that has no cubes", Body::None, Handler::Change(services::unload))
            },
        ],
    },
    Route {
        path: &[Segment::Word(Word::Services), Segment::Name("service", Names::Services), Segment::Fixed("reload")],
        command_line: CommandLine::Action,
        endpoints: &[post(
            "Load the file of a service again, and have its cubes go on with the new code",
            Body::Fields(&RELOAD),
            Handler::Engine(|context, input| Box::pin(services::reload(context, input))),
        )],
    },
    Route {
        path: &[Segment::Word(Word::Cubes)],
        command_line: CommandLine::Takes(&[Verb::Add, Verb::Show]),
        endpoints: &[
            get(
                "All cubes, by service, each with what its service says of it in short",
                by_service,
                Handler::Live(|context, _| Box::pin(topology::by_service(context))),
            ),
            Endpoint {
                status: StatusCode::CREATED,
                ..post(
                    "Create several cubes from a list, all of them or none",
                    Body::Schema(cubes),
                    Handler::Change(topology::create),
                )
            },
        ],
    },
    Route {
        path: &[Segment::Word(Word::Cubes), Segment::Name("cube", Names::Cubes)],
        command_line: CommandLine::Takes(&[Verb::Show]),
        endpoints: &[get("A cube, without what its service adds", || one("cube"), Handler::Model(topology::cube))],
    },
    Route {
        path: &[Segment::Word(Word::Topology)],
        command_line: CommandLine::Takes(&[Verb::Show]),
        endpoints: &[get(
            "All cubes with their ports, peers and parents",
            || array_of("cube"),
            Handler::Model(topology::all),
        )],
    },
    Route {
        path: &[Segment::Word(Word::Topology), Segment::Name("place", Names::Points)],
        command_line: CommandLine::Takes(&[Verb::Show]),
        endpoints: &[get(
            "The chains at a port, as CUBE:PORT, or at a netdev",
            || one("chains"),
            Handler::Live(|context, name| Box::pin(topology::chains(context, name))),
        )],
    },
    Route {
        path: &[Segment::Word(Word::Config)],
        command_line: CommandLine::Hidden,
        endpoints: &[
            get("The whole configuration: what differs from the defaults", configuration, Handler::Model(config::save)),
            applying(
                Method::Put,
                "Bring this configuration about, as one change, and remove all else",
                Handler::Change(config::replace),
            ),
            applying(
                Method::Patch,
                "Bring this configuration about, as one change, and leave all else as it is",
                Handler::Change(config::apply),
            ),
        ],
    },
    Route {
        path: &[Segment::Word(Word::Config), Segment::Fixed("diff")],
        command_line: CommandLine::Hidden,
        endpoints: &[
            comparing(
                Method::Put,
                "What PUT to the configuration would do, without doing it",
                Handler::Comparison(config::compare_replaced),
            ),
            comparing(
                Method::Patch,
                "What PATCH to the configuration would do, without doing it",
                Handler::Comparison(config::compare_applied),
            ),
        ],
    },
    Route {
        path: &[Segment::Word(Word::Config), Segment::Fixed("bundle")],
        command_line: CommandLine::Hidden,
        endpoints: &[get(
            "What surrounds captures: netdevs, neighbours, routes, cubes and their counters",
            bundle_schema,
            Handler::Live(|context, _| Box::pin(bundle::answer(context))),
        )],
    },
    Route {
        path: &[Segment::Word(Word::Netdevs)],
        command_line: CommandLine::Takes(&[Verb::Show]),
        endpoints: &[get(
            "Network devices of the daemon's network namespace",
            || array_of("netdev"),
            Handler::Live(|context, _| Box::pin(netdevs::all(context))),
        )],
    },
    Route {
        path: &[Segment::Word(Word::Netdevs), Segment::Name("netdev", Names::Netdevs)],
        command_line: CommandLine::Takes(&[Verb::Show]),
        endpoints: &[get(
            "A network device",
            || one("netdev"),
            Handler::Live(|context, name| Box::pin(netdevs::one(context, name))),
        )],
    },
    Route {
        path: &[Segment::Word(Word::Metrics)],
        command_line: CommandLine::Hidden,
        endpoints: &[Endpoint {
            answer: AnswerSchema::Text("text/plain", || serde_json::json!({ "type": "string" })),
            ..get(
                "Counters of all cubes, for Prometheus",
                version,
                Handler::Live(|context, _| Box::pin(metrics::all(context))),
            )
        }],
    },
    Route {
        path: &[Segment::Word(Word::Healthz)],
        command_line: CommandLine::Hidden,
        endpoints: &[Endpoint {
            answer: AnswerSchema::Text("text/plain", || serde_json::json!({ "type": "string" })),
            // A probe has no secret, and learns nothing but that the daemon is there.
            needs: Needs::Nothing,
            ..get("Whether the daemon works, for probes", version, Handler::Model(health::answer))
        }],
    },
    Route {
        path: &[Segment::Word(Word::OpenApi)],
        command_line: CommandLine::Hidden,
        endpoints: &[Endpoint {
            answer: AnswerSchema::Text("application/json", || serde_json::json!({ "type": "object" })),
            ..get("This document", version, Handler::Api(openapi::answer))
        }],
    },
    Route {
        path: &[Segment::Word(Word::Connect)],
        command_line: CommandLine::Command,
        endpoints: &[post(
            "Connect a port with another port or a netdev",
            Body::Fields(&PEERS),
            Handler::Change(links::connect),
        )],
    },
    Route {
        path: &[Segment::Word(Word::Disconnect)],
        command_line: CommandLine::Command,
        endpoints: &[post("Disconnect a port", Body::Fields(&PEERS), Handler::Change(links::disconnect))],
    },
    Route {
        path: &[Segment::Word(Word::Attach)],
        command_line: CommandLine::Command,
        endpoints: &[Endpoint {
            needs: Needs::RoleForCube("cube"),
            ..post(
                "Attach a transparent cube to a port or a netdev",
                Body::Fields(&ATTACHMENT),
                Handler::Change(links::attach),
            )
        }],
    },
    Route {
        path: &[Segment::Word(Word::Detach)],
        command_line: CommandLine::Command,
        endpoints: &[Endpoint {
            needs: Needs::RoleForCube("cube"),
            ..post(
                "Detach a transparent cube from a port or a netdev",
                Body::Fields(&DETACHMENT),
                Handler::Change(links::detach),
            )
        }],
    },
];

/// Paths that are found without the base path as well: scrapers, generators and probes look for them there.
pub(super) fn is_short(path: &str) -> bool {
    [Word::Metrics, Word::OpenApi, Word::Healthz].iter().any(|word| path.strip_prefix('/') == Some(word.as_str()))
}

/// Whether what is at `path` is answered without asking for a token or a certificate.
pub(super) fn is_public(path: &str) -> bool {
    let word = path.strip_prefix(polycube_api::BASE).unwrap_or(path).strip_prefix('/').and_then(Word::parse);
    let needs_nothing = |route: &Route| route.endpoints.iter().all(|endpoint| endpoint.needs == Needs::Nothing);
    word.is_some_and(|word| ROUTES.iter().filter(|route| route.word() == Some(word)).all(needs_nothing))
}

const POINT: Field =
    Field { about: "CUBE:PORT, or a netdev", example: "br1:port1", names: Names::Points, ..text("port") };

static PEERS: [Field; 2] = [
    Field { name: "peer1", about: "One end: CUBE:PORT, or a netdev", names: Names::Ports, ..POINT },
    Field {
        name: "peer2",
        about: "The other end: CUBE:PORT, or a netdev",
        example: "veth1",
        names: Names::OtherPoints,
        ..POINT
    },
];

static ATTACHMENT: [Field; 5] = [
    Field { about: "Transparent cube", names: Names::Transparent, ..text("cube") },
    POINT,
    Field {
        about: "Where in the chain: auto is outermost",
        is_required: false,
        values: &["auto", "first", "last"],
        ..text("position")
    },
    Field { about: "The cube that it goes before", is_required: false, names: Names::CubesAtPoint, ..text("before") },
    Field { about: "The cube that it goes after", is_required: false, names: Names::CubesAtPoint, ..text("after") },
];

static DETACHMENT: [Field; 2] = [
    Field { about: "Transparent cube that is attached", names: Names::Attached, ..text("cube") },
    Field { about: "Where it is attached", example: "", names: Names::PointsOfCube, ..POINT },
];

static SERVICE: [Field; 3] = [
    Field {
        about: "What the file is: a plugin, or an eBPF object with a manifest",
        example: "lib",
        values: &FileType::NAMES,
        ..text("type")
    },
    Field { about: "File of the plugin directory", example: "libpcn_simplebridge.so", ..text("uri") },
    Field { about: "Name of the service; a library must have the same", example: "simplebridge", ..text("name") },
];

static RELOAD: [Field; 1] = [Field {
    about: "Another file of the plugin directory, with the same service",
    example: "libpcn_simplebridge.so",
    is_required: false,
    ..text("uri")
}];

/// A field that must be given.
const fn text(name: &'static str) -> Field {
    Field { name, about: "", example: "", is_required: true, values: &[], names: Names::Nothing }
}

/// A method that reads a document.
const fn get(summary: &'static str, schema: fn() -> serde_json::Value, handler: Handler) -> Endpoint {
    let answer = AnswerSchema::Document(schema);
    let needs = Needs::Role(Role::Read);
    Endpoint { method: Method::Get, summary, body: Body::None, status: StatusCode::OK, answer, needs, handler }
}

/// A method that makes a change and answers nothing.
const fn post(summary: &'static str, body: Body, handler: Handler) -> Endpoint {
    let (answer, needs) = (AnswerSchema::Nothing, Needs::Role(Role::Admin));
    Endpoint { method: Method::Post, summary, body, status: StatusCode::OK, answer, needs, handler }
}

/// A method that takes a configuration and answers what it changes.
const fn applying(method: Method, summary: &'static str, handler: Handler) -> Endpoint {
    let (answer, needs) = (AnswerSchema::Document(report), Needs::Role(Role::Admin));
    Endpoint { method, summary, body: Body::Schema(configuration), status: StatusCode::OK, answer, needs, handler }
}

/// The same, which changes nothing: those who may read may ask.
const fn comparing(method: Method, summary: &'static str, handler: Handler) -> Endpoint {
    Endpoint { needs: Needs::Role(Role::Read), ..applying(method, summary, handler) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_declared_and_every_path_once() {
        for word in Word::ALL {
            assert!(ROUTES.iter().any(|route| route.word() == Some(word)), "{word}");
        }
        for (index, route) in ROUTES.iter().enumerate() {
            let words: Vec<String> = route
                .path
                .iter()
                .map(|segment| match segment {
                    Segment::Word(word) => word.to_string(),
                    Segment::Name(name, _) | Segment::Fixed(name) => (*name).to_owned(),
                })
                .collect();
            assert_eq!(ROUTES.iter().position(|other| other.is_at(&words)), Some(index), "{words:?}");
            assert_eq!(route.word().is_none(), index == 0, "{words:?}: a cube could be called so");
            assert!(!route.endpoints.is_empty() && !route.about().is_empty(), "{words:?}");
        }
    }

    #[test]
    fn what_is_found_without_the_base_path() {
        for (path, expected) in
            [("/metrics", true), ("/openapi.json", true), ("/healthz", true), ("/cubes", false), ("metrics", false)]
        {
            assert_eq!(is_short(path), expected, "{path}");
        }
    }

    #[test]
    fn only_the_probe_needs_nobody_to_say_who_it_is() {
        let public: Vec<_> = Word::ALL.into_iter().filter(|word| is_public(&format!("/{word}"))).collect();
        assert_eq!(public, [Word::Healthz]);
        for (path, expected) in [
            ("/healthz", true),
            ("/polycube/v1/healthz", true),
            ("/polycube/v1/healthz/", false),
            ("/polycube/v1/healthz/../cubes", false),
            ("healthz", false),
            ("/", false),
            ("/polycube/v1", false),
        ] {
            assert_eq!(is_public(path), expected, "{path}");
        }
    }

    #[test]
    fn what_changes_something_needs_a_role_that_may() {
        for endpoint in ROUTES.iter().flat_map(|route| route.endpoints) {
            match endpoint.needs {
                Needs::Role(Role::Read) if matches!(endpoint.handler, Handler::Comparison(_)) => {}
                Needs::Nothing | Needs::Role(Role::Read) => assert_eq!(endpoint.method, Method::Get),
                Needs::Role(Role::Capture | Role::Admin) => assert_ne!(endpoint.method, Method::Get),
                Needs::RoleForCube(field) => {
                    let Body::Fields(fields) = endpoint.body else { panic!("{} has no fields", endpoint.summary) };
                    assert!(fields.iter().any(|other| other.name == field && other.is_required), "{field}");
                }
            }
        }
    }
}
