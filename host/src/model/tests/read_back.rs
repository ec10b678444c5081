//! What is shown of cubes can be written again.

use super::*;
use crate::model::export;

const ID: &str = "00000000-0000-4000-8000-000000000001";
const OTHER: &str = "00000000-0000-4000-8000-000000000002";

/// `br1` of [`lab`] as it is shown.
fn shown(port_uuid: &str) -> Value {
    json!({
        "name": "br9", "uuid": ID, "service-name": "bridge", "type": "TC", "loglevel": "INFO",
        "ports": [{
            "name": "p", "uuid": port_uuid, "status": "UP", "peer": "veth2", "netdev": "veth2",
            "ingress-chain": "br9:p", "egress-chain": "br9:p", "counters": { "in-packets": 5 },
        }],
        "size": 4, "word": "", "failure": "its plugin panicked",
    })
}

#[test]
fn a_new_cube_can_be_what_another_was() {
    let made = change(&lab(), create("bridge", "br9", shown(OTHER)), &facts()).unwrap();
    let (_, cube) = made.topology.get("br9").unwrap();
    assert_eq!((cube.uuid.as_str(), &cube.config["size"]), (ID, &json!(4)));
    assert_eq!(made.topology.port("br9", "p").unwrap().uuid, OTHER);
    let list = Change::CreateCubes { cubes: vec![shown(OTHER)] };
    let listed = change(&lab(), list, &facts()).unwrap();
    assert_eq!(listed.topology, made.topology, "one by one or as a list");
}

#[test]
fn a_transparent_cube_comes_back_where_it_was() {
    let points = json!([{ "name": "veth2", "status": "UP", "ingress-chain": "", "egress-chain": "" }]);
    let body = json!({ "uuid": ID, "parent": "veth2", "parents": ["veth2"], "points": points });
    check(
        create("tap", "t", body),
        |model| model.topology.points("t").into_iter().map(|(_, point)| Value::from(point.to_string())).collect(),
        json!(["veth2"]),
    );
    check_refused(create("tap", "t", json!({ "parent": "veth9" })), &facts(), &[("t/parent", "does not exist")]);
    check_refused(create("bridge", "t", json!({ "parent": "veth2" })), &facts(), &[("t/parent", "unknown key")]);
}

#[test]
fn cubes_come_back_in_their_order() {
    let shown = |name: &str, point: &str, position: u64| {
        let points = json!([{ "name": point, "status": "UP", "position": position }]);
        json!({ "name": name, "service-name": "tap", "uuid": uuid(name), "parents": [point], "points": points })
    };
    for point in ["veth2", "br2:p"] {
        let cubes = vec![shown("x", point, 1), shown("y", point, 0), shown("z", point, 2)];
        let made = change(&lab(), Change::CreateCubes { cubes }, &facts()).unwrap();
        assert_eq!(export(&made)["chains"][point], json!(["y", "x", "z"]));
    }
}

/// A UUID for a name of one letter.
fn uuid(name: &str) -> String {
    format!("00000000-0000-4000-8000-0000000000{:02x}", name.as_bytes()[0])
}

#[test]
fn what_contradicts_is_refused_in_one_line() {
    let with = |key: &str, value: Value| {
        let mut body = shown(OTHER);
        body[key] = value;
        create("bridge", "br9", body)
    };
    check_refused(with("service-name", "tap".into()), &facts(), &[("br9/service-name", "the service is `bridge`")]);
    check_refused(with("name", "br8".into()), &facts(), &[("br9/name", "the name is `br9` in the path")]);
    check_refused(with("uuid", "1".into()), &facts(), &[("br9/uuid", "`uuid` is a UUID")]);
    check_refused(create("bridge", "br9", shown(ID)), &facts(), &[("br9/ports/p/uuid", "another cube's or port's")]);
    let taken = lab().topology.get("br1").unwrap().1.uuid.clone();
    check_refused(with("uuid", taken.into()), &facts(), &[("br9/uuid", "another cube's or port's")]);
    for (key, value) in [("points", json!([])), ("failure", json!("why"))] {
        let written = json!({ key: value });
        check_refused(create("tap", "t", written), &facts(), &[(&format!("t/{key}"), key)]);
    }
    let set = configure("br1", &[], Operation::Merge, json!({ "uuid": ID }));
    check_refused(set, &facts(), &[("br1/uuid", "read-only")]);
}

#[test]
fn a_cube_that_is_shown_and_added_again_exists_already() {
    let made = change(&lab(), create("bridge", "br9", shown(OTHER)), &facts()).unwrap();
    let mut moved = shown(OTHER);
    moved["size"] = 5.into();
    for body in [shown(OTHER), moved] {
        let list = Change::CreateCubes { cubes: vec![body.clone()] };
        for again in [create("bridge", "br9", body), list] {
            let Problems(problems) = change(&made, again, &facts()).err().unwrap();
            let said = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(
                said[0].contains("cube `br9` already exists (service bridge)") && said[0].contains("PATCH"),
                "{said:?}"
            );
        }
    }
}

#[test]
fn a_port_can_be_what_another_was() {
    let port = |body| Change::CreatePort { cube: "br2".to_owned(), port: "q".to_owned(), body };
    let shown = json!({ "name": "q", "uuid": ID, "status": "DOWN", "peer": "", "netdev": "", "counters": null });
    check(port(shown), |model| model.topology.port("br2", "q").unwrap().uuid.clone().into(), ID);
    check_refused(port(json!({ "uuid": 5 })), &facts(), &[("br2/ports/q/uuid", "`uuid` is a UUID")]);
}
