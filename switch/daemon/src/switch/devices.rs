//! Devices that change, or go away, under a port.

use std::collections::BTreeSet;

use weft_ctl_api::spec::{PortKind, QueuesSpec};
use weft_pmd::{Caps, sys::net::LinkFacts};
use weft_wire::PortId;

use super::{
    OpenPort, Switch,
    waiting::{Pace, Waiting},
};
use crate::{desired::Role, netlink::devices::Change};

impl Switch {
    /// A PMD thread found a port's device gone.
    pub fn port_vanished(&mut self, id: PortId, errno: i32) {
        if let Some(name) = self.port_name(id).map(str::to_owned) {
            self.remove(&name, &format!("its device is gone ({})", std::io::Error::from_raw_os_error(errno)));
        }
    }

    /// Devices are not what they were: one publication for all of them.
    pub fn devices_changed(&mut self, changes: Vec<Change>) {
        let (mut gone, mut smaller, mut is_news) = (Vec::new(), Vec::new(), false);
        let mut changed = BTreeSet::new();
        for Change { ticket, look } in changes {
            let Some((name, open)) = self.ports.iter_mut().find(|(_, open)| open.ticket == ticket) else {
                continue;
            };
            match look {
                Err(why) => gone.push((name.clone(), why)),
                Ok(None) => {}
                Ok(Some(facts)) => {
                    let (name, before) = (name.clone(), open.info.caps);
                    open.note(&name, facts);
                    let (id, mac, caps) = (open.id, open.info.mac, open.info.caps);
                    let Some(known) = self.facts.ports.get_mut(&name) else { continue };
                    is_news |= known.mac != mac || known.caps != caps;
                    (known.mac, known.caps) = (mac, caps);
                    // What PMD threads send must fit the device at any moment: the smaller of the two comes first and goes last.
                    match caps.mtu.cmp(&before.mtu) {
                        std::cmp::Ordering::Greater => self.set_caps(&name, caps),
                        std::cmp::Ordering::Less => smaller.push((id, name.clone(), caps)),
                        std::cmp::Ordering::Equal => {}
                    }
                    changed.insert(name);
                }
            }
        }
        if is_news {
            self.publish();
        }
        for (_, name, caps) in smaller {
            self.set_caps(&name, caps);
        }
        self.uplink_changed(&changed);
        for (name, why) in gone {
            self.remove(&name, &why);
        }
    }

    fn set_caps(&self, name: &str, caps: Caps) {
        if let Some(open) = self.ports.get(name) {
            self.runtime.set_caps(open.id, &open.owners, caps);
        }
    }

    /// What depends on the uplink's device, beyond what is compiled.
    fn uplink_changed(&mut self, changed: &BTreeSet<String>) {
        let uplink = self.desired.ports.iter().find(|port| port.role == Role::Fabric);
        let Some(name) = uplink.map(|port| port.name.clone()).filter(|name| changed.contains(name)) else {
            return;
        };
        if let Some(open) = self.ports.get_mut(&name) {
            open.spread = None; // its queues may be others
        }
        self.steer();
        self.settle_taps(false); // pods may send what goes through the uplink whole
    }

    /// Takes a port out whose device is gone; the configuration keeps it, and it is tried again.
    fn remove(&mut self, name: &str, why: &str) {
        tracing::warn!(port = name, why, "port removed");
        if let Some(open) = self.ports.get(name) {
            let pace = Pace::after(open.opened_at_pace, open.since.elapsed());
            self.waiting
                .insert(name.to_owned(), Waiting::for_device(open.spec.clone(), why.to_owned(), pace));
        }
        self.facts.ports.remove(name);
        self.publish();
        self.close(name);
        self.watch_next_hops();
    }
}

impl OpenPort {
    /// Its device is this by now.
    fn note(&mut self, port: &str, facts: LinkFacts) {
        let (mtu, mac) = (self.info.caps.mtu, self.info.mac);
        if mtu != facts.mtu {
            tracing::info!(port, was = mtu, mtu = facts.mtu, "the device's MTU has changed");
        }
        if mac != facts.mac {
            tracing::info!(port, was = %mac, mac = %facts.mac, "the device's MAC has changed");
        }
        (self.info.caps.mtu, self.info.mac) = (facts.mtu, facts.mac);
        let before = self.shortcomings();
        self.facts = Some(facts);
        let after = self.shortcomings();
        if before != after && after.is_empty() {
            tracing::info!(port, "port is as it should be");
        } else if before != after {
            tracing::warn!(port, why = after.join("; "), "port is degraded");
        }
    }

    /// Why it is not all it should be.
    pub fn shortcomings(&self) -> Vec<String> {
        let mut short = self.short.clone();
        let Some(facts) = &self.facts else { return short };
        if !facts.is_up {
            short.push("its device is down".into());
        } else if !facts.has_carrier {
            short.push("its device has no carrier".into());
        }
        if self.spec.kind != PortKind::Tap
            && self.spec.device.as_ref().is_some_and(|name| *name != facts.name)
        {
            let name = facts.name.escape_debug(); // whoever gave it may mean harm
            short.push(format!(
                "its device is called {name} by now: under its old name it will not be found again"
            ));
        }
        if let (true, Some(now)) = (self.needs_reopening(), facts.rx_queues) {
            let was = self.queues_then.unwrap_or(1);
            short.push(format!(
                "its device has {now} receive queues, and had {was} when the port was opened: weftctl config reload opens it anew"
            ));
        }
        short
    }

    /// Its device has other queues than when it was opened: more, which it does not serve, or fewer.
    pub(super) fn needs_reopening(&self) -> bool {
        let now = self.facts.as_ref().and_then(|facts| facts.rx_queues);
        now.zip(self.queues_then).is_some_and(|(now, then)| match &self.spec.queues {
            QueuesSpec::All => now != then,
            QueuesSpec::Count(count) => now < *count,
            QueuesSpec::List(list) => list.iter().any(|queue| *queue >= now),
        })
    }
}
