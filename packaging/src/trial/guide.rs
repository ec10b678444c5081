//! The quick start of the documentation, as a script.

use anyhow::{Context as _, Result, ensure};

/// How long commands run that a reader ends with Ctrl-C.
const PATIENCE: &str = "timeout --signal=INT 2";

/// Commands that a reader types for a daemon of their own, which here is the service.
const OWN_DAEMON: [&str; 4] = ["sudo -s", "export PATH=", "polycubed --ephemeral", "kill %1"];

/// The heading that follows it.
const AFTERWARDS: &str = "\n## From another machine\n";

#[derive(Debug, PartialEq)]
pub(super) struct Guide {
    pub(super) use_it: String,
    /// The last block of commands.
    pub(super) remove_it: String,
}

pub(super) fn read(text: &str) -> Result<Guide> {
    let (_, section) = text.split_once("# Quick start\n").context("there is no quick start")?;
    let (section, _) = section.split_once(AFTERWARDS).context("the quick start has no end")?;
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split_once("\n```"));
    let mut scripts: Vec<String> =
        blocks.map(|(block, _)| block.lines().filter_map(line).collect::<Vec<_>>().join("\n")).collect();
    scripts.retain(|script| !script.trim().is_empty());
    let remove_it = scripts.pop().context("the quick start has no commands")?;
    let use_it = scripts.join("\n");
    for (script, command) in [(&use_it, "polycubectl attach sniffer"), (&remove_it, "polycubectl del br1")] {
        ensure!(script.contains(command), "the quick start has no `{command}` where it is looked for");
    }
    Ok(Guide { use_it, remove_it })
}

fn line(line: &str) -> Option<String> {
    if OWN_DAEMON.iter().any(|command| line.starts_with(command)) {
        return None;
    }
    // 124 is what timeout ends with, 130 what a program does after Ctrl-C.
    let until = |command: &str| format!("{PATIENCE} {command} || case $? in 124 | 130) ;; *) false ;; esac");
    Some(if line.contains("until Ctrl-C") {
        until(line.split('#').next().unwrap_or_default().trim())
    } else {
        line.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_kept_but_for_those_of_a_daemon_of_ones_own() {
        let text = "# A\n```sh\nrm -r /\n```\n## Quick start\n```sh\nsudo -s\n\nip netns add a\n```\n```sh\npolycubed --ephemeral \
                    &\n```\n```sh\npolycubectl attach sniffer x\npolycubectl watch  # until Ctrl-C; or so\n```\n```sh\n\
                    polycubectl del br1\nkill %1\n```\n## From another machine\n```sh\nb\n```\n";
        let guide = read(text).unwrap();
        assert_eq!(
            guide.use_it,
            "\nip netns add a\npolycubectl attach sniffer x\ntimeout --signal=INT 2 polycubectl watch || case $? in 124 | 130) \
             ;; *) false ;; esac"
        );
        assert_eq!(guide.remove_it, "polycubectl del br1");
        for wrong in ["# no section\n", "# Quick start\n", "# Quick start\n```sh\nls\n```\n\n## From another machine\n"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
