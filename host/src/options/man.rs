//! The manual pages of the daemon and of its file, made from the flags: goldens, so that the daemon need not bring them.

use std::fmt::Write as _;
use std::path::Path;

use clap::{ArgAction, CommandFactory as _};

use super::{Options, file};

fn check(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == golden, "packaging/man/{name} differs: UPDATE_GOLDENS=1 cargo test -p polycubed rewrites it");
}

/// Text that roff takes as it is (groff_char(7)).
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

/// The daemon's command without what only debug builds have, so that all builds have the same page.
fn command() -> clap::Command {
    Options::command().mut_args(|arg| if arg.get_id() == "fault" { arg.hide(true) } else { arg })
}

#[test]
fn the_daemon_has_a_manual_page() {
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).section("8").render(&mut page).unwrap();
    let mut page = String::from_utf8(page).unwrap();
    page.push_str(
        ".SH FILES\n.TP\n/etc/polycube/polycubed.toml\nconfiguration: \\fBpolycubed.toml\\fR(5)\n\
         .TP\n/etc/polycube/conf.d\nconfigurations that are applied at start\n\
         .TP\n/run/polycube/polycubed.sock\nwhere polycubectl reaches the daemon\n\
         .TP\n/var/lib/polycube\nwhat users have set up, and with the service their captures\n\
         .SH \"EXIT STATUS\"\n0 after an end that was asked for, 1 after a failure, 64 for a wrong command line, 78 for a \
         wrong configuration file.\n\
         .SH \"SEE ALSO\"\n\\fBpolycubectl\\fR(1), \\fBpolycubed.toml\\fR(5), \\fBpolycube\\-plugin\\fR(7), \
         \\fBpcap\\-filter\\fR(7)\n",
    );
    check("polycubed.8", &page);
}

#[test]
fn the_configuration_file_has_a_manual_page_with_each_key() {
    let command = command();
    let mut page = format!(".TH polycubed.toml 5 \"\" \"polycubed {}\"\n", env!("CARGO_PKG_VERSION"));
    page.push_str(
        ".SH NAME\npolycubed.toml \\- configuration of polycubed\n.SH DESCRIPTION\n\
         The file is in TOML. Each key is a flag of \\fBpolycubed\\fR(8), and means the same. Flags that are given win over \
         the file. \\fBpolycubed check\\fR checks the file, and after a change \\fBsystemctl reload polycubed\\fR reads it \
         again.\n.SH KEYS\n",
    );
    for arg in file::keys(&command).filter(|arg| !arg.is_hide_set()) {
        let kind = match arg.get_action() {
            ArgAction::SetTrue => "true or false",
            ArgAction::Append => "array of strings",
            _ if arg.get_long() == Some("port") => "number",
            _ if ["capture-memory", "capture-floor"].contains(&arg.get_long().unwrap()) => {
                "number, or string with a unit"
            }
            _ => "string",
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults = arg.get_default_values().iter().map(|value| value.display().to_string()).collect::<Vec<_>>();
        let default = if kind == "true or false" || defaults.is_empty() {
            String::new()
        } else {
            format!(" [default: {}]", defaults.join(", "))
        };
        let values = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>();
        let values = if kind == "string" && !values.is_empty() {
            format!(" [possible values: {}]", values.join(", "))
        } else {
            String::new()
        };
        let text = escape(&format!("{help}{default}{values}"));
        let _ = writeln!(page, ".TP\n\\fB{}\\fR ({kind})\n{text}", escape(arg.get_long().unwrap()));
    }
    page.push_str(
        ".SH EXAMPLE\n.nf\nport = 9000\naddr = \"192.0.2.1\"\ncert = \"/etc/polycube/daemon.pem\"\n\
         key = \"/etc/polycube/daemon.key\"\ntoken\\-file = \"/etc/polycube/tokens.toml\"\n\
         plugin\\-dir = [\"/usr/lib/polycube/plugins\", \"/opt/ours\"]\n.fi\n\
         .SH \"SEE ALSO\"\n\\fBpolycubed\\fR(8), \\fBpolycubectl\\fR(1)\n",
    );
    check("polycubed.toml.5", &page);
}
