use serde_json::json;

use super::*;

#[track_caller]
fn check(detail: Detail, hide: &[&str], value: &Value, expected: &str) {
    let view = View::Text { detail, all: false, hide: hide.iter().map(|&path| path.to_owned()).collect() };
    assert_eq!(render(&view, value, Schema::default(), None), expected);
}

fn bridge() -> Value {
    json!({
        "name": "br1",
        "_links": [{"rel": "self", "href": "//localhost/br1/"}],
        "ports": [
            {"name": "toveth1", "peer": "veth1", "stats": {"rx": 7}, "tags": [1, 2]},
            {"name": "p2", "stats": {"rx": 12345}, "tags": []},
        ],
        "fdb": {"aging": 300, "_links": [], "entry": [{"mac": "02:00:00:00:00:01", "port": "p2"}]},
        "loglevel": "INFO",
        "ratio": 0.5,
        "shadow": false,
        "parent": null,
        "hosts": [],
    })
}

fn cubes() -> Value {
    json!([
        {"name": "br1", "uuid": "1-2", "ports": [{"name": "a", "peer": "veth1"}, {"name": "b", "peer": "veth2"}]},
        {"name": "sniffer", "uuid": "3-4", "parent": "br1:a"},
    ])
}

#[test]
fn names_are_for_scripts() {
    let names = |value: &Value| render(&View::Names, value, Schema::default(), None);
    assert_eq!(names(&cubes()), "br1\nsniffer\n");
    assert_eq!(names(&json!({"simplebridge": [{"name": "br1"}], "packetcapture": [{"name": "s"}]})), "br1\ns\n");
    assert_eq!(names(&json!([{"mac": "02:00:00:00:00:01", "port": "p2"}, "x"])), "02:00:00:00:00:01\nx\n");
    assert_eq!(names(&bridge()), "br1\n");
    assert_eq!(names(&json!({})), "");
}

#[test]
fn a_list_says_whose_a_cube_is_that_goes_with_its_stream() {
    let cubes = json!([
        {
            "name": "c", "uuid": "u", "service-name": "s", "parent": "eth0", "parents": ["eth0", "any"],
            "ephemeral": {"owner": "uid 0 (root)", "age": 120},
        },
        {"name": "sniffer", "uuid": "v", "service-name": "s", "loglevel": "INFO"},
    ]);
    check(
        Detail::Normal,
        &[],
        &cubes,
        "name     service-name  place      owner         age\n\
         c        s             eth0, any  uid 0 (root)  2 min\n\
         sniffer  s\n",
    );
}

#[test]
fn a_cube_shows_leaves_then_objects_then_tables() {
    check(
        Detail::Normal,
        &[],
        &bridge(),
        "\
name: br1
loglevel: INFO
ratio: 0.5
shadow: false
parent: unset
hosts: [0 items]
fdb:
 aging: 300

 entry:
  mac                port
  02:00:00:00:00:01  p2

ports:
 name     peer   tags
 toveth1  veth1  1, 2
 p2              [0 items]
",
    );
}

#[test]
fn brief_counts_lists() {
    check(
        Detail::Brief,
        &[],
        &bridge(),
        "name: br1\nloglevel: INFO\nratio: 0.5\nshadow: false\nparent: unset\nhosts: [0 items]\nfdb:\n aging: 300\n \
         entry: [1 item]\nports: [2 items]\n",
    );
    check(Detail::Brief, &[], &cubes(), "[2 items]\n");
    check(Detail::Brief, &[], &json!({"addresses": ["a", "b"]}), "addresses: [2 items]\n");
}

#[test]
fn normal_counts_lists_in_lists() {
    check(
        Detail::Normal,
        &[],
        &cubes(),
        "\
name     uuid  ports      parent
br1      1-2   [2 items]
sniffer  3-4              br1:a
",
    );
}

#[test]
fn a_table_is_set_apart_from_what_is_around_it() {
    let value = json!({"fdb": {"entry": [{"mac": "a"}]}, "counters": {"seen": 1}, "more": {"b": 2}});
    check(Detail::Normal, &[], &value, "fdb:\n\n entry:\n  mac\n  a\n\ncounters:\n seen: 1\nmore:\n b: 2\n");
    check(Detail::Normal, &[], &json!({"a": [{"b": 1}], "c": [{"d": 2}]}), "a:\n b\n 1\n\nc:\n d\n 2\n");
}

#[test]
fn an_object_that_some_rows_lack_is_not_a_column() {
    let ports = json!([
        {"name": "a", "peer": null, "counters": {"rx": 1}},
        {"name": "b", "peer": null, "counters": null},
    ]);
    check(Detail::Normal, &[], &ports, "name  peer\na     unset\nb     unset\n");
    check(Detail::Verbose, &[], &ports, "name  peer   counters.rx\na     unset  1\nb     unset\n");
}

#[test]
fn verbose_opens_lists_in_lists() {
    check(
        Detail::Verbose,
        &["uuid"],
        &cubes(),
        "\
name     name (ports)  peer (ports)  parent
br1      a             veth1
         b             veth2
sniffer                              br1:a
",
    );
    check(
        Detail::Verbose,
        &[],
        &json!([{"n": 1, "filters": {"src": "x", "deep": [{"k": 1}]}}, {"n": 2, "filters": {"src": "yy"}}]),
        "\
n  filters.src  filters.deep
1  x            [1 item]
2  yy
",
    );
}

