//! What a service lets one set at a port: checked in every request, kept, stored, and asked of a new service again.

use super::*;
use crate::model::saved::{Row, Saved, rows};
use crate::model::{Absent, Apply, Mode, Others, export, restore};

/// A service whose ports have an address, a cost, a list and a leaf that is fixed.
fn router(cost: &Value) -> Arc<Service> {
    let mut router = plugin("router", ServiceKind::Standard);
    let via = json!({ "type": "object", "properties": { "id": { "type": "integer" }, "on": { "type": "boolean" } } });
    let items = json!({
        "type": "object",
        "required": ["name", "ip"],
        "properties": {
            "name": { "type": "string" },
            "ip": { "type": "string", "format": "ip-prefix" },
            "cost": cost,
            "vlan": { "type": "integer", "default": 1, "x-create-only": true },
            "metric": { "type": "integer", "x-alias": "/cost" },
            "via": { "type": "array", "x-list-key": "id", "items": via },
        },
    });
    router.service.config["properties"]["ports"] = json!({ "type": "array", "x-list-key": "name", "items": items });
    Arc::new(Service::new(router).unwrap())
}

fn cost() -> Value {
    json!({ "type": "integer", "minimum": 1, "default": 10 })
}

/// `r1` with the ports `p` and `q`.
fn routed() -> Model {
    let mut registry = Registry::new().unwrap();
    registry.add(router(&cost())).unwrap();
    let cubes = vec![json!({ "name": "r1", "service-name": "router", "ports": [
        { "name": "p", "ip": "10.0.0.1/24", "peer": "veth1" },
        { "name": "q", "ip": "10.0.1.1/24", "cost": 3, "vlan": 7, "via": [{ "id": 1 }] },
    ] })];
    change(&Model::new(registry), Change::CreateCubes { cubes }, &facts()).unwrap()
}

fn settings(model: &Model, port: &str) -> Value {
    model.topology.port("r1", port).unwrap().settings.clone()
}

fn add(port: &str, body: Value) -> Change {
    Change::CreatePort { cube: "r1".to_owned(), port: port.to_owned(), body }
}

fn set(port: &str, path: &str, operation: Operation, body: Value) -> Change {
    let path = path.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Change::ConfigurePort { cube: "r1".to_owned(), port: port.to_owned(), path, operation, body }
}

/// Asserts what is set at a port after a change.
#[track_caller]
fn check_set(asked: Change, port: &str, expected: &Value) {
    let model = change(&routed(), asked, &facts()).unwrap();
    assert_eq!(settings(&model, port), *expected);
}

/// Asserts that a change is refused about one path.
#[track_caller]
fn check_wrong(asked: Change, path: &str, message: &str) {
    let Problems(problems) = change(&routed(), asked, &facts()).err().unwrap();
    let found: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.to_string())).collect();
    assert!(found.len() == 1 && found[0].0 == path && found[0].1.contains(message), "{found:?}");
}

#[test]
fn a_new_port_gets_what_is_given_and_defaults() {
    let filled = json!({ "cost": 10, "vlan": 1, "via": [], "ip": "10.0.2.1/24" });
    check_set(add("r", json!({ "ip": "10.0.2.1/24" })), "r", &filled);
    let given = json!({ "cost": 4, "vlan": 1, "via": [], "ip": "::1" });
    check_set(add("r", json!({ "ip": "::1", "metric": "4", "peer": "veth2" })), "r", &given);
    let q = json!({ "cost": 3, "vlan": 7, "via": [{ "id": 1 }], "ip": "10.0.1.1/24" });
    assert_eq!(settings(&routed(), "q"), q);
}

#[test]
fn a_setting_changes_alone_or_with_all_others() {
    let q = |cost: i64, via: Value| json!({ "cost": cost, "vlan": 7, "via": via, "ip": "10.0.1.1/24" });
    let one = json!([{ "id": 1 }]);
    check_set(set("q", "", Operation::Merge, json!({ "cost": 5 })), "q", &q(5, one.clone()));
    check_set(set("q", "cost", Operation::Merge, json!("5")), "q", &q(5, one.clone()));
    check_set(set("q", "metric", Operation::Merge, json!(6)), "q", &q(6, one.clone()));
    check_set(set("q", "cost", Operation::Remove, Value::Null), "q", &q(10, one));
    let via = json!([{ "id": 1 }, { "on": true, "id": 2 }]);
    check_set(set("q", "via/2", Operation::Create, json!({ "on": true })), "q", &q(3, via));
    let replaced = json!({ "ip": "10.9.9.9/32", "vlan": 7 });
    check_set(
        set("q", "", Operation::Replace, replaced),
        "q",
        &json!({ "cost": 10, "vlan": 7, "via": [], "ip": "10.9.9.9/32" }),
    );
    let model = change(&routed(), set("p", "", Operation::Merge, json!({ "cost": 2 })), &facts()).unwrap();
    assert_eq!(model.topology.port("r1", "p").unwrap().peer, Some(Point::Netdev("veth1".to_owned())), "it stays");
}

