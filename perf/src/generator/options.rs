//! The generator's command line: Linux pktgen's letters (samples/pktgen/parameters.sh), and what they lack.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;
use ipnet::IpNet;
use weft_pmd::sys::net::LinkInfo;
use weft_wire::{Mac, Vni};

use super::{
    flows::Pattern,
    frame::{Headers, Vxlan},
    impair::Impair,
    rate::Rate,
    sizes::Sizes,
};
use crate::lab::Error;

/// What to send.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Lengths are without the 4-byte FCS, as in Linux pktgen: 60 is 64 on the wire.

Examples:
  weft-perf gen -i eth0 -m 02:00:0a:f4:00:01 -d 10.244.0.6                        as fast as it goes, for ever
  weft-perf gen -i eth0 -m 02:00:0a:f4:00:01 -d 10.244.0.6 --rate 1.5Mpps --duration 10
  weft-perf gen -i ens1 -m 02:…:01 -d 198.18.0.0/16 -s imix --flows 100000 --pattern zipf -t 4 -f 2
  weft-perf gen -i eth0 -m 02:…:01 -6 -d fd00:244::6 -n 1000000
  weft-perf gen -i eth0 --pcap file.pcap --loop 10 --rate 100Mb/s
  weft-perf gen -i eth0 -m 02:…:01 -n 10000 --impair drop=every:100,reorder=every:70:3")]
pub struct Options {
    /// The device.
    #[arg(short = 'i', long = "device", value_name = "DEVICE")]
    pub device: String,
    /// The namespace it is in: a name, a path or a process id.
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
    /// Frame length without FCS (60: 64 on the wire), `imix`, or a mix like 60:7,566:4,1514:1 [default: the shortest].
    #[arg(short = 's', long = "size", value_name = "SIZE")]
    pub sizes: Option<Sizes>,
    /// Destination address, or a prefix whose addresses take turns [default: 198.18.0.42, or fd00::1 with -6].
    #[arg(short = 'd', long = "dst", value_name = "ADDRESS")]
    pub dst: Option<String>,
    /// Destination MAC: the next hop's (also replaces a capture's).
    #[arg(short = 'm', long = "dst-mac", value_name = "MAC")]
    pub dst_mac: Option<Mac>,
    /// Destination UDP port, or ports FIRST-LAST.
    #[arg(short = 'p', long = "dst-port", value_name = "PORT", default_value = "9", value_parser = ports)]
    pub dst_ports: (u16, u16),
    /// Threads; each has a queue of the device, from 0, and flows of its own.
    #[arg(short = 't', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// The first thread's core; the others follow [default: each where the scheduler puts it].
    #[arg(short = 'f', long = "first-cpu", value_name = "CPU")]
    pub first_cpu: Option<usize>,
    /// Frames of each thread; 0: for ever.
    #[arg(short = 'n', long = "count", default_value_t = 0)]
    pub count: u64,
    /// Frames handed to the device at a time.
    #[arg(short = 'b', long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub burst: u32,
    /// Time between the frames of one thread, nanoseconds.
    #[arg(short = 'w', long = "delay", value_name = "NS", conflicts_with = "rate")]
    pub delay_ns: Option<u64>,
    /// IPv6.
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Of all threads together: 1.5Mpps, 200kpps, 2Gb/s (L2, with FCS) [default: as fast as it goes].
    #[arg(long)]
    pub rate: Option<Rate>,
    /// Source address [default: 198.18.0.1 or fd00::2; RFC 2544 has 198.18.0.0/15 for benchmarks].
    #[arg(long)]
    pub src: Option<IpAddr>,
    /// Source MAC [default: the device's].
    #[arg(long)]
    pub src_mac: Option<Mac>,
    /// The first source port.
    #[arg(long, default_value_t = 1024)]
    pub src_port: u16,
    /// Distinct flows: destinations first, source ports last [default: one for each destination address and port].
    #[arg(long)]
    pub flows: Option<u32>,
    /// In which order flows come: sequential, random, zipf or zipf:EXPONENT.
    #[arg(long, default_value = "sequential")]
    pub pattern: Pattern,
    /// In VXLAN, of this network; -m and --src-mac are the outer header's then.
    #[arg(long, value_name = "VNI", requires = "tunnel_src", requires = "tunnel_dst")]
    pub vxlan: Option<Vni>,
    /// The tunnel's source address.
    #[arg(long, value_name = "ADDRESS")]
    pub tunnel_src: Option<IpAddr>,
    /// The tunnel's destination address.
    #[arg(long, value_name = "ADDRESS")]
    pub tunnel_dst: Option<IpAddr>,
    /// Destination MAC of the frames inside the tunnel.
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:02")]
    pub inner_dst_mac: Mac,
    /// Source MAC of the frames inside the tunnel.
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01")]
    pub inner_src_mac: Mac,
    /// Replay this capture (pcap, pcapng) rather than make frames: in its own time, or at --rate.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["impair", "flows", "vxlan", "sizes", "count"])]
    pub pcap: Option<PathBuf>,
    /// Replay it so many times; 0: for ever.
    #[arg(long = "loop", value_name = "TIMES", default_value_t = 1, requires = "pcap")]
    pub rounds: u64,
    /// Damage frames on purpose, and count it: drop=WHEN,dup=WHEN,reorder=WHEN:DISTANCE,corrupt=WHEN; WHEN: every:N or P%.
    #[arg(long, value_name = "WHAT")]
    pub impair: Option<Impair>,
    /// For so many seconds [default: until -n, or Ctrl-C].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<f64>,
    /// Of random flows and impairments.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// In each frame, so that a sink can tell runs apart [default: some number].
    #[arg(long, value_name = "ID")]
    pub run_id: Option<u16>,
    /// Have the kernel's own generator (pktgen) send, where there is one.
    #[arg(long, conflicts_with_all = ["pcap", "impair", "vxlan"])]
    pub kernel: bool,
    /// Print the result as JSON; progress goes to standard error.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print a line of CSV each second.
    #[arg(long)]
    pub csv: bool,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("`{text}` is neither a port nor FIRST-LAST")),
    }
}

