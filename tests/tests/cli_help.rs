//! Does `polycubectl` show what can follow, in its help and by completion in shells, for any plugin?

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, binary_dir};
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

/// A daemon with `br1` (port `toveth1`, peer `veth1`) and `sniffer` attached to it.
fn site() -> Result<Scene> {
    Scene::set_up().peers(1).sniffed_port().start()
}

/// Compares a help text with its golden file; `UPDATE_GOLDENS=1` writes it.
#[track_caller]
fn check_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/help").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        fs::write(&path, found).expect("the goldens' directory is writable");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == golden, "tests/goldens/help/{name} differs; UPDATE_GOLDENS=1 rewrites it. Found:\n{found}");
}

#[test]
fn help_at_every_depth_is_the_golden_one() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (line, golden) in [
        ("?", "root.txt"),
        ("add ?", "root-add.txt"),
        ("del ?", "root-del.txt"),
        ("simplebridge ?", "service.txt"),
        ("simplebridge add ?", "service-add.txt"),
        ("br1 ?", "cube.txt"),
        ("br1 set ?", "cube-set.txt"),
        ("br1 add ?", "cube-add.txt"),
        ("br1 ports ?", "list.txt"),
        ("br1 ports add ?", "list-add.txt"),
        ("br1 ports del ?", "list-del.txt"),
        ("br1 ports toveth1 ?", "entry.txt"),
        ("br1 ports toveth1 set ?", "entry-set.txt"),
        ("br1 fdb set ?", "container-set.txt"),
        ("br1 fdb entry add ?", "list-with-mandatory-add.txt"),
        ("br1 fdb flush ?", "action.txt"),
        ("br1 loglevel ?", "leaf.txt"),
        ("detach ?", "detach.txt"),
        ("attach sniffer br1:toveth1 ?", "attach-place.txt"),
        ("cubes add ?", "cubes-add.txt"),
        ("services add ?", "services-add.txt"),
        ("services simplebridge ?", "services-one.txt"),
    ] {
        check_golden(golden, &daemon.ctl(line).ok());
        assert_eq!(daemon.ctl(&line.replace('?', "--help")).ok(), daemon.ctl(line).ok(), "{line}");
        assert_eq!(daemon.ctl(&line.replace('?', "-h")).ok(), daemon.ctl(line).ok(), "{line}");
    }
    Ok(())
}

#[test]
fn help_comes_from_the_schema_of_any_service() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (line, words) in [
        (
            "packetcapture add ?",
            &["<name>", "capture", "off|ingress|egress|bidirectional", "filters.src", "Example:"][..],
        ),
        (
            "sniffer ?",
            &[
                "uuid",
                "(read-only)",
                "filters",
                "container",
                "snaplen",
                "integer or string 1..262144",
                "default 262144",
            ],
        ),
        ("sniffer filters set ?", &["src", "10.10.10.0/24", "dport", "integer 0..65535"]),
        ("sniffer show ?", &["counters", "dump"]),
        ("sniffer show counters ?", &["seen", "integer 0.."]),
    ] {
        let text = daemon.ctl(line).ok();
        for word in words {
            assert!(text.contains(word), "`{line}`: {word:?} is not in\n{text}");
        }
    }
    let set = daemon.ctl("sniffer set ?").ok();
    assert!(!set.contains("uuid") && !set.contains("counters"), "what cannot be set is not offered:\n{set}");
    Ok(())
}

#[test]
fn help_without_a_daemon_comes_from_the_grammar() -> Result<()> {
    let mut scene = site()?;
    let daemon = &mut scene.daemon;
    daemon.terminate()?;
    for line in ["?", "--help", "-h", "", "attach ?"] {
        let output = daemon.ctl(line);
        assert!(output.code == Some(0) && output.stdout.contains("polycubectl "), "{output}");
        assert!(output.stderr.starts_with("polycubectl: no daemon answers at"), "{output}");
    }
    let output = daemon.ctl("sniffer set ?");
    assert!(output.code == Some(1) && output.stdout.starts_with("polycubectl NAME [PATH...] set"), "{output}");
    Ok(())
}

