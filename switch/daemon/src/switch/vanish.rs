//! Devices and namespaces that go away under a port, or are not the switch's any more.

use weft_ctl_api::spec::{PortKind, PortSpec, QueuesSpec};
use weft_pmd::port::LinkProbe;
use weft_wire::PortId;

use super::Switch;
use crate::{netlink, ports};

impl Switch {
    /// A PMD thread found a port's device gone.
    pub fn port_vanished(&mut self, id: PortId, errno: i32) {
        if let Some(name) = self.port_name(id).map(str::to_owned) {
            self.remove(&name, &format!("its device is gone ({})", std::io::Error::from_raw_os_error(errno)));
        }
    }

    /// Looks after every port's device and namespace: not every kind of port notices by itself.
    pub fn check_devices(&mut self) {
        let gone: Vec<(String, String)> = self
            .ports
            .iter()
            .filter_map(|(name, port)| LinkProbe::check(&port.probe).err().map(|why| (name.clone(), why)))
            .collect();
        for (name, why) in gone {
            self.remove(&name, &why);
        }
        self.renew_keepers();
        self.keep_removed();
    }

    /// Takes a port out whose device is gone; the configuration keeps it, and a reload tries it again.
    fn remove(&mut self, name: &str, why: &str) {
        tracing::warn!(port = name, why, "port removed");
        self.removed.insert(name.to_owned(), why.to_owned());
        self.facts.ports.remove(name);
        self.publish();
        self.close(name);
        self.watch_next_hops();
    }
}

/// A tap of several queues stays where it is if somebody there has attached a queue of their own, or told it to: it goes all the
/// same, or its name would be taken when the port is opened again.
pub(super) fn remove_shared_tap(spec: &PortSpec) {
    let (PortKind::Tap, QueuesSpec::Count(2..), Some(device)) = (spec.kind, &spec.queues, &spec.device)
    else {
        return;
    };
    let netns = spec.netns.as_deref().map(ports::netns);
    // Mostly it is gone by itself, as it should be, or with its namespace.
    if let Ok(true) = netlink::tap::remove(netns.as_ref(), device) {
        tracing::warn!(port = spec.name, "the tap was still there, and is removed");
    }
}
