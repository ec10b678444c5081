//! What is stored of a model, and the model that is made of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::model::saved::{Row, rows};
use crate::model::{Change, Facts, change};
use crate::netdev::{Table, ethernet};
use crate::plugins::double::plugin;
use crate::registry::Service;
use crate::topology::Place;
use crate::wiring::Netdevs;

fn registry(services: &[(&str, ServiceKind)]) -> Registry {
    let mut registry = Registry::new().unwrap();
    for (name, kind) in services {
        registry.add(Arc::new(Service::new(plugin(name, *kind)).unwrap())).unwrap();
    }
    registry
}

fn both() -> Registry {
    registry(&[("bridge", ServiceKind::Standard), ("tap", ServiceKind::Transparent)])
}

fn facts() -> Facts {
    let mut present = Table::default();
    present.set(ethernet(1, "veth1"));
    present.set(ethernet(2, "veth2"));
    Facts { present, wired: Netdevs::default(), looks: BTreeMap::new(), failed: BTreeMap::new(), seed: [1; 16] }
}

fn name(text: &str) -> CubeName {
    CubeName::parse(text).unwrap()
}

fn point(text: &str) -> Point {
    Point::parse(text).unwrap()
}

/// `br1` with the ports `p`, at `veth1`, and `q`, which is linked to `br2`; `a`, `b` and `c` at `br1:p`, and `a` at
/// `veth2` too.
fn lab() -> Model {
    let cubes = vec![
        json!({ "name": "br1", "service-name": "bridge", "ports": [{ "name": "p", "peer": "veth1" }, { "name": "q" }] }),
        json!({ "name": "br2", "service-name": "bridge", "loglevel": "DEBUG", "ports": [{ "name": "p" }] }),
        json!({ "name": "a", "service-name": "tap", "size": 7, "parents": ["br1:p", "veth2"] }),
        json!({ "name": "b", "service-name": "tap", "parent": "br1:p" }),
        json!({ "name": "c", "service-name": "tap", "parent": "br1:p" }),
    ];
    let model = change(&Model::new(both()), Change::CreateCubes { cubes }, &facts()).unwrap();
    let connect = Change::Connect { one: "br1:q".to_owned(), other: "br2:p".to_owned() };
    change(&model, connect, &facts()).unwrap()
}

/// Writes rows as the store does.
fn write(saved: &mut Saved, rows: Vec<Row>) {
    for row in rows {
        match row {
            Row::Cube(name, Some(cube)) => drop(saved.cubes.insert(name, cube)),
            Row::Cube(name, None) => drop(saved.cubes.remove(&name)),
            Row::Chain(point, Some(chain)) => drop(saved.chains.insert(point, chain)),
            Row::Chain(point, None) => drop(saved.chains.remove(&point)),
            Row::Service(name, Some(service)) => drop(saved.services.insert(name, service)),
            Row::Service(name, None) => drop(saved.services.remove(&name)),
        }
    }
}

fn saved(model: &Model) -> Saved {
    let mut saved = Saved::default();
    let loaded = BTreeSet::from(["bridge".to_owned(), "tap".to_owned()]);
    write(&mut saved, rows(&Model::new(both()), model, &loaded));
    saved
}

#[test]
fn a_model_comes_back_as_it_was() {
    let model = lab();
    let restored = restore(&saved(&model), both());
    assert_eq!(restored.topology, model.topology);
    assert!(restored.unrestored.is_empty());
    assert_eq!(rows(&model, &restored, &BTreeSet::new()), [], "there is nothing to write");
}

