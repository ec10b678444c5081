use polycube_api::{ErrorInfo, Errors, Limits};
use serde_json::json;

use super::*;

const PACKETS: Asked<'_> = Asked::Packets { cube: "br2", command: "dump" };

fn answer(status: StatusCode, body: &str) -> Answer {
    Answer { status, body: body.to_owned().into() }
}

#[track_caller]
fn check(status: StatusCode, body: &str, expected: &str) {
    assert_eq!(Refusal::new(&answer(status, body), Asked::Verb).to_string(), expected);
}

#[track_caller]
fn check_errors(errors: &Value, expected: &str) {
    check(StatusCode::BAD_REQUEST, &json!({"ietf-restconf:errors": {"error": errors}}).to_string(), expected);
}

fn error(tag: ErrorTag, path: &str, info: ErrorInfo) -> Error {
    Error {
        error_type: "application".to_owned(),
        error_tag: tag,
        error_path: path.to_owned(),
        error_message: "a message for people who speak HTTP: PATCH it; known: everything".to_owned(),
        error_info: info,
    }
}

#[test]
fn a_capture_in_one_line_has_no_paths_of_its_cube() {
    let refused =
        |path: &str| said(Asked::Capture, &error(ErrorTag::InvalidValue, path, ErrorInfo::default()), "REASON");
    assert_eq!(refused("parents"), "polycubectl: REASON");
    assert_eq!(refused("packetcapture-45c41a/stream"), "polycubectl: REASON");
    assert_eq!(refused("snaplen"), "polycubectl: snaplen: REASON");
}

/// The line of a refusal whose sentence is `reason`.
fn said(asked: Asked<'_>, error: &Error, reason: &str) -> String {
    let mut error = error.clone();
    error.error_info.reason = reason.to_owned();
    let body = ErrorBody { errors: Errors { error: vec![error] } };
    let body = serde_json::to_string(&body).unwrap();
    Refusal::new(&answer(StatusCode::BAD_REQUEST, &body), asked).to_string()
}

/// Asserts the line of a refusal; REASON in `expected` is where the daemon's sentence goes, whatever it is.
#[track_caller]
fn check_said(asked: Asked<'_>, error: &Error, expected: &str) {
    for reason in [
        "REASON",
        "there is no `x`; known: y",
        "PUT does not work on `x`: it takes GET, POST",
        "it already exists: PATCH changes it, PUT replaces its configuration",
        "cube `br2` has no `stream`",
    ] {
        let expected = format!("polycubectl: {}", expected.replace("REASON", reason));
        assert_eq!(said(asked, error, reason), expected, "{asked:?}");
    }
}

#[test]
fn a_cube_that_exists_can_be_set_or_applied() {
    let instead = ["br1", "config"].map(|path| Instead { method: Method::Patch, path: path.to_owned() });
    let info = ErrorInfo { name: "br1".to_owned(), instead: instead.to_vec(), ..ErrorInfo::default() };
    check_said(Asked::Verb, &error(ErrorTag::DataExists, "br1", info), "REASON; use `br1 set` or `config apply`");
}

#[test]
fn methods_are_shown_as_commands() {
    use Method::{Delete, Get, Patch, Post, Put};
    let error = |path: &str, method: Method, allow: &[Method]| {
        let info = ErrorInfo { method: Some(method), allow: allow.to_vec(), ..ErrorInfo::default() };
        error(ErrorTag::OperationNotSupported, path, info)
    };
    let netdev = error("netdevs/veth1", Delete, &[Get]);
    check_said(Asked::Verb, &netdev, "del does not work on `netdevs veth1`: it takes show");
    let leaf = error("s/loglevel", Post, &[Get, Put, Patch, Delete]);
    check_said(Asked::Action, &leaf, "`s loglevel` takes a command: show, set, del");
    let action = error("br1/fdb/flush", Delete, &[Post]);
    check_said(Asked::Verb, &action, "`br1 fdb flush` takes no command");
}

#[test]
fn requests_are_shown_as_command_lines() {
    let instead = |requests: &[(Method, &str)]| {
        let request = |(method, path): &(Method, &str)| Instead { method: *method, path: (*path).to_owned() };
        requests.iter().map(request).collect()
    };
    let info =
        |name: &str, requests| ErrorInfo { name: name.to_owned(), instead: instead(requests), ..ErrorInfo::default() };
    let exists = error(ErrorTag::DataExists, "s", info("s", &[(Method::Patch, "s"), (Method::Put, "s")]));
    check_said(Asked::Action, &exists, "REASON; use `s set`");
    let ports = error(ErrorTag::InvalidValue, "br1/ports", info("ports", &[(Method::Patch, "br1/ports/NAME")]));
    check_said(Asked::Verb, &ports, "br1/ports: REASON; use `br1 ports NAME set`");
    let replace = error(ErrorTag::DataExists, "s", info("s", &[(Method::Put, "s")]));
    check_said(Asked::Verb, &replace, "REASON");
}

