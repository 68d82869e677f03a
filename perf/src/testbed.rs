//! What a figure was made on: as far as it can be told, and no further.

mod port;

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

pub use port::Port;

/// The machine, its settings, and the ports that were used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testbed {
    /// The processor's name.
    pub cpu: String,
    /// The processor's family, model and stepping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_signature: Option<String>,
    /// Its microcode's revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// Its cores that are on.
    pub cores: usize,
    /// How many NUMA nodes they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_nodes: Option<usize>,
    /// Whether two threads share a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smt: Option<String>,
    /// Who chooses the frequency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// Whether the frequency may exceed the nominal one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turbo: Option<String>,
    /// Cores that nothing is scheduled on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<String>,
    /// What it is a guest of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualised: Option<String>,
    /// Memory, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Transparent huge pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transparent_hugepages: Option<String>,
    /// Huge pages that were reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugepages: Option<String>,
    /// The clock that time stamps come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocksource: Option<String>,
    /// The kernel's release.
    pub kernel: String,
    /// What of the kernel's command line bears on speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_options: Option<String>,
    /// The system.
    pub system: String,
    /// The ports of each system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

impl Testbed {
    /// This machine, without ports.
    pub fn this() -> Self {
        let signature = ["cpu family", "model\t", "stepping"].map(|name| field("/proc/cpuinfo", name));
        let signature: Option<Vec<String>> = signature.into_iter().collect();
        Self {
            cpu: cpu(),
            cpu_signature: signature
                .map(|parts| format!("family {}, model {}, stepping {}", parts[0], parts[1], parts[2])),
            microcode: field("/proc/cpuinfo", "microcode"),
            cores: cores(),
            numa_nodes: numa_nodes(),
            smt: line("/sys/devices/system/cpu/smt/control"),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            turbo: turbo(),
            isolated: line("/sys/devices/system/cpu/isolated"),
            virtualised: virtualised(),
            memory_mib: memory_mib(),
            transparent_hugepages: line("/sys/kernel/mm/transparent_hugepage/enabled").and_then(chosen),
            hugepages: hugepages(),
            clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            kernel: kernel(),
            kernel_options: kernel_options(&line("/proc/cmdline").unwrap_or_default()),
            system: field("/etc/os-release", "PRETTY_NAME=").unwrap_or_else(unknown),
            ports: Vec::new(),
        }
    }

    /// In one line.
    pub fn short(&self) -> String {
        format!("{}, {} cores, Linux {}", self.cpu, self.cores, self.kernel)
    }

    /// Names and values, for a table. What is unknown is said to be.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".into());
        let number = |value: Option<String>| known(&value);
        vec![
            ("Processor", self.cpu.clone()),
            ("Signature, microcode", format!("{}; {}", known(&self.cpu_signature), known(&self.microcode))),
            ("Cores", self.cores.to_string()),
            ("NUMA nodes", number(self.numa_nodes.map(|nodes| nodes.to_string()))),
            ("SMT", known(&self.smt)),
            ("Governor, turbo", format!("{}, {}", known(&self.governor), known(&self.turbo))),
            ("Isolated cores", self.isolated.clone().unwrap_or_else(|| "none".into())),
            ("Virtual machine", known(&self.virtualised)),
            ("Memory", number(self.memory_mib.map(|mib| format!("{mib} MiB")))),
            ("Huge pages", known(&self.hugepages)),
            ("Transparent huge pages", known(&self.transparent_hugepages)),
            ("Clock", known(&self.clocksource)),
            ("Kernel", self.kernel.clone()),
            ("Kernel options", known(&self.kernel_options)),
            ("System", self.system.clone()),
        ]
    }
}

fn unknown() -> String {
    "unknown".into()
}

/// Not those that this thread may run on: it may be pinned.
fn cores() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// The processor's name.
pub fn cpu() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(unknown)
}

/// The kernel's release.
pub fn kernel() -> String {
    line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown)
}

