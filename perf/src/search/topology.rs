//! What is between generator and sink.

use std::net::IpAddr;

use clap::ValueEnum;
use weft_wire::Mac;

use super::Options;
use crate::{
    generator::{frame::Headers, link, namespace},
    lab::{Error, NetNs, output},
    node::{Node, Shape},
    pods::{
        system::{Cores, System, by_names},
        topology::Pods,
        weft::Weft,
    },
    tester::End,
};

/// Where frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// From a pod to another of the same node.
    PodPod,
    /// From the node itself to a pod.
    HostPod,
    /// From a pod to the wire between nodes: routed, or put into a tunnel. One switch.
    PodFabric,
    /// From a pod to a pod of another node. Two switches.
    PodFabricPod,
    /// From one given device to another (--in, --out); what is between them is yours.
    P2p,
}

impl Topology {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::PodPod => "pod-pod",
            Self::HostPod => "host-pod",
            Self::PodFabric => "pod-fabric",
            Self::PodFabricPod => "pod-fabric-pod",
            Self::P2p => "p2p",
        }
    }
}

/// Both ends, and what is between them; gone when dropped.
pub struct Path {
    /// Where frames are sent.
    pub generator: End,
    /// Where they come out.
    pub sink: End,
    /// What they look like; ports are filled in for each number of flows.
    pub headers: Headers,
    /// The mode of the switch's ports.
    pub mode: String,
    /// The switch's processes.
    pub pids: Vec<u32>,
    _guard: Box<dyn Send>,
}

/// Sources below this are not used: 64,000 flows for each destination port.
const SRC_PORT: u16 = 1536;

fn headers(macs: (Mac, Mac), src: &str, dst: &str) -> Result<Headers, Error> {
    let parse =
        |text: &str| text.parse::<IpAddr>().map_err(|_| Error::Usage(format!("{text} is no address")));
    let dst = parse(dst)?.into();
    Ok(Headers { macs, src: parse(src)?, dst, src_port: SRC_PORT, dst_ports: (9, 9), vxlan: None })
}

fn weft(system: &dyn System) -> Result<Weft, Error> {
    [Weft::Tap, Weft::Packet, Weft::Xsk].into_iter().find(|weft| weft.name() == system.name()).ok_or_else(
        || {
            Error::Usage(format!(
                "{}: only pod-pod has it; other topologies have weft-xsk, -packet, -tap",
                system.name()
            ))
        },
    )
}

/// Sets it up, and waits until it carries traffic.
pub fn set_up(topology: Topology, system: &dyn System, options: &Options) -> Result<Path, Error> {
    match topology {
        Topology::PodPod => pod_pod(system, options),
        Topology::HostPod => host_pod(weft(system)?, options),
        Topology::PodFabric => pod_fabric(weft(system)?, options),
        Topology::PodFabricPod => pod_fabric_pod(weft(system)?, options),
        Topology::P2p => p2p(options),
    }
}

fn pod_pod(system: &dyn System, options: &Options) -> Result<Path, Error> {
    let cores = Cores { pods: options.cpu_tester, switch: options.cpu_switch };
    let between = system.set_up(Pods::new()?, cores)?;
    between.pods.wait_until_reachable()?;
    let (a, b) = (&between.pods.a, &between.pods.b);
    Ok(Path {
        generator: End::new(a.ns.name(), "eth0"),
        sink: End::new(b.ns.name(), "eth0"),
        headers: headers((a.mac, between.next_hop), a.address, b.address)?,
        mode: between.mode.clone(),
        pids: between.pids.clone(),
        _guard: Box::new((between.switch, between.pods)),
    })
}

fn shape(kind: Weft, number: u8, options: &Options) -> Shape {
    Shape { number, kind, pods: 1, core: options.cpu_switch, second_core: None, idle: "spin", fabric: None }
}

fn pids(nodes: &[&Node]) -> Vec<u32> {
    nodes.iter().filter_map(|node| node.pid()).collect()
}

fn host_pod(kind: Weft, options: &Options) -> Result<Path, Error> {
    let mut node = Node::new(shape(kind, 1, options))?;
    node.start()?;
    let pod = &node.pods[0];
    Node::wait_until_reachable(&node.ns, &pod.address)?;
    let host = weft_pmd::netns::run_in(Some(&namespace(node.ns.name())), || link("weft0"));
    let mac = host.map_err(Error::io("the node's namespace"))??.mac;
    Ok(Path {
        generator: End::new(node.ns.name(), "weft0"),
        sink: End::new(pod.ns.name(), "eth0"),
        headers: headers((mac, node.gateway_mac()), &node.address(), &pod.address)?,
        mode: "host port: tap".into(),
        pids: pids(&[&node]),
        _guard: Box::new(node),
    })
}