#[test]
fn topics_are_explained_without_a_daemon() -> Result<()> {
    let mut scene = site()?;
    let daemon = &mut scene.daemon;
    daemon.terminate()?;
    check_golden("topics.txt", &daemon.ctl("help").ok());
    for (line, words) in [
        ("help filters", "polycubectl sniffer filters set src=10.0.0.1"),
        ("help expressions", "pcap-filter(7)"),
        ("help places", "IN THE CHAIN"),
        ("help plugins", "polycubectl plugin new"),
        ("help attach", "polycubectl attach CUBE PLACE"),
        ("help show", "polycubectl NAME show"),
    ] {
        let text = daemon.ctl(line).ok();
        assert!(text.contains(words), "{line}: {text}");
    }
    for (line, expected) in [
        ("help filtrs", "polycubectl: there is no topic 'filtrs': did you mean filters?\n"),
        ("help br1", "polycubectl: there is no topic 'br1': polycubectl help lists them\n"),
        ("help two words", "polycubectl: wrong number of words for help\n"),
    ] {
        let output = daemon.ctl(line);
        assert!(output.code == Some(64) && output.stderr.starts_with(expected), "{output}");
    }
    let completed = daemon.ctl_words(&["--complete", "help", "p"]).ok();
    assert!(completed.contains("places\t") && completed.contains("plugins\t"), "{completed}");
    Ok(())
}

#[test]
fn the_daemon_is_not_asked_about_words_it_does_not_know() -> Result<()> {
    let mut scene = site()?;
    let daemon = &mut scene.daemon;
    for line in ["completion ?", "sniffer watch ?", "sniffer dump ?"] {
        let output = daemon.ctl(line);
        assert!(output.code == Some(0) && output.stderr.is_empty(), "{output}");
    }
    assert!(daemon.ctl("sniffer dump ?").ok().contains("sniffer show dump"), "a leaf has the same name");
    daemon.terminate()?;
    assert!(daemon.ctl("completion ?").ok().contains("polycubectl completion bash|zsh|fish"));
    Ok(())
}

#[test]
fn what_does_not_exist_has_no_help() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (line, reason) in [
        ("br9 ?", "did you mean `br1`?"),
        ("br1 ports p9 loglevel ?", "there is no `loglevel`"),
        ("br1 fbd ?", "did you mean `fdb`?"),
        ("packetcapture br1 ?", "cube `br1` is not of service packetcapture"),
        ("br1 ports nope ?", "port `nope` of cube `br1` does not exist; known: toveth1"),
        ("br1 ports nope set ?", "port `nope` of cube `br1` does not exist; known: toveth1"),
        ("br1 ports nope peer ?", "port `nope` of cube `br1` does not exist; known: toveth1"),
        ("br1 fdb entry 02:00:00:00:00:01 ?", "there is no entry `02:00:00:00:00:01`"),
        ("services nope ?", "service `nope` does not exist"),
        ("cubes br9 ?", "did you mean `br1`?"),
        ("netdevs nope ?", "netdev `nope` does not exist"),
        ("topology nope ?", "netdev `nope` does not exist"),
        ("topology br1:nope ?", "port `nope` of cube `br1` does not exist"),
    ] {
        let said = daemon.ctl(line).one_line(2);
        assert!(said.contains(reason), "{line}: {said}");
    }
    assert!(daemon.ctl("br1 ports nope add ?").ok().contains("peer"), "a port that is to be made has help");
    for (path, status) in [("services/nope", 400), ("netdevs/nope", 400), ("br1/ports/nope", 409)] {
        for method in ["GET", "OPTIONS"] {
            assert_eq!(daemon.http(method, &format!("/polycube/v1/{path}"), None)?.status, status, "{method} {path}");
        }
    }
    Ok(())
}

/// The words that complete a path, requested as Polycube's own completion does.
#[track_caller]
fn words(daemon: &Daemon, path: &str, help: &str) -> Value {
    let response = daemon.http("OPTIONS", &format!("/polycube/v1/{path}?help={help}&completion"), None);
    let response = response.expect("an answer");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json().expect("JSON")
}

