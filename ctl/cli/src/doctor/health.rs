//! The running weftd: what it loses, and what it has no room for.

use weft_ctl_api::{
    client::ClientError,
    fabric::{FabricShow, PENDING, PeerList, PeerRow},
    history::{History, Moment},
    pmd::PmdList,
    port::{self, PortRow},
    spec::RoleSpec,
};

use super::{Findings, Running};

/// Looks so far back.
const MINUTE: u64 = 60;
/// A thread that is busier loses frames with the next burst.
const BUSY_MOST: f64 = 90.0;
/// Chunks of a size that are left, percent.
const MEMORY_LEAST: usize = 10;
/// A drop a second may be somebody's broadcast.
const DROPS_MOST: f64 = 10.0;

/// What to do about what is not known yet.
const LOOK_AGAIN: &str = "look again in some seconds";

/// Looks at it.
pub(super) fn look(findings: &mut Findings, running: &mut Running) {
    state(findings, running);
    if let Err(error) = recent(findings, running).and_then(|()| fabric(findings, running)) {
        findings
            .problem(format!("it does not answer: {error}"), "use a weftctl of the same version as weftd");
    }
}

fn state(findings: &mut Findings, running: &Running) {
    let status = &running.status;
    findings.good(format!("{} runs, generation {}", status.version, status.generation));
    if status.threads_dead > 0 {
        let found = format!(
            "{} of {} PMD threads died: their queues stand still",
            status.threads_dead, status.threads
        );
        findings.problem(found, "restart weftd, and report what its log says of a panic");
    }
    running.ports.iter().for_each(|port| port_state(findings, port));
    for problem in &status.problems {
        let (found, remedy) = problem.rsplit_once("; ").unwrap_or((problem, "see weftd's log"));
        findings.problem(found, remedy);
    }
    // By size: when the few large chunks are used up, super-frames are lost, however much of the memory is free.
    for row in status.chunks.iter().filter(|row| row.free_percent() < MEMORY_LEAST) {
        let found = format!("{} of {} {} chunks of frame memory are free", row.free, row.total, row.size);
        findings.problem(found, "raise pmd.memory_mib and restart weftd");
    }
}

/// A port that waits serves nobody. What a pod has made of its own device is for the pod to mend.
fn port_state(findings: &mut Findings, port: &PortRow) {
    let PortRow { name, role, state, why, .. } = port;
    let found = format!("port {name} is {state}: {why}");
    match state.as_str() {
        port::UP => {}
        port::DEGRADED if !matches!(role, RoleSpec::Host | RoleSpec::Fabric) => {
            findings.note(found, "mend what it says in the pod's namespace; weftd notices by itself");
        }
        port::DEGRADED => findings.problem(found, "mend what it says; weftd notices by itself"),
        _ => findings.problem(found, "mend what it says; weftd tries it again by itself"),
    }
}

fn recent(findings: &mut Findings, running: &mut Running) -> Result<(), ClientError> {
    let asked = History { from_s: MINUTE, to_s: 0, step_s: MINUTE, ..History::default() };
    let minute = running.client.call(&asked)?.moments.into_iter().next_back().unwrap_or_default();
    for thread in &minute.threads {
        let busy = thread.busy_percent();
        if busy > BUSY_MOST {
            let found =
                format!("the PMD thread on core {} was {busy:.0} % busy in the last minute", thread.core);
            findings.problem(found, "give pmd.cores another core, or move queues (port.cores)");
        }
    }
    drops(findings, &minute);
    for thread in running.client.call(&PmdList {})?.threads {
        if thread.pinned == Some(false) && thread.alive {
            let found = format!("the PMD thread for core {} could not be pinned to it", thread.core);
            findings.problem(found, "name cores that weftd may run on (pmd.cores; its cpuset)");
        } else if thread.pinned.is_none() && thread.alive {
            let found = format!("the PMD thread for core {} has not run yet", thread.core);
            findings.note(found, "look again: a machine under load may take its time to run it");
        }
        if thread.flow_table_full > 0 {
            let found = format!(
                "the flow table on core {} was full for {} flows",
                thread.core, thread.flow_table_full
            );
            findings.note(found, "raise pmd.flows and restart weftd");
        }
    }
    Ok(())
}

