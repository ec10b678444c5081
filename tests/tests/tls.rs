//! Does TLS admit the right clients, and do all others learn why not?

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, attempt};
use polycube_tests::lab::Lab;
use polycube_tests::pcap::{self, Format};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const TCP: [&str; 2] = ["--addr", "127.0.0.1"];
const URL: &str = "--url https://127.0.0.1:9000";

/// A directory of certificates and their keys.
struct Files(TempDir);

/// What a certificate is valid for.
enum Validity {
    Now,
    Past,
    Future,
}

impl Files {
    /// A CA `ca` that has signed `server` and `client`, a CA `other` that has signed `stranger`, and a `token`.
    fn make() -> Result<Self> {
        let files = Self(tempfile::tempdir()?);
        let ca = files.ca("ca")?;
        files.sign("server", &["localhost", "127.0.0.1"], &Validity::Now, &ca)?;
        files.sign("client", &["somebody"], &Validity::Now, &ca)?;
        files.sign("stranger", &["somebody"], &Validity::Now, &files.ca("other")?)?;
        files.sign("elsewhere", &["lab.example"], &Validity::Now, &ca)?;
        files.sign("expired", &["127.0.0.1"], &Validity::Past, &ca)?;
        files.sign("early", &["127.0.0.1"], &Validity::Future, &ca)?;
        files.write("token", "secret\n")?;
        Ok(files)
    }

    fn ca(&self, name: &str) -> Result<Issuer<'static, KeyPair>> {
        let mut parameters = CertificateParams::new([])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has the same name for a self-signed one.
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        self.write(&format!("{name}.pem"), &parameters.self_signed(&key)?.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())?;
        Ok(Issuer::new(parameters, key))
    }

    fn sign(&self, name: &str, names: &[&str], validity: &Validity, ca: &Issuer<'_, KeyPair>) -> Result<()> {
        let mut parameters = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        match validity {
            Validity::Now => {}
            Validity::Past => parameters.not_after = date_time_ymd(2001, 1, 1),
            Validity::Future => parameters.not_before = date_time_ymd(4000, 1, 1),
        }
        let key = KeyPair::generate()?;
        self.write(&format!("{name}.pem"), &parameters.signed_by(&key, ca)?.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text)?;
        Ok(fs::set_permissions(self.path(name), Permissions::from_mode(0o600))?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The words of a command line, with a file's path for each `@name`.
    fn words(&self, line: &str) -> Vec<String> {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        };
        line.split_whitespace().map(word).collect()
    }

    fn daemon(&self, lab: &Lab, line: &str) -> Result<Daemon> {
        let words = self.words(line);
        Daemon::start_with(lab, &[&TCP[..], &words.iter().map(String::as_str).collect::<Vec<_>>()].concat())
    }

    /// Asserts the exit code of `polycubectl`, and what it prints about it.
    #[track_caller]
    fn check(&self, daemon: &Daemon, line: &str, code: i32, about: &[&str]) {
        let words = self.words(line);
        let output = daemon.ctl_words(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.code, Some(code), "{output}");
        let lines = output.stderr.lines().count();
        assert!(lines == 1 || code == 0 || (code == 2 && lines == 2), "{output}");
        for word in about {
            assert!(output.stderr.contains(word), "{word:?} is not in {output}");
        }
    }
}

#[test]
fn a_token_is_accepted_over_tls() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --token-file @token")?;
    files.check(&daemon, &format!("{URL} --cacert @ca.pem --token-file @token cubes show"), 0, &[]);
    files.check(&daemon, "--url https://localhost:9000 --cacert @ca.pem --token-file @token cubes show", 0, &[]);
    files.check(&daemon, &format!("{URL} --cacert @ca.pem cubes show"), 2, &["no valid token", "--token-file"]);
    // The daemon has not asked for it.
    let certified = format!("{URL} --cacert @ca.pem --cert @client.pem --key @client.key cubes show");
    files.check(&daemon, &certified, 2, &["no valid token"]);
    Ok(())
}

