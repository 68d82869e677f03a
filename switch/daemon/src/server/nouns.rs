//! Ports and networks: verbs that change more than one thing.

use weft_ctl_api::{
    Code, Done, Error,
    fdb::{FdbFlush, FdbList, FdbRow, FdbRows},
    network::{NetworkRow, NetworkRows},
    port::PortDel,
    spec::{ActionSpec, FlowSpec, PortKind, PortSpec, RoleSpec},
};

use super::{Session, must_be_new, not_found, take};
use crate::{compile::Place, desired::Role};

fn names_port(flow: &FlowSpec, name: &str) -> bool {
    let sends = |action: &ActionSpec| matches!(action, ActionSpec::Output(port) | ActionSpec::Mirror(port) if port == name);
    flow.matching.port.as_deref() == Some(name) || flow.actions.iter().any(sends)
}

impl Session {
    pub(super) fn add_port(&mut self, port: PortSpec) -> Result<Done, Error> {
        if port.kind == PortKind::Pcap {
            self.must_be(
                weft_ctl_api::Role::Admin,
                "port add --kind pcap",
                "weftd opens the files with its own rights",
            )?;
        }
        let (name, kind) = (port.name.clone(), port.kind);
        self.change(
            |switch| {
                let open = &switch.ports[&name];
                let cores: Vec<String> = open
                    .owners
                    .iter()
                    .map(|owner| switch.runtime.threads[owner.index()].core.to_string())
                    .collect();
                let queues = if cores.len() == 1 { "queue" } else { "queues" };
                let why =
                    if open.info.why.is_empty() { String::new() } else { format!("; {}", open.info.why) };
                let (count, cores) = (cores.len(), cores.join(", "));
                format!(
                    "port {name} ({kind}) added: {}, {count} {queues} on core {cores}{why}",
                    open.info.mode
                )
            },
            |config| {
                must_be_new(&config.port, "port", &port.name, |port| &port.name)?;
                config.port.push(port);
                Ok(())
            },
        )
    }

    pub(super) fn del_port(&mut self, call: &PortDel) -> Result<Done, Error> {
        let name = &call.name;
        self.change(
            |_| format!("port {name} removed"),
            |config| {
                let gone = take(&mut config.port, "port", name, |port| &port.name)?;
                if call.force {
                    config.endpoint.retain(|endpoint| endpoint.port != *name);
                    config.flow.retain(|flow| !names_port(flow, name));
                }
                let endpoints: Vec<&str> = config
                    .endpoint
                    .iter()
                    .filter(|endpoint| endpoint.port == *name)
                    .map(|endpoint| endpoint.name.as_str())
                    .collect();
                let mut users = Vec::new();
                if !endpoints.is_empty() {
                    users.push(format!("port {name} still has endpoints: {}", endpoints.join(", ")));
                }
                let rules: Vec<&str> = config
                    .flow
                    .iter()
                    .filter(|flow| names_port(flow, name))
                    .map(|flow| flow.name.as_str())
                    .collect();
                if !rules.is_empty() {
                    users.push(format!("port {name} is still named by flow rules: {}", rules.join(", ")));
                }
                if !users.is_empty() {
                    let message = users.join("; ");
                    return Err(Error::new(Code::InUse, message).remedy("remove them first, or say --force"));
                }
                let peers = config.fabric.iter().flat_map(|fabric| &fabric.peer);
                let peers: Vec<&str> = peers.map(|peer| peer.name.as_str()).collect();
                if gone.role == RoleSpec::Fabric && !peers.is_empty() {
                    let message = format!("port {name} still leads to peers: {}", peers.join(", "));
                    return Err(Error::new(Code::InUse, message).remedy("remove them first"));
                }
                Ok(())
            },
        )
    }

