//! The emulated machine.

use std::io::{self, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::kernel::Kernel;

/// What `guest/init.sh` prints at its end when everything has passed.
const PASSED: &str = "vmtest: passed";

/// Boots the kernel and shows what its console prints.
///
/// # Errors
/// The machine does not start, does not end in time, or something failed in it.
pub(crate) fn run(kernel: &Kernel, image: &Path, limit: Duration) -> Result<()> {
    let mut qemu = kernel.architecture.machine();
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(image);
    qemu.args(["-nographic", "-no-reboot", "-net", "none", "-accel", "tcg", "-m", "3G", "-smp", "2"]);
    let mut machine = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run qemu")?;
    let console = BufReader::new(machine.stdout.take().context("the machine has no console")?);
    let reader = thread::spawn(move || show(console));
    let ended = ends_within(&mut machine, limit);
    if !matches!(ended, Ok(true)) {
        machine.kill().context("cannot stop the machine")?;
        machine.wait()?;
    }
    let passed = reader.join().map_err(|_| anyhow::anyhow!("the reader of the console panicked"))??;
    ensure!(ended?, "not finished after {} s", limit.as_secs());
    ensure!(passed, "something failed: see above");
    Ok(())
}

fn ends_within(machine: &mut Child, limit: Duration) -> Result<bool> {
    const PAUSE: Duration = Duration::from_millis(200);
    for _ in 0..limit.as_millis() / PAUSE.as_millis() {
        if machine.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Copies the console, and says whether everything has passed.
fn show(console: impl io::BufRead) -> Result<bool> {
    let mut passed = false;
    for line in console.split(b'\n') {
        let line = line?;
        io::stdout().write_all(&line)?;
        println!();
        passed |= String::from_utf8_lossy(&line).trim_end() == PASSED;
    }
    Ok(passed)
}
