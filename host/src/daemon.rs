//! Starts everything in order, waits for a signal, and stops everything in the reverse order.

mod check;
mod check_plugin;
mod log;
mod private;
mod reload;
mod service;
mod tcp;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) use self::check::check;
pub(crate) use self::check_plugin::check_plugin;
use self::reload::Reload;
use self::service::Manager;
use self::tcp::Tcp;

use crate::conf_dir;
use crate::containers::Containers;
use crate::datapath::{AttachMode, Datapath, Pins, Rank};
use crate::engine::{self, Handle, Kept, Parts, Pulse};
use crate::file_type::FileType;
use crate::lock;
use crate::options::{Loaded, Options, OverIp};
use crate::plugins::{CaptureDirs, Plugin, load_directory, load_service};
use crate::reconcile::Live;
use crate::registry::{Missing, Registry, Service};
use crate::rest::{Api, Statistics, UnixSocket, serve_tcp, serve_unix};
use crate::store::{Contents, Store};
use crate::sys::capabilities;
use crate::sys::netlink::{self, Netlink};
use crate::sys::process;

/// How long calls of plugins may take when the daemon ends.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// How long connections may take to end, before their cubes have gone and again after it.
const CONNECTIONS: Duration = Duration::from_secs(1);

/// Where plugins are installed, below a prefix.
const PLUGINS: &str = "lib/polycube/plugins";

/// Runs the daemon until SIGINT or SIGTERM.
///
/// # Errors
/// Why it cannot start.
pub(crate) fn run(words: &[OsString], mut loaded: Loaded) -> Result<()> {
    let private = loaded.options.private.clone();
    let not_own = private.as_ref().and_then(|directory| private::enter(directory, &mut loaded.options));
    let options = &loaded.options;
    let log = log::start(options)?;
    if let Some(error) = not_own {
        tracing::info!(%error, "cannot mount a bpf filesystem of its own: pins are in the machine's");
    }
    #[cfg(debug_assertions)]
    options.fault.as_deref().map(crate::fault::arm);
    let mode = check_machine(options)?;
    process::raise_descriptor_limit();
    // A second daemon hears which process is the first, rather than that a port is in use.
    let _lock = lock::take(&options.state_dir)?;
    let tcp = tcp::open(options)?;
    warn(options);
    let capture_dirs = options.capture_dirs()?;
    let unix = UnixSocket::bind(&options.socket)?;
    if let Some(Err(error)) = capture_dirs.group.map(process::join_group) {
        tracing::info!(%error, "cannot join group {}: it cannot read captures", process::GROUP);
    }
    // Before anything else runs: plugins, and threads, which inherit capabilities.
    capabilities::restrict(options.kept_capabilities())?;
    let plugin_dirs = plugin_dirs(options)?;
    let mut registry = registry(&plugin_dirs)?;
    let kept = kept(options, &plugin_dirs, &mut registry)?;
    let pins = Pins::take(&options.bpffs).with_context(|| format!("--bpffs {}", options.bpffs.display()))?;
    // A capture sees what is on the wire, beside whatever else is attached.
    let rank = if private.is_some() { Rank::NextToWire } else { Rank::Last };
    let datapath = Datapath::new(pins, mode, rank)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let security = tcp.as_ref().map(|tcp| tcp.security.clone());
    let (is_ephemeral, bpffs) = (options.ephemeral, options.bpffs.clone());
    let reload = Reload { words: words.to_owned(), log, security, loaded };
    let prepared = Prepared { reload, unix, tcp, registry, plugin_dirs, datapath, capture_dirs, kept };
    let ended = runtime.block_on(serve(prepared));
    // A plugin that does not return must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN);
    // Where the engine has panicked, its programs are still there.
    ended?;
    if is_ephemeral {
        remove_pins(&bpffs);
    }
    if let Some(directory) = private {
        private::leave(&directory);
    }
    Ok(())
}

/// Removes the directory of pins, which is empty: what was in the kernel was taken out.
pub(crate) fn remove_pins(directory: &Path) {
    if let Err(error) = std::fs::remove_dir(directory) {
        tracing::warn!(directory = %directory.display(), %error, "cannot be removed");
    }
}

