//! Every verb, once.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Code, Done, Error, Role, audit, capture, config, drops, endpoint, fabric, fdb, flow, history, network,
    plan, pmd, port, stats, status, trace,
};

/// A verb: a struct of its arguments.
pub trait Call: Serialize + DeserializeOwned {
    /// What it answers.
    type Reply: Serialize + DeserializeOwned;
    /// Its words.
    const VERB: &'static str;
}

/// One line per verb, with the role that it takes, makes: its [`Call`], its method in [`Server`], and its arm in [`serve`]. What is
/// answered `as later` is made by whoever sends it: a [`Deferred`].
macro_rules! calls {
    ($($method:ident: $verb:literal, $role:ident, $call:ty $(=> $reply:ty)? $(as later $later:ty)?;)+) => {
        $(impl Call for $call {
            type Reply = $($reply)? $($later)?;
            const VERB: &'static str = $verb;
        })+

        /// What the daemon implements: a method per verb.
        #[allow(missing_docs, reason = "each method is its call's struct")]
        pub trait Server {
            $(fn $method(&mut self, call: $call) -> Result<$($reply)? $(Deferred<$later>)?, Error>;)+
        }

        /// Every verb's words.
        pub const VERBS: &[&str] = &[$($verb),+];

        /// What it takes to say a verb; none: there is no such verb.
        pub fn role_of(verb: &str) -> Option<Role> {
            match verb {
                $($verb => Some(Role::$role),)+
                _ => None,
            }
        }

        /// Serves a request: finds the verb, reads its arguments, calls the method. What it answers is still to be written down.
        pub fn serve(server: &mut impl Server, verb: &str, arguments: Value) -> Result<Later, Error> {
            match verb {
                $($verb => {
                    let reply = server.$method(read(verb, arguments)?)?;
                    $(Ok(Deferred::<$reply>::of(reply).write()))?
                    $(Ok(Deferred::<$later>::write(reply)))?
                })+
                _ => Err(Error::new(Code::BadRequest, format!("there is no verb `{}`", verb.escape_debug().take(40).collect::<String>()))
                    .remedy("use a weftctl of the same version as weftd")),
            }
        }
    };
}

calls! {
    status: "status", View, status::Status => status::StatusReply;
    port_add: "port add", Operate, port::PortAdd => Done;
    port_del: "port del", Operate, port::PortDel => Done;
    port_list: "port list", View, port::PortList => port::PortRows;
    port_show: "port show", View, port::PortShow => port::PortDetails;
    network_add: "network add", Operate, network::NetworkAdd => Done;
    network_del: "network del", Operate, network::NetworkDel => Done;
    network_list: "network list", View, network::NetworkList => network::NetworkRows;
    endpoint_add: "endpoint add", Operate, endpoint::EndpointAdd => Done;
    endpoint_del: "endpoint del", Operate, endpoint::EndpointDel => Done;
    endpoint_list: "endpoint list", View, endpoint::EndpointList => endpoint::EndpointRows;
    flow_add: "flow add", Operate, flow::FlowAdd => Done;
    flow_del: "flow del", Operate, flow::FlowDel => Done;
    flow_list: "flow list", View, flow::FlowList => flow::FlowRows;
    flow_cache: "flow cache", View, flow::FlowCache => flow::CachedFlows;
    flow_top: "flow top", View, flow::FlowTop => flow::TopFlows;
    fabric_show: "fabric show", View, fabric::FabricShow => fabric::FabricReply;
    peer_add: "fabric peer add", Operate, fabric::PeerAdd => Done;
    peer_del: "fabric peer del", Operate, fabric::PeerDel => Done;
    peer_list: "fabric peer list", View, fabric::PeerList => fabric::PeerRows;
    peer_show: "fabric peer show", View, fabric::PeerShow => fabric::PeerDetails;
    fdb_list: "fdb list", View, fdb::FdbList => fdb::FdbRows;
    fdb_flush: "fdb flush", Operate, fdb::FdbFlush => Done;
    pmd_list: "pmd list", View, pmd::PmdList => pmd::PmdRows;
    pmd_set: "pmd set", Operate, pmd::PmdSet => Done;
    pmd_rebalance: "pmd rebalance", Operate, pmd::PmdRebalance => pmd::RebalanceReply;
    stats: "stats", View, stats::Stats => stats::StatsReply;
    drops: "drops", View, drops::Drops => drops::DropRows;
    history: "history", View, history::History => history::HistoryReply;
    trace: "trace", View, trace::Trace => trace::TraceReply;
    trace_live: "trace live", Operate, trace::TraceLive => trace::TraceStarted;
    trace_next: "trace next", Operate, trace::TraceNext => trace::TraceSeen;
    capture: "capture", Operate, capture::Capture => capture::CaptureStarted;
    config_show: "config show", View, config::ConfigShow as later config::ConfigText;
    config_save: "config save", Admin, config::ConfigSave => Done;
    config_check: "config check", Admin, config::ConfigCheck as later Done;
    config_reload: "config reload", Admin, config::ConfigReload => Done;
    config_plan: "config plan", Admin, config::ConfigPlan => plan::PlanReply;
    config_apply: "config apply", Admin, config::ConfigApply => Done;
    config_confirm: "config confirm", Admin, config::ConfigConfirm => Done;
    config_cancel: "config cancel", Admin, config::ConfigCancel => Done;
    config_diff: "config diff", View, config::ConfigDiff as later plan::DiffReply;
    config_history: "config history", View, config::ConfigHistory => config::HistoryReply;
    config_rollback: "config rollback", Admin, config::ConfigRollback => Done;
    audit: "audit", View, audit::Audit => audit::AuditReply;
}

type Make<T> = Box<dyn FnOnce() -> Result<T, Error> + Send>;

/// A reply that is still to be written down as JSON: on whatever thread has the time for it.
pub struct Later {
    make: Make<Value>,
    /// It is still to be made, too, which may take long.
    pub is_long: bool,
}

impl Later {
    /// A reply that is written down already.
    pub fn written(reply: Value) -> Self {
        Self { make: Box::new(|| Ok(reply)), is_long: false }
    }

    /// Makes it.
    pub fn make(self) -> Result<Value, Error> {
        (self.make)()
    }
}

/// A reply that is still to be made, off the thread that only one can have at a time.
pub struct Deferred<T> {
    make: Make<T>,
    is_long: bool,
}

impl<T: Serialize + Send + 'static> Deferred<T> {
    /// To be made so.
    pub fn new(make: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Self {
        Self { make: Box::new(make), is_long: true }
    }

    fn of(reply: T) -> Self {
        Self { make: Box::new(|| Ok(reply)), is_long: false }
    }

    fn write(self) -> Later {
        let write = |reply| {
            serde_json::to_value(reply)
                .map_err(|error| Error::new(Code::Internal, format!("the reply can't be written: {error}")))
        };
        Later { make: Box::new(move || write((self.make)()?)), is_long: self.is_long }
    }
}

fn read<T: DeserializeOwned>(verb: &str, arguments: Value) -> Result<T, Error> {
    serde_json::from_value(arguments).map_err(|error| {
        Error::new(Code::BadRequest, format!("the arguments of `{verb}` can't be read: {error}"))
    })
}
