//! Network devices: XDP modes, programs in the way, queues, offloads, addresses.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
};

use ethtool::{EthtoolAttr, EthtoolChannelAttr, EthtoolFeatureAttr, EthtoolHandle};
use futures_util::TryStreamExt;
use libbpf_rs::{
    PrintLevel, Xdp, XdpFlags,
    query::{LinkInfoIter, LinkTypeInfo, ProgInfoIter},
};
use rtnetlink::packet_route::address::AddressAttribute;
use weft_ctl_api::{
    port::PortRow,
    spec::{PortKind, RoleSpec},
};

use super::Findings;

/// The kernel's `enum netdev_xdp_act` (linux/netdev.h).
mod act {
    pub(super) const BASIC: u64 = 1;
    pub(super) const REDIRECT: u64 = 2;
    pub(super) const ZEROCOPY: u64 = 8;
    pub(super) const RX_SG: u64 = 32;
}

/// Of more queues only the number is told.
const RSS_SHOWN: usize = 4;

/// The names of weft's own programs.
const OWN: [&str; 2] = ["weft", "weft_claim"];

/// Looks at each.
pub(super) fn look(findings: &mut Findings, named: &[String], ports: &[PortRow]) {
    // What can't be asked is told as a finding, not as a line between them.
    libbpf_rs::set_print(None::<(PrintLevel, libbpf_rs::PrintCallback)>);
    let own = |port: &&PortRow| port.netns.is_none() && port.device.is_some();
    let devices: Vec<String> = if !named.is_empty() {
        named.to_vec()
    } else if ports.is_empty() {
        all_devices()
    } else {
        ports.iter().filter(own).filter_map(|port| port.device.clone()).collect()
    };
    let asked = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(ask(&devices)),
        Err(_) => BTreeMap::new(),
    };
    let programs = Programs::read();
    for device in &devices {
        findings.about(device);
        let port = ports.iter().find(|port| port.netns.is_none() && port.device.as_deref() == Some(device));
        let Some(ifindex) = number(device, "ifindex") else {
            findings.problem("there is no such device here", "look at: ip link");
            continue;
        };
        // A tap's own end is the pod's business; weftd made it as it must be.
        if port.is_some_and(|port| port.kind == PortKind::Tap) {
            continue;
        }
        xdp(findings, port, ifindex as i32, &programs);
        programs.in_the_way(findings, ifindex as u32);
        let answers = asked.get(device).cloned().unwrap_or_default();
        queues(findings, device, &answers, port);
        offloads(findings, device, &answers, port);
        addresses(findings, &answers, port);
    }
}

fn class(device: &str) -> PathBuf {
    Path::new("/sys/class/net").join(device)
}

fn number(device: &str, file: &str) -> Option<i64> {
    fs::read_to_string(class(device).join(file)).ok()?.trim().parse().ok()
}

fn all_devices() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir("/sys/class/net")
        .map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    found.retain(|device| device != "lo" && class(device).join("ifindex").exists());
    found.sort();
    found
}

/// What netlink says of a device.
#[derive(Debug, Clone, Default)]
struct Answers {
    channels: Vec<EthtoolChannelAttr>,
    /// Features that are on.
    active: Vec<String>,
    addresses: Vec<String>,
}

async fn ask(devices: &[String]) -> BTreeMap<String, Answers> {
    let mut all = BTreeMap::new();
    let Ok((ethtool_connection, mut ethtool, _)) = ethtool::new_connection() else { return all };
    let Ok((route_connection, route, _)) = rtnetlink::new_connection() else { return all };
    tokio::spawn(ethtool_connection);
    tokio::spawn(route_connection);
    for device in devices {
        let Some(ifindex) = number(device, "ifindex") else { continue };
        let answers = Answers {
            channels: channels(&mut ethtool, device).await.unwrap_or_default(),
            active: active_features(&mut ethtool, device).await.unwrap_or_default(),
            addresses: own_addresses(&route, ifindex as u32).await.unwrap_or_default(),
        };
        all.insert(device.clone(), answers);
    }
    all
}

/// None: the device has none to tell of.
async fn channels(ethtool: &mut EthtoolHandle, device: &str) -> Option<Vec<EthtoolChannelAttr>> {
    let mut replies = ethtool.channel().get(Some(device)).execute().await.ok()?;
    let mut found = Vec::new();
    while let Some(message) = replies.try_next().await.ok()? {
        found.extend(message.payload.nlas.into_iter().filter_map(|attribute| match attribute {
            EthtoolAttr::Channel(channel) => Some(channel),
            _ => None,
        }));
    }
    Some(found)
}

