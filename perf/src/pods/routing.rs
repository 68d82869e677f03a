//! Linux routing: the kernel forwards between two veths, as most CNIs have it. No thread of its own, either.

use super::{
    bridge::kernel,
    system::{Between, Cores, System},
    topology::{GATEWAY, GATEWAY_MAC, Pods},
};
use crate::{lab::Error, testbed};

/// A router with both pods' veths, and a route to each.
#[derive(Debug)]
pub struct Routing {
    /// On the switch's cores rather than the sender's.
    pub rps: bool,
}

impl System for Routing {
    fn name(&self) -> &'static str {
        if self.rps { "routing-rps" } else { "routing" }
    }

    fn about(&self) -> &'static str {
        if self.rps { "Linux routing, veth, on the switch's core (RPS)" } else { "Linux routing, veth" }
    }

    fn programs(&self) -> Vec<(&'static str, &'static str)> {
        vec![("ip", "iproute2"), ("sysctl", "procps")]
    }

    fn version(&self) -> Result<String, Error> {
        Ok(format!("Linux {}", testbed::kernel()))
    }

    fn set_up(&self, pods: Pods, cores: Cores) -> Result<Between, Error> {
        pods.veths(cores.queues)?;
        pods.route_by_gateway()?;
        pods.switch.output(&["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        for pod in pods.each() {
            pods.switch.ip(&["link", "set", pod.veth, "address", &GATEWAY_MAC.to_string()])?;
            pods.switch.ip(&["addr", "add", &format!("{GATEWAY}/32"), "dev", pod.veth])?;
            pods.switch.ip(&["route", "add", pod.address, "dev", pod.veth])?;
        }
        let mode = kernel(&pods, cores, self.rps)?;
        Ok(Between { switch: None, pids: Vec::new(), pods, mode, next_hop: GATEWAY_MAC })
    }

    fn scales(&self) -> bool {
        self.rps
    }
}
