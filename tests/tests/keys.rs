//! Are lists whose entries have a key of several members as those with one, in every place where an entry is named?

use anyhow::{Context as _, Result};
use polycube_tests::http::Response;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

struct Site {
    scene: Scene,
}

impl Site {
    /// A cube `lb1` with a few services.
    fn build() -> Result<Self> {
        let commands = ["wall add lb1", "lb1 service add 10.0.0.1 80 TCP name=web", "lb1 service add 10.0.0.1 80 udp"];
        let scene = Scene::set_up().kept().fixtures(["wall"]).commands(commands).start()?;
        Ok(Self { scene })
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let path = format!("/polycube/v1/{path}");
        self.scene.daemon.http(method, &path, body).expect("an answer")
    }

    /// The status of an answer, and the path and the message of its first error.
    #[track_caller]
    fn refused(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String, String) {
        let before = self.ask("GET", "lb1", None).text();
        let response = self.ask(method, path, body);
        assert_eq!(self.ask("GET", "lb1", None).text(), before, "{method} {path}: a refused request changes nothing");
        let answer = response.json().expect("JSON");
        let error = &answer["ietf-restconf:errors"]["error"][0];
        let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
        (response.status, text("error-path"), text("error-message"))
    }

    /// Asserts what a command prints.
    #[track_caller]
    fn prints(&self, line: &str, expected: &str) {
        assert_eq!(self.scene.daemon.ctl(line).ok(), expected, "{line}");
    }

    /// The words that can follow.
    #[track_caller]
    fn complete(&self, words: &str) -> Vec<String> {
        let words: Vec<&str> = ["--complete"].into_iter().chain(words.split(' ')).collect();
        let lines = self.scene.daemon.ctl_words(&words).ok();
        lines.lines().filter_map(|line| Some(line.split_once('\t')?.0.to_owned())).collect()
    }
}

#[test]
fn an_entry_is_named_by_one_word_for_each_member() -> Result<()> {
    let site = Site::build()?;
    let daemon = &site.scene.daemon;
    site.prints("wall lb1 service add 10.0.0.2 443 TCP", "");
    site.prints("lb1 service 10.0.0.1 80 TCP backend add 10.1.0.1 8080 weight=3", "");
    site.prints("lb1 service 10.0.0.1 80 tcp backend add 10.1.0.1 8081", "");
    site.prints("lb1 service 10.0.0.1 80 TCP backend 10.1.0.1 8080 weight show", "3\n");
    site.prints("lb1 service 10.0.0.1 80 TCP set name=www", "");
    site.prints("lb1 service 10.0.0.1 0080 TCP name show", "www\n");
    site.prints("lb1 service show 10.0.0.1 80 udp name", "unset\n");
    site.prints("lb1 service 10.0.0.1 80 TCP backend del 10.1.0.1 8080", "");
    let shown: Value = serde_json::from_str(&daemon.ctl("lb1 service 10.0.0.1 80 TCP show -json").ok())?;
    let backend = json!([{ "ip": "10.1.0.1", "port": 8081, "weight": 1 }]);
    let expected = json!({ "vip": "10.0.0.1", "vport": 80, "proto": "TCP", "name": "www", "backend": backend });
    assert_eq!(shown, expected);
    site.prints("lb1 service del 10.0.0.1 80 UDP", "");
    let services: Value = site.ask("GET", "lb1/service", None).ok().json()?;
    let names: Vec<_> = services.as_array().context("a list")?.iter().map(|one| (&one["vip"], &one["vport"])).collect();
    assert_eq!(names, [(&json!("10.0.0.1"), &json!(80)), (&json!("10.0.0.2"), &json!(443))]);
    Ok(())
}

