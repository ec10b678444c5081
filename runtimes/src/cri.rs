//! CRI, the API by which Kubernetes asks containerd and CRI-O (k8s.io/cri-api, pkg/apis/runtime/v1/api.proto).
//!
//! A container has the network of its pod, so both questions end at the pod's sandbox, whose first process the runtime names
//! among what it says if it is asked to be verbose.

use serde_json::Value;
use tokio::net::UnixStream;

use super::grpc::{self, Client};
use super::protobuf::{Field, Malformed, Message, fields};
use super::{Answer, AskError, Asked, Network};

const LIST_PODS: &str = "runtime.v1.RuntimeService/ListPodSandbox";
const LIST_CONTAINERS: &str = "runtime.v1.RuntimeService/ListContainers";
const POD_STATUS: &str = "runtime.v1.RuntimeService/PodSandboxStatus";
/// `PodSandboxState.SANDBOX_READY`, `ContainerState.CONTAINER_RUNNING` and `NamespaceMode.NODE`.
const READY: u64 = 0;
const RUNNING: u64 = 1;
const NODE: u64 = 2;

/// Where `ip netns` and runtimes keep network namespaces.
const NAMED: [&str; 2] = ["/var/run/netns/", "/run/netns/"];

/// Asks for a container or a pod.
///
/// # Errors
/// No answer came.
pub(super) async fn ask(stream: UnixStream, asked: Asked<'_>) -> Result<Answer, AskError> {
    grpc::talk(stream, |client| sandbox_of(client, asked)).await
}

async fn sandbox_of(mut client: Client, asked: Asked<'_>) -> Result<Answer, AskError> {
    let pod = match asked {
        Asked::Container(name) => {
            let answer = client.call(LIST_CONTAINERS, &[]).await?;
            pod_of(&read_all(&answer, container)?, name)
        }
        Asked::Pod { namespace, name } => {
            let answer = client.call(LIST_PODS, &[]).await?;
            newest(read_all(&answer, pod)?, namespace, name)
        }
    };
    let id = match pod {
        Ok(id) => id,
        Err(answer) => return Ok(answer),
    };
    let question = Message::default().bytes(1, id.as_bytes()).number(2, true.into()).end();
    match client.call(POD_STATUS, &question).await {
        Ok(status) => sandbox(&status),
        // It has just gone.
        Err(AskError::Status { status: grpc::NOT_FOUND, .. }) => Ok(Answer::Missing),
        Err(error) => Err(error),
    }
}

impl From<Malformed> for AskError {
    fn from(error: Malformed) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// A container in a list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Container {
    id: String,
    pod: String,
    name: String,
    state: u64,
}

/// A pod's sandbox in a list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pod {
    id: String,
    namespace: String,
    name: String,
    state: u64,
    created: u64,
}

/// Field 1 of both lists, as often as it is there.
fn read_all<T>(list: &[u8], read: impl Fn(&[u8]) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    let mut found = Vec::new();
    for field in fields(list) {
        if let (1, Field::Bytes(entry)) = field? {
            found.push(read(entry)?);
        }
    }
    Ok(found)
}

fn container(message: &[u8]) -> Result<Container, Malformed> {
    let mut container = Container::default();
    for field in fields(message) {
        match field? {
            (1, Field::Bytes(id)) => container.id = text(id),
            (2, Field::Bytes(pod)) => container.pod = text(pod),
            (3, Field::Bytes(metadata)) => container.name = text(bytes_at(metadata, &[1])?.unwrap_or_default()),
            (6, Field::Number(state)) => container.state = state,
            _ => {}
        }
    }
    Ok(container)
}

fn pod(message: &[u8]) -> Result<Pod, Malformed> {
    let mut pod = Pod::default();
    for field in fields(message) {
        match field? {
            (1, Field::Bytes(id)) => pod.id = text(id),
            (2, Field::Bytes(metadata)) => {
                pod.name = text(bytes_at(metadata, &[1])?.unwrap_or_default());
                pod.namespace = text(bytes_at(metadata, &[3])?.unwrap_or_default());
            }
            (3, Field::Number(state)) => pod.state = state,
            (4, Field::Number(created)) => pod.created = created,
            _ => {}
        }
    }
    Ok(pod)
}

