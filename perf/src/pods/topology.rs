//! Two pods and the namespace of the switch between them.
//!
//! ```text
//! pod a: eth0 ── va [switch] vb ── eth0 :pod b        10.244.0.5, 10.244.0.6
//! ```

use std::time::{Duration, Instant};

use weft_wire::Mac;

use crate::lab::{Error, NetNs, pause, succeeds};

/// A veth pair of so many queues: the near end is up, the far one has a MAC and is still down.
pub fn veth(
    near: &NetNs,
    near_name: &str,
    far: &NetNs,
    far_name: &str,
    mac: Mac,
    queues: usize,
) -> Result<(), Error> {
    let (queues, mac) = (queues.to_string(), mac.to_string());
    let queues = ["numtxqueues", &queues, "numrxqueues", &queues];
    let first = ["link", "add", "name", near_name];
    let second = ["type", "veth", "peer", "name", far_name, "netns", far.name(), "address", &mac];
    near.ip(&[&first[..], &queues, &second, &queues].concat())?;
    near.ip(&["link", "set", near_name, "up"]).map(drop)
}

/// One pod.
#[derive(Debug)]
pub struct Pod {
    /// Its namespace.
    pub ns: NetNs,
    /// The switch's end of its veth, if it has one.
    pub veth: &'static str,
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub address: &'static str,
}

/// Both pods, and the switch's namespace.
#[derive(Debug)]
pub struct Pods {
    /// Where the switch runs.
    pub switch: NetNs,
    /// Where traffic comes from.
    pub a: Pod,
    /// Where it goes.
    pub b: Pod,
}

/// What a routed network's pods send to.
pub const GATEWAY: &str = "10.244.0.1";
/// Its MAC.
pub const GATEWAY_MAC: Mac = Mac([2, 0, 0x0a, 0xf4, 0, 1]);

impl Pods {
    /// Three namespaces, and nothing in them.
    pub fn new() -> Result<Self, Error> {
        let pod = |role, veth, address, last| {
            let mac = Mac([2, 0, 0x0a, 0xf4, 0, last]);
            Ok::<_, Error>(Pod { ns: NetNs::new(role)?, veth, mac, address })
        };
        Ok(Self {
            switch: NetNs::new("sw")?,
            a: pod("a", "va", "10.244.0.5", 5)?,
            b: pod("b", "vb", "10.244.0.6", 6)?,
        })
    }

    /// Both pods.
    pub fn each(&self) -> [&Pod; 2] {
        [&self.a, &self.b]
    }

    /// Gives each pod a veth of so many queues, without an address.
    pub fn veths(&self, queues: usize) -> Result<(), Error> {
        for pod in self.each() {
            veth(&self.switch, pod.veth, &pod.ns, "eth0", pod.mac, queues)?;
        }
        Ok(())
    }

    /// Has these cores (a bit each) forward what the kernel forwards, instead of the sender's: receive packet steering
    /// (the kernel's Documentation/networking/scaling.rst).
    pub fn steer(&self, cores: u64) -> Result<(), Error> {
        for pod in self.each() {
            let file = format!("/sys/class/net/{}/queues/rx-*/rps_cpus", pod.veth);
            let script = format!("for file in {file}; do echo {cores:x} >$file; done");
            self.switch.output(&["sh", "-ec", &script])?;
        }
        Ok(())
    }

    /// Both pods in one subnet, as on a bridge.
    pub fn share_subnet(&self) -> Result<(), Error> {
        for pod in self.each() {
            pod.ns.ip(&["addr", "add", &format!("{}/24", pod.address), "dev", "eth0"])?;
            pod.ns.ip(&["link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// Both pods behind a gateway, as a CNI does it.
    pub fn route_by_gateway(&self) -> Result<(), Error> {
        for pod in self.each() {
            pod.ns.ip(&["addr", "add", &format!("{}/32", pod.address), "dev", "eth0"])?;
            pod.ns.ip(&["link", "set", "eth0", "up"])?;
            pod.ns.ip(&["route", "add", GATEWAY, "dev", "eth0", "scope", "link"])?;
            pod.ns.ip(&["route", "add", "default", "via", GATEWAY])?;
        }
        Ok(())
    }

    /// Turns off what a switch can't take that knows neither partial checksums nor segments larger than the MTU.
    pub fn send_plain_frames(&self) -> Result<(), Error> {
        for pod in self.each() {
            let off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];
            pod.ns.output(&[&["ethtool", "-K", "eth0"], &off[..]].concat())?;
        }
        Ok(())
    }

    /// Lets the switch's ends of veths poll by NAPI, or not: without it a veth takes no frames from XDP.
    pub fn napi(&self, on: bool) -> Result<(), Error> {
        let word = if on { "on" } else { "off" };
        for pod in self.each() {
            if succeeds(&["ip", "-n", self.switch.name(), "link", "show", "dev", pod.veth])? {
                self.switch.output(&["ethtool", "-K", pod.veth, "gro", word])?;
            }
        }
        Ok(())
    }

    /// Whether pod a reaches pod b.
    pub fn reachable(&self) -> Result<bool, Error> {
        let ping = ["ping", "-q", "-c", "2", "-i", "0.1", "-W", "1", self.b.address];
        succeeds(&[&["ip", "netns", "exec", self.a.ns.name()], &ping[..]].concat())
    }

    /// Waits until pod a reaches pod b.
    pub fn wait_until_reachable(&self) -> Result<(), Error> {
        const LIMIT: Duration = Duration::from_secs(20);
        let deadline = Instant::now() + LIMIT;
        while !self.reachable()? {
            if Instant::now() > deadline {
                let what = "an answer from pod b to pod a".into();
                return Err(Error::Late { what, limit: LIMIT, said: String::new() });
            }
            pause(Duration::from_millis(100))?;
        }
        Ok(())
    }
}