/// Node 1, and whoever is at the other end of its uplink.
fn with_uplink(kind: Weft, options: &Options, far: &NetNs) -> Result<Node, Error> {
    let fabric = Some((options.fabric.name(), 2));
    let node = Node::new(Shape { fabric, ..shape(kind, 1, options) })?;
    node.connect(far, "192.0.2.2")?;
    Ok(node)
}

fn pod_fabric(kind: Weft, options: &Options) -> Result<Path, Error> {
    let far = NetNs::new("wire")?;
    let mut node = with_uplink(kind, options, &far)?;
    node.start()?;
    Node::wait_until_reachable(&node.ns, "192.0.2.2")?;
    let pod = &node.pods[0];
    Ok(Path {
        generator: End::new(pod.ns.name(), "eth0"),
        sink: End::new(far.name(), "uplink0"),
        headers: headers((pod.mac, node.gateway_mac()), &pod.address, "10.244.2.5")?,
        mode: format!("fabric {}", options.fabric.name()),
        pids: pids(&[&node]),
        _guard: Box::new((node, far)),
    })
}

fn pod_fabric_pod(kind: Weft, options: &Options) -> Result<Path, Error> {
    let fabric = Some((options.fabric.name(), 1));
    let core = options.cpu_switch_2.unwrap_or(options.cpu_switch);
    // Two threads that spin would take turns of milliseconds on one core.
    let idle = if core == options.cpu_switch { "adaptive" } else { "spin" };
    let mut two = Node::new(Shape { fabric, core, idle, ..shape(kind, 2, options) })?;
    let mut one =
        Node::new(Shape { idle, fabric: Some((options.fabric.name(), 2)), ..shape(kind, 1, options) })?;
    one.connect(&two.ns, &two.address())?;
    one.start()?;
    two.start()?;
    let (a, b) = (&one.pods[0], &two.pods[0]);
    Node::wait_until_reachable(&a.ns, &b.address)?;
    Ok(Path {
        generator: End::new(a.ns.name(), "eth0"),
        sink: End::new(b.ns.name(), "eth0"),
        headers: headers((a.mac, one.gateway_mac()), &a.address, &b.address)?,
        mode: format!("fabric {}, two switches", options.fabric.name()),
        pids: pids(&[&one, &two]),
        _guard: Box::new((one, two)),
    })
}

fn p2p(options: &Options) -> Result<Path, Error> {
    let missing = |what: &str| Error::Usage(format!("--topo p2p needs {what}"));
    let end = |device: &Option<String>, netns: &Option<String>, what| {
        let device = device.clone().ok_or_else(|| missing(what))?;
        Ok::<_, Error>(End { ns: netns.as_deref().map(namespace), device })
    };
    let generator = end(&options.input, &options.in_netns, "--in DEVICE")?;
    let sink = end(&options.out, &options.out_netns, "--out DEVICE")?;
    let looked = weft_pmd::netns::run_in(generator.ns.as_ref(), || link(&generator.device));
    let mac = looked.map_err(Error::io("--in-netns"))??.mac;
    let dst_mac = options.dst_mac.ok_or_else(|| missing("--dst-mac MAC: where frames are sent to first"))?;
    let headers = headers((mac, dst_mac), &options.src.to_string(), &options.dst.to_string())?;
    let mode = "given devices".to_owned();
    Ok(Path { generator, sink, headers, mode, pids: Vec::new(), _guard: Box::new(()) })
}

/// A veth pair and nothing else: what generator and sink do alone.
pub fn bare() -> Result<Path, Error> {
    let (a, b) = (NetNs::new("self-a")?, NetNs::new("self-b")?);
    let link = ["ip", "link", "add", "eth0", "netns", a.name(), "type", "veth", "peer", "name", "eth0"];
    output(&[&link[..], &["netns", b.name()]].concat())?;
    for ns in [&a, &b] {
        ns.ip(&["link", "set", "eth0", "up"])?;
    }
    Ok(Path {
        generator: End::new(a.name(), "eth0"),
        sink: End::new(b.name(), "eth0"),
        headers: headers((Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])), "198.18.0.1", "198.19.0.1")?,
        mode: "veth".into(),
        pids: Vec::new(),
        _guard: Box::new((a, b)),
    })
}

/// Systems by their names; p2p has one, which nobody set up here.
pub fn systems(options: &Options) -> Result<Vec<&'static dyn System>, Error> {
    by_names(&options.systems)
}
