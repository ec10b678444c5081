use polycube_plugin_api::{ServiceKind, Stream};
use serde_json::json;

use super::*;

fn service() -> ServiceSchema {
    let config = json!({ "type": "object", "properties": {
        "size": { "type": "integer" },
        "box": { "type": "object", "properties": { "word": { "type": "string", "x-alias": "/size" } } },
        "routes": list("id"),
        "services": composite(&json!(["vip", "vport"])),
    } });
    ServiceSchema {
        actions: vec![
            Action::new("box/flush", "Flush"),
            Action::new("run", "Run"),
            Action::new("routes/{id}/reset", "Reset"),
            Action::new("services/{vip}/{port}/reset", "Reset"),
        ],
        streams: vec![Stream::new("packets", "Packets", &["text/plain"])],
        ..ServiceSchema::new("guard", ServiceKind::Transparent, config, json!({ "type": "object" }))
    }
}

fn list(key: &str) -> Value {
    let members = json!({
        "id": { "type": "integer" },
        "tags": { "type": "array", "items": { "type": "string" } },
        "box": { "type": "object" },
        "inner": { "type": "object", "properties": {} },
    });
    json!({ "type": "array", "x-list-key": key, "items": { "type": "object", "properties": members } })
}

/// A list whose key has several members.
fn composite(key: &Value) -> Value {
    let members = json!({
        "vip": { "type": "string" },
        "vport": { "type": "integer" },
        "maybe": { "type": ["string", "null"] },
        "weight": { "type": "integer" },
        "tags": { "type": "array", "items": { "type": "string" } },
    });
    let items = json!({ "type": "object", "properties": members, "required": ["vip", "vport", "maybe", "tags"] });
    json!({ "type": "array", "x-list-key": key, "items": items })
}

/// Asserts what is said of the service after `change`.
#[track_caller]
fn check_that(change: impl FnOnce(&mut ServiceSchema), expected: &str) {
    let mut service = service();
    change(&mut service);
    let words = ["name", "uuid", "ports", "points", "parent", "loglevel"].map(str::to_owned);
    let found = check(&service, &words).err().map(|fault| fault.to_string()).unwrap_or_default();
    assert_eq!(found, expected);
}

#[test]
fn a_service_that_every_request_can_reach_is_taken() {
    check_that(|_| {}, "");
    check_that(|service| service.name = "Guard-2.b_c".to_owned(), "");
}

#[test]
fn a_name_is_a_word_that_means_nothing_else() {
    const FORM: &str = "its name is not one that paths can carry: use at most 63 ASCII letters, digits, `-`, `_` and \
                        `.`, a letter first";
    const TAKEN: &str = "its name is a word of the API or of the command line: choose another";
    for name in ["My Service", "", "a/b", "-a", "7", "näh", "a?", "a%20", &"x".repeat(64)] {
        check_that(|service| service.name = name.to_owned(), FORM);
    }
    for name in ["cubes", "services", "openapi.json", "help", "config", "show", "add"] {
        check_that(|service| service.name = name.to_owned(), TAKEN);
    }
}

#[test]
fn a_description_is_one_line() {
    const WHY: &str = "its description is not one line: remove line breaks and other control characters";
    for text in ["a\nb", "a\u{1b}[31mred", "\r"] {
        check_that(|service| service.description = text.to_owned(), WHY);
    }
    check_that(|service| service.description = "Zählt Pakete: 1, 2 …".to_owned(), "");
}

#[test]
fn configuration_and_state_are_objects_without_words_of_the_host() {
    let whole = |schema: Value| move |service: &mut ServiceSchema| service.state = schema;
    let shape = "its state is not an object: make it a struct with named fields";
    for schema in [json!({ "type": "integer" }), json!({ "type": ["object", "null"] }), json!(true), Value::Null] {
        check_that(whole(schema), shape);
    }
    check_that(
        |service| service.config = json!({ "type": "array" }),
        "its configuration is not an object: make it a struct with named fields",
    );
    for word in ["name", "uuid", "ports", "points", "parent", "loglevel"] {
        let schema = json!({ "type": "object", "properties": { word: { "type": "string" } } });
        let taken =
            |part| format!("`{word}` of its {part} is a word of the host's own: choose another name for the field");
        check_that(|service| service.config = schema.clone(), &taken("configuration"));
        check_that(whole(schema.clone()), &taken("state"));
    }
    let nested = json!({ "type": "object", "properties": { "box": { "properties": { "name": {} } } } });
    check_that(whole(nested), "");
    check_that(
        |service| service.config["properties"]["box"]["properties"]["again"] = json!({ "$ref": "#" }),
        "`box/again` of its configuration has `$ref`: a type that contains itself cannot be a data model: describe the member where it is",
    );
}