#[test]
fn a_client_certificate_is_accepted_and_required() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --cacert @ca.pem")?;
    let with = |more: &str| format!("{URL} --cacert @ca.pem {more} cubes show");
    files.check(&daemon, &with("--cert @client.pem --key @client.key"), 0, &[]);
    let add = format!("{URL} --cacert @ca.pem --cert @client.pem --key @client.key simplebridge add br1");
    files.check(&daemon, &add, 0, &[]);
    // The name that rcgen gives.
    let who = "who=\"certificate CN=rcgen self signed cert\"";
    assert!(daemon.log().lines().any(|line| line.contains(who) && line.contains("simplebridge/br1")), "no {who}");
    files.check(
        &daemon,
        &with(""),
        1,
        &["https://127.0.0.1:9000", "requires a client certificate", "--cert and --key"],
    );
    files.check(&daemon, &with("--token-file @token"), 1, &["requires a client certificate"]);
    let refused = ["rejects our certificate", "--cacert"];
    files.check(&daemon, &with("--cert @stranger.pem --key @stranger.key"), 1, &refused);
    files.check(&daemon, &with("--cert @expired.pem --key @expired.key"), 1, &refused);
    Ok(())
}

#[test]
fn a_reload_takes_a_new_certificate_unless_it_does_not_fit() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    for kind in ["pem", "key"] {
        fs::copy(files.path(&format!("server.{kind}")), files.path(&format!("now.{kind}")))?;
    }
    let daemon = files.daemon(&lab, "--cert @now.pem --key @now.key --no-auth")?;
    let hang_up = |about: &str| -> Result<()> {
        let pid = daemon.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it runs")?;
        kill_process(pid, Signal::HUP)?;
        eventually(about, || Ok(daemon.log().contains(about)))
    };
    let show = format!("{URL} --cacert @ca.pem cubes show");
    fs::copy(files.path("expired.pem"), files.path("now.pem"))?;
    hang_up("everything stays as it was")?;
    assert!(daemon.log().contains("it is not the key of the certificate in"), "{}", daemon.log());
    files.check(&daemon, &show, 0, &[]);
    fs::copy(files.path("expired.key"), files.path("now.key"))?;
    hang_up("read the configuration again")?;
    files.check(&daemon, &show, 1, &["has expired"]);
    Ok(())
}

#[test]
fn token_and_certificate_are_alternatives() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --cacert @ca.pem --token-file @token")?;
    let with = |more: &str| format!("{URL} --cacert @ca.pem {more} cubes show");
    files.check(&daemon, &with("--cert @client.pem --key @client.key"), 0, &[]);
    files.check(&daemon, &with("--token-file @token"), 0, &[]);
    files.check(&daemon, &with(""), 2, &["no valid token"]);
    files.check(&daemon, &with("--cert @stranger.pem --key @stranger.key"), 1, &["rejects our certificate"]);
    Ok(())
}

#[test]
fn a_certificate_has_the_role_that_the_token_file_gives_its_name() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let rule = |name: &str, role: &str| format!("[[certificate]]\ncommon-name = \"{name}\"\nrole = \"{role}\"\n");
    // The name that rcgen gives.
    let own = "rcgen self signed cert";
    files.write("roles", &rule(own, "read"))?;
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --cacert @ca.pem --token-file @roles")?;
    let with = |words: &str| format!("{URL} --cacert @ca.pem --cert @client.pem --key @client.key {words}");
    let refused = ["this needs the role `admin`, and certificate CN=rcgen self signed cert has `read`"];
    files.check(&daemon, &with("cubes show"), 0, &[]);
    files.check(&daemon, &with("simplebridge add br1"), 2, &refused);
    // The file has no token, so there is no way in without a certificate.
    let without = format!("{URL} --cacert @ca.pem cubes show");
    files.check(&daemon, &without, 1, &["requires a client certificate"]);
    let pid = daemon.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it runs")?;
    let hang_up = |about: &str, count: usize| -> Result<()> {
        kill_process(pid, Signal::HUP)?;
        eventually(about, || Ok(daemon.log().matches(about).count() == count))
    };
    files.write("roles", &(rule("*", "read") + &rule(own, "admin")))?;
    hang_up("read the configuration again", 1)?;
    files.check(&daemon, &with("simplebridge add br1"), 0, &[]);
    files.write("roles", &rule("*", "read"))?;
    hang_up("read the configuration again", 2)?;
    files.check(&daemon, &with("del br1"), 2, &refused);
    files.write("roles", &rule("somebody else", "read"))?;
    hang_up("read the configuration again", 3)?;
    files.check(&daemon, &with("del br1"), 0, &[]);
    files.write("roles", &rule("*", "root"))?;
    hang_up("everything stays as it was", 1)?;
    files.check(&daemon, &with("simplebridge add br1"), 0, &[]);
    drop(daemon);
    let words = files.words("--addr 127.0.0.1 --cert @server.pem --key @server.key --token-file @roles");
    files.write("roles", &rule("*", "read"))?;
    let refusal = attempt(&lab, &words.iter().map(String::as_str).collect::<Vec<_>>())?.one_line(1);
    assert!(refusal.contains("give --cacert FILE too"), "{refusal}");
    Ok(())
}