#[test]
fn hidden_paths_are_left_out() {
    check(
        Detail::Normal,
        &["fdb.entry", "ports.tags", "hosts", "parent", "ratio", "shadow"],
        &bridge(),
        "name: br1\nloglevel: INFO\nfdb:\n aging: 300\n\nports:\n name     peer\n toveth1  veth1\n p2\n",
    );
    check(Detail::Normal, &["fdb"], &json!({"a": 1, "fdb": {"b": 2}}), "a: 1\n");
    check(Detail::Normal, &["a"], &json!([{"a": 1}]), "");
    check(
        Detail::Normal,
        &["uuid"],
        &json!({"s": [{"n": 1, "uuid": 2}], "uuid": 3, "my-uuid": 4}),
        "my-uuid: 4\n\ns:\n n\n 1\n",
    );
    check(Detail::Normal, &["s.uuid"], &json!({"s": [{"n": 1, "uuid": 2}], "uuid": 3}), "uuid: 3\n\ns:\n n\n 1\n");
}

#[test]
fn plain_answers_are_bare() {
    check(Detail::Normal, &[], &json!("capture dump in ./x.pcap\n"), "capture dump in ./x.pcap\n");
    check(Detail::Normal, &[], &json!("two\nlines"), "two\nlines\n");
    check(Detail::Normal, &[], &json!("\u{1b}[2J"), "\\u{1b}[2J\n");
    check(Detail::Normal, &[], &json!(262_144), "262144\n");
    check(Detail::Normal, &[], &json!(true), "true\n");
    check(Detail::Normal, &[], &json!(null), "unset\n");
    check(Detail::Normal, &[], &json!(["a", 1]), "a\n1\n");
    check(Detail::Normal, &[], &json!({}), "");
    check(Detail::Normal, &[], &json!([]), "");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    check(Detail::Normal, &[], &json!({"a\u{1b}": "x\n\u{9b}"}), "a\\u{1b}: x\\n\\u{9b}\n");
    check(Detail::Normal, &[], &json!([{"a\r": ["\t"]}]), "a\\r\n\\t\n");
}

#[test]
fn json_is_the_whole_body() {
    let value = json!({"name": "s", "_links": [{"rel": "self"}], "raw": "\u{1b}\u{9b}é"});
    assert_eq!(
        render(&View::Json, &value, Schema::default(), None),
        "{\n  \"name\": \"s\",\n  \"_links\": [\n    {\n      \"rel\": \"self\"\n    }\n  ],\n  \"raw\": \
         \"\\u001b\\u009bé\"\n}\n"
    );
}

/// A cube with a group of settings, a detail and a table, and the data model of it.
fn capture() -> (Value, polycube_api::Keyword) {
    let leaf = |unit: &str, initial: Value| json!({ "type": "leaf", "unit": unit, "default": initial });
    let member = |name: &str, mut keyword: Value| {
        keyword["name"] = name.into();
        keyword
    };
    let node = json!({ "type": "container", "members": [
        member("snaplen", leaf("bytes", json!(262_144))),
        member("magic", json!({ "type": "leaf", "minor": true, "read-only": true })),
        member("rotate", json!({ "type": "container", "members": [member("size", leaf("MiB", Value::Null))] })),
        member("stop", json!({ "type": "container", "members": [member("seconds", leaf("seconds", Value::Null))] })),
        member("files", json!({ "type": "list", "members": [member("size", leaf("bytes", Value::Null))] })),
    ] });
    let value = json!({
        "name": "s", "snaplen": 96, "magic": 7, "rotate": { "size": null }, "stop": { "seconds": 3600 },
        "files": [{ "name": "a", "size": 1_000_000 }, { "name": "b", "size": 1_048_576 }],
    });
    (value, serde_json::from_value(node).unwrap())
}

#[track_caller]
fn check_with_schema(detail: Detail, all: bool, expected: &str) {
    let (value, node) = capture();
    let view = View::Text { detail, all, hide: Vec::new() };
    assert_eq!(render(&view, &value, Schema::of(Some(&node)), None), expected);
}

#[test]
fn numbers_have_units_and_what_few_want_to_see_is_left_out() {
    let files = "\nfiles:\n name  size\n a     1 MB\n b     1 MiB\n";
    check_with_schema(
        Detail::Normal,
        false,
        &format!(
            "name: s\nsnaplen: 96 bytes\nstop:\n seconds: 1 h\n{files}\n\
             not shown, because they are defaults or details: magic, rotate (--all)\n"
        ),
    );
    let whole = format!("name: s\nsnaplen: 96 bytes\nmagic: 7\nrotate:\n size: unset\nstop:\n seconds: 1 h\n{files}");
    check_with_schema(Detail::Normal, true, &whole);
    check_with_schema(Detail::Verbose, false, &whole);
}

#[test]
fn the_systems_words_do_without_its_numbers() {
    let value = json!({ "status": "cannot write: No space left on device (os error 28); packets are lost" });
    let shown = |view: &View| render(view, &value, Schema::default(), None);
    assert_eq!(shown(&View::plain()), "status: cannot write: No space left on device; packets are lost\n");
    assert!(shown(&View::Json).contains("(os error 28)"));
}

#[test]
fn json_has_plain_numbers_and_everything() {
    let (value, node) = capture();
    let json = render(&View::Json, &value, Schema::of(Some(&node)), None);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
}

#[test]
fn a_single_number_has_a_unit_on_a_terminal_only() {
    let node = polycube_api::Keyword { unit: "bytes".to_owned(), ..Default::default() };
    let shown = |width| render(&View::plain(), &json!(1_048_576), Schema::of(Some(&node)), width);
    assert_eq!((shown(None).as_str(), shown(Some(80)).as_str()), ("1048576\n", "1 MiB\n"));
}