#[test]
fn every_member_can_be_named_in_a_command() {
    let put = |name: &str| json!({ "type": "object", "properties": { name: { "type": "integer" } } });
    let words = "has a name that no command can carry: use ASCII letters, digits, `-` and `_`, and none of the words `add`, \
                 `set`, `show`, `del`";
    for name in ["add", "set", "show", "del", "a=b", "a.b", "", "a b", "a/b", "{x}", "é"] {
        check_that(
            |service| service.config["properties"]["box"] = put(name),
            &format!("`box/{name}` of its configuration {words}"),
        );
        check_that(|service| service.state = put(name), &format!("`{name}` of its state {words}"));
        let mut entries = list("id");
        entries["items"]["properties"][name] = json!({ "type": "integer" });
        check_that(
            |service| service.config["properties"]["l"] = entries,
            &format!("`l/{name}` of its configuration {words}"),
        );
    }
    check_that(|service| service.state = put("Min-TTL_2"), "");
    // What an action is given follows its path as `del=…`.
    check_that(|service| service.actions[1].input = Some(put("del")), "");
    check_that(|service| service.actions[1].input = Some(put("a=b")), &format!("`a=b` of its action's input {words}"));
}

#[test]
fn what_a_schema_says_of_a_node_can_all_be_true() {
    check_that(
        |service| service.config["properties"]["size"]["default"] = json!("yes"),
        "`size` of its configuration contradicts itself: its default, \"yes\", is not of its type, `integer`: change one of them",
    );
    check_that(
        |service| service.config["properties"]["routes"]["items"]["type"] = json!("array"),
        "`routes` of its configuration contradicts itself: it has `properties` and is of the type `array`: make it `object`",
    );
    let state = |schema: Value| {
        move |service: &mut ServiceSchema| service.state = json!({ "type": "object", "properties": schema })
    };
    check_that(
        state(json!({ "size": { "type": ["string", "null"] } })),
        "`size` is `integer` in its configuration and `string` in its state, which are shown as one: choose another name, or \
         the same type",
    );
    check_that(state(json!({ "size": { "type": ["number", "null"] } })), "");
    check_that(state(json!({ "size": {} })), "");
    check_that(
        state(json!({ "routes": { "type": "object", "properties": {} } })),
        "`routes` is `array` in its configuration and `object` in its state, which are shown as one: choose another name, or \
         the same type",
    );
}

#[test]
fn a_list_is_identified_by_a_leaf_of_its_entries() {
    let put =
        |list: Value| move |service: &mut ServiceSchema| service.config["properties"]["box"]["properties"]["l"] = list;
    for key in ["other", "tags", "box", "inner"] {
        let expected = format!(
            "the list `box/l` of its configuration has the key `{key}`, which is not a text, number or boolean of its \
             entries: name a member that is"
        );
        check_that(put(list(key)), &expected);
    }
    let mut bare = list("id");
    bare.as_object_mut().unwrap().shift_remove("x-list-key");
    let missing = "of its configuration has no `x-list-key`: say which member identifies an entry";
    check_that(put(bare.clone()), &format!("the list `box/l` {missing}"));
    let mut outer = list("id");
    outer["items"]["properties"]["below"] = bare.clone();
    check_that(put(outer), &format!("the list `box/l/below` {missing}"));
    check_that(
        |service| service.state = json!({ "type": "object", "properties": { "l": bare } }),
        "the list `l` of its state has no `x-list-key`: say which member identifies an entry",
    );
    check_that(put(json!({ "type": "array", "items": { "type": "string" } })), "");
}

#[test]
fn a_key_of_several_members_is_of_leaves_that_every_entry_has() {
    let put = |key: Value| move |service: &mut ServiceSchema| service.config["properties"]["l"] = composite(&key);
    for key in [json!(["vip", "vport"]), json!(["vport", "vip"]), json!(["vip"])] {
        check_that(put(key), "");
    }
    let about = "the list `l` of its configuration has";
    let form = format!(
        "{about} an `x-list-key` that is neither the name of a member nor an array of such names: make it one of them"
    );
    for key in [json!([]), json!(["vip", 5]), json!(true), json!({})] {
        check_that(put(key), &form);
    }
    check_that(put(json!(["vip", "vport", "vip"])), &format!("{about} the key `vip` twice: name it once"));
    let leaf = "which is not a text, number or boolean of its entries: name a member that is";
    check_that(put(json!(["vip", "tags"])), &format!("{about} the key `tags`, {leaf}"));
    check_that(put(json!(["vip", "other"])), &format!("{about} the key `other`, {leaf}"));
    let optional = "which its entries need not have: make it a required member";
    check_that(put(json!(["vip", "weight"])), &format!("{about} the key `weight`, {optional}"));
    check_that(put(json!(["vip", "maybe"])), &format!("{about} the key `maybe`, {optional}"));
}

#[test]
fn an_alias_leads_to_a_value() {
    for target in ["/nothing", "/box", "size", "", "/box/word", "/routes"] {
        check_that(
            |service| service.config["properties"]["box"]["properties"]["word"]["x-alias"] = json!(target),
            &format!(
                "`box/word` of its configuration is an alias of `{target}`, which is not a value of the configuration: give the JSON pointer of one"
            ),
        );
    }
}

