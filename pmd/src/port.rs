//! Ports: what every kind can do, and the kinds.
//!
//! A kind is one file below `port/`: a spec, an `open` that returns an [`Opened`], and a queue type that implements
//! [`PortQueue`].
//!
//! **To add a port kind:** write `port/<kind>.rs`, add a line to `queues!` below; the compiler then asks for the arm in
//! `weftd`'s `ports.rs`, and `ctl/api`'s `PortKind` for the word users type.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
};

use ipnet::IpNet;
use weft_wire::Mac;

use crate::{burst::Burst, frame::FramePool, netns::Netns, sys::net::LinkFacts};

/// What the switch asks of a queue. One PMD thread owns a queue; nothing here blocks.
pub trait PortQueue {
    /// Appends what has arrived to `burst`, as far as it has room.
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<(), Vanished>;

    /// Sends frames from the front of `burst`; those there was no room for stay in it, in order.
    /// Frames the port can't carry as they are must have been made fit by [`crate::offload`] before.
    fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished>;

    /// What to poll for readability while asleep; `None`: the queue never wakes anyone.
    fn poll_fd(&self) -> Option<RawFd>;

    /// Frames the port took are still in its own ring and need further turns to leave.
    fn is_sending(&self) -> bool {
        false
    }

    /// Frames lost on receipt so far, before the switch saw them: no room in a ring, or no memory.
    fn lost(&mut self) -> u64 {
        0
    }

    /// The device takes packets of another size than when it was opened, bytes of L3.
    fn set_mtu(&mut self, _mtu: u32) {}

    /// Takes every chunk back from the kernel's rings. Called once, before the queue is dropped.
    fn close(&mut self, pool: &mut FramePool);
}

/// What became of a transmit attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames the port took.
    pub packets: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Frames the device refused for good; they were freed.
    pub refused: u32,
}

/// The device or its namespace is gone: the port must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device is gone ({})", std::io::Error::from_raw_os_error(*errno))]
pub struct Vanished {
    /// The kernel's answer.
    pub errno: i32,
}

/// What a port can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Largest L3 packet, bytes.
    pub mtu: u32,
    /// Takes frames whose checksum is partial.
    pub csum: bool,
    /// Takes super-frames.
    pub gso: bool,
}

/// What a port turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// The device's own MAC; zero where there is no device.
    pub mac: Mac,
    /// Interface index in the device's namespace; 0 where there is no device.
    pub ifindex: u32,
    /// What it can carry.
    pub caps: Caps,
    /// The mode achieved, for people: "native, copy", "vnet_hdr".
    pub mode: String,
    /// Why not a better mode, or empty.
    pub why: String,
}

/// An opened port: queues for PMD threads, and what keeps the port alive.
pub struct Opened {
    /// One per queue, in queue order.
    pub queues: Vec<Queue>,
    /// What it turned out to be.
    pub info: PortInfo,
    /// Detaches and removes what `open` made, when dropped.
    pub guard: Guard,
    /// Tells whether the device is still there, and what has become of it.
    pub probe: LinkProbe,
}

/// Tells whether a port's device and namespace are still there and the switch's, and what the device is by now.
#[derive(Debug)]
pub struct LinkProbe {
    /// A socket in the device's namespace, and the device; none: there is no device.
    link: Option<(OwnedFd, u32)>,
    /// The namespace's file, and what it was when the port was opened. The sockets of a port keep a namespace alive whose
    /// name is gone; it is gone all the same for whoever deleted it.
    netns: Option<(PathBuf, (u64, u64))>,
    /// The port carries no larger packets, whatever the device takes, bytes of L3.
    mtu_max: u32,
    /// Its queues are the device's: it matters how many there are.
    counts_queues: bool,
    /// A queue of a tap that others may have queues of, too.
    tap: Option<File>,
}

impl LinkProbe {
    /// For ports without a device.
    pub const NONE: Self =
        Self { link: None, netns: None, mtu_max: u32::MAX, counts_queues: false, tap: None };