#[test]
fn every_method_finds_the_entry() -> Result<()> {
    let site = Site::build()?;
    let status = |method: &str, path: &str, body: &Value| site.ask(method, path, Some(body)).status;
    let path = "wall/lb1/service/10.0.0.3/53/UDP/";
    assert_eq!(status("POST", path, &json!({ "name": "dns" })), 201);
    assert_eq!(status("POST", path, &json!({})), 409);
    assert_eq!(status("PATCH", path, &json!({ "proto": "udp", "name": "DNS" })), 201);
    assert_eq!(site.ask("GET", path, None).ok().json()?["name"], "DNS");
    assert_eq!(status("PUT", "lb1/service/10.0.0.3/53/UDP/name", &json!("n")), 200);
    assert_eq!(status("PUT", path, &json!({ "vip": "10.0.0.3" })), 201);
    assert_eq!(site.ask("GET", "lb1/service=10.0.0.3,53,UDP/name", None).ok().json()?, Value::Null);
    assert_eq!(site.ask("DELETE", path, None).status, 204);
    assert_eq!(site.refused("DELETE", path, None).0, 409);
    // The key in the body, for a path that ends at the list.
    let whole = json!({ "vip": "10.0.0.4", "vport": "53", "proto": "tcp", "name": "x" });
    assert_eq!(status("POST", "lb1/service", &whole), 201);
    assert_eq!(site.refused("POST", "lb1/service", Some(&whole)).0, 409);
    assert_eq!(site.ask("GET", "lb1/service/10.0.0.4/53/TCP/vport", None).ok().json()?, 53);
    assert_eq!(site.ask("DELETE", "lb1/service=10.0.0.4,53,TCP", None).status, 204);
    Ok(())
}

#[test]
fn a_key_that_is_not_whole_or_not_the_same_is_refused() -> Result<()> {
    let site = Site::build()?;
    let known = "known: 10.0.0.1 80 TCP, 10.0.0.1 80 UDP";
    let named = "an entry is named by vip, vport, proto";
    for (method, path, body, expected) in [
        ("GET", "lb1/service/10.0.0.1/80", None, (400, "`proto` is missing", named)),
        ("DELETE", "lb1/service/10.0.0.1", None, (400, "`vport` and `proto` are missing", named)),
        ("PATCH", "lb1/service/10.0.0.1/80", Some(json!({ "proto": "TCP" })), (400, "`proto` is missing", named)),
        ("POST", "lb1/service/10.0.0.9", Some(json!({})), (400, "`vport` and `proto` are missing", named)),
        ("POST", "lb1/service", Some(json!({ "vip": "10.0.0.9", "proto": "TCP" })), (400, "`vport` is missing", "")),
        ("GET", "lb1/service=10.0.0.1,80", None, (400, "`proto` is missing", named)),
        ("GET", "lb1/service/10.0.0.1/80/TCP/more", None, (404, "has no `service 10.0.0.1 80 TCP more`", "")),
        ("GET", "lb1/service=10.0.0.1,80,TCP,more", None, (404, "has no `service 10.0.0.1 80 TCP more`", "")),
        ("GET", "lb1/service/TCP/10.0.0.1/80", None, (409, "there is no entry `TCP 10.0.0.1 80`", known)),
        ("GET", "lb1/service/10.0.0.1/81/TCP", None, (409, "did you mean `10.0.0.1 80 TCP`?", "")),
        (
            "POST",
            "lb1/service/TCP/10.0.0.1/80",
            Some(json!({})),
            (400, "vport: \"10.0.0.1\" is not of type \"integer\"", ""),
        ),
        ("POST", "lb1/service/10.0.0.9/many/TCP", Some(json!({})), (400, "vport: \"many\" is not of type", "")),
        ("POST", "lb1/service/10.0.0.9/0/TCP", Some(json!({})), (400, "vport: 0 is less than", "")),
        ("POST", "lb1/service/10.0.0.9/80/ICMP", Some(json!({})), (400, "proto: \"ICMP\" is not one of TCP, UDP", "")),
        (
            "PUT",
            "lb1/service/10.0.0.1/80/TCP",
            Some(json!({ "vport": 81 })),
            (400, "the vport is 80 in the path and 81 in the body", ""),
        ),
        (
            "PATCH",
            "lb1/service/10.0.0.1/80/TCP/proto",
            Some(json!("UDP")),
            (400, "the proto is \"TCP\" in the path and \"UDP\" in the body", ""),
        ),
    ] {
        let (status, _, message) = site.refused(method, path, body.as_ref());
        let (expected, begin, more) = expected;
        assert_eq!(status, expected, "{method} {path}: {message}");
        assert!(message.contains(begin) && message.contains(more), "{method} {path}: {message}");
    }
    let (_, path, _) = site.refused("POST", "lb1/service/10.0.0.9/many/TCP", Some(&json!({})));
    assert_eq!(path, "lb1/service/10.0.0.9/many/TCP/vport");
    for (line, expected) in [
        ("show lb1 service 10.0.0.1 80", "`proto` is missing: an entry is named by vip, vport, proto"),
        ("lb1 service add 10.0.0.1 80 TCP", "the entry `10.0.0.1 80 TCP` already exists"),
        ("lb1 service del 10.0.0.1", "`vport` and `proto` are missing"),
        ("lb1 service 10.0.0.1 80 set name=x", "proto: \"name\" is not one of TCP, UDP"),
        ("lb1 service add 80 10.0.0.1 TCP", "vport: \"10.0.0.1\" is not of type \"integer\""),
    ] {
        let said = site.scene.daemon.ctl(line).one_line(2);
        assert!(said.contains(expected), "{line}: {said}");
    }
    Ok(())
}

