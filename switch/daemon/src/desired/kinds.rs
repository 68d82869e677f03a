//! What each kind of port needs, and what it has no use for.

use std::collections::BTreeMap;

use weft_ctl_api::{
    name,
    spec::{PortKind, PortSpec, QueuesSpec, RoleSpec, XdpMode, Zerocopy},
};
use weft_pmd::port::gen_udp;

use super::{Desired, Invalid, Port};
use crate::ports::{self, place};

/// Linux's IFNAMSIZ less the terminating zero (if.h).
const DEVICE_NAME_MAX: usize = 15;
/// Queues of a port: the slots of an xsk port's socket map; others have no more either.
const QUEUES_MAX: u16 = 64;

/// What a kind needs, and what it has no use for.
pub(super) fn check(spec: &PortSpec) -> Result<(), Invalid> {
    let key = |field: &str| format!("port \"{}\".{field}", spec.name);
    device(spec)?;
    queues(spec)?;
    let only = |field: &str, is_set: bool, kind: PortKind| {
        if is_set && spec.kind != kind {
            let problem = format!("only ports of kind {kind} have it");
            return Err(Invalid::new(key(field), problem, "leave it out"));
        }
        Ok(())
    };
    only("mac", spec.mac.is_some(), PortKind::Tap)?;
    only("addresses", !spec.addresses.is_empty(), PortKind::Tap)?;
    only("flows", spec.flows.is_some(), PortKind::Gen)?;
    only("size", spec.size.is_some(), PortKind::Gen)?;
    only("limit", spec.limit.is_some(), PortKind::Gen)?;
    only("repeat", spec.repeat, PortKind::Pcap)?;
    only("xdp_mode", spec.xdp_mode != XdpMode::Auto, PortKind::Xsk)?;
    only("zerocopy", spec.zerocopy != Zerocopy::Prefer, PortKind::Xsk)?;
    only("rx_file", spec.rx_file.is_some(), PortKind::Pcap)?;
    only("tx_file", spec.tx_file.is_some(), PortKind::Pcap)?;
    if spec.no_default_route && (spec.kind != PortKind::Tap || spec.role != RoleSpec::Pod) {
        let problem = "only a pod's tap is given default routes";
        return Err(Invalid::new(key("no_default_route"), problem, "leave it out"));
    }
    if spec.no_gro && !matches!(spec.kind, PortKind::Tap | PortKind::Packet) {
        let problem = format!("a port of kind {} takes no super-frames", spec.kind);
        return Err(Invalid::new(key("no_gro"), problem, "leave it out"));
    }
    if spec.mtu.is_some() && spec.kind == PortKind::Gen {
        return Err(Invalid::new(key("mtu"), "frames are as long as `size` says", "leave it out"));
    }
    if let Some(mtu) = spec.mtu.filter(|mtu| !(68..=65_535).contains(mtu)) {
        // RFC 791: 68 bytes is the least an internet module must forward; RFC 8200 asks 1280 for IPv6.
        return Err(Invalid::new(
            key("mtu"),
            format!("{mtu} bytes"),
            "use 68 to 65535 (1280 and more for IPv6)",
        ));
    }
    Ok(())
}

fn device(spec: &PortSpec) -> Result<(), Invalid> {
    let key = |field: &str| format!("port \"{}\".{field}", spec.name);
    let needs_device = matches!(spec.kind, PortKind::Xsk | PortKind::Packet | PortKind::Tap);
    match &spec.device {
        None if needs_device => {
            let problem = format!("a port of kind {} needs a device", spec.kind);
            return Err(Invalid::new(key("device"), problem, "add device = \"…\""));
        }
        Some(_) if !needs_device => {
            let problem = format!("a port of kind {} has no device", spec.kind);
            return Err(Invalid::new(key("device"), problem, "leave it out"));
        }
        Some(name)
            if name.is_empty()
                || name.len() > DEVICE_NAME_MAX
                || name == "."
                || name == ".."
                || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) =>
        {
            let remedy = format!("use 1 to {DEVICE_NAME_MAX} characters without /, : and white space");
            return Err(Invalid::new(key("device"), format!("{name:?} can't be a device's name"), remedy));
        }
        _ => {}
    }
    for (field, text) in [("device", &spec.device), ("netns", &spec.netns)] {
        text.as_deref().map_or(Ok(()), name::check_characters).map_err(|error| {
            Invalid::new(key(field), error.to_string(), "use characters that can be seen")
        })?;
    }
    if spec.netns.is_some() && !needs_device {
        let problem = format!("a port of kind {} has no device, in no namespace", spec.kind);
        return Err(Invalid::new(key("netns"), problem, "leave it out"));
    }
    Ok(())
}

fn queues(spec: &PortSpec) -> Result<(), Invalid> {
    let invalid = |problem: String, remedy: &str| {
        Err(Invalid::new(format!("port \"{}\".queues", spec.name), problem, remedy))
    };
    match (&spec.queues, spec.kind) {
        (QueuesSpec::All | QueuesSpec::Count(1), _) => Ok(()),
        (_, PortKind::Pcap) => invalid("a port of kind pcap has one".into(), "leave it out"),
        (QueuesSpec::Count(1..=QUEUES_MAX), _) => Ok(()),
        (QueuesSpec::Count(count), _) => invalid(format!("{count} queues"), "use 1 to 64"),
        (QueuesSpec::List(list), PortKind::Xsk) => {
            let twice = list.iter().enumerate().find(|(at, queue)| list[..*at].contains(queue));
            match (list.iter().find(|queue| **queue >= QUEUES_MAX), twice) {
                _ if list.is_empty() => {
                    invalid("there are none".into(), "use \"all\", or a list such as [0, 1]")
                }
                (Some(queue), _) => invalid(format!("queue {queue}"), "use 0 to 63"),
                (_, Some((_, queue))) => invalid(format!("queue {queue} is there twice"), "name each once"),
                _ => Ok(()),
            }
        }
        (QueuesSpec::List(_), kind) => {
            invalid(format!("a port of kind {kind} takes a number, not a list"), "use 1 to 64")
        }
    }
}

/// What a generator makes depends on its endpoint's addresses: it is looked at when all the rest is known to be right.
pub(super) fn generators(desired: &Desired) -> Result<(), Invalid> {
    for port in desired.ports.iter().filter(|port| port.spec.kind == PortKind::Gen) {
        let checked = ports::gen_spec(desired, &port.spec).and_then(|spec| gen_udp::check(&spec));
        checked.map_err(|error| {
            let remedy = "change it, or the addresses of its endpoint";
            Invalid::new(format!("port \"{}\".size", port.name), error.to_string(), remedy)
        })?;
    }
    Ok(())
}

/// A device is one port's, however its namespace is named.
pub(super) fn devices_differ(ports: &[Port]) -> Result<(), Invalid> {
    let mut seen = BTreeMap::new();
    for port in ports {
        let Some(place) = place(&port.spec) else { continue };
        let device = place.device.clone();
        if let Some(other) = seen.insert(place, &port.name) {
            let problem = format!("port \"{other}\" has device {device} already");
            return Err(Invalid::new(
                format!("port \"{}\".device", port.name),
                problem,
                "a device is one port's",
            ));
        }
    }
    Ok(())
}
