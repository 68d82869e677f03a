//! A port that packets went through, as the kernel and ethtool(8) tell of it.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::lab::NetNs;

/// A port of a system under test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Whose it is.
    pub system: String,
    /// Its device.
    pub device: String,
    /// Its driver, with its version and firmware where they are told.
    pub driver: String,
    /// How the system uses it: for AF_XDP, native or generic, zero-copy or copy.
    pub mode: String,
    /// Its MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its receive and transmit queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<String>,
    /// The sizes of its rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rings: Option<String>,
    /// Those of its offloads that are on, by ethtool's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offloads: Vec<String>,
}

/// Offloads that change what a benchmark measures.
const OFFLOADS: [&str; 7] = [
    "rx-checksumming",
    "tx-checksumming",
    "tcp-segmentation-offload",
    "generic-segmentation-offload",
    "generic-receive-offload",
    "scatter-gather",
    "rx-gro-list",
];

impl Port {
    /// A device of a namespace; what can't be told is left out.
    pub fn of(system: &str, ns: &NetNs, device: &str, mode: &str) -> Self {
        let ethtool =
            |flag: &[&str]| ns.output(&[&["ethtool"], flag, &[device]].concat()).unwrap_or_default();
        let link = ns.output(&["ip", "-d", "-j", "link", "show", "dev", device]).unwrap_or_default();
        let link: serde_json::Value = serde_json::from_str(&link).unwrap_or_default();
        let number = |name: &str| link[0][name].as_u64();
        let queues = number("num_rx_queues").zip(number("num_tx_queues"));
        Self {
            system: system.into(),
            device: device.into(),
            driver: driver(&ethtool(&["-i"])),
            mode: mode.into(),
            mtu: number("mtu").and_then(|mtu| mtu.try_into().ok()),
            queues: queues.map(|(rx, tx)| format!("{rx} rx, {tx} tx")),
            rings: rings(&ethtool(&["-g"])),
            offloads: offloads(&ethtool(&["-k"])),
        }
    }

    /// A device of this process's own namespace.
    pub fn here(system: &str, device: &str, mode: &str) -> Option<Self> {
        let mtu = fs::read_to_string(format!("/sys/class/net/{device}/mtu")).ok()?;
        let driver = fs::read_link(format!("/sys/class/net/{device}/device/driver")).ok();
        let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Some(Self {
            system: system.into(),
            device: device.into(),
            driver: driver.unwrap_or_else(|| "virtual".into()),
            mode: mode.into(),
            mtu: mtu.trim().parse().ok(),
            ..Self::default()
        })
    }
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let found = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    found.map(str::trim).filter(|value| !value.is_empty() && *value != "N/A" && *value != "n/a")
}

/// Of `ethtool -i`.
fn driver(text: &str) -> String {
    let Some(name) = value(text, "driver") else { return "not known".into() };
    let more = ["version", "firmware-version"].map(|key| value(text, key).map(|value| format!(" {value}")));
    more.into_iter().flatten().fold(name.to_owned(), |all, part| all + &part)
}

/// Of `ethtool -g`: the current ones are the second half.
fn rings(text: &str) -> Option<String> {
    let current = text.split_once("Current hardware settings")?.1;
    let [rx, tx] = ["RX", "TX"].map(|name| value(current, name).map(str::to_owned));
    Some(format!("{} rx, {} tx", rx?, tx?))
}

/// Of `ethtool -k`.
fn offloads(text: &str) -> Vec<String> {
    let is_on = |name: &&str| value(text, name).is_some_and(|value| value.starts_with("on"));
    OFFLOADS.into_iter().filter(is_on).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ethtool_prints_is_read() {
        assert_eq!(driver("driver: ice\nversion: 6.1\nfirmware-version: 4.20\n"), "ice 6.1 4.20");
        assert_eq!(driver("driver: veth\nversion: 1.0\nfirmware-version: \n"), "veth 1.0");
        let text = "Pre-set maximums:\nRX:\t\t8160\nTX:\t\t8160\nCurrent hardware settings:\nRX:\t\t2048\nTX:\t\t256\n";
        assert_eq!(rings(text).unwrap(), "2048 rx, 256 tx");
        assert_eq!(rings("netlink error: Operation not supported"), None);
        let text = "Features for va:\nrx-checksumming: on\ngeneric-receive-offload: off\ntx-checksumming: on [fixed]\n";
        assert_eq!(offloads(text), ["rx-checksumming", "tx-checksumming"]);
    }
}