#[test]
fn what_the_schema_refuses_is_refused_wherever_it_is_said() {
    let wrong = json!({ "ip": "10.0.0.300" });
    let message = "is not a prefix";
    check_wrong(add("r", wrong.clone()), "r1/ports/r/ip", message);
    check_wrong(add("r", json!({})), "r1/ports/r/ip", "`ip` is missing");
    check_wrong(add("r", json!({ "ip": "::1", "ipp": 1 })), "r1/ports/r/ipp", "did you mean `ip`?");
    check_wrong(set("p", "", Operation::Merge, wrong.clone()), "r1/ports/p/ip", message);
    check_wrong(set("p", "", Operation::Replace, json!({ "cost": 5 })), "r1/ports/p/ip", "`ip` is missing");
    check_wrong(set("p", "ip", Operation::Merge, json!("x")), "r1/ports/p/ip", message);
    check_wrong(set("p", "ip", Operation::Remove, Value::Null), "r1/ports/p/ip", "`ip` is missing");
    check_wrong(set("p", "cost", Operation::Merge, json!(0)), "r1/ports/p/cost", "0 is less than the minimum of 1");
    check_wrong(
        set("p", "vlan", Operation::Merge, json!(2)),
        "r1/ports/p/vlan",
        "`vlan` is fixed when the port is created: delete the port and create it with the new value",
    );
    let cube = |port: Value| json!({ "name": "r2", "service-name": "router", "ports": [port] });
    let bulk = Change::CreateCubes { cubes: vec![cube(json!({ "name": "p", "ip": "x" }))] };
    check_wrong(bulk, "r2/ports/p/ip", message);
    let apply = |cube: Value| {
        let document = json!({ "cubes": [cube] });
        Change::Apply(Apply { document, others: Others::Stay, absent: Absent::Refused, mode: Mode::CarryOut })
    };
    check_wrong(apply(cube(json!({ "name": "p", "ip": "x" }))), "config/cubes/r2/ports/p/ip", message);
    let there =
        json!({ "name": "r1", "service-name": "router", "ports": [{ "name": "p", "ip": "x", "peer": "veth1" }] });
    check_wrong(apply(there), "config/cubes/r1/ports/p/ip", message);
    let mut failed = facts();
    failed.failed.insert(CubeName::parse("r1").unwrap(), "panicked".to_owned());
    let refused = change(&routed(), set("p", "cost", Operation::Merge, json!(5)), &failed).err().unwrap();
    assert!(refused.0[0].message.contains("the plugin of cube `r1` failed"), "{refused:?}");
}

#[test]
fn the_configuration_as_a_document_says_what_is_not_by_default() {
    let model = routed();
    let saved = export(&model);
    let ports = json!([
        { "name": "p", "peer": "veth1", "ip": "10.0.0.1/24" },
        { "name": "q", "ip": "10.0.1.1/24", "cost": 3, "vlan": 7, "via": [{ "id": 1 }] },
    ]);
    assert_eq!(saved["cubes"][0]["ports"], ports);
    let apply = |document| Apply { document, others: Others::Go, absent: Absent::Refused, mode: Mode::CarryOut };
    let same = change(&model, Change::Apply(apply(saved.clone())), &facts()).unwrap();
    assert_eq!(same.topology, model.topology, "applied again, it changes nothing");
    let mut other = saved;
    other["cubes"][0]["ports"][1]["cost"] = 4.into();
    let asked = Change::Apply(apply(other));
    let changed = change(&model, asked.clone(), &facts()).unwrap();
    assert_eq!(settings(&changed, "q")["cost"], 4);
    let report = crate::model::answer(&model, &changed, &asked, &facts());
    assert_eq!(report["cubes"][0]["changes"], json!([{ "path": "ports/q/cost", "from": 3, "to": 4 }]));
}

#[test]
fn what_is_stored_comes_back_and_a_schema_that_refuses_it_sets_the_cube_aside() {
    let model = routed();
    let mut registry = Registry::new().unwrap();
    registry.add(router(&cost())).unwrap();
    let mut saved = Saved::default();
    for row in rows(&Model::new(registry.clone()), &model, &Default::default()) {
        if let Row::Cube(name, Some(cube)) = row {
            saved.cubes.insert(name, serde_json::from_value(serde_json::to_value(cube).unwrap()).unwrap());
        }
    }
    assert_eq!(restore(&saved, registry).topology, model.topology);
    let mut other = Registry::new().unwrap();
    other.add(router(&json!({ "type": "integer", "maximum": 5, "default": 5 }))).unwrap();
    let aside = restore(&saved, other);
    let waiting = &aside.unrestored[&CubeName::parse("r1").unwrap()];
    let reason = "service `router` does not take the settings of port `p` any more: cost: cost: 10 is greater than";
    assert!(waiting.reason.starts_with(reason), "{}", waiting.reason);
    assert_eq!(waiting.cube, saved.cubes["r1"], "all that is stored stays");
    assert_eq!(export(&aside)["cubes"][0]["ports"][1]["cost"], 3, "and is in the document");
}

#[test]
fn other_code_completes_the_settings_of_ports_or_is_refused() {
    let reload = |cost| Change::ReloadService { name: "router".to_owned(), service: router(&cost) };
    let model = change(&routed(), reload(json!({ "type": "integer", "default": 1 })), &facts()).unwrap();
    assert_eq!(settings(&model, "p")["cost"], 10, "what is set stays");
    let message = "libpcn_router.so does not take the settings of port r1:p: cost: cost: 10 is not of type \"boolean\"";
    let Problems(problems) = change(&routed(), reload(json!({ "type": "boolean" })), &facts()).err().unwrap();
    assert_eq!((problems.len(), problems[0].path.as_str()), (2, "r1"));
    assert!(problems[0].message.starts_with(message), "{}", problems[0].message);
}
