//! What a case's packets are, and the configuration that they meet.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use weft_dataplane::{
    program::Verdict,
    rules::{Match, Rule, RuleTable},
    snapshot::{Endpoint, Fdb, Hop, Mode, NetworkView, PeerView, PortView, Rewrite, Role, Snapshot, Station},
    stats::{PeerStats, PortStats, RuleStats},
    table::routes::{Route, Routes},
    tunnel::{Dscp, Encapsulation, Tunnel, Tunnels, Way},
};
use weft_pmd::{Caps, port::gen_udp};
use weft_wire::{Mac, NetworkId, PeerId, PortId, Vni, ip, tunnel::Vxlan};

use super::{Case, Layout, Setup};
use crate::ruleset;

const SRC: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const DST: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NETWORK: NetworkId = NetworkId(0);
const INTRUDER: Mac = Mac([2, 0, 0, 0, 0, 0xc]);
/// Generator, sink, and the generator of new flows.
pub(super) const PORTS: [PortId; 3] = [
    const { PortId::from_index(0).expect("a port") },
    const { PortId::from_index(1).expect("a port") },
    const { PortId::from_index(2).expect("a port") },
];
pub(super) const CAPS: Caps = Caps { mtu: 1500, csum: true, gso: true };

pub(super) fn spec(setup: &Setup) -> gen_udp::Spec {
    let (src, dst): (IpAddr, IpAddr) = if setup.ipv6 {
        ([0xfd00, 0x244, 0, 0, 0, 0, 1, 0].into(), [0xfd00, 0x244, 0, 0, 0, 0, 2, 1].into())
    } else {
        ([10, 1, 0, 0].into(), [10, 2, 0, 1].into())
    };
    let dst_mac = if setup.case.is_routed() { GATEWAY } else { DST };
    let in_order = setup.case == Case::Miss;
    gen_udp::Spec {
        flows: setup.flows,
        size: 64,
        src_mac: SRC,
        dst_mac,
        src,
        dst,
        limit: None,
        queues: 1,
        in_order,
    }
}

/// New flows, without end: more than the flow table holds.
pub(super) fn intruder(setup: &Setup) -> gen_udp::Spec {
    gen_udp::Spec {
        flows: 4_000_000,
        src_mac: INTRUDER,
        src: [10, 1, 128, 0].into(),
        in_order: true,
        ..spec(&Setup { ipv6: false, ..*setup })
    }
}

/// Every flow's source is an address of the one pod behind the generator.
pub(super) fn snapshot(setup: &Setup, layout: &Layout, stats: &[Arc<PortStats>; 3]) -> Snapshot {
    let is_routed = setup.case.is_routed();
    let fabric = fabric(setup.case);
    let network = NetworkView {
        mode: if is_routed { Mode::Routed } else { Mode::Bridged },
        gateway_mac: GATEWAY,
        gateways: Vec::new(),
        suppress: false,
        members: PORTS.map(|port| (port, None)).to_vec(),
        tunnel: fabric.map(|_| 0),
        remotes: Vec::new(),
        copy_limit: None,
        flood_rate: None,
    };
    let stations: Fdb = [(SRC, PORTS[0]), (DST, PORTS[1])]
        .map(|(mac, port)| ((NETWORK, mac), Station::Local { port, vlan: None }))
        .into_iter()
        .collect();
    Snapshot {
        generation: 1,
        ports: ports(setup.case, layout, stats),
        networks: vec![Arc::new(network)],
        endpoints: Arc::new(if is_routed { pods(setup) } else { HashMap::new() }),
        routes: Arc::new(routes(setup)),
        rewrites: Arc::new(vec![Rewrite::new(DST, GATEWAY, CAPS.mtu)]),
        peers: Arc::new(fabric.map(|port| Some(peer(port))).into_iter().collect()),
        tunnels: Arc::new(tunnel().into_iter().collect()),
        unwraps: fabric.map(|port| Arc::new(unwraps(port))),
        fdb: Arc::new(stations),
        rules: Arc::new(RuleTable::new(rules(setup, layout))),
        flow_idle_ms: IDLE_MS,
        ..Snapshot::default()
    }
}

fn sources(spec: &gen_udp::Spec) -> Vec<IpAddr> {
    (0..spec.flows.div_ceil(50_000)).map(|i| spec.flow(i * 50_000).src).collect()
}

fn pods(setup: &Setup) -> HashMap<(NetworkId, Mac), Endpoint> {
    let spec = spec(setup);
    let pods = [
        (SRC, PORTS[0], sources(&spec)),
        (DST, PORTS[1], vec![spec.dst]),
        (INTRUDER, PORTS[2], sources(&intruder(setup))),
    ];
    pods.into_iter()
        .map(|(mac, port, addresses)| ((NETWORK, mac), Endpoint { network: NETWORK, port, mac, addresses }))
        .collect()
}

