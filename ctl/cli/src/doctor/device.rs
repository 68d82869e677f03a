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
use rtnetlink::packet_route::{
    address::AddressAttribute,
    link::{InfoKind, LinkAttribute, LinkInfo},
};
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
const OWN: [&str; 3] = ["weft", "weft_claim", "weft_keep"];

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
        match ask_xdp(ifindex as i32) {
            Some(state) => xdp(findings, port, state, &programs),
            None => findings.note("it can't be asked about XDP", "run weftctl doctor as root"),
        }
        programs.in_the_way(findings, ifindex as u32, port);
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
    /// It is an end of a veth.
    is_veth: bool,
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
            is_veth: is_veth(&route, ifindex as u32).await.unwrap_or_default(),
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

async fn is_veth(route: &rtnetlink::Handle, ifindex: u32) -> Option<bool> {
    let message = route.link().get().match_index(ifindex).execute().try_next().await.ok()??;
    let infos = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    Some(infos.flatten().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth))))
}

/// BPF programs, as far as the asker may see them.
#[derive(Debug, Default)]
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

    /// tcx comes behind XDP, and behind AF_PACKET; weft's own tcx programs keep what is the switch's from the node's stack.
    fn in_the_way(&self, findings: &mut Findings, ifindex: u32, port: Option<&PortRow>) {
        for (_, program) in self.tcx.iter().filter(|(at, program)| *at == ifindex && !self.is_own(*program)) {
            let found = format!("a tcx program of somebody else's, {}, is attached", self.name(*program));
            let remedy = match port {
                Some(port) if port.kind == PortKind::Xsk => {
                    "it never sees what weft takes and sends: none of its policies hold for pods"
                }
                _ => "see that it lets what is weft's pass to the next program (TCX_NEXT): bpftool net",
            };
            findings.note(found, remedy);
        }
    }
}

/// What the kernel says of XDP on a device.
#[derive(Debug, Clone, Copy, Default)]
struct XdpState {
    /// What its driver can do, of [`act`].
    features: u64,
    /// The program that is attached; 0: none.
    program: u32,
}

fn ask_xdp(ifindex: i32) -> Option<XdpState> {
    let stdin = std::io::stdin();
    // The descriptor is not looked at: the query is netlink's.
    let info = Xdp::new(stdin.as_fd()).query(ifindex, XdpFlags::NONE).ok()?;
    Some(XdpState { features: info.feature_flags, program: info.prog_id })
}

