//! `xsk`: AF_XDP on the queues of a NIC or a veth.
//!
//! Every socket registers the same memory as its UMEM by itself (`XDP_UMEM_REG`), so that sockets of any mode share
//! frames, and each lives and dies alone. The XDP program ([`program`]) is attached by bpf_link: when weftd goes,
//! however it goes, the kernel detaches it and the device is the node's own again; or, where the stack is to get nothing of it
//! ([`keep`]), nobody's.
//!
//! On a veth, attaching a program turns the pod's TSO off by itself; its checksum offload stays on, so frames may arrive
//! with the pseudo-header's sum only: they are marked [`Csum::Unknown`](crate::Csum) and looked into by `parse`. Frames
//! that leave with a partial checksum ask the device to complete it (`XDP_TXMD_FLAGS_CHECKSUM`); a veth hands it to the
//! pod as it is, and nobody sums. Nothing of the pod's settings needs changing.

pub mod program;
mod queue;

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

pub use program::Attachment;
pub use queue::{Counters, XskQueue};

use super::{Caps, Guard, LinkProbe, Opened, PortError, PortInfo, Queue, Stack, keep};
use crate::{
    memory::{Memory, SMALL_CHUNK},
    netns::{self, Netns},
    sys::{
        net::{self, LinkInfo},
        xdp::{self, RingKind, RingMap},
    },
};

/// Which queues to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queues {
    /// Every receive queue the device has.
    All,
    /// These.
    List(Vec<u16>),
}

/// XDP mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Native where the driver can, else generic.
    Auto,
    /// Native or fail.
    Native,
    /// Generic (skb) mode.
    Generic,
}

/// Zero-copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zerocopy {
    /// Where the driver offers it.
    Prefer,
    /// Or fail.
    Require,
    /// Copy.
    Off,
}

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The device.
    pub device: String,
    /// Its namespace; none: the caller's.
    pub netns: Option<Netns>,
    /// Which of its queues.
    pub queues: Queues,
    /// XDP mode.
    pub mode: Mode,
    /// Zero-copy.
    pub zerocopy: Zerocopy,
    /// What the node's own stack gets.
    pub stack: Stack,
    /// Largest IP packet, where it is to be less than the device's.
    pub mtu: Option<u32>,
}

/// Descriptors per ring: two milliseconds of what a veth takes, so that a preempted PMD thread loses nothing.
const RING: u32 = 2048;
/// Slots of the program's socket map.
const QUEUES_MAX: u16 = 64;

/// Opens the port.
pub fn open(spec: &Spec, memory: &Arc<Memory>) -> Result<Opened, PortError> {
    net::lift_memlock();
    let opened = netns::run_in(spec.netns.as_ref(), || open_here(spec, memory));
    opened.map_err(|source| match &spec.netns {
        Some(netns) => PortError::NoNetns { netns: netns.clone(), source },
        None => PortError::Spec(source.to_string()),
    })?
}

/// Whether the device and its queues are there, as far as can be told without opening them.
pub fn probe(spec: &Spec) -> Result<(), PortError> {
    super::packet::probe(&spec.device, spec.netns.as_ref())?;
    let available = netns::run_in(spec.netns.as_ref(), || net::rx_queues(&spec.device).unwrap_or(1));
    wanted_queues(spec, available.unwrap_or(1)).map(drop)
}

