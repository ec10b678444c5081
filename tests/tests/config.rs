//! Is the configuration text: what one daemon saves, does another one take, as a whole or not at all?

use std::fs;

use anyhow::Result;
use polycube_tests::daemon::Daemon;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

/// A site in the words of a command line.
const COMMANDS: [&str; 9] = [
    "simplebridge add br1",
    "br1 ports add toveth1 peer=veth1",
    "br1 ports add toveth2 peer=veth2",
    "br1 fdb set aging-time=60",
    "br1 fdb entry add 02:00:00:00:00:01 port=toveth1",
    "packetcapture add inner snaplen=96 loglevel=DEBUG",
    "packetcapture add outer filters.dport=80 filters.l4proto=tcp",
    "attach inner br1:toveth1",
    "attach outer br1:toveth1",
];

/// The same as a document.
const SITE: &str = "\
cubes:
- name: br1
  service-name: simplebridge
  ports:
  - name: toveth1
    peer: veth1
  - name: toveth2
    peer: veth2
  fdb:
    aging-time: 60
    entry:
    - address: \"02:00:00:00:00:01\"
      port: toveth1
- name: inner
  service-name: packetcapture
  loglevel: DEBUG
  snaplen: 96
- name: outer
  service-name: packetcapture
  filters:
    dport: 80
    l4proto: tcp
chains:
  br1:toveth1:
  - outer
  - inner
";

fn site() -> Result<Scene> {
    Scene::set_up().peers(3).commands(COMMANDS).start()
}

fn empty() -> Result<Scene> {
    Scene::set_up().peers(3).start()
}

fn save(daemon: &Daemon) -> String {
    daemon.ctl("config save").ok()
}

fn apply(daemon: &Daemon, words: &[&str], text: &str) -> String {
    daemon.ctl_reading(&[&["config", "apply"], words].concat(), Some(text)).ok()
}

#[track_caller]
fn get(daemon: &Daemon, path: &str) -> Value {
    daemon.http("GET", &format!("/polycube/v1/{path}"), None).expect("an answer").json().expect("JSON")
}

#[test]
fn what_one_daemon_saves_another_takes() -> Result<()> {
    let text = save(&site()?.daemon);
    assert_eq!(text, SITE);
    let scene = empty()?;
    let daemon = &scene.daemon;
    let said = apply(daemon, &[], &text);
    let expected = "created cube br1 (simplebridge)\ncreated cube inner (packetcapture)\n\
                    created cube outer (packetcapture)\ncreated chain br1:toveth1: outer, inner\n4 created\n";
    assert_eq!(said, expected);
    assert_eq!(save(daemon), SITE);
    assert_eq!(get(daemon, "br1/ports/toveth1/status"), "UP");
    let uuid = get(daemon, "br1/uuid");
    for words in [&[][..], &["--prune"], &["-"]] {
        assert_eq!(apply(daemon, words, SITE), "4 left as they were\n");
    }
    assert_eq!(get(daemon, "br1/uuid"), uuid);
    let json = daemon.ctl("config save -json").ok();
    assert_eq!(apply(daemon, &["--prune"], &json), "4 left as they were\n", "JSON says the same");
    Ok(())
}

#[test]
fn a_comparison_says_what_the_change_would() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let file = daemon.state_dir().join("site.yaml");
    let wanted = SITE
        .replace("snaplen: 96", "snaplen: 128")
        .replace("  - outer\n  - inner\n", "  - inner\n  - outer\n")
        .replace("  - name: toveth2\n    peer: veth2\n", "");
    fs::write(&file, &wanted)?;
    let name = file.display().to_string();
    let diff = |words: &[&str]| daemon.ctl_words(&[&["config", "diff", &name], words].concat()).ok();
    let changes =
        "would change cube inner: snaplen 96 -> 128\nwould change chain br1:toveth1: outer, inner -> inner, outer\n";
    assert_eq!(diff(&[]), format!("{changes}would be: 2 changed, 2 left as they were\n"));
    let pruned = format!("would change cube br1: ports/toveth2 veth2 -> none\n{changes}");
    assert_eq!(diff(&["--prune"]), format!("{pruned}would be: 3 changed, 1 left as they were\n"));
    let json: Value = serde_json::from_str(&diff(&["-json"]))?;
    assert_eq!(json["cubes"][1]["changes"], json!([{ "path": "snaplen", "from": 96, "to": 128 }]));
    assert_eq!(save(daemon), SITE, "nothing has changed");

    let said = daemon.ctl_words(&["config", "apply", "--prune", &name]).ok();
    assert_eq!(said.lines().last(), Some("3 changed, 1 left as they were"));
    assert_eq!(save(daemon), wanted);
    let chain = &get(daemon, "topology/br1:toveth1")["ingress service chain"];
    assert_eq!(*chain, "inner ---> outer ---> br1:toveth1");
    Ok(())
}

