//! Loads plugins: identity first, then the layout of the border, and only then their code.
//!
//! Code is loaded from a private copy. To write over a file whose pages are mapped is to change the code that runs, and the
//! dynamic linker looks no second time where it has been. With copies, each file that differs is code of its own, and what
//! happens to a file later makes no difference.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{RootModule as _, lib_header_from_path};
use abi_stable::std_types::{RErr, ROk, RStr};
use abi_stable::{StableAbi as _, type_layout::TypeLayout};
use polycube_plugin_api::abi::{ABI_MAJOR, Answer, CubeHandle, HostHandle, PluginRef};
use polycube_plugin_api::identity::Identity;
use polycube_plugin_api::{Direction, ServiceSchema};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::code;
use super::identity;
use super::object::{self, Definition, Described, Fault, FileError, Malformed};
use super::objects::Objects;
use crate::file_type::FileType;
use crate::sys::regular;

/// Why a file does not become a service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("there is no file `{file}` in {known}: put the plugin there first")]
    Missing { file: String, known: String },
    #[error("{file} cannot be read: {source}")]
    Unreadable { file: String, source: io::Error },
    #[error("{file} is not a polycube plugin: {why}")]
    NoPlugin { file: String, why: String },
    #[error(
        "{file}: plugin `{name}` was built for plugin ABI {theirs}, this daemon has {ours}: rebuild it with polycube-plugin-api of this release"
    )]
    Abi { file: String, name: String, theirs: u32, ours: u32 },
    #[error(
        "{file}: plugin `{name}` has another layout of plugin ABI {ABI_MAJOR}: rebuild it with polycube-plugin-api of this release"
    )]
    Layout { file: String, name: String },
    #[error("{file} cannot be loaded: {reason}")]
    Unloadable { file: String, reason: String },
    #[error("{file} cannot be copied into memory: {source}")]
    Copy { file: String, source: io::Error },
    #[error("{file}: plugin `{name}` cannot describe its service: {reason}")]
    Description { file: String, name: String, reason: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{file}:{source}")]
    Manifest { file: String, source: Malformed },
    #[error("{file}: {fault}")]
    Object { file: String, fault: Box<Fault> },
}

/// A plugin in memory.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub path: PathBuf,
    /// The manifest of an object, if it is a file of its own.
    pub(super) manifest: Option<PathBuf>,
    /// Each cube that is created takes a copy of the plugin along.
    pub service: Common<ServiceSchema>,
    /// Versions of the SDK and of the ABI that a library was built with.
    pub sdk: Option<String>,
    pub abi: Option<String>,
    /// When it was loaded, in UTC as RFC 3339 writes it.
    pub since: String,
    pub(super) code: Code,
    /// What its cubes load from.
    pub(super) objects: Arc<Objects>,
}

/// What copies share until one of them is changed.
#[derive(Clone, Debug)]
pub(crate) struct Common<T>(Arc<T>);

impl<T> Common<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for Common<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Common<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// What makes a plugin's cubes.
#[derive(Clone)]
pub(super) enum Code {
    Library(PluginRef),
    Object(Arc<Definition>),
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.service.name, self.path.display())
    }
}

/// Loads what `uri` names in one of `directories`, as a service called `name`. A library has a name of its own.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub(crate) fn load_service(
    directories: &[PathBuf],
    file_type: FileType,
    uri: &str,
    name: &str,
) -> Result<Plugin, LoadError> {
    match file_type {
        FileType::Lib => load(&find(directories, uri)?),
        FileType::Object => {
            let Described { path, manifest, service, definition } = object::read(directories, uri, name)?;
            let (service, code, objects) = (Common::new(service), Code::Object(definition), Arc::default());
            Ok(Plugin { path, manifest, service, sdk: None, abi: None, since: now(), code, objects })
        }
    }
}

/// Loads the plugin at `path`. Its code stays in memory until the daemon ends.
///
/// # Errors
/// What is wrong with it, and what to rebuild.
fn load(path: &Path) -> Result<Plugin, LoadError> {
    let (file, began) = (path.display().to_string(), Instant::now());
    let opened = regular::open(path).map_err(|source| LoadError::Unreadable { file: file.clone(), source })?;
    let identity = identity::of(&file, &opened)?;
    let name = identity.name().to_owned();
    let copy = code::copy(path, opened).map_err(|source| LoadError::Copy { file: file.clone(), source })?;
    let copied = began.elapsed();
    let unloadable = |reason: String| {
        let reason = reason.lines().next().unwrap_or("no reason given").replace(&copy.display().to_string(), &file);
        LoadError::Unloadable { file: file.clone(), reason }
    };
    let header = lib_header_from_path(&copy).map_err(|error| unloadable(error.to_string()))?;
    let theirs = header.layout().ok_or_else(|| LoadError::Layout { file: file.clone(), name: name.clone() })?;
    if !fits(PluginRef::LAYOUT, theirs) {
        return Err(LoadError::Layout { file, name });
    }
    let linked = began.elapsed();
    // SAFETY: the layouts of `PluginRef` here and there were found compatible a line above.
    let root = unsafe { header.unchecked_layout::<PluginRef>() }.map_err(|error| unloadable(error.to_string()))?;
    let description = |reason| LoadError::Description { file: file.clone(), name: name.clone(), reason };
    let service = match (root.describe())() {
        ROk(text) => serde_json::from_str(&text).map_err(|error| description(error.to_string()))?,
        RErr(text) => return Err(description(text.into())),
    };
    tracing::debug!(file, ?copied, ?linked, described = ?began.elapsed(), "loaded a plugin, with the time since it began");
    Ok(Plugin::new(path, service, &identity, root))
}