#[test]
fn only_what_a_change_touches_is_written() {
    let before = lab();
    let detach = Change::Detach { cube: "b".to_owned(), port: "br1:p".to_owned() };
    let after = change(&before, detach, &facts()).unwrap();
    let written = rows(&before, &after, &BTreeSet::new());
    let [Row::Chain(at, Some(chain))] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!(at, "br1:p");
    assert_eq!(chain.iter().map(|one| one.cube.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    let after = change(&before, Change::DeleteCube { cube: "br1".to_owned() }, &facts()).unwrap();
    let written = rows(&before, &after, &BTreeSet::new());
    assert_eq!(written, [Row::Cube("br1".to_owned(), None), Row::Chain("br1:p".to_owned(), None)]);
}

#[test]
fn what_is_stored_has_the_form_that_it_had() {
    let saved = saved(&lab());
    let mut cube = serde_json::to_value(&saved.cubes["br1"]).unwrap();
    for uuid in ["/uuid", "/ports/p/uuid", "/ports/q/uuid"] {
        assert!(cube.pointer(uuid).unwrap().is_string());
        *cube.pointer_mut(uuid).unwrap() = json!("id");
    }
    let expected = json!({
        "uuid": "id",
        "service": "bridge",
        "loglevel": "INFO",
        "config": { "size": 3, "word": "" },
        "ports": {
            "p": { "id": 0, "uuid": "id", "peer": "veth1" },
            "q": { "id": 1, "uuid": "id", "peer": "br2:p" },
        },
    });
    assert_eq!(cube, expected);
    let chain = serde_json::to_value(&saved.chains["br1:p"]).unwrap();
    assert_eq!(chain, json!([{ "cube": "a", "id": 0 }, { "cube": "b", "id": 0 }, { "cube": "c", "id": 0 }]));
    assert!(serde_json::to_value(&saved.cubes["a"]).unwrap().get("ports").is_none());
}

#[test]
fn a_transparent_cube_without_its_service_keeps_its_places() {
    let model = lab();
    let stored = saved(&model);
    let without = restore(&stored, registry(&[("bridge", ServiceKind::Standard)]));
    assert_eq!(without.unrestored.keys().map(CubeName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(without.topology.chain(&point("br1:p")).is_empty());
    let reason = &without.unrestored[&name("a")].reason;
    assert_eq!(reason, "service `tap` does not exist");
    // What is written meanwhile of the same chain, and of others, loses nothing.
    let mut written = stored.clone();
    write(&mut written, rows(&without, &without, &BTreeSet::new()));
    assert_eq!(written, stored);
    let mut back = Model { registry: both(), ..without };
    for cube in ["c", "a", "b"] {
        back = restore_again(&back, &name(cube)).unwrap();
        write(&mut written, rows(&model, &back, &BTreeSet::new()));
    }
    assert_eq!(back.topology, model.topology);
    assert_eq!(written, stored);
}

#[test]
fn a_standard_cube_without_its_service_keeps_what_is_attached_to_it() {
    let model = lab();
    let stored = saved(&model);
    let without = restore(&stored, registry(&[("tap", ServiceKind::Transparent)]));
    assert_eq!(without.unrestored.keys().map(CubeName::as_str).collect::<Vec<_>>(), ["br1", "br2"]);
    assert_eq!(without.topology.points("a").len(), 1, "it is still at its netdev");
    // A cube that stood there goes, and another one takes the id of its attachment.
    let gone = change(&without, Change::DeleteCube { cube: "b".to_owned() }, &facts()).unwrap();
    let attach = Change::Attach { cube: "c".to_owned(), port: "veth1".to_owned(), place: Place::Auto };
    let gone = change(&gone, attach, &facts()).unwrap();
    let mut back = Model { registry: both(), ..gone };
    for cube in ["br2", "br1"] {
        back = restore_again(&back, &name(cube)).unwrap();
    }
    let chain: Vec<&str> =
        back.topology.chain(&point("br1:p")).iter().map(|attachment| attachment.cube.as_str()).collect();
    assert_eq!(chain, ["a", "c"]);
    let ids: Vec<u32> = back.topology.points("c").into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [0, 1], "each attachment has an id of its own");
    assert_eq!(back.topology.cube("br1").unwrap().1, model.topology.cube("br1").unwrap().1);
}

#[test]
fn a_cube_that_cannot_be_created_after_all_is_set_aside_with_everything() {
    let model = lab();
    let stored = saved(&model);
    for cube in ["br1", "a", "c"] {
        let mut aside = model.clone();
        aside.set_aside(&name(cube), "its plugin refuses");
        assert!(aside.topology.get(cube).is_none());
        let mut written = stored.clone();
        write(&mut written, rows(&model, &aside, &BTreeSet::new()));
        assert_eq!(written, stored, "{cube}: what is stored stays");
        let back = restore_again(&aside, &name(cube)).unwrap();
        assert_eq!(saved(&back), stored, "{cube}");
    }
}

#[test]
fn a_cube_that_waits_keeps_its_name_and_can_be_deleted() {
    let model = restore(&saved(&lab()), registry(&[("bridge", ServiceKind::Standard)]));
    let create =
        |name: &str| Change::CreateCube { service: "bridge".to_owned(), name: name.to_owned(), body: json!({}) };
    let attach = Change::Attach { cube: "a".to_owned(), port: "br1:p".to_owned(), place: Place::Auto };
    for refused in [create("a"), attach] {
        let message = change(&model, refused, &facts()).map(|_| ()).unwrap_err().0[0].message.clone();
        assert!(
            message.contains("cube `a` is stored and could not be brought back (service `tap` does not"),
            "{message}"
        );
    }
    let after = change(&model, Change::DeleteCube { cube: "a".to_owned() }, &facts()).unwrap();
    let mut written = saved(&lab());
    write(&mut written, rows(&model, &after, &BTreeSet::new()));
    assert!(!written.cubes.contains_key("a") && !written.chains.contains_key("veth2"), "{written:?}");
    assert_eq!(written.chains["br1:p"].iter().map(|one| one.cube.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    assert!(change(&after, create("a"), &facts()).is_ok());
}

#[test]
fn a_configuration_that_the_schema_does_not_take_any_more_is_kept() {
    let mut stored = saved(&lab());
    stored.cubes.get_mut("a").unwrap().config = json!({ "size": 99, "word": "" });
    let model = restore(&stored, both());
    let unrestored = &model.unrestored[&name("a")];
    assert!(
        unrestored.reason.starts_with("service `tap` does not take its configuration any more: size: "),
        "{unrestored:?}"
    );
    assert_eq!(unrestored.cube.config["size"], 99);
    // A member that is new gets its default.
    stored.cubes.get_mut("a").unwrap().config = json!({ "size": 9 });
    assert_eq!(restore(&stored, both()).topology.cube("a").unwrap().1.config, json!({ "size": 9, "word": "" }));
}

/// The names of the cubes that stand at a point.
fn chain_of(model: &Model, at: &str) -> Vec<String> {
    model.topology.chain(&point(at)).iter().map(|one| one.cube.to_string()).collect()
}

#[test]
fn cubes_that_all_wait_come_back_with_their_attachments_whatever_comes_first() {
    let model = lab();
    let stored = saved(&model);
    for order in [["br1", "br2", "a", "b", "c"], ["a", "b", "c", "br1", "br2"], ["c", "br1", "a", "br2", "b"]] {
        let without = restore(&stored, registry(&[]));
        assert_eq!(without.unrestored.len(), 5);
        let mut back = Model { registry: both(), ..without.clone() };
        for cube in order {
            back = restore_again(&back, &name(cube)).unwrap();
            let mut written = stored.clone();
            let loaded = BTreeSet::from(["bridge".to_owned(), "tap".to_owned()]);
            write(&mut written, rows(&without, &back, &loaded));
            written.services.clone_from(&stored.services);
            assert_eq!(written, stored, "{order:?}: nothing is lost while the rest waits");
        }
        assert_eq!(back.topology, model.topology, "{order:?}");
    }
}

#[test]
fn cubes_that_wait_at_one_point_keep_their_order() {
    let mut model = lab();
    for (cube, place) in [("c", Place::First), ("b", Place::Last)] {
        let detach = Change::Detach { cube: cube.to_owned(), port: "br1:p".to_owned() };
        model = change(&model, detach, &facts()).unwrap();
        let attach = Change::Attach { cube: cube.to_owned(), port: "br1:p".to_owned(), place };
        model = change(&model, attach, &facts()).unwrap();
    }
    assert_eq!(chain_of(&model, "br1:p"), ["c", "a", "b"]);
    let stored = saved(&model);
    for order in [["a", "c"], ["c", "a"]] {
        let mut aside = model.clone();
        for cube in order {
            aside.set_aside(&name(cube), "its plugin refuses");
        }
        let mut written = stored.clone();
        write(&mut written, rows(&model, &aside, &BTreeSet::new()));
        assert_eq!(written, stored, "{order:?}");
        for back in [["a", "c"], ["c", "a"]] {
            let mut again = aside.clone();
            for cube in back {
                again = restore_again(&again, &name(cube)).unwrap();
            }
            assert_eq!(chain_of(&again, "br1:p"), ["c", "a", "b"], "{order:?}, then {back:?}");
        }
    }
}

#[test]
fn a_new_cube_does_not_get_the_place_of_a_deleted_one_of_its_name() {
    let stored = saved(&lab());
    let model = restore(&stored, registry(&[("tap", ServiceKind::Transparent)]));
    let delete = |name: &str| Change::DeleteCube { cube: name.to_owned() };
    let create = |service: &str, name: &str, body| Change::CreateCube {
        service: service.to_owned(),
        name: name.to_owned(),
        body,
    };
    let model = change(&model, delete("b"), &facts()).unwrap();
    let model = change(&model, create("tap", "b", json!({})), &facts()).unwrap();
    let back = restore_again(&Model { registry: both(), ..model }, &name("br1")).unwrap();
    assert_eq!(chain_of(&back, "br1:p"), ["a", "c"], "nobody attached the new b");

    let model = restore(&stored, registry(&[("bridge", ServiceKind::Standard)]));
    let model = change(&model, delete("br1"), &facts()).unwrap();
    let model = change(&model, create("bridge", "br1", json!({ "ports": [{ "name": "p" }] })), &facts()).unwrap();
    let back = restore_again(&Model { registry: both(), ..model }, &name("a")).unwrap();
    assert_eq!(chain_of(&back, "br1:p"), Vec::<String>::new(), "nobody attached a to the new br1");
}

#[test]
fn a_cube_whose_row_cannot_be_read_waits_with_its_places_and_is_never_written() {
    let model = lab();
    let mut stored = saved(&model);
    let row = serde_json::to_vec(&json!({ "uuid": "u", "service": "tap", "config": 5, "loglevel": "DEBUG" })).unwrap();
    let why = serde_json::from_slice::<SavedCube>(b"{").unwrap_err();
    for name in ["a", "br2"] {
        stored.cubes.remove(name).unwrap();
        stored.unreadable.insert(name.to_owned(), UnreadableCube::of(&row, &why));
    }
    let without = restore(&stored, both());
    let waiting = &without.unrestored[&name("a")];
    assert_eq!((waiting.cube.uuid.as_str(), waiting.cube.service.as_str()), ("u", "tap"));
    assert_eq!(waiting.places.len(), 2, "it keeps its places: {waiting:?}");
    assert!(restore_again(&without, &name("a")).is_err(), "the row is what it was");
    // Other cubes come and go at the same places.
    let gone = change(&without, Change::DeleteCube { cube: "b".to_owned() }, &facts()).unwrap();
    let written = rows(&without, &gone, &BTreeSet::new());
    let [Row::Cube(cube, None), Row::Chain(at, Some(chain))] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!((cube.as_str(), at.as_str()), ("b", "br1:p"));
    assert_eq!(chain.iter().map(|one| one.cube.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert!(rows(&model, &without, &BTreeSet::new()).iter().all(|row| !matches!(row, Row::Cube(..))));
    // What is exported can be applied: nothing of it names the cube.
    assert!(!crate::model::export(&without).to_string().contains("\"a\""));
    let deleted = change(&gone, Change::DeleteCube { cube: "a".to_owned() }, &facts()).unwrap();
    assert!(rows(&gone, &deleted, &BTreeSet::new()).contains(&Row::Cube("a".to_owned(), None)));
}
