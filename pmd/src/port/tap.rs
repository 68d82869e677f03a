//! `tap`: a tap device made here, with virtio-net headers, one descriptor per queue.
//!
//! The device exists as long as the descriptors do: it goes when weftd goes, however it ends. It is made in weftd's
//! namespace; the daemon moves it to the pod's and configures it there (the descriptors keep working).

use std::{fs::File, io};

use super::{
    Caps, Guard, LinkProbe, Opened, PortError, PortInfo, Queue,
    vnet::{Flavour, VnetQueue},
};
use crate::sys::net;

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
        probe: LinkProbe::NONE,
    })
}
