//! A plugin's own threads: whose they are, and where the host hears of a panic in one.
//!
//! The border's calls catch panics ([`guard`](crate::guard)); nothing catches one in a thread that the plugin starts. The
//! panic hook writes it to the log of the thread's cube, or, if the thread was not started with
//! [`Cube::spawn`](crate::Cube::spawn), of every cube of this plugin: it may be any of them.

use std::cell::RefCell;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

pub(crate) use std::thread::JoinHandle;

use crate::abi::HostHandle;

/// The border's number of the severest level.
const ERROR: u8 = 1;

/// The cubes of this plugin. A plugin has its own copy of this crate.
static CUBES: Mutex<Vec<Weak<HostHandle>>> = Mutex::new(Vec::new());

thread_local! {
    /// The cube that this thread works for.
    static OWNER: RefCell<Option<Arc<HostHandle>>> = const { RefCell::new(None) };
}

pub(crate) fn register(host: &Arc<HostHandle>) {
    let mut cubes = CUBES.lock().unwrap_or_else(PoisonError::into_inner);
    cubes.retain(|cube| cube.strong_count() > 0);
    cubes.push(Arc::downgrade(host));
}

pub(crate) fn spawn<T: Send + 'static>(
    host: Arc<HostHandle>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        OWNER.set(Some(host));
        work()
    })
}

/// Whether the caller runs on `thread`.
pub(crate) fn is_current<T>(thread: &JoinHandle<T>) -> bool {
    thread.thread().id() == thread::current().id()
}

/// Writes a panic that no call of the host's catches to the log.
pub(crate) fn report(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| String::from("an unknown place"), ToString::to_string);
    let what = info.payload_as_str().unwrap_or("a payload that is not text");
    let thread = thread::current();
    let line =
        format!("the plugin's thread `{}` panicked at {place}: {what}", thread.name().unwrap_or("without a name"));
    // A thread that is ending has no owner any more.
    let owner = OWNER.try_with(|owner| owner.try_borrow().ok().and_then(|owner| owner.clone())).ok().flatten();
    let cubes = owner.map_or_else(all, |owner| vec![owner]);
    if cubes.is_empty() {
        eprintln!("{line}");
    }
    for cube in cubes {
        cube.log(ERROR, line.as_str().into());
    }
}

/// The cubes that exist. What the host does with a line must not find the list locked.
fn all() -> Vec<Arc<HostHandle>> {
    CUBES.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}

#[cfg(test)]
mod tests {
    use abi_stable::sabi_trait::prelude::TD_Opaque;
    use abi_stable::std_types::RStr;

    use super::*;
    use crate::abi::{HostAbi, HostAbi_TO};
    use crate::guard::{HOOK, install_hook};

    struct Host(Arc<Mutex<Vec<String>>>);

    impl HostAbi for Host {
        fn log(&self, level: u8, message: RStr<'_>) {
            self.0.lock().unwrap().push(format!("{level} {message}"));
        }
    }

    fn cube() -> (Arc<HostHandle>, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let host: Arc<HostHandle> = Arc::new(HostAbi_TO::from_value(Host(Arc::clone(&lines)), TD_Opaque));
        register(&host);
        (host, lines)
    }

    #[test]
    fn a_panic_is_in_the_log_of_its_threads_cube_or_of_all() {
        let _hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
        let ((one, lines), (_other, other_lines)) = (cube(), cube());
        install_hook();
        let own = spawn(Arc::clone(&one), "worker", || panic!("no {}", "more")).unwrap().join();
        let stray = thread::Builder::new().name("stray".to_owned()).spawn(|| panic!("lost")).unwrap().join();
        let _ = std::panic::take_hook();
        assert!(own.is_err() && stray.is_err());
        let found = lines.lock().unwrap().join("; ");
        let begins = "1 the plugin's thread `worker` panicked at plugin-api/src/threads.rs:";
        assert!(found.starts_with(begins) && found.contains(": no more; 1 the plugin's thread `stray`"), "{found}");
        let found = other_lines.lock().unwrap().join("; ");
        assert!(
            found.starts_with("1 the plugin's thread `stray` panicked at ") && found.ends_with(": lost"),
            "{found}"
        );
    }
}