#[test]
fn a_key_can_have_any_character_and_is_not_empty() -> Result<()> {
    let site = Site::build()?;
    let daemon = &site.scene.daemon;
    for (topic, word) in
        [("10.0.0.0/8", "a,b"), ("50%", "a b"), ("é/ü", "%2f"), ("?#&", "`$x"), ("x", "\"'\\"), ("1", "true")]
    {
        daemon.ctl_words(&["lb1", "note", "add", topic, word, "text=t"]).ok();
        let shown = daemon.ctl_words(&["lb1", "note", topic, word, "show", "-json"]).ok();
        let shown: Value = serde_json::from_str(&shown)?;
        assert_eq!(shown, json!({ "topic": topic, "word": word, "text": "t" }));
        daemon.ctl_words(&["lb1", "note", topic, word, "set", "text=u"]).ok();
        daemon.ctl_words(&["lb1", "note", "del", topic, word]).ok();
    }
    assert_eq!(site.ask("POST", "lb1/note/a%2Fb/C%2Cd", Some(&json!({}))).status, 201);
    assert_eq!(site.ask("GET", "lb1/note=a%2Fb,c%2CD/word", None).ok().json()?, "c,d", "in lower case");
    for body in [json!({ "topic": "", "word": "x" }), json!({ "topic": "x", "word": "" })] {
        let (status, _, message) = site.refused("POST", "lb1/note", Some(&body));
        assert!(status == 400 && message.contains("is empty, and it is part of the entry's name"), "{message}");
        let (status, path, message) = site.refused("PATCH", "lb1", Some(&json!({ "note": [body] })));
        assert!(status == 400 && message.contains("is empty, and it is part of the entry's name"), "{path}: {message}");
    }
    Ok(())
}

