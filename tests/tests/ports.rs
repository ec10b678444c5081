//! Do ports have what their service says, beside what every port has? Are entries of one list in configuration and state one
//! entry, and can lists of values be typed?

use anyhow::{Context as _, Result};
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

const COMMANDS: [&str; 3] = [
    "gate add g1",
    "g1 ports add p1 ip=10.0.0.1/24 rate=2MB role=outside peer=veth1",
    "gate g1 ports add p2 ip=10.0.1.1/24 vlan=7",
];

/// `g1` with the ports `p1` and `p2`.
fn gate() -> Result<Scene> {
    Scene::set_up().peers(2).kept().fixtures(["gate"]).commands(COMMANDS).start()
}

/// Members of a port.
fn port(scene: &Scene, name: &str) -> Result<Value> {
    scene.get(&format!("g1/ports/{name}"))
}

#[test]
fn a_port_has_its_services_settings_and_state_beside_the_hosts() -> Result<()> {
    let scene = gate()?;
    let p1 = port(&scene, "p1")?;
    for (member, expected) in [
        ("name", json!("p1")),
        ("status", json!("UP")),
        ("peer", json!("veth1")),
        ("ip", json!("10.0.0.1/24")),
        ("rate", json!(2_000_000)),
        ("role", json!("outside")),
        ("vlan", Value::Null),
        ("behind", json!([])),
        ("in-force", json!("10.0.0.1/24")),
        ("changes", json!(3)),
    ] {
        assert_eq!(p1[member], expected, "{member} of {p1}");
    }
    assert!(p1["counters"]["in-packets"].is_u64(), "{p1}");
    let daemon = &scene.daemon;
    for line in ["g1 ports p1 set ip=10.0.0.2/24 role=INSIDE", "g1 ports p1 set rate=5000", "g1 ports p1 del role"] {
        daemon.ctl(line).ok();
    }
    assert_eq!(daemon.ctl("g1 ports p1 show in-force").ok(), "10.0.0.2/24\n");
    assert_eq!(daemon.ctl("g1 ports p1 show rate").ok(), "5000\n");
    assert!(daemon.ctl("g1 ports p1 show").ok().contains("ip: 10.0.0.2/24"), "{}", daemon.ctl("g1 ports p1 show"));
    assert_eq!(port(&scene, "p1")?["peer"], "veth1", "the peer stays");
    let names = |list: &Value| list.as_array().into_iter().flatten().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&scene.get("g1/ports")?), ["p1", "p2"], "the plugin's state has one more");
    assert_eq!(daemon.http("GET", "/polycube/v1/g1/ports/ghost/", None)?.status, 409);
    let page = daemon.http("GET", "/metrics", None)?.ok().text();
    assert!(page.contains("gate_port_changes_total{cubeName=\"g1\",port=\"p1\"} "), "{page}");
    assert!(!page.contains("ghost"), "{page}");
    daemon.ctl("g1 ports del p1").ok();
    assert_eq!(names(&scene.get("g1/ports")?), ["p2"]);
    Ok(())
}