fn drops(findings: &mut Findings, minute: &Moment) {
    let mut grown = false;
    for row in minute.drops.iter().filter(|row| minute.per_second(row.packets) > DROPS_MOST) {
        grown = true;
        let found = format!(
            "port {} dropped {:.0} packets/s as {} in the last minute",
            row.port,
            minute.per_second(row.packets),
            row.reason
        );
        let remedy = match row.reason.as_str() {
            "rx_lost" => {
                "its PMD thread is too slow for it (more queues, more cores), or frame memory is used up"
            }
            "tx_full" => "what is behind the port is too slow for what is sent there",
            "no_frames" => "raise pmd.memory_mib and restart weftd",
            "handoff_full" => "poll both ports on one core (port.cores), or use more cores",
            _ => "weftctl drops tells what it means",
        };
        // What policy drops is what policy wants.
        if ["rule", "policed", "ignored", "not_ours", "multicast"].contains(&row.reason.as_str()) {
            findings.note(found, remedy);
        } else {
            findings.problem(found, remedy);
        }
    }
    if !grown {
        findings.good("hardly any drops in the last minute");
    }
}

fn fabric(findings: &mut Findings, running: &mut Running) -> Result<(), ClientError> {
    let fabric = running.client.call(&FabricShow {})?;
    if let Some(uplink) = &fabric.uplink {
        findings.about("fabric");
        let peers = running.client.call(&PeerList {})?.peers;
        ways(findings, &peers);
        fits(findings, uplink, &peers, &running.ports);
    }
    Ok(())
}

/// Whether other nodes can be reached.
fn ways(findings: &mut Findings, peers: &[PeerRow]) {
    let mut all_well = !peers.is_empty();
    for PeerRow { name, address, next_hop, state, bfd, .. } in peers {
        if next_hop.is_none() && state == PENDING {
            all_well = false;
            findings.note(format!("the next hop to {name} ({address}) is not known yet"), LOOK_AGAIN);
        } else if bfd.as_deref() == Some(PENDING) {
            all_well = false;
            findings
                .note(format!("the BFD session with {name} ({address}) is not up yet, and new"), LOOK_AGAIN);
        } else if next_hop.is_none() {
            all_well = false;
            let remedy = format!("look at its route and neighbour: ip route get {address}");
            findings.problem(format!("no next hop to {name} ({address}): {state}"), remedy);
        } else if bfd.as_deref().is_some_and(|session| session != "up") {
            all_well = false;
            let remedy = "see that weftd runs there with [fabric.bfd], and that UDP port 4784 is let through";
            findings
                .problem(format!("{name} ({address}) is not heard of: its BFD session is not up"), remedy);
        }
    }
    if all_well {
        let peers = if peers.len() == 1 { "1 peer".into() } else { format!("{} peers, each", peers.len()) };
        findings.good(format!("{peers} with a next hop"));
    }
}

/// Whether what pods send fits into the way to each other node.
fn fits(findings: &mut Findings, uplink: &str, peers: &[PeerRow], ports: &[PortRow]) {
    let known = peers.iter().filter(|peer| peer.mtu > 0); // others can't be reached
    let Some(narrowest) = known.min_by_key(|peer| peer.mtu) else { return };
    let room = narrowest.mtu;
    let too_large = |port: &&PortRow| port.role == RoleSpec::Pod && port.is_open() && port.mtu > room;
    let too_large: Vec<&PortRow> = ports.iter().filter(too_large).collect();
    let Some(largest) = too_large.iter().max_by_key(|port| port.mtu) else {
        return findings
            .good(format!("pods' packets fit into what {uplink} carries to other nodes (MTU {room})"));
    };
    let found = format!(
        "{} ports of pods have a larger MTU than the {room} that {uplink} carries to {} ({}: {}): larger packets are \
         fragmented or answered too big",
        too_large.len(),
        narrowest.name,
        largest.name,
        largest.mtu,
    );
    findings
        .note(found, format!("set their MTU to {room}, or raise the underlay's by {}", largest.mtu - room));
}

#[cfg(test)]
mod tests {
    use weft_ctl_api::spec::PortKind;

    use super::{super::Severity, *};

