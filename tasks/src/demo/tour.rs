//! The steps of the demo, and the text between them.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Output;
use polycube_tests::pcap::{self, CaptureFile};
use polycube_tests::traffic::{ping, tcp_transfer};

use super::decode;
use super::interruption::Interruption;
use super::stage::Stage;

/// The daemon is at most 100 ms behind the traffic.
const SETTLE: Duration = Duration::from_millis(150);
const FILE_PATIENCE: Duration = Duration::from_secs(5);
/// How many packets of the file are shown.
const SHOWN: usize = 12;
/// Long enough to measure, short enough for a slow machine.
const MEASURED: u64 = 256 << 20;
/// Less than the capture's ring holds, so that the file has all of it on any machine, and small enough to keep.
const CAPTURED: u64 = 8 << 20;

/// Gives the whole tour.
pub(super) fn give(stage: &Stage, interruption: &Interruption) -> Result<()> {
    let tour = Tour { stage, interruption };
    tour.bridge()?;
    let captured = tour.modes()?;
    tour.record(captured)?;
    tour.filters()?;
    tour.network_mode()?;
    say("The demo stops the daemon and removes its lab.");
    Ok(())
}

/// Prints what stays, and what to try next.
pub(super) fn print_what_is_next(captures: &Path, binaries: &Path) {
    say(&format!(
        "The captures are kept in {}: open them with tcpdump or Wireshark, or remove them.",
        captures.display()
    ));
    say("To try next, on an interface of your own (as root; docs/start.md has the quick start, docs/recipes.md more):");
    println!("  export PATH={}:$PATH", binaries.display());
    println!("  polycubed --ephemeral &");
    println!("  polycubectl packetcapture add sniffer capture=bidirectional");
    println!("  polycubectl attach sniffer eth0");
    println!("  polycubectl sniffer watch                 # a line for each packet, until Ctrl-C");
    println!("  polycubectl sniffer set filter='port 53'  # or any tcpdump expression");
    println!("  polycubectl sniffer set --help            # what else can be set");
    println!("./x install puts the programs into /usr/local.");
}

fn say(text: &str) {
    println!("\n{text}");
}

struct Tour<'a> {
    stage: &'a Stage,
    interruption: &'a Interruption,
}

