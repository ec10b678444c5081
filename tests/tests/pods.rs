//! Does a capture find pods and containers of Kubernetes, by CRI, and follow them?
//!
//! The runtime is a server of the test's own, which speaks gRPC on a Unix socket as containerd and CRI-O do.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use polycube_tests::daemon::Daemon;
use polycube_tests::lab::{Lab, Namespace};
use polycube_tests::pcap;
use polycube_tests::scene::eventually;
use polycube_tests::traffic::{Flow, Protocol, Sender};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

/// A field of Protocol Buffers: a text or a message, or a number.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let (low, high) = (value.len() as u8 | 0x80, (value.len() >> 7) as u8);
    [&[number << 3 | 2, low, high][..], value].concat()
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A pod's sandbox, with a container `app`.
#[derive(Clone)]
struct Pod {
    id: &'static str,
    name: &'static str,
    is_ready: bool,
    has_own_network: bool,
    /// What the status says of the sandbox, as JSON.
    info: String,
}

impl Pod {
    fn new(id: &'static str, name: &'static str, pid: u32) -> Self {
        let info = format!(r#"{{"pid":{pid},"runtimeSpec":{{}}}}"#);
        Self { id, name, is_ready: true, has_own_network: true, info }
    }

    /// One without a process of its own, as CRI-O has them.
    fn without_process(id: &'static str, name: &'static str, netns: &str) -> Self {
        let namespaces = format!(r#"[{{"type":"network","path":"/var/run/netns/{netns}"}}]"#);
        let info = format!(r#"{{"runtimeSpec":{{"linux":{{"namespaces":{namespaces}}}}}}}"#);
        Self { info, ..Self::new(id, name, 0) }
    }

    fn state(&self) -> Vec<u8> {
        number(3, u8::from(!self.is_ready))
    }

    /// `PodSandbox`.
    fn listed(&self) -> Vec<u8> {
        let metadata = [field(1, self.name.as_bytes()), field(2, b"uid"), field(3, b"default")].concat();
        [field(1, self.id.as_bytes()), field(2, &metadata), self.state(), field(5, b"label")].concat()
    }

    /// `Container`.
    fn container(&self) -> Vec<u8> {
        let id = format!("c-{}", self.id);
        let (name, state) = (field(1, format!("app-{}", self.name).as_bytes()), number(6, 2 - u8::from(self.is_ready)));
        [field(1, id.as_bytes()), field(2, self.id.as_bytes()), field(3, &name), state].concat()
    }

    /// `PodSandboxStatusResponse`.
    fn status(&self) -> Vec<u8> {
        let options = number(1, if self.has_own_network { 0 } else { 2 });
        let linux = field(1, &field(2, &options));
        let status = [field(1, self.id.as_bytes()), self.state(), field(6, &linux)].concat();
        [field(1, &status), field(2, &[field(1, b"info"), field(2, self.info.as_bytes())].concat())].concat()
    }
}

/// How a runtime behaves.
#[derive(Clone)]
enum Manner {
    /// It has these pods.
    Runs(Vec<Pod>),
    /// It has no CRI.
    Without,
    /// It says nothing.
    Never,
    /// It does not speak HTTP/2.
    Foreign,
    /// Its answer is 17 MiB.
    Large,
    /// It sends a status with a text that goes on and on.
    Talks,
    /// What it sends is not a message.
    Garbage,
    /// It hangs up at each question.
    HangsUp,
}

type Shared = Arc<Mutex<Manner>>;

/// A runtime.
struct Cri {
    socket: PathBuf,
    manner: Shared,
    _runtime: Runtime,
}

impl Cri {
    fn start(socket: PathBuf) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(async { UnixListener::bind(&socket) })?;
        let manner = Arc::new(Mutex::new(Manner::Runs(Vec::new())));
        let shared = Arc::clone(&manner);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { socket, manner, _runtime: runtime })
    }

    fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    fn runs(&self, pods: &[Pod]) {
        self.set(Manner::Runs(pods.to_vec()));
    }
}

async fn serve(mut stream: UnixStream, shared: Shared) -> Result<()> {
    let manner = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match manner {
        Manner::Foreign => return Ok(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?),
        Manner::HangsUp => return Ok(()),
        _ => {}
    }
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(question) = connection.accept().await {
        let (request, respond) = question?;
        tokio::spawn(answer(request, respond, manner.clone()));
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, manner: Manner) -> Result<()> {
    let method = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut question = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        question.extend_from_slice(&part);
    }
    let pods = match manner {
        Manner::Runs(pods) => Some(pods),
        Manner::Never => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            None
        }
        Manner::Large => {
            let mut sent = respond.send_response(Response::new(()), false)?;
            return Ok(sent.send_data(vec![0; 17 << 20].into(), true)?);
        }
        Manner::Talks => {
            let text = "no ".repeat(3_000);
            return end(respond, Vec::new(), "13", &text);
        }
        Manner::Garbage => return end(respond, [&[0, 0, 0, 0, 3][..], &[0xff; 3]].concat(), "0", ""),
        Manner::Without | Manner::Foreign | Manner::HangsUp => None,
    };
    let message: Result<Vec<u8>, (&str, &str)> = match (method.as_str(), pods) {
        ("/runtime.v1.RuntimeService/ListPodSandbox", Some(pods)) => {
            Ok(pods.iter().flat_map(|pod| field(1, &pod.listed())).collect())
        }
        ("/runtime.v1.RuntimeService/ListContainers", Some(pods)) => {
            Ok(pods.iter().flat_map(|pod| field(1, &pod.container())).collect())
        }
        ("/runtime.v1.RuntimeService/PodSandboxStatus", Some(pods)) => {
            // The id is the first field, after gRPC's five bytes; `verbose` comes last.
            let is_asked =
                |pod: &&Pod| question[7..].starts_with(pod.id.as_bytes()) && question.ends_with(&[2 << 3, 1]);
            pods.iter().find(is_asked).map(Pod::status).ok_or(("5", "no%20such%20sandbox"))
        }
        _ => Err(("12", "unknown%20service%20runtime.v1.RuntimeService")),
    };
    match message {
        Ok(message) => {
            let length = u32::try_from(message.len())?;
            end(respond, [&[0][..], &length.to_be_bytes(), &message].concat(), "0", "")
        }
        Err((status, text)) => end(respond, Vec::new(), status, text),
    }
}