/// The first line of a file, if it has any word.
fn line(file: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.lines().next()?.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The value in the first line of a file that begins so: `begin : value`.
fn field(file: &str, begin: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(begin))?;
    Some(rest.trim_start_matches([' ', '\t', ':']).trim().trim_matches('"').to_owned())
}

/// `always [madvise] never`: the one in brackets.
fn chosen(text: String) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn numa_nodes() -> Option<usize> {
    let entries = fs::read_dir("/sys/devices/system/node").ok()?;
    let is_node = |name: &str| name.strip_prefix("node").is_some_and(|id| id.parse::<u32>().is_ok());
    Some(
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_str().is_some_and(is_node))
            .count(),
    )
}

fn turbo() -> Option<String> {
    let word = |on: bool| if on { "on" } else { "off" };
    let intel = line("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| word(off == "0"));
    intel
        .or_else(|| line("/sys/devices/system/cpu/cpufreq/boost").map(|on| word(on == "1")))
        .map(str::to_owned)
}

/// The processor says it by a flag; the firmware often by whom.
fn virtualised() -> Option<String> {
    let flags = field("/proc/cpuinfo", "flags")?;
    if !flags.split(' ').any(|flag| flag == "hypervisor") {
        return Some("no".into());
    }
    let vendor = line("/sys/class/dmi/id/sys_vendor");
    Some(vendor.map_or_else(|| "yes".into(), |vendor| format!("yes, {vendor}")))
}

fn memory_mib() -> Option<u64> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some(kib / 1024)
}

/// `512 of 2048 kB`, for each size.
fn hugepages() -> Option<String> {
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").ok()?.filter_map(Result::ok);
    let of_size = |entry: fs::DirEntry| {
        let size = entry.file_name().to_str()?.strip_prefix("hugepages-")?.replace("kB", " kB");
        Some(format!("{} of {size}", line(entry.path().join("nr_hugepages"))?))
    };
    let mut found: Vec<String> = sizes.filter_map(of_size).collect();
    found.sort();
    Some(found.join(", ")).filter(|text| !text.is_empty())
}

/// Only what bears on speed: the rest tells of the machine (its disks, its owner) what is nobody's business.
fn kernel_options(text: &str) -> Option<String> {
    const OF_USE: [&str; 24] = [
        "isolcpus",
        "nohz",
        "nohz_full",
        "rcu_nocbs",
        "rcu_nocb_poll",
        "irqaffinity",
        "mitigations",
        "nosmt",
        "hugepages",
        "hugepagesz",
        "default_hugepagesz",
        "transparent_hugepage",
        "intel_pstate",
        "amd_pstate",
        "intel_idle.max_cstate",
        "processor.max_cstate",
        "idle",
        "cpuidle.off",
        "intel_iommu",
        "amd_iommu",
        "iommu",
        "swiotlb",
        "preempt",
        "tsc",
    ];
    let is_of_use = |word: &&str| OF_USE.contains(&word.split('=').next().unwrap_or(word));
    let words: Vec<&str> = text.split_whitespace().filter(is_of_use).collect();
    Some(if words.is_empty() { "none that bears on speed".into() } else { words.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_and_unknowns_are_said_to_be() {
        let testbed = Testbed::this();
        assert!(testbed.cores > 0 && testbed.kernel != "unknown");
        assert!(testbed.rows().iter().all(|(_, value)| !value.trim().is_empty()));
        let bare = Testbed::default().rows();
        assert!(bare.iter().any(|(name, value)| *name == "Clock" && value == "not known"));
    }

    #[test]
    fn kernel_options_are_those_that_bear_on_speed() {
        let text = "root=/dev/sda1 isolcpus=1 quiet mitigations=off";
        assert_eq!(kernel_options(text).unwrap(), "isolcpus=1 mitigations=off");
        assert_eq!(chosen("always [madvise] never".into()).unwrap(), "madvise");
    }
}
