//! Opens ports: from the words of a configuration to the drivers of `weft-pmd`.

use std::{
    collections::BTreeSet,
    fs, io,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use ipnet::IpNet;
use weft_ctl_api::spec::{self, PortKind, PortSpec, QueuesSpec, RoleSpec};
use weft_dataplane::snapshot::Mode;
use weft_pmd::{
    Memory, Netns, PortError,
    port::{LinkProbe, Opened, Stack, gen_udp, keep, null, packet, pcap, tap, xsk},
    sys::net::{self, LinkFacts},
};
use weft_wire::Mac;

use crate::{
    desired::{Desired, Role},
    netlink::{self, NetlinkError, tap::Placement},
};

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The driver's reason.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A tap could not be placed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The device is another port's, or is being opened.
    #[error("device {0} is another port's still, or is being opened")]
    Held(String),
}

impl OpenError {
    /// There is no such device, or no such namespace: both may come yet.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Port(PortError::NoDevice { .. }) | Self::Netlink(NetlinkError::NoDevice(_)) => true,
            Self::Port(PortError::NoNetns { source, .. })
            | Self::Netlink(NetlinkError::Io { source, .. }) => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// What is there does not let it be opened, which may pass. Otherwise the configuration asks for what can't be.
    pub fn is_of_the_place(&self) -> bool {
        match self {
            Self::Port(PortError::Refused { .. }) | Self::Held(_) => true,
            Self::Netlink(error) => !matches!(error, NetlinkError::NoAddress(_) | NetlinkError::Io { .. }),
            _ => false,
        }
    }

    /// What the device receives can't be kept from the node's stack.
    pub fn is_not_kept(&self) -> bool {
        matches!(self, Self::Port(PortError::NotKept { .. }))
    }

    /// The configuration names an address that the node does not have.
    pub fn is_a_mistake(&self) -> bool {
        matches!(self, Self::Netlink(NetlinkError::NoAddress(_)))
    }
}

/// A port that is open, and how far it is what it should be.
pub struct Ready {
    /// The port.
    pub opened: Opened,
    /// Where its tap was put, and what it was to get there.
    pub placed: Option<Placement>,
    /// What of that could not be done.
    pub short: Vec<NetlinkError>,
    /// What its device was then.
    pub facts: Option<LinkFacts>,
    /// Nobody else opens its device while this is there.
    pub held: Option<Held>,
}

impl From<Opened> for Ready {
    fn from(opened: Opened) -> Self {
        let facts = opened.probe.look().ok().flatten();
        Self { opened, placed: None, short: Vec::new(), facts, held: None }
    }
}

/// MTU of a port that has no device to ask.
const DEFAULT_MTU: u32 = 1500;

/// A namespace as users name it: an absolute path, a process id, or a name.
pub fn netns(text: &str) -> Netns {
    if text.starts_with('/') {
        Netns::Path(text.into())
    } else if let Ok(pid) = text.parse() {
        Netns::Pid(pid)
    } else {
        Netns::Name(text.to_owned())
    }
}

/// Where a port's device is: two ports of one place are after the same device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The device's name.
    pub device: String,
    /// What its namespace is, however it is named; one that is not there yet is its path.
    netns: Result<(u64, u64), PathBuf>,
}

/// A device that a port has, or that is being opened for one: two threads that open one device would take it from each other.
#[derive(Debug)]
pub struct Held(Place);

/// Those of this process.
static HELD: Mutex<BTreeSet<Place>> = Mutex::new(BTreeSet::new());