/// What is made before there are threads, and in part while the daemon has all its capabilities.
struct Prepared {
    reload: Reload,
    unix: UnixSocket,
    tcp: Option<Tcp>,
    registry: Registry,
    plugin_dirs: Vec<PathBuf>,
    datapath: Datapath,
    capture_dirs: CaptureDirs,
    kept: Kept,
}

async fn serve(prepared: Prepared) -> Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let Prepared { reload, unix, tcp, registry, plugin_dirs, datapath, capture_dirs, kept } = prepared;
    let link_prefix = link_prefix(&reload.loaded.options.bpffs)?;
    let (found_pairs, broken) =
        netlink.pairs(&link_prefix).await.context("cannot look at the links of an earlier daemon")?;
    delete_halves(&netlink, broken).await?;
    let runtime = tokio::runtime::Handle::current();
    let (kernel_netlink, promiscuous, taken_pairs) = (netlink.clone(), BTreeSet::new(), HashMap::new());
    let kernel = Live {
        datapath,
        netlink: kernel_netlink,
        runtime,
        promiscuous,
        link_prefix,
        next_link: 0,
        found_pairs,
        taken_pairs,
    };
    let shared_dirs = Arc::new(capture_dirs.clone());
    let containers =
        Arc::new(Containers::new(&reload.loaded.options.container_socket, &reload.loaded.options.cri_socket));
    let parts = Parts { registry, kernel, plugin_dirs, capture_dirs, containers, kept };
    let (engine, supervisor) = engine::start(parts).await?;
    let events = engine.clone();
    netlink::watch(move || events.look()).context("cannot watch netdevs")?;
    let conf_dir = reload.loaded.options.conf_dir();
    if let Some(directory) = &conf_dir
        && is_ended(conf_dir::apply(directory, &engine), &mut interrupted, &mut terminated).await
    {
        engine.stop().await;
        return Ok(());
    }
    let (stop, stopping) = watch::channel(false);
    let pulse = Pulse::of(&engine);
    let statistics = Arc::new(Statistics::new());
    let api = Api { engine: engine.clone(), netlink, pulse: pulse.clone(), statistics, capture_dirs: shared_dirs };
    let mut listeners = JoinSet::new();
    listeners.spawn(serve_unix(api.clone(), &unix, stopping.clone())?);
    tracing::info!(socket = %reload.loaded.options.socket.display(), "listening");
    if let Some(tcp) = tcp {
        let address = tcp.listener.local_addr()?;
        listeners.spawn(serve_tcp(api, tcp.listener, tcp.security, stopping)?);
        tracing::info!(%address, "listening");
    }
    let abandoned = private::abandoned(reload.loaded.options.private.is_some())?;
    let manager = Manager::from_environment();
    manager.ready();
    let feeding = manager.keep_feeding(pulse, engine.clone());
    let reloading = async {
        while hung_up.recv().await.is_some() {
            manager.reloading();
            let is_sound = reload.again();
            if let Some(directory) = conf_dir.as_ref().filter(|_| is_sound) {
                conf_dir::apply(directory, &engine).await;
            }
            manager.ready();
        }
    };
    tokio::select! {
        _ = interrupted.recv() => tracing::info!("SIGINT: stopping"),
        _ = terminated.recv() => tracing::info!("SIGTERM: stopping"),
        () = abandoned => tracing::info!("the process that this daemon was started for is gone: stopping"),
        () = supervisor.panicked() => bail!(
            "the engine has panicked (the reason is above): the datapath stays as it is until the next daemon starts"
        ),
        () = async { tokio::join!(feeding, reloading, engine.return_services(), engine.keep_choosing()); } => {}
    }
    manager.stopping();
    end(&stop, &mut listeners, &engine).await;
    Ok(())
}

async fn end(stop: &watch::Sender<bool>, listeners: &mut JoinSet<()>, engine: &Handle) {
    // There is no receiver if every listener has ended by itself.
    let _ = stop.send(true);
    // A connection that idles must not keep the datapath up.
    finish(listeners).await;
    engine.stop().await;
    // Streams have ended with their cubes, and their clients have not read the ends yet.
    finish(listeners).await;
}

