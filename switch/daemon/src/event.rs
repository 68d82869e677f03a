//! What the control thread hears of.

use std::sync::Arc;

use serde_json::Value;
use weft_ctl_api::Error;

use crate::{
    bfd, capture::Stream, metrics::Metrics, netlink::nexthop::NextHops, roles::Identity,
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
