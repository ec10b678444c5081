//! Do actions of entries get the entry's key, change the configuration as a whole or not at all, and answer what they declare?

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context as _, Result};
use polycube_tests::http::Response;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

struct Site {
    scene: Scene,
}

impl Site {
    /// A cube `fw1` with one virtual service.
    fn build() -> Result<Self> {
        let commands = [
            "wall add fw1",
            "fw1 service add 10.0.0.1 80 TCP",
            "fw1 service 10.0.0.1 80 TCP backend add 10.1.0.1 80",
            "fw1 service 10.0.0.1 80 TCP backend add 10.1.0.2 80",
        ];
        Ok(Self { scene: Scene::set_up().kept().fixtures(["wall"]).commands(commands).start()? })
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let path = format!("/polycube/v1/{path}");
        self.scene.daemon.http(method, &path, body).expect("an answer")
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).ok().json().expect("JSON")
    }

    /// Asserts that a call is refused with this status and a message with this in it, and that nothing has changed.
    #[track_caller]
    fn refuses(&self, method: &str, path: &str, body: Option<&Value>, (status, expected): (u16, &str)) {
        let before = self.get("fw1");
        let response = self.ask(method, path, body);
        let answer = response.json().expect("JSON");
        let error = &answer["ietf-restconf:errors"]["error"][0];
        let message = error["error-message"].as_str().unwrap_or_default();
        let text = format!("{}: {message}", error["error-path"].as_str().unwrap_or_default());
        assert!(response.status == status && text.contains(expected), "{method} {path}: {} {text}", response.status);
        assert!(!message.contains('\n'), "{message}");
        assert_eq!(self.get("fw1"), before, "{method} {path}");
    }

    #[track_caller]
    fn prints(&self, line: &str, expected: &str) {
        assert_eq!(self.scene.daemon.ctl(line).ok(), expected, "{line}");
    }

    #[track_caller]
    fn complete(&self, words: &str) -> Vec<String> {
        let words: Vec<&str> = ["--complete"].into_iter().chain(words.split(' ')).collect();
        let lines = self.scene.daemon.ctl_words(&words).ok();
        lines.lines().filter_map(|line| Some(line.split_once('\t')?.0.to_owned())).collect()
    }
}

#[test]
fn an_action_of_an_entry_changes_the_configuration_and_answers() -> Result<()> {
    let mut site = Site::build()?;
    site.prints("fw1 chain INGRESS append src=10.0.0.0/8 action=DROP", "id: 1\n");
    site.prints("fw1 chain ingress append dst=10.1.0.0/16", "id: 2\n");
    site.prints("wall fw1 chain EGRESS append action=drop", "id: 1\n");
    site.prints("fw1 chain INGRESS rule show 1 action", "DROP\n");
    assert_eq!(
        site.get("fw1/chain/INGRESS/rule"),
        json!([
            { "id": 1, "src": "10.0.0.0/8", "action": "DROP" },
            { "id": 2, "dst": "10.1.0.0/16", "action": "FORWARD" },
        ])
    );
    let answer = site.ask("POST", "fw1/chain=INGRESS/append", Some(&json!({ "action": "DROP" }))).ok();
    assert_eq!((answer.status, answer.json()?), (200, json!({ "id": 3 })));
    site.prints("fw1 chain INGRESS rule 2 explain", "INGRESS 2: FORWARD\n");
    site.prints("fw1 service 10.0.0.1 80 tcp drain", "drained: 2\n");
    assert_eq!(site.get("fw1/service/10.0.0.1/80/TCP/backend"), json!([]));
    site.prints("fw1 service 10.0.0.1 80 tcp drain", "drained: 0\n");
    // Stored before it was answered.
    let before = site.get("fw1");
    site.scene.daemon.kill9()?;
    site.scene.daemon.restart()?;
    assert_eq!(site.get("fw1/chain"), before["chain"]);
    assert_eq!(site.get("fw1/service"), before["service"]);
    Ok(())
}

