//! What tshark says of frames.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::pcap;

/// The values of these fields in each frame, as tshark decodes it. A field that occurs more than once has all its values,
/// separated by commas.
pub(crate) fn fields(frames: &[Vec<u8>], names: &[&str]) -> Result<Vec<Vec<String>>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("copies.pcap");
    pcap::write(&path, frames.iter().map(|frame| (0, frame.len() as u32, frame.as_slice())))?;
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(&path).args(["-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=|"]);
    command.args(names.iter().flat_map(|name| ["-e", name]));
    let output = command.output().context("cannot run tshark: ./x test installs it")?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "tshark: {error}");
    let text = String::from_utf8(output.stdout)?;
    // Newer versions say `True` where older ones say 1.
    let value = |text: &str| text.replace("True", "1").replace("False", "0");
    Ok(text.lines().map(|line| line.split('|').map(value).collect()).collect())
}
