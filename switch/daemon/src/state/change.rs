//! What differs between two configurations, to be kept in place of a whole one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_ctl_api::spec::{Config, EndpointSpec, FabricSpec, FlowSpec, NetworkSpec, PeerSpec, PortSpec};

use crate::splice::Splice;

/// What turns one configuration into another: a splice of each list, and all the rest, which is little.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    rest: Config,
    #[serde(default, skip_serializing_if = "Splice::is_empty")]
    network: Splice<NetworkSpec>,
    #[serde(default, skip_serializing_if = "Splice::is_empty")]
    port: Splice<PortSpec>,
    #[serde(default, skip_serializing_if = "Splice::is_empty")]
    endpoint: Splice<EndpointSpec>,
    #[serde(default, skip_serializing_if = "Splice::is_empty")]
    peer: Splice<Arc<PeerSpec>>,
    #[serde(default, skip_serializing_if = "Splice::is_empty")]
    flow: Splice<FlowSpec>,
}

impl Change {
    /// From one to the other.
    pub(super) fn between(old: &Config, new: &Config) -> Self {
        Self {
            rest: rest(new),
            network: Splice::between(&old.network, &new.network),
            port: Splice::between(&old.port, &new.port),
            endpoint: Splice::between(&old.endpoint, &new.endpoint),
            peer: Splice::between(peers(old), peers(new)),
            flow: Splice::between(&old.flow, &new.flow),
        }
    }

    /// The other, from the one; none: it is of another one.
    pub(super) fn apply(&self, mut old: Config) -> Option<Config> {
        let mut peers = old.fabric.take().map(|fabric| fabric.peer).unwrap_or_default();
        let fits = self.network.apply(&mut old.network)
            && self.port.apply(&mut old.port)
            && self.endpoint.apply(&mut old.endpoint)
            && self.peer.apply(&mut peers)
            && self.flow.apply(&mut old.flow);
        let mut new = self.rest.clone();
        match &mut new.fabric {
            Some(fabric) => fabric.peer = peers,
            None if peers.is_empty() => {}
            None => return None,
        }
        let Config { network, port, endpoint, flow, .. } = old;
        fits.then_some(Config { network, port, endpoint, flow, ..new })
    }

    /// How much it brings, in nouns and prefixes.
    pub(super) fn size(&self) -> usize {
        let nouns =
            self.network.come.len() + self.port.come.len() + self.endpoint.come.len() + self.flow.come.len();
        1 + nouns + size_of_peers(&self.peer.come)
    }
}

/// How much a whole configuration is, in nouns and prefixes.
pub(super) fn size(config: &Config) -> usize {
    let nouns = config.network.len() + config.port.len() + config.endpoint.len() + config.flow.len();
    1 + nouns + size_of_peers(peers(config))
}

fn size_of_peers(peers: &[Arc<PeerSpec>]) -> usize {
    peers.iter().map(|peer| 1 + peer.prefixes.len()).sum()
}

fn peers(config: &Config) -> &[Arc<PeerSpec>] {
    config.fabric.as_ref().map_or(&[], |fabric| &fabric.peer)
}

/// All of it but the lists.
fn rest(config: &Config) -> Config {
    let Config { node, roles, pmd, log, metrics, network: _, port: _, endpoint: _, fabric, flow: _ } = config;
    let fabric = fabric.as_ref().map(|fabric| {
        let FabricSpec { mode, udp_port, dscp, flood_rate, bfd, peer: _ } = *fabric;
        FabricSpec { mode, udp_port, dscp, flood_rate, bfd, peer: Vec::new() }
    });
    Config {
        node: node.clone(),
        roles: roles.clone(),
        pmd: pmd.clone(),
        log: *log,
        metrics: metrics.clone(),
        fabric,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::subsequence};

    use super::*;
    use crate::config;

    /// Parts of a configuration, which stand for themselves.
    const PARTS: [&str; 9] = [
        "[roles]\nview = [\"@monitor\"]\n",
        "[pmd]\nmemory_mib = 64\n",
        "[[network]]\nname = \"a\"\nprefixes = [\"10.0.0.0/24\"]\n",
        "[[network]]\nname = \"b\"\nmode = \"bridged\"\nvlan = 7\n",
        "[[port]]\nname = \"p\"\nkind = \"null\"\n",
        "[[endpoint]]\nname = \"e\"\nnetwork = \"a\"\nport = \"p\"\nmac = \"02:00:00:00:00:01\"\n",
        "[[flow]]\nname = \"f\"\npriority = 3\nactions = [\"drop\"]\n",
        "[[flow]]\nname = \"g\"\nmatch = { protocol = \"tcp\", dst_port = \"1-9\" }\nactions = [\"police:1mbit,burst=64kb\", \"output:p\"]\n",
        "[metrics]\nlisten = \"127.0.0.1:9100\"\n",
    ];
    const PEERS: [&str; 3] = [
        "[[fabric.peer]]\nname = \"x\"\naddress = \"192.0.2.1\"\nprefixes = [\"10.1.0.0/24\", \"fd00::/64\"]\n",
        "[[fabric.peer]]\nname = \"y\"\naddress = \"192.0.2.2\"\naddresses = [\"2001:db8::1\"]\n",
        "[[fabric.peer]]\nname = \"z\"\naddress = \"192.0.2.3\"\nmac = \"02:00:00:00:00:02\"\n",
    ];

    fn configs() -> impl Strategy<Value = Config> {
        let fabric = (any::<bool>(), subsequence(PEERS.to_vec(), 0..=PEERS.len()).prop_shuffle());
        (subsequence(PARTS.to_vec(), 0..=PARTS.len()).prop_shuffle(), fabric).prop_map(
            |(parts, (has_fabric, peers))| {
                let fabric = if has_fabric { "[fabric]\nmode = \"vxlan\"\ndscp = 3\n" } else { "" };
                let peers = if has_fabric { peers.concat() } else { String::new() };
                let text = format!("[node]\nname = \"n\"\n{}{fabric}{peers}", parts.concat());
                config::parse(&text).expect("it parses")
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_turns_one_into_the_other(old in configs(), new in configs()) {
            let written = serde_json::to_string(&Change::between(&old, &new)).expect("it can be written");
            let read: Change = serde_json::from_str(&written).expect("it can be read");
            prop_assert_eq!(read.apply(old), Some(new));
        }
    }

    #[test]
    fn it_is_as_long_as_what_changes() {
        let text = format!("[node]\nname = \"n\"\n[fabric]\nmode = \"native\"\n{}", PEERS.concat());
        let old = config::parse(&text).expect("it parses");
        let mut new = old.clone();
        new.fabric.as_mut().expect("there").peer.remove(1);
        let change = Change::between(&old, &new);
        assert_eq!((change.size(), size(&old), size(&new)), (1, 6, 5));
        assert_eq!(Change::between(&new, &old).size(), 2);
        assert!(!serde_json::to_string(&change).expect("written").contains("192.0.2"));
        assert_eq!(change.apply(Config::default()), None, "it is of another one");
    }
}