#[test]
fn an_action_without_output_says_nothing() -> Result<()> {
    let site = Site::build()?;
    site.prints("fw1 chain INGRESS reset-counters", "");
    assert_eq!(site.get("fw1/resets"), 1);
    let answer = site.ask("POST", "fw1/session/10.0.0.1/443/forget", None).ok();
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    let left = site.get("fw1/session");
    assert_eq!(left.as_array().map(Vec::len), Some(2), "{left}");
    Ok(())
}

#[test]
fn calls_at_the_same_time_all_have_their_effect() -> Result<()> {
    const CALLS: usize = 24;
    let site = Site::build()?;
    let append = |number: usize| -> Result<u64> {
        if number.is_multiple_of(4) {
            // A change of another kind in between.
            let policy = if number.is_multiple_of(8) { "DROP" } else { "FORWARD" };
            let change = site.ask("PATCH", "fw1/chain/EGRESS", Some(&json!({ "default": policy })));
            assert_eq!(change.status, 201);
        }
        let body = json!({ "src": format!("10.0.0.{number}") });
        site.ask("POST", "fw1/chain/INGRESS/append", Some(&body)).ok().json()?["id"].as_u64().context("an id")
    };
    let ids: BTreeSet<u64> = thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS).map(|number| scope.spawn(move || append(number))).collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect::<Result<_>>()
    })?;
    assert_eq!(ids, (1..=CALLS as u64).collect(), "each got an id of its own");
    let rules = site.get("fw1/chain/INGRESS/rule");
    let sources: BTreeSet<&str> =
        rules.as_array().context("rules")?.iter().filter_map(|rule| rule["src"].as_str()).collect();
    assert_eq!(sources.len(), CALLS, "{rules}");
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_as_a_whole() -> Result<()> {
    let site = Site::build()?;
    let append = "fw1/chain/INGRESS/append";
    for (method, path, body, expected) in [
        // Its input.
        (
            "POST",
            append,
            Some(json!({ "src": "nonsense" })),
            (400, "fw1/chain/INGRESS/append/src: `nonsense` is not a prefix"),
        ),
        ("POST", append, Some(json!({ "srk": "10.0.0.1" })), (400, "did you mean `src`?")),
        ("POST", append, Some(json!({ "action": "LOG" })), (400, "is not one of FORWARD, DROP")),
        (
            "POST",
            "fw1/chain/INGRESS/reset-counters",
            Some(json!({ "x": 1 })),
            (400, "unknown key `x`: the action takes none"),
        ),
        // The plugin, when it is to describe its datapath.
        (
            "POST",
            append,
            Some(json!({ "src": "0.0.0.0/0", "action": "DROP" })),
            (400, "fw1/chain/INGRESS/rule/1: a rule that drops"),
        ),
        // The entry.
        (
            "POST",
            "fw1/chain/NOWHERE/append",
            Some(json!({})),
            (404, "fw1/chain/NOWHERE: there is no entry `NOWHERE`; known: INGRESS, EGRESS"),
        ),
        ("POST", "fw1/chain/INGRESS/rule/7/explain", None, (404, "there is no entry `7`")),
        ("POST", "fw1/service/10.0.0.1/81/TCP/drain", None, (404, "there is no entry `10.0.0.1 81 TCP`")),
        ("POST", "fw1/session/10.0.0.9/80/forget", None, (404, "there is no entry `10.0.0.9 80`")),
        // Its place.
        ("POST", "fw1/service/10.0.0.1/drain", None, (400, "`proto` is missing")),
        ("POST", "fw1/chain/append", Some(json!({})), (400, "name: \"append\" is not one of INGRESS, EGRESS")),
        ("POST", "fw1/chain/INGRESS/apend", Some(json!({})), (404, "there is no `apend`; did you mean `append`?")),
        (
            "POST",
            "fw1/chain/INGRESS/append/now",
            Some(json!({})),
            (404, "`chain INGRESS append` is an action: nothing follows it"),
        ),
        ("GET", append, None, (405, "GET does not work on")),
        // What the plugin answers.
        ("POST", "fw1/misanswer", None, (500, "fw1/misanswer: the plugin answers something else than it declares")),
    ] {
        site.refuses(method, path, body.as_ref(), expected);
    }
    for (line, expected) in [
        ("fw1 chain NOWHERE append", "there is no entry `NOWHERE`"),
        ("fw1 chain INGRESS append show", "`fw1 chain INGRESS append` takes no command"),
        ("fw1 chain INGRESS append src=0.0.0.0/0 action=DROP", "a rule that drops everything"),
    ] {
        let said = site.scene.daemon.ctl(line).one_line(2);
        assert!(said.contains(expected), "{line}: {said}");
    }
    // A refused call takes no id.
    site.prints("fw1 chain INGRESS append src=10.0.0.1", "id: 1\n");
    Ok(())
}

