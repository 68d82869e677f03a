//! What becomes of a packet.

use std::time::{SystemTime, UNIX_EPOCH};

use weft_ctl_api::{
    Code, Error,
    trace::{Trace, TraceCached, TracePacket, TraceReply, TracedPacket},
};
use weft_dataplane::key::FlowKey;
use weft_wire::ThreadId;

use super::Session;
use crate::{
    packet,
    switch::Names,
    trace::{Scene, differences},
};

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(Code::Invalid, problem)
}

/// Now, milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Session {
    pub(super) fn trace_what_if(&self, call: &Trace) -> Result<TraceReply, Error> {
        let names = self.switch.history.names();
        let scene = self.scene(&names);
        let candidate = match &call.against {
            Some(toml) => {
                let config = crate::config::parse(toml).map_err(invalid)?;
                Some(self.switch.candidate(config)?)
            }
            None => None,
        };
        let bytes = frame(&scene, call)?;
        let (mut now, key) = self.packet(&scene, &call.from, &bytes)?;
        if let Some(key) = key {
            now.cached = self.cached(&scene, &call.from, key)?;
        }
        let against = match &candidate {
            Some(candidate) => Some(self.packet(&candidate.scene(), &call.from, &bytes)?.0),
            None => None,
        };
        let differences = against.as_ref().map(|against| differences(&now, against)).unwrap_or_default();
        Ok(TraceReply { now, against, differences })
    }

    /// The configuration in force.
    pub(super) fn scene<'a>(&'a self, names: &'a Names) -> Scene<'a> {
        let switch = &self.switch;
        Scene { config: &switch.config, desired: &switch.desired, snapshot: switch.runtime.snapshot(), names }
    }

    fn packet(
        &self,
        scene: &Scene<'_>,
        from: &str,
        bytes: &[u8],
    ) -> Result<(TracedPacket, Option<FlowKey>), Error> {
        let from = scene.sender(from)?;
        let (packet, key) = scene
            .what_if(from.port, bytes, self.switch.runtime.now_ns())
            .map_err(|error| Error::new(Code::Unavailable, error.to_string()))?;
        Ok((TracedPacket { at_ms: unix_ms(), ..packet }, key))
    }

    /// What the threads that own the port's queues know of a flow.
    fn cached(&self, scene: &Scene<'_>, from: &str, key: FlowKey) -> Result<Vec<TraceCached>, Error> {
        let from = scene.sender(from)?;
        let mut owners: Vec<ThreadId> =
            scene.snapshot.port(from.port).map_or(Vec::new(), |port| port.owners.clone());
        owners.sort_unstable();
        owners.dedup();
        let cached = |owner: ThreadId| {
            let found = self.switch.runtime.flow(owner, key)?;
            Some(TraceCached {
                core: self.switch.runtime.threads[owner.index()].core,
                actions: self.describe_program(&found.flow.program),
                packets: found.flow.state.packets,
                bytes: found.flow.state.bytes,
                idle_ms: found.idle_ms.into(),
                stale: found.stale,
            })
        };
        Ok(owners.into_iter().filter_map(cached).collect())
    }
}

/// The packet's bytes.
fn frame(scene: &Scene<'_>, call: &Trace) -> Result<Vec<u8>, Error> {
    match &call.packet {
        TracePacket::Words(spec) => {
            let defaults = scene.defaults(&scene.sender(&call.from)?, spec)?;
            packet::build(spec, defaults).map_err(invalid)
        }
        TracePacket::Hex(hex) => packet::unhex(hex).map_err(invalid),
    }
}