#[test]
fn options_has_help_for_programs() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    assert_eq!(words(daemon, "detach/", "NONE"), json!(["sniffer"]));
    assert_eq!(words(daemon, "detach/sniffer/", "NONE"), json!(["br1:toveth1"]));
    let points = words(daemon, "topology/", "SHOW");
    assert!(
        points
            .as_array()
            .is_some_and(|points| points.contains(&json!("br1:toveth1")) && points.contains(&json!("veth1"))),
        "{points}"
    );
    assert_eq!(words(daemon, "br1/ports/", "DEL"), json!(["toveth1"]));
    assert_eq!(words(daemon, "br1/ports/toveth1/", "SET"), json!(["peer=", "learning=", "flood=", "isolated="]));
    assert_eq!(words(daemon, "br1/fdb/", "NONE"), json!(["add", "set", "show", "del", "aging-time", "entry", "flush"]));
    assert_eq!(words(daemon, "", "SET"), json!(["br1", "sniffer"]));

    for (path, commands) in [
        ("cubes/br1", &["show"][..]),
        ("services/simplebridge", &["show", "del", "reload"]),
        ("services/reload", &["helloworld", "packetcapture", "simplebridge", "span", "transparenthelloworld"]),
        ("services/reload/simplebridge", &["uri="]),
        ("topology/br1:toveth1", &["show"]),
    ] {
        assert_eq!(words(daemon, path, "NONE"), json!(commands), "{path}");
    }

    let body = daemon.http("OPTIONS", "/polycube/v1/br1/fdb/aging-time?help=SET", None)?.json()?;
    assert_eq!((&body["leaf"]["simpletype"], &body["leaf"]["default"]), (&json!("integer"), &json!(300)), "{body}");
    let ports = daemon.http("OPTIONS", "/polycube/v1/simplebridge/br1/?help=NONE", None)?.json()?;
    assert_eq!(ports["params"]["ports"]["keys"], json!(["name"]), "{ports}");
    for query in ["help=MAYBE", "halp=ADD"] {
        assert_eq!(daemon.http("OPTIONS", &format!("/polycube/v1/br1?{query}"), None)?.status, 400, "{query}");
    }
    assert_eq!(daemon.http("OPTIONS", "/polycube/v1/nowhere?help=NONE", None)?.status, 404);
    Ok(())
}

#[test]
fn help_lists_actions_and_streams_with_the_nodes() -> Result<()> {
    let scene = Scene::set_up().fixtures(["panicky"]).commands(["panicky add p1"]).start()?;
    let daemon = &scene.daemon;
    let help = daemon.http("OPTIONS", "/polycube/v1/p1/?help=NONE", None)?.json()?;
    for (word, kind) in [("pipe", "stream"), ("file", "container"), ("grow", "action"), ("size", "leaf")] {
        assert_eq!(help["params"][word]["type"], kind, "{word}: {help}");
    }
    let help = daemon.http("OPTIONS", "/polycube/v1/p1/file?help=NONE", None)?.json()?;
    assert_eq!(help["params"]["<text>"]["type"], "key", "{help}");
    assert!(daemon.ctl("p1 pipe ?").ok().contains("Nothing follows."));
    assert!(daemon.ctl("p1 set ?").ok().contains("size") && !daemon.ctl("p1 set ?").ok().contains("pipe"));
    Ok(())
}

/// Types lines into an interactive shell, and returns what it printed. The shell's `polycubectl` prints its words.
fn type_into(daemon: &Daemon, shell: &str, lines: &str) -> Result<String> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("some-file"), "token\n")?;
    let program = home.path().join("bin/polycubectl");
    fs::create_dir_all(home.path().join("bin"))?;
    let says =
        "#!/bin/sh\nif [ \"$1\" = --complete ]; then exec polycubectl \"$@\"; fi; printf 'LINE<bin %s>\\n' \"$*\"\n";
    fs::write(&program, says)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let print = "polycubectl() { if [[ $1 == --complete ]]; then command polycubectl \"$@\"; \
                 else printf 'LINE<%s>\\n' \"$*\"; fi; }\n";
    let start = match shell {
        "bash" => "",
        _ => "autoload -Uz compinit; compinit -u -D\n",
    };
    fs::write(home.path().join(".bashrc"), format!("{start}source <(polycubectl completion bash)\n{print}"))?;
    fs::write(home.path().join(".zshrc"), format!("{start}source <(polycubectl completion zsh)\n{print}"))?;
    let path = format!("{}:{}", binary_dir()?.display(), std::env::var("PATH")?);
    // On its own terminal, because shells complete only on one.
    let mut child = daemon
        .host()
        .command("script")
        .args(["-qec", &format!("{shell} -i"), "/dev/null"])
        .env("HOME", home.path())
        .env("ZDOTDIR", home.path())
        .env("PATH", path)
        .env("TERM", "dumb")
        .env("POLYCUBECTL_URL", format!("unix://{}", daemon.socket().display()))
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run script")?;
    child.stdin.take().context("no stdin")?.write_all(format!("{lines}exit\n").as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{shell} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn bash_and_zsh_complete_names_that_exist() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let lines = "polycubectl att\tsni\tbr1:\t\n\
                 polycubectl sniffer set capt\tin\t\n\
                 polycubectl del br1 ports tov\t\n\
                 polycubectl br1 ports add p2 pe\tvet\t\n\
                 polycubectl completion z\t\n\
                 polycubectl --token-file some-f\tcub\t\n";
    for shell in ["bash", "zsh"] {
        let printed = type_into(daemon, shell, lines)?;
        for line in [
            "attach sniffer br1:toveth1",
            "sniffer set capture=ingress",
            "del br1 ports toveth1",
            "br1 ports add p2 peer=veth1",
            "completion zsh",
            "--token-file some-file cubes",
        ] {
            assert!(printed.contains(&format!("LINE<{line}>")), "{shell} did not complete to `{line}`:\n{printed}");
        }
    }
    Ok(())
}