    /// For a tap device that whoever is root where it is can attach a queue of their own to.
    pub(crate) fn shared_tap(queue: &File) -> std::io::Result<Self> {
        Ok(Self { tap: Some(queue.try_clone()?), ..Self::NONE })
    }

    /// For a device in the calling thread's namespace, which users name `netns`.
    pub(crate) fn new(ifindex: u32, netns: Option<&Netns>) -> Self {
        let socket = crate::sys::net::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).ok();
        let netns = netns.map(Netns::path);
        let netns = netns.and_then(|path| identity(&path).map(|identity| (path, identity)));
        Self { link: socket.map(|socket| (socket, ifindex)), netns, ..Self::NONE }
    }

    /// For a device of a name in a namespace.
    pub fn of(device: &str, netns: Option<&Netns>) -> std::io::Result<Self> {
        crate::netns::run_in(netns, || {
            crate::sys::net::link_info(device).map(|link| Self::new(link.ifindex, netns))
        })?
    }

    /// Looks after the tap, too, that another probe looks after.
    #[must_use]
    pub fn with_tap_of(self, other: Self) -> Self {
        Self { tap: other.tap, ..self }
    }

    /// The port carries no larger packets, whatever the device takes, bytes of L3.
    #[must_use]
    pub fn carrying(self, mtu_max: Option<u32>) -> Self {
        Self { mtu_max: mtu_max.unwrap_or(u32::MAX), ..self }
    }

    /// Its queues are the device's.
    pub(crate) fn counting_queues(self) -> Self {
        Self { counts_queues: true, ..self }
    }

    /// Interface index in the device's namespace.
    pub fn ifindex(&self) -> Option<u32> {
        self.link.as_ref().map(|(_, ifindex)| *ifindex)
    }

    /// Says what is gone, or not as it was made.
    pub fn check(&self) -> Result<(), String> {
        self.surroundings()?;
        match &self.link {
            Some((socket, ifindex)) if !crate::sys::net::link_exists(socket.as_raw_fd(), *ifindex) => {
                Err("its device is gone".into())
            }
            _ => Ok(()),
        }
    }

    fn surroundings(&self) -> Result<(), String> {
        if let Some(queue) = &self.tap {
            tap::check(queue)?;
        }
        match &self.netns {
            Some((path, was)) if identity(path) != Some(*was) => {
                Err(format!("namespace {} is gone", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// What the device is by now, its MTU no more than the port carries; or says what is gone. None: there is no device, or
    /// it can't be asked.
    pub fn look(&self) -> Result<Option<LinkFacts>, String> {
        self.surroundings()?;
        let Some((socket, ifindex)) = &self.link else { return Ok(None) };
        match crate::sys::net::link_facts(socket.as_raw_fd(), *ifindex, self.counts_queues) {
            Ok(facts) => Ok(Some(LinkFacts { mtu: facts.mtu.min(self.mtu_max), ..facts })),
            Err(_) => self.check().map(|()| None),
        }
    }
}

fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No such device.
    #[error("device {device} does not exist{}", place(.netns))]
    NoDevice {
        /// The device.
        device: String,
        /// Where it was looked for.
        netns: Option<Netns>,
    },
    /// No such namespace.
    #[error("namespace {} can't be entered: {source}", .netns.path().display())]
    NoNetns {
        /// The namespace.
        netns: Netns,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The kernel refused a step.
    #[error("{step} on {device} failed: {source}; {remedy}")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// On which device.
        device: String,
        /// The kernel's answer.
        source: std::io::Error,
        /// What to do about it.
        remedy: String,
    },
    /// What the device receives can't be kept from the node's stack ([`keep`]).
    #[error("{step} on {device} failed: {source}; {remedy}")]
    NotKept {
        /// What was tried.
        step: &'static str,
        /// On which device.
        device: String,
        /// The kernel's answer.
        source: std::io::Error,
        /// What to do about it.
        remedy: String,
    },
    /// The spec asks for what can't be.
    #[error("{0}")]
    Spec(String),
}

fn place(netns: &Option<Netns>) -> String {
    netns.as_ref().map(|netns| format!(" in {}", netns.path().display())).unwrap_or_default()
}

pub mod gen_udp;
pub mod keep;
pub mod null;
pub mod packet;
pub mod pcap;
pub mod sim;
pub mod tap;
mod vnet;
pub mod xsk;

macro_rules! queues {
    ($($(#[$doc:meta])* $variant:ident($queue:ty)),+ $(,)?) => {
        /// One queue of a port of any kind: a closed enum, so that a burst costs one predictable branch and the
        /// compiler lists every place a new kind touches.
        #[derive(Debug)]
        pub enum Queue {
            $($(#[$doc])* $variant(Box<$queue>),)+
        }

        impl PortQueue for Queue {
            fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<(), Vanished> {
                match self { $(Self::$variant(queue) => queue.rx(pool, burst),)+ }
            }
            fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished> {
                match self { $(Self::$variant(queue) => queue.tx(pool, burst),)+ }
            }
            fn poll_fd(&self) -> Option<RawFd> {
                match self { $(Self::$variant(queue) => queue.poll_fd(),)+ }
            }
            fn lost(&mut self) -> u64 {
                match self { $(Self::$variant(queue) => queue.lost(),)+ }
            }
            fn is_sending(&self) -> bool {
                match self { $(Self::$variant(queue) => queue.is_sending(),)+ }
            }
            fn set_mtu(&mut self, mtu: u32) {
                match self { $(Self::$variant(queue) => queue.set_mtu(mtu),)+ }
            }
            fn close(&mut self, pool: &mut FramePool) {
                match self { $(Self::$variant(queue) => queue.close(pool),)+ }
            }
        }
    };
}

queues! {
    /// AF_XDP.
    Xsk(xsk::XskQueue),
    /// AF_PACKET with virtio-net headers.
    Packet(vnet::VnetQueue),
    /// A tap device with virtio-net headers.
    Tap(vnet::VnetQueue),
    /// Takes everything, gives nothing.
    Null(null::NullQueue),
    /// Makes UDP flows in memory.
    Gen(gen_udp::GenQueue),
    /// Reads a capture file, writes another.
    Pcap(pcap::PcapQueue),
    /// A test's.
    Sim(sim::SimQueue),
}

/// Keeps an opened port alive; dropping it detaches and removes what `open` made, but for what is to
/// [`stay`](keep::Keeper::stay).
#[derive(Debug)]
pub enum Guard {
    /// Nothing to detach.
    None,
    /// The XDP program's link and maps; and what keeps the rest from the node's stack.
    Xsk(xsk::Attachment, Option<keep::Keeper>),
    /// Those of what keeps the switch's packets from the node's stack.
    Claim(xsk::Attachment),
    /// What keeps everything from it.
    Keep(keep::Keeper),
}

impl Guard {
    /// Tells the port what is the switch's; all else goes to the node's own stack. Only a device that the node uses, too,
    /// listens to it.
    pub fn steer(&mut self, steer: &Steer) -> Result<(), PortError> {
        match self {
            Self::None | Self::Keep(_) => Ok(()),
            Self::Xsk(attachment, _) | Self::Claim(attachment) => attachment.steer(steer),
        }
    }

    /// What keeps the device's frames from the node's stack, where nothing is to get there.
    pub fn keeper(&mut self) -> Option<&mut keep::Keeper> {
        match self {
            Self::Keep(keeper) | Self::Xsk(_, Some(keeper)) => Some(keeper),
            Self::None | Self::Claim(_) | Self::Xsk(_, None) => None,
        }
    }
}

/// What the node's own stack gets of the frames that a device receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Nothing, even when the switch is not running ([`keep`]): the other end is a pod's, say.
    Nothing,
    /// All but what [`Guard::steer`] names: the node uses the device, too.
    Unclaimed,
    /// What the switch does not take: `xsk`, frames of queues without a socket; `packet`, all, as the switch has copies only.
    Untaken,
}

/// What of a shared device's traffic is the switch's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steer {
    /// IP packets to these.
    Prefixes(Vec<IpNet>),
    /// UDP datagrams to this port of these, and routers' complaints about those that were sent from there.
    Udp {
        /// The node's own addresses.
        addresses: Vec<IpNet>,
        /// The port.
        port: u16,
    },
}