fn open_here(spec: &Spec, memory: &Arc<Memory>) -> Result<Opened, PortError> {
    let no_device = |_| PortError::NoDevice { device: spec.device.clone(), netns: spec.netns.clone() };
    let link = net::link_info(&spec.device).map_err(no_device)?;
    let available = net::rx_queues(&spec.device).unwrap_or(1);
    let wanted = wanted_queues(spec, available)?;
    let mut why = Vec::new();
    let keeper = match spec.stack {
        // First of all: at no moment of this does the stack get what the program does not take.
        Stack::Nothing => Some(keep::keep(&spec.device, spec.netns.as_ref(), link.ifindex)?),
        Stack::Unclaimed | Stack::Untaken => {
            // An earlier weftd's, of another role.
            why.extend(keep::release(&spec.device, None).err().map(|error| error.to_string()));
            None
        }
    };
    let mut attachment = program::attach(spec, link.ifindex)?;
    why.extend(attachment.why());
    let (mut queues, mut sockets) = (Vec::new(), Vec::new());
    for &index in &wanted {
        let socket = Socket::open(spec, &link, index, attachment.is_native(), memory)?;
        attachment.insert(index, socket.fd.as_raw_fd(), &spec.device)?;
        sockets.push((socket.zerocopy, socket.metadata, socket.multi_buffer));
        queues.push(Queue::Xsk(Box::new(XskQueue::new(socket, link.mtu, memory.clone()))));
    }
    let all = |property: fn(&(bool, bool, bool)) -> bool| sockets.iter().all(property);
    let (zerocopy, metadata, multi_buffer) = (all(|s| s.0), all(|s| s.1), all(|s| s.2));
    if !zerocopy && spec.zerocopy != Zerocopy::Off {
        why.push("the driver offers no zero-copy".into());
    }
    if wanted.len() < usize::from(available) {
        let rest = if keeper.is_some() { "dropped" } else { "the node's" };
        why.push(format!("{} of {available} queues: what comes by others is {rest}", wanted.len()));
    }
    let words = [
        if attachment.is_native() { "native" } else { "generic" },
        if zerocopy { "zero-copy" } else { "copy" },
        if multi_buffer { "multi-buffer" } else { "single-buffer" },
        if metadata { "checksum offload" } else { "software checksum" },
    ];
    // A single buffer carries what fits a chunk behind the headroom the kernel keeps.
    let limit = if multi_buffer { u32::MAX } else { SMALL_CHUNK as u32 - 256 - 18 };
    let limit = limit.min(spec.mtu.unwrap_or(u32::MAX));
    Ok(Opened {
        queues,
        info: PortInfo {
            mac: link.mac,
            ifindex: link.ifindex,
            caps: Caps { mtu: link.mtu.min(limit), csum: metadata, gso: false },
            mode: words.join(", "),
            why: why.join("; "),
        },
        guard: Guard::Xsk(attachment, keeper),
        probe: LinkProbe::new(link.ifindex, spec.netns.as_ref()).carrying(Some(limit)).counting_queues(),
    })
}

fn wanted_queues(spec: &Spec, available: u16) -> Result<Vec<u16>, PortError> {
    let wanted: Vec<u16> = match &spec.queues {
        Queues::All => (0..available.min(QUEUES_MAX)).collect(),
        Queues::List(list) => list.clone(),
    };
    if let Some(queue) = wanted.iter().find(|queue| **queue >= available.min(QUEUES_MAX)) {
        let device = &spec.device;
        return Err(PortError::Spec(format!(
            "{device} has no receive queue {queue}: it has {available} (0 to {}); name one of these, or `ethtool -L {device}`",
            available - 1
        )));
    }
    if let Some(queue) =
        wanted.iter().enumerate().find_map(|(i, queue)| wanted[..i].contains(queue).then_some(queue))
    {
        return Err(PortError::Spec(format!(
            "queue {queue} of {} is named twice: name each once",
            spec.device
        )));
    }
    if wanted.is_empty() {
        return Err(PortError::Spec(format!("no queue of {} is named: use queues = \"all\"", spec.device)));
    }
    Ok(wanted)
}

/// A bound socket and its rings.
struct Socket {
    fd: OwnedFd,
    fill: RingMap,
    completion: RingMap,
    rx: RingMap,
    tx: RingMap,
    zerocopy: bool,
    metadata: bool,
    multi_buffer: bool,
}

