//! `gen --kernel`: Linux pktgen, driven by its files (Documentation/networking/pktgen.rst).

use std::{fs, path::Path, thread, time::Duration};

use serde::Serialize;
use weft_pmd::netns::run_in;

use super::{namespace, options::Options, sizes::Sizes};
use crate::{
    lab::{Error, pause, watch},
    lines::Lines,
};

const PROC: &str = "/proc/net/pktgen";

/// What pktgen says of one thread's device.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Sent {
    /// `DEVICE@THREAD`.
    pub device: String,
    /// Its result line.
    pub result: String,
    /// Frames a second.
    pub pps: f64,
}

/// Everything pktgen was told and said.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Each thread's.
    pub threads: Vec<Sent>,
    /// Millions of frames a second, of all.
    pub mpps: f64,
}

/// Has the kernel send.
pub fn run(options: &Options) -> Result<(), Error> {
    let netns = options.netns.as_deref().map(namespace);
    // /proc/net is that of the thread which looks.
    run_in(netns.as_ref(), || run_here(options)).map_err(Error::io("the namespace"))?
}

fn run_here(options: &Options) -> Result<(), Error> {
    let root = Path::new("/proc/thread-self/net/pktgen");
    if !root.is_dir() {
        let remedy = "this kernel has none, or not loaded: modprobe pktgen, or leave out --kernel".into();
        return Err(Error::Absent { program: format!("pktgen ({PROC})"), remedy });
    }
    watch()?;
    let link = super::link(&options.device)?;
    configure(root, options, &options.headers(&link)?)?;
    let starting = root.join("pgctrl");
    // The write returns when all is sent: another one ends it.
    let starter = thread::spawn(move || write(&starting, "start"));
    let end = options.duration.map(Duration::from_secs_f64);
    let step = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while !starter.is_finished() && end.is_none_or(|end| waited < end) && pause(step).is_ok() {
        waited += step;
    }
    if !starter.is_finished() {
        write(&root.join("pgctrl"), "stop")?;
    }
    starter.join().map_err(|_| Error::Usage("the starting thread panicked".into()))??;
    let threads = results(root, options)?;
    let report = Report { mpps: threads.iter().map(|thread| thread.pps).sum::<f64>() / 1e6, threads };
    Lines::of(options.json, options.csv).end(&report, || {
        let lines = report.threads.iter().map(|thread| format!("{}: {}\n", thread.device, thread.result));
        lines.collect::<String>() + &format!("rate          {:.4} Mpps\n", report.mpps)
    })
}

fn write(file: &Path, line: &str) -> Result<(), Error> {
    let what = format!("{}: {line}", file.display());
    fs::write(file, format!("{line}\n")).map_err(Error::io(what))
}

fn device(options: &Options, thread: u32) -> String {
    format!("{}@{thread}", options.device)
}

/// Tells each thread's device what to send.
fn configure(root: &Path, options: &Options, headers: &super::frame::Headers) -> Result<(), Error> {
    let first = options.first_cpu.unwrap_or(0) as u32;
    let size = options.sizes.clone().unwrap_or_else(|| Sizes::one(headers.shortest()));
    let sizes: Vec<u16> = size.each().collect();
    let [size] = sizes[..] else {
        return Err(Error::Usage("--kernel sends frames of one length: give -s one".into()));
    };
    for thread in first..first + options.threads {
        let control = root.join(format!("kpktgend_{thread}"));
        write(&control, "rem_device_all")?;
        write(&control, &format!("add_device {}", device(options, thread)))?;
        let file = root.join(device(options, thread));
        for line in lines(options, headers, size, thread - first) {
            write(&file, &line)?;
        }
    }
    Ok(())
}

