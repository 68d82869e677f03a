//! A Linux bridge: the baseline. It has no thread of its own; the sender's core forwards.

use super::{
    system::{Between, Cores, System},
    topology::Pods,
};
use crate::{lab::Error, testbed};

/// A bridge with both pods' veths in it.
#[derive(Debug)]
pub struct Bridge;

impl System for Bridge {
    fn name(&self) -> &'static str {
        super::system::BASELINE
    }

    fn about(&self) -> &'static str {
        "Linux bridge, veth"
    }

    fn programs(&self) -> Vec<(&'static str, &'static str)> {
        vec![("ip", "iproute2"), ("ethtool", "ethtool")]
    }

    fn version(&self) -> Result<String, Error> {
        Ok(format!("Linux {}", testbed::kernel()))
    }

    fn set_up(&self, pods: Pods, _cores: Cores) -> Result<Between, Error> {
        pods.veths()?;
        pods.share_subnet()?;
        pods.switch.ip(&["link", "add", "name", "bridge0", "type", "bridge"])?;
        pods.switch.ip(&["link", "set", "bridge0", "up"])?;
        for pod in pods.each() {
            pods.switch.ip(&["link", "set", pod.veth, "master", "bridge0"])?;
        }
        let next_hop = pods.b.mac;
        Ok(Between {
            switch: None,
            pids: Vec::new(),
            pods,
            mode: "in the kernel, on the sender's core".into(),
            next_hop,
        })
    }
}