/// For clap: a duration of a run.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0 && *value <= 1e6);
    value.ok_or_else(|| format!("`{text}` is no number of seconds above 0"))
}

impl Options {
    /// Every frame's headers.
    pub fn headers(&self, link: &LinkInfo) -> Result<Headers, Error> {
        let text = self.dst.as_deref().unwrap_or(if self.ipv6 { "fd00::1" } else { "198.18.0.42" });
        let dst = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let dst = dst.map_err(|_| Error::Usage(format!("-d {text} is neither an address nor a prefix")))?;
        let is_v6 = dst.addr().is_ipv6();
        if self.ipv6 && !is_v6 {
            return Err(Error::Usage(format!("-6 wants an IPv6 destination, and -d {text} is none")));
        }
        let default =
            if is_v6 { IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 2]) } else { [198, 18, 0, 1].into() };
        let src = self.src.unwrap_or(default);
        if src.is_ipv6() != is_v6 {
            return Err(Error::Usage(format!("--src {src} and -d {text} are not of one family")));
        }
        let Some(dst_mac) = self.dst_mac else {
            return Err(Error::Usage("-m is missing: the MAC of the next hop, or of the destination".into()));
        };
        Ok(Headers {
            macs: (self.src_mac.unwrap_or(link.mac), dst_mac),
            src,
            dst: dst.trunc(),
            src_port: self.src_port,
            dst_ports: self.dst_ports,
            vxlan: self.tunnel()?,
        })
    }

    fn tunnel(&self) -> Result<Option<Vxlan>, Error> {
        let (Some(vni), Some(src), Some(dst)) = (self.vxlan, self.tunnel_src, self.tunnel_dst) else {
            return Ok(None);
        };
        if src.is_ipv6() != dst.is_ipv6() {
            return Err(Error::Usage(format!(
                "--tunnel-src {src} and --tunnel-dst {dst} are not of one family"
            )));
        }
        let inner_macs = (self.inner_src_mac, self.inner_dst_mac);
        Ok(Some(Vxlan { vni, addresses: (src, dst), inner_macs }))
    }

    /// Distinct flows: as asked for, or one for each destination.
    pub fn flow_count(&self, headers: &Headers) -> Result<u32, Error> {
        /// Each has a number to keep.
        const MOST: u64 = 1 << 26;
        let (most, wanted) = (headers.capacity().min(MOST), self.flows.map(u64::from));
        let flows = wanted.unwrap_or_else(|| headers.destinations().min(MOST).max(self.threads.into()));
        if flows == 0 || flows > most {
            return Err(Error::Usage(format!(
                "--flows {flows}: there are addresses and ports for {most}; give -d a wider prefix or -p more ports"
            )));
        }
        if flows < u64::from(self.threads) {
            let threads = self.threads;
            return Err(Error::Usage(format!(
                "--flows {flows}: each of {threads} threads needs one of its own"
            )));
        }
        Ok(flows as u32)
    }

    /// Frames a second of each thread, if there is a limit.
    pub fn packets_per_second(&self, mean_size: f64) -> Option<f64> {
        let rate = self.rate.map(|rate| rate.packets_per_second(mean_size) / f64::from(self.threads));
        rate.or_else(|| self.delay_ns.filter(|delay| *delay > 0).map(|delay| 1e9 / delay as f64))
    }
}