fn routes(setup: &Setup) -> Routes {
    let (spec, mut routes) = (spec(setup), Routes::default());
    let to_pod = Route::Endpoint { network: NETWORK, port: PORTS[1], rewrite: 0 };
    routes.insert(spec.dst.into(), if setup.case == Case::VxlanEncap { Route::Peer(PEER) } else { to_pod });
    if setup.case == Case::VxlanDecap {
        for src in sources(&spec) {
            routes.insert(src.into(), Route::Peer(PEER));
        }
    }
    routes
}

/// The port towards other nodes.
fn fabric(case: Case) -> Option<PortId> {
    match case {
        Case::VxlanEncap => Some(PORTS[1]),
        Case::VxlanDecap => Some(PORTS[0]),
        _ => None,
    }
}

fn ports(case: Case, layout: &Layout, stats: &[Arc<PortStats>; 3]) -> Vec<Option<Arc<PortView>>> {
    let role = |port: PortId| match case.is_routed() {
        _ if fabric(case) == Some(port) => Role::Fabric,
        true => Role::Pod,
        false => Role::Access(NETWORK),
    };
    let port = |index: usize| PortView {
        role: role(PORTS[index]),
        mac: Mac::ZERO,
        caps: CAPS,
        owners: layout.owners[index].clone(),
        network: Some(NETWORK),
        stats: stats[index].clone(),
        pods: Vec::new(),
    };
    (0..PORTS.len()).map(|index| Some(Arc::new(port(index)))).collect()
}

fn rules(setup: &Setup, layout: &Layout) -> Vec<Rule> {
    match setup.case {
        Case::Xconnect => vec![Rule {
            priority: 1,
            matching: Match { port: Some(PORTS[0]), ..Match::default() },
            steps: Vec::new(),
            end: Some(Verdict::Forward(PORTS[1])),
            stats: Arc::new(RuleStats::new(layout.threads)),
        }],
        Case::L2 | Case::L3 | Case::VxlanEncap | Case::VxlanDecap => Vec::new(),
        Case::Rules | Case::Miss | Case::Mixed => ruleset::rules(setup.rules),
    }
}

/// This node's address in the underlay, and the other's.
const UNDERLAY: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2))];
const PEER: PeerId = PeerId(0);
const UPLINK: Mac = Mac([2, 0, 0, 0, 0, 0xe]);
const NEXT_HOP: Mac = Mac([2, 0, 0, 0, 0, 0xf]);

fn peer(port: PortId) -> PeerView {
    let hop = Some(Hop::Tunnel { port, first: 0 });
    PeerView { hop, addresses: vec![UNDERLAY[1]], stats: Arc::new(PeerStats::new(1)) }
}

fn way(macs: (Mac, Mac), addresses: (IpAddr, IpAddr)) -> Option<Way> {
    let vni = Vni::try_from(42).ok()?;
    let (udp_port, encapsulation) = (Vxlan::PORT, Encapsulation::Vxlan);
    Some(Way { macs, addresses, udp_port, encapsulation, vni, dscp: Dscp::Inherit })
}

fn tunnel() -> Option<Tunnel> {
    let way = way((NEXT_HOP, UPLINK), (UNDERLAY[0], UNDERLAY[1]))?;
    Tunnel::new(&way, 0, Arc::new(PeerStats::new(1)))
}

fn unwraps(port: PortId) -> Tunnels {
    Tunnels {
        port,
        mac: UPLINK,
        encapsulation: Encapsulation::Vxlan,
        udp_port: Vxlan::PORT,
        v4: Some([192, 0, 2, 1]),
        v6: None,
        networks: [(42, NETWORK)].into(),
        peers: [(ip::mapped(UNDERLAY[1]), PEER)].into(),
    }
}

/// What the other node puts in front of a frame of so many bytes.
pub(super) fn outer_header(size: u16) -> Vec<u8> {
    let way = way((UPLINK, NEXT_HOP), (UNDERLAY[1], UNDERLAY[0]));
    let Some(tunnel) = way.and_then(|way| Tunnel::new(&way, 0, Arc::new(PeerStats::new(1)))) else {
        return Vec::new(); // can't be: both addresses are of one family
    };
    let mut packet = vec![0; tunnel.outer().len() + usize::from(size)];
    tunnel.write(&mut packet, 0, 0);
    packet.truncate(tunnel.outer().len());
    packet
}

/// Longer than any run.
pub(super) const IDLE_MS: u32 = 1 << 24;
