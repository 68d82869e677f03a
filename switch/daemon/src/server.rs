//! The control socket, and what each verb does. One file per noun.
//!
//! A client costs one task and its buffers: requests are read with a length limit and a deadline, connections are limited
//! in number, and whoever sends nonsense gets one error and is disconnected. Only the control thread touches the switch; what it
//! answers is written down on other threads, and what needs nothing but the configuration is made there ([`Deferred`]).

mod access;
mod biggest;
mod captures;
mod flows;
mod losses;
mod nouns;
mod peers;
mod queues;
mod trace;
mod transaction;
mod views;

pub mod filter;
pub mod socket;

use std::{collections::VecDeque, sync::Arc};

use weft_ctl_api::{
    Code, Deferred, Done, Error, Role, Server, audit, capture, config, drops, endpoint, fabric, fdb, flow,
    history, network, plan, pmd, port,
    spec::Config,
    stats, status,
    trace::{Trace, TraceLive, TraceNext, TraceReply, TraceSeen, TraceStarted},
};

use crate::{
    audit::AuditLog,
    capture::{Captures, Stream},
    config as file,
    history::History,
    state::State,
    switch::{Retry, Switch},
};

pub use flows::describe as describe_flow;

/// What verbs work on.
pub struct Session {
    /// The switch.
    pub switch: Switch,
    state: State,
    audit: AuditLog,
    access: Arc<socket::Access>,
    /// An applied configuration that waits to be confirmed.
    pending: Option<transaction::Pending>,
    request: access::Request,
    /// The last minutes.
    pub history: History,
    /// PMD threads' counters, second by second, to tell what happened since.
    pmd_looks: VecDeque<views::PmdLook>,
    biggest: biggest::LastLook,
    /// The trace that runs, or ran last.
    live: Option<trace::Running>,
    captures: Captures,
    /// What follows the answer that is being made.
    pub stream: Option<Stream>,
}

impl Session {
    /// A fresh one; `why` says what the switch has come up with.
    pub fn new(switch: Switch, state: State, access: Arc<socket::Access>, why: &str) -> Self {
        let audit = AuditLog::open(state.dir().ok());
        audit.problems().iter().for_each(|problem| tracing::error!("{problem}"));
        let who = crate::roles::weftd_itself("start");
        let request = access::Request { who, role: Role::View, persist: false };
        let mut session = Self {
            history: History::new(&switch),
            switch,
            state,
            audit,
            access,
            pending: None,
            request,
            pmd_looks: VecDeque::new(),
            biggest: biggest::LastLook::default(),
            live: None,
            captures: Captures::default(),
            stream: None,
        };
        if let Some(warning) = session.came_into_force(why) {
            tracing::warn!("{warning}");
        }
        session
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
        self.refuse_while_pending()?;
        let mut config = self.switch.config.clone();
        edit(&mut config)?;
        let file = self.switch.path.clone().filter(|_| self.request.persist);
        let unsaved = |error: file::ConfigError| Error::new(Code::Unavailable, error.to_string());
        let prepared = file.as_deref().map(|path| file::prepare_save(&config, path)).transpose();
        let prepared = prepared.map_err(unsaved)?;
        let mut warnings = self.switch.apply(config, Retry::Nothing)?;
        let what = summary(&self.switch);
        if let (Some(path), Some(prepared)) = (file, prepared) {
            match prepared.commit() {
                Ok(()) => warnings.extend(self.saved(&path)),
                Err(error) => warnings.push(format!("not saved to {}: {error}", path.display())),
            }
        }
        warnings.extend(self.came_into_force(&what));
        Ok(self.done_with(what, warnings))
    }

    fn done(&self, summary: String) -> Done {
        self.done_with(summary, Vec::new())
    }

    fn done_with(&self, summary: String, warnings: Vec<String>) -> Done {
        Done { summary, generation: self.switch.generation(), warnings }
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

    fn flow_top(&mut self, call: flow::FlowTop) -> Result<flow::TopFlows, Error> {
        Ok(self.biggest_flows(&call))
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

    fn pmd_set(&mut self, call: pmd::PmdSet) -> Result<Done, Error> {
        self.set_queue(&call)
    }

    fn pmd_rebalance(&mut self, call: pmd::PmdRebalance) -> Result<pmd::RebalanceReply, Error> {
        self.rebalance(&call)
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

    fn history(&mut self, call: history::History) -> Result<history::HistoryReply, Error> {
        self.check_port(call.port.as_deref())?;
        self.history.read(&call)
    }

    fn config_show(&mut self, _: config::ConfigShow) -> Result<Deferred<config::ConfigText>, Error> {
        let config = self.switch.config.clone();
        Ok(Deferred::new(|| {
            let toml = file::to_toml(&config).map_err(|error| Error::new(Code::Internal, error))?;
            Ok(config::ConfigText { config, toml })
        }))
    }

    fn config_save(&mut self, call: config::ConfigSave) -> Result<Done, Error> {
        self.save(call)
    }

    fn config_check(&mut self, call: config::ConfigCheck) -> Result<Deferred<Done>, Error> {
        let done = self.done(format!("{} is a valid configuration", call.file.display()));
        Ok(Deferred::new(move || {
            file::check(&call.file).map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
            Ok(done)
        }))
    }

    fn config_reload(&mut self, _: config::ConfigReload) -> Result<Done, Error> {
        self.reload()
    }

    fn config_plan(&mut self, call: config::ConfigPlan) -> Result<plan::PlanReply, Error> {
        self.plan(&call)
    }

    fn config_apply(&mut self, call: config::ConfigApply) -> Result<Done, Error> {
        self.apply_config(&call)
    }

    fn config_confirm(&mut self, _: config::ConfigConfirm) -> Result<Done, Error> {
        self.confirm()
    }

    fn config_cancel(&mut self, _: config::ConfigCancel) -> Result<Done, Error> {
        self.cancel()
    }

    fn config_diff(&mut self, call: config::ConfigDiff) -> Result<Deferred<plan::DiffReply>, Error> {
        self.diff(call)
    }

    fn config_history(&mut self, call: config::ConfigHistory) -> Result<config::HistoryReply, Error> {
        Ok(self.config_generations(call.limit))
    }

    fn config_rollback(&mut self, call: config::ConfigRollback) -> Result<Done, Error> {
        self.roll_back(&call)
    }

    fn audit(&mut self, call: audit::Audit) -> Result<audit::AuditReply, Error> {
        Ok(self.audit_log(&call))
    }
}
