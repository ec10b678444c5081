//! Traffic through the kernel's network stack: a TCP transfer, and a UDP echo that shows whether a path works.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::Namespace;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A path that is silent for this long is broken; TCP itself waits many minutes.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
const CHUNK: usize = 128 * 1024;
/// A prime, so that a misplaced chunk does not match.
const PATTERN_PERIOD: usize = 251;

const ECHO_TRIES: u32 = 10;
const ECHO_TIMEOUT: Duration = Duration::from_millis(200);

/// The result of a TCP transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes of payload, all of them received and compared.
    pub bytes: u64,
    /// From the first byte sent to the last received.
    pub elapsed: Duration,
}

impl Transfer {
    /// Payload bits per second.
    #[must_use]
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64()
    }
}

/// Sends `bytes` over one TCP connection to `address`, which an interface of `to` must have.
///
/// # Errors
/// Fails when there is no connection within 5 s, when the transfer stalls for 10 s, and when a byte differs from the
/// one that was sent.
pub fn tcp_transfer(from: &Namespace, to: &Namespace, address: IpAddr, bytes: u64) -> Result<Transfer> {
    let listener = to
        .enter(|| TcpListener::bind((address, 0)))
        .with_context(|| format!("cannot listen on {address} in {}", to.name()))?;
    let target = listener.local_addr()?;
    // The connection completes in the listener's backlog, before it is accepted.
    let sender = from
        .enter(|| TcpStream::connect_timeout(&target, CONNECT_TIMEOUT))
        .with_context(|| format!("cannot connect from {} to {target}", from.name()))?;
    let (receiver, _) = listener.accept()?;
    let begin = Instant::now();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(receiver, bytes));
        let sent = send(sender, bytes).context("the sender stalled");
        let received = receiving.join().unwrap_or_else(|payload| panic::resume_unwind(payload));
        sent.and(received)
    })?;
    Ok(Transfer { bytes, elapsed: begin.elapsed() })
}

fn pattern() -> Vec<u8> {
    (0..CHUNK + PATTERN_PERIOD).map(|place| (place % PATTERN_PERIOD) as u8).collect()
}

fn send(mut stream: TcpStream, bytes: u64) -> io::Result<()> {
    stream.set_write_timeout(Some(STALL_TIMEOUT))?;
    let pattern = pattern();
    let mut sent = 0;
    while sent < bytes {
        let phase = (sent % PATTERN_PERIOD as u64) as usize;
        let length = (bytes - sent).min(CHUNK as u64) as usize;
        sent += stream.write(&pattern[phase..phase + length])? as u64;
    }
    Ok(())
}

fn receive(mut stream: TcpStream, bytes: u64) -> Result<()> {
    stream.set_read_timeout(Some(STALL_TIMEOUT))?;
    let pattern = pattern();
    let mut chunk = vec![0; CHUNK];
    let mut received = 0_u64;
    loop {
        let length = stream.read(&mut chunk).with_context(|| format!("the receiver stalled at byte {received}"))?;
        if length == 0 {
            break;
        }
        let phase = (received % PATTERN_PERIOD as u64) as usize;
        let intact = chunk[..length] == pattern[phase..phase + length];
        ensure!(
            intact,
            "TCP delivered bytes that differ from those sent, between {received} and {}",
            received + length as u64
        );
        received += length as u64;
    }
    ensure!(received == bytes, "TCP delivered {received} of {bytes} bytes");
    Ok(())
}

/// Sends a UDP datagram from `from` to `address`, which an interface of `to` must have, and receives the echo. Tries
/// for two seconds; returns the time of the first round trip that succeeds, or `None`.
///
/// # Errors
/// Fails when `to` does not have the address, or `from` has no route to it.
pub fn reachable(from: &Namespace, to: &Namespace, address: IpAddr) -> Result<Option<Duration>> {
    let server = to
        .enter(|| UdpSocket::bind((address, 0)))
        .with_context(|| format!("{} does not have address {address}", to.name()))?;
    server.set_read_timeout(Some(ECHO_TIMEOUT))?;
    let target = server.local_addr()?;
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let client = from.enter(|| UdpSocket::bind(any))?;
    client.set_read_timeout(Some(ECHO_TIMEOUT))?;
    client.connect(target).with_context(|| format!("{} has no route to {address}", from.name()))?;
    for attempt in 0..ECHO_TRIES {
        let begin = Instant::now();
        if echo(&client, &server, &attempt.to_be_bytes()).is_ok() {
            return Ok(Some(begin.elapsed()));
        }
    }
    Ok(None)
}

fn echo(client: &UdpSocket, server: &UdpSocket, question: &[u8]) -> io::Result<()> {
    let mut buffer = [0; 16];
    client.send(question)?;
    let (length, asker) = server.recv_from(&mut buffer)?;
    server.send_to(&buffer[..length], asker)?;
    // An echo that answers an earlier request still proves the path.
    client.recv(&mut buffer)?;
    Ok(())
}