/// The pod of the container that runs under `name`, or the beginning of whose id is `name`.
fn pod_of(containers: &[Container], name: &str) -> Result<String, Answer> {
    let named = || containers.iter().filter(|container| container.name == name);
    let mut all: Vec<&Container> = named().collect();
    if all.is_empty() {
        all = containers.iter().filter(|container| container.id.starts_with(name)).collect();
    }
    let mut running: Vec<&str> =
        all.iter().filter(|container| container.state == RUNNING).map(|container| container.pod.as_str()).collect();
    running.sort_unstable();
    running.dedup();
    match running.as_slice() {
        [pod] => Ok((*pod).to_owned()),
        [] if all.is_empty() => Err(Answer::Missing),
        [] => Err(Answer::Stopped),
        _ => Err(Answer::Several),
    }
}

/// The newest sandbox of a pod: those of earlier attempts may still be listed.
fn newest(pods: Vec<Pod>, namespace: &str, name: &str) -> Result<String, Answer> {
    let all = pods.into_iter().filter(|pod| pod.namespace == namespace && pod.name == name);
    match all.max_by_key(|pod| (pod.state == READY, pod.created)) {
        Some(pod) if pod.state == READY => Ok(pod.id),
        Some(_) => Err(Answer::Stopped),
        None => Err(Answer::Missing),
    }
}

/// What a sandbox's status says: `PodSandboxStatus.linux.namespaces.options.network`, and in `info` where the namespace is.
fn sandbox(message: &[u8]) -> Result<Answer, AskError> {
    let status = bytes_at(message, &[1])?.unwrap_or_default();
    if number_at(status, 3)? != READY {
        return Ok(Answer::Stopped);
    }
    if number_at(bytes_at(status, &[6, 1, 2])?.unwrap_or_default(), 1)? == NODE {
        return Ok(Answer::Runs(Network::Host));
    }
    for field in fields(message) {
        let (2, Field::Bytes(entry)) = field? else { continue };
        // Entries of a map are messages of a key and a value.
        if bytes_at(entry, &[1])? == Some(b"info") {
            let info = serde_json::from_slice(bytes_at(entry, &[2])?.unwrap_or_default()).unwrap_or_default();
            return network(&info).map(Answer::Runs).ok_or_else(no_namespace);
        }
    }
    Err(no_namespace())
}

/// The sandbox's process, or else its namespace: CRI-O has sandboxes without a process (`drop_infra_ctr`), and names the
/// namespace in the OCI runtime's specification.
fn network(info: &Value) -> Option<Network> {
    if let Some(pid) = info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0) {
        return Some(Network::Process(pid));
    }
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array()?;
    let path = namespaces.iter().find(|namespace| namespace["type"] == "network")?["path"].as_str()?;
    let name = NAMED.iter().find_map(|directory| path.strip_prefix(directory))?;
    let is_name = !name.is_empty() && !name.contains(['/', '\0']) && !matches!(name, "." | "..");
    is_name.then(|| Network::Named(name.to_owned()))
}

fn no_namespace() -> AskError {
    AskError::Unreadable("it does not say where the sandbox's network namespace is".to_owned())
}

/// What stands at the end of a way of fields through messages.
fn bytes_at<'a>(message: &'a [u8], way: &[u64]) -> Result<Option<&'a [u8]>, Malformed> {
    let [first, rest @ ..] = way else { return Ok(Some(message)) };
    for field in fields(message) {
        if let (number, Field::Bytes(value)) = field?
            && number == *first
        {
            return bytes_at(value, rest);
        }
    }
    Ok(None)
}