/// One thread's settings (samples/pktgen sets the same).
fn lines(options: &Options, headers: &super::frame::Headers, size: u16, queue: u32) -> Vec<String> {
    let (v6, hosts) = (if headers.src.is_ipv6() { "6" } else { "" }, headers.dst);
    let delay_ns = options.packets_per_second(size.into()).map_or(0, |rate| (1e9 / rate) as u64);
    let mut lines = vec![
        format!("count {}", options.count),
        format!("pkt_size {size}"),
        format!("delay {delay_ns}"),
        format!("burst {}", options.burst),
        format!("queue_map_min {queue}"),
        format!("queue_map_max {queue}"),
        format!("src_mac {}", headers.macs.0),
        format!("dst_mac {}", headers.macs.1),
        format!("src{}_min {}", v6, headers.src),
    ];
    if v6.is_empty() {
        lines.push(format!("dst_min {}", hosts.network()));
        lines.push(format!("dst_max {}", hosts.broadcast()));
    } else {
        lines.push(format!("dst6 {}", hosts.network()));
    }
    lines.push(format!("udp_src_min {}", headers.src_port));
    lines.push(format!("udp_src_max {}", headers.src_port));
    lines.push(format!("udp_dst_min {}", headers.dst_ports.0));
    lines.push(format!("udp_dst_max {}", headers.dst_ports.1));
    if let Some(flows) = options.flows {
        lines.push(format!("flows {flows}"));
    }
    lines
}

fn results(root: &Path, options: &Options) -> Result<Vec<Sent>, Error> {
    let first = options.first_cpu.unwrap_or(0) as u32;
    let read = |thread| {
        let device = device(options, thread);
        let file = root.join(&device);
        let said = fs::read_to_string(&file).map_err(Error::file(&file))?;
        let (result, pps) =
            result(&said).ok_or_else(|| Error::unread("pktgen", "result with a rate", &said))?;
        Ok(Sent { device, result, pps })
    };
    (first..first + options.threads).map(read).collect()
}

/// Of `Result: OK: 8(c5+d3) usec, 100 (60byte,0frags)` and a line `  12500000pps 6000Mb/sec (…) errors: 0`.
fn result(said: &str) -> Option<(String, f64)> {
    let at = said.find("Result: ")?;
    let result = said[at + 8..].lines().map(str::trim).collect::<Vec<_>>().join("; ");
    let pps = said[at..].split_whitespace().find_map(|word| word.strip_suffix("pps")?.parse().ok())?;
    Some((result, pps))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use weft_pmd::sys::net::LinkInfo;
    use weft_wire::Mac;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    const LINK: LinkInfo = LinkInfo { ifindex: 1, mac: Mac([2; 6]), mtu: 1500, is_up: true };

    #[test]
    fn pktgen_is_told_what_the_letters_say() {
        let words =
            "gen -i eth0 -s 60 -d 198.18.0.0/24 -m 02:00:00:00:00:09 -p 7-9 -t 2 -f 1 -n 100 -b 8 -w 500";
        let options = Line::parse_from(words.split(' ')).options;
        let headers = options.headers(&LINK).unwrap();
        let dir = tempfile::tempdir().unwrap();
        configure(dir.path(), &options, &headers).unwrap();
        let last = fs::read_to_string(dir.path().join("kpktgend_2")).unwrap();
        assert_eq!(last, "add_device eth0@2\n");
        let lines = lines(&options, &headers, 60, 1);
        for line in [
            "count 100",
            "pkt_size 60",
            "delay 500",
            "burst 8",
            "queue_map_min 1",
            "dst_mac 02:00:00:00:00:09",
            "dst_max 198.18.0.255",
            "udp_dst_max 9",
        ] {
            assert!(lines.iter().any(|said| said == line), "{line}: {lines:?}");
        }
    }

    #[test]
    fn its_result_is_read() {
        let said = "Params: count 100\nResult: OK: 8(c5+d3) usec, 100 (60byte,0frags)\n  12500000pps 6000Mb/sec (6000000000bps) errors: 0\n";
        let (text, pps) = result(said).unwrap();
        assert_eq!(pps, 12.5e6);
        assert!(text.starts_with("OK: 8(c5+d3) usec"), "{text}");
        assert_eq!(result("Result: Idle\n"), None);
    }
}
