//! What `top` knows: one moment, and what does not change from second to second.

use std::time::{Duration, Instant};

use weft_ctl_api::{
    client::ClientError,
    drops::Drops,
    endpoint::EndpointList,
    flow::{FlowTop, TopFlows},
    history::{History, Moment},
    port::{PortList, PortRow},
    spec::EndpointSpec,
    status::{Status, StatusReply},
};

use crate::Session;

/// Flows asked for: more than fit on a screen, so that a filter finds some.
const FLOWS: usize = 200;
/// Ports, endpoints and the graph are asked for again after so long.
const SLOW: Duration = Duration::from_secs(3);
/// The graph goes back so far, seconds.
pub(super) const GRAPH_S: u64 = 900;

/// A step of the graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) at_ms: u64,
    pub(super) packets_per_second: f64,
}

/// Everything shown.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) status: Option<StatusReply>,
    pub(super) moment: Moment,
    /// How far weftd remembers.
    pub(super) reaches_s: u64,
    /// weftd's clock, milliseconds since 1970.
    pub(super) now_ms: u64,
    pub(super) ports: Vec<PortRow>,
    pub(super) endpoints: Vec<EndpointSpec>,
    pub(super) flows: Option<TopFlows>,
    /// What each reason means.
    pub(super) meanings: Vec<(String, String)>,
    pub(super) graph: Vec<Step>,
    pub(super) slow_at: Option<Instant>,
}

impl Data {
    /// Reads the moment that ended `ago_s` seconds ago and lasted `span_s`; flows are always those of now.
    pub(super) fn read(
        &mut self,
        session: &mut Session,
        ago_s: u64,
        span_s: u64,
        flows: bool,
    ) -> Result<(), ClientError> {
        let asked = History { from_s: ago_s + span_s, to_s: ago_s, step_s: span_s, ..History::default() };
        let reply = session.ask(&asked)?;
        self.reaches_s = reply.reaches_s;
        self.now_ms = reply.now_ms;
        self.moment = reply.moments.into_iter().next_back().unwrap_or_default();
        if flows {
            self.flows = Some(session.ask(&FlowTop { limit: FLOWS })?);
        }
        if self.slow_at.is_none_or(|at| at.elapsed() >= SLOW) {
            self.read_slow(session)?;
        }
        Ok(())
    }

    fn read_slow(&mut self, session: &mut Session) -> Result<(), ClientError> {
        self.status = Some(session.ask(&Status {})?);
        self.ports = session.ask(&PortList {})?.ports;
        self.endpoints = session.ask(&EndpointList::default())?.endpoints;
        let drops = session.ask(&Drops::default())?.drops;
        self.meanings = drops.into_iter().map(|row| (row.reason, row.meaning)).collect();
        self.meanings.sort();
        self.meanings.dedup();
        // Five seconds a column: a wide terminal's worth.
        let graph = History { from_s: GRAPH_S, to_s: 0, step_s: 5, sums: true, ..History::default() };
        let step = |moment: Moment| Step {
            at_ms: moment.at_ms,
            packets_per_second: moment.per_second(moment.sum.rx_packets),
        };
        self.graph = session.ask(&graph)?.moments.into_iter().map(step).collect();
        self.slow_at = Some(Instant::now());
        Ok(())
    }
}
