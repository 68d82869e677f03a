//! What becomes of a packet.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use weft_ctl_api::{
    Code, Error, Role,
    trace::{Trace, TraceCached, TraceLive, TraceReply, TraceSeen, TraceStarted, TracedPacket},
};
use weft_dataplane::{
    key::FlowKey,
    trace::{Traced, live::Live},
};
use weft_wire::{PortId, ThreadId};

use super::{Session, filter};
use crate::{config, desired::Desired, switch::View, trace::differences};

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(Code::Invalid, problem)
}

/// Now, milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Session {
    pub(super) fn trace_what_if(&self, call: &Trace) -> Result<TraceReply, Error> {
        let view = self.switch.view();
        let against = match &call.against {
            Some(toml) => {
                let why =
                    "a whole configuration is checked and compiled, and nobody else is served meanwhile";
                self.must_be(Role::Operate, "trace --against", why)?;
                let config = config::parse(toml).map_err(invalid)?;
                let desired = Desired::try_from(&config)?;
                Some((config, desired))
            }
            None => None,
        };
        let from = view.sender(&call.from)?;
        let bytes = view.frame(&from, &call.packet, call.network.as_deref())?;
        let (mut now, key) = self.packet(&view, from.port, &bytes)?;
        if let Some(key) = key {
            now.cached = self.cached(&view, from.port, key);
        }
        let against = match &against {
            Some((config, desired)) => {
                let view = self.switch.view_of(config, desired);
                let port = view.same_sender(&call.from, &from)?;
                Some(self.packet(&view, port, &bytes)?.0)
            }
            None => None,
        };
        let differences = against.as_ref().map(|against| differences(&now, against)).unwrap_or_default();
        Ok(TraceReply { now, against, differences })
    }

    fn packet(
        &self,
        view: &View<'_>,
        from: PortId,
        bytes: &[u8],
    ) -> Result<(TracedPacket, Option<FlowKey>), Error> {
        let (packet, key) = view
            .what_if(from, bytes, self.switch.runtime.now_ns())
            .map_err(|error| Error::new(Code::Unavailable, error.to_string()))?;
        Ok((TracedPacket { at_ms: unix_ms(), ..packet }, key))
    }

    /// What the threads that own the port's queues know of a flow.
    fn cached(&self, view: &View<'_>, from: PortId, key: FlowKey) -> Vec<TraceCached> {
        let mut owners: Vec<ThreadId> =
            view.snapshot.port(from).map_or(Vec::new(), |port| port.owners.clone());
        owners.sort_unstable();
        owners.dedup();
        let cached = |owner: ThreadId| {
            let found = self.switch.runtime.flow(owner, key)?;
            let view = self.switch.view_of_flow(&found.flow.state);
            Some(TraceCached {
                core: self.switch.runtime.threads[owner.index()].core,
                actions: view.program_words(&found.flow.program),
                packets: found.flow.state.packets,
                bytes: found.flow.state.bytes,
                idle_ms: found.idle_ms.into(),
                stale: found.stale,
            })
        };
        owners.into_iter().filter_map(cached).collect()
    }
}

/// A trace that runs on PMD threads.
pub(super) struct Running {
    id: u64,
    live: Arc<Live>,
    asked: Instant,
}

/// Who has not asked for so long has gone: weftctl asks ten times a second.
const ABANDONED: Duration = Duration::from_secs(3);
const COUNT_MAX: usize = 1000;
const SECONDS_MAX: u64 = 300;

impl Session {
    pub(super) fn start_trace(&mut self, call: &TraceLive) -> Result<TraceStarted, Error> {
        let now_ns = self.switch.runtime.now_ns();
        let last = self.live.as_ref().map_or(0, |running| running.id);
        if let Some(running) = &self.live {
            if running.live.is_on(now_ns) && running.asked.elapsed() < ABANDONED {
                let message = "another live trace is running";
                return Err(Error::new(Code::InUse, message).remedy("wait until it has ended"));
            }
            running.live.stop();
        }
        if !(1..=COUNT_MAX).contains(&call.count) || !(1..=SECONDS_MAX).contains(&call.seconds) {
            let limits = format!("ask for 1 to {COUNT_MAX} packets, within 1 to {SECONDS_MAX} seconds");
            return Err(invalid("a live trace is bounded").remedy(limits));
        }
        let view = self.switch.view();
        let from = call.from.as_ref().map(|from| view.sender(from)).transpose()?;
        let port = from.map(|from| from.port);
        let filter = call.filter.as_ref().map(filter::load).transpose()?;
        let is_from = from.and_then(|from| from.peer()).map(|peer| view.sent_by(peer));
        let wants = Box::new(move |packet: &[u8]| {
            is_from.as_ref().is_none_or(|is_from| is_from(packet))
                && filter.as_ref().is_none_or(|filter| filter.accepts(packet))
        });
        let until_ns = now_ns + call.seconds * 1_000_000_000;
        let live = Arc::new(Live::new(port, wants, call.count, until_ns));
        self.switch.runtime.trace(&live);
        self.live = Some(Running { id: last + 1, live, asked: Instant::now() });
        Ok(TraceStarted { id: last + 1 })
    }

    /// A trace that nobody asks for costs its threads a look at every packet, for nothing.
    pub fn look_after_trace(&mut self) {
        if let Some(running) = self.live.as_ref().filter(|running| running.asked.elapsed() >= ABANDONED) {
            running.live.stop();
        }
    }

    pub(super) fn trace_seen(&mut self, id: u64) -> Result<TraceSeen, Error> {
        let gone =
            || Error::new(Code::NotFound, format!("there is no live trace {id}")).remedy("start another");
        let running = self.live.as_mut().filter(|running| running.id == id).ok_or_else(gone)?;
        running.asked = Instant::now();
        let ended = !running.live.is_on(self.switch.runtime.now_ns());
        let mut seen = Vec::new();
        while let Some(packet) = running.live.packets.pop() {
            seen.push(packet);
        }
        let packets = seen.iter().map(|(thread, traced)| self.traced(*thread, traced)).collect();
        Ok(TraceSeen { packets, ended })
    }

    fn traced(&self, thread: ThreadId, traced: &Traced) -> TracedPacket {
        let ago_ms = self.switch.runtime.now_ns().saturating_sub(traced.at_ns) / 1_000_000;
        TracedPacket {
            at_ms: unix_ms().saturating_sub(ago_ms),
            core: self.switch.runtime.threads.get(thread.index()).map(|thread| thread.core),
            ..self.switch.view_at(traced.generation).describe(traced)
        }
    }
}