impl Socket {
    fn open(
        spec: &Spec,
        link: &LinkInfo,
        queue: u16,
        native: bool,
        memory: &Memory,
    ) -> Result<Self, PortError> {
        let zerocopy: &[bool] = match spec.zerocopy {
            _ if !native => &[false],
            Zerocopy::Prefer => &[true, false],
            Zerocopy::Require => &[true],
            Zerocopy::Off => &[false],
        };
        let mut last = None;
        // The better variant first; what a kernel or driver does not know, the next one leaves out.
        for &zerocopy in zerocopy {
            for (multi_buffer, metadata) in [(true, true), (true, false), (false, false)] {
                match Self::bind(link, queue, memory, zerocopy, multi_buffer, metadata) {
                    Ok(socket) => return Ok(socket),
                    Err((step, source)) => last = Some((step, source)),
                }
            }
        }
        let (step, source) = last.unwrap_or(("binding", io::ErrorKind::Unsupported.into()));
        let remedy = remedy(&source, &spec.device, queue);
        if spec.zerocopy == Zerocopy::Require && source.raw_os_error() == Some(libc::EOPNOTSUPP) {
            // The driver will not learn it: this is not worth waiting for.
            return Err(PortError::Spec(format!("{step} on {} failed: {source}; {remedy}", spec.device)));
        }
        Err(PortError::Refused { step, device: spec.device.clone(), source, remedy })
    }

    fn bind(
        link: &LinkInfo,
        queue: u16,
        memory: &Memory,
        zerocopy: bool,
        multi_buffer: bool,
        metadata: bool,
    ) -> Result<Self, (&'static str, io::Error)> {
        let at = |step: &'static str| move |error: io::Error| (step, error);
        let fd = xdp::socket().map_err(at("opening an AF_XDP socket"))?;
        let raw = fd.as_raw_fd();
        xdp::register_umem(raw, memory.umem(), SMALL_CHUNK as u32, metadata)
            .map_err(at("registering the UMEM"))?;
        let ring = |kind| RingMap::new(raw, kind, RING).map_err(at("setting up rings"));
        let (fill, completion) = (ring(RingKind::Fill)?, ring(RingKind::Completion)?);
        let (rx, tx) = (ring(RingKind::Rx)?, ring(RingKind::Tx)?);
        xdp::set_tx_budget(raw, 256);
        let flags = libc::XDP_USE_NEED_WAKEUP
            | if zerocopy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY }
            | if multi_buffer { libc::XDP_USE_SG } else { 0 };
        bind_patiently(raw, link.ifindex, queue, flags).map_err(at("binding an AF_XDP socket"))?;
        let zerocopy = xdp::is_zerocopy(raw);
        Ok(Self { fd, fill, completion, rx, tx, zerocopy, metadata, multi_buffer })
    }
}

/// A queue that was let go a moment ago is freed by the kernel in its own time: EBUSY until then.
fn bind_patiently(fd: i32, ifindex: u32, queue: u16, flags: u16) -> io::Result<()> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 1..TRIES {
        match xdp::bind(fd, ifindex, queue.into(), flags) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => sleep(PAUSE),
            outcome => return outcome,
        }
    }
    xdp::bind(fd, ifindex, queue.into(), flags)
}

fn remedy(error: &io::Error, device: &str, queue: u16) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "run weftd with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF".into(),
        Some(libc::ENOBUFS) => {
            let limit =
                net::memlock_limit().map_or("unlimited".into(), |bytes| format!("{} KiB", bytes >> 10));
            format!("locked memory is limited to {limit}: give weftd CAP_IPC_LOCK or LimitMEMLOCK=infinity")
        }
        Some(libc::EBUSY) => {
            format!("another program has queue {queue} of {device}: stop it, or take other queues")
        }
        Some(libc::EOPNOTSUPP) => "the driver can't: use zerocopy = \"prefer\"".into(),
        Some(libc::EAFNOSUPPORT) => "the kernel needs CONFIG_XDP_SOCKETS".into(),
        _ => "see Documentation/networking/af_xdp.rst".into(),
    }
}
