//! The running weftd: what it loses, and what it has no room for.

use weft_ctl_api::{
    client::ClientError,
    fabric::{FabricShow, PeerList},
    history::{History, Moment},
    pmd::PmdList,
};

use super::{Findings, Running};

/// Looks so far back.
const MINUTE: u64 = 60;
/// A thread that is busier loses frames with the next burst.
const BUSY_MOST: f64 = 90.0;
/// Frame memory that is left, percent.
const MEMORY_LEAST: u8 = 10;
/// A drop a second may be somebody's broadcast.
const DROPS_MOST: f64 = 10.0;

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
    for port in running.ports.iter().filter(|port| port.state != "up") {
        let found = format!("port {} is {}: {}", port.name, port.state, port.why);
        findings.problem(found, "bring its device back, then: weftctl config reload");
    }
    if status.memory_free_percent < MEMORY_LEAST {
        let found = format!("{} % of the frame memory is free", status.memory_free_percent);
        findings.problem(found, "raise pmd.memory_mib and restart weftd");
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
        if !thread.pinned && thread.alive {
            let found = format!("the PMD thread for core {} could not be pinned to it", thread.core);
            findings.problem(found, "name cores that weftd may run on (pmd.cores; its cpuset)");
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
            "rx_lost" => "its PMD thread is too slow for it: more queues, more cores",
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
    findings.about("fabric");
    let fabric = running.client.call(&FabricShow {})?;
    let Some(uplink) = &fabric.uplink else { return Ok(()) };
    if fabric.peers > fabric.reachable {
        for peer in running.client.call(&PeerList {})?.peers.iter().filter(|peer| peer.next_hop.is_none()) {
            let found = format!("no next hop to {} ({}): {}", peer.name, peer.address, peer.state);
            findings
                .problem(found, format!("look at its route and neighbour: ip route get {}", peer.address));
        }
    } else {
        findings.good(format!("{} peers, each with a next hop", fabric.peers));
    }
    let overhead = fabric.overhead[usize::from(fabric.addresses.iter().any(|address| address.is_ipv6()))];
    let room = fabric.uplink_mtu.saturating_sub(overhead);
    let large = |port: &&weft_ctl_api::port::PortRow| {
        port.role == weft_ctl_api::spec::RoleSpec::Pod && port.mtu > room && port.state == "up"
    };
    let too_large: Vec<_> = running.ports.iter().filter(large).collect();
    match too_large.as_slice() {
        [] => {
            findings.good(format!("pods' packets fit into the uplink {uplink} (MTU {})", fabric.uplink_mtu))
        }
        [first, ..] => {
            let found = format!(
                "{} pods' ports have a larger MTU than the {room} that {uplink} leaves ({}: {}): large packets are fragmented or answered too big",
                too_large.len(),
                first.name,
                first.mtu
            );
            findings.note(
                found,
                format!("set their MTU to {room}, or raise the uplink's by {}", first.mtu - room),
            );
        }
    }
    Ok(())
}
