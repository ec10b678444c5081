//! Where the SDK's crates are.

use std::env;
use std::path::{Path, PathBuf};

/// The SDK's version is ours.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Crates of the user side and of its tests, with their directories in a clone of the repository.
const USER: [(&str, &str); 6] = [
    ("polycube-plugin-api", "plugin-api"),
    ("polycube-plugin-test", "plugin-test"),
    ("polycube-loader", "loader"),
    ("polycube-schema", "schema"),
    ("polycube-api", "api"),
    ("polycube-layout", "ebpf/layout"),
];

/// A crate that few projects need. Of one that a project does not use, cargo would warn at each build.
const FILTER: (&str, &str) = ("polycube-filter", "filter");

/// Crates of the kernel side, likewise.
const KERNEL: [(&str, &str); 2] = [("polycube-chain", "ebpf/chain"), ("polycube-layout", "ebpf/layout")];

/// A directory with the SDK's crates: an unpacked SDK, or a clone of the repository.
#[derive(Debug)]
pub(super) struct Sdk(PathBuf);

/// There is no SDK.
#[derive(Debug, thiserror::Error)]
#[error(
    "the crates of the SDK are not in {}: unpack polycube-sdk-{VERSION}.tar.gz and give its directory with --sdk=DIR",
    .looked_in.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(" or ")
)]
pub(crate) struct NoSdk {
    looked_in: Vec<PathBuf>,
}

impl Sdk {
    /// The SDK in a directory, or in one of the usual ones.
    pub(super) fn find(given: Option<&Path>) -> Result<Self, NoSdk> {
        let looked_in = given.map_or_else(usual, |directory| vec![directory.to_owned()]);
        let found = looked_in.iter().find_map(|directory| {
            let directory = directory.canonicalize().ok()?;
            USER.iter().all(|names| place(&directory, names).is_some()).then_some(directory)
        });
        found.map(Self).ok_or(NoSdk { looked_in })
    }

    /// Lines for the table `patch.crates-io` of a crate of the user side.
    pub(super) fn of_user_side(&self) -> String {
        let filter = self.lines(&[FILTER]);
        let about = format!(
            "# With `{} = \"{VERSION}\"` in Cargo.toml, for pcap expressions in the path of packets:",
            FILTER.0
        );
        format!("{}\n{about}\n# {filter}", self.lines(&USER))
    }

    /// The same for the kernel side.
    pub(super) fn of_kernel_side(&self) -> String {
        self.lines(&KERNEL)
    }

    fn lines(&self, crates: &[(&str, &str)]) -> String {
        let line = |names: &(&str, &str)| {
            let path = place(&self.0, names)?.display().to_string();
            // A TOML string escapes as JSON does.
            Some(format!("{} = {{ path = {} }}", names.0, serde_json::Value::from(path)))
        };
        crates.iter().filter_map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Where a crate is: an unpacked package, or a directory of the repository.
fn place(directory: &Path, (name, in_repository): &(&str, &str)) -> Option<PathBuf> {
    let places = [directory.join("crates").join(name), directory.join(in_repository)];
    places.into_iter().find(|place| place.join("Cargo.toml").is_file())
}

/// Beside our own program, where `./x sdk` puts it, and where packages do.
fn usual() -> Vec<PathBuf> {
    let program = env::current_exe().ok().and_then(|program| program.canonicalize().ok());
    let beside = program.as_deref().and_then(Path::parent).and_then(Path::parent);
    let built = beside.map(|beside| beside.join(format!("sdk/polycube-sdk-{VERSION}")));
    built.into_iter().chain(["/usr/share/polycube/sdk", "/usr/local/share/polycube/sdk"].map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_found_in_a_clone_and_in_an_unpacked_sdk() {
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let sdk = Sdk::find(Some(clone)).unwrap();
        assert!(sdk.of_user_side().contains("/plugin-api\" }"), "{}", sdk.of_user_side());
        assert!(sdk.of_user_side().contains("\n# polycube-filter = { path = \""), "{}", sdk.of_user_side());
        assert_eq!(sdk.of_kernel_side().lines().count(), 2);

        let unpacked = tempfile::tempdir().unwrap();
        let crates = unpacked.path().join("crates");
        std::fs::create_dir_all(&crates).unwrap();
        let error = Sdk::find(Some(unpacked.path())).unwrap_err().to_string();
        assert!(error.contains("give its directory with --sdk=DIR"), "{error}");
        for (name, _) in USER.into_iter().chain([FILTER]) {
            std::fs::create_dir(crates.join(name)).unwrap();
            std::fs::write(crates.join(name).join("Cargo.toml"), "").unwrap();
        }
        let sdk = Sdk::find(Some(unpacked.path())).unwrap();
        assert!(sdk.of_user_side().contains("/crates/polycube-plugin-api\""), "{}", sdk.of_user_side());
    }
}
