//! What a figure was made on.

use std::fs;

use serde::Serialize;

/// The machine, as it calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// Its cores, as far as this machine has them.
    pub cores: usize,
    /// The kernel.
    pub kernel: String,
    /// The system.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let system = field("/etc/os-release", "PRETTY_NAME=").trim_matches('"').to_owned();
        Self { cpu: cpu(), cores, kernel: kernel(), system }
    }
}

/// The processor's name.
pub fn cpu() -> String {
    field("/proc/cpuinfo", "model name").trim_start_matches([' ', '\t', ':']).to_owned()
}

/// The kernel's release.
pub fn kernel() -> String {
    field("/proc/sys/kernel/osrelease", "")
}

/// The rest of the first line of a file that begins so.
fn field(file: &str, begin: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(begin));
    found.map_or_else(|| "unknown".into(), |rest| rest.trim().to_owned())
}
