//! What the control thread hears of.

use std::{fmt, sync::Arc};

use serde_json::Value;
use weft_ctl_api::{Error, Later};

use crate::{
    bfd, capture::Stream, metrics::Metrics, netlink::nexthop::NextHops, roles::Identity,
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
#[derive(Debug)]
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
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}