#[test]
fn settings_come_from_the_environment_and_the_file() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --cacert @ca.pem")?;
    let home = daemon.socket().parent().context("a directory")?.to_owned();
    fs::create_dir_all(home.join(".config/polycube"))?;
    let [cacert, cert, key] = ["other.pem", "client.pem", "client.key"].map(|name| files.path(name));
    let config = format!("cacert: {}\ncert: {}\nkey: {}\n", cacert.display(), cert.display(), key.display());
    fs::write(home.join(".config/polycube/polycubectl_config.yaml"), config)?;
    files.check(&daemon, &format!("{URL} cubes show"), 1, &["other.pem", "--cacert"]);
    files.check(&daemon, &format!("{URL} --cacert @ca.pem cubes show"), 0, &[]);
    let program = polycube_tests::daemon::binary_dir()?.join("polycubectl");
    let mut command = lab.host().command(&program);
    command.args(["cubes", "show"]).env("HOME", &home).env("POLYCUBECTL_URL", "https://127.0.0.1:9000");
    let output = command.env("POLYCUBECTL_CACERT", files.path("ca.pem")).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn a_client_refuses_a_daemon_it_cannot_verify() -> Result<()> {
    let files = Files::make()?;
    let check = |server: &str, cacert: &str, about: &[&str]| -> Result<()> {
        let lab = Lab::new()?;
        let daemon = files.daemon(&lab, &format!("--cert @{server}.pem --key @{server}.key --no-auth"))?;
        files.check(&daemon, &format!("{URL} --cacert @{cacert}.pem cubes show"), 1, about);
        Ok(())
    };
    check("server", "other", &["https://127.0.0.1:9000", "by a CA that is not in", "other.pem", "--cacert"])?;
    check("elsewhere", "ca", &["lab.example", "not for 127.0.0.1"])?;
    check("expired", "ca", &["has expired"])?;
    check("ca", "ca", &["a CA's own"])?;
    check("early", "ca", &["not valid yet"])
}

#[test]
fn tls_at_one_end_only_is_explained() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --no-auth")?;
    files.check(&daemon, "--url http://127.0.0.1:9000 cubes show", 2, &["speaks TLS", "https://127.0.0.1:9000/"]);
    let downgraded = "--url http://127.0.0.1:9000 --cacert @ca.pem --token-file @token cubes show";
    files.check(&daemon, downgraded, 64, &["are for https", "http://127.0.0.1:9000 is not"]);
    files.check(&daemon, &format!("{URL} cubes show"), 64, &["https requires cacert", "POLYCUBECTL_CACERT"]);
    drop(daemon);
    let daemon = files.daemon(&lab, "--no-auth")?;
    files.check(&daemon, &format!("{URL} --cacert @ca.pem cubes show"), 1, &["does not speak TLS", "http://"]);
    Ok(())
}