fn xdp(findings: &mut Findings, port: Option<&PortRow>, state: XdpState, programs: &Programs) {
    let is_xsk = port.is_none_or(|port| port.kind == PortKind::Xsk);
    let has = |act: u64| state.features & act != 0;
    let zerocopy = if has(act::ZEROCOPY) { "zero-copy" } else { "copy mode only" };
    let frames = if has(act::RX_SG) { "frames of several buffers" } else { "frames of one buffer" };
    if has(act::BASIC) && has(act::REDIRECT) {
        findings.good(format!("native XDP, {zerocopy}, {frames}"));
    } else if is_xsk {
        let remedy = "generic XDP works, and is slower: prefer a port of kind packet, or another driver";
        findings.note("its driver has no native XDP with redirection", remedy);
    }
    // A port that is up has its own program there.
    let own = port.filter(|port| port.kind == PortKind::Xsk && port.is_open());
    if state.program != 0 && !programs.is_own(state.program) && own.is_none() {
        let name = programs.name(state.program);
        let found = format!("an XDP program of somebody else's, {name}, is attached");
        if is_xsk {
            findings.problem(
                found,
                "a port of kind xsk can't have the device: remove it (ip link set … xdp off)",
            );
        } else {
            findings.note(found, "it sees packets before weft does: see that it lets them pass");
        }
    }
    if let Some(port) = own.filter(|port| !port.why.is_empty()) {
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
    if carries_tags && answers.is_veth {
        let remedy = "ethtool -K eth0 txvlan off there, or a port of kind packet";
        findings.note(
            "a trunk of kind xsk sees VLAN tags only if the veth's other end puts them into frames",
            remedy,
        );
    } else if carries_tags && on("rx-vlan-hw-parse") {
        let found = "VLAN tags are taken out of frames: a trunk of kind xsk doesn't see them";
        findings.problem(found, format!("ethtool -K {device} rxvlan off"));
    }
}

fn addresses(findings: &mut Findings, answers: &Answers, port: Option<&PortRow>) {
    let is_kept = port.is_some_and(|port| {
        matches!(port.role, RoleSpec::Pod | RoleSpec::Access | RoleSpec::Trunk)
            && matches!(port.kind, PortKind::Packet | PortKind::Xsk)
    });
    let own: Vec<&String> = answers.addresses.iter().filter(|address| !address.starts_with("fe80")).collect();
    if is_kept && !own.is_empty() {
        let found =
            format!("it has the address {}, where nobody reaches the node: it is the switch's alone", own[0]);
        findings.problem(
            found,
            format!("ip addr flush dev {}", port.and_then(|port| port.device.clone()).unwrap_or_default()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Finding, Severity},
        *,
    };

    #[test]
    fn the_indirection_table_is_read_as_ethtool_writes_it() {
        let text = "RX flow hash indirection table for ens1 with 4 RX ring(s):\n    0:      0     1     2     3     0     1     2     3\n    \
                    8:      0     1     2     3     0     1     2     3\nRSS hash key:\n6d:5a:56:da\nRSS hash function:\n    toeplitz: on\n";
        assert_eq!(parse_rss(text), [0, 1, 2, 3]);
        assert_eq!(parse_rss(""), [0; 0]);
    }

    fn port(kind: PortKind, role: RoleSpec) -> PortRow {
        PortRow {
            name: "p".into(),
            kind,
            role,
            device: Some("d".into()),
            netns: None,
            state: "up".into(),
            mac: None,
            mtu: 1500,
            cores: vec![0],
            mode: "native".into(),
            why: String::new(),
        }
    }

    fn found(look: impl FnOnce(&mut Findings)) -> Vec<(Severity, String)> {
        let mut findings = Findings::default();
        look(&mut findings);
        let line = |it: &Finding| format!("{}; {}", it.found, it.remedy.clone().unwrap_or_default());
        findings.findings.iter().map(|it| (it.severity, line(it))).collect()
    }

    /// Whether something is found, how bad it is, and what it says.
    #[track_caller]
    fn check(found: &[(Severity, String)], expected: Option<(Severity, &str)>) {
        let ill: Vec<_> = found.iter().filter(|(severity, _)| *severity != Severity::Good).collect();
        match (ill.as_slice(), expected) {
            ([], None) => {}
            ([(severity, text)], Some((expected, says))) if *severity == expected && text.contains(says) => {}
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    }

    const NATIVE: u64 = act::BASIC | act::REDIRECT;

    fn programs(tcx: &[(u32, u32)]) -> Programs {
        let names = [(1, "weft"), (2, "weft_claim"), (7, "watcher")];
        let names = names.map(|(number, name)| (number, name.to_owned()));
        Programs { names: names.into(), tcx: tcx.to_vec() }
    }

    #[test]
    fn xdp_programs_of_others_are_in_the_way_of_xsk_and_before_the_rest() {
        let waiting = PortRow { state: "waiting".into(), ..port(PortKind::Xsk, RoleSpec::Fabric) };
        let (xsk, packet) = (port(PortKind::Xsk, RoleSpec::Fabric), port(PortKind::Packet, RoleSpec::Pod));
        let problem = Some((Severity::Problem, "somebody else's, watcher, is attached"));
        for (program, port, expected) in [
            (0, None, None),
            (1, Some(&xsk), None),
            (7, Some(&xsk), None), // it is up: the kernel lets no two have a device
            (7, Some(&waiting), problem),
            (7, None, problem),
            (8, None, Some((Severity::Problem, "somebody else's, number 8"))),
            (7, Some(&packet), Some((Severity::Note, "it sees packets before weft does"))),
        ] {
            let state = XdpState { features: NATIVE, program };
            check(&found(|it| xdp(it, port, state, &programs(&[]))), expected);
        }
        let slow = XdpState { features: act::BASIC, program: 0 };
        let lesser = Some((Severity::Note, "no native XDP"));
        check(&found(|it| xdp(it, Some(&xsk), slow, &programs(&[]))), lesser);
        check(&found(|it| xdp(it, Some(&packet), slow, &programs(&[]))), None);
        let generic = PortRow { mode: "generic, copy".into(), why: "no room".into(), ..xsk };
        let said = Some((Severity::Note, "port p runs in a lesser mode: generic, copy; no room"));
        check(
            &found(|it| xdp(it, Some(&generic), XdpState { features: NATIVE, program: 1 }, &programs(&[]))),
            said,
        );
    }

    #[test]
    fn tcx_programs_of_others_are_told_of_on_their_device_only() {
        let (xsk, packet) = (port(PortKind::Xsk, RoleSpec::Pod), port(PortKind::Packet, RoleSpec::Fabric));
        let programs = programs(&[(3, 2), (3, 7), (4, 2)]);
        check(&found(|it| programs.in_the_way(it, 3, Some(&packet))), Some((Severity::Note, "TCX_NEXT")));
        check(&found(|it| programs.in_the_way(it, 3, None)), Some((Severity::Note, "TCX_NEXT")));
        check(
            &found(|it| programs.in_the_way(it, 3, Some(&xsk))),
            Some((Severity::Note, "never sees what weft")),
        );
        check(&found(|it| programs.in_the_way(it, 4, Some(&packet))), None); // weft's own
        check(&found(|it| programs.in_the_way(it, 5, Some(&packet))), None);
    }

    #[test]
    fn offloads_that_lose_packets_are_problems_where_they_do() {
        let answers = |is_veth: bool, active: &[&str]| Answers {
            is_veth,
            active: active.iter().map(|name| (*name).to_owned()).collect(),
            ..Answers::default()
        };
        let (xsk, trunk) = (port(PortKind::Xsk, RoleSpec::Pod), port(PortKind::Xsk, RoleSpec::Trunk));
        let packet = port(PortKind::Packet, RoleSpec::Trunk);
        let lro = Some((Severity::Problem, "ethtool -K ens1 lro off"));
        let tags = Some((Severity::Problem, "ethtool -K ens1 rxvlan off"));
        let other_end = Some((Severity::Note, "txvlan off"));
        for (is_veth, active, port, expected) in [
            (false, &["rx-lro", "rx-gro"][..], Some(&xsk), lro),
            (false, &["rx-lro"][..], None, lro),
            (false, &["rx-lro"][..], Some(&packet), None),
            (false, &["rx-gro"][..], Some(&xsk), None),
            (false, &["rx-vlan-hw-parse"][..], Some(&trunk), tags),
            (false, &["rx-vlan-hw-parse"][..], Some(&xsk), None),
            (false, &["rx-vlan-hw-parse"][..], Some(&packet), None),
            (false, &[][..], Some(&trunk), None),
            (true, &["rx-vlan-hw-parse"][..], Some(&trunk), other_end),
            (true, &[][..], Some(&trunk), other_end),
            (true, &[][..], Some(&packet), None),
        ] {
            check(&found(|it| offloads(it, "ens1", &answers(is_veth, active), port)), expected);
        }
    }

    #[test]
    fn an_address_on_a_device_that_is_the_switchs_alone_is_a_problem() {
        let answers = |addresses: &[&str]| Answers {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            ..Answers::default()
        };
        let own = answers(&["fe80::1", "10.9.9.9"]);
        for kind in [PortKind::Packet, PortKind::Xsk] {
            for role in [RoleSpec::Pod, RoleSpec::Access, RoleSpec::Trunk] {
                let port = port(kind, role);
                let problem = Some((Severity::Problem, "ip addr flush dev d"));
                check(&found(|it| addresses(it, &own, Some(&port))), problem);
                check(&found(|it| addresses(it, &answers(&["fe80::1"]), Some(&port))), None);
            }
            for role in [RoleSpec::Fabric, RoleSpec::Host] {
                check(&found(|it| addresses(it, &own, Some(&port(kind, role)))), None);
            }
        }
    }
}
