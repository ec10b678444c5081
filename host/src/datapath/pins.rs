//! The daemon's own directory in the bpf filesystem.
//!
//! ```text
//! netdevs/3-ingress-DIGEST/{program,next,rodata,link}
//! netdevs/3-clsact/
//! cubes/sniffer/0-ingress-0-7-DIGEST/{program,next,accept,jumps-MAP}
//! cubes/sniffer/maps/RINGS-3+GENERATION+UUID+ID
//! shared/{resume,key}
//! ```
//!
//! A program's directory ends with the digest of what it was made of: a daemon that starts takes over what it would load
//! itself (`found`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use polycube_layout::chain::{ACCEPT, NEXT};
use polycube_plugin_api::Direction;

use super::DatapathError;
use super::object::Loaded;
use crate::sys::bpf;
use crate::wiring::{Hook, MapId, NodeId, NodeKey};

/// What a daemon makes in its directory.
const OWN: [&str; 3] = [CUBES, ROOTS, SHARED];

/// Where the cubes' programs and maps are.
pub(super) const CUBES: &str = "cubes";

/// Where the roots are.
pub(super) const ROOTS: &str = "netdevs";

/// Where the maps are that all roots share.
pub(super) const SHARED: &str = "shared";

/// The directory of a cube's maps, beside those of its programs.
pub(super) const MAPS: &str = "maps";

/// What stands in the directory of a program.
pub(super) const PROGRAM: &str = "program";
pub(super) const LINK: &str = "link";
pub(super) const RODATA: &str = "rodata";
const PARTS: [&str; 5] = [PROGRAM, NEXT, ACCEPT, RODATA, LINK];

/// What the name of a map of programs begins with there.
const JUMPS: &str = "jumps-";

/// Where pins are kept.
pub(crate) struct Pins {
    directory: PathBuf,
    /// Locked while the daemon lives.
    _lock: File,
}

impl Pins {
    /// Takes `directory` over, with what an earlier daemon left in it.
    ///
    /// # Errors
    /// The directory cannot be made, a daemon that runs uses it, or there is something in it that no daemon made.
    pub(crate) fn take(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let lock = File::open(directory)?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(io::Error::other("another polycubed pins there: stop it, or give --bpffs another directory"));
        }
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if OWN.iter().all(|own| !path.ends_with(own)) {
                let message = format!(
                    "{} is in it, which is not polycubed's: give --bpffs a directory that nobody else uses",
                    path.display()
                );
                return Err(io::Error::other(message));
            }
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, pin: &Path) -> PathBuf {
        self.directory.join(pin)
    }

    pub(crate) fn pin(&self, object: BorrowedFd<'_>, pin: &Path) -> Result<(), DatapathError> {
        let path = self.path(pin);
        let parent = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        parent
            .and_then(|()| bpf::pin(object, &path))
            .map_err(|source| DatapathError::Pin { path: path.display().to_string(), source })
    }

    /// Pins a program with its slots, or nothing. `next` comes last: without it, a daemon that starts takes the program for
    /// half made.
    pub(super) fn pin_program(&self, directory: &Path, loaded: &Loaded) -> Result<(), DatapathError> {
        let parts = [
            (PROGRAM, Some(&loaded.program)),
            (ACCEPT, loaded.accept.as_ref()),
            (RODATA, loaded.rodata.as_ref()),
            (NEXT, Some(&loaded.next)),
        ];
        for (table, map) in &loaded.jumps {
            self.pin(map.as_fd(), &directory.join(jumps(table))).inspect_err(|_| self.unpin(directory))?;
        }
        for (name, part) in parts {
            let Some(part) = part else { continue };
            self.pin(part.as_fd(), &directory.join(name)).inspect_err(|_| self.unpin(directory))?;
        }
        Ok(())
    }

    /// Removes a pin or a program's directory, and the directories that this leaves empty. Takes no descriptor, so that
    /// a change that failed for want of one can be undone.
    pub(crate) fn unpin(&self, pin: &Path) {
        let path = self.path(pin);
        let removed = if path.is_dir() { remove_program(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(pin = %path.display(), %error, "cannot unpin");
        }
        let mut parents = path.ancestors().skip(1).take_while(|parent| *parent != self.directory);
        while parents.next().is_some_and(|parent| std::fs::remove_dir(parent).is_ok()) {}
    }
}

