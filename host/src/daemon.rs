//! Starts everything in order, waits for a signal, and stops everything in the reverse order.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::conf_dir;
use crate::datapath::{AttachMode, Datapath, Pins};
use crate::engine::{self, Kept, Parts};
use crate::lock;
use crate::options::{LogFormat, Options};
use crate::plugins::{CaptureDirs, LOG_TARGET, Plugin, find, load, load_directory};
use crate::reconcile::Live;
use crate::registry::{Registry, Service};
use crate::rest::{Access, Api, TlsFiles, UnixSocket, bind_tcp, serve_tcp, serve_unix, tls_acceptor};
use crate::store::{Contents, Store};
use crate::sys::capabilities;
use crate::sys::netlink::{self, Netlink};
use crate::sys::process;

/// How long calls of plugins may take when the daemon ends.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Where a distribution puts plugins.
const PLUGINS: &str = "/usr/lib/polycube/plugins";

/// Runs the daemon until SIGINT or SIGTERM.
///
/// # Errors
/// Why it cannot start.
pub(crate) fn run(options: &Options) -> Result<()> {
    let filter = log_filter(&options.log)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    #[cfg(debug_assertions)]
    options.fault.as_deref().map(crate::fault::arm);
    let mode = check_machine(options)?;
    process::raise_descriptor_limit();
    let tcp = tcp(options)?;
    let capture_dirs = options.capture_dirs()?;
    let _lock = lock::take(&options.state_dir)?;
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
    let datapath = Datapath::new(pins, mode)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let prepared = Prepared { unix, tcp, registry, plugin_dirs, datapath, capture_dirs, kept };
    let ended = runtime.block_on(serve(options, prepared));
    // A plugin that does not return must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN);
    // Where the engine has panicked, its programs are still there.
    ended?;
    if options.ephemeral {
        remove_pins(&options.bpffs);
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
    unix: UnixSocket,
    tcp: Option<Tcp>,
    registry: Registry,
    plugin_dirs: Vec<PathBuf>,
    datapath: Datapath,
    capture_dirs: CaptureDirs,
    kept: Kept,
}

async fn serve(options: &Options, prepared: Prepared) -> Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let netlink = Netlink::open().context("cannot open a netlink socket")?;
    let link_prefix = link_prefix(&options.bpffs)?;
    let found_pairs = netlink.pairs(&link_prefix).await.context("cannot look at the links of an earlier daemon")?;
    let Prepared { unix, tcp, registry, plugin_dirs, datapath, capture_dirs, kept } = prepared;
    let runtime = tokio::runtime::Handle::current();
    let (kernel_netlink, promiscuous) = (netlink.clone(), BTreeSet::new());
    let kernel =
        Live { datapath, netlink: kernel_netlink, runtime, promiscuous, link_prefix, next_link: 0, found_pairs };
    let parts = Parts { registry, kernel, plugin_dirs, capture_dirs, kept };
    let (engine, supervisor) = engine::start(parts).await?;
    let events = engine.clone();
    netlink::watch(move || events.look()).context("cannot watch netdevs")?;

    if let Some(directory) = options.conf_dir() {
        conf_dir::apply(&directory, &engine).await;
    }
    let (stop, stopping) = watch::channel(false);
    let api = Api { engine: engine.clone(), netlink };
    let mut listeners = tokio::task::JoinSet::new();
    listeners.spawn(serve_unix(api.clone(), &unix, stopping.clone())?);
    tracing::info!(socket = %options.socket.display(), "listening");
    if let Some(Tcp { listener, access, tls }) = tcp {
        let address = listener.local_addr()?;
        listeners.spawn(serve_tcp(api, listener, access, tls, stopping)?);
        tracing::info!(%address, "listening");
    }
    tokio::select! {
        _ = interrupted.recv() => tracing::info!("SIGINT: stopping"),
        _ = terminated.recv() => tracing::info!("SIGTERM: stopping"),
        () = supervisor.panicked() => bail!(
            "the engine has panicked (the reason is above): the datapath stays as it is until the next daemon starts"
        ),
    }
    // There is no receiver if every listener has ended by itself.
    let _ = stop.send(true);
    // A connection that idles must not keep the datapath up.
    let _ =
        tokio::time::timeout(Duration::from_secs(1), async { while listeners.join_next().await.is_some() {} }).await;
    engine.stop().await;
    Ok(())
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

/// A level, or directives such as `info,polycubed::engine=debug`. A word that is neither would be taken for a module
/// of that name, and nothing would be logged.
fn log_filter(text: &str) -> Result<EnvFilter> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let sound = text.split(',').all(|word| is_level(word) || word.contains(['=', '[']) || word.contains("::"));
    let filter = Some(EnvFilter::try_new(text)).filter(|_| sound).and_then(Result::ok);
    let filter = filter.with_context(|| {
        format!("--log {text:?} is not a level: give error, warn, info, debug, trace or off, or a filter such as info,polycubed::engine=debug")
    })?;
    // Each cube has its own level, unless the filter is `off` or names the cubes.
    let is_given = text.split(',').any(|word| word == "off" || word.starts_with(&format!("{LOG_TARGET}=")));
    Ok(if is_given { filter } else { filter.add_directive(format!("{LOG_TARGET}=trace").parse()?) })
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

/// A TCP listener.
struct Tcp {
    listener: TcpListener,
    access: Access,
    tls: Option<TlsAcceptor>,
}

/// The TCP listener that the options ask for.
fn tcp(options: &Options) -> Result<Option<Tcp>> {
    let Options { addr, port, token_file, no_auth, cert, key, cacert, .. } = options;
    if addr.is_none() && port.is_none() {
        ensure!(
            token_file.is_none() && !no_auth && cert.is_none() && key.is_none() && cacert.is_none(),
            "--token-file, --no-auth, --cert, --key and --cacert are for TCP: give --addr or --port too"
        );
        return Ok(None);
    }
    let address = SocketAddr::new(addr.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port.unwrap_or(9000));
    ensure!(cert.is_some() == key.is_some(), "TLS needs both --cert FILE and --key FILE");
    ensure!(cacert.is_none() || cert.is_some(), "--cacert is for TLS: give --cert FILE and --key FILE too");
    let access = match token_file {
        Some(file) => Access::from_file(file).map_err(|error| anyhow!(error))?,
        None if *no_auth => Access::Open,
        None if cacert.is_some() => Access::Certificate,
        None if cert.is_some() => bail!("TLS needs --token-file FILE or --cacert FILE, or --no-auth in a lab"),
        None => bail!("TCP needs --token-file FILE, or --no-auth in a lab"),
    };
    let files = cert.as_ref().zip(key.as_ref());
    let files = files.map(|(cert, key)| TlsFiles { cert, key, cacert: cacert.as_deref() });
    let tls = files.map(|files| tls_acceptor(&files, &access)).transpose().map_err(|error| anyhow!(error))?;
    Ok(Some(Tcp { listener: bind_tcp(address)?, access, tls }))
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
        let plugin = find(directories, &uri.display().to_string()).and_then(|file| load(&file));
        if let Err(error) = plugin.map_err(anyhow::Error::from).and_then(|plugin| add(registry, plugin)) {
            tracing::error!(service = name, "cannot be loaded again: {error}");
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
    if let Some(directory) = &options.plugin_dir {
        return Ok(vec![directory.clone()]);
    }
    let beside = std::env::current_exe()?.parent().map(Path::to_owned);
    let system = Some(PathBuf::from(PLUGINS)).filter(|directory| directory.is_dir());
    Ok(beside.into_iter().chain(system).collect())
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
    fn a_filter_of_the_log_lets_cubes_decide_unless_it_names_them() {
        for (text, cubes) in [
            ("info", true),
            ("DEBUG", true),
            ("warn,polycubed::engine=debug", true),
            ("off", false),
            ("info,cube=warn", false),
            ("info,cube=off", false),
        ] {
            let filter = log_filter(text).unwrap().to_string();
            assert_eq!(filter.contains("cube=trace"), cubes, "{text}: {filter}");
        }
    }

    #[test]
    fn a_word_that_is_not_a_level_is_not_taken_for_a_module() {
        for text in ["", "verbose", "inof", "info,", "info,debgu", "=", "polycubed::engine=loud"] {
            let message = log_filter(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(&format!("--log {text:?} is not a level")), "{text}: {message}");
        }
    }

    #[test]
    fn the_network_needs_authentication_and_only_tcp_has_options_for_it() {
        for (words, expected) in [
            ("--no-auth", "are for TCP: give --addr or --port too"),
            ("--token-file t", "are for TCP: give --addr or --port too"),
            ("--cert c --key k", "are for TCP: give --addr or --port too"),
            ("--port 0", "TCP needs --token-file FILE"),
            ("--addr 127.0.0.1", "TCP needs --token-file FILE"),
            ("--port 0 --cert c", "TLS needs both --cert FILE and --key FILE"),
            ("--port 0 --key k --no-auth", "TLS needs both --cert FILE and --key FILE"),
            ("--port 0 --cacert ca", "--cacert is for TLS"),
            ("--port 0 --cert c --key k", "TLS needs --token-file FILE or --cacert FILE"),
            ("--port 0 --token-file /no/such/file", "/no/such/file"),
            ("--port 0 --no-auth --cert /no/cert --key /no/key", "/no/"),
        ] {
            let options = Options::parse_from(std::iter::once("polycubed").chain(words.split(' ')));
            let message = tcp(&options).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(message.contains(expected), "{words}: {message}");
        }
    }

    #[test]
    fn tcp_is_off_unless_it_is_asked_for() {
        assert!(tcp(&Options::parse_from(["polycubed"])).unwrap().is_none());
        let open = tcp(&Options::parse_from(["polycubed", "--port", "0", "--no-auth"])).unwrap().unwrap();
        assert!(open.listener.local_addr().unwrap().ip().is_loopback(), "the default is this machine alone");
        assert!(open.tls.is_none());
    }

    #[test]
    fn a_plugin_directory_that_is_given_is_the_only_one() {
        let dirs = |words: &[&str]| plugin_dirs(&Options::parse_from(["polycubed"].iter().chain(words))).unwrap();
        assert_eq!(dirs(&["--plugin-dir", "mine"]), [PathBuf::from("mine")]);
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
