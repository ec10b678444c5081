//! A mock of the daemon, for what the real one does not do on request: no cubes, broken answers, a sudden end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The answer to a method and a path: a status and a body; `None` hangs up.
pub(crate) type Script = dyn Fn(&str, &str) -> Option<(u16, String)> + Send + Sync;

/// A server on its own port, as long as the test runs.
pub(crate) struct Mock {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Mock {
    pub(crate) fn start(
        script: impl Fn(&str, &str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, counter, log): (Arc<Script>, _, _) =
            (Arc::new(script), Arc::clone(&connections), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                // A client that hangs up ends its connection's thread; the test itself checks the client.
                thread::spawn(move || serve(stream, &*script, &log));
            }
        });
        Ok(Self { port, connections, requests })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Method, path, token and body of each request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: TcpStream, script: &Script, log: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut length, mut token) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let (name, value) = match header.trim_end().split_once(": ") {
                Some(pair) => pair,
                None => break,
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "authorization" => token = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request = [method, path, &token, &String::from_utf8_lossy(&body)];
        let request = request.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ");
        log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let Some((status, body)) = script(method, path) else { return Ok(()) };
        let location = if status == 308 { format!("location: {body}\r\n") } else { String::new() };
        let length = body.len();
        // In one write: a second one would wait for the first one's acknowledgement, which the client delays.
        let answer = format!("HTTP/1.1 {status} Answer\r\n{location}content-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes())?;
    }
}
