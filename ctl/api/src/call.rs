//! Every verb, once.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Code, Done, Error, capture, config, drops, endpoint, fabric, fdb, flow, network, pmd, port, stats,
    status, trace,
};

/// A verb: a struct of its arguments.
pub trait Call: Serialize + DeserializeOwned {
    /// What it answers.
    type Reply: Serialize + DeserializeOwned;
    /// Its words.
    const VERB: &'static str;
}

/// One line per verb makes: its [`Call`], its method in [`Server`], and its arm in [`serve`].
macro_rules! calls {
    ($($method:ident: $verb:literal, $call:ty => $reply:ty;)+) => {
        $(impl Call for $call {
            type Reply = $reply;
            const VERB: &'static str = $verb;
        })+

        /// What the daemon implements: a method per verb.
        #[allow(missing_docs, reason = "each method is its call's struct")]
        pub trait Server {
            $(fn $method(&mut self, call: $call) -> Result<$reply, Error>;)+
        }

        /// Every verb's words.
        pub const VERBS: &[&str] = &[$($verb),+];

        /// Serves a request: finds the verb, reads its arguments, calls the method.
        pub fn serve(server: &mut impl Server, verb: &str, arguments: Value) -> Result<Value, Error> {
            match verb {
                $($verb => answer(server.$method(read(verb, arguments)?)?),)+
                _ => Err(Error::new(Code::BadRequest, format!("there is no verb `{verb}`"))
                    .remedy("use a weftctl of the same version as weftd")),
            }
        }
    };
}

calls! {
    status: "status", status::Status => status::StatusReply;
    port_add: "port add", port::PortAdd => Done;
    port_del: "port del", port::PortDel => Done;
    port_list: "port list", port::PortList => port::PortRows;
    port_show: "port show", port::PortShow => port::PortDetails;
    network_add: "network add", network::NetworkAdd => Done;
    network_del: "network del", network::NetworkDel => Done;
    network_list: "network list", network::NetworkList => network::NetworkRows;
    endpoint_add: "endpoint add", endpoint::EndpointAdd => Done;
    endpoint_del: "endpoint del", endpoint::EndpointDel => Done;
    endpoint_list: "endpoint list", endpoint::EndpointList => endpoint::EndpointRows;
    flow_add: "flow add", flow::FlowAdd => Done;
    flow_del: "flow del", flow::FlowDel => Done;
    flow_list: "flow list", flow::FlowList => flow::FlowRows;
    flow_cache: "flow cache", flow::FlowCache => flow::CachedFlows;
    fabric_show: "fabric show", fabric::FabricShow => fabric::FabricReply;
    peer_add: "fabric peer add", fabric::PeerAdd => Done;
    peer_del: "fabric peer del", fabric::PeerDel => Done;
    peer_list: "fabric peer list", fabric::PeerList => fabric::PeerRows;
    peer_show: "fabric peer show", fabric::PeerShow => fabric::PeerDetails;
    fdb_list: "fdb list", fdb::FdbList => fdb::FdbRows;
    fdb_flush: "fdb flush", fdb::FdbFlush => Done;
    pmd_list: "pmd list", pmd::PmdList => pmd::PmdRows;
    stats: "stats", stats::Stats => stats::StatsReply;
    drops: "drops", drops::Drops => drops::DropRows;
    trace: "trace", trace::Trace => trace::TraceReply;
    trace_live: "trace live", trace::TraceLive => trace::TraceStarted;
    trace_next: "trace next", trace::TraceNext => trace::TraceSeen;
    capture: "capture", capture::Capture => capture::CaptureStarted;
    config_show: "config show", config::ConfigShow => config::ConfigText;
    config_save: "config save", config::ConfigSave => Done;
    config_check: "config check", config::ConfigCheck => Done;
    config_reload: "config reload", config::ConfigReload => Done;
}

fn read<T: DeserializeOwned>(verb: &str, arguments: Value) -> Result<T, Error> {
    serde_json::from_value(arguments).map_err(|error| {
        Error::new(Code::BadRequest, format!("the arguments of `{verb}` can't be read: {error}"))
    })
}

fn answer<T: Serialize>(reply: T) -> Result<Value, Error> {
    serde_json::to_value(reply)
        .map_err(|error| Error::new(Code::Internal, format!("the reply can't be written: {error}")))
}
