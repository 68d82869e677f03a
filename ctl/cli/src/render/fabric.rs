//! The fabric, for people.

use weft_ctl_api::fabric::{FabricReply, PathMtuMessages, PeerDetails, PeerRow, PeerRows};

use super::{Render, dash, human, join, lines, table};

impl Render for FabricReply {
    fn render(&self) -> String {
        let [v4, v6] = self.overhead;
        let overhead = if v4 == 0 { "none".into() } else { format!("{v4} bytes over IPv4, {v6} over IPv6") };
        let pending = match self.pending {
            0 => String::new(),
            pending => format!(", {pending} not known yet"),
        };
        lines(&[
            ("mode", self.mode.to_string()),
            (
                "uplink",
                self.uplink.as_ref().map_or("-".into(), |port| format!("{port}, MTU {}", self.uplink_mtu)),
            ),
            ("queues", dash(self.queues.as_ref())),
            ("overhead", overhead),
            ("UDP port", dash(self.udp_port)),
            ("addresses", join(&self.addresses)),
            ("MAC in tunnels", self.mac.to_string()),
            ("peers", format!("{}, {} of them reachable{pending}", self.peers, self.reachable)),
            ("path MTU messages", messages(&self.path_mtu_messages)),
        ])
    }
}

fn messages(messages: &PathMtuMessages) -> String {
    let PathMtuMessages { believed, proven, disproved, refused } = messages;
    let refused: Vec<String> = refused
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(why, count)| format!("{count} {why}"))
        .collect();
    let refused = if refused.is_empty() { "none".into() } else { refused.join(", ") };
    format!("{believed} believed, {proven} proven, {disproved} disproved; refused: {refused}")
}

fn path_mtu(peer: &PeerDetails) -> String {
    match (peer.path_mtu, &peer.path_mtu_source) {
        (Some(mtu), Some(source)) => {
            let since = source.since_ms as f64 / 1000.0;
            format!("{mtu}, {} by {} for {since:.1} s", source.state, source.router)
        }
        (mtu, _) => dash(mtu),
    }
}

fn heard(peer: &PeerRow) -> String {
    peer.heard_ms.map_or("-".into(), |ms| format!("{:.1} s ago", ms as f64 / 1000.0))
}

fn bfd(peer: &PeerRow) -> String {
    match (&peer.bfd, peer.bfd_since_ms) {
        (None, _) => "-".into(),
        (Some(state), None) => state.clone(),
        (Some(state), Some(ms)) => format!("{state} for {:.1} s", ms as f64 / 1000.0),
    }
}

impl Render for PeerRows {
    fn render(&self) -> String {
        let row = |peer: &PeerRow| {
            vec![
                peer.name.clone(),
                peer.address.to_string(),
                peer.state.clone(),
                dash(peer.next_hop),
                heard(peer),
                bfd(peer),
                peer.mtu.to_string(),
                peer.tx_packets.to_string(),
                human(peer.tx_bytes as f64),
                peer.rx_packets.to_string(),
                human(peer.rx_bytes as f64),
            ]
        };
        let header = [
            "name",
            "address",
            "state",
            "next hop",
            "heard",
            "bfd",
            "mtu",
            "tx packets",
            "tx bytes",
            "rx packets",
            "rx bytes",
        ];
        let rows = self.peers.iter().map(row).collect();
        table(&header, 6..11, rows, "no other nodes: add one with `weftctl fabric peer add`")
    }
}

impl Render for PeerDetails {
    fn render(&self) -> String {
        let peer = &self.peer;
        lines(&[
            ("name", peer.name.clone()),
            ("address", peer.address.to_string()),
            ("other addresses", join(&self.addresses)),
            ("prefixes", join(&self.prefixes)),
            ("MAC in tunnels", self.mac.to_string()),
            ("state", peer.state.clone()),
            ("next hop", dash(peer.next_hop)),
            ("heard", heard(peer)),
            ("BFD", bfd(peer)),
            ("MTU for pods", peer.mtu.to_string()),
            ("path MTU", path_mtu(self)),
            ("sent", format!("{} packets, {}bytes", peer.tx_packets, human(peer.tx_bytes as f64) + " ")),
            ("received", format!("{} packets, {}bytes", peer.rx_packets, human(peer.rx_bytes as f64) + " ")),
        ])
    }
}