#[test]
fn bash_and_zsh_complete_after_quotes_redirections_and_equals_signs() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    daemon.ctl("simplebridge add br2").ok();
    daemon.ctl("br2 ports add p1").ok();
    let lines = "polycubectl cubes add < some-f\t\n\
                 polycubectl br1 < some-file show ports tov\t\n\
                 polycubectl sniffer set filter=\"icmp or arp\" capt\tin\t\n\
                 polycubectl sniffer set networkmode=t\t\n\
                 polycubectl br1 ports toveth1 set peer=br2:\t\n\
                 polycubectl --token-file=some-f\tserv\t\n\
                 polycubectl sniffer dump --format pcap-\t\n\
                 polycubectl sniffer dump --format=pcapn\t\n\
                 ~/bin/polycubectl packet\t\n\
                 $HOME/bin/polycubectl simple\t\n";
    for shell in ["bash", "zsh"] {
        let printed = type_into(daemon, shell, lines)?;
        for line in [
            "cubes add",
            "br1 show ports toveth1",
            "sniffer set filter=icmp or arp capture=ingress",
            "sniffer set networkmode=true",
            "br1 ports toveth1 set peer=br2:p1",
            "--token-file=some-file services",
            "sniffer dump --format pcap-nanos",
            "sniffer dump --format=pcapng",
            "bin packetcapture",
            "bin simplebridge",
        ] {
            assert!(printed.contains(&format!("LINE<{line}>")), "{shell} did not complete to `{line}`:\n{printed}");
        }
    }
    Ok(())
}

#[test]
fn fish_completes_names_that_exist() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("some-file"), "token\n")?;
    fs::create_dir(home.path().join("bin"))?;
    symlink(binary_dir()?.join("polycubectl"), home.path().join("bin/polycubectl"))?;
    for (line, expected) in [
        ("polycubectl attach sniffer br1:", "br1:toveth1\tCUBE:PORT, or a netdev\n"),
        ("polycubectl sniffer set capture=i", "capture=ingress\n"),
        ("polycubectl sni", "sniffer\tCube of service packetcapture\n"),
        ("polycubectl br1 ports ad", "add\tcreate something here\n"),
        ("polycubectl sniffer set networkmode=t", "networkmode=true\n"),
        ("polycubectl cubes add < some", "some-file\n"),
        ("polycubectl --token-file some", "some-file\n"),
        ("polycubectl --token-file=some", "--token-file=some-file\n"),
        ("~/bin/polycubectl sni", "sniffer\tCube of service packetcapture\n"),
        ("$HOME/bin/polycubectl sni", "sniffer\tCube of service packetcapture\n"),
    ] {
        let output = daemon
            .host()
            .command("fish")
            .args(["--no-config", "-c"])
            .arg(format!("polycubectl completion fish | source; complete -C '{line}'"))
            .env("HOME", home.path())
            .current_dir(home.path())
            .env("PATH", format!("{}:{}", binary_dir()?.display(), std::env::var("PATH")?))
            .env("POLYCUBECTL_URL", format!("unix://{}", daemon.socket().display()))
            .output()
            .context("cannot run fish")?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{line}: {output:?}");
    }
    Ok(())
}

#[test]
fn completion_scripts_need_no_daemon() -> Result<()> {
    for (shell, mark) in [("bash", "complete -F"), ("zsh", "#compdef polycubectl"), ("fish", "complete -c polycubectl")]
    {
        let output = Command::new(binary_dir()?.join("polycubectl")).args(["completion", shell]).output()?;
        assert!(output.status.success() && String::from_utf8(output.stdout)?.contains(mark), "{shell}");
    }
    Ok(())
}
