//! Drops per second, or dropped packets as they come.

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use serde::Serialize;
use weft_ctl_api::{
    client::ClientError,
    drops::{DropRow, DropRows, DroppedPacket, Drops},
};

use crate::{
    Session, print_line,
    render::{Render, dash, human, table},
    stay::{self, Ending},
};

/// Drops per second at one port, of one endpoint, for one reason.
#[derive(Debug, Serialize)]
struct Rate {
    port: Option<String>,
    endpoint: Option<String>,
    reason: String,
    packets_per_second: f64,
    packets: u64,
}

#[derive(Debug, Serialize)]
struct Rates {
    at_ms: u64,
    drops: Vec<Rate>,
}

impl Render for Rates {
    fn render(&self) -> String {
        let rows = self.drops.iter().map(|rate| {
            vec![
                dash(rate.port.as_ref()),
                dash(rate.endpoint.as_ref()),
                rate.reason.clone(),
                human(rate.packets_per_second),
                rate.packets.to_string(),
            ]
        });
        table(&["port", "endpoint", "reason", "packets/s", "packets"], 3..5, rows.collect(), "no drops")
    }
}

/// Prints what is dropped until interrupted: a table each time, or a line of JSON.
pub(crate) fn drops(session: &mut Session, call: &Drops, seconds: u64) -> Result<(), ClientError> {
    let pause = Duration::from_secs(seconds.max(1));
    stay::begin(session, Ending::default())?;
    if call.last.is_some() {
        return follow(session, call, pause);
    }
    let mut old = session.client.call(call)?;
    loop {
        sleep(pause);
        let new = session.ask(call)?;
        print(session, &rates(&old, &new))?;
        old = new;
    }
}

fn print<R: Render + Serialize + ?Sized>(session: &Session, reply: &R) -> Result<(), ClientError> {
    if session.json {
        print_line(&serde_json::to_string(reply).map_err(std::io::Error::other)?)
    } else {
        print_line(&format!("{}\n", reply.render()))
    }
}

/// Prints dropped packets, each once; of a flood, what is still remembered.
fn follow(session: &mut Session, call: &Drops, pause: Duration) -> Result<(), ClientError> {
    let all = Drops { last: Some(usize::MAX), ..call.clone() };
    let mut shown = BTreeMap::new();
    let mut reply = session.client.call(call)?.last;
    loop {
        let fresh = unseen(&mut shown, reply);
        if !fresh.is_empty() {
            print(session, fresh.as_slice())?;
        }
        sleep(pause);
        reply = session.ask(&all)?.last;
    }
}

/// Those beyond what was `shown` last of each core.
fn unseen(shown: &mut BTreeMap<usize, u64>, packets: Vec<DroppedPacket>) -> Vec<DroppedPacket> {
    let is_new = |packet: &DroppedPacket| shown.get(&packet.core).is_none_or(|last| packet.number > *last);
    let fresh: Vec<DroppedPacket> = packets.into_iter().filter(is_new).collect();
    shown.extend(fresh.iter().map(|packet| (packet.core, packet.number)));
    fresh
}

fn rates(old: &DropRows, new: &DropRows) -> Rates {
    let seconds = (new.at_ms.saturating_sub(old.at_ms)).max(1) as f64 / 1000.0;
    let is_same =
        |a: &DropRow, b: &DropRow| (&a.port, &a.endpoint, &a.reason) == (&b.port, &b.endpoint, &b.reason);
    let rate = |row: &DropRow| {
        let before = old.drops.iter().find(|old| is_same(old, row)).map_or(0, |old| old.packets);
        Rate {
            port: row.port.clone(),
            endpoint: row.endpoint.clone(),
            reason: row.reason.clone(),
            packets_per_second: row.packets.saturating_sub(before) as f64 / seconds,
            packets: row.packets,
        }
    };
    Rates { at_ms: new.at_ms, drops: new.drops.iter().map(rate).collect() }
}