impl Plugin {
    fn new(path: &Path, service: ServiceSchema, identity: &Identity, root: PluginRef) -> Self {
        let abi = format!("{}.{}", identity.abi_major, identity.abi_minor);
        let (sdk, abi) = (Some(identity.sdk().to_owned()), Some(abi));
        let (path, service) = (path.to_owned(), Common::new(service));
        let (code, objects) = (Code::Library(root), Arc::default());
        Self { path, manifest: None, service, sdk, abi, since: now(), code, objects }
    }

    /// The file that says what the service is.
    pub(crate) fn described_in(&self) -> &Path {
        self.manifest.as_deref().unwrap_or(&self.path)
    }

    pub(crate) fn file_type(&self) -> FileType {
        match self.code {
            Code::Library(_) => FileType::Lib,
            Code::Object(_) => FileType::Object,
        }
    }

    /// Whether cubes can have programs for a direction. What a library describes is known for a cube only.
    pub(crate) fn stands(&self, direction: Direction) -> bool {
        match &self.code {
            Code::Library(_) => true,
            Code::Object(definition) => definition.stands(direction),
        }
    }

    /// Makes the plugin's side of a cube.
    pub(super) fn create(&self, info: &str, host: HostHandle) -> Answer<CubeHandle> {
        match &self.code {
            Code::Library(root) => (root.create())(RStr::from(info), host),
            Code::Object(definition) => object::create(definition, info, host),
        }
    }
}

/// The time, in UTC as RFC 3339 writes it.
fn now() -> String {
    let mut now = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    now
}

/// Whether a plugin's border fits ours: an older one has fewer methods than ours and a newer one has more, so one of
/// the two has to be a prefix of the other.
fn fits(ours: &'static TypeLayout, theirs: &'static TypeLayout) -> bool {
    check_layout_compatibility(ours, theirs).is_ok() || check_layout_compatibility(theirs, ours).is_ok()
}

/// The file that `uri` names, in one of `directories`. Those who can write there own the daemon; those who can only send
/// it requests cannot name a file elsewhere.
///
/// # Errors
/// There is no such file, or it is elsewhere.
fn find(directories: &[PathBuf], uri: &str) -> Result<PathBuf, LoadError> {
    for directory in directories {
        let path = directory.join(uri);
        let is_inside = path.parent().and_then(|parent| parent.canonicalize().ok()) == directory.canonicalize().ok();
        if is_inside && path.is_file() {
            return Ok(path);
        }
    }
    let known = directories.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(" or ");
    Err(LoadError::Missing { file: uri.to_owned(), known })
}

/// Loads every `libpcn_*.so` of a directory, in the order of their names.
///
/// # Errors
/// The directory cannot be read. A file that does not load stands in the list with its reason.
pub(crate) fn load_directory(directory: &Path) -> io::Result<Vec<Result<Plugin, LoadError>>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(&format!("lib{}_", PluginRef::BASE_NAME)) && name.ends_with(".so") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files.iter().map(|path| load(path)).collect())
}

#[cfg(test)]
// What `StableAbi` derives leaves casts undocumented, and nobody calls these borders.
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod tests {
    use abi_stable::std_types::RString;

    use super::*;

    /// A border as it was.
    mod older {
        use super::*;

        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = BorderRef)))]
        #[sabi(missing_field(panic))]
        pub(super) struct Border {
            #[sabi(last_prefix_field)]
            pub(super) describe: extern "C" fn() -> RString,
        }
    }

    /// The same, grown by a function.
    mod newer {
        use super::*;

        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = BorderRef)))]
        #[sabi(missing_field(panic))]
        pub(super) struct Border {
            #[sabi(last_prefix_field)]
            pub(super) describe: extern "C" fn() -> RString,
            pub(super) explain: extern "C" fn(u32) -> RString,
        }
    }

    /// The same, with another answer.
    mod other {
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = BorderRef)))]
        #[sabi(missing_field(panic))]
        pub(super) struct Border {
            #[sabi(last_prefix_field)]
            pub(super) describe: extern "C" fn() -> u64,
        }
    }

    #[test]
    fn a_border_may_have_grown_on_either_side_and_not_changed() {
        let (older, newer, other) = (older::BorderRef::LAYOUT, newer::BorderRef::LAYOUT, other::BorderRef::LAYOUT);
        assert!(fits(older, older) && fits(older, newer) && fits(newer, older));
        assert!(!fits(older, other) && !fits(other, older) && !fits(newer, other));
        assert!(
            !fits(PluginRef::LAYOUT, older) && !fits(PluginRef::LAYOUT, <RString as abi_stable::StableAbi>::LAYOUT)
        );
        assert!(fits(PluginRef::LAYOUT, PluginRef::LAYOUT));
    }
}
