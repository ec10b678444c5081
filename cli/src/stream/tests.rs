use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use pcap_file::pcap::{PcapPacket, PcapWriter};
use tempfile::TempDir;

use super::*;
use crate::address::Address;
use crate::grammar::Clock;

const END: &str = "0\r\n\r\n";

fn capture(packets: u32) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    for number in 0..packets {
        writer.write_packet(&PcapPacket::new(Duration::from_secs(number.into()), 60, &[7; 60]).unwrap()).unwrap();
    }
    writer.into_inner()
}

/// Answers one request with a stream of these pieces, then `end`.
fn daemon(status: &str, pieces: Vec<Vec<u8>>, end: &'static str) -> (Session, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n");
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        stream.write_all(head.as_bytes()).unwrap();
        for piece in pieces {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
            stream.write_all(&piece).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(end.as_bytes()).unwrap();
        String::from_utf8(seen).unwrap()
    });
    (Session::with(Client::new(Address::parse(&url).unwrap(), None, None, false)), thread)
}

fn into(path: &Path, force: bool) -> PacketStream {
    let destination = Destination::File { path: path.to_owned(), force };
    PacketStream {
        source: PacketSource::Cube("s".to_owned()),
        destination,
        follow: false,
        format: None,
        packets: None,
        clock: Clock::default(),
        bundle: false,
        keys: None,
    }
}

fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("o.pcap");
    (place, path)
}

#[test]
fn a_stream_becomes_a_file() {
    let (_place, path) = place();
    let bytes = capture(3);
    let (session, thread) = daemon("200 OK", bytes.chunks(33).map(<[u8]>::to_vec).collect(), END);
    take(&session, &into(&path, false)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let request = thread.join().unwrap();
    assert!(request.starts_with("GET /polycube/v1/s/stream?follow=false HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("accept: application/vnd.tcpdump.pcap, application/x-pcapng"), "{request}");
}

#[test]
fn a_stream_that_breaks_off_leaves_whole_records() {
    let bytes = capture(3);
    let cut = bytes[..bytes.len() - 10].to_vec();
    for (end, expected) in [(END, "ended within a packet"), ("", "polycubed has ended or was restarted")] {
        let (_place, path) = place();
        let (session, _thread) = daemon("200 OK", vec![cut.clone()], end);
        let failure = take(&session, &into(&path, false)).unwrap_err();
        assert!(failure.to_string().contains(expected), "{failure}");
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(fs::read(&path).unwrap(), capture(2));
    }
}

#[test]
fn what_is_not_a_capture_is_not_written() {
    let (_place, path) = place();
    let (session, _thread) = daemon("200 OK", vec![b"<html>There are no packets here.</html>".to_vec()], END);
    let failure = take(&session, &into(&path, false)).unwrap_err();
    assert_eq!((failure.exit_code(), fs::read(&path).unwrap().len()), (2, 0), "{failure}");
}

#[test]
fn a_refusal_makes_no_file() {
    let (_place, path) = place();
    let refusal = br#"{"ietf-restconf:errors":{"error":[{"error-message":"no such cube"}]}}"#;
    let (session, _thread) = daemon("404 Not Found", vec![refusal.to_vec()], END);
    let failure = take(&session, &into(&path, false)).unwrap_err();
    assert!(failure.to_string().contains("no such cube") && failure.exit_code() == 2, "{failure}");
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_there_is_kept_unless_forced() {
    let (place, path) = place();
    fs::write(&path, "precious, and longer than what comes in its place".repeat(10)).unwrap();
    let nobody = || Session::with(Client::new(Address::parse("http://127.0.0.1:1").unwrap(), None, None, false));
    let failure = take(&nobody(), &into(&path, false)).unwrap_err();
    assert!(failure.to_string().ends_with("already exists: choose another name, or give --force to overwrite it"));
    assert_eq!(failure.exit_code(), 74);

    let (session, _thread) = daemon("200 OK", vec![capture(1)], END);
    take(&session, &into(&path, true)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), capture(1));

    Sink::check(&Destination::File { path: "/dev/null".into(), force: false }).unwrap();
    let pipe = place.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(Sink::check(&Destination::File { path: pipe, force: false }).is_err());

    let link = place.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let (session, _thread) = daemon("200 OK", vec![capture(2)], END);
    let failure = take(&session, &into(&link, true)).unwrap_err();
    assert!(failure.to_string().ends_with("is a symbolic link, which is not followed"), "{failure}");
    assert_eq!(fs::read(&path).unwrap(), capture(1));
}

#[test]
fn each_reason_why_no_packets_come_is_reported_once() {
    let request = Request { method: hyper::Method::GET, path: String::new(), body: None };
    let mut idle = Idle { cube: "s".to_owned(), request, packets: 0, said: None };
    let mut news = |reason: Option<&str>| idle.news(reason.map(str::to_owned));
    assert_eq!(news(None), None);
    let off = "no packets come for now: s is off; s set capture=bidirectional switches it on";
    assert_eq!(news(Some("off")).as_deref(), Some(off));
    assert_eq!(news(Some("off")), None);
    let nowhere = "no packets come for now: s is attached nowhere; attach s PLACE attaches it";
    assert_eq!(news(Some("attached nowhere")).as_deref(), Some(nowhere));
    assert_eq!(news(None).as_deref(), Some("packets can come again from s"));
    assert_eq!(news(None), None);
}
