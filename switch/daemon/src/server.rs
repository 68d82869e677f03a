//! The control socket, and what each verb does. One file per noun.
//!
//! A client costs one task and its buffers: requests are read with a length limit and a deadline, connections are limited
//! in number, and whoever sends nonsense gets one error and is disconnected. Only the control thread touches the switch.

mod captures;
mod flows;
mod losses;
mod nouns;
mod peers;
mod trace;
mod views;

pub mod filter;
pub mod socket;

use std::{collections::HashMap, time::Instant};

use weft_ctl_api::{
    Code, Done, Error, Server, capture, config, drops, endpoint, fabric, fdb, flow, network, pmd, port,
    spec::Config,
    stats, status,
    trace::{Trace, TraceLive, TraceNext, TraceReply, TraceSeen, TraceStarted},
};

use crate::{
    capture::{Captures, Stream},
    switch::{Retry, Switch},
};

/// What verbs work on.
pub struct Session {
    /// The switch.
    pub switch: Switch,
    /// PMD threads' counters at the last `pmd list`, to tell what happened since.
    pmd_seen: HashMap<usize, (Instant, views::PmdSample)>,
    /// The trace that runs, or ran last.
    live: Option<trace::Running>,
    captures: Captures,
    /// What follows the answer that is being made.
    pub stream: Option<Stream>,
}

impl Session {
    /// A fresh one.
    pub fn new(switch: Switch) -> Self {
        Self { switch, pmd_seen: HashMap::new(), live: None, captures: Captures::default(), stream: None }
    }

    /// Captures follow what has changed.
    pub fn look_after_captures(&mut self) {
        self.captures.look_after(&self.switch);
    }

    /// Changes a copy of the configuration and goes over to it.
    fn change(
        &mut self,
        summary: impl FnOnce(&Switch) -> String,
        edit: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<Done, Error> {
        let mut config = self.switch.config.clone();
        edit(&mut config)?;
        self.switch.apply(config, Retry::Nothing)?;
        Ok(self.done(summary(&self.switch)))
    }

    fn done(&self, summary: String) -> Done {
        tracing::info!(generation = self.switch.generation(), "{summary}");
        Done { summary, generation: self.switch.generation() }
    }
}

fn not_found<'a>(noun: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.take(20).collect();
    let remedy = if known.is_empty() {
        format!("there is no {noun} at all")
    } else {
        format!("there is {}", known.join(", "))
    };
    Error::new(Code::NotFound, format!("there is no {noun} \"{name}\"")).remedy(remedy)
}

/// Removes the one of that name.
fn take<T>(list: &mut Vec<T>, noun: &str, name: &str, name_of: impl Fn(&T) -> &str) -> Result<T, Error> {
    match list.iter().position(|item| name_of(item) == name) {
        Some(index) => Ok(list.remove(index)),
        None => Err(not_found(noun, name, list.iter().map(name_of))),
    }
}

fn must_be_new<T>(list: &[T], noun: &str, name: &str, name_of: impl Fn(&T) -> &str) -> Result<(), Error> {
    if list.iter().any(|item| name_of(item) == name) {
        let remedy = format!("choose another name, or remove it first (weftctl {noun} del {name})");
        return Err(Error::new(Code::Exists, format!("there is a {noun} \"{name}\" already")).remedy(remedy));
    }
    Ok(())
}

impl Server for Session {
    fn status(&mut self, _: status::Status) -> Result<status::StatusReply, Error> {
        Ok(self.show_status())
    }

    fn port_add(&mut self, call: port::PortAdd) -> Result<Done, Error> {
        self.add_port(call.port)
    }

    fn port_del(&mut self, call: port::PortDel) -> Result<Done, Error> {
        self.del_port(&call)
    }

    fn port_list(&mut self, _: port::PortList) -> Result<port::PortRows, Error> {
        Ok(port::PortRows {
            ports: (0..self.switch.desired.ports.len()).map(|index| self.port_row(index)).collect(),
        })
    }

    fn port_show(&mut self, call: port::PortShow) -> Result<port::PortDetails, Error> {
        self.port_details(&call.name)
    }

    fn network_add(&mut self, call: network::NetworkAdd) -> Result<Done, Error> {
        let name = call.network.name.clone();
        self.change(
            |_| format!("network {name} added"),
            |config| {
                must_be_new(&config.network, "network", &call.network.name, |network| &network.name)?;
                config.network.push(call.network);
                Ok(())
            },
        )
    }

    fn network_del(&mut self, call: network::NetworkDel) -> Result<Done, Error> {
        self.del_network(&call.name)
    }

    fn network_list(&mut self, _: network::NetworkList) -> Result<network::NetworkRows, Error> {
        Ok(self.network_rows())
    }

    fn endpoint_add(&mut self, call: endpoint::EndpointAdd) -> Result<Done, Error> {
        let (name, port) = (call.endpoint.name.clone(), call.endpoint.port.clone());
        self.change(
            |_| format!("endpoint {name} added behind port {port}"),
            |config| {
                must_be_new(&config.endpoint, "endpoint", &call.endpoint.name, |endpoint| &endpoint.name)?;
                config.endpoint.push(call.endpoint);
                Ok(())
            },
        )
    }