/// Sends an answer whose status comes after its body.
fn end(mut respond: SendResponse<Bytes>, body: Vec<u8>, status: &str, text: &str) -> Result<()> {
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut sent = respond.send_response(head, false)?;
    sent.send_data(body.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_str(status)?);
    trailers.insert("grpc-message", HeaderValue::from_str(text)?);
    Ok(sent.send_trailers(trailers)?)
}

/// A process in a namespace, as a pod has one.
struct Process(Child);

impl Process {
    fn start(namespace: &Namespace) -> Result<Self> {
        Ok(Self(namespace.command("sleep").arg("300").stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon with a runtime, and the cube `s`.
struct Stage {
    cri: Cri,
    daemon: Daemon,
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Stage {
    fn start() -> Result<Self> {
        let lab = Lab::named()?;
        let directory = tempfile::tempdir()?;
        let cri = Cri::start(directory.path().join("cri.sock"))?;
        let none = directory.path().join("docker.sock");
        let word = |path: &Path| path.display().to_string();
        let words = ["--cri-socket", &word(&cri.socket), "--container-socket", &word(&none)];
        let daemon = Daemon::start_with(&lab, &words)?;
        daemon.ctl("packetcapture add s capture=bidirectional").ok();
        Ok(Self { cri, daemon, lab, directory })
    }

    /// A pod's namespace, whose `eth0` is at `netdev` here, and a process in it.
    fn pod(&self, name: &str, netdev: &str) -> Result<Process> {
        Process::start(&self.namespace(name, netdev)?)
    }

    fn namespace(&self, name: &str, netdev: &str) -> Result<Namespace> {
        let namespace = self.lab.peer(name)?;
        self.lab.veth(netdev, &namespace, "eth0")?;
        Ok(namespace)
    }

    fn refused(&self, place: &str) -> String {
        self.daemon.ctl(&format!("attach s {place}")).fails(2)
    }

    /// The points of the cube, as name and status.
    fn points(&self) -> Result<Vec<String>> {
        let cube = self.daemon.http("GET", "/polycube/v1/s/", None)?.json()?;
        let points = cube["points"].as_array().with_context(|| format!("no points: {cube}"))?.iter();
        let shown = points
            .map(|point| [&point["name"], &point["status"]].map(|value| value.as_str().unwrap_or_default()).join(" "));
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        Ok(shown)
    }
}

#[test]
fn pods_and_their_containers_are_places() -> Result<()> {
    let stage = Stage::start()?;
    let process = stage.pod("web", "veth1")?;
    let old = Pod { is_ready: false, ..Pod::new("p0", "web", 1) };
    stage.cri.runs(&[old, Pod::new("p1", "web", process.0.id())]);
    for place in
        ["pod:default/web", "pod:default/web/eth0", "container:app-web", "container:c-p1", "container:c-p1/eth0"]
    {
        stage.daemon.ctl(&format!("attach s {place}")).ok();
        assert_eq!(stage.points()?, [format!("{place} UP"), "veth1 UP".to_owned()], "{place}");
        stage.daemon.ctl(&format!("detach s {place}")).ok();
    }
    Ok(())
}

#[test]
fn a_sandbox_without_a_process_is_found_by_its_namespace() -> Result<()> {
    let stage = Stage::start()?;
    let namespace = stage.namespace("web", "veth1")?;
    let path = namespace.path().context("namespaces have names here")?;
    let name = path.file_name().context("a file")?.to_string_lossy();
    stage.cri.runs(&[Pod::without_process("p1", "web", &name), Pod::without_process("p2", "gone", "no-such-netns")]);
    stage.daemon.ctl("attach s pod:default/web").ok();
    assert_eq!(stage.points()?, ["pod:default/web UP", "veth1 UP"]);
    let said = stage.refused("pod:default/gone");
    ensure!(said.contains("pod `default/gone` has ended"), "{said}");
    Ok(())
}

#[test]
fn a_file_names_the_pod_that_packets_are_of() -> Result<()> {
    let stage = Stage::start()?;
    let peer = stage.lab.peer("web")?;
    let wire = stage.lab.veth("veth1", &peer, "eth0")?;
    let process = Process::start(&peer)?;
    stage.cri.runs(&[Pod::new("p1", "web", process.0.id())]);
    let file = stage.directory.path().join("out.pcapng");
    let words = ["capture", "pod:default/web", "udp", "-c1", "--for", "30s", "-w"].map(str::to_owned);
    let words: Vec<String> = words.into_iter().chain([file.display().to_string()]).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let flow = Flow::between(&wire.host, &wire.peer);
    let is_begun = || std::fs::metadata(&file).is_ok_and(|file| file.len() > 0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            eventually("the capture has begun", || Ok(is_begun()))?;
            Sender::open(&wire.host)?.send(&[flow.frame(Protocol::Udp, 100, 0)])
        });
        stage.daemon.ctl_words(&words).ok();
        sender.join().expect("it sends").map(drop)
    })?;
    let read = pcap::read(&file)?;
    let names: Vec<_> = read.metadata.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!((names.as_slice(), read.records.len()), (&["pod:default/web/eth0"][..], 1));
    let text = std::fs::read(&file)?;
    let described = |words: &str| text.windows(words.len()).any(|window| window == words.as_bytes());
    ensure!(described("at pod:default/web/eth0"), "the interface's description");
    Ok(())
}

#[test]
fn a_pod_that_comes_again_is_followed_within_two_seconds() -> Result<()> {
    let stage = Stage::start()?;
    let mut process = stage.pod("web", "veth1")?;
    stage.cri.runs(&[Pod::new("p1", "web", process.0.id())]);
    stage.daemon.ctl("attach s pod:default/web").ok();
    let mut fastest = Duration::MAX;
    // The machine may be busy.
    for (round, id) in ["p2", "p3", "p4"].into_iter().enumerate() {
        drop(process);
        stage.cri.runs(&[]);
        eventually("it waits", || Ok(stage.points()? == ["pod:default/web DOWN"]))?;
        let netdev = format!("veth{}", round + 2);
        process = stage.pod(id, &netdev)?;
        let began = Instant::now();
        stage.cri.runs(&[Pod::new(id, "web", process.0.id())]);
        eventually("it is back", || Ok(stage.points()? == ["pod:default/web UP".to_owned(), format!("{netdev} UP")]))?;
        fastest = fastest.min(began.elapsed());
    }
    eprintln!("{fastest:?} until a pod that came again was captured");
    ensure!(fastest < Duration::from_secs(2), "{fastest:?}");
    Ok(())
}

#[test]
fn what_cannot_be_found_is_refused_with_the_reason() -> Result<()> {
    let stage = Stage::start()?;
    let process = stage.pod("web", "veth1")?;
    let pid = process.0.id();
    stage.cri.runs(&[
        Pod { is_ready: false, ..Pod::new("p1", "old", 0) },
        Pod { has_own_network: false, ..Pod::new("p2", "host", pid) },
        Pod::new("p3", "none", 0),
        Pod::new("p4", "two", pid),
        Pod::new("p5", "two", pid),
        Pod::new("p6", "gone", 4_194_305),
    ]);
    for (place, expected) in [
        ("pod:default/x", "pod `default/x` does not exist"),
        ("pod:kube-system/host", "pod `kube-system/host` does not exist"),
        ("pod:default/old", "pod `default/old` does not run"),
        ("pod:default/host", "its network mode is host"),
        ("pod:default/none", "it does not say where the sandbox's network namespace is"),
        ("pod:default/gone", "pod `default/gone` has ended"),
        ("pod:web", "does not name a pod: give its namespace, too"),
        ("container:x", "container `x` does not exist"),
        ("container:app-old", "container `app-old` does not run"),
        ("container:app-two", "more than one container `app-two` runs"),
    ] {
        let said = stage.refused(place);
        ensure!(said.contains(expected), "{place}: {said}");
    }
    std::fs::remove_file(stage.directory.path().join("cri.sock"))?;
    let said = stage.refused("pod:default/web");
    ensure!(said.contains("no runtime listens on") && said.contains("--cri-socket"), "{said}");
    assert_eq!(stage.points()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_runtime_that_misbehaves_is_named_and_ends_nothing() -> Result<()> {
    let stage = Stage::start()?;
    let process = stage.pod("web", "veth1")?;
    stage.cri.runs(&[Pod::new("p1", "web", process.0.id())]);
    stage.daemon.ctl("attach s pod:default/web").ok();
    for (manner, expected) in [
        (Manner::Without, "it has no CRI: unknown service runtime.v1.RuntimeService"),
        (Manner::Never, "it has not answered for 3 s"),
        (Manner::Foreign, "cri.sock: "),
        (Manner::HangsUp, "cri.sock: "),
        (Manner::Large, "it is larger than 16 MiB"),
        (Manner::Talks, "gRPC's status 13: no no no"),
        (Manner::Garbage, "it is not a message of Protocol Buffers"),
    ] {
        stage.cri.set(manner);
        let began = Instant::now();
        let said = stage.refused("pod:default/other");
        eprint!("{said}");
        ensure!(said.contains(expected), "{expected}: {said}");
        ensure!(said.len() < 1_000 && began.elapsed() < Duration::from_secs(8), "{said}");
        assert_eq!(stage.points()?, ["pod:default/web UP", "veth1 UP"], "{expected}");
    }
    Ok(())
}