/// Waits until every connection has ended, but not for long: a client may never read what is on its way to it.
async fn finish(listeners: &mut JoinSet<()>) {
    if timeout(CONNECTIONS, async { while listeners.join_next().await.is_some() {} }).await.is_err() {
        tracing::debug!("connections are still open");
    }
}

/// Deletes what an earlier daemon left of links between cubes that have lost an end.
async fn delete_halves(netlink: &Netlink, halves: Vec<(String, u32)>) -> Result<()> {
    for (name, ifindex) in halves {
        tracing::info!(netdev = name, "deleting half of a link between cubes that an earlier daemon left");
        netlink.delete(ifindex).await.with_context(|| format!("cannot delete {name}"))?;
    }
    Ok(())
}

/// Whether a signal ends the daemon during `work`: files may be on a disk that does not answer.
async fn is_ended(work: impl Future<Output = ()>, interrupted: &mut Signal, terminated: &mut Signal) -> bool {
    tokio::select! {
        () = work => return false,
        _ = interrupted.recv() => tracing::info!("SIGINT: stopping"),
        _ = terminated.recv() => tracing::info!("SIGTERM: stopping"),
    }
    true
}

/// What the names of our ends of links begin with: the same in each life of a daemon, and another for each of several
/// daemons in one network namespace. It leaves room for a number and a letter in the 15 bytes of a netdev's name.
pub(crate) fn link_prefix(bpffs: &Path) -> Result<String> {
    let place = std::path::absolute(bpffs)?;
    // FNV-1a, folded to 24 bits.
    let hash = place
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    Ok(format!("pcn{:06x}", (hash >> 24) ^ (hash & 0x00ff_ffff)))
}

/// Logs what leaves the daemon more open, or less, than an operator may think.
fn warn(options: &Options) {
    let over_ip = options.pcap_over_ip.as_ref().and_then(OverIp::warning);
    for line in tcp::warnings(options).into_iter().chain(over_ip) {
        tracing::warn!("{line}");
    }
    if process::group_id(process::GROUP).is_none() {
        tracing::warn!(
            "there is no group {}: only the daemon's user can use {}",
            process::GROUP,
            options.socket.display()
        );
    }
}

/// Checks what the operator has to change, with one clear line each; returns how roots are attached.
fn check_machine(options: &Options) -> Result<AttachMode> {
    capabilities::check(options.kept_capabilities())?;
    let release = process::kernel_release();
    let version = process::kernel_version(&release).unwrap_or_default();
    let (major, minor) = process::OLDEST_KERNEL;
    ensure!(version >= process::OLDEST_KERNEL, "kernel {release} is too old: Linux {major}.{minor} or later is needed");
    let mut existing = options.bpffs.as_path();
    while !existing.exists() {
        existing = existing.parent().unwrap_or(Path::new("/"));
    }
    let mount = "mount -t bpf bpf /sys/fs/bpf";
    let is_bpffs = process::is_bpffs(existing).with_context(|| format!("--bpffs {}", options.bpffs.display()))?;
    ensure!(
        is_bpffs,
        "{} is not in a bpf filesystem: {mount}, or give --bpffs a directory in one",
        options.bpffs.display()
    );
    Ok(options.attach.unwrap_or_else(|| AttachMode::of_kernel(version)))
}

/// Loads the plugins. One that does not load is logged and left out.
fn registry(directories: &[PathBuf]) -> Result<Registry> {
    let mut registry = Registry::new()?;
    for directory in directories {
        let plugins = load_directory(directory).with_context(|| format!("plugin directory {}", directory.display()))?;
        for plugin in plugins {
            match plugin.map_err(anyhow::Error::from).and_then(|plugin| add(&mut registry, plugin)) {
                Ok(name) => tracing::info!(service = name, "loaded"),
                Err(error) => tracing::error!("{error}"),
            }
        }
    }
    if registry.services().next().is_none() {
        tracing::warn!("no plugin was found: give --plugin-dir the directory that has the libpcn_*.so files");
    }
    Ok(registry)
}

