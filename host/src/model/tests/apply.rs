use super::*;
use crate::model::{Absent, Apply, Mode, Others, answer, export};

fn apply(document: Value, others: Others) -> Change {
    Change::Apply(Apply { document, others, absent: Absent::Refused, mode: Mode::CarryOut })
}

fn document(model: &Model) -> Value {
    export(model)
}

/// The document of [`lab`].
fn site() -> Value {
    json!({
        "cubes": [
            { "name": "a", "service-name": "tap" },
            { "name": "br1", "service-name": "bridge", "ports": [{ "name": "p", "peer": "veth1" }, { "name": "q" }] },
            { "name": "br2", "service-name": "bridge", "ports": [{ "name": "p" }] },
        ],
        "chains": { "br1:p": ["a"] },
    })
}

/// What became of cubes and chains, without those that were left.
#[track_caller]
fn results(before: &Model, asked: &Change, facts: &Facts) -> (Model, Vec<String>) {
    let after = change(before, asked.clone(), facts).unwrap();
    let report = answer(before, &after, asked, facts);
    let lists = ["cubes", "chains"].into_iter().flat_map(|kind| report[kind].as_array().unwrap());
    let results =
        lists.map(|entry| format!("{} {}", entry["result"].as_str().unwrap(), entry["name"].as_str().unwrap()));
    (after, results.filter(|line| !line.starts_with("left ")).collect())
}

#[test]
fn what_is_saved_is_what_was_asked_for() {
    assert_eq!(document(&lab()), site());
    let set = configure("a", &[], Operation::Merge, json!({ "size": 4, "loglevel": "DEBUG" }));
    let changed = change(&lab(), set, &facts()).unwrap();
    let expected = json!({ "name": "a", "service-name": "tap", "loglevel": "DEBUG", "size": 4 });
    assert_eq!(document(&changed)["cubes"][0], expected);
}

#[test]
fn a_document_is_brought_about_once() {
    let empty = Model::new(lab().registry);
    let (made, results_) = results(&empty, &apply(site(), Others::Stay), &facts());
    assert_eq!(results_, ["created a", "created br1", "created br2", "created br1:p"]);
    assert_eq!(document(&made), site());
    for others in [Others::Stay, Others::Go] {
        let (again, results) = results(&made, &apply(site(), others), &facts());
        assert_eq!(results, Vec::<String>::new());
        assert_eq!(again.topology, made.topology, "not even a UUID is another");
        assert!(made.topology.difference(&again.topology).cubes.is_empty());
    }
}

#[test]
fn what_a_document_does_not_mention_stays_unless_it_is_to_go() {
    let wanted = json!({ "cubes": [{ "name": "br1", "service-name": "bridge", "ports": [{ "name": "q" }] }] });
    let (stays, results_) = results(&lab(), &apply(wanted.clone(), Others::Stay), &facts());
    assert_eq!(results_, ["unlisted a", "unlisted br2", "unlisted br1:p"]);
    assert_eq!(stays.topology, lab().topology);
    let (gone, results_) = results(&lab(), &apply(wanted.clone(), Others::Go), &facts());
    assert_eq!(results_, ["removed a", "changed br1", "removed br2", "removed br1:p"]);
    assert_eq!(document(&gone), json!({ "cubes": wanted["cubes"], "chains": {} }));
    let (nothing, _) = results(&lab(), &apply(Value::Null, Others::Go), &facts());
    assert_eq!(document(&nothing), json!({ "cubes": [], "chains": {} }));
}

#[test]
fn a_cube_in_a_document_is_described_completely() {
    let set = configure("a", &[], Operation::Merge, json!({ "size": 4, "loglevel": "DEBUG" }));
    let changed = change(&lab(), set, &facts()).unwrap();
    let asked = apply(site(), Others::Stay);
    let after = change(&changed, asked.clone(), &facts()).unwrap();
    assert_eq!(after.topology, lab().topology, "what is not mentioned has its default");
    let report = answer(&changed, &after, &asked, &facts());
    let changes = json!([
        { "path": "loglevel", "from": "DEBUG", "to": "INFO" },
        { "path": "size", "from": 4, "to": 3 },
    ]);
    assert_eq!(report["cubes"][0]["changes"], changes);
}