    pub(super) fn del_network(&mut self, name: &str) -> Result<Done, Error> {
        self.change(
            |_| format!("network {name} removed"),
            |config| {
                take(&mut config.network, "network", name, |network| &network.name)?;
                let endpoints = config.endpoint.iter().filter(|endpoint| endpoint.network == name);
                let mut users: Vec<String> =
                    endpoints.map(|endpoint| format!("endpoint {}", endpoint.name)).collect();
                let ports = config.port.iter();
                let ports = ports.filter(|port| {
                    port.network.as_deref() == Some(name) || port.networks.iter().any(|n| n == name)
                });
                users.extend(ports.map(|port| format!("port {}", port.name)));
                let rules = config.flow.iter().filter(|flow| flow.matching.network.as_deref() == Some(name));
                users.extend(rules.map(|flow| format!("flow rule {}", flow.name)));
                if users.is_empty() {
                    return Ok(());
                }
                let message = format!("network {name} is still used by {}", users.join(", "));
                Err(Error::new(Code::InUse, message).remedy("remove these first"))
            },
        )
    }

    pub(super) fn network_rows(&self) -> NetworkRows {
        let desired = &self.switch.desired;
        let row = |(index, network): (usize, &crate::desired::Network)| {
            let endpoints: Vec<_> =
                desired.endpoints.iter().filter(|endpoint| endpoint.network == index).collect();
            let is_member = |(at, port): (usize, &crate::desired::Port)| match &port.role {
                Role::Pod => endpoints.iter().any(|endpoint| endpoint.port == at),
                Role::Access(network) => *network == index,
                Role::Trunk(networks) => networks.contains(&index),
                Role::Host | Role::Fabric => false,
            };
            let (learnt, refused) = self.switch.learnt.count(&network.name);
            NetworkRow {
                learnt,
                refused,
                spec: self.switch.config.network[index].clone(),
                gateway_mac: network.gateway_mac,
                endpoints: endpoints.len(),
                ports: desired.ports.iter().enumerate().filter(|entry| is_member(*entry)).count(),
            }
        };
        NetworkRows { networks: desired.networks.iter().enumerate().map(row).collect() }
    }

    /// A network that is to be shown must exist.
    pub(super) fn check_network(&self, name: Option<&String>) -> Result<(), Error> {
        let mut names = self.switch.config.network.iter().map(|network| network.name.as_str());
        match name {
            Some(name) if !names.clone().any(|other| other == name) => {
                Err(not_found("network", name, names.by_ref()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn fdb_rows(&self, call: &FdbList) -> FdbRows {
        let desired = &self.switch.desired;
        let wanted = |network: &String| call.network.as_ref().is_none_or(|wanted| wanted == network);
        let bridged = desired.endpoints.iter().filter(|endpoint| {
            desired.networks[endpoint.network].mode == weft_dataplane::snapshot::Mode::Bridged
        });
        let pods = bridged.map(|endpoint| FdbRow {
            network: desired.networks[endpoint.network].name.clone(),
            mac: endpoint.mac,
            port: desired.ports[endpoint.port].name.clone(),
            vlan: None,
            idle_s: None,
            moves: 0,
        });
        let learnt = self.switch.learnt.iter().map(|(network, mac, station)| FdbRow {
            network: network.to_owned(),
            mac,
            port: match &station.place {
                Place::Port(port, _) => port.clone(),
                Place::Peer(peer) => format!("peer:{peer}"),
            },
            vlan: if let Place::Port(_, vlan) = station.place { vlan } else { None },
            idle_s: Some(station.seen.elapsed().as_secs()),
            moves: station.moves,
        });
        let mut stations: Vec<FdbRow> = pods.chain(learnt).filter(|row| wanted(&row.network)).collect();
        stations.sort_by(|a, b| (&a.network, a.mac).cmp(&(&b.network, b.mac)));
        FdbRows { stations }
    }

    pub(super) fn flush_fdb(&mut self, call: &FdbFlush) -> Result<Done, Error> {
        self.check_network(call.network.as_ref())?;
        let config = &self.switch.config;
        if let Some(name) = &call.port
            && !config.port.iter().any(|port| port.name == *name)
        {
            return Err(not_found("port", name, config.port.iter().map(|port| port.name.as_str())));
        }
        let gone = self.switch.learnt.retain(|network, _, station| {
            call.network.as_ref().is_some_and(|wanted| wanted != network)
                || call
                    .port
                    .as_ref()
                    .is_some_and(|wanted| !matches!(&station.place, Place::Port(port, _) if port == wanted))
        });
        self.switch.publish_learnt();
        Ok(self.done(format!("{gone} learnt addresses forgotten")))
    }
}