#[test]
fn a_condition_on_an_action_is_about_its_cube() -> Result<()> {
    let site = Site::build()?;
    let tag = |cube: Response| cube.headers.into_iter().find(|(name, _)| name == "etag").map(|(_, value)| value);
    let before = tag(site.ask("GET", "fw1", None)).context("a tag")?;
    let append = |tag: &str| {
        let daemon = &site.scene.daemon;
        daemon.http_with(&[("if-match", tag)], "POST", "/polycube/v1/fw1/chain/INGRESS/append", Some(&json!({})))
    };
    assert_eq!(append(&before)?.status, 200);
    assert_eq!(append(&before)?.status, 412, "the first has changed it");
    assert_eq!(site.get("fw1/chain/INGRESS/rule").as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn actions_are_found_where_they_are() -> Result<()> {
    let site = Site::build()?;
    let follows = |words: &str, word: &str| site.complete(words).iter().any(|found| found == word);
    assert!(follows("fw1 chain INGRESS ", "append") && follows("fw1 chain INGRESS ", "reset-counters"));
    assert!(follows("fw1 service 10.0.0.1 80 TCP ", "drain"));
    assert!(follows("fw1 ", "misanswer") && !follows("fw1 ", "append"));
    assert!(!follows("fw1 chain INGRESS show ", "append"));
    assert_eq!(site.complete("fw1 chain ").join(" "), "add show del INGRESS EGRESS");
    assert_eq!(site.complete("fw1 chain INGRESS append ").join(" "), "src= dst= action=");
    assert_eq!(site.complete("fw1 chain INGRESS append action=").join(" "), "action=FORWARD action=DROP");
    let help = site.scene.daemon.ctl_words(&["fw1", "chain", "INGRESS", "append", "?"]).ok();
    for text in ["Put a rule at the end of the chain", "src", "Answer:", "id", "Place of the new rule"] {
        assert!(help.contains(text), "{help}");
    }
    site.scene.daemon.ctl_words(&["fw1", "chain", "NOWHERE", "append", "?"]).one_line(2);
    let document = site.ask("GET", "openapi.json", None).ok().json()?;
    let append = &document["paths"]["/wall/{cube}/chain/{name}/append"];
    let names: Vec<_> = append["parameters"].as_array().context("parameters")?.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["cube", "name"]);
    let post = &append["post"];
    let answer = &post["responses"]["200"]["content"]["application/yang.data+json"]["schema"];
    assert_eq!(answer["properties"]["id"]["type"], "integer", "{post}");
    let input = &post["requestBody"]["content"]["application/json"]["schema"]["properties"];
    assert_eq!(input["src"]["format"], "ip-prefix", "{post}");
    let path = "/wall/{cube}/service/{vip}/{vport}/{proto}/drain";
    assert!(document["paths"][path]["post"].is_object(), "{path}");
    Ok(())
}
