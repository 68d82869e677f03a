//! Rights and limits: weftd's, where it runs; else those of whoever asks.

use std::fs;

use weft_ctl_api::status::StatusReply;

use super::{Findings, Severity};

/// Capabilities weftd needs (linux/capability.h), and what for.
const CAPABILITIES: [(u32, &str, &str); 4] = [
    (12, "CAP_NET_ADMIN", "taps, routes, XDP"),
    (13, "CAP_NET_RAW", "AF_XDP and AF_PACKET sockets"),
    (39, "CAP_BPF", "XDP programs, and those that keep pods from the node's stack"),
    (21, "CAP_SYS_ADMIN", "devices in other namespaces"),
];
/// CAP_IPC_LOCK: the limit of locked memory does not hold.
const IPC_LOCK: u32 = 14;
/// A port takes a few descriptors for each queue.
const FILES_FEW: u64 = 4096;
/// weftd's default (pmd.memory_mib).
const FRAME_MEMORY: u64 = 256 << 20;

/// Looks at them.
pub(super) fn look(findings: &mut Findings, running: Option<&StatusReply>) {
    findings.about("rights");
    // Whoever asks need not be who runs weftd.
    let (whose, severity, place) = match running {
        Some(status) => ("weftd", Severity::Problem, format!("/proc/{}", status.pid)),
        None => ("you", Severity::Note, "/proc/self".to_owned()),
    };
    let Some(held) = capabilities(&place) else {
        return findings.note(format!("{place}/status can't be read"), "run weftctl doctor as root");
    };
    let has = |bit: u32| held & (1 << bit) != 0;
    let missing: Vec<_> = CAPABILITIES.iter().filter(|(bit, ..)| !has(*bit)).collect();
    if missing.is_empty() {
        findings.good(format!("{whose}: every capability that weftd needs"));
    }
    for (_, name, what) in missing {
        let remedy = format!("run weftd as root, or give it {name}");
        let found = format!("{whose}: no {name}, for {what}");
        findings.add(severity, found, Some(remedy));
    }
    let memory = running.map_or(FRAME_MEMORY, |status| status.memory_bytes);
    limits(findings, (whose, severity), &place, has(IPC_LOCK), memory);
    hugepages(findings, running);
}

fn capabilities(place: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("{place}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// A soft limit; `u64::MAX` is none.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let soft = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

fn limits(
    findings: &mut Findings,
    (whose, severity): (&str, Severity),
    place: &str,
    ipc_lock: bool,
    memory: u64,
) {
    findings.about("limits");
    let limits = fs::read_to_string(format!("{place}/limits")).unwrap_or_default();
    match limit(&limits, "Max locked memory") {
        _ if ipc_lock => findings.good(format!("{whose}: memory may be locked without limit (CAP_IPC_LOCK)")),
        Some(locked) if locked < memory => {
            let found = format!(
                "{whose}: {} MiB of memory may be locked, ports of kind xsk lock {} MiB each",
                locked >> 20,
                memory >> 20
            );
            let remedy = "LimitMEMLOCK=infinity in weftd's unit, or give it CAP_IPC_LOCK";
            findings.add(severity, found, Some(remedy.to_owned()));
        }
        Some(_) => findings.good(format!("{whose}: enough memory may be locked")),
        None => findings.note(format!("{place}/limits can't be read"), "run weftctl doctor as root"),
    }
    match limit(&limits, "Max open files") {
        Some(files) if files < FILES_FEW => {
            let found = format!("{whose}: {files} files may be open: some hundred ports");
            findings.note(found, format!("LimitNOFILE={FILES_FEW} or more in weftd's unit"));
        }
        Some(files) => findings.good(format!("{whose}: {files} files may be open")),
        None => {}
    }
}

fn hugepages(findings: &mut Findings, running: Option<&StatusReply>) {
    if running.is_some_and(|status| status.hugepages) {
        return findings.good("weftd's frame memory is on hugepages");
    }
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        meminfo.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    let memory = running.map_or(FRAME_MEMORY, |status| status.memory_bytes);
    let (free, size) = (field("HugePages_Free:").unwrap_or(0), field("Hugepagesize:").unwrap_or(2048) << 10);
    let needed = memory.div_ceil(size);
    if free >= needed {
        let then = if running.is_some() { ": weftd takes them when it is restarted" } else { "" };
        return findings.good(format!("{free} free hugepages{then}"));
    }
    let found = format!(
        "{free} free hugepages, {needed} would hold the frame memory: it is on ordinary pages, somewhat slower"
    );
    findings.note(found, format!("sysctl vm.nr_hugepages={needed} before weftd starts"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max locked memory         8388608              8388608              bytes     \n\
                      Max open files            unlimited            unlimited            files     \n";
        assert_eq!(limit(limits, "Max locked memory"), Some(8 << 20));
        assert_eq!(limit(limits, "Max open files"), Some(u64::MAX));
        assert_eq!(limit(limits, "Max nice priority"), None);
    }
}