/// The name of a map through which a program jumps, in the program's directory.
pub(super) fn jumps(map: &str) -> String {
    format!("{JUMPS}{}", escape(map))
}

/// The pins of those maps in a program's directory, each with the map's name.
pub(super) fn jumps_in(directory: &Path) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let pin = entry?.file_name().to_string_lossy().into_owned();
        if let Some(map) = pin.strip_prefix(JUMPS).and_then(unescape) {
            found.push((pin, map));
        }
    }
    Ok(found)
}

fn remove_program(directory: &Path) -> io::Result<()> {
    let jumps = jumps_in(directory)?;
    for pin in PARTS.into_iter().chain(jumps.iter().map(|(pin, _)| pin.as_str())) {
        match std::fs::remove_file(directory.join(pin)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_dir(directory)
}

pub(super) fn map(id: &MapId, generation: u64, owner: &str, kernel_id: u32) -> PathBuf {
    let name = format!("{}-{}+{generation}+{}+{kernel_id}", escape(&id.name), id.revision, escape(owner));
    [CUBES, &escape(id.cube.as_str()), MAPS, &name].iter().collect()
}

/// What the name of a map's pin says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapPin {
    /// As pins have it.
    pub name: String,
    pub revision: u64,
    /// The generation of the contents, and the UUID of the cube; daemons up to version 0.1.0 did not say.
    pub contents: Option<(u64, String)>,
    /// The kernel's id of the map, by which another map in its place is known; some daemons of version 0.1.0 did not say.
    pub kernel_id: Option<u32>,
}

impl MapPin {
    pub(super) fn parse(pin: &str) -> Option<Self> {
        let mut parts = pin.split('+');
        let (name, revision) = parts.next()?.rsplit_once('-')?;
        let contents = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some(generation), Some(owner)) => Some((generation.parse().ok()?, owner.to_owned())),
            _ => return None,
        };
        let kernel_id = parts.next().map(str::parse).transpose().ok()?;
        let is_all = parts.next().is_none();
        is_all.then_some(Self { name: name.to_owned(), revision: revision.parse().ok()?, contents, kernel_id })
    }

    /// Whether the map of this id contains what a cube would make of it that has this UUID.
    pub(super) fn is_of(&self, generation: u64, owner: &str, kernel_id: u32) -> bool {
        if self.kernel_id.is_some_and(|own| own != kernel_id) {
            return false;
        }
        match &self.contents {
            Some((its, cube)) => *its == generation && *cube == escape(owner),
            // Only plugins that tell no generations apart have never changed what it contains.
            None => generation == 0,
        }
    }
}

pub(super) fn node(id: &NodeId, digest: &str) -> PathBuf {
    let NodeKey { cube, point, direction, stage } = &id.key;
    let node = format!("{point}-{}-{stage}-{}-{digest}", word(*direction), id.revision);
    [CUBES, &escape(cube.as_str()), &node].iter().collect()
}

/// By ifindex: a netdev's name may change.
pub(super) fn root(hook: &Hook, digest: &str) -> PathBuf {
    [ROOTS, &format!("{}-{}-{digest}", hook.netdev.ifindex, word(hook.direction))].iter().collect()
}

/// How a direction is called in the names of pins.
pub(super) fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// bpffs takes no dots in names (`bpf_lookup()` in kernel/bpf/inode.c).
pub(super) fn escape(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => (byte as char).to_string(),
            other => format!("%{other:02x}"),
        })
        .collect()
}

