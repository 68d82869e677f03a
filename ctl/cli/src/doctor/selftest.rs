//! The self-test: a weftd of its own moves TCP between pods on every kind of port, in namespaces of its own.
//!
//! ```text
//!  a ── tap ────┐
//!  b ── veth ───┤ node: weftd        ports of kind tap, packet, xsk
//!  c ── veth ───┘
//! ```

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use weft_ctl_api::{client::Client, status::Status};

use super::Findings;

/// Bytes each way: enough for segments of every size.
const BYTES: usize = 4 << 20;
/// Whatever takes longer does not work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pods: name, kind of port, device.
const PODS: [(&str, &str, &str); 3] =
    [("a", "tap", "eth0"), ("b", "packet", "veth-b"), ("c", "xsk", "veth-c")];

fn address(pod: usize) -> String {
    format!("10.244.0.{}", 10 + pod)
}

fn mac(pod: usize) -> String {
    format!("02:00:0a:f4:00:{:02x}", 10 + pod)
}

/// Runs it.
pub(super) fn look(findings: &mut Findings, weftd: Option<&Path>) {
    findings.about("self-test");
    let lab = match Lab::new(weftd) {
        Ok(lab) => lab,
        Err(error) => {
            return findings.problem(
                format!("it could not be set up: {error}"),
                "run it as root, with ip (iproute2) and weftd installed",
            );
        }
    };
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let (from_kind, to_kind) = (PODS[from].1, PODS[to].1);
        let began = Instant::now();
        match lab.move_bytes(from, to) {
            Ok(()) => {
                let gigabits = (2 * BYTES * 8) as f64 / began.elapsed().as_secs_f64() / 1e9;
                findings.good(format!(
                    "TCP from {from_kind} to {to_kind} and back: {} MiB arrived whole ({gigabits:.1} Gb/s)",
                    (2 * BYTES) >> 20
                ));
            }
            Err(error) => {
                let remedy = format!("try again, and report this with what weftd said: {}", lab.last_words());
                findings.problem(format!("TCP from {from_kind} to {to_kind}: {error}"), remedy);
            }
        }
    }
}

/// Namespaces and a weftd; all of it goes when dropped.
struct Lab {
    prefix: String,
    dir: PathBuf,
    weftd: Option<Child>,
}

impl Lab {
    fn new(weftd: Option<&Path>) -> io::Result<Self> {
        let prefix = format!("weft-doctor-{}", std::process::id());
        let dir = std::env::temp_dir().join(&prefix);
        fs::create_dir(&dir)?;
        let mut lab = Self { prefix, dir, weftd: None };
        lab.plug()?;
        lab.start(weftd)?;
        Ok(lab)
    }

    fn netns(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn plug(&self) -> io::Result<()> {
        let node = self.netns("node");
        ip(&format!("netns add {node}"))?;
        ip(&format!("-n {node} link set lo up"))?;
        for (index, (name, kind, device)) in PODS.iter().enumerate() {
            let pod = self.netns(name);
            ip(&format!("netns add {pod}"))?;
            ip(&format!("-n {pod} link set lo up"))?;
            if *kind == "tap" {
                continue; // weftd makes and configures it
            }
            ip(&format!("-n {node} link add {device} type veth peer name eth0 netns {pod}"))?;
            ip(&format!("-n {node} link set {device} up"))?;
            ip(&format!("-n {pod} link set eth0 address {} up", mac(index)))?;
            ip(&format!("-n {pod} addr add {}/32 dev eth0", address(index)))?;
            ip(&format!("-n {pod} route add 10.244.0.1 dev eth0 scope link"))?;
            ip(&format!("-n {pod} route add default via 10.244.0.1"))?;
        }
        Ok(())
    }

    fn config(&self) -> String {
        let mut text = format!(
            "[node]\nname = \"doctor\"\ncontrol = {:?}\nstate = {:?}\n[pmd]\nmemory_mib = 32\nflows = 4096\n[[network]]\nname = \"pods\"\n\
             prefixes = [\"10.244.0.0/24\"]\ngateways = [\"10.244.0.1\"]\n",
            self.socket(),
            self.state()
        );
        for (index, (name, kind, device)) in PODS.iter().enumerate() {
            let netns =
                if *kind == "tap" { format!("netns = \"{}\"\n", self.netns(name)) } else { String::new() };
            let (mac, address) = (mac(index), address(index));
            text += &format!(
                "[[port]]\nname = \"{name}\"\nkind = \"{kind}\"\ndevice = \"{device}\"\n{netns}[[endpoint]]\nname = \"{name}\"\n\
                 network = \"pods\"\nport = \"{name}\"\nmac = \"{mac}\"\naddresses = [\"{address}\"]\n"
            );
        }
        text
    }

    /// Its own: the node's history is not this one's.
    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    fn start(&mut self, weftd: Option<&Path>) -> io::Result<()> {
        let config = self.dir.join("weft.toml");
        fs::write(&config, self.config())?;
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.netns("node")])
            .arg(weftd.map_or_else(find_weftd, Path::to_owned));
        command.arg("--config").arg(&config).stdout(Stdio::null()).stderr(File::create(self.log())?);
        let mut child = command.spawn()?;
        let began = Instant::now();
        // It listens before its ports are open, and answers after.
        while Client::connect(&self.socket(), PATIENCE).and_then(|mut weftd| weftd.call(&Status {})).is_err()
        {
            if child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let _ = child.kill(); // ended already, most likely
                return Err(io::Error::other(format!("weftd does not start: {}", self.last_words())));
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.weftd = Some(child);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The last line of weftd's log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().last().unwrap_or("nothing").to_owned()
    }

    /// A half of the TCP, in a pod.
    fn half(&self, pod: usize, option: &str, value: &str) -> io::Result<Command> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns(PODS[pod].0)]).arg(std::env::current_exe()?);
        command.args(["doctor", option, value]).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    fn move_bytes(&self, from: usize, to: usize) -> io::Result<()> {
        let mut server = self.half(to, "--serve", &address(to))?.spawn()?;
        let mut place = String::new();
        if let Some(stdout) = server.stdout.take() {
            BufReader::new(stdout).read_line(&mut place)?;
        }
        let outcome = self.half(from, "--reach", place.trim())?.output();
        let _ = server.kill(); // it has ended, unless the client never came
        server.wait()?;
        let output = outcome?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut weftd) = self.weftd.take() {
            let _ = weftd.kill(); // the kernel takes back what was its
            let _ = weftd.wait();
        }
        for name in ["node", "a", "b", "c"] {
            let _ = ip(&format!("netns del {}", self.netns(name))); // it may not have come to be
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn find_weftd() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("weftd"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| "weftd".into())
}

fn ip(words: &str) -> io::Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {words}: {}", error.trim())))
}

/// One end of the TCP, in a process of its own because its namespace is.
pub(super) fn end(serve: Option<IpAddr>, reach: Option<SocketAddr>) -> ExitCode {
    let outcome = match (serve, reach) {
        (Some(own), _) => echo(own),
        (None, Some(other)) => round_trip(other),
        (None, None) => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

fn echo(own: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind((own, 0))?;
    println!("{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    stream.write_all(&received)
}

fn round_trip(other: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&other, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // No two places look alike, so that nothing can be swapped unseen.
    let sent: Vec<u8> =
        (0..BYTES as u32 / 4).flat_map(|word| word.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut echoed = Vec::with_capacity(BYTES);
    stream.read_to_end(&mut echoed)?;
    if echoed == sent {
        Ok(())
    } else {
        Err(io::Error::other(format!("{} of {BYTES} bytes came back as sent", echoed.len())))
    }
}
