//! Whom a change interrupts: ports that are opened again, pods whose addresses move, nodes that are reached otherwise.

use std::{fmt::Display, net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use weft_ctl_api::{
    plan::{Change, ChangeKind, Effect},
    spec::PortKind,
};

use crate::{
    desired::{Desired, Endpoint, Fabric, Peer, Role},
    netlink::tap::Placement,
    ports,
    switch::Switch,
};

fn disrupts(subject: String, text: String) -> Effect {
    Effect { disruptive: true, subject, text }
}

fn harmless(subject: String, text: String) -> Effect {
    Effect { disruptive: false, subject, text }
}

fn join<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// What the changes do, the disruptive first.
pub(super) fn effects(switch: &Switch, new: &Desired, changes: &[Change]) -> Vec<Effect> {
    let old = &switch.desired;
    let mut effects = Vec::new();
    effects
        .extend(changes.iter().filter(|change| change.noun == "port").map(|change| port(change, old, new)));
    effects.extend(endpoints(old, new));
    effects.extend(networks(old, new));
    effects.extend(taps(switch, new, changes));
    effects.extend(fabric(old, new));
    effects.sort_by_key(|effect| !effect.disruptive); // stable
    effects
}

fn port(change: &Change, old: &Desired, new: &Desired) -> Effect {
    let of = |desired: &Desired| -> String {
        let index = desired.ports.iter().position(|port| port.name == change.name);
        let behind = desired.endpoints.iter().filter(|endpoint| Some(endpoint.port) == index);
        let pods = join(behind.map(|endpoint| &endpoint.name));
        match index.map(|index| &desired.ports[index].role) {
            Some(Role::Fabric) => "all that goes to and comes from other nodes".into(),
            Some(Role::Host) => "all between the node and pods".into(),
            _ if pods.is_empty() => "whatever is behind it".into(),
            _ => format!("pods {pods}"),
        }
    };
    let subject = format!("port {}", change.name);
    match change.what {
        ChangeKind::Added => harmless(subject, "is opened".into()),
        ChangeKind::Removed => disrupts(subject, format!("is closed: {} is cut off", of(old))),
        ChangeKind::Changed => {
            let fields = join(change.fields.iter().map(|field| &field.field));
            // Whatever field it is: a port is opened with all of them.
            let text = format!("is closed and opened again ({fields} changed): {} is interrupted", of(new));
            disrupts(subject, text)
        }
    }
}

fn endpoints(old: &Desired, new: &Desired) -> Vec<Effect> {
    let by_name = |desired: &Desired| -> HashMap<String, usize> {
        desired.endpoints.iter().enumerate().map(|(at, endpoint)| (endpoint.name.clone(), at)).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let gone = old.endpoints.iter().filter(|endpoint| !after.contains_key(&endpoint.name));
    let gone = gone.map(|endpoint| {
        let text = match endpoint.addresses.is_empty() {
            true => format!("is gone: {} is unknown", endpoint.mac),
            false => format!("is gone: {} can't be reached any more", join(&endpoint.addresses)),
        };
        disrupts(format!("pod {}", endpoint.name), text)
    });
    let others = new.endpoints.iter().flat_map(|endpoint| match before.get(&endpoint.name) {
        Some(at) => moved(&old.endpoints[*at], endpoint, old, new),
        None => {
            let text = format!("comes, behind port {}", new.ports[endpoint.port].name);
            vec![harmless(format!("pod {}", endpoint.name), text)]
        }
    });
    gone.chain(others).collect()
}

fn moved(was: &Endpoint, is: &Endpoint, old: &Desired, new: &Desired) -> Vec<Effect> {
    let subject = || format!("pod {}", is.name);
    let mut effects = Vec::new();
    let (port_was, port_is) = (&old.ports[was.port].name, &new.ports[is.port].name);
    if port_was != port_is {
        effects.push(disrupts(subject(), format!("moves from port {port_was} to port {port_is}")));
    }
    let (network_was, network_is) = (&old.networks[was.network].name, &new.networks[is.network].name);
    if network_was != network_is {
        effects.push(disrupts(subject(), format!("moves from network {network_was} to {network_is}")));
    }
    if was.mac != is.mac {
        let text =
            format!("has MAC {} instead of {}: what it sends with the old one is dropped", is.mac, was.mac);
        effects.push(disrupts(subject(), text));
    }
    let without = |these: &[IpAddr], those: &[IpAddr]| -> Vec<IpAddr> {
        these.iter().filter(|address| !those.contains(address)).copied().collect()
    };
    let (lost, gained) = (without(&was.addresses, &is.addresses), without(&is.addresses, &was.addresses));
    if !lost.is_empty() {
        effects.push(disrupts(subject(), format!("loses {}: connections from and to it end", join(lost))));
    }
    if !gained.is_empty() {
        effects.push(harmless(subject(), format!("gets {}", join(gained))));
    }
    effects
}

fn networks(old: &Desired, new: &Desired) -> Vec<Effect> {
    let mut effects = Vec::new();
    for was in &old.networks {
        let subject = || format!("network {}", was.name);
        let Some(is) = new.networks.iter().find(|network| network.name == was.name) else {
            effects.push(disrupts(subject(), "is gone".into()));
            continue;
        };
        if was.gateway_mac != is.gateway_mac {
            let text = format!("its gateway's MAC becomes {}: pods must resolve it anew", is.gateway_mac);
            effects.push(disrupts(subject(), text));
        }
        let lost = was.gateways.iter().filter(|gateway| !is.gateways.contains(gateway));
        let lost: Vec<_> = lost.collect();
        if !lost.is_empty() {
            let text = format!("has no gateway {} any more: pods that use it are cut off", join(lost));
            effects.push(disrupts(subject(), text));
        }
        let vni = |vni: Option<weft_wire::Vni>| vni.map_or("none".to_owned(), |vni| vni.to_string());
        if was.vni != is.vni {
            let text = format!(
                "its VNI becomes {} instead of {}: other nodes must follow",
                vni(is.vni),
                vni(was.vni)
            );
            effects.push(disrupts(subject(), text));
        }
    }
    effects
}

/// Taps that stay open and look different.
fn taps(switch: &Switch, new: &Desired, changes: &[Change]) -> Vec<Effect> {
    let old = &switch.desired;
    let (mtu_was, mtu_is) = (ports::pod_mtu(old), ports::pod_mtu(new));
    let mut effects = Vec::new();
    for (index, port) in new.ports.iter().enumerate() {
        let reopens = changes.iter().any(|change| change.noun == "port" && change.name == port.name);
        let is_open_tap = port.spec.kind == PortKind::Tap && switch.ports.contains_key(&port.name);
        let before = old.ports.iter().position(|before| before.name == port.name);
        let Some(before) = before.filter(|_| is_open_tap && !reopens) else { continue };
        let (was, is) = (ports::placement(old, before, mtu_was), ports::placement(new, index, mtu_is));
        effects.extend(tap(&port.name, &was, &is));
    }
    effects
}

fn tap(name: &str, was: &Placement, is: &Placement) -> Vec<Effect> {
    let subject = || format!("port {name}");
    let mut effects = Vec::new();
    if was.mtu != is.mtu {
        let text = format!("the MTU of {} becomes {} instead of {}", is.device, is.mtu, was.mtu);
        effects.push(Effect { disruptive: is.mtu < was.mtu, subject: subject(), text });
    }
    if was.mac != is.mac {
        effects.push(disrupts(subject(), format!("the MAC of {} changes", is.device)));
    }
    for (what, was, is) in [
        ("addresses", strings(&was.addresses), strings(&is.addresses)),
        ("default routes via", strings(&was.gateways), strings(&is.gateways)),
        ("routes to", prefixes(was), prefixes(is)),
    ] {
        let lost: Vec<&String> = was.iter().filter(|item| !is.contains(item)).collect();
        let gained: Vec<&String> = is.iter().filter(|item| !was.contains(item)).collect();
        if !lost.is_empty() {
            effects.push(disrupts(subject(), format!("{what} {} go from its device", join(lost))));
        }
        if !gained.is_empty() {
            effects.push(harmless(subject(), format!("{what} {} come onto its device", join(gained))));
        }
    }
    effects
}

fn strings<T: Display>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

fn prefixes(placement: &Placement) -> Vec<String> {
    placement.on_link.iter().map(|(prefix, _)| prefix.to_string()).collect()
}

fn fabric(old: &Desired, new: &Desired) -> Vec<Effect> {
    let mut effects = Vec::new();
    // Only the rate at which floods are copied is this node's own affair.
    let wire = |fabric: &Fabric| match fabric {
        Fabric::Native => None,
        Fabric::Tunnels { encapsulation, udp_port, .. } => Some((*encapsulation, *udp_port)),
    };
    if wire(&old.fabric) != wire(&new.fabric) && !old.peers.is_empty() {
        let text = "other nodes are reached otherwise: they must change, too, and are cut off until then";
        effects.push(disrupts("fabric".into(), text.into()));
    }
    let known: HashMap<&str, &Arc<Peer>> = new.peers.iter().map(|peer| (peer.name.as_str(), peer)).collect();
    for was in &old.peers {
        let subject = || format!("peer {}", was.name);
        let Some(is) = known.get(was.name.as_str()) else {
            effects
                .push(disrupts(subject(), format!("is gone, and its pods with it: {}", some(&was.prefixes))));
            continue;
        };
        if was.address != is.address {
            effects.push(disrupts(
                subject(),
                format!("is reached at {} instead of {}", is.address, was.address),
            ));
        }
        let lost: Vec<_> = was.prefixes.iter().filter(|prefix| !is.prefixes.contains(prefix)).collect();
        if !lost.is_empty() {
            effects
                .push(disrupts(subject(), format!("its pods of {} can't be reached any more", some(&lost))));
        }
    }
    effects
}

/// The first few.
fn some<T: Display>(items: &[T]) -> String {
    const SHOWN: usize = 5;
    let rest = items.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", join(items.iter().take(SHOWN)))
}