impl Tour<'_> {
    fn bridge(&self) -> Result<()> {
        let [left, right] = &self.stage.hosts;
        let tag = self.stage.lab.tag();
        say(&format!("The lab: two hosts, {} and {}, with a machine between them.", left.ipv4, right.ipv4));
        println!("Each is a network namespace. While the demo runs, `ip netns` lists them as {tag}-….");
        println!("The daemon, polycubed, runs in the one between. A bridge in it joins the hosts:");
        println!();
        println!("              +----------+");
        println!("  host1 ------|   br1    |------ host2");
        println!("        veth1 +----------+ veth2");
        println!();
        self.ctl("simplebridge add br1")?;
        self.ctl("br1 ports add toveth1 peer=veth1")?;
        self.ctl("br1 ports add toveth2")?;
        self.ctl("connect br1:toveth2 veth2")?;
        say("Each host now reaches the other through the bridge:");
        self.ping_all()?;
        say("The bridge has learned who is where:");
        self.ctl("br1 fdb show")?;
        Ok(())
    }

    /// Shows what each mode captures, and returns how many packets that was.
    fn modes(&self) -> Result<u64> {
        say("Now the capture. It is attached to a port, and sees what passes there without changing it:");
        self.ctl("packetcapture add sniffer capture=bidirectional")?;
        self.ctl("attach sniffer br1:toveth1")?;
        self.ctl("topology")?;
        let mut before = 0;
        for (mode, what) in [
            ("bidirectional", "Both directions are captured, so a ping is two packets: request and reply."),
            ("ingress", "Ingress is what comes into the bridge: of a ping from host1, the request."),
            ("egress", "Egress is what leaves the bridge: of the same ping, the reply."),
            ("off", "Off, the program is out of the packets' path, and nothing is captured."),
        ] {
            say(what);
            if mode != "bidirectional" {
                self.ctl(&format!("sniffer set capture={mode}"))?;
            }
            self.ping(self.stage.hosts[1].ipv4)?;
            let captured = self.captured()?;
            println!("-> {} more captured", captured - before);
            ensure!((captured == before) == (mode == "off"), "capture={mode} captured {} packets", captured - before);
            before = captured;
        }
        Ok(before)
    }

    /// Captures pings and a transfer into a new file, and shows it.
    fn record(&self, before: u64) -> Result<()> {
        say("While it is off, a TCP transfer from host1 to host2 through the bridge:");
        self.transfer(MEASURED)?;

        say("On again, into a new file. The snap length is how much of each packet is kept:");
        self.ctl("sniffer set capture=bidirectional")?;
        self.ctl("sniffer filters set snaplen=65535")?;
        self.ctl("sniffer filters show")?;
        say("Traffic to capture:");
        self.ping_all()?;
        self.transfer(CAPTURED)?;
        let expected = self.captured()? - before;

        say("The file can be read while the capture goes on:");
        let answer = self.ctl("sniffer show dump")?;
        let path = answer.trim().strip_prefix("capture dump in ").context("`show dump` names no file")?;
        let path = Path::new(path);
        let records = usize::try_from(expected)?;
        let file =
            pcap::wait_for(path, records, FILE_PATIENCE).context("the file lacks packets that the counters include")?;
        self.show(path, &file)
    }

    /// Narrows the capture down by each of the document's filters, and by an expression.
    fn filters(&self) -> Result<()> {
        say(
            "Filters run in the kernel, before anything is copied. A packet is captured if it matches all that are set:",
        );
        for field in ["src=10.10.10.10/24", "dst=10.10.10.10/24", "sport=80", "dport=80", "l4proto=tcp"] {
            self.ctl(&format!("sniffer filters set {field}"))?;
        }
        self.ctl("sniffer filters show")?;
        self.ctl("sniffer show program")?;
        self.check_filter("A ping is not TCP:", 0)?;
        self.ctl("sniffer filters del")?;
        say("Or whatever tcpdump understands:");
        self.ctl_words(&["sniffer", "set", "filter=icmp[icmptype] == icmp-echoreply and src 10.10.10.2"])?;
        self.check_filter("Of a ping from host1, that is the reply:", 1)
    }

    fn check_filter(&self, what: &str, expected: u64) -> Result<()> {
        say(what);
        let before = self.captured()?;
        self.ping(self.stage.hosts[1].ipv4)?;
        let captured = self.captured()? - before;
        println!("-> {captured} more captured");
        ensure!(captured == expected, "the filter let {captured} packets pass instead of {expected}");
        Ok(())
    }

    /// Queues packets for a client, and fetches them as it would.
    fn network_mode(&self) -> Result<()> {
        say("In network mode, packets are queued for a client, such as clients/Packetcapture_Client/client.py:");
        self.ctl("sniffer set networkmode=true")?;
        self.ctl("sniffer show dump")?;
        self.ping(self.stage.hosts[1].ipv4)?;
        self.captured()?;
        self.ctl("sniffer packet show")?;
        let path = self.stage.captures().join("waiting.pcapng");
        let words = ["sniffer", "dump", "-w", path.to_str().context("UTF-8")?, "--format", "pcapng"];
        self.ctl_words(&words)?;
        let records = pcap::read(&path)?.records.len();
        println!("-> {records} packet was queued, as pcapng");
        ensure!(records == 1, "{records} packets were queued instead of the reply");
        self.ctl("sniffer set networkmode=false")?;
        Ok(())
    }

    fn show(&self, path: &Path, file: &CaptureFile) -> Result<()> {
        self.interruption.check()?;
        let count = SHOWN.to_string();
        let tcpdump = Command::new("tcpdump").args(["-c", &count, "-nr"]).arg(path).output();
        match tcpdump {
            Ok(output) if output.status.success() => {
                println!("$ tcpdump -c {count} -nr {}", path.display());
                print!("{}", String::from_utf8_lossy(&output.stdout));
            }
            // tcpdump is missing, or may not read this directory: the packets are shown anyway.
            _ => {
                println!("Its first packets (without tcpdump, in short):");
                file.records.iter().take(SHOWN).for_each(|record| println!("{}", decode::line(record)));
            }
        }
        let bytes: u64 = file.records.iter().map(|record| u64::from(record.orig_len)).sum();
        println!("-> {} packets in the file, {:.1} MB", file.records.len(), bytes as f64 / 1e6);
        println!("Some exceed the MTU: the kernel segments them later or, between two namespaces, never.");
        Ok(())
    }

    /// Prints a command, runs it, and prints its output.
    fn ctl(&self, line: &str) -> Result<String> {
        self.interruption.check()?;
        println!("$ polycubectl {line}");
        answer(self.stage.daemon.ctl(line))
    }

    /// As [`Tour::ctl`], for words that contain spaces.
    fn ctl_words(&self, words: &[&str]) -> Result<String> {
        self.interruption.check()?;
        let quoted = words.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() });
        println!("$ polycubectl {}", quoted.collect::<Vec<_>>().join(" "));
        answer(self.stage.daemon.ctl_words(words))
    }

    /// Packets captured since `sniffer` was created, once everything sent so far is counted.
    fn captured(&self) -> Result<u64> {
        thread::sleep(SETTLE);
        let answer = self.ctl("sniffer show counters captured")?;
        answer.trim().parse().with_context(|| format!("`captured` is not a number: {answer:?}"))
    }

    fn ping_all(&self) -> Result<()> {
        let right = &self.stage.hosts[1];
        self.ping(right.ipv4)?;
        right.ipv6.map_or(Ok(()), |ipv6| self.ping(ipv6))
    }

    fn ping(&self, address: IpAddr) -> Result<()> {
        self.interruption.check()?;
        let elapsed = ping(&self.stage.hosts[0].namespace, address)?;
        println!("ping from host1 to {address}: reply after {:.3} ms", elapsed.as_secs_f64() * 1e3);
        Ok(())
    }

    fn transfer(&self, bytes: u64) -> Result<()> {
        self.interruption.check()?;
        let [left, right] = &self.stage.hosts;
        let transfer = tcp_transfer(&left.namespace, &right.namespace, right.ipv4, bytes)?;
        println!("{} MiB over TCP: {:.2} Gbit/s", bytes >> 20, transfer.bits_per_second() / 1e9);
        Ok(())
    }
}

fn answer(output: Output) -> Result<String> {
    print!("{}{}", output.stdout, output.stderr);
    ensure!(output.code == Some(0), "{output}");
    Ok(output.stdout)
}