    fn endpoint_del(&mut self, call: endpoint::EndpointDel) -> Result<Done, Error> {
        self.change(
            |_| format!("endpoint {} removed", call.name),
            |config| take(&mut config.endpoint, "endpoint", &call.name, |endpoint| &endpoint.name).map(drop),
        )
    }

    fn endpoint_list(&mut self, call: endpoint::EndpointList) -> Result<endpoint::EndpointRows, Error> {
        self.check_network(call.network.as_ref())?;
        let wanted = |network: &String| call.network.as_ref().is_none_or(|wanted| wanted == network);
        let all = self.switch.config.endpoint.iter();
        Ok(endpoint::EndpointRows {
            endpoints: all.filter(|endpoint| wanted(&endpoint.network)).cloned().collect(),
        })
    }

    fn flow_add(&mut self, call: flow::FlowAdd) -> Result<Done, Error> {
        let (name, priority) = (call.flow.name.clone(), call.flow.priority);
        self.change(
            |_| format!("flow rule {name} added at priority {priority}"),
            |config| {
                must_be_new(&config.flow, "flow", &call.flow.name, |flow| &flow.name)?;
                config.flow.push(call.flow);
                Ok(())
            },
        )
    }

    fn flow_del(&mut self, call: flow::FlowDel) -> Result<Done, Error> {
        self.change(
            |_| format!("flow rule {} removed", call.name),
            |config| take(&mut config.flow, "flow", &call.name, |flow| &flow.name).map(drop),
        )
    }

    fn flow_list(&mut self, _: flow::FlowList) -> Result<flow::FlowRows, Error> {
        Ok(self.flow_rows())
    }

    fn flow_cache(&mut self, call: flow::FlowCache) -> Result<flow::CachedFlows, Error> {
        self.cached_flows(&call)
    }

    fn fabric_show(&mut self, _: fabric::FabricShow) -> Result<fabric::FabricReply, Error> {
        Ok(self.show_fabric())
    }

    fn peer_add(&mut self, call: fabric::PeerAdd) -> Result<Done, Error> {
        self.add_peer(call.peer)
    }

    fn peer_del(&mut self, call: fabric::PeerDel) -> Result<Done, Error> {
        self.del_peer(&call.name)
    }

    fn peer_list(&mut self, _: fabric::PeerList) -> Result<fabric::PeerRows, Error> {
        Ok(self.peer_rows())
    }

    fn peer_show(&mut self, call: fabric::PeerShow) -> Result<fabric::PeerDetails, Error> {
        self.peer_details(&call.name)
    }

    fn fdb_list(&mut self, call: fdb::FdbList) -> Result<fdb::FdbRows, Error> {
        self.check_network(call.network.as_ref())?;
        Ok(self.fdb_rows(&call))
    }

    fn fdb_flush(&mut self, call: fdb::FdbFlush) -> Result<Done, Error> {
        self.flush_fdb(&call)
    }

    fn pmd_list(&mut self, _: pmd::PmdList) -> Result<pmd::PmdRows, Error> {
        Ok(self.pmd_rows())
    }

    fn stats(&mut self, call: stats::Stats) -> Result<stats::StatsReply, Error> {
        self.show_stats(&call)
    }

    fn drops(&mut self, call: drops::Drops) -> Result<drops::DropRows, Error> {
        self.show_drops(&call)
    }

    fn trace(&mut self, call: Trace) -> Result<TraceReply, Error> {
        self.trace_what_if(&call)
    }

    fn trace_live(&mut self, call: TraceLive) -> Result<TraceStarted, Error> {
        self.start_trace(&call)
    }

    fn trace_next(&mut self, call: TraceNext) -> Result<TraceSeen, Error> {
        self.trace_seen(call.id)
    }

    fn capture(&mut self, call: capture::Capture) -> Result<capture::CaptureStarted, Error> {
        self.start_capture(call)
    }

    fn config_show(&mut self, _: config::ConfigShow) -> Result<config::ConfigText, Error> {
        let config = self.switch.config.clone();
        let toml = crate::config::to_toml(&config).map_err(|error| Error::new(Code::Internal, error))?;
        Ok(config::ConfigText { config, toml })
    }

    fn config_save(&mut self, call: config::ConfigSave) -> Result<Done, Error> {
        let no_file = || {
            Error::new(Code::Invalid, "weftd was started without a file")
                .remedy("name one: weftctl config save FILE")
        };
        let path = call.file.or_else(|| self.switch.path.clone()).ok_or_else(no_file)?;
        crate::config::save(&self.switch.config, &path)
            .map_err(|error| Error::new(Code::Unavailable, error.to_string()))?;
        Ok(self.done(format!("configuration saved to {}", path.display())))
    }

    fn config_check(&mut self, call: config::ConfigCheck) -> Result<Done, Error> {
        crate::config::check(&call.file).map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
        let summary = format!("{} is a valid configuration", call.file.display());
        Ok(Done { summary, generation: self.switch.generation() })
    }

    fn config_reload(&mut self, _: config::ConfigReload) -> Result<Done, Error> {
        self.switch.reload()?;
        Ok(self.done("configuration reloaded".into()))
    }
}