/// Opens the store, and adds or removes the services that were added or removed by hand.
fn kept(options: &Options, directories: &[PathBuf], registry: &mut Registry) -> Result<Kept> {
    let loaded = registry.services().map(|(name, _)| name.to_owned()).collect();
    if options.ephemeral {
        return Ok(Kept { store: None, contents: Contents::default(), loaded });
    }
    let (store, contents) = Store::open(&options.state_dir)?;
    for (name, service) in &contents.saved.services {
        let Some(uri) = &service.uri else {
            registry.remove(name);
            continue;
        };
        if service.file_type == FileType::Object {
            // It may stand in the place of a plugin that was removed, and is loaded at each start.
            registry.remove(name);
        }
        let plugin = load_service(directories, service.file_type, &uri.display().to_string(), name);
        // One that was added by hand is also found in the plugin directory, if its file is named like a plugin's.
        let is_loaded = |plugin: &Plugin| registry.service(name).is_ok_and(|there| there.plugin.path == plugin.path);
        if plugin.as_ref().is_ok_and(is_loaded) {
            continue;
        }
        if let Err(error) = plugin.map_err(anyhow::Error::from).and_then(|plugin| add(registry, plugin)) {
            tracing::error!(service = name, "cannot be loaded again: {error}");
            let (uri, file_type, why) = (uri.clone(), service.file_type, error.to_string());
            registry.miss(name, Missing { uri, file_type, why });
        }
    }
    Ok(Kept { store: Some(store), contents, loaded })
}

/// Adds a plugin's service. Answers with its name.
fn add(registry: &mut Registry, plugin: Plugin) -> Result<String> {
    let name = plugin.service.name.clone();
    registry.add(Arc::new(Service::new(plugin)?))?;
    Ok(name)
}

fn plugin_dirs(options: &Options) -> Result<Vec<PathBuf>> {
    if !options.plugin_dir.is_empty() {
        return Ok(options.plugin_dir.clone());
    }
    let beside = std::env::current_exe()?.parent().map(Path::to_owned);
    let prefix = beside.as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let installed = [prefix, Path::new("/usr")].map(|prefix| prefix.join(PLUGINS));
    Ok(beside.into_iter().chain(installed.into_iter().find(|directory| directory.is_dir())).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn links_are_called_alike_in_each_life_and_unlike_those_of_other_daemons() {
        let prefix = |path: &str| link_prefix(Path::new(path)).unwrap();
        assert_eq!(prefix("/sys/fs/bpf/polycube"), prefix("/sys/fs/bpf/polycube"));
        assert_eq!(prefix("pins"), prefix(&std::env::current_dir().unwrap().join("pins").display().to_string()));
        let places: Vec<String> = (0..100).map(|number| prefix(&format!("/sys/fs/bpf/polycube{number}"))).collect();
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len());
        // A netdev's name has at most 15 bytes, and a number and a letter follow.
        assert!(places.iter().all(|prefix| prefix.starts_with("pcn") && prefix.len() == 9), "{places:?}");
    }

    #[test]
    fn plugin_directories_that_are_given_are_the_only_ones() {
        let dirs = |words: &[&str]| plugin_dirs(&Options::parse_from(["polycubed"].iter().chain(words))).unwrap();
        assert_eq!(dirs(&["--plugin-dir", "mine"]), [PathBuf::from("mine")]);
        let two = ["--plugin-dir", "mine", "--plugin-dir=theirs"];
        assert_eq!(dirs(&two), ["mine", "theirs"].map(PathBuf::from));
        let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        assert_eq!(dirs(&[]).first(), Some(&beside));
    }

    #[test]
    fn a_directory_of_plugins_has_to_exist_and_may_be_empty() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("libpcn_text.so"), "not a library").unwrap();
        std::fs::write(directory.path().join("README"), "").unwrap();
        let found = registry(&[directory.path().to_owned()]).unwrap();
        assert_eq!(found.services().count(), 0, "a plugin that does not load is left out");
        let message = registry(&[directory.path().join("none")]).err().map(|error| error.to_string());
        assert!(message.is_some_and(|message| message.starts_with("plugin directory ")));
    }
}