#[test]
fn every_mistake_of_a_document_has_its_line() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let refused = |text: &str, code: i32, expected: &[&str]| {
        for verb in ["apply", "diff"] {
            let said = daemon.ctl_reading(&["config", verb], Some(text)).fails(code);
            let lines: Vec<&str> = said.lines().collect();
            assert_eq!(lines.len(), expected.len(), "{said}");
            for (line, expected) in lines.iter().zip(expected) {
                let expected = format!("polycubectl: standard input{expected}");
                assert!(line.starts_with(&expected), "{line}\n{expected}");
            }
        }
        assert_eq!(save(daemon), SITE);
    };
    refused("cubes:\n- name: a\n  name: b\n", 64, &[":3:3: not valid YAML: `name` is given twice, first in line 2"]);
    refused("cubes: [\n", 64, &[":2:1: not valid YAML: "]);
    refused("{\"cubes\": [],,}", 64, &[":1:14: not valid JSON: "]);
    refused("# nothing\n", 64, &[" has no configuration in it"]);
    refused("---\n- br1\n", 2, &[":2:1: a configuration is an object"]);
    let twice = "\
cubes:
- name: b2
  service-name: simplebridge
  ports:
  - {name: p, peer: veth3}
  - {name: q, peer: veth3}
- name: b2
  service-name: simplebridge
- name: s
  service-name: packetcapture
  snaplen: 0
  snaplenn: 5
chains:
  veth3: [s, s]
";
    refused(
        twice,
        2,
        &[
            ":7:3: config/cubes/1: cube `b2` is in the document twice",
            ":14:14: config/chains/veth3/1: cube `s` is in the chain at veth3 twice",
            ":12:3: config/cubes/s/snaplenn: unknown key `snaplenn`; did you mean `snaplen`?",
            ":11:3: config/cubes/s/snaplen: snaplen: 0 is less than",
            ":6:15: config/cubes/b2/ports/q/peer: netdev `veth3` is given to b2:p too",
        ],
    );
    refused("chains:\n  br1:p9: [inner]\n", 2, &[":2:3: config/chains/br1:p9: port `p9` of cube `br1` does not exist"]);
    refused("chains:\n  veth9: [inner]\n", 2, &[":2:3: config/chains/veth9: netdev `veth9` does not exist"]);
    let nowhere = daemon.ctl("config apply /no/such/file").one_line(64);
    assert!(nowhere.starts_with("polycubectl: cannot read /no/such/file: No such file"), "{nowhere}");
    Ok(())
}

#[test]
fn a_plugin_that_refuses_keeps_all_of_it_from_happening() -> Result<()> {
    let scene = Scene::set_up().peers(2).fixtures(["panicky"]).commands(["panicky add p"]).start()?;
    let daemon = &scene.daemon;
    let before = save(daemon);
    let pins = daemon.pins()?;
    for (call, at_line) in [("create", None), ("datapath", Some(7)), ("prepare", Some(7))] {
        let name = if call == "create" { "stillborn" } else { "refusing" };
        let text = format!(
            "\
cubes:
- name: br1
  service-name: simplebridge
  ports:
  - {{name: a, peer: veth1}}
  - {{name: b, peer: veth2}}
- name: {name}
  service-name: panicky
  refuse: {call}
- name: p
  service-name: panicky
  size: 5
chains:
  br1:a: [{name}, p]
"
        );
        let said = daemon.ctl_reading(&["config", "apply"], Some(&text)).one_line(2);
        let place = at_line.map(|line| format!("polycubectl: standard input:{line}:3: "));
        assert!(place.is_none_or(|place| said.starts_with(&place)), "{said}");
        assert_eq!(save(daemon), before, "{call}");
        assert_eq!(daemon.pins()?, pins, "{call}");
    }
    let text = before.replace("service-name: panicky", "service-name: panicky\n  size: 5");
    assert!(apply(daemon, &[], &text).starts_with("changed cube p: size 0 -> 5\n"));
    Ok(())
}

#[test]
fn a_document_without_the_rest_removes_it_only_when_it_is_told_to() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let only = "cubes:\n- {name: inner, service-name: packetcapture}\nchains: {veth3: [inner]}\n";
    let said = apply(daemon, &[], only);
    let expected = "changed cube inner: loglevel DEBUG -> INFO, snaplen 96 -> 262144\ncreated chain veth3: inner\n\
                    1 created, 1 changed, 3 not mentioned\n";
    assert_eq!(said, expected);
    let said = apply(daemon, &["--prune"], only);
    let expected = "removed cube br1 (simplebridge)\nremoved cube outer (packetcapture)\n\
                    removed chain br1:toveth1: outer, inner\n3 removed, 2 left as they were\n";
    assert_eq!(said, expected);
    assert_eq!(save(daemon), "cubes:\n- name: inner\n  service-name: packetcapture\nchains:\n  veth3:\n  - inner\n");
    Ok(())
}

