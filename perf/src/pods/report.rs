//! What was measured between pods: noted, and drawn.

use std::{fs, path::Path};

use super::{
    system::{BASELINE, Between, System, missing},
    traffic::{FIGURES, Outcome, Test},
};
use crate::{
    lab::Error,
    plot::Bars,
    results::{self, Axes, Figure, Missing, Results},
    testbed::Port,
};

/// What two pods on one machine can't tell.
const LIMITS: [&str; 4] = [
    "Two pods of one machine, over veths and taps: no network card, no wire. What a card does per packet (zero-copy, \
     checksums, segmentation, interrupt moderation) is in no figure here.",
    "weft routes (TTL, MACs, anti-spoofing) where bridges, Open vSwitch's NORMAL and testpmd do less for each packet.",
    "The generator's and the receiver's work is in every CPU figure: the same for all systems, so differences count.",
    "Everybody with a thread of their own pays two wake-ups across cores for a round trip; the kernel's own forwarding, \
     which runs on the sender's core, none.",
];

/// Nothing yet: the systems that can be measured, and why others can't.
pub fn begin(systems: &[&dyn System], results: &mut Results) {
    results.limits = LIMITS.map(str::to_owned).into();
    for system in systems {
        let reason = missing(*system);
        let version = if reason.is_none() { system.version().unwrap_or_default() } else { String::new() };
        results.systems.push(results::System {
            name: system.name().into(),
            about: system.about().into(),
            version,
            mode: String::new(),
            is_weft: system.is_weft(),
            is_baseline: system.name() == BASELINE,
        });
        if let Some(reason) = reason {
            eprintln!("{} is skipped: {reason}", system.name());
            let failed = system.is_weft();
            results.missing.push(Missing { failed, ..gap("", system.name(), reason) });
        }
    }
}

/// A test, or a system (then `test` is empty), that there are no figures of.
pub fn gap(test: &str, system: &str, reason: String) -> Missing {
    Missing { test: test.into(), system: system.into(), axes: Axes::new(), reason, failed: false }
}

/// Notes a system that has been set up: its mode and its ports, the first time.
pub fn note(results: &mut Results, system: &str, between: &Between) {
    let Some(known) = results.systems.iter_mut().find(|known| known.name == system) else { return };
    if known.mode.is_empty() {
        known.mode.clone_from(&between.mode);
        let pods = &between.pods;
        results.testbed.ports.push(Port::of(system, &pods.a.ns, "eth0", "the pod's"));
        if pods.switch.ip(&["link", "show", "dev", pods.a.veth]).is_ok() {
            results.testbed.ports.push(Port::of(system, &pods.switch, pods.a.veth, &between.mode));
        }
    }
}

/// Adds what a run of a test gave.
pub fn add(results: &mut Results, system: &str, test: Test, outcome: &Outcome) {
    for (metric, value) in &outcome.figures {
        let is_it = |figure: &&Figure<'_>| (figure.test, figure.metric) == (test.name(), metric);
        if let Some(figure) = FIGURES.iter().find(is_it) {
            results.add(*figure, system, &Axes::new(), *value);
        }
    }
    outcome.usage.record(results, test.name(), system, &Axes::new(), outcome.packets);
}

/// A file, its title, and the tests and metrics that it shows.
type Chart = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Writes `pods.json` and the charts.
pub fn write(results: &Results, dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::file(dir))?;
    results.write(&dir.join("pods.json"))?;
    let charts: [Chart; 4] = [
        (
            "pods-udp.svg",
            "UDP from pod to pod, offered more than any takes",
            &[("udp64", "rate"), ("udp1514", "rate")],
        ),
        ("pods-tcp.svg", "TCP from pod to pod", &[("tcp1", "rate"), ("tcp4", "rate")]),
        (
            "pods-rr.svg",
            "Round trips between pods, 64 bytes: medians (less is better)",
            &[("rr-udp", "p50"), ("rr-tcp", "p50")],
        ),
        (
            "pods-rr-p99.svg",
            "Round trips between pods, 64 bytes: 99th percentiles (less is better)",
            &[("rr-udp", "p99"), ("rr-tcp", "p99")],
        ),
    ];
    for (file, title, wanted) in charts {
        let is_wanted = |one: &&results::Measurement| wanted.contains(&(&*one.test, &*one.metric));
        let chosen: Vec<_> = results.measurements.iter().filter(is_wanted).collect();
        let path = dir.join(file);
        fs::write(&path, Bars::of(title, results, &chosen).svg()).map_err(Error::file(&path))?;
    }
    eprintln!("written: pods.json and pods-*.svg in {}", dir.display());
    Ok(())
}