#[test]
fn a_setting_that_is_refused_changes_nothing_and_is_named_in_one_line() -> Result<()> {
    let scene = gate()?;
    let daemon = &scene.daemon;
    let before = (daemon.snapshot()?, scene.get("g1")?);
    let form = "is not a prefix: give an address and its length, such as 10.10.10.0/24";
    for (line, path, words) in [
        ("g1 ports add p3", "g1 ports p3 ip", "`ip` is missing"),
        ("g1 ports add p3 ip=10.0.0.300/24", "g1 ports p3 ip", form),
        ("g1 ports add p3 ip=10.0.2.1/24 peer=veth2 spead=1", "g1 ports p3 spead", "unknown key `spead`"),
        ("g1 ports add p3 ip=10.0.2.1/24 vlan=5000", "g1 ports p3 vlan", "5000 is greater than the maximum of 4094"),
        ("g1 ports add p3 ip=10.0.2.1/24 behind=10.0.0.0/8,here", "g1 ports p3 behind", "here"),
        ("g1 ports p1 set ip=here", "g1 ports p1 ip", form),
        ("g1 ports p1 set ip=here role=inside peer=", "g1 ports p1 ip", form),
        ("g1 ports p1 set role=upside", "g1 ports p1 role", "\"upside\" is not one of inside, outside"),
        ("g1 ports p2 set vlan=8", "g1 ports p2 vlan", "delete the port and create it with the new value"),
        ("g1 ports p1 set in-force=x", "g1 ports p1 in-force", "read-only"),
        ("g1 ports p1 set name=x", "g1 ports p1 name", ""),
        ("g1 ports p1 del ip", "g1 ports p1 ip", "`ip` is missing"),
        ("g1 ports p9 set ip=10.0.2.1/24", "g1 ports p9", "does not exist"),
        // What only the plugin can know.
        ("g1 ports add p3 ip=10.0.0.1/24 peer=veth2", "g1 ports p3 ip", "is the address of port `p1` too"),
        ("g1 ports p1 set ip=10.0.1.1/24", "g1 ports p2 ip", "is the address of port `p1` too"),
    ] {
        let said = daemon.ctl(line).one_line(2);
        assert!(said.contains(words), "{line}: {said}");
        let words: Vec<&str> = path.split(' ').collect();
        assert!(said.contains(words[words.len() - 1]), "{line}: no {path} in {said}");
    }
    let cube = |ports: Value| json!({ "name": "g2", "service-name": "gate", "ports": ports });
    let good = json!({ "name": "p1", "ip": "10.0.0.1/24" });
    for (method, path, body, at) in [
        ("PUT", "g1/ports/p1", json!({ "peer": "veth1" }), "g1/ports/p1/ip"),
        ("PUT", "g1/ports/p1/rate", json!(-1), "g1/ports/p1/rate"),
        ("PATCH", "g1/ports/p1", json!({ "ip": 5 }), "g1/ports/p1/ip"),
        ("PATCH", "g1/ports/p1/behind", json!("10.0.0.0/8"), "g1/ports/p1/behind"),
        ("POST", "g1/ports", json!({ "name": "p3" }), "g1/ports/p3/ip"),
        ("POST", "gate/g2", json!({ "ports": [good, { "name": "p2", "ip": "x" }] }), "g2/ports/p2/ip"),
        ("POST", "cubes", json!([cube(json!([good, { "name": "p2", "role": "in" }]))]), "g2/ports/p2/role"),
        ("PATCH", "config", json!({ "cubes": [cube(json!([good, { "name": "p2" }]))] }), "config/cubes/g2/ports/p2/ip"),
    ] {
        let answer = daemon.http(method, &format!("/polycube/v1/{path}"), Some(&body))?;
        let errors = answer.json()?["ietf-restconf:errors"]["error"].clone();
        let paths: Vec<&str> =
            errors.as_array().into_iter().flatten().filter_map(|one| one["error-path"].as_str()).collect();
        assert!(answer.status == 400 && paths.contains(&at), "{method} {path}: {} {errors}", answer.status);
    }
    assert_eq!((daemon.snapshot()?, scene.get("g1")?), before);
    Ok(())
}