    fn peer(name: &str, address: &str, mtu: u32) -> PeerRow {
        PeerRow {
            name: name.into(),
            address: address.parse().expect("an address"),
            state: if mtu > 0 { "up" } else { "unresolved" }.into(),
            next_hop: (mtu > 0).then(|| "02:00:00:00:00:0b".parse().expect("a MAC")),
            mtu,
            heard_ms: None,
            bfd: None,
            bfd_since_ms: None,
            tx_packets: 0,
            tx_bytes: 0,
            rx_packets: 0,
            rx_bytes: 0,
        }
    }

    fn port(name: &str, role: RoleSpec, mtu: u32) -> PortRow {
        PortRow {
            name: name.into(),
            kind: PortKind::Tap,
            role,
            device: None,
            netns: None,
            state: "up".into(),
            mac: None,
            mtu,
            cores: vec![0],
            mode: String::new(),
            why: String::new(),
        }
    }

    fn found(look: impl FnOnce(&mut Findings)) -> Vec<(Severity, String)> {
        let mut findings = Findings::default();
        look(&mut findings);
        let line =
            |it: &super::super::Finding| format!("{}; {}", it.found, it.remedy.clone().unwrap_or_default());
        findings.findings.iter().map(|it| (it.severity, line(it))).collect()
    }

    #[test]
    fn each_node_that_cant_be_reached_is_named() {
        let well = [peer("b", "192.0.2.2", 1450), peer("c", "192.0.2.3", 1450)];
        assert_eq!(found(|it| ways(it, &well)), [(Severity::Good, "2 peers, each with a next hop; ".into())]);
        assert_eq!(found(|it| ways(it, &[])), []);
        let down = PeerRow { bfd: Some("down".into()), ..peer("c", "192.0.2.3", 1450) };
        // What has only just been asked is no fault.
        let asked = PeerRow { state: PENDING.into(), ..peer("b", "192.0.2.2", 0) };
        let young = PeerRow { bfd: Some(PENDING.into()), ..peer("c", "192.0.2.3", 1450) };
        let notes = found(|it| ways(it, &[asked, young]));
        assert!(notes.len() == 2 && notes.iter().all(|it| it.0 == Severity::Note), "{notes:?}");
        let ill = found(|it| ways(it, &[peer("b", "192.0.2.2", 0), down, peer("d", "192.0.2.4", 1450)]));
        assert_eq!(ill.len(), 2, "{ill:?}");
        assert!(ill.iter().all(|(severity, _)| *severity == Severity::Problem));
        assert!(
            ill[0].1.contains("no next hop to b (192.0.2.2)") && ill[0].1.contains("ip route get 192.0.2.2")
        );
        assert!(ill[1].1.contains("c (192.0.2.3) is not heard of"));
    }

    #[test]
    fn pods_whose_packets_are_too_large_are_counted_and_the_largest_is_named() {
        let peers =
            [peer("b", "192.0.2.2", 1450), peer("c", "2001:db8::3", 1430), peer("gone", "192.0.2.9", 0)];
        let pods = |mtus: &[u32]| -> Vec<PortRow> {
            let pods = mtus.iter().enumerate();
            let pods = pods.map(|(index, mtu)| port(&format!("pod{index}"), RoleSpec::Pod, *mtu));
            pods.chain([port("uplink", RoleSpec::Fabric, 1500), port("host", RoleSpec::Host, 1500)]).collect()
        };
        let well = found(|it| fits(it, "uplink", &peers, &pods(&[1430, 1400])));
        assert!(well.len() == 1 && well[0].0 == Severity::Good && well[0].1.contains("1430"), "{well:?}");
        let large = found(|it| fits(it, "uplink", &peers, &pods(&[1430, 1450, 9000])));
        let [(Severity::Note, text)] = large.as_slice() else { panic!("{large:?}") };
        for says in [
            "2 ports of pods",
            "the 1430 that uplink carries to c",
            "(pod2: 9000)",
            "raise the underlay's by 7570",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
        let waiting = PortRow { state: port::WAITING.into(), ..port("pod", RoleSpec::Pod, 9000) };
        assert_eq!(found(|it| fits(it, "uplink", &peers, &[waiting]))[0].0, Severity::Good);
        assert_eq!(found(|it| fits(it, "uplink", &peers[2..], &pods(&[9000]))), []);
    }
}
