//! The command line of `weft-perf search`.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use weft_wire::Mac;

use super::topology::Topology;
use crate::{
    generator::{flows::Pattern, options::seconds, sizes::Sizes},
    lab::Error,
    results::Output,
    tester::TesterCores,
};

/// How nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fabric {
    /// By routing.
    Native,
    /// In VXLAN.
    Vxlan,
    /// In Geneve.
    Geneve,
}

impl Options {
    /// What the parser can't tell.
    pub fn check(&self) -> Result<(), Error> {
        let cores = self.cores.iter().map(|cores| *cores as usize).max().unwrap_or(1);
        let known: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        let is_here = self.topologies.iter().any(|topology| *topology != Topology::P2p);
        let mut wanted = self.cpu_switch..self.cpu_switch + cores;
        if let Some(core) = wanted.find(|core| is_here && !known.contains(core)) {
            let first = self.cpu_switch;
            return Err(Error::Usage(format!(
                "--cores {cores} from --cpu-switch {first} on: there is no core {core}; there are {known:?}"
            )));
        }
        let most = cores.max(self.cpu_tester.len());
        match self.flows.iter().find(|flows| (**flows as usize) < most) {
            Some(flows) => Err(Error::Usage(format!(
                "--flows {flows} does not reach {most} queues: each has flows of its own, so give {most} or more"
            ))),
            None => Ok(()),
        }
    }

    /// Where the sink is.
    pub fn sink_core(&self) -> usize {
        self.cpu_sink.or(self.cpu_tester.first().copied()).unwrap_or(0)
    }

    /// Cores of generator and sink.
    pub fn tester_cores(&self) -> TesterCores {
        TesterCores { generator: self.cpu_tester.clone(), sink: self.sink_core() }
    }
}

impl Fabric {
    /// As in weft's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
        }
    }
}

/// What to search.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  weft-perf search                                                  pod to pod over AF_XDP: NDR and PDR of 64-byte frames
  weft-perf search --systems weft-tap,bridge-rps -s 60 -s imix --flows 1,1000 --latency --curve --runs 10 --json out.json
  weft-perf search --topo pod-fabric,fabric-pod --fabric vxlan --recovery
  weft-perf search --systems weft-xsk,ovs-afxdp,bridge-rps --cores 1,2,4 --flows 1000 --cpu-tester 0,1 --cpu-sink 2 --cpu-switch 3
  weft-perf search --topo p2p --in ens1 --out ens2 --dst-mac 02:…:01 --src 198.18.0.1 --dst 198.19.0.1
  weft-perf search --expect 'weft-xsk/pdr>=0.3'

It exits with 3 and reports nothing of a case in which the generator or the sink was slower than what is between them.")]
pub struct Options {
    /// Where frames go.
    #[arg(long = "topo", value_enum, value_delimiter = ',', default_value = "pod-pod")]
    pub topologies: Vec<Topology>,
    /// Who is between them: as `pods` has them. Topologies other than pod-pod have weft's only; p2p has what is there.
    #[arg(long, value_delimiter = ',', default_value = "weft-xsk")]
    pub systems: Vec<String>,
    /// Frame length without FCS (60: 64 on the wire), `imix` or a mix; may be given several times.
    #[arg(short = 's', long = "size", default_value = "60")]
    pub sizes: Vec<Sizes>,
    /// Distinct flows.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub flows: Vec<u32>,
    /// Threads of the switch that forward, each on the next core from --cpu-switch on and with a queue of each device.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub cores: Vec<u32>,
    /// In which order flows come: sequential, random, zipf or zipf:EXPONENT.
    #[arg(long, default_value = "random")]
    pub pattern: Pattern,
    /// Runs of each case, from set-up to tear-down, in turns; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Length of a trial, seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub trial: f64,
    /// Trials that judge a load: most of them count. Odd.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub trials: u32,
    /// How far apart lower and upper bound may be at the end, percent.
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub width: f64,
    /// Latency, one way, at 10, 50 and 90 % of the PDR.
    #[arg(long)]
    pub latency: bool,
    /// Loss over offered load.
    #[arg(long)]
    pub curve: bool,
    /// The longest burst at full rate of which nothing is lost (RFC 2544 §26.4).
    #[arg(long)]
    pub back_to_back: bool,
    /// How long loss goes on after an overload has ended (RFC 2544 §26.5).
    #[arg(long)]
    pub recovery: bool,
    /// What a restart and a SIGKILL of weftd cost, at half the PDR (RFC 6201); pod-pod over xsk and packet.
    #[arg(long)]
    pub reset: bool,
    /// All of these.
    #[arg(long)]
    pub all: bool,
    /// How nodes reach each other.
    #[arg(long, value_enum, default_value = "native")]
    pub fabric: Fabric,
    /// The core of the generator, and of the sink if that has none of its own; several: a thread of the generator on each.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub cpu_tester: Vec<usize>,
    /// The core of the sink [default: the generator's first; both in one thread if it has no other].
    #[arg(long)]
    pub cpu_sink: Option<usize>,
    /// The core of the switch's first thread.
    #[arg(long, default_value_t = 1)]
    pub cpu_switch: usize,
    /// The core of the second node's switch, its first thread's [default: the first one's].
    #[arg(long)]
    pub cpu_switch_2: Option<usize>,
    /// p2p: what to call what is between the devices.
    #[arg(long, value_name = "NAME", default_value = "device-under-test")]
    pub dut: String,
    /// p2p: the device frames are sent by.
    #[arg(long = "in", value_name = "DEVICE")]
    pub input: Option<String>,
    /// p2p: the device they come by.
    #[arg(long, value_name = "DEVICE")]
    pub out: Option<String>,
    /// p2p: the namespace of --in.
    #[arg(long, value_name = "NETNS")]
    pub in_netns: Option<String>,
    /// p2p: the namespace of --out.
    #[arg(long, value_name = "NETNS")]
    pub out_netns: Option<String>,
    /// p2p: destination MAC.
    #[arg(long, value_name = "MAC")]
    pub dst_mac: Option<Mac>,
    /// p2p: source address.
    #[arg(long, default_value = "198.18.0.1")]
    pub src: IpAddr,
    /// p2p: destination address.
    #[arg(long, default_value = "198.19.0.1")]
    pub dst: IpAddr,
    /// Of random flows.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: its fields have theirs")]
    pub output: Output,
}
