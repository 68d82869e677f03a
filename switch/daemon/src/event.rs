//! What the control thread hears of.

use std::{fmt, sync::Arc};

use serde_json::Value;
use weft_ctl_api::{Error, Later, spec::PortSpec};

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
pub struct Answer {
    /// The reply: whoever sends it makes it, or writes it down.
    pub reply: Later,
    /// Of a change that did not go as it should have.
    pub warnings: Vec<String>,
    /// What follows it.
    pub stream: Option<Stream>,
    /// The request's place among those that may wait at once: kept until the reply is made, for that takes memory, too.
    pub place: tokio::sync::OwnedSemaphorePermit,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// Makes a reply.
pub fn make(reply: Later, warnings: Vec<String>) -> Result<Value, Error> {
    let mut value = reply.make()?;
    if let (Value::Object(fields), false) = (&mut value, warnings.is_empty()) {
        let all = fields.entry("warnings").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(all) = all {
            all.extend(warnings.into_iter().map(Value::String));
        }
    }
    Ok(value)
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
