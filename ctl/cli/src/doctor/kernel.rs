//! What the kernel can do.

use std::{fs, io};

use super::Findings;

/// What weft uses, and since when Linux has it.
const FEATURES: [((u32, u32), &str); 4] = [
    ((5, 9), "bpf_link for XDP, which ports of kind xsk need"),
    ((6, 3), "XDP features of devices by netlink"),
    ((6, 6), "tcx, which uplinks of kind packet need, and AF_XDP frames of several buffers"),
    ((6, 8), "AF_XDP transmit metadata: checksums by the device"),
];
/// The oldest that weft runs on.
const OLDEST: (u32, u32) = (5, 9);

/// Looks at it.
pub(super) fn look(findings: &mut Findings) {
    findings.about("kernel");
    version(findings);
    sockets(findings);
    bpf(findings);
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn version(findings: &mut Findings) {
    let release = read("/proc/sys/kernel/osrelease");
    let Some(version) = parse_version(&release) else {
        return findings.note(format!("version \"{release}\""), "it can't be told what this kernel has");
    };
    if version < OLDEST {
        let (major, minor) = OLDEST;
        return findings.problem(format!("Linux {release}"), format!("use {major}.{minor} or newer"));
    }
    let missing: Vec<_> = FEATURES.iter().filter(|(since, _)| version < *since).collect();
    if missing.is_empty() {
        return findings.good(format!("Linux {release}"));
    }
    for ((major, minor), what) in missing {
        findings.note(
            format!("Linux {release} has no {what}"),
            format!("use Linux {major}.{minor} if you need it"),
        );
    }
}

fn sockets(findings: &mut Findings) {
    let protocols = read("/proc/net/protocols");
    let has = |name: &str| protocols.lines().any(|line| line.split(' ').next() == Some(name));
    for (name, kind, option) in [("XDP", "xsk", "CONFIG_XDP_SOCKETS"), ("PACKET", "packet", "CONFIG_PACKET")]
    {
        if has(name) {
            findings.good(format!("AF_{name} sockets"));
        } else {
            let remedy = format!("build it with {option}, or load its module; or use ports of another kind");
            findings.problem(format!("no AF_{name} sockets: no ports of kind {kind}"), remedy);
        }
    }
    match fs::File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => findings.good("taps (/dev/net/tun)"),
        // Whoever asks need not be who runs weftd.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            findings.note(
                "taps were not looked at: /dev/net/tun is not yours to open",
                "run weftctl doctor as root",
            );
        }
        Err(error) => {
            let remedy =
                "load the module tun, and give weftd's container /dev/net/tun; or use ports of kind packet";
            findings.problem(format!("no taps: /dev/net/tun: {error}"), remedy);
        }
    }
}

fn bpf(findings: &mut Findings) {
    match read("/proc/sys/net/core/bpf_jit_enable").as_str() {
        "" => {} // not for everybody's eyes
        "0" => findings.note("BPF programs are interpreted", "sysctl net.core.bpf_jit_enable=1"),
        _ => findings.good("BPF programs are compiled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (text, expect) in [
            ("6.18.44", Some((6, 18))),
            ("5.10.0-28-amd64", Some((5, 10))),
            ("6.8-rc1", Some((6, 8))),
            ("odd", None),
        ] {
            assert_eq!(parse_version(text), expect, "{text}");
        }
    }
}