#[test]
fn lists_are_merged_and_compared_by_the_whole_key() -> Result<()> {
    let site = Site::build()?;
    let service = |vport: Value, proto: &str, more: Value| {
        let mut service = json!({ "vip": "10.0.0.1", "vport": vport, "proto": proto });
        service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service
    };
    let services = json!([service(json!(80), "UDP", json!({ "name": "u" })), service(json!(81), "TCP", json!({}))]);
    assert_eq!(site.ask("PATCH", "lb1", Some(&json!({ "service": services }))).status, 200);
    let names = site.ask("GET", "lb1/service", None).ok().json()?;
    let names: Vec<&Value> = names.as_array().context("a list")?.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&json!("web"), &json!("u"), &Value::Null]);
    let twice = json!([service(json!("80"), "tcp", json!({})), service(json!(80), "TCP", json!({}))]);
    let (status, path, message) = site.refused("PATCH", "lb1", Some(&json!({ "service": twice })));
    assert_eq!((status, path.as_str()), (400, "lb1/service/10.0.0.1/80/TCP"), "{message}");
    assert!(message.contains("`10.0.0.1 80 TCP` is in the list twice"), "{message}");
    let half = json!([{ "vip": "10.0.0.1", "proto": "TCP" }]);
    let (status, path, message) = site.refused("PATCH", "lb1", Some(&json!({ "service": half })));
    assert_eq!((status, path.as_str()), (400, "lb1/service/3/vport"), "{message}");
    Ok(())
}

#[test]
fn entries_outlive_the_daemon_and_come_back_from_a_document() -> Result<()> {
    let mut site = Site::build()?;
    site.prints("lb1 service 10.0.0.1 80 TCP backend add 10.1.0.1 8080 weight=3", "");
    let before = site.ask("GET", "lb1", None).ok().json()?;
    let saved = site.scene.daemon.ctl("config save").ok();
    assert!(saved.contains("vport: 80") && saved.contains("weight: 3"), "{saved}");
    site.scene.daemon.kill9()?;
    site.scene.daemon.restart()?;
    assert_eq!(site.ask("GET", "lb1", None).ok().json()?, before);
    site.prints("lb1 service del 10.0.0.1 80 TCP", "");
    let daemon = &site.scene.daemon;
    let difference = daemon.ctl_reading(&["config", "diff"], Some(&saved)).ok();
    assert!(difference.contains("service") && difference.contains("lb1"), "{difference}");
    daemon.ctl_reading(&["config", "apply"], Some(&saved)).ok();
    let after = site.ask("GET", "lb1/service/10.0.0.1/80/TCP/backend/10.1.0.1/8080/weight", None).ok().json()?;
    assert_eq!(after, 3);
    let again = daemon.ctl_reading(&["config", "diff"], Some(&saved)).ok();
    assert!(!again.contains("changed"), "{again}");
    Ok(())
}

#[test]
fn each_word_of_a_key_has_help_and_completion() -> Result<()> {
    let site = Site::build()?;
    site.prints("lb1 service add 10.0.0.2 443 TCP", "");
    for (words, expected) in [
        ("lb1 service show ", "10.0.0.1 10.0.0.2"),
        ("lb1 service show 10.0.0.1 ", "80"),
        ("lb1 service show 10.0.0.1 80 ", "TCP UDP"),
        ("lb1 service show 10.0.0.2 443 ", "TCP"),
        ("lb1 service show 10.0.0.1 80 TCP ", "vip vport proto name backend"),
        ("lb1 service add ", "10.0.0.1 10.0.0.2"),
        ("lb1 service add 10.0.0.1 ", "80"),
        ("lb1 service add 10.0.0.1 81 ", "TCP UDP name="),
        ("lb1 service add 10.0.0.9 81 tcp ", "name="),
        ("lb1 service 10.0.0.2 ", "443"),
        ("lb1 session show 10.0.0.1 ", "80 443"),
    ] {
        assert_eq!(site.complete(words).join(" "), expected, "{words}");
    }
    let help = site.scene.daemon.ctl_words(&["lb1", "service", "add", "10.0.0.9", "?"]).ok();
    assert!(help.contains("<vport>") && help.contains("Virtual port"), "{help}");
    let said = site.scene.daemon.ctl_words(&["lb1", "service", "show", "10.0.0.9", "?"]).one_line(2);
    assert!(said.contains("there is no entry `10.0.0.9`"), "{said}");
    let help = site.ask("OPTIONS", "lb1/?help=SHOW", None).ok().json()?;
    assert_eq!(help["params"]["service"]["keys"], json!(["vip", "vport", "proto"]));
    Ok(())
}