#[test]
fn settings_of_ports_survive_the_daemon_and_are_part_of_the_configuration() -> Result<()> {
    let mut scene = gate()?;
    scene.daemon.ctl("g1 ports p2 set behind=10.8.0.0/16,10.9.0.0/16").ok();
    let set = |scene: &Scene| -> Result<Vec<Value>> {
        ["p1", "p2"]
            .iter()
            .map(|name| {
                let mut port = port(scene, name)?;
                let members = port.as_object_mut().context("a port")?;
                members.retain(|key, _| {
                    ["uuid", "peer", "ip", "rate", "role", "vlan", "behind", "in-force"].contains(&key.as_str())
                });
                Ok(port)
            })
            .collect()
    };
    let before = set(&scene)?;
    let saved = scene.daemon.ctl("config save").ok();
    let lines = "  ports:\n  - name: p1\n    peer: veth1\n    ip: \"10.0.0.1/24\"\n    rate: 2000000\n    role: outside\n  - name: p2\n";
    assert!(saved.contains(lines), "{saved}");
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert_eq!(set(&scene)?, before);

    let diff = |saved: &str| scene.daemon.ctl_reading(&["config", "diff"], Some(saved)).ok();
    assert!(!diff(&saved).contains("ports/"), "{}", diff(&saved));
    let other = saved.replace("rate: 2000000", "rate: 3000000");
    assert!(diff(&other).contains("ports/p1/rate"), "{}", diff(&other));
    scene.daemon.ctl_reading(&["config", "apply"], Some(&other)).ok();
    assert_eq!(port(&scene, "p1")?["rate"], 3_000_000);
    let shown = scene.get("g1")?;
    scene.daemon.ctl("del g1").ok();
    scene.daemon.ctl_reading(&["config", "apply"], Some(&saved)).ok();
    assert_eq!(port(&scene, "p2")?["behind"], json!(["10.8.0.0/16", "10.9.0.0/16"]));
    // What was shown can be written again, and so can what is shown of all cubes.
    scene.daemon.ctl("del g1").ok();
    drop(scene.daemon.http("POST", "/polycube/v1/gate/g1", Some(&shown))?.ok());
    assert_eq!(
        (port(&scene, "p1")?["rate"].clone(), port(&scene, "p2")?["vlan"].clone()),
        (json!(3_000_000), json!(7))
    );
    let all = scene.get("cubes")?;
    scene.daemon.ctl("del g1").ok();
    drop(scene.daemon.http("POST", "/polycube/v1/cubes", Some(&all))?.ok());
    assert_eq!(port(&scene, "p1")?["ip"], "10.0.0.1/24");
    Ok(())
}

#[test]
fn a_change_of_a_port_is_conditional_on_its_settings() -> Result<()> {
    let scene = gate()?;
    let path = "/polycube/v1/g1/ports/p1/";
    let tag = |scene: &Scene| -> Result<String> {
        let answer = scene.daemon.http("GET", path, None)?.ok();
        let tag = answer.headers.into_iter().find(|(name, _)| name == "etag");
        Ok(tag.context("a tag")?.1)
    };
    let first = tag(&scene)?;
    scene.daemon.ctl("g1 ports p1 set rate=1").ok();
    assert_ne!(tag(&scene)?, first);
    let answer = scene.daemon.http_with(&[("If-Match", &first)], "PATCH", path, Some(&json!({ "rate": 2 })))?;
    assert_eq!(answer.status, 412);
    Ok(())
}

#[test]
fn a_rule_and_its_counter_are_one_entry() -> Result<()> {
    let scene = gate()?;
    let daemon = &scene.daemon;
    for line in ["g1 rule add 30 pass=true", "g1 rule add 7"] {
        daemon.ctl(line).ok();
    }
    let rules = json!([
        { "id": 30, "pass": true, "packets": 300 },
        { "id": 7, "pass": false, "packets": 70 },
        { "id": 999, "packets": 9990 },
    ]);
    assert_eq!(scene.get("g1/rule")?, rules);
    assert_eq!(scene.get("g1")?["rule"], rules);
    assert_eq!(scene.get("g1/rule/7")?, rules[1]);
    assert_eq!((scene.get("g1/rule/007/packets")?, scene.get("g1/rule/999/packets")?), (json!(70), json!(9990)));
    assert_eq!(daemon.http("GET", "/polycube/v1/g1/rule/8/", None)?.status, 409);
    daemon.ctl("g1 rule 999 set pass=true").one_line(2);
    daemon.ctl("g1 rule 7 set packets=0").one_line(2);
    // What is shown can be written again.
    let shown = scene.get("g1")?;
    daemon.ctl("del g1").ok();
    drop(daemon.http("POST", "/polycube/v1/gate/g1", Some(&shown))?.ok());
    assert_eq!(scene.get("g1/rule")?, rules);
    Ok(())
}

