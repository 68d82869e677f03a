//! `tap`: a tap device made here, with virtio-net headers, one descriptor per queue.
//!
//! The device exists as long as the descriptors do: it goes when weftd goes, however it ends. It is made in weftd's
//! namespace; the daemon moves it to the pod's and configures it there (the descriptors keep working).
//!
//! Whoever is root there owns the network device, not its character device: with one queue nobody else can have one (EBUSY).
//! To a tap of several queues (IFF_MULTI_QUEUE) they can add their own, and by it change what holds for all: the header's
//! size and presence, and that the tap outlives weftd are looked after ([`check`]; a frame behind a longer header is known at
//! once: [`vnet`](super::vnet)). All else harms only whoever does it: offloads, filters, steering programs, the carrier, the
//! send buffer, the header's byte order decide what their own frames look like, or whether they come; frames of any look are
//! expected from a pod.

use std::{fs::File, io};

use super::{
    Caps, Guard, LinkProbe, Opened, PortError, PortInfo, Queue,
    vnet::{Flavour, VnetQueue},
};
use crate::{offload::vnet::VnetHeader, sys::net};

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name, for as long as it is in weftd's namespace.
    pub name: String,
    /// Queues.
    pub queues: u16,
    /// Largest IP packet, bytes. The device's own MTU is set by the daemon, to the same.
    pub mtu: u32,
    /// Join TCP segments that leave together to super-frames.
    pub join: bool,
}

/// Makes the device.
pub fn open(spec: &Spec) -> Result<Opened, PortError> {
    let refused = |step: &'static str| {
        move |source: io::Error| PortError::Refused {
            step,
            device: spec.name.clone(),
            remedy: match source.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV) => {
                    "load the tun module, and give weftd /dev/net/tun".into()
                }
                Some(libc::EPERM) => "run weftd with CAP_NET_ADMIN".into(),
                Some(libc::EBUSY) => {
                    "another program has a device of this name: remove it, or choose another".into()
                }
                _ => "see tun(4), Documentation/networking/tuntap.rst".into(),
            },
            source,
        }
    };
    let open = |_| net::open_tap(&spec.name, spec.queues > 1);
    let files: Vec<File> = (0..spec.queues.max(1))
        .map(open)
        .collect::<io::Result<_>>()
        .map_err(refused("making a tap device"))?;
    let mut why = String::new();
    for file in &files {
        let segments = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        if net::set_tap_offload(file, segments | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_err() {
            net::set_tap_offload(file, segments).map_err(refused("setting offloads"))?;
            why = "the kernel's tap has no UDP segmentation (Linux 6.2)".into();
        }
    }
    let link = net::link_info(&spec.name).map_err(refused("asking for the device"))?;
    let probe = match files.as_slice() {
        [first, _, ..] => LinkProbe::shared_tap(first).map_err(refused("duplicating a descriptor"))?,
        _ => LinkProbe::NONE,
    };
    let queue = |file| Queue::Tap(Box::new(VnetQueue::new(file, Flavour::Tap, spec.join)));
    Ok(Opened {
        queues: files.into_iter().map(queue).collect(),
        info: PortInfo {
            mac: link.mac,
            ifindex: link.ifindex,
            caps: Caps { mtu: spec.mtu, csum: true, gso: true },
            mode: "vnet_hdr".into(),
            why,
        },
        guard: Guard::None,
        probe,
    })
}

/// Says what somebody has changed by a queue of their own.
pub(super) fn check(queue: &File) -> Result<(), String> {
    // The device is gone: its queues tell.
    let Ok(settings) = net::tap_settings(queue) else { return Ok(()) };
    let size = settings.header_size;
    let found = if size != VnetHeader::TAP as i32 {
        format!("set its frames' header to {size} bytes (TUNSETVNETHDRSZ)")
    } else if !settings.has_header {
        "taken its frames' header away (IFF_VNET_HDR)".into()
    } else if settings.persists {
        "made it outlive weftd (TUNSETPERSIST)".into()
    } else {
        return Ok(());
    };
    Err(format!(
        "somebody has attached a queue of their own to the tap and {found}: it is not the switch's alone any more; \
         with queues = 1 nobody can"
    ))
}
