//! `--install` and `--uninstall`: a link to this program in the folder in which Wireshark looks for such programs.
//!
//! Up to 4.0, Wireshark reads one folder for all users; since 4.2, it reads one of the user's own, too. `tshark -G folders`
//! says where they are. Where only the window or `dumpcap` is installed, the version says what there is.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The link's name, whatever the program is called.
const NAME: &str = "polycube-extcap";
/// The first version that reads a folder of the user's own.
const OWN_FOLDER_SINCE: (u32, u32) = (4, 2);
/// The user's folder, below the home directory (`get_extcap_pers_dir` in wsutil/filesystem.c).
const OWN_FOLDER: &str = ".local/lib/wireshark/extcap";
/// Where distributions put Wireshark's programs for all users.
const PREFIXES: [&str; 5] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/libexec"];

/// Why the link was neither made nor removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("neither tshark nor dumpcap is installed, so it is not known where Wireshark looks: install one of them")]
    NoWireshark,
    #[error("{version} reads no folder of your own: give --system, as root, for {}", folder.display())]
    NoOwnFolder { version: String, folder: PathBuf },
    #[error("{version} has no folder for all users in any of the usual places: install tshark, which knows it")]
    NoSystemFolder { version: String },
    #[error("{} is not a link that --install has made: remove it first", path.display())]
    NotLink { path: PathBuf },
    #[error("cannot change {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Whose Wireshark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Whose {
    Own,
    System,
}

/// Links this program into Wireshark's folder; returns what to say.
///
/// # Errors
/// There is no such folder, or it cannot be written.
pub(crate) fn install(whose: Whose) -> Result<String, InstallError> {
    let link = Wireshark::find()?.folder(whose)?.join(NAME);
    let fails = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Io { path, source }
    };
    let program = env::current_exe().map_err(fails(&link))?;
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder).map_err(fails(folder))?;
    }
    remove(&link)?;
    symlink(&program, &link).map_err(fails(&link))?;
    let (link, program) = (link.display(), program.display());
    Ok(format!("{link} is a link to {program} now: Wireshark lists captures when it looks for interfaces again (F5)\n"))
}

/// Removes that link; returns what to say.
///
/// # Errors
/// There is no such folder, or it cannot be written.
pub(crate) fn uninstall(whose: Whose) -> Result<String, InstallError> {
    let link = Wireshark::find()?.folder(whose)?.join(NAME);
    let was_there = remove(&link)?;
    let link = link.display();
    Ok(if was_there { format!("{link} is removed\n") } else { format!("{link} was not there\n") })
}

/// Removes a link, if it is there. What another hand has put there stays.
fn remove(path: &Path) -> Result<bool, InstallError> {
    let fails = |source| InstallError::Io { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fails(error)),
        Ok(found) if !found.is_symlink() => Err(InstallError::NotLink { path: path.to_owned() }),
        Ok(_) => fs::remove_file(path).map(|()| true).map_err(fails),
    }
}

/// The Wireshark that is installed, and the folders that it reads.
#[derive(Debug, PartialEq)]
struct Wireshark {
    /// Such as `Wireshark 4.0.17`.
    version: String,
    own: Option<PathBuf>,
    system: Option<PathBuf>,
}

impl Wireshark {
    fn find() -> Result<Self, InstallError> {
        let version = said("tshark", &["-v"]).or_else(|| said("dumpcap", &["-v"]));
        let version = version.as_deref().and_then(version_of).ok_or(InstallError::NoWireshark)?;
        let found = said("tshark", &["-G", "folders"]).map(|text| Self::of_folders(&version, &text));
        Ok(found.filter(|found| found.system.is_some()).unwrap_or_else(|| Self::of_version(&version)))
    }

    /// Reads what `tshark -G folders` prints: a line for each, `Personal Extcap path:` or, up to 4.0, `Extcap path:`.
    fn of_folders((name, _): &(String, (u32, u32)), text: &str) -> Self {
        let paths = text.lines().filter_map(|line| line.split_once(':'));
        let paths = paths.map(|(label, path)| (label.trim().to_ascii_lowercase(), path.trim()));
        let mut found = Self { version: name.clone(), own: None, system: None };
        for (label, path) in paths.filter(|(label, path)| label.ends_with("extcap path") && !path.is_empty()) {
            let folder = if label.starts_with("personal") { &mut found.own } else { &mut found.system };
            folder.get_or_insert_with(|| path.into());
        }
        found
    }

    fn of_version((name, version): &(String, (u32, u32))) -> Self {
        let home = env::home_dir().filter(|_| *version >= OWN_FOLDER_SINCE);
        let mut places = PREFIXES.iter().map(|prefix| Path::new(prefix).join("wireshark"));
        Self {
            version: name.clone(),
            own: home.map(|home| home.join(OWN_FOLDER)),
            system: places.find(|place| place.is_dir()).map(|place| place.join("extcap")),
        }
    }

    fn folder(self, whose: Whose) -> Result<PathBuf, InstallError> {
        let Self { version, own, system } = self;
        match (whose, own, system) {
            (Whose::Own, Some(folder), _) | (Whose::System, _, Some(folder)) => Ok(folder),
            (Whose::Own, None, Some(folder)) => Err(InstallError::NoOwnFolder { version, folder }),
            (_, _, None) => Err(InstallError::NoSystemFolder { version }),
        }
    }
}

/// What a program prints, if it is there.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// The version in `TShark (Wireshark) 4.0.17 (Git v4.0.17 …).`
fn version_of(text: &str) -> Option<(String, (u32, u32))> {
    let (_, rest) = text.lines().next()?.split_once("(Wireshark) ")?;
    let version = rest.split([' ', '.']).take(2).map(str::parse).collect::<Result<Vec<u32>, _>>().ok()?;
    let [major, minor] = version[..] else { return None };
    let shown = rest.split_whitespace().next()?.trim_end_matches('.');
    Some((format!("Wireshark {shown}"), (major, minor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_which_folders_there_are() {
        let old = version_of("TShark (Wireshark) 4.0.17 (Git v4.0.17 packaged as 4.0.17-0+deb12u3).\n").unwrap();
        assert_eq!(old, ("Wireshark 4.0.17".to_owned(), (4, 0)));
        let new = version_of("Dumpcap (Wireshark) 4.4.2.\n\nCopyright 1998").unwrap();
        assert_eq!(new, ("Wireshark 4.4.2".to_owned(), (4, 4)));
        assert_eq!(version_of("tshark 4"), None);
        assert_eq!(Wireshark::of_version(&old).own, None);
        assert!(Wireshark::of_version(&new).own.is_none_or(|folder| folder.ends_with(OWN_FOLDER)));
    }

    #[test]
    fn folders_are_those_that_tshark_names() {
        let version = ("Wireshark 4.4.2".to_owned(), (4, 4));
        let text = "Global Plugins:\t/p\nPersonal Extcap path: \t/h/extcap\nGlobal Extcap path:  \t/g/extcap\n";
        let found = Wireshark::of_folders(&version, text);
        assert_eq!(
            (found.own.as_deref(), found.system.as_deref()),
            (Some("/h/extcap".as_ref()), Some("/g/extcap".as_ref()))
        );
        let one = || Wireshark::of_folders(&version, "Extcap path:         \t/g/extcap\n");
        assert_eq!(one().folder(Whose::System).unwrap(), Path::new("/g/extcap"));
        let refused = one().folder(Whose::Own).unwrap_err().to_string();
        assert_eq!(refused, "Wireshark 4.4.2 reads no folder of your own: give --system, as root, for /g/extcap");
    }
}