async fn active_features(ethtool: &mut EthtoolHandle, device: &str) -> Option<Vec<String>> {
    let mut replies = ethtool.feature().get(Some(device)).execute().await.ok()?;
    let mut found = Vec::new();
    while let Some(message) = replies.try_next().await.ok()? {
        for attribute in message.payload.nlas {
            if let EthtoolAttr::Feature(EthtoolFeatureAttr::Active(bits)) = attribute {
                found.extend(bits.into_iter().filter(|bit| bit.value).map(|bit| bit.name));
            }
        }
    }
    Some(found)
}

async fn own_addresses(route: &rtnetlink::Handle, ifindex: u32) -> Option<Vec<String>> {
    let mut replies = route.address().get().set_link_index_filter(ifindex).execute();
    let mut found = Vec::new();
    while let Some(message) = replies.try_next().await.ok()? {
        found.extend(message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(address.to_string()),
            _ => None,
        }));
    }
    Some(found)
}

/// BPF programs, as far as the asker may see them.
struct Programs {
    names: BTreeMap<u32, String>,
    /// Device and program of each tcx link.
    tcx: Vec<(u32, u32)>,
}

impl Programs {
    fn read() -> Self {
        let names =
            ProgInfoIter::default().map(|program| (program.id, program.name.to_string_lossy().into_owned()));
        let names = names.collect();
        let tcx = LinkInfoIter::default().filter_map(|link| match link.info {
            LinkTypeInfo::Tcx(tcx) => Some((tcx.ifindex, link.prog_id)),
            _ => None,
        });
        Self { names, tcx: tcx.collect() }
    }

    fn name(&self, program: u32) -> String {
        self.names.get(&program).cloned().unwrap_or_else(|| format!("number {program}"))
    }

    fn is_own(&self, program: u32) -> bool {
        self.names.get(&program).is_some_and(|name| OWN.contains(&name.as_str()))
    }

    /// Other people's programs see packets before the switch does.
    fn in_the_way(&self, findings: &mut Findings, ifindex: u32) {
        for (_, program) in self.tcx.iter().filter(|(at, program)| *at == ifindex && !self.is_own(*program)) {
            let found = format!("a tcx program of somebody else's, {}, is attached", self.name(*program));
            findings
                .note(found, "it sees packets before weft does: see that it lets them pass (bpftool net)");
        }
    }
}

fn xdp(findings: &mut Findings, port: Option<&PortRow>, ifindex: i32, programs: &Programs) {
    let stdin = std::io::stdin();
    // The descriptor is not looked at: the query is netlink's.
    let Ok(info) = Xdp::new(stdin.as_fd()).query(ifindex, XdpFlags::NONE) else {
        return findings.note("it can't be asked about XDP", "run weftctl doctor as root");
    };
    let wants_xdp = port.is_none_or(|port| port.kind == PortKind::Xsk);
    let has = |act: u64| info.feature_flags & act != 0;
    let zerocopy = if has(act::ZEROCOPY) { "zero-copy" } else { "copy mode only" };
    let frames = if has(act::RX_SG) { "frames of several buffers" } else { "frames of one buffer" };
    if has(act::BASIC) && has(act::REDIRECT) {
        findings.good(format!("native XDP, {zerocopy}, {frames}"));
    } else if wants_xdp {
        let remedy = "generic XDP works, and is slower: prefer a port of kind packet, or another driver";
        findings.note("its driver has no native XDP with redirection", remedy);
    }
    let is_xsk = port.is_some_and(|port| port.kind == PortKind::Xsk && port.state == "up");
    if info.prog_id != 0 && !programs.is_own(info.prog_id) && !is_xsk {
        let found =
            format!("an XDP program of somebody else's, {}, is attached", programs.name(info.prog_id));
        findings.problem(
            found,
            "a port of kind xsk can't have the device, and other ports don't see what it takes: remove it",
        );
    }
    if let Some(port) = port.filter(|port| is_xsk && !port.why.is_empty()) {
        findings.note(format!("port {} runs in a lesser mode: {}", port.name, port.mode), port.why.clone());
    }
}

