//! Does each token do what its role allows and no more, and does the log say who changed what?

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, Output, attempt};
use polycube_tests::lab::Lab;
use polycube_tests::scene::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const URL: &str = "http://127.0.0.1:9000";

/// A file that only its owner can read.
fn secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

fn tokens(entries: &[(&str, &str)]) -> String {
    let entry = |(name, role): &(&str, &str)| {
        format!("[[token]]\nname = \"{name}\"\nrole = \"{role}\"\ntoken = \"of-{name}\"\n")
    };
    entries.iter().map(entry).collect()
}

/// A daemon that listens on TCP, for tokens with roles.
struct Site {
    daemon: Daemon,
    lab: Lab,
    place: TempDir,
}

impl Site {
    fn build() -> Result<Self> {
        let (lab, place) = (Lab::new()?, tempfile::tempdir()?);
        let file = place.path().join("tokens");
        secret(&file, &tokens(&[("grafana", "read"), ("alice", "capture"), ("root", "admin")]))?;
        let options = ["--addr", "127.0.0.1", "--log-format", "json", "--token-file", &file.display().to_string()];
        let daemon = Daemon::start_with(&lab, &options)?;
        for name in ["grafana", "alice", "root", "mallory"] {
            secret(&place.path().join(name), &format!("of-{name}\n"))?;
        }
        Ok(Self { daemon, lab, place })
    }

    /// Runs `polycubectl` over TCP with the token of `name`.
    fn ctl(&self, name: &str, line: &str) -> Output {
        let token = self.place.path().join(name).display().to_string();
        let words: Vec<&str> = ["--url", URL, "--token-file", &token].into_iter().chain(line.split(' ')).collect();
        self.daemon.ctl_words(&words)
    }

    #[track_caller]
    fn refuses(&self, name: &str, line: &str, needed: &str) {
        let output = self.ctl(name, line);
        assert_eq!(output.code, Some(2), "{output}");
        assert!(output.stderr.contains(&format!("this needs the role `{needed}`")), "{output}");
    }