/// The number in a field; 0 if it is left out.
fn number_at(message: &[u8], number: u64) -> Result<u64, Malformed> {
    for field in fields(message) {
        if let (found, Field::Number(value)) = field?
            && found == number
        {
            return Ok(value);
        }
    }
    Ok(0)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container_of(id: &str, pod: &str, name: &str, state: u64) -> Container {
        Container { id: id.to_owned(), pod: pod.to_owned(), name: name.to_owned(), state }
    }

    fn pod_named(id: &str, name: &str, state: u64, created: u64) -> Pod {
        Pod { id: id.to_owned(), namespace: "default".to_owned(), name: name.to_owned(), state, created }
    }

    #[test]
    fn lists_are_read_and_what_is_not_known_is_passed_over() {
        let metadata = Message::default().bytes(1, b"nginx").number(2, 3).end();
        let entry = Message::default().bytes(1, b"c1").bytes(2, b"p1").bytes(3, &metadata).number(6, RUNNING);
        let list = Message::default().bytes(1, &entry.bytes(8, b"label").end()).end();
        assert_eq!(read_all(&list, container).unwrap(), [container_of("c1", "p1", "nginx", RUNNING)]);
        let metadata = Message::default().bytes(1, b"web").bytes(2, b"uid").bytes(3, b"default").end();
        let entry = Message::default().bytes(1, b"p1").bytes(2, &metadata).number(4, 7).end();
        let list = Message::default().bytes(1, &entry).bytes(1, &entry).end();
        assert_eq!(read_all(&list, pod).unwrap(), [(); 2].map(|()| pod_named("p1", "web", READY, 7)));
        assert!(read_all(&[10, 5, 1], pod).is_err());
    }

    #[test]
    fn a_container_is_found_by_name_or_by_the_beginning_of_its_id() {
        let all = [
            container_of("abc1", "p1", "web", RUNNING),
            container_of("abc2", "p1", "web", 2),
            container_of("bcd3", "p2", "db", 2),
            container_of("web4", "p3", "side", RUNNING),
            container_of("cde5", "p4", "two", RUNNING),
            container_of("cde6", "p5", "two", RUNNING),
        ];
        let found = |name| pod_of(&all, name);
        assert_eq!(found("web"), Ok("p1".to_owned()), "a name comes before an id");
        assert_eq!((found("web4"), found("abc")), (Ok("p3".to_owned()), Ok("p1".to_owned())));
        assert_eq!((found("db"), found("none")), (Err(Answer::Stopped), Err(Answer::Missing)));
        assert_eq!((found("two"), found("cde")), (Err(Answer::Several), Err(Answer::Several)));
    }

    #[test]
    fn a_pod_is_its_newest_sandbox_that_is_ready() {
        let pods = || {
            vec![
                pod_named("p1", "web", 1, 1),
                pod_named("p3", "web", READY, 2),
                pod_named("p2", "web", READY, 3),
                pod_named("p4", "web", 1, 4),
                pod_named("p5", "db", 1, 5),
            ]
        };
        assert_eq!(newest(pods(), "default", "web"), Ok("p2".to_owned()));
        assert_eq!(newest(pods(), "default", "db"), Err(Answer::Stopped));
        assert_eq!(newest(pods(), "kube-system", "web"), Err(Answer::Missing));
    }

    #[test]
    fn a_sandbox_has_a_process_and_a_network() {
        let status = |state, network| {
            let options = Message::default().number(1, network).end();
            let namespaces = Message::default().bytes(2, &options).end();
            let linux = Message::default().bytes(1, &namespaces).end();
            Message::default().bytes(1, b"p1").number(3, state).bytes(6, &linux).end()
        };
        let whole = |status: &[u8], info: &[u8]| {
            let entry = Message::default().bytes(1, b"info").bytes(2, info).end();
            sandbox(&Message::default().bytes(1, status).bytes(2, &entry).end())
        };
        let process = || Answer::Runs(Network::Process(4711));
        let info = br#"{"pid":4711,"runtimeSpec":{}}"#;
        assert_eq!(whole(&status(READY, 0), info).unwrap(), process());
        assert_eq!(whole(&status(READY, NODE), info).unwrap(), Answer::Runs(Network::Host));
        assert_eq!(whole(&status(1, 0), info).unwrap(), Answer::Stopped);
        for info in [&b"{}"[..], b"no JSON", br#"{"pid":0}"#] {
            assert!(whole(&status(READY, 0), info).is_err());
        }
    }

    #[test]
    fn a_sandbox_without_a_process_has_a_namespace() {
        let named = |path: &str| {
            let namespaces = json!([{ "type": "ipc" }, { "type": "network", "path": path }]);
            network(&json!({ "runtimeSpec": { "linux": { "namespaces": namespaces } } }))
        };
        for path in ["/var/run/netns/cni-1", "/run/netns/cni-1"] {
            assert_eq!(named(path), Some(Network::Named("cni-1".to_owned())));
        }
        for wrong in ["/proc/1/ns/net", "/run/netns/", "/run/netns/..", "/run/netns/../x"] {
            assert_eq!(named(wrong), None);
        }
    }
}
