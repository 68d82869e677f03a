//! Rates from two readings of the counters.

mod drops;

pub(crate) use drops::drops;

use std::{thread::sleep, time::Duration};

use serde::Serialize;
use weft_ctl_api::{
    client::ClientError,
    stats::{QueueStats, Stats, StatsReply},
};

use crate::{
    Session, print_line,
    render::{Render, human, table},
    stay::{self, Ending},
};

/// One queue's rates.
#[derive(Debug, Serialize)]
struct Rate {
    port: String,
    queue: u16,
    rx_packets_per_second: f64,
    rx_bits_per_second: f64,
    tx_packets_per_second: f64,
    tx_bits_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Rates {
    at_ms: u64,
    queues: Vec<Rate>,
}

impl Render for Rates {
    fn render(&self) -> String {
        let rows = self.queues.iter().map(|rate| {
            vec![
                rate.port.clone(),
                rate.queue.to_string(),
                human(rate.rx_packets_per_second),
                human(rate.rx_bits_per_second),
                human(rate.tx_packets_per_second),
                human(rate.tx_bits_per_second),
            ]
        });
        table(
            &["port", "queue", "rx packets/s", "rx bit/s", "tx packets/s", "tx bit/s"],
            1..6,
            rows.collect(),
            "no queues",
        )
    }
}

/// Prints rates until interrupted: a table each time, or a line of JSON.
pub(crate) fn stats(session: &mut Session, call: &Stats, seconds: u64) -> Result<(), ClientError> {
    let mut old = session.client.call(call)?;
    stay::begin(session, Ending::default())?;
    loop {
        sleep(Duration::from_secs(seconds.max(1)));
        let new = session.ask(call)?;
        let rates = rates(&old, &new);
        if session.json {
            print_line(&serde_json::to_string(&rates).map_err(std::io::Error::other)?)?;
        } else {
            print_line(&format!("{}\n", rates.render()))?;
        }
        old = new;
    }
}

fn rates(old: &StatsReply, new: &StatsReply) -> Rates {
    let seconds = (new.at_ms.saturating_sub(old.at_ms).max(1)) as f64 / 1000.0;
    let rate = |now: &QueueStats| {
        // A port that was added in between had nothing before.
        let before = old.queues.iter().find(|row| (&row.port, row.queue) == (&now.port, now.queue));
        let per_second = |count: fn(&QueueStats) -> u64| {
            count(now).saturating_sub(before.map_or(0, count)) as f64 / seconds
        };
        Rate {
            port: now.port.clone(),
            queue: now.queue,
            rx_packets_per_second: per_second(|row| row.rx_packets),
            rx_bits_per_second: 8.0 * per_second(|row| row.rx_bytes),
            tx_packets_per_second: per_second(|row| row.tx_packets),
            tx_bits_per_second: 8.0 * per_second(|row| row.tx_bytes),
        }
    };
    Rates { at_ms: new.at_ms, queues: new.queues.iter().map(rate).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let row = |rx_packets, rx_bytes| QueueStats {
            port: "a".into(),
            queue: 0,
            rx_packets,
            rx_bytes,
            rx_lost: 0,
            tx_packets: 0,
            tx_bytes: 0,
        };
        let old = StatsReply { at_ms: 1000, queues: vec![row(10, 1000)] };
        let new = StatsReply { at_ms: 3000, queues: vec![row(30, 5000)] };
        let rates = rates(&old, &new);
        assert!((rates.queues[0].rx_packets_per_second - 10.0).abs() < 1e-9);
        assert!((rates.queues[0].rx_bits_per_second - 16_000.0).abs() < 1e-9);
    }
}