fn count_queues(device: &str) -> usize {
    let queues = fs::read_dir(class(device).join("queues")).into_iter().flatten().filter_map(Result::ok);
    queues.filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count()
}

fn queues(findings: &mut Findings, device: &str, answers: &Answers, port: Option<&PortRow>) {
    let queues = count_queues(device);
    let most = answers.channels.iter().filter_map(|attribute| match attribute {
        EthtoolChannelAttr::RxMax(most) | EthtoolChannelAttr::CombinedMax(most) => Some(*most as usize),
        _ => None,
    });
    let most = most.max().unwrap_or(queues);
    let polled = port.map_or(0, |port| port.cores.len());
    let map = match rss(device) {
        Some(used) if used.len() > RSS_SHOWN => format!(", flows spread over {} of them", used.len()),
        Some(used) => format!(", flows spread over {used:?}"),
        None => String::new(),
    };
    findings.good(format!("{queues} of {most} receive queues{map}"));
    let is_xsk = port.is_some_and(|port| port.kind == PortKind::Xsk);
    let unpolled: Vec<usize> =
        rss(device).unwrap_or_default().into_iter().filter(|queue| *queue >= polled).collect();
    if is_xsk && polled < queues {
        let found = format!("{polled} of {queues} queues are the switch's: what comes on others is not");
        let remedy = if unpolled.is_empty() {
            "queues = \"all\" takes them all".to_owned()
        } else {
            format!(
                "queues = \"all\", or spread flows over the first {polled}: ethtool -X {device} equal {polled}"
            )
        };
        findings.problem(found, remedy);
    }
}

/// Queues that the indirection table names. The kernel's netlink has it, no crate does: the tool is asked, if it is there.
fn rss(device: &str) -> Option<Vec<usize>> {
    let output =
        Command::new("ethtool").args(["-x", device]).output().ok().filter(|it| it.status.success())?;
    let used = parse_rss(&String::from_utf8_lossy(&output.stdout));
    if used.is_empty() { None } else { Some(used) }
}

fn parse_rss(text: &str) -> Vec<usize> {
    // `    0:      0     1     2     3 …` until the hash key.
    let rows = text.lines().skip(1).take_while(|line| line.starts_with(' ') && line.contains(':'));
    let mut used: Vec<usize> = rows
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, queues)| {
            queues.split_whitespace().filter_map(|queue| queue.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}

fn offloads(findings: &mut Findings, device: &str, answers: &Answers, port: Option<&PortRow>) {
    let on = |feature: &str| answers.active.iter().any(|name| name == feature);
    let is_xsk = port.is_none_or(|port| port.kind == PortKind::Xsk);
    if is_xsk && on("rx-lro") {
        findings.problem("LRO is on: joined frames do not fit XDP", format!("ethtool -K {device} lro off"));
    }
    let carries_tags = port.is_some_and(|port| port.role == RoleSpec::Trunk && port.kind == PortKind::Xsk);
    if carries_tags && on("rx-vlan-hw-parse") {
        let remedy =
            format!("ethtool -K {device} rxvlan off; at the other end of a veth: ethtool -K eth0 txvlan off");
        findings.problem("VLAN tags are taken out of frames: a trunk of kind xsk doesn't see them", remedy);
    }
}

fn addresses(findings: &mut Findings, answers: &Answers, port: Option<&PortRow>) {
    let is_pods = port.is_some_and(|port| port.role == RoleSpec::Pod && port.kind == PortKind::Packet);
    let own: Vec<&String> = answers.addresses.iter().filter(|address| !address.starts_with("fe80")).collect();
    if is_pods && !own.is_empty() {
        let found = format!(
            "the switch's end of a pod's veth has the address {}: the node's stack answers, too",
            own[0]
        );
        findings.problem(
            found,
            format!("ip addr flush dev {}", port.and_then(|port| port.device.clone()).unwrap_or_default()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indirection_table_is_read_as_ethtool_writes_it() {
        let text = "RX flow hash indirection table for ens1 with 4 RX ring(s):\n    0:      0     1     2     3     0     1     2     3\n    \
                    8:      0     1     2     3     0     1     2     3\nRSS hash key:\n6d:5a:56:da\nRSS hash function:\n    toeplitz: on\n";
        assert_eq!(parse_rss(text), [0, 1, 2, 3]);
        assert_eq!(parse_rss(""), [0; 0]);
    }
}