impl Held {
    /// None: it is held already.
    fn take(place: Place) -> Option<Self> {
        let is_free = HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
        is_free.then_some(Self(place))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Where a port's device is, if it has one.
pub fn place(spec: &PortSpec) -> Option<Place> {
    let path = spec.netns.as_deref().map_or("/proc/self/ns/net".into(), |text| netns(text).path());
    let identity = fs::metadata(&path).map(|meta| (meta.dev(), meta.ino())).map_err(|_| path);
    Some(Place { device: spec.device.clone()?, netns: identity })
}

/// What the node's own stack gets of a device that a port of this role has: it shares the uplink with the switch, and has no
/// part in what a pod or a member of a bridged network sends, lest that goes around the switch.
fn stack(role: RoleSpec) -> Stack {
    match role {
        RoleSpec::Fabric => Stack::Unclaimed,
        RoleSpec::Host => Stack::Untaken,
        RoleSpec::Pod | RoleSpec::Access | RoleSpec::Trunk => Stack::Nothing,
    }
}

/// Whether a port's device is the switch's alone: nothing that it receives may reach the node's stack, whether the port is open or
/// not. (A tap is weftd's own, and what a pod sends by it reaches nobody else.)
pub fn is_kept(spec: &PortSpec) -> bool {
    matches!(spec.kind, PortKind::Xsk | PortKind::Packet) && stack(spec.role) == Stack::Nothing
}

/// Makes it so, where the device is there and the port is not open. True: it was not.
pub fn keep(spec: &PortSpec) -> Result<bool, OpenError> {
    let netns = spec.netns.as_deref().map(netns);
    Ok(keep::ensure(spec.device.as_deref().unwrap_or_default(), netns.as_ref())?)
}

/// Gives the device of a port that is no more to the node's stack. True: it was kept from it.
pub fn release(spec: &PortSpec) -> Result<bool, OpenError> {
    let netns = spec.netns.as_deref().map(netns);
    Ok(keep::release(spec.device.as_deref().unwrap_or_default(), netns.as_ref())?)
}

/// Whether a port could be opened, as far as can be told without changing anything.
pub fn probe(spec: &PortSpec) -> Result<(), OpenError> {
    let (device, place) = (spec.device.clone().unwrap_or_default(), spec.netns.as_deref().map(netns));
    match spec.kind {
        PortKind::Xsk => xsk::probe(&xsk_spec(spec, device)?)?,
        PortKind::Packet => drop(packet::probe(&device, place.as_ref())?),
        PortKind::Tap => {
            let file = place.as_ref().map(Netns::open).transpose();
            file.map_err(|source| PortError::NoNetns {
                netns: place.clone().unwrap_or(Netns::Pid(0)),
                source,
            })?;
        }
        PortKind::Null | PortKind::Gen | PortKind::Pcap => {}
    }
    Ok(())
}

/// Opens a port. A tap is made, placed and configured, as far as can be.
pub fn open(desired: &Desired, index: usize, memory: &Arc<Memory>) -> Result<Ready, OpenError> {
    let take = |place: Place| Held::take(place.clone()).ok_or(OpenError::Held(place.device));
    let held = place(&desired.ports[index].spec).map(take).transpose()?;
    Ok(Ready { held, ..open_held(desired, index, memory)? })
}

fn open_held(desired: &Desired, index: usize, memory: &Arc<Memory>) -> Result<Ready, OpenError> {
    let spec = &desired.ports[index].spec;
    let device = spec.device.clone().unwrap_or_default();
    let opened = match spec.kind {
        PortKind::Xsk => xsk::open(&xsk_spec(spec, device)?, memory)?,
        PortKind::Packet => packet::open(&packet::Spec {
            device,
            netns: spec.netns.as_deref().map(netns),
            queues: count(spec)?,
            mtu: spec.mtu,
            join: !spec.no_gro,
            stack: stack(spec.role),
        })?,
        PortKind::Tap => return open_tap(desired, index),
        PortKind::Null => null::open(count(spec)?, spec.mtu.unwrap_or(DEFAULT_MTU)),
        PortKind::Gen => gen_udp::open(&gen_spec(desired, spec)?)?,
        PortKind::Pcap => pcap::open(&pcap::Spec {
            rx: spec.rx_file.clone(),
            tx: spec.tx_file.clone(),
            repeat: spec.repeat,
            mtu: spec.mtu.unwrap_or(DEFAULT_MTU),
        })?,
    };
    Ok(opened.into())
}

fn count(spec: &PortSpec) -> Result<u16, PortError> {
    match &spec.queues {
        QueuesSpec::All => Ok(1),
        QueuesSpec::Count(count @ 1..=64) => Ok(*count),
        QueuesSpec::Count(count) => Err(PortError::Spec(format!("{count} queues: use 1 to 64"))),
        QueuesSpec::List(_) => {
            Err(PortError::Spec(format!("a port of kind {} takes a number of queues, not a list", spec.kind)))
        }
    }
}

fn xsk_spec(spec: &PortSpec, device: String) -> Result<xsk::Spec, PortError> {
    Ok(xsk::Spec {
        device,
        netns: spec.netns.as_deref().map(netns),
        queues: match &spec.queues {
            QueuesSpec::All => xsk::Queues::All,
            QueuesSpec::List(list) => xsk::Queues::List(list.clone()),
            QueuesSpec::Count(count) => xsk::Queues::List((0..*count).collect()),
        },
        mode: match spec.xdp_mode {
            spec::XdpMode::Auto => xsk::Mode::Auto,
            spec::XdpMode::Native => xsk::Mode::Native,
            spec::XdpMode::Generic => xsk::Mode::Generic,
        },
        zerocopy: match spec.zerocopy {
            spec::Zerocopy::Prefer => xsk::Zerocopy::Prefer,
            spec::Zerocopy::Require => xsk::Zerocopy::Require,
            spec::Zerocopy::Off => xsk::Zerocopy::Off,
        },
        stack: stack(spec.role),
        mtu: spec.mtu,
    })
}

/// Generated traffic is as if from a pod behind the port: to the gateway's MAC, from the endpoint's addresses on.
pub(crate) fn gen_spec(desired: &Desired, spec: &PortSpec) -> Result<gen_udp::Spec, PortError> {
    let network = desired.networks.iter().find(|network| network.mode == Mode::Routed);
    let own = desired.endpoints.iter().find(|endpoint| desired.ports[endpoint.port].name == spec.name);
    let other = desired.endpoints.iter().find(|endpoint| desired.ports[endpoint.port].name != spec.name);
    let address = |endpoint: Option<&crate::desired::Endpoint>, fallback: [u8; 4]| {
        endpoint.and_then(|endpoint| endpoint.addresses.first().copied()).unwrap_or(fallback.into())
    };
    Ok(gen_udp::Spec {
        flows: spec.flows.unwrap_or(1),
        size: spec.size.unwrap_or(64),
        src_mac: own.map_or(Mac::local(&spec.name), |endpoint| endpoint.mac),
        dst_mac: network.map_or(Mac::BROADCAST, |network| network.gateway_mac),
        src: address(own, [10, 0, 0, 1]),
        dst: address(other, [10, 0, 0, 2]),
        limit: spec.limit,
        queues: count(spec)?,
        in_order: false,
    })
}

fn open_tap(desired: &Desired, index: usize) -> Result<Ready, OpenError> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let placement = placement(desired, index, pod_mtu(desired));
    let netns = placement.netns.as_ref();
    // Looked at first: making a device and removing it again costs everybody who has to do with devices.
    match (weft_pmd::netns::run_in(netns, || net::link_info(&placement.device)), &placement.netns) {
        (Err(source), Some(netns)) => return Err(PortError::NoNetns { netns: netns.clone(), source }.into()),
        // A tap is an earlier weftd's: somebody there has a queue of it, or made it stay. What else it may be is the pod's.
        (Ok(Ok(_)), Some(_)) if netlink::tap::remove(netns, &placement.device)? => {
            tracing::warn!(
                device = placement.device,
                "an earlier weftd's tap was still there, and is removed"
            );
        }
        (Ok(Ok(_)), _) => {
            let (place, device) = (netlink::place_of(netns), placement.device);
            return Err(NetlinkError::Taken { place, device }.into());
        }
        _ => {}
    }
    // Unique among weftd's own, and no name a person would give.
    let number = MADE.fetch_add(1, Ordering::Relaxed) & 0xff_ffff;
    let name = format!("weft{:x}t{number:x}", std::process::id() & 0xffff);
    let spec = &desired.ports[index].spec;
    let queues = count(spec)?;
    let mut opened = tap::open(&tap::Spec { name, queues, mtu: placement.mtu, join: !spec.no_gro })?;
    let short = netlink::tap::place(opened.info.ifindex, &placement)?;
    // Its other end may be the pod's to change, so it is asked; whatever it is called by then is the same device.
    let link = LinkProbe::of(&placement.device, netns).unwrap_or(LinkProbe::NONE).carrying(spec.mtu);
    opened.probe = link.with_tap_of(opened.probe);
    if let Some(mac) = placement.mac {
        opened.info.mac = mac;
    }
    Ok(Ready { placed: Some(placement), short, ..opened.into() })
}

/// What a pod may send at once: what goes through the uplink whole, with what tunnels add.
pub fn pod_mtu(desired: &Desired) -> u32 {
    let overhead = |peer: &Arc<crate::desired::Peer>| desired.fabric.overhead(peer.address);
    // Without peers, those of the future are taken to be of the more usual kind.
    let any = desired.fabric.overhead(IpAddr::from([0; 4]));
    let overhead = desired.peers.iter().map(overhead).max().unwrap_or(any);
    if overhead == 0 { DEFAULT_MTU } else { uplink_mtu(desired).saturating_sub(overhead) }
}

fn uplink_mtu(desired: &Desired) -> u32 {
    let uplink = desired.ports.iter().find(|port| port.role == Role::Fabric).map(|port| &port.spec);
    let device = uplink.and_then(|spec| {
        let place = spec.netns.as_deref().map(netns);
        let link = weft_pmd::netns::run_in(place.as_ref(), || net::link_info(spec.device.as_deref()?).ok());
        link.ok().flatten()
    });
    let limit = uplink.and_then(|spec| spec.mtu).unwrap_or(u32::MAX);
    device.map_or(DEFAULT_MTU, |link| link.mtu).min(limit)
}

/// Where a tap goes and what it gets there: a pod its endpoints' addresses and routes via the gateways, the node routes to
/// all pods with its own addresses as source. `pod_mtu`: what a pod may send, unless its port says so.
pub fn placement(desired: &Desired, index: usize, pod_mtu: u32) -> Placement {
    let port = &desired.ports[index];
    let spec = &port.spec;
    let own: Vec<_> = desired.endpoints.iter().filter(|endpoint| endpoint.port == index).collect();
    let mut placement = Placement {
        netns: spec.netns.as_deref().map(netns),
        device: spec.device.clone().unwrap_or_default(),
        mac: spec.mac.or(own.first().map(|endpoint| endpoint.mac)),
        mtu: spec.mtu.unwrap_or(pod_mtu),
        addresses: spec.addresses.clone(),
        on_link: Vec::new(),
        gateways: Vec::new(),
    };
    match port.role {
        Role::Pod => {
            for endpoint in own {
                let network = &desired.networks[endpoint.network];
                let routed = network.mode == Mode::Routed;
                for address in &endpoint.addresses {
                    // Routed: a host address, everything by the gateway. Bridged: neighbours are on the link.
                    let prefix = network.prefixes.iter().find(|prefix| !routed && prefix.contains(address));
                    let len = prefix.map_or(if address.is_ipv4() { 32 } else { 128 }, IpNet::prefix_len);
                    placement.addresses.extend(IpNet::new(*address, len).ok());
                }
                if routed && !spec.no_default_route {
                    let has = |v4: bool| endpoint.addresses.iter().any(|address| address.is_ipv4() == v4);
                    for gateway in network.gateways.iter().filter(|gateway| has(gateway.is_ipv4())) {
                        if !placement.gateways.contains(gateway) {
                            placement.gateways.push(*gateway);
                        }
                    }
                }
            }
        }
        Role::Host => {
            let networks = desired.networks.iter().filter(|network| network.mode == Mode::Routed);
            let prefixes = networks.flat_map(|network| &network.prefixes);
            for prefix in prefixes.chain(desired.peers.iter().flat_map(|peer| &peer.prefixes)) {
                placement.on_link.push((*prefix, desired.node.source(prefix.addr().is_ipv4())));
            }
            placement.mac =
                placement.mac.or_else(|| Some(Mac::local(&format!("weft host {}", desired.node.name))));
        }
        Role::Fabric | Role::Access(_) | Role::Trunk(_) => {}
    }
    placement
}
