//! What the control thread hears of.

use std::sync::Arc;

use serde_json::Value;
use weft_ctl_api::{Error, spec::PortSpec};

use crate::{
    bfd,
    capture::Stream,
    metrics::Metrics,
    netlink::{NetlinkError, devices, nexthop::NextHops, tap::Placement},
    ports::{OpenError, Ready},
    roles::Identity,
    slowpath::thread::Report,
};

/// What a request is answered.
#[derive(Debug)]
pub struct Answer {
    /// The reply.
    pub value: Value,
    /// What follows it.
    pub stream: Option<Stream>,
}

impl Answer {
    /// The same of a change that did not go as it should have.
    pub fn warn(mut self, warnings: Vec<String>) -> Self {
        if let (Value::Object(reply), false) = (&mut self.value, warnings.is_empty()) {
            let all = reply.entry("warnings").or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(all) = all {
                all.extend(warnings.into_iter().map(Value::String));
            }
        }
        self
    }
}

/// What happens.
pub enum Event {
    /// A request over the control socket.
    Request {
        /// Its verb.
        verb: String,
        /// Its arguments.
        args: Value,
        /// What it changes is also written to the configuration file.
        persist: bool,
        /// Who asks.
        peer: Arc<Identity>,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Result<Answer, Error>>,
        /// Its place among those that may wait at once.
        place: tokio::sync::OwnedSemaphorePermit,
    },
    /// Somebody asks for all counters.
    Scrape {
        /// Where they go.
        reply: tokio::sync::oneshot::Sender<Metrics>,
    },
    /// A PMD thread reports.
    Report(Report),
    /// The kernel reaches other nodes another way than before.
    NextHops(NextHops),
    /// Another node is there, or is not any more.
    Bfd(bfd::Report),
    /// Ports' devices are not what they were.
    Devices(Vec<devices::Change>),
    /// A port was opened that nobody has waited for, or it could not be.
    Opened {
        /// As it was to be opened.
        spec: Box<PortSpec>,
        /// The port.
        outcome: Result<Box<Ready>, OpenError>,
    },
    /// A tap was configured that nobody has waited for.
    Placed {
        /// Its port's ticket.
        ticket: u64,
        /// What it was to get.
        placement: Box<Placement>,
        /// What of that could not be done.
        outcome: Result<Vec<NetlinkError>, NetlinkError>,
    },
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}
