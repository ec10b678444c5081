//! The machine that figures are from: what of it explains them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

const CPU: &str = "/sys/devices/system/cpu";

/// A machine, and how busy others kept it since it was looked at.
pub(crate) struct Machine {
    /// CPUs, kernel and architecture.
    name: String,
    /// Of the first CPU: level, type and size.
    caches: Vec<String>,
    /// The governor of the CPU's frequency; none in most guests.
    governor: Option<String>,
    /// What the kernel does against faults of the CPU.
    mitigations: Vec<String>,
    /// Ticks when the benches began.
    ticks: Option<Ticks>,
}

/// Ticks of all CPUs since the boot (Documentation/filesystems/proc.rst, `/proc/stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    /// In which a CPU of this guest had work, and the host ran something else.
    stolen: u64,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let caches = (0..).map_while(|index| cache(&format!("{CPU}/cpu0/cache/index{index}"))).collect();
        let governor = read(format!("{CPU}/cpu0/cpufreq/scaling_governor"));
        let ticks = read("/proc/stat").and_then(|text| ticks(&text));
        Self { name: name(), caches, governor, mitigations: mitigations(), ticks }
    }

    /// The part of the time since the first look that the host took from this guest, in per cent.
    fn stolen(&self) -> Option<f64> {
        let (before, now) = (self.ticks?, read("/proc/stat").and_then(|text| ticks(&text))?);
        let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(now.stolen.saturating_sub(before.stolen) as f64 * 100.0 / all as f64)
    }

    pub(crate) fn text(&self) -> String {
        let governor = self.governor.as_deref().unwrap_or("not known");
        let list = |items: &[String]| if items.is_empty() { String::from("none known") } else { items.join(", ") };
        let stolen = self.stolen().map_or_else(|| String::from("not known"), |part| format!("{part:.1} %"));
        let (name, caches, mitigations) = (&self.name, list(&self.caches), list(&self.mitigations));
        format!(
            "Machine: {name}. Caches: {caches}. Governor: {governor}. Mitigations: {mitigations}. Time that the host \
             took: {stolen}.\n"
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "caches": self.caches,
            "governor": self.governor,
            "mitigations": self.mitigations,
            "stolen-percent": self.stolen(),
        })
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn name() -> String {
    let uname = rustix::system::uname();
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let (model, release, machine) = (model.unwrap_or("CPU"), uname.release(), uname.machine());
    format!("{cpus} × {model}, Linux {} {}", release.to_string_lossy(), machine.to_string_lossy())
}

/// A cache of sysfs, as in "L1d 32K".
fn cache(directory: &str) -> Option<String> {
    let field = |name: &str| read(format!("{directory}/{name}"));
    let kind = match field("type")?.as_str() {
        "Data" => "d",
        "Instruction" => "i",
        _ => "",
    };
    Some(format!("L{}{kind} {}", field("level")?, field("size")?))
}

/// The faults that cost time, by the kernel's names.
fn mitigations() -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("{CPU}/vulnerabilities")) else { return Vec::new() };
    let status = |entry: fs::DirEntry| Some((entry.file_name().into_string().ok()?, read(entry.path())?));
    let mut found = entries
        .filter_map(|entry| status(entry.ok()?))
        .filter_map(|(name, status)| Some(format!("{name} ({})", status.strip_prefix("Mitigation: ")?)))
        .collect::<Vec<_>>();
    found.sort();
    found
}

fn ticks(stat: &str) -> Option<Ticks> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(|field| field.parse::<u64>().ok());
    let fields = fields.collect::<Option<Vec<_>>>()?;
    // The last two, time of guests, are in the first two as well.
    Some(Ticks { all: fields.iter().take(8).sum(), stolen: *fields.get(7)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_number() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(ticks(stat), Some(Ticks { all: 36, stolen: 8 }));
        assert_eq!(ticks("cpu  1 2 3\n"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn this_machine_has_a_name() {
        let text = Machine::look().text();
        assert!(text.contains(" × ") && text.contains("Linux "), "{text}");
    }
}