#[test]
fn ports_can_exaskedtheir_peers() {
    let mut wanted = site();
    wanted["cubes"][1]["ports"] = json!([{ "name": "p", "peer": "veth2" }, { "name": "q", "peer": "veth1" }]);
    let (moved, results) = results(&lab(), &apply(wanted.clone(), Others::Stay), &facts());
    assert_eq!(results, ["changed br1"]);
    assert_eq!(document(&moved), wanted);
    let ids = |model: &Model| {
        let ports = model.topology.get("br1").unwrap().1.ports().map(|(_, port)| (port.id, port.uuid.clone()));
        ports.collect::<Vec<_>>()
    };
    assert_eq!(ids(&moved), ids(&lab()));
    wanted["cubes"][1]["ports"] = json!([{ "name": "q" }]);
    wanted["cubes"][2]["ports"] = json!([{ "name": "p", "peer": "uplink" }]);
    wanted["chains"] = json!({});
    let refused = change(&moved, apply(wanted.clone(), Others::Stay), &facts()).err().unwrap();
    assert!(refused.0[0].to_string().contains("`veth2` is already the peer of br1:p"), "{refused:?}");
    let gone = change(&moved, apply(wanted, Others::Go), &facts()).unwrap();
    assert_eq!(peer("br2", "p")(&gone), "veth2", "an alternative name is the same netdev");
}

#[test]
fn a_chain_is_reordered_and_cubes_keep_their_ids() {
    let mut wanted = site();
    for name in ["b", "c", "d"] {
        wanted["cubes"].as_array_mut().unwrap().push(json!({ "name": name, "service-name": "tap" }));
    }
    wanted["chains"] = json!({ "br1:p": ["d", "a", "b"], "veth2": ["a", "c"] });
    let made = change(&lab(), apply(wanted.clone(), Others::Go), &facts()).unwrap();
    assert_eq!(document(&made)["chains"], wanted["chains"]);
    let inner: Vec<_> =
        made.topology.chain(&Point::parse("br1:p").unwrap()).iter().map(|one| one.cube.to_string()).collect();
    assert_eq!(inner, ["b", "a", "d"], "the last from the wire is next to the port");
    wanted["chains"] = json!({ "br1:p": ["b", "d"], "veth2": ["c", "a"] });
    let stay = change(&made, apply(wanted.clone(), Others::Stay), &facts()).unwrap();
    assert_eq!(document(&stay)["chains"], json!({ "br1:p": ["b", "d", "a"], "veth2": ["c", "a"] }));
    assert_eq!(stay.topology.points("a"), made.topology.points("a"));
    let (gone, results) = results(&made, &apply(wanted.clone(), Others::Go), &facts());
    assert_eq!(results, ["changed br1:p", "changed veth2"]);
    assert_eq!(document(&gone)["chains"], wanted["chains"]);
    assert_eq!(gone.topology.points("a").len(), 1);
}

#[test]
fn a_document_that_contradicts_itself_is_refused_with_every_place() {
    let bridge = |name: &str, ports: Value| json!({ "name": name, "service-name": "bridge", "ports": ports });
    let refused = |document: Value, expected: &[(&str, &str)]| {
        check_refused(apply(document, Others::Stay), &facts(), expected);
    };
    refused(json!([1]), &[("config", "an object with `cubes` and `chains`")]);
    refused(json!({ "cube": [] }), &[("config/cube", "did you mean `cubes`")]);
    refused(
        json!({
            "cubes": [
                bridge("x", json!([])), bridge("x", json!([])), 5, { "name": "y" },
                { "name": "a", "service-name": "bridge" }, { "name": "z", "service-name": "tab" },
                { "name": "w", "service-name": "tap", "sice": 1, "size": 10, "parent": "veth1" },
            ],
            "chains": { "veth2": ["a", "a"], "br1:p": 5, "br1:q": [[]] },
        }),
        &[
            ("config/cubes/1", "cube `x` is in the document twice"),
            ("config/cubes/2", "an object with name and service-name"),
            ("config/cubes/3/service-name", "is missing"),
            ("config/cubes/6/parent", "`chains` says where"),
            ("config/chains/veth2/1", "twice"),
            ("config/chains/br1:p", "is a list of cubes"),
            ("config/chains/br1:q/0", "is a string"),
            ("config/cubes/a/service-name", "is of service `tap`"),
            ("config/cubes/z/service-name", "did you mean `tap`"),
            ("config/cubes/w/sice", "did you mean `size`"),
            ("config/cubes/w/size", "9"),
        ],
    );
}

