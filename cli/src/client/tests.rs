use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use serde_json::json;

use super::*;

/// What one request looked like on the wire.
#[derive(Debug, PartialEq)]
struct Seen {
    line: String,
    headers: Vec<String>,
    body: String,
}

/// Answers as many connections as it has replies, then tells what it saw.
fn serve<S: Read + Write>(
    mut accept: impl FnMut() -> io::Result<S> + Send + 'static,
    replies: Vec<String>,
) -> JoinHandle<Vec<Seen>> {
    thread::spawn(move || {
        replies
            .into_iter()
            .map(|reply| {
                let mut stream = accept().unwrap();
                let seen = read_request(&mut stream);
                stream.write_all(reply.as_bytes()).unwrap();
                seen
            })
            .collect()
    })
}

fn read_request(stream: &mut impl Read) -> Seen {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        read_some(stream, &mut bytes);
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.split("\r\n").map(str::to_owned);
    let line = lines.next().unwrap();
    let headers: Vec<String> = lines.collect();
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")).unwrap_or("0");
    let end = head + 4 + length.parse::<usize>().unwrap();
    while bytes.len() < end {
        read_some(stream, &mut bytes);
    }
    Seen { line, headers, body: String::from_utf8(bytes[head + 4..end].to_vec()).unwrap() }
}

fn read_some(stream: &mut impl Read, bytes: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    let count = stream.read(&mut buffer).unwrap();
    assert_ne!(count, 0, "the client hung up");
    bytes.extend_from_slice(&buffer[..count]);
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn redirect_to(location: &str) -> String {
    reply("308 Permanent Redirect", &format!("location: {location}\r\n"), "")
}

#[track_caller]
fn run<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(task)
}

fn client(address: Address, authorization: Option<HeaderValue>) -> Client {
    Client::new(address, None, authorization, false)
}

/// Sends one request to a server on a Unix socket.
fn send(request: &Request, token: Option<&str>, replies: Vec<String>) -> (Result<Answer, ClientError>, Vec<Seen>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("d.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = serve(move || listener.accept().map(|(stream, _)| stream), replies);
    let address = Address::parse(&format!("unix://{}", socket.display())).unwrap();
    let token = token.map(|token| HeaderValue::from_str(token).unwrap());
    let answer = run(client(address, token).send(request));
    (answer, server.join().unwrap())
}

fn get(path: &str) -> Request {
    Request { method: Method::GET, path: path.to_owned(), body: None }
}

fn patch() -> Request {
    Request { method: Method::PATCH, path: "s/capture/".to_owned(), body: Some(json!("off")) }
}

fn answer(status: StatusCode, body: &'static str) -> Answer {
    Answer { status, body: Bytes::from_static(body.as_bytes()) }
}

#[test]
fn a_request_arrives_as_it_was_meant() {
    let (result, seen) = send(&patch(), Some("Bearer t0k"), vec![reply("200 OK", "", "")]);
    assert_eq!(result.unwrap(), answer(StatusCode::OK, ""));
    assert_eq!(seen[0].line, "PATCH /polycube/v1/s/capture/ HTTP/1.1");
    assert_eq!(seen[0].body, "\"off\"");
    for header in ["host: localhost", "content-type: application/json", "authorization: Bearer t0k"] {
        assert!(seen[0].headers.iter().any(|seen| seen == header), "{header}: {:?}", seen[0].headers);
    }
}

#[test]
fn a_request_without_body_has_no_content_type() {
    let (result, seen) = send(&get("cubes/"), None, vec![reply("200 OK", "", "{}")]);
    assert_eq!(result.unwrap(), answer(StatusCode::OK, "{}"));
    assert_eq!((seen[0].line.as_str(), seen[0].body.as_str()), ("GET /polycube/v1/cubes/ HTTP/1.1", ""));
    assert!(!seen[0].headers.iter().any(|header| header.starts_with("content-type") || header.starts_with("auth")));
}

#[test]
fn a_refusal_is_an_answer() {
    let (result, _) = send(&get("x/"), None, vec![reply("409 Conflict", "", "no such cube")]);
    assert_eq!(result.unwrap(), answer(StatusCode::CONFLICT, "no such cube"));
}

#[test]
fn a_redirect_keeps_method_and_body() {
    for location in ["/polycube/v1/packetcapture/s/capture/", "http://localhost/polycube/v1/packetcapture/s/capture/"] {
        let (result, seen) = send(&patch(), None, vec![redirect_to(location), reply("200 OK", "", "")]);
        assert_eq!(result.unwrap().status, StatusCode::OK);
        assert_eq!(seen[1].line, "PATCH /polycube/v1/packetcapture/s/capture/ HTTP/1.1");
        assert_eq!(seen[1].body, "\"off\"");
    }
}

#[test]
fn a_redirect_to_another_server_is_not_followed() {
    let (result, _) = send(&patch(), Some("Bearer t0k"), vec![redirect_to("http://evil/a/")]);
    assert!(matches!(result, Err(ClientError::RedirectElsewhere { location, .. }) if location == "http://evil/a/"));
}

#[test]
fn redirects_end() {
    let (result, seen) = send(&get("a/"), None, vec![redirect_to("/b/"); 6]);
    assert!(matches!(result, Err(ClientError::Redirects { most: 5, .. })));
    assert_eq!(seen.len(), 6);
}

#[test]
fn a_server_of_another_kind_is_named() {
    let (result, _) = send(&get("a/"), None, vec!["SSH-2.0-OpenSSH\r\n".to_owned()]);
    assert!(matches!(result, Err(ClientError::Broken { .. })), "{result:?}");
}

#[test]
fn tcp_sends_the_authority_as_host() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let server = serve(move || listener.accept().map(|(stream, _)| stream), vec![reply("204 No Content", "", "")]);
    let address = Address::parse(&format!("http://{authority}")).unwrap();
    assert_eq!(run(client(address, None).send(&get("cubes/"))).unwrap().status, StatusCode::NO_CONTENT);
    assert!(server.join().unwrap()[0].headers.contains(&format!("host: {authority}")));
}

