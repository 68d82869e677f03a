//! What can be between two pods. One more peer: a file beside this one with a [`System`], and its line in [`ALL`].

use super::{bridge, ovs, routing, testpmd, topology::Pods, weft};
use crate::lab::{Error, present};
use weft_wire::Mac;

/// A switch, of weft's or a peer's, that can be put between two pods.
pub trait System: std::fmt::Debug + Sync {
    /// Its name in `--systems`.
    fn name(&self) -> &'static str;
    /// What it is, for tables.
    fn about(&self) -> &'static str;
    /// Its programs, and the package to install each from.
    fn programs(&self) -> Vec<(&'static str, &'static str)>;
    /// What it is the version of.
    fn version(&self) -> Result<String, Error>;
    /// Puts it between two pods, which get interfaces `eth0`.
    fn set_up(&self, pods: Pods, cores: Cores) -> Result<Between, Error>;

    /// Whether it is weft, or what weft is compared with.
    fn is_weft(&self) -> bool {
        false
    }

    /// Whether several of its threads can forward between two pods: by queues, or by RPS.
    fn scales(&self) -> bool {
        false
    }
}

/// Which core does what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Cores {
    /// Both pods' programs.
    pub pods: usize,
    /// The switch's first thread.
    pub switch: usize,
    /// Threads of the switch that forward: each has the next core.
    pub threads: usize,
    /// Queues of each pod's device: as many at least.
    pub queues: usize,
}

impl Cores {
    /// Of the switch's threads.
    pub fn switches(&self) -> std::ops::Range<usize> {
        self.switch..self.switch + self.threads
    }

    /// The same, a bit each.
    pub fn mask(&self) -> u64 {
        self.switches().fold(0, |mask, core| mask | 1_u64.checked_shl(core as u32).unwrap_or(0))
    }
}

/// A switch between two pods; both are gone when dropped.
pub struct Between {
    // Dropped in this order: the switch lets go of its ports before the namespaces go.
    /// The switch, if it is not the kernel itself.
    pub switch: Option<Box<dyn Send>>,
    /// Its processes.
    pub pids: Vec<u32>,
    /// The pods.
    pub pods: Pods,
    /// The mode of its ports.
    pub mode: String,
    /// Where pod a sends what is for pod b.
    pub next_hop: Mac,
}

/// Every system, in the order in which they are measured and shown.
pub const ALL: [&dyn System; 12] = [
    &weft::Weft::Tap,
    &weft::Weft::Packet,
    &weft::Weft::Xsk,
    &bridge::Bridge { rps: false },
    &bridge::Bridge { rps: true },
    &routing::Routing { rps: false },
    &routing::Routing { rps: true },
    &ovs::Ports::Afxdp,
    &ovs::Ports::Tap,
    &ovs::Ports::TapTso,
    &ovs::Ports::Packet,
    &testpmd::Testpmd,
];

/// The baseline's name.
pub const BASELINE: &str = "bridge";

/// Finds systems by their names.
pub fn by_names(names: &[String]) -> Result<Vec<&'static dyn System>, Error> {
    let known = || ALL.map(System::name).join(",");
    let find = |name: &String| {
        let found = ALL.into_iter().find(|system| system.name() == name);
        found.ok_or_else(|| Error::Usage(format!("--systems: {name} is none: choose some of {}", known())))
    };
    names.iter().map(find).collect()
}

/// Why a system can't be measured here, if it can't.
pub fn missing(system: &dyn System) -> Option<String> {
    let mut absent =
        system.programs().into_iter().filter_map(|(program, package)| present(program, package).err());
    absent.next().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names = ALL.map(|system| system.name().to_owned());
        let found: Vec<_> = by_names(&names).unwrap().iter().map(|system| system.name()).collect();
        assert_eq!(found, names);
        assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1));
        assert!(names.iter().any(|name| name == BASELINE));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = by_names(&["vpp".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("vpp") && error.contains("ovs-tap-tso"), "{error}");
    }
}