#[test]
fn each_member_is_a_parameter_and_a_label() -> Result<()> {
    let site = Site::build()?;
    let document = site.ask("GET", "openapi.json", None).ok().json()?;
    let parameters = |path: &str| -> Vec<String> {
        let declared = document["paths"][path]["parameters"].as_array().into_iter().flatten();
        declared.map(|one| format!("{}:{}", one["name"], one["schema"]["type"]).replace('"', "")).collect()
    };
    let of_cube = "cube:string vip:string vport:integer proto:string";
    assert_eq!(parameters("/wall/{cube}/service/{vip}/{vport}/{proto}").join(" "), of_cube);
    let backend = "/wall/{cube}/service/{vip}/{vport}/{proto}/backend/{ip}/{port}/weight";
    assert_eq!(parameters(backend).join(" "), format!("{of_cube} ip:string port:integer"));
    assert_eq!(document["paths"]["/wall/{cube}/service/{vip}"], Value::Null);
    let page = site.ask("GET", "metrics", None).ok().text();
    let line = "wall_session_packets_total{cubeName=\"lb1\",src=\"10.0.0.1\",sport=\"443\"} 8";
    assert!(page.contains(line), "{page}");
    Ok(())
}

/// Numbers that are the same in each run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn word(&mut self) -> String {
        const PIECES: [&str; 18] =
            ["a", "B", "7", "-", ".x", "/", ",", "%", "%2F", " ", "=", "é", "?", "#", "\"", "\\", "🦀", "+"];
        let length = 1 + self.below(5);
        (0..length).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }
}

/// Percent-encodes all but letters and digits.
fn segment(word: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    word.bytes().map(encode).collect()
}

#[test]
fn random_keys_survive_the_round_trip() -> Result<()> {
    let site = Site::build()?;
    let mut random = Random(1);
    let mut there: Vec<(String, String)> = Vec::new();
    for round in 0..200 {
        let (topic, word) = (random.word(), random.word());
        let lower = word.to_lowercase();
        let is_there = there.iter().any(|(one, other)| (one, other) == (&topic, &lower));
        let [first, second] = [&topic, &word].map(|word| segment(word));
        let path = match random.below(3) {
            0 => format!("lb1/note/{first}/{second}"),
            1 => format!("wall/lb1/note={first},{second}"),
            _ => "lb1/note".to_owned(),
        };
        let body = if path.ends_with("note") { json!({ "topic": topic, "word": word }) } else { json!({}) };
        let status = site.ask("POST", &path, Some(&body)).status;
        assert_eq!(status, if is_there { 409 } else { 201 }, "{round}: {topic:?} {word:?} at {path}");
        if !is_there {
            there.push((topic.clone(), lower.clone()));
        }
        let found = site.ask("GET", &format!("lb1/note/{first}/{second}"), None).ok().json()?;
        assert_eq!(found, json!({ "topic": topic, "word": lower, "text": "" }), "{round}");
        if random.below(4) == 0 {
            let (topic, word) = there.swap_remove(random.below(there.len()));
            let path = format!("lb1/note/{}/{}", segment(&topic), segment(&word));
            assert_eq!(site.ask("DELETE", &path, None).status, 204, "{round}: {topic:?} {word:?}");
        }
    }
    let left = site.ask("GET", "lb1/note", None).ok().json()?;
    let text = |one: &Value, member: &str| one[member].as_str().unwrap_or_default().to_owned();
    let mut left: Vec<_> =
        left.as_array().context("a list")?.iter().map(|one| (text(one, "topic"), text(one, "word"))).collect();
    left.sort();
    there.sort();
    assert_eq!(left, there);
    Ok(())
}