#[track_caller]
fn check_unreachable(url: &str, expected: &str) {
    let error = run(client(Address::parse(url).unwrap(), None).send(&get("cubes/"))).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_absent_daemon_comes_with_advice_on_starting_it() {
    check_unreachable(
        "unix:///nowhere/d.sock",
        "no daemon answers at unix:///nowhere/d.sock (No such file or directory (os error 2)): start it with: sudo polycubed",
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    check_unreachable(
        &format!("http://127.0.0.1:{port}"),
        &format!(
            "no daemon answers at http://127.0.0.1:{port} (Connection refused (os error 111)): \
             start it with: sudo polycubed --addr A --port P"
        ),
    );
}

/// Root may connect to any socket, so the kernel's refusal is made up.
#[test]
fn a_forbidden_socket_has_its_own_advice() {
    let address = Address::parse("unix:///run/d.sock").unwrap();
    let error = ClientError::connect(&address, io::ErrorKind::PermissionDenied.into());
    assert_eq!(error.to_string(), "permission denied on unix:///run/d.sock: run as root, or join group polycube");
}

#[test]
fn a_stream_is_not_an_answer_and_is_not_waited_for() {
    let send = |media: &str| {
        send(&get("s/stream/"), None, vec![reply("200 OK", &format!("content-type: {media}\r\n"), "{}")]).0
    };
    for media in ["application/vnd.tcpdump.pcap", "application/octet-stream"] {
        let error = send(media).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "this is a stream of {media:?}, which cannot be shown: use NAME dump to write it, NAME watch to see it"
            )
        );
    }
    for media in ["application/json", "application/yang.data+json; charset=utf-8", "TEXT/plain; version=0.0.4", ""] {
        assert!(send(media).is_ok(), "{media:?}");
    }
}

/// The server reads the head alone, answers and closes, while a body is under way that no socket has room for.
#[test]
fn an_answer_that_comes_before_the_body_is_read_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("d.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(reply("413 Content Too Large", "", "too large").as_bytes()).unwrap();
    });
    let address = Address::parse(&format!("unix://{}", socket.display())).unwrap();
    let request = Request { body: Some(json!("x".repeat(4 << 20))), ..patch() };
    assert_eq!(run(client(address, None).send(&request)).unwrap(), answer(StatusCode::PAYLOAD_TOO_LARGE, "too large"));
    server.join().unwrap();
}

#[test]
fn a_path_that_no_request_can_have_is_a_mistake_of_the_user() {
    let address = Address::parse("unix:///run/d.sock").unwrap();
    let error = run(client(address, None).send(&get(&"x".repeat(70_000)))).unwrap_err();
    assert!(error.to_string().len() < 120, "{error}");
    assert_eq!(crate::failure::Failure::from(error).exit_code(), 64);
}