#[test]
fn packets_arrive_unchanged_over_tls() -> Result<()> {
    let files = Files::make()?;
    let arguments = files.words("--addr 127.0.0.1 --cert @server.pem --key @server.key --token-file @token");
    let scene = Scene::set_up().peers(2).arguments(&arguments).bridge().start()?;
    scene.sniff("capture=ingress");
    let line = format!("{URL} --cacert @ca.pem --token-file @token sniffer dump --follow --format pcap -w @live");
    let program = polycube_tests::daemon::binary_dir()?.join("polycubectl");
    let mut child = scene
        .lab
        .host()
        .command(&program)
        .args(files.words(&line))
        .env("HOME", "/nowhere")
        .stderr(Stdio::null())
        .spawn()?;
    eventually("a reader", || Ok(!scene.readers()?.is_empty()))?;
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 1000, 500);
    Sender::open(scene.peer(1))?.send(&frames)?;
    eventually("the packets", || Ok(scene.readers()?[0].packets == 500))?;
    scene.daemon.ctl("sniffer del").ok();
    ensure!(child.wait()?.success());
    let file = pcap::parse(&fs::read(files.path("live"))?)?;
    assert_eq!(file.format, Format::PcapMicroseconds);
    assert!(file.records.iter().map(|record| &record.bytes).eq(&frames), "{} records", file.records.len());
    Ok(())
}

