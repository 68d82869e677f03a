//! What the control thread hears of.

use serde_json::Value;
use weft_ctl_api::Error;

use crate::{capture::Stream, netlink::nexthop::NextHops, slowpath::thread::Report};

/// What a request is answered.
#[derive(Debug)]
pub struct Answer {
    /// The reply.
    pub value: Value,
    /// What follows it.
    pub stream: Option<Stream>,
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
        /// Who asks, for the log.
        peer: String,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Result<Answer, Error>>,
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
