//! Keeps a panic on this side of the border, where it would abort the daemon.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};

use abi_stable::std_types::{RErr, ROk};

use crate::{Refusal, Tag, abi::Answer, threads};

#[cfg(panic = "abort")]
compile_error!(
    "a plugin needs unwinding panics, or a bug in it ends the daemon: take panic = \"abort\" out of the Cargo profile"
);

thread_local! {
    /// Where this thread's last panic started. The payload that `catch_unwind` returns does not say.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How many calls of the host are under way on this thread.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// Makes a panic in a call of the host's record its location, and a panic elsewhere write a line to the log, instead of
/// printing to the daemon's stderr. A plugin has its own copy of std, so this affects no other panic hook.
pub fn install_hook() {
    panic::set_hook(Box::new(|info| {
        if CALLS.try_with(Cell::get).unwrap_or(0) == 0 {
            threads::report(info);
            return;
        }
        let place = info.location().map(ToString::to_string);
        PLACE.with(|slot| *slot.borrow_mut() = place);
    }));
}

/// Runs `body`, and turns a panic into a [`Tag::Panic`] refusal.
pub(crate) fn guard<T>(body: impl FnOnce() -> Result<T, Refusal>) -> Answer<T> {
    CALLS.set(CALLS.get() + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    CALLS.set(CALLS.get() - 1);
    match result {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(refusal)) => RErr(refusal.text()),
        Err(payload) => {
            let what = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| String::from("a payload that is not text"));
            let place = PLACE.with(|slot| slot.borrow_mut().take());
            let place = place.unwrap_or_else(|| String::from("an unknown place"));
            // Dropping the payload may panic as well.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
            RErr(Refusal::new(Tag::Panic, format!("panicked at {place}: {what}")).text())
        }
    }
}

/// Held by tests that change the panic hook, which is the whole process's.
#[cfg(test)]
pub(crate) static HOOK: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use super::*;

    #[test]
    fn a_panic_becomes_a_refusal_with_its_place() {
        let _hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
        install_hook();
        let RErr(text) = guard::<()>(|| panic!("no {}", "more")) else { panic!("it passed") };
        let _ = panic::take_hook();
        let refusal: Refusal = serde_json::from_str(&text).unwrap();
        assert_eq!(refusal.tag, Tag::Panic);
        assert!(refusal.message.contains("guard.rs:") && refusal.message.ends_with("no more"), "{refusal}");
    }
}
