//! A network namespace of this process's own.

use std::process::{self, Command, Stdio};

use super::{Error, output};

/// A namespace, `weft-perf-PID-ROLE`; deleted when dropped.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// A fresh one, `lo` up. No IPv6: its neighbour discovery would be in the figures.
    pub fn new(role: &str) -> Result<Self, Error> {
        let name = format!("weft-perf-{}-{role}", process::id());
        output(&["ip", "netns", "add", &name])?;
        let ns = Self { name };
        ns.output(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])?;
        ns.output(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])?;
        ns.ip(&["link", "set", "lo", "up"])?;
        Ok(ns)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip -n NAME …`, which must succeed.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, Error> {
        output(&[&["ip", "-n", &self.name], arguments].concat())
    }

    /// Runs a command inside it that must succeed; its output.
    pub fn output(&self, arguments: &[&str]) -> Result<String, Error> {
        output(&[&["ip", "netns", "exec", &self.name], arguments].concat())
    }

    /// A command inside it. It has the id of the process that runs it: ip(8) replaces itself.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).stdin(Stdio::null());
        command
    }

    /// A command inside it, on one core (taskset(1), too, replaces itself).
    pub fn pinned(&self, cpu: usize, program: &str) -> Command {
        let mut command = self.command("taskset");
        command.args(["-c", &cpu.to_string(), program]);
        command
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}