/// Lines of the log at this level that have to do with the directory of configurations.
fn logged(daemon: &Daemon, level: &str) -> Vec<String> {
    let directory = daemon.conf_dir().display().to_string();
    let log = daemon.log();
    log.lines().filter(|line| line.contains(level) && line.contains(&directory)).map(str::to_owned).collect()
}

#[test]
fn a_directory_of_configurations_is_applied_at_start() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().commands(["packetcapture add byhand"]).start()?;
    let daemon = &mut scene.daemon;
    let file = |daemon: &Daemon, name: &str, text: &str| fs::write(daemon.conf_dir().join(name), text);
    let bridge = "cubes:\n- name: br1\n  service-name: simplebridge\n  ports: [{name: a, peer: veth1}, {name: b, peer: late0}]\n";
    file(daemon, "10-bridge.yaml", bridge)?;
    file(daemon, "20-tap.yaml", "cubes:\n- {name: tap, service-name: packetcapture}\nchains: {'br1:a': [tap]}\n")?;
    daemon.terminate()?;
    daemon.restart()?;
    assert_eq!(get(daemon, "br1/ports/a/status"), "UP");
    assert_eq!(get(daemon, "br1/ports/b/status"), "DOWN", "a netdev may come later");
    assert_eq!(get(daemon, "tap/parents"), json!(["br1:a"]));
    assert_eq!(get(daemon, "byhand/name"), "byhand", "what was stored is there");
    let saved = save(daemon);
    let uuid = get(daemon, "br1/uuid");

    file(daemon, "15-wrong.yaml", "cubes:\n- name: br2\n  service-name: simplebridge\n  sise: 4\n")?;
    file(daemon, "10-bridge.yaml", &bridge.replace("veth1", "veth2"))?;
    daemon.kill9()?;
    daemon.restart()?;
    assert_eq!((save(daemon), get(daemon, "br1/uuid")), (saved, uuid), "nothing is applied by halves");
    let errors = logged(daemon, "ERROR");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("15-wrong.yaml:4:3: unknown key `sise`"), "{errors:?}");

    fs::remove_file(daemon.conf_dir().join("15-wrong.yaml"))?;
    daemon.terminate()?;
    daemon.restart()?;
    assert_eq!(get(daemon, "br1/ports/a/peer"), "veth2");
    let applied = logged(daemon, "configuration applied");
    assert!(applied.len() == 2 && applied[1].contains("created=0 changed=1 left=2"), "{applied:?}");
    Ok(())
}

#[test]
fn one_change_replaces_everything_on_the_same_netdevs() -> Result<()> {
    let mut scene = Scene::set_up().peers(3).kept().start()?;
    let daemon = &mut scene.daemon;
    let one = "\
cubes:
- name: br1
  service-name: simplebridge
  ports: [{name: a, peer: veth1}, {name: b, peer: veth2}, {name: link, peer: 'br2:link'}]
- name: br2
  service-name: simplebridge
  ports: [{name: c, peer: veth3}, {name: link, peer: 'br1:link'}]
- {name: tap, service-name: packetcapture, capture: bidirectional}
chains: {'br1:a': [tap], veth3: [tap]}
";
    // The bridges exchange netdevs, another one takes the link, and the capture goes to the other side of it.
    let other = "\
cubes:
- name: br2
  service-name: simplebridge
  ports: [{name: c, peer: veth1}, {name: d, peer: veth2}, {name: link, peer: 'br3:link'}]
- name: br3
  service-name: simplebridge
  ports: [{name: e, peer: veth3}, {name: link, peer: 'br2:link'}]
- {name: tap, service-name: packetcapture, capture: ingress}
chains: {'br3:e': [tap], 'br2:link': [tap]}
";
    for text in [one, other, one, other] {
        apply(daemon, &["--prune"], text);
        assert!(apply(daemon, &["--prune"], text).ends_with("left as they were\n"));
        let ports = get(daemon, "topology");
        let ports =
            ports.as_array().into_iter().flatten().flat_map(|cube| cube["ports"].as_array().into_iter().flatten());
        let down: Vec<_> = ports.filter(|port| port["status"] != "UP").collect();
        assert!(down.is_empty(), "{down:?}");
    }
    let saved = save(daemon);
    daemon.kill9()?;
    daemon.restart()?;
    assert_eq!(save(daemon), saved, "it is stored");
    assert_eq!(apply(daemon, &["--prune"], "cubes: []\n").lines().last(), Some("5 removed"));
    assert!(daemon.pins()?.is_empty(), "{:?}", daemon.pins()?);
    Ok(())
}