#[test]
fn a_missing_handshake_delays_nothing_and_times_out() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --token-file @token")?;
    let begin = Instant::now();
    let mut silent = lab.host().enter(|| TcpStream::connect(("127.0.0.1", 9000)))?;
    files.check(&daemon, &format!("{URL} --cacert @ca.pem --token-file @token cubes show"), 0, &[]);
    ensure!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    silent.set_read_timeout(Some(Duration::from_secs(20)))?;
    assert_eq!(silent.read(&mut [0])?, 0, "the daemon hangs up");
    ensure!(begin.elapsed() >= Duration::from_secs(5), "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn unusable_files_are_named() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    files.write("garbage", "garbage\n")?;
    files.write("broken", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")?;
    files.write("empty", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    let open = files.path("open.key");
    fs::copy(files.path("server.key"), &open)?;
    fs::set_permissions(&open, Permissions::from_mode(0o644))?;
    let cases: [(&str, &[&str]); 15] = [
        ("--cert @server.pem --key @server.key", &["--token-file", "--cacert", "--no-auth"]),
        ("--cert @server.pem --no-auth", &["both --cert FILE and --key FILE"]),
        ("--key @server.key --no-auth", &["both --cert FILE and --key FILE"]),
        ("--cacert @ca.pem --token-file @token", &["--cacert is for TLS", "--cert FILE"]),
        ("--cert @nowhere --key @server.key --no-auth", &["--cert ", "nowhere", "No such file"]),
        ("--cert @garbage --key @server.key --no-auth", &["--cert ", "garbage", "no certificate"]),
        ("--cert @broken --key @server.key --no-auth", &["--cert ", "broken", "not valid PEM"]),
        ("--cert @empty --key @server.key --no-auth", &["--cert ", "empty"]),
        ("--cert @server.key --key @server.key --no-auth", &["--cert ", "server.key", "no certificate"]),
        ("--cert @server.pem --key @nowhere --no-auth", &["--key ", "nowhere", "No such file"]),
        ("--cert @server.pem --key @server.pem --no-auth", &["--key ", "server.pem", "no private key"]),
        ("--cert @server.pem --key @open.key --no-auth", &["--key ", "open.key", "chmod 640"]),
        ("--cert @server.pem --key @client.key --no-auth", &["client.key", "not the key of", "server.pem"]),
        ("--cert @server.pem --key @server.key --cacert @garbage", &["--cacert ", "garbage", "no certificate"]),
        ("--cert @server.pem --key @server.key --cacert @empty", &["--cacert ", "empty"]),
    ];
    for (line, about) in cases {
        let words = files.words(&format!("--addr 127.0.0.1 {line}"));
        let line = attempt(&lab, &words.iter().map(String::as_str).collect::<Vec<_>>())?.one_line(1);
        for word in about {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
    }
    let words = files.words("--cert @server.pem --key @server.key --token-file @token");
    let line = attempt(&lab, &words.iter().map(String::as_str).collect::<Vec<_>>())?.one_line(1);
    assert!(line.contains("--addr or --port"), "{line}");

    let daemon = Daemon::start(&lab)?;
    let cases: [(&str, &[&str]); 6] = [
        ("--cacert @nowhere", &["cacert ", "nowhere", "No such file"]),
        ("--cacert @garbage", &["cacert ", "garbage", "no certificate"]),
        ("--cacert @ca.pem --cert @client.pem", &["both --cert FILE and --key FILE"]),
        ("--cacert @ca.pem --cert @client.pem --key @garbage", &["key ", "garbage", "no private key"]),
        ("--cacert @ca.pem --cert @broken --key @client.key", &["cert ", "broken", "not valid PEM"]),
        ("--cacert @ca.pem --cert @client.pem --key @server.key", &["server.key", "not the key of", "client.pem"]),
    ];
    for (line, about) in cases {
        files.check(&daemon, &format!("{URL} {line} cubes show"), 64, about);
    }
    Ok(())
}

#[test]
fn strangers_that_do_not_finish_a_handshake_do_not_keep_others_out() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::make()?);
    let daemon = files.daemon(&lab, "--cert @server.pem --key @server.key --token-file @token")?;
    // Nothing, the first byte of a handshake, and the head of a record that announces more.
    for begin in [&[][..], &[22], &[22, 3, 1, 2, 0, 1, 0]] {
        let connect = |_| {
            let mut stream = lab.host().enter(|| TcpStream::connect("127.0.0.1:9000"))?;
            // The daemon may already have closed some of the connections.
            let _ = stream.write_all(begin);
            Ok(stream)
        };
        let strangers = (0..600).map(connect).collect::<Result<Vec<_>>>()?;
        let begin = Instant::now();
        files.check(&daemon, &format!("{URL} --cacert @ca.pem --token-file @token cubes show"), 0, &[]);
        ensure!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        drop(strangers);
    }
    Ok(())
}

#[test]
fn the_demo_client_speaks_https_and_says_what_it_needs() -> Result<()> {
    let files = Files::make()?;
    let arguments = files.words("--addr 127.0.0.1 --cert @server.pem --key @server.key --token-file @token");
    let scene = Scene::set_up().peers(2).arguments(&arguments).bridge().start()?;
    scene.sniff("capture=ingress networkmode=true");
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 20))?;
    eventually("packets in the queue", || Ok(scene.get("sniffer/queue")?["waiting"] == 20))?;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/Packetcapture_Client/client.py");
    let run = |line: &str| -> Result<(Option<i32>, String)> {
        let mut client = scene.lab.host().command("python3");
        client.arg(program).args(files.words(line)).current_dir(files.0.path()).env_remove("POLYCUBECTL_CACERT");
        let output = client.stdin(Stdio::null()).output().context("python3 is missing: apt install python3")?;
        Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
    };
    let (code, text) = run("https://127.0.0.1:9000/ one --cacert @ca.pem --token @token")?;
    ensure!(code == Some(0) && text.contains("20 packets"), "{code:?}: {text}");
    assert_eq!(pcap::read(&files.path("one.pcap"))?.records.len(), 20);
    for (line, expected, words) in [
        ("127.0.0.1 two --cacert @ca.pem --token @token", 0, "0 packets"),
        ("localhost three --cacert @ca.pem --token @token", 0, "0 packets"),
        ("https://127.0.0.1 four --token @token", 1, "give its CA with --cacert"),
        ("https://127.0.0.1 four --cacert @other.pem --token @token", 1, "is not trusted"),
        ("https://127.0.0.1 four --cacert @ca.pem", 2, "wants a token"),
        ("127.0.0.1 four --token @token", 2, "https://127.0.0.1:9000/"),
        ("http://127.0.0.1 four --cacert @ca.pem", 64, "are for https"),
        ("https://127.0.0.1 four --cacert @nowhere.pem", 64, "cannot use"),
        ("ftp://127.0.0.1 four", 64, "is not an address"),
        ("https://127.0.0.1:1 four --port 2", 64, "the port is 1 in the address"),
    ] {
        let (code, text) = run(line)?;
        ensure!(code == Some(expected) && text.contains(words), "{line}: {code:?}: {text}");
    }
    ensure!(!files.path("four.pcap").exists(), "a refused client made a file");
    Ok(())
}
