//! Benchmarks of weft, and what they are made with.
//!
//! [`core`] runs the real pipeline on one core, packets made and taken in memory; [`blast`] offers more than any switch
//! takes, from the kernel; [`generator`] sends over AF_XDP and [`sink`] tells what became of it. [`pods`] puts weft and its
//! peers between two pods, in turn, and [`peers`] beside each other in memory; `perf/README.md` tells how their figures are made.
//!
//! Generator and sink stand on xsk-rs, an AF_XDP implementation independent of the one under test. Its data calls are
//! `unsafe fn`: [`xsk`] is the one place outside of `weft-pmd` with unsafe code.
//!
//! Absolute figures depend on the machine: quote ratios and medians of one run, with the peer beside.
#![deny(unsafe_code)]

pub mod blast;
pub mod clock;
pub mod compare;
pub mod core;
pub mod cpu;
pub mod curve;
pub mod disrupt;
pub mod generator;
pub mod lab;
pub mod lines;
pub mod node;
pub mod ovs;
pub mod peers;
pub mod plot;
pub mod pods;
pub mod report;
pub mod results;
pub mod ruleset;
pub mod scale;
pub mod search;
pub mod sink;
pub mod stamp;
pub mod summary;
pub mod testbed;
pub mod tester;
pub mod xsk;
