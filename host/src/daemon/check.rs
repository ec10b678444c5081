//! `polycubed check`: what a start would find wrong with files and directories, all of it at once.

use anyhow::{Result, bail, ensure};

use super::{log, plugin_dirs, tcp};
use crate::causes::in_one_line;
use crate::options::{Loaded, Options, OverIp};
use crate::plugins::load_directory;
use crate::rest::Access;

/// Checks what the options name, and says so: one line on stdout for each thing that is sound, one on stderr for each that
/// is not. Neither listens nor touches the kernel.
///
/// # Errors
/// Something is wrong.
pub(crate) fn check(loaded: &Loaded) -> Result<()> {
    let options = &loaded.options;
    let mut faults = 0;
    let mut note = |checked: Result<String>| match checked {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("polycubed: {}", in_one_line(&error));
            faults += 1;
        }
    };
    // Reading it came before this.
    note(Ok(match loaded.file.exists() {
        true => format!("{}: sound", loaded.file.display()),
        false => format!("{}: does not exist, so the defaults apply", loaded.file.display()),
    }));
    note(log::filter(&options.log).map(|_| format!("--log {}: sound", options.log)));
    note(access(options));
    let over_ip = options.pcap_over_ip.as_ref().and_then(OverIp::warning);
    for line in tcp::warnings(options).into_iter().chain(over_ip) {
        println!("warning: {line}");
    }
    plugins(options)?.into_iter().for_each(&mut note);
    ensure!(faults == 0, "{faults} {}", if faults == 1 { "fault was found" } else { "faults were found" });
    Ok(())
}

fn access(options: &Options) -> Result<String> {
    let Some(security) = tcp::security(options)? else { return Ok("TCP: not asked for".to_owned()) };
    let tls = if security.tls.is_some() { "with TLS" } else { "without TLS" };
    Ok(match &security.access {
        Access::Tokens(tokens) => format!("TCP: {tls}; {} in the token file", count(tokens.len(), "token")),
        Access::Certificate => format!("TCP: {tls}, for clients with certificates"),
        Access::Open => format!("TCP: {tls}, for everybody"),
    })
}

/// A line for each plugin, and for each directory that has none.
fn plugins(options: &Options) -> Result<Vec<Result<String>>> {
    let mut lines = Vec::new();
    for directory in plugin_dirs(options)? {
        let place = directory.display();
        match load_directory(&directory) {
            Ok(plugins) => {
                let before = lines.len();
                lines.extend(plugins.into_iter().map(|plugin| {
                    let plugin = plugin?;
                    Ok(format!("plugin {}, in {place}: sound", plugin.service.name))
                }));
                if lines.len() == before {
                    lines.push(Ok(format!("plugin directory {place}: has no libpcn_*.so")));
                }
            }
            Err(error) => lines.push(Err(anyhow::Error::from(error).context(format!("plugin directory {place}")))),
        }
    }
    if !lines.iter().any(|line| line.as_ref().is_ok_and(|line| line.starts_with("plugin ") && line.ends_with("sound")))
    {
        lines.push(no_plugins());
    }
    Ok(lines)
}

fn no_plugins() -> Result<String> {
    bail!("no plugin was found: give --plugin-dir the directory that has the libpcn_*.so files")
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
