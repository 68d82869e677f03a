//! What is between generator and sink.

use std::net::IpAddr;

use clap::ValueEnum;
use weft_wire::Mac;

use super::options::{Fabric, Options};
use crate::{
    generator::{
        frame::{Headers, Vxlan},
        link, namespace,
    },
    lab::{Error, NetNs},
    node::{FAR_MAC, Node, Shape, VNI},
    pods::{
        system::{Cores, System},
        topology::{Pods, veth},
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
    /// From the wire between nodes to a pod: taken out of its tunnel. One switch.
    FabricPod,
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
            Self::FabricPod => "fabric-pod",
            Self::PodFabricPod => "pod-fabric-pod",
            Self::P2p => "p2p",
        }
    }
}

/// What is between generator and sink.
#[derive(Debug, Clone)]
pub enum Dut {
    /// One that is set up here.
    System(&'static dyn System),
    /// The user's own, by the name he gave it.
    Given(String),
}

impl Dut {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::System(system) => system.name(),
            Self::Given(name) => name,
        }
    }
}

/// How much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Threads of the switch.
    pub threads: usize,
    /// Queues of each device.
    pub queues: usize,
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

fn address(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| Error::Usage(format!("{text} is no address")))
}

fn headers(macs: (Mac, Mac), src: &str, dst: &str) -> Result<Headers, Error> {
    let dst = address(dst)?.into();
    Ok(Headers { macs, src: address(src)?, dst, src_port: SRC_PORT, dst_ports: (9, 9), vxlan: None })
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
pub fn set_up(topology: Topology, dut: &Dut, scale: Scale, options: &Options) -> Result<Path, Error> {
    let Dut::System(system) = dut else { return p2p(options) };
    match topology {
        Topology::PodPod => pod_pod(*system, scale, options),
        Topology::HostPod => host_pod(shape(weft(*system)?, 1, scale, options)),
        Topology::PodFabric => pod_fabric(shape(weft(*system)?, 1, scale, options), options.fabric),
        Topology::FabricPod => fabric_pod(shape(weft(*system)?, 1, scale, options), options.fabric),
        Topology::PodFabricPod => pod_fabric_pod(weft(*system)?, scale, options),
        Topology::P2p => p2p(options),
    }
}

fn pod_pod(system: &dyn System, scale: Scale, options: &Options) -> Result<Path, Error> {
    let Scale { threads, queues } = scale;
    let cores = Cores { pods: options.sink_core(), switch: options.cpu_switch, threads, queues };
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

fn shape(kind: Weft, number: u8, scale: Scale, options: &Options) -> Shape {
    let cores = (options.cpu_switch..).take(scale.threads).collect();
    Shape { number, kind, pods: 1, cores, queues: scale.queues, idle: "spin", fabric: None }
}

fn pids(nodes: &[&Node]) -> Vec<u32> {
    nodes.iter().filter_map(|node| node.pid()).collect()
}

fn host_pod(shape: Shape) -> Result<Path, Error> {
    let mut node = Node::new(shape)?;
    node.start()?;
    let pod = &node.pods[0];
    Node::wait_until_reachable(&node.ns, &pod.address)?;
    Ok(Path {
        generator: End::new(node.ns.name(), "weft0"),
        sink: End::new(pod.ns.name(), "eth0"),
        headers: headers((mac_of(&node.ns, "weft0")?, node.gateway_mac()), &node.address(), &pod.address)?,
        mode: "host port: tap".into(),
        pids: pids(&[&node]),
        _guard: Box::new(node),
    })
}

fn mac_of(ns: &NetNs, device: &str) -> Result<Mac, Error> {
    let looked = weft_pmd::netns::run_in(Some(&namespace(ns.name())), || link(device));
    Ok(looked.map_err(Error::io("the node's namespace"))??.mac)
}

/// Another node's, and that of a pod of its.
const FAR: &str = "192.0.2.2";
const FAR_POD: &str = "10.244.2.5";

/// Node 1, and whoever is at the other end of its uplink.
fn with_uplink(shape: Shape, fabric: Fabric) -> Result<(Node, NetNs), Error> {
    let far = NetNs::new("wire")?;
    let mut node = Node::new(Shape { fabric: Some((fabric.name(), 2)), ..shape })?;
    node.connect(&far, FAR)?;
    node.start()?;
    Node::wait_until_reachable(&node.ns, FAR)?;
    Ok((node, far))
}

fn pod_fabric(shape: Shape, fabric: Fabric) -> Result<Path, Error> {
    let (node, far) = with_uplink(shape, fabric)?;
    let pod = &node.pods[0];
    Ok(Path {
        generator: End::new(pod.ns.name(), "eth0"),
        sink: End::new(far.name(), "uplink0"),
        headers: headers((pod.mac, node.gateway_mac()), &pod.address, FAR_POD)?,
        mode: format!("fabric {}", fabric.name()),
        pids: pids(&[&node]),
        _guard: Box::new((node, far)),
    })
}

fn fabric_pod(shape: Shape, fabric: Fabric) -> Result<Path, Error> {
    if fabric == Fabric::Geneve {
        return Err(Error::Usage(
            "--topo fabric-pod: the generator makes native and VXLAN frames only".into(),
        ));
    }
    let (node, far) = with_uplink(shape, fabric)?;
    let (pod, gateway) = (&node.pods[0], node.gateway_mac());
    let mut headers = headers((FAR_MAC, mac_of(&node.ns, "uplink0")?), FAR_POD, &pod.address)?;
    if fabric == Fabric::Vxlan {
        let vni = VNI.try_into().map_err(|error| Error::Usage(format!("{error}")))?;
        let addresses = (address(FAR)?, address(&node.address())?);
        headers.vxlan = Some(Vxlan { vni, addresses, inner_macs: (gateway, gateway) });
    }
    Ok(Path {
        generator: End::new(far.name(), "uplink0"),
        sink: End::new(pod.ns.name(), "eth0"),
        headers,
        mode: format!("fabric {}", fabric.name()),
        pids: pids(&[&node]),
        _guard: Box::new((node, far)),
    })
}

fn pod_fabric_pod(kind: Weft, scale: Scale, options: &Options) -> Result<Path, Error> {
    let first = options.cpu_switch_2.unwrap_or(options.cpu_switch);
    // Two threads that spin would take turns of milliseconds on one core.
    let idle = if first == options.cpu_switch { "adaptive" } else { "spin" };
    let fabric = |other| Some((options.fabric.name(), other));
    let cores = (first..).take(scale.threads).collect();
    let mut two = Node::new(Shape { fabric: fabric(1), cores, idle, ..shape(kind, 2, scale, options) })?;
    let mut one = Node::new(Shape { fabric: fabric(2), idle, ..shape(kind, 1, scale, options) })?;
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
pub fn bare(queues: usize) -> Result<Path, Error> {
    let (a, b) = (NetNs::new("self-a")?, NetNs::new("self-b")?);
    veth(&a, "eth0", &b, "eth0", Mac([2, 0, 0, 0, 0, 2]), queues)?;
    b.ip(&["link", "set", "eth0", "up"])?;
    Ok(Path {
        generator: End::new(a.name(), "eth0"),
        sink: End::new(b.name(), "eth0"),
        headers: headers((Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])), "198.18.0.1", "198.19.0.1")?,
        mode: "veth".into(),
        pids: Vec::new(),
        _guard: Box::new((a, b)),
    })
}