#[test]
fn peers_and_places_that_cannot_be_are_refused() {
    let bridge = |name: &str, ports: Value| json!({ "name": name, "service-name": "bridge", "ports": ports });
    let refused = |document: Value, expected: &[(&str, &str)]| {
        check_refused(apply(document, Others::Stay), &facts(), expected);
    };
    refused(
        json!({ "cubes": [
            bridge("x", json!([{ "name": "p", "peer": "veth2" }, { "name": "q", "peer": "uplink" }])),
            bridge("br2", json!([{ "name": "p" }, { "name": "p" }, { "name": "r", "peer": "veth9" }])),
        ] }),
        &[
            ("config/cubes/br2/ports/r/peer", "does not exist"),
            ("config/cubes/x/ports/q/peer", "`uplink` is given to x:p too"),
        ],
    );
    refused(
        json!({ "cubes": [bridge("br2", json!([{ "name": "p" }, { "name": "p" }]))] }),
        &[("config/cubes/br2/ports/p", "in the list twice")],
    );
    refused(
        json!({ "chains": { "br1:z": ["a"], "veth9": ["a"], "veth2": ["br1", "nobody"], "br2:p": ["a"], "a:b:c": [] } }),
        &[
            ("config/chains/br1:z", "port `z` of cube `br1` does not exist"),
            ("config/chains/veth9", "does not exist"),
            ("config/chains/veth2/br1", "is not transparent"),
            ("config/chains/veth2/nobody", "cube `nobody` does not exist"),
            ("config/chains/a:b:c", "contains ':'"),
        ],
    );
    refused(
        json!({ "chains": { "veth2": ["a"], "uplink": [] } }),
        &[("config/chains/uplink", "veth2 has a chain in the document already")],
    );
}

#[test]
fn a_netdev_that_is_gone_does_not_hinder_where_it_is_wanted_already_or_awaited() {
    let mut gone = facts();
    gone.present.remove(1);
    assert!(change(&lab(), apply(site(), Others::Go), &gone).is_ok(), "the peer that it has may be gone");
    let empty = Model::new(lab().registry);
    check_refused_by(&empty, apply(site(), Others::Go), &gone, "netdev `veth1` does not exist");
    let awaited = Apply { document: site(), others: Others::Stay, absent: Absent::Awaited, mode: Mode::CarryOut };
    assert_eq!(document(&change(&empty, Change::Apply(awaited), &gone).unwrap()), site());
    let mut unfit = site();
    unfit["cubes"][1]["ports"][0]["peer"] = "tun0".into();
    let awaited = Apply { document: unfit, others: Others::Stay, absent: Absent::Awaited, mode: Mode::CarryOut };
    check_refused_by(&empty, Change::Apply(awaited), &gone, "no Ethernet headers");
}

#[track_caller]
fn check_refused_by(model: &Model, asked: Change, facts: &Facts, expected: &str) {
    let problems = change(model, asked, facts).map(|model| document(&model)).unwrap_err();
    assert!(problems.0.iter().any(|problem| problem.to_string().contains(expected)), "{problems:?}");
}

#[test]
fn a_failed_plugin_does_not_hinder_where_its_cube_stays_as_it_is() {
    let mut failed = facts();
    failed.failed.insert(CubeName::parse("a").unwrap(), "panicked".to_owned());
    assert!(change(&lab(), apply(site(), Others::Go), &failed).is_ok());
    let mut wanted = site();
    wanted["cubes"][0]["size"] = 4.into();
    check_refused(apply(wanted, Others::Stay), &failed, &[("config/cubes/a", "the plugin of cube `a` failed")]);
}

#[test]
fn a_cube_that_could_not_be_brought_back_is_still_wanted() {
    let mut model = lab();
    model.set_aside(&CubeName::parse("a").unwrap(), "its plugin is gone");
    assert_eq!(document(&model), site(), "it is in what is saved");
    let refused = change(&model, apply(site(), Others::Stay), &facts()).map(|after| document(&after)).unwrap_err();
    assert_eq!(refused.0[0].path, "config/cubes/a");
    assert!(refused.0[0].to_string().contains("could not be brought back (its plugin is gone)"), "{refused:?}");
    let others = json!({ "cubes": site()["cubes"].as_array().unwrap()[1..], "chains": {} });
    let (stays, said) = results(&model, &apply(others.clone(), Others::Stay), &facts());
    assert_eq!((said, document(&stays)), (vec!["unlisted a".to_owned()], site()));
    let (gone, said) = results(&model, &apply(others.clone(), Others::Go), &facts());
    assert_eq!((said, document(&gone)), (vec!["removed a".to_owned()], others));
}
