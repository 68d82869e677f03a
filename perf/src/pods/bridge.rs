//! A Linux bridge: the baseline. It has no thread of its own; the sender's core forwards, or another one by RPS.

use super::{
    system::{Between, Cores, System},
    topology::Pods,
};
use crate::{lab::Error, testbed};

/// Where the kernel forwards, in words.
pub(super) fn kernel(pods: &Pods, cores: Cores, rps: bool) -> Result<String, Error> {
    if !rps {
        return Ok("in the kernel, on the sender's core".into());
    }
    pods.steer(cores.mask())?;
    Ok("in the kernel, on the switch's core, by RPS".into())
}

/// A bridge with both pods' veths in it.
#[derive(Debug)]
pub struct Bridge {
    /// On the switch's cores rather than the sender's.
    pub rps: bool,
}

impl System for Bridge {
    fn name(&self) -> &'static str {
        if self.rps { "bridge-rps" } else { super::system::BASELINE }
    }

    fn about(&self) -> &'static str {
        if self.rps { "Linux bridge, veth, on the switch's core (RPS)" } else { "Linux bridge, veth" }
    }

    fn programs(&self) -> Vec<(&'static str, &'static str)> {
        vec![("ip", "iproute2"), ("ethtool", "ethtool")]
    }

    fn version(&self) -> Result<String, Error> {
        Ok(format!("Linux {}", testbed::kernel()))
    }

    fn set_up(&self, pods: Pods, cores: Cores) -> Result<Between, Error> {
        pods.veths(cores.queues)?;
        pods.share_subnet()?;
        pods.switch.ip(&["link", "add", "name", "bridge0", "type", "bridge"])?;
        pods.switch.ip(&["link", "set", "bridge0", "up"])?;
        for pod in pods.each() {
            pods.switch.ip(&["link", "set", pod.veth, "master", "bridge0"])?;
        }
        let (mode, next_hop) = (kernel(&pods, cores, self.rps)?, pods.b.mac);
        Ok(Between { switch: None, pids: Vec::new(), pods, mode, next_hop })
    }

    fn scales(&self) -> bool {
        self.rps
    }
}