    /// Sends a request without a token, and returns the whole answer.
    fn raw(&self, path: &str) -> Result<String> {
        let mut stream = self.lab.host().enter(|| TcpStream::connect(("127.0.0.1", 9000)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The lines of the audit trail whose change is `change`.
    fn audited(&self, change: &str) -> Vec<Value> {
        let log = self.daemon.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["change"] == change).collect()
    }
}

#[test]
fn each_role_does_what_it_may_and_no_more() -> Result<()> {
    let site = Site::build()?;
    let _wire = site.lab.veth("veth1", &site.lab.peer("far")?, "eth0")?;
    for name in ["grafana", "alice", "root"] {
        site.ctl(name, "cubes show").ok();
    }
    site.refuses("grafana", "packetcapture add sniffer", "admin");
    site.refuses("alice", "packetcapture add sniffer", "admin");
    site.ctl("root", "packetcapture add sniffer").ok();
    site.ctl("root", "simplebridge add br1").ok();
    site.refuses("grafana", "attach sniffer veth1", "capture");
    site.ctl("alice", "attach sniffer veth1").ok();
    site.refuses("grafana", "sniffer set capture=ingress", "capture");
    site.ctl("alice", "sniffer set capture=ingress").ok();
    site.refuses("grafana", "sniffer dump -w -", "capture");
    site.ctl("alice", "sniffer dump -w -").ok();
    site.ctl("grafana", "sniffer show").ok();
    site.ctl("alice", "sniffer set capture=off").ok();
    site.ctl("alice", "detach sniffer veth1").ok();
    site.refuses("alice", "del sniffer", "admin");
    site.refuses("alice", "br1 ports add p1", "admin");
    let stranger = site.ctl("mallory", "cubes show");
    assert!(stranger.code == Some(2) && stranger.stderr.contains("no valid token"), "{stranger}");
    Ok(())
}

#[test]
fn each_change_is_one_line_that_says_who_asked() -> Result<()> {
    let site = Site::build()?;
    site.ctl("root", "simplebridge add br1").ok();
    site.refuses("alice", "br1 ports add p1", "admin");
    site.daemon.ctl("br1 ports add p2").ok();
    site.ctl("root", "cubes show").ok();
    let added = site.audited("POST simplebridge/br1");
    ensure!(added.len() == 1, "{added:?}");
    let [line] = added.as_slice() else { unreachable!("it has one line") };
    assert_eq!((&line["who"], &line["cube"], &line["result"]), (&"token root".into(), &"br1".into(), &"done".into()));
    assert_eq!(line["level"], "INFO");
    assert!(line["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{line}");
    let log = site.daemon.log();
    let refused = log.lines().find(|line| line.contains("token alice")).context("a line about the refusal")?;
    assert!(refused.contains("refused (403): this needs the role `admin`"), "{refused}");
    let local = log.lines().find(|line| line.contains("uid 0 (root)")).context("a line about the local change")?;
    assert!(local.contains("Unix socket, pid ") && local.contains("p2"), "{local}");
    assert!(!log.contains("of-root"), "a token is in the log");
    assert!(!log.contains("\"change\":\"GET"), "what only reads is in the log");
    Ok(())
}

#[test]
fn probes_need_no_token_and_learn_nothing() -> Result<()> {
    let site = Site::build()?;
    for path in ["/healthz", "/polycube/v1/healthz"] {
        let answer = site.raw(path)?.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{path}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    for path in ["/metrics", "/polycube/v1/healthz/cubes", "/polycube/v1/cubes", "/polycube/v1/version"] {
        assert!(site.raw(path)?.starts_with("HTTP/1.1 401 "), "{path}");
    }
    assert_eq!(site.daemon.http("GET", "/healthz", None)?.ok().text(), "ok\n");
    Ok(())
}

#[test]
fn a_reload_takes_all_of_a_new_file_of_tokens_or_nothing() -> Result<()> {
    let site = Site::build()?;
    let hang_up = || -> Result<()> {
        let pid = site.daemon.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it runs")?;
        Ok(kill_process(pid, Signal::HUP)?)
    };
    let file = site.place.path().join("tokens");
    secret(&file, "[[token]]\nname = \"alice\"\nrole = \"king\"\ntoken = \"x\"\n")?;
    hang_up()?;
    eventually("a line about the fault", || Ok(site.daemon.log().contains("everything stays as it was")))?;
    let log = site.daemon.log();
    assert!(log.contains("tokens:3:8: there is no role `king`"), "{log}");
    site.ctl("grafana", "cubes show").ok();
    secret(&file, &tokens(&[("mallory", "read")]))?;
    hang_up()?;
    eventually("a reload", || Ok(site.daemon.log().contains("read the configuration again")))?;
    site.ctl("mallory", "cubes show").ok();
    assert_eq!(site.ctl("grafana", "cubes show").code, Some(2));
    Ok(())
}

#[test]
fn a_file_of_tokens_that_everybody_can_read_is_refused() -> Result<()> {
    let (lab, place) = (Lab::new()?, tempfile::tempdir()?);
    let file = place.path().join("tokens");
    secret(&file, &tokens(&[("alice", "admin")]))?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    let refusal = attempt(&lab, &["--port", "9000", "--token-file", &file.display().to_string()])?.one_line(1);
    assert!(refusal.contains("everybody can use it: chmod 640"), "{refusal}");
    Ok(())
}

#[test]
fn a_comparison_leaves_no_line_in_the_audit_trail() -> Result<()> {
    let site = Site::build()?;
    let document = "{\"cubes\":[{\"name\":\"br1\",\"service-name\":\"simplebridge\"}]}";
    let diff = site.daemon.ctl_reading(&["config", "diff"], Some(document));
    assert!(diff.to_string().contains("br1"), "{diff}");
    assert_eq!(site.audited("PATCH config/diff").len() + site.audited("PUT config/diff").len(), 0);
    assert_eq!(site.daemon.ctl_reading(&["config", "apply"], Some(document)).code, Some(0));
    assert_eq!(site.audited("PATCH config").len(), 1, "{}", site.daemon.log());
    Ok(())
}