#[test]
fn a_command_that_is_misspelt_is_suggested() {
    let error = |path: &str, name: &str, nearest: Option<&str>, known: &[&str]| {
        let known = known.iter().map(|&name| name.to_owned()).collect();
        let candidates = Some(Candidates { nearest: nearest.map(str::to_owned), known, more: 2 });
        error(ErrorTag::UnknownElement, path, ErrorInfo { name: name.to_owned(), candidates, ..ErrorInfo::default() })
    };
    check_said(Asked::Action, &error("ad", "ad", None, &["br1"]), "REASON; did you mean `add`?");
    check_said(Asked::Verb, &error("ad", "ad", None, &["br1", "br2"]), "REASON; known: br1, br2 and 2 more");
    check_said(Asked::Action, &error("br1/dmup", "dmup", None, &["a"]), "br1/dmup: REASON; did you mean `dump`?");
    let flush = error("br1/flsh", "flsh", Some("flush"), &["flush"]);
    check_said(Asked::Action, &flush, "br1/flsh: REASON; did you mean `flush`?");
}

#[test]
fn a_cube_without_packets_is_not_one_without_a_stream() {
    let stream = error(ErrorTag::UnknownElement, "br2/stream", ErrorInfo::default());
    check_said(PACKETS, &stream, "cube `br2` has no packets to dump");
    check_said(Asked::Verb, &stream, "br2/stream: REASON");
    let cube = ErrorInfo { name: "br2".to_owned(), ..ErrorInfo::default() };
    check_said(PACKETS, &error(ErrorTag::UnknownElement, "br2", cube), "REASON");
    let busy = error(ErrorTag::OperationFailed, "br2/stream", ErrorInfo::default());
    check_said(PACKETS, &busy, "br2/stream: REASON");
}

#[test]
fn a_place_comes_before_the_sentence_unless_it_is_what_the_sentence_is_about() {
    let limits = Some(Limits { maximum: Some(7.into()), ..Limits::default() });
    let info = ErrorInfo { name: "depth".to_owned(), limits, ..ErrorInfo::default() };
    check_said(Asked::Verb, &error(ErrorTag::BadAttribute, "s/depth", info.clone()), "s/depth: REASON");
    check_said(Asked::Verb, &error(ErrorTag::BadAttribute, "depth", info.clone()), "REASON");
    check_said(Asked::Verb, &error(ErrorTag::BadAttribute, "", info), "REASON");
}

#[test]
fn each_error_has_a_line() {
    check_errors(
        &json!([
            {"error-type": "application", "error-tag": "bad-attribute", "error-path": "s/sport", "error-message": "70000 is too large"},
            {"error-type": "application", "error-tag": "data-missing", "error-message": "no cube\nbr9"},
            {"error-type": "application", "error-tag": "data-exists", "error-path": "s"},
        ]),
        "polycubectl: s/sport: 70000 is too large\npolycubectl: no cube\\nbr9\npolycubectl: s: data-exists",
    );
}

#[test]
fn other_bodies_are_printed_as_they_are() {
    check(StatusCode::BAD_REQUEST, "Cube does not exist\n", "Cube does not exist");
    check(StatusCode::BAD_REQUEST, "two\nlines\u{1b}[2J", "two\nlines\\u{1b}[2J");
    check(StatusCode::BAD_REQUEST, "{\"reason\":1}", "{\"reason\":1}");
    check_errors(&json!([]), "{\"ietf-restconf:errors\":{\"error\":[]}}");
    check(StatusCode::NOT_FOUND, "", "polycubectl: 404 Not Found");
}

#[test]
fn a_missing_token_is_explained() {
    check(
        StatusCode::UNAUTHORIZED,
        "",
        "polycubectl: 401 Unauthorized\n\
         polycubectl: give the daemon's token with --token-file or POLYCUBECTL_TOKEN",
    );
}

#[test]
fn a_log_is_shown_when_it_is_asked_for() {
    let body = br#"{"ietf-restconf:errors":{"error":[{"error-type":"application","error-tag":"operation-failed",
        "error-path":"t1","error-message":"no","error-info":{"name":"t1","reason":"no","log":["0: exit","R0\u0007"]}}]}}"#;
    let answer = answer(StatusCode::INTERNAL_SERVER_ERROR, std::str::from_utf8(body).unwrap());
    let refusal = Refusal::new(&answer, Asked::Verb);
    assert_eq!(refusal.to_string(), "polycubectl: no; -v shows the whole log");
    let lines = refusal.with_log(&answer).to_string();
    assert_eq!(lines, "polycubectl: no; -v shows the whole log\n0: exit\nR0\\u{7}");
}