#[test]
fn lists_of_values_and_maps_are_typed_in_one_word() -> Result<()> {
    let scene = gate()?;
    let daemon = &scene.daemon;
    for (settings, path, expected) in [
        ("allowed=10.0.0.0/8,10.1.0.0/16", "allowed", json!(["10.0.0.0/8", "10.1.0.0/16"])),
        ("allowed=10.0.0.0/8", "allowed", json!(["10.0.0.0/8"])),
        ("allowed=", "allowed", json!([])),
        ("allowed=[\"10.0.0.0/8\"]", "allowed", json!(["10.0.0.0/8"])),
        ("tcp-ports=80,443 allowed=", "tcp-ports", json!([80, 443])),
        ("tcp-ports=80", "tcp-ports", json!([80])),
        ("labels=site=a,row=5,note=x=y", "labels", json!({ "site": "a", "row": "5", "note": "x=y" })),
        ("labels={\"a\":\"b,c\"}", "labels", json!({ "a": "b,c" })),
        ("labels=", "labels", json!({})),
        ("seats=a=5,b=6 labels=x=y", "seats", json!({ "a": 5, "b": 6 })),
    ] {
        daemon.ctl(&format!("g1 set {settings}")).ok();
        assert_eq!(scene.get(&format!("g1/{path}"))?, expected, "{settings}");
    }
    daemon.ctl("gate add g2 tcp-ports=22 labels.site=a labels.row=5 allowed=::/0,10.0.0.1").ok();
    let g2 = scene.get("g2")?;
    assert_eq!((&g2["tcp-ports"], &g2["allowed"]), (&json!([22]), &json!(["::/0", "10.0.0.1"])));
    assert_eq!(g2["labels"], json!({ "site": "a", "row": "5" }));
    daemon.ctl("g1 ports p1 set behind=10.8.0.0/16").ok();
    assert_eq!(port(&scene, "p1")?["behind"], json!(["10.8.0.0/16"]));
    let before = scene.get("g1")?;
    for (line, code, words) in [
        ("g1 set tcp-ports=80,x", 2, "tcp-ports: \"x\" is not of type"),
        ("g1 set tcp-ports=80,70000", 2, "tcp-ports: 70000 is greater than the maximum of 65535"),
        ("g1 set allowed=10.0.0.0/8,", 2, "is not a prefix"),
        ("g1 set seats=a=300", 2, "a: 300 is greater than the maximum of 255"),
        ("g1 set labels=a", 64, "'a' in labels= is not KEY=VALUE: write labels=a=b,c=d, or JSON"),
        ("g1 set labels.a=b", 64, "'labels' is set as a whole: labels=KEY=VALUE,KEY=VALUE"),
    ] {
        let said = daemon.ctl(line).fails(code);
        assert!(said.contains(words), "{line}: {said}");
    }
    // A program says what it means.
    let answer = daemon.http("PATCH", "/polycube/v1/g1/tcp-ports/", Some(&json!("80,443")))?;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(scene.get("g1")?, before);
    Ok(())
}

#[test]
fn help_completion_and_openapi_know_the_settings_of_ports() -> Result<()> {
    let scene = gate()?;
    let daemon = &scene.daemon;
    let help = daemon.ctl("g1 ports add p9 ?").ok();
    for words in
        ["ip", "10.0.0.1/24", "Address of the port", "bytes 0..", "inside|outside", "at creation only", "string,..."]
    {
        assert!(help.contains(words), "no {words} in {help}");
    }
    let help = daemon.ctl("g1 ports p1 set ?").ok();
    assert!(help.contains("rate") && !help.contains("in-force"), "{help}");
    let words = daemon.ctl_words(&["--complete", "g1", "ports", "p1", "set", "role="]).ok();
    assert_eq!(words, "role=inside\t\nrole=outside\t\n");
    let document = daemon.http("GET", "/polycube/v1/openapi.json", None)?.ok().json()?;
    let port = &document["components"]["schemas"]["gate"]["properties"]["ports"]["items"]["properties"];
    assert!(port["peer"].is_object() && port["ip"].is_object() && port["in-force"]["readOnly"] == true, "{port}");
    let post = &document["paths"]["/gate/{cube}/ports"]["post"]["requestBody"]["content"];
    let body = post.as_object().and_then(|media| media.values().next()).context("a body")?;
    assert_eq!(body["schema"]["required"], json!(["name", "ip"]), "{body}");
    let leaf = &document["paths"]["/gate/{cube}/ports/{port}/rate"];
    assert!(leaf["put"].is_object() && leaf["patch"].is_object(), "{leaf}");
    assert!(document["paths"]["/gate/{cube}/ports/{port}/in-force"]["patch"].is_null());
    Ok(())
}
