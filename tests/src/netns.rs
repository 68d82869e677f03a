//! Network namespaces of a test's own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use weft_pmd::Netns;

/// Runs a root test, or says that it is skipped. Under `WEFT_REQUIRE_ROOT` (CI) a missing right is a failure.
pub fn require_root() -> bool {
    let probe = Command::new("ip").args(["netns", "list"]).output();
    let is_root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")));
    if is_root && probe.is_ok() {
        return true;
    }
    assert!(std::env::var_os("WEFT_REQUIRE_ROOT").is_none(), "this test needs root and ip(8)");
    println!("SKIPPED: needs root and ip(8)");
    false
}

/// Runs a command that must succeed.
#[track_caller]
pub fn must(args: &[&str]) -> String {
    let output =
        Command::new(args[0]).args(&args[1..]).output().unwrap_or_else(|error| panic!("{args:?}: {error}"));
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace; deleted when dropped, whatever the test did.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// A fresh one with `lo` up, ready for IPv6 at once (no duplicate address detection).
    pub fn new(prefix: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self::named(&format!("weft-{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The same, of a name that somebody looks for.
    pub fn named(name: &str) -> Self {
        must(&["ip", "netns", "add", name]);
        let ns = Self { name: name.to_owned() };
        ns.must(&[
            "sysctl",
            "-qw",
            "net.ipv6.conf.default.accept_dad=0",
            "net.ipv6.conf.default.router_solicitations=0",
        ]);
        ns.ip(&["link", "set", "lo", "up"]);
        ns
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For work inside it.
    pub fn netns(&self) -> Netns {
        Netns::Name(self.name.clone())
    }

    /// `ip -n NAME …`, which must succeed.
    #[track_caller]
    pub fn ip(&self, args: &[&str]) -> String {
        must(&[&["ip", "-n", &self.name], args].concat())
    }

    /// A command inside it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(args);
        command
    }

    /// Runs a command inside it.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// Runs a command inside it that must succeed; returns its output.
    #[track_caller]
    pub fn must(&self, args: &[&str]) -> String {
        must(&[&["ip", "netns", "exec", &self.name], args].concat())
    }

    /// Starts a command inside it; killed when dropped.
    pub fn spawn(&self, args: &[&str]) -> Running {
        let child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Running(Some(child.unwrap_or_else(|error| panic!("{args:?}: {error}"))))
    }

    /// Starts tcpdump inside it, and waits until it listens.
    pub fn tcpdump(&self, args: &[&str]) -> Running {
        let mut running = self.spawn(&[&["tcpdump"], args].concat());
        let mut said = BufReader::new(running.child().stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            let read = said.read_line(&mut line).expect("tcpdump says that it listens");
            assert!(read > 0, "tcpdump has ended: {args:?}");
        }
        running.child().stderr = Some(said.into_inner()); // it has nothing to write to otherwise
        running
    }

    /// Deletes it now.
    pub fn delete(&self) {
        must(&["ip", "netns", "del", &self.name]);
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        // Gone already, if the test deleted it.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

/// A running command; killed when dropped.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl From<Child> for Running {
    fn from(child: Child) -> Self {
        Self(Some(child))
    }
}

impl Running {
    /// Waits for it; its output.
    pub fn wait(mut self) -> Output {
        let child = self.0.take().expect("it runs until waited for");
        child.wait_with_output().expect("a child can be waited for")
    }

    /// Sends it a signal, then waits for it.
    pub fn signal(mut self, signal: &str) -> Output {
        let child = self.0.take().expect("it runs until waited for");
        must(&["kill", signal, &child.id().to_string()]);
        child.wait_with_output().expect("a child can be waited for")
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it runs until waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill(); // ended by itself: just as well
            let _ = child.wait();
        }
    }
}

/// A veth pair between two namespaces, both ends up; `queues` at both ends.
pub fn veth(a: &NetNs, a_name: &str, b: &NetNs, b_name: &str, queues: u16) {
    let queues = queues.to_string();
    let counts = ["numrxqueues", &queues, "numtxqueues", &queues];
    let near = [&["ip", "link", "add", a_name, "netns", a.name()], &counts[..], &["type", "veth"]].concat();
    let far = [&["peer", "name", b_name, "netns", b.name()], &counts[..]].concat();
    must(&[near, far].concat());
    a.ip(&["link", "set", a_name, "up"]);
    b.ip(&["link", "set", b_name, "up"]);
}
