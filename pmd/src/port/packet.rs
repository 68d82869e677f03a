//! `packet`: an AF_PACKET socket with virtio-net headers on a device that exists, usually a pod's veth.
//!
//! 64 KiB GSO frames and partial checksums pass whole in both directions (`PACKET_VNET_HDR`), so nothing of the pod's
//! settings needs changing. The socket gets copies: what the node's own stack is not to get of a device is dropped behind it
//! ([`Stack`]), before the socket is there.
//! Several queues are several sockets in one fan-out group by flow hash (`PACKET_FANOUT_HASH`).

use std::{fs::File, io, os::fd::AsRawFd};

use super::{
    Caps, Guard, LinkProbe, Opened, PortError, PortInfo, Queue, Stack, keep,
    vnet::{Flavour, VnetQueue},
    xsk::program,
};
use crate::{
    netns::{self, Netns},
    sys::net::{self, LinkInfo},
};

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The device.
    pub device: String,
    /// Its namespace; none: the caller's.
    pub netns: Option<Netns>,
    /// Sockets.
    pub queues: u16,
    /// Largest IP packet, where it is to be less than the device's.
    pub mtu: Option<u32>,
    /// Join TCP segments that leave together to super-frames.
    pub join: bool,
    /// What the node's own stack gets.
    pub stack: Stack,
}

/// Opens the port.
pub fn open(spec: &Spec) -> Result<Opened, PortError> {
    let opened = netns::run_in(spec.netns.as_ref(), || open_here(spec));
    let no_netns = |source| match &spec.netns {
        Some(netns) => PortError::NoNetns { netns: netns.clone(), source },
        None => PortError::Spec(source.to_string()),
    };
    let Here { link, sockets, probe, guard, why } = opened.map_err(no_netns)??;
    let flavour = Flavour::Packet { ifindex: link.ifindex };
    let queue = |file| Queue::Packet(Box::new(VnetQueue::new(file, flavour, spec.join)));
    Ok(Opened {
        queues: sockets.into_iter().map(queue).collect(),
        info: PortInfo {
            mac: link.mac,
            ifindex: link.ifindex,
            caps: Caps { mtu: spec.mtu.unwrap_or(link.mtu).min(link.mtu), csum: true, gso: true },
            mode: "vnet_hdr".into(),
            why: why.join("; "),
        },
        guard,
        probe: probe.carrying(spec.mtu),
    })
}

/// Whether the device is there, as far as can be told without opening it.
pub fn probe(device: &str, netns: Option<&Netns>) -> Result<LinkInfo, PortError> {
    let link = netns::run_in(netns, || net::link_info(device)).map_err(|source| match netns {
        Some(netns) => PortError::NoNetns { netns: netns.clone(), source },
        None => PortError::Spec(source.to_string()),
    })?;
    link.map_err(|_| PortError::NoDevice { device: device.to_owned(), netns: netns.cloned() })
}

/// What is made in the device's namespace.
struct Here {
    link: LinkInfo,
    sockets: Vec<File>,
    probe: LinkProbe,
    guard: Guard,
    why: Vec<String>,
}

fn open_here(spec: &Spec) -> Result<Here, PortError> {
    let link = net::link_info(&spec.device)
        .map_err(|_| PortError::NoDevice { device: spec.device.clone(), netns: spec.netns.clone() })?;
    let (mut guard, mut why) = (Guard::None, Vec::new());
    // First of all: from the socket's first frame on it is so.
    if spec.stack == Stack::Nothing {
        guard = Guard::Keep(keep::keep(&spec.device, spec.netns.as_ref(), link.ifindex)?);
    } else if let Err(error) = keep::release(&spec.device, None) {
        why.push(error.to_string()); // an earlier weftd's, of another role
    }
    let group = link.ifindex as u16 ^ std::process::id() as u16;
    let sockets = (0..spec.queues.max(1)).map(|_| socket(&link, (spec.queues > 1).then_some(group)));
    let sockets = sockets.collect::<io::Result<_>>().map_err(|source| PortError::Refused {
        step: "opening an AF_PACKET socket",
        device: spec.device.clone(),
        remedy: if source.raw_os_error() == Some(libc::EPERM) {
            "run weftd with CAP_NET_RAW and CAP_NET_ADMIN".into()
        } else {
            "the kernel needs CONFIG_PACKET with PACKET_VNET_HDR (Linux 2.6.37)".into()
        },
        source,
    })?;
    let probe = LinkProbe::new(link.ifindex, spec.netns.as_ref());
    if spec.stack == Stack::Unclaimed {
        match program::claim(&spec.device, link.ifindex) {
            Ok(attachment) => guard = Guard::Claim(attachment),
            Err(error) => why.push(format!("the node's stack sees the pods' packets, too: {error}")),
        }
    }
    Ok(Here { link, sockets, probe, guard, why })
}

/// Options as in packet(7).
fn socket(link: &LinkInfo, fanout_group: Option<u16>) -> io::Result<File> {
    /// Bytes of socket buffer: some hundred super-frames.
    const BUFFER: libc::c_int = 8 << 20;
    let all = (libc::ETH_P_ALL as u16).to_be();
    let socket = net::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let fd = socket.as_raw_fd();
    let packet_option = |name, value: libc::c_int| net::set_option(fd, libc::SOL_PACKET, name, &value);
    packet_option(libc::PACKET_VNET_HDR, 1)?;
    packet_option(libc::PACKET_AUXDATA, 1)?;
    packet_option(libc::PACKET_IGNORE_OUTGOING, 1)?;
    packet_option(libc::PACKET_QDISC_BYPASS, 1)?;
    net::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
    net::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &BUFFER)?;
    // Frames to the gateway's MAC are not the device's own: receive them all the same.
    let promiscuous = libc::packet_mreq {
        mr_ifindex: link.ifindex as libc::c_int,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    net::set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: all,
        sll_ifindex: link.ifindex as libc::c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    net::bind(fd, &address)?;
    if let Some(group) = fanout_group {
        let argument = u32::from(group) | libc::PACKET_FANOUT_HASH << 16;
        net::set_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &argument)?;
    }
    Ok(File::from(socket))
}
