//! Open vSwitch with its userspace datapath, run by hand: a database, directories and sockets of its own, gone with it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::lab::{Error, NetNs, Running, output_of, present};

/// Debian's package.
pub const PACKAGE: &str = "openvswitch-switch-dpdk";
/// The programs that must be there. The daemon with DPDK is the one that has afxdp ports, too.
pub const PROGRAMS: [&str; 5] = [DAEMON, "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl"];
const DAEMON: &str = "ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const BRIDGE: &str = "br0";
/// Ports with DPDK memory take their time.
const LIMIT: Duration = Duration::from_secs(60);

/// A running one, with one bridge that has no port yet.
#[derive(Debug)]
pub struct Ovs {
    // Dropped in this order: the daemon ends before its database.
    daemon: Running,
    _database: Running,
    dir: TempDir,
}

/// Where its threads run.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// Everything that is no poll-mode thread.
    pub main: usize,
    /// Poll-mode threads, a bit each; there are none if no port needs one.
    pub pmd: u64,
}

impl Ovs {
    /// Starts it in a namespace, with settings of `other_config`.
    pub fn start(ns: &NetNs, cores: Cores, settings: &[(&str, &str)]) -> Result<Self, Error> {
        let dir = TempDir::with_prefix("weft-perf-ovs-").map_err(Error::io("a temporary directory"))?;
        let path = |name: &str| dir.path().join(name).display().to_string();
        let database = path("conf.db");
        run("ovsdb-tool", &dir, &["create", &database, SCHEMA], None)?;
        let (listen, control) = (format!("--remote=punix:{}", path("db.sock")), path("db.ctl"));
        let mut command = program("ovsdb-server", &dir)?;
        command.args([&listen, &format!("--unixctl={control}"), "--no-chdir", &database]);
        let mut server = Running::start(&mut command, &dir.path().join("db.log"))?;
        server.until("the database", LIMIT, |_| Ok(dir.path().join("db.sock").exists()))?;

        configure(&dir, &["--no-wait", "init"])?;
        let mask = format!("other_config:pmd-cpu-mask={:x}", cores.pmd);
        configure(&dir, &["--no-wait", "set", "Open_vSwitch", ".", &mask])?;
        for (key, value) in settings {
            let setting = format!("other_config:{key}=\"{value}\"");
            configure(&dir, &["--no-wait", "set", "Open_vSwitch", ".", &setting])?;
        }
        let daemon = daemon(ns, cores, &dir)?;
        let mut ovs = Self { daemon, _database: server, dir };
        ovs.wait_for_socket()?;
        let bridge = ["add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev"];
        ovs.configure(&[&bridge[..], &["fail-mode=secure"]].concat())?;
        Ok(ovs)
    }

    fn wait_for_socket(&mut self) -> Result<(), Error> {
        let socket = self.socket();
        self.daemon.until("Open vSwitch", LIMIT, |_| Ok(socket.exists()))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("switch.ctl")
    }

    /// The daemon's process id.
    pub fn daemon(&self) -> u32 {
        self.daemon.id()
    }

    /// `ovs-vsctl`.
    pub fn configure(&self, arguments: &[&str]) -> Result<String, Error> {
        configure(&self.dir, arguments)
    }

    /// Adds a port, with words of its interface; fails with what Open vSwitch says about it.
    pub fn add_port(&self, name: &str, words: &[&str]) -> Result<(), Error> {
        let mut arguments = vec!["add-port", BRIDGE, name];
        if !words.is_empty() {
            arguments.extend(["--", "set", "interface", name]);
            arguments.extend(words);
        }
        self.configure(&arguments)?;
        let error = self.configure(&["get", "interface", name, "error"])?;
        match error.trim() {
            "[]" => Ok(()),
            error => Err(Error::unread(format!("Open vSwitch's port {name}"), "working device", error)),
        }
    }

    /// Puts these flows, one a line, in the place of all.
    pub fn replace_flows(&self, flows: &str) -> Result<(), Error> {
        let bridge = format!("unix:{}", self.dir.path().join(format!("{BRIDGE}.mgmt")).display());
        let arguments = ["-O", "OpenFlow15", "--bundle", "replace-flows", &bridge, "-"];
        run("ovs-ofctl", &self.dir, &arguments, Some(flows)).map(drop)
    }

    /// `ovs-appctl`: a command to the running daemon.
    pub fn tell(&self, arguments: &[&str]) -> Result<String, Error> {
        let socket = self.socket().display().to_string();
        run("ovs-appctl", &self.dir, &[&["-t", &socket], arguments].concat(), None)
    }
}

fn daemon(ns: &NetNs, cores: Cores, dir: &TempDir) -> Result<Running, Error> {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let binary = present(DAEMON, PACKAGE)?.display().to_string();
    let mut command = ns.pinned(cores.main, &binary);
    command.arg(format!("unix:{}", path("db.sock"))).arg("--no-chdir");
    command.arg(format!("--unixctl={}", path("switch.ctl"))).args(["-vsyslog:off"]);
    Running::start(directories(&mut command, dir), &dir.path().join("switch.log"))
}

/// Everything that its programs would look for below /var and /etc is in one directory.
fn directories<'a>(command: &'a mut Command, dir: &TempDir) -> &'a mut Command {
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, dir.path());
    }
    command
}

fn program(name: &str, dir: &TempDir) -> Result<Command, Error> {
    let mut command = Command::new(present(name, PACKAGE)?);
    directories(&mut command, dir).stdin(Stdio::null());
    Ok(command)
}

fn run(name: &str, dir: &TempDir, arguments: &[&str], input: Option<&str>) -> Result<String, Error> {
    output_of(program(name, dir)?.args(arguments), input, LIMIT)
}

fn configure(dir: &TempDir, arguments: &[&str]) -> Result<String, Error> {
    let database = format!("--db=unix:{}", dir.path().join("db.sock").display());
    let limit = format!("--timeout={}", LIMIT.as_secs());
    run("ovs-vsctl", dir, &[&[database.as_str(), limit.as_str()], arguments].concat(), None)
}

/// Its version, and that of DPDK in it.
pub fn version() -> Result<String, Error> {
    let binary = present(DAEMON, PACKAGE)?;
    let said = output_of(Command::new(binary).arg("--version"), None, LIMIT)?;
    let word = |line: &str| line.split_whitespace().last().map(str::to_owned);
    let mut lines = said.lines();
    let own = lines.next().and_then(word).unwrap_or_default();
    let dpdk = lines.find(|line| line.starts_with("DPDK")).and_then(word).unwrap_or_default();
    Ok(format!("Open vSwitch {own}, DPDK {dpdk}"))
}
