//! What the control thread hears of.

use serde_json::Value;
use weft_ctl_api::Error;

use crate::{metrics::Metrics, netlink::nexthop::NextHops, slowpath::thread::Report};

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A request over the control socket.
    Request {
        /// Its verb.
        verb: String,
        /// Its arguments.
        args: Value,
        /// Who asks, for the log.
        peer: String,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Result<Value, Error>>,
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
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}