#[test]
fn an_action_has_a_path_of_its_own() {
    const PATH: &str = "give it a path of words with `/` between them, each of letters, digits, `-`, `_` and `.`";
    for (path, why) in [
        ("", PATH),
        ("/flush", PATH),
        ("flush/", PATH),
        ("box//flush", PATH),
        ("flush all", PATH),
        ("flush?", PATH),
        ("show", "`show` is a word of the command line: choose another"),
        ("box/del", "`del` is a word of the command line: choose another"),
        ("ports/flush", "`ports` is a word of the host's own: choose another"),
        ("size", "a node of the data model has this path: choose another"),
        ("box", "a node of the data model has this path: choose another"),
        ("routes", "a node of the data model has this path: choose another"),
        ("routes/flush", "what follows the list `routes` names an entry: write {id} after it"),
        ("routes/flush/all", "what follows the list `routes` names an entry: write {id} after it"),
        ("services/{vip}/drain", "what follows the list `services` names an entry: write {vip}/{vport} after it"),
        ("box/{id}/flush", "`{id}` stands for no key of a list: leave out the braces"),
        ("routes/{id}/{id}", "`{id}` stands for no key of a list: leave out the braces"),
        ("routes/{id}", "a node of the data model has this path: choose another"),
        ("routes/{id}/tags", "a node of the data model has this path: choose another"),
        ("services/{a}/{a}/drain", "`{a}` is there twice: give the words in braces different names"),
        ("routes/{other}/reset", "another action has this path: choose another"),
        ("routes/{}/x", PATH),
        (
            "routes/{id}/reset/now",
            "nothing follows the action `routes/{id}/reset`: choose a path that does not begin with it",
        ),
        ("packets", "a stream has this path: choose another"),
        ("run", "another action has this path: choose another"),
        ("run/fast", "nothing follows the action `run`: choose a path that does not begin with it"),
    ] {
        check_that(
            |service| service.actions.push(Action::new(path, "")),
            &format!("the action `{path}` cannot be called: {why}"),
        );
    }
    check_that(
        |service| service.actions.extend([Action::new("a/b", ""), Action::new("a", "")]),
        "the action `a` cannot be called: nothing follows the action `a`: choose a path that does not begin with it",
    );
    check_that(|service| service.actions.push(Action::new("runs", "")), "");
    check_that(
        |service| service.actions[1].input = Some(json!({ "type": "string" })),
        "its action's input is not an object: make it a struct with named fields",
    );
    for output in [json!({ "type": "string" }), json!({ "type": "array", "items": { "properties": { "a": {} } } })] {
        check_that(|service| service.actions[1].output = Some(output), "");
    }
    check_that(
        |service| service.actions[1].output = Some(json!({ "items": { "properties": { "a": { "$ref": "#" } } } })),
        "`a` of its action's output has `$ref`: a type that contains itself cannot be a data model: describe the member where it is",
    );
}

#[test]
fn ports_of_a_standard_service_are_a_list_by_name_of_members_that_the_host_has_not() {
    let with = |part: fn(&mut ServiceSchema) -> &mut Value, ports: Value| {
        move |service: &mut ServiceSchema| {
            service.kind = ServiceKind::Standard;
            // They are actions of entries that this configuration does not have.
            service.actions.clear();
            *part(service) = json!({ "type": "object", "properties": { "ports": ports } });
        }
    };
    let ports = |key: &str, members: Value| json!({ "type": "array", "x-list-key": key, "items": { "type": "object", "properties": members } });
    let text = json!({ "type": "string" });
    let named = ports("name", json!({ "name": text, "ip": text }));
    check_that(with(|service| &mut service.config, named.clone()), "");
    check_that(with(|service| &mut service.state, named.clone()), "");
    const KEY: &str = "has no text `name` as its `x-list-key`: add it, as ports are known by their names";
    for wrong in [
        ports("ip", json!({ "name": text, "ip": text })),
        ports("name", json!({ "name": { "type": "integer" } })),
        json!({ "type": "array", "items": text }),
        json!({ "type": "object", "properties": {} }),
    ] {
        check_that(
            with(|service| &mut service.config, wrong.clone()),
            &format!("the list `ports` of its configuration {KEY}"),
        );
        check_that(with(|service| &mut service.state, wrong), &format!("the list `ports` of its state {KEY}"));
    }
    const OWN: &str = "is a word of the host's own: choose another name for the field";
    let clash = |word: &str| ports("name", json!({ "name": text, word: text }));
    check_that(
        with(|service| &mut service.config, clash("peer")),
        &format!("`peer` of its ports' configuration {OWN}"),
    );
    check_that(with(|service| &mut service.state, clash("counters")), &format!("`counters` of its ports' state {OWN}"));
    let alias = ports("name", json!({ "name": text, "ip": text, "address": { "x-alias": "/ip" } }));
    check_that(with(|service| &mut service.config, alias), "");
    let stray = ports("name", json!({ "name": text, "address": { "x-alias": "/ports/ip" } }));
    check_that(
        with(|service| &mut service.config, stray),
        "`ports/address` of its configuration is an alias of `/ports/ip`, which is not a value of the configuration: give the JSON pointer of one",
    );
    check_that(
        |service| service.config = json!({ "type": "object", "properties": { "ports": named } }),
        &format!("`ports` of its configuration {OWN}"),
    );
}