/// What [`escape`] made of a name, back.
fn unescape(pin: &str) -> Option<String> {
    let mut parts = pin.split('%');
    let mut name = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        name.push(u8::from_str_radix(digits, 16).ok()?);
        name.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use polycube_plugin_api::Direction;

    use super::{MapPin, Pins, escape, map, node, root};
    use crate::topology::CubeName;
    use crate::wiring::{Hook, MapId, Netdev, NodeId, NodeKey};

    fn node_of(cube: &str, point: u32, direction: Direction, stage: u32, revision: u64) -> PathBuf {
        let cube = CubeName::parse(cube).unwrap();
        node(&NodeId { key: NodeKey { cube, point, direction, stage }, revision }, "5eed")
    }

    fn map_of(cube: &str, name: &str, revision: u64) -> PathBuf {
        map(&MapId { cube: CubeName::parse(cube).unwrap(), name: name.to_owned(), revision }, 5, "0a-7c", 91)
    }

    fn root_of(ifindex: u32, name: &str, direction: Direction) -> PathBuf {
        root(&Hook { netdev: Netdev { ifindex, name: name.to_owned() }, direction }, "5eed")
    }

    #[test]
    fn each_pin_has_a_place_of_its_own() {
        let (ingress, egress) = (Direction::Ingress, Direction::Egress);
        let pins = [
            (node_of("sniffer", 0, ingress, 0, 7), "cubes/sniffer/0-ingress-0-7-5eed"),
            (node_of("sniffer", 0, egress, 0, 7), "cubes/sniffer/0-egress-0-7-5eed"),
            (node_of("sniffer", 12, egress, 1, 8), "cubes/sniffer/12-egress-1-8-5eed"),
            (node_of("a.b", 0, ingress, 0, 1), "cubes/a%2eb/0-ingress-0-1-5eed"),
            (map_of("sniffer", "RINGS", 3), "cubes/sniffer/maps/RINGS-3+5+0a-7c+91"),
            (map_of("sniffer", ".data", 3), "cubes/sniffer/maps/%2edata-3+5+0a-7c+91"),
            (map_of("sniffer", "a/b", 3), "cubes/sniffer/maps/a%2fb-3+5+0a-7c+91"),
            (root_of(3, "eth0", ingress), "netdevs/3-ingress-5eed"),
            (root_of(3, "renamed", egress), "netdevs/3-egress-5eed"),
        ];
        for (path, expected) in &pins {
            assert_eq!(path, Path::new(expected));
        }
        assert_eq!(pins.iter().map(|(path, _)| path).collect::<BTreeSet<_>>().len(), pins.len());
    }

    #[test]
    fn a_map_is_of_one_generation_and_one_cube() {
        let pin = |text: &str| MapPin::parse(text).unwrap();
        let path = map_of("sniffer", "a-b", 3);
        let new = pin(path.file_name().unwrap().to_str().unwrap());
        assert_eq!((new.name.as_str(), new.revision), ("a-b", 3));
        assert!(new.is_of(5, "0a-7c", 91));
        assert!(!new.is_of(6, "0a-7c", 91) && !new.is_of(5, "0a-7d", 91) && !new.is_of(5, "0a-7c", 92));
        let before = pin("a-b-3+5+0a-7c");
        assert!(before.is_of(5, "0a-7c", 92) && !before.is_of(6, "0a-7c", 92));
        let old = pin("a-b-3");
        assert_eq!((old.name.as_str(), old.revision, &old.contents), ("a-b", 3, &None));
        assert!(old.is_of(0, "0a-7c", 7) && !old.is_of(5, "0a-7c", 7));
        for strange in ["a", "a-", "a-3+5", "a-3+x+u", "a-3+5+u+v", "a-3+5+u+9+9", "+5+u"] {
            assert_eq!(MapPin::parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn different_names_are_never_one_pin() {
        let names = ["a.b", "a%2eb", "a%b", "a b", "a_b", "a-b", "a/b", "ä", "%", "%25", "..", "."];
        let escaped: BTreeSet<String> = names.iter().map(|name| escape(name)).collect();
        assert_eq!(escaped.len(), names.len(), "{escaped:?}");
        assert!(names.iter().all(|name| super::unescape(&escape(name)).as_deref() == Some(*name)), "{escaped:?}");
        assert!(escaped.iter().all(|name| !name.contains(['.', '/', ' ']) && name.is_ascii()), "{escaped:?}");
    }

    /// Makes a directory of pins with these files in it.
    fn with_files(files: &[PathBuf]) -> (tempfile::TempDir, Pins) {
        let directory = tempfile::tempdir().unwrap();
        let pins = Pins::take(directory.path()).unwrap();
        for file in files {
            std::fs::create_dir_all(pins.path(file).parent().unwrap()).unwrap();
            std::fs::write(pins.path(file), "").unwrap();
        }
        (directory, pins)
    }

    #[test]
    fn what_is_unpinned_leaves_no_empty_directory_and_everything_else() {
        let node = node_of("sniffer", 0, Direction::Ingress, 0, 7);
        let other = node_of("sniffer", 0, Direction::Egress, 0, 8);
        let map = map_of("sniffer", "RINGS", 3);
        let jumps = node.join(super::jumps("a.b"));
        let files =
            [node.join("program"), node.join("next"), node.join("accept"), jumps, other.join("program"), map.clone()];
        let (directory, pins) = with_files(&files);
        let there = |pin: &Path| pins.path(pin).exists();
        pins.unpin(&node);
        assert!(!there(&node) && there(&other.join("program")) && there(&map));
        pins.unpin(&map);
        assert!(!there(map.parent().unwrap()) && there(&other.join("program")));
        pins.unpin(&other);
        assert!(!there(Path::new("cubes")));
        assert!(directory.path().is_dir(), "the directory itself stays while the daemon lives");
        pins.unpin(&other);
        assert!(directory.path().is_dir(), "what is absent is unpinned already");
    }

    #[test]
    fn a_file_that_the_daemon_did_not_make_keeps_its_directory() {
        let root = root_of(3, "eth0", Direction::Ingress);
        let (_directory, pins) = with_files(&[root.join("program"), root.join("link"), root.join("theirs")]);
        pins.unpin(&root);
        assert!(pins.path(&root).join("theirs").exists() && !pins.path(&root).join("program").exists());
    }

    #[test]
    fn two_daemons_do_not_pin_in_one_directory() {
        let (directory, first) = with_files(&[PathBuf::from("cubes/a/maps/m-1")]);
        let message = Pins::take(directory.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("another polycubed"), "{message}");
        assert!(first.path(Path::new("cubes/a/maps/m-1")).exists(), "the pins of the first stay");
        drop(first);
        assert!(Pins::take(directory.path()).is_ok());
    }

    #[test]
    fn pins_have_no_dots() {
        assert_eq!(escape("eth0.5"), "eth0%2e5");
        assert_eq!(escape("br_1-a"), "br_1-a");
    }

    #[test]
    fn what_others_pinned_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("polycubed-pins-{}", std::process::id()));
        let pin = |name: &str| {
            std::fs::create_dir_all(directory.join(name)).unwrap();
            std::fs::write(directory.join(name).join("program"), "").unwrap();
        };
        pin("cubes");
        pin("others");
        let message = Pins::take(&directory).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("others is in it"), "{message}");
        assert!(directory.join("others/program").exists() && directory.join("cubes/program").exists());
        std::fs::remove_dir_all(directory.join("others")).unwrap();
        assert!(Pins::take(&directory).is_ok());
        assert!(directory.join("cubes/program").exists(), "what an earlier daemon left is taken over");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
