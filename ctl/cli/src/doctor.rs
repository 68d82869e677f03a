//! `weftctl doctor`: is this node fit for weft, and is the weftd on it well? With and without a running weftd.
//!
//! Each part looks at one thing and says what it found ([`Finding`]); nothing here changes anything, but for the
//! self-test, which works in namespaces of its own.

mod device;
mod health;
mod kernel;
mod rights;
mod selftest;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use serde::Serialize;
use weft_ctl_api::{
    client::{Client, ClientError},
    port::{PortList, PortRow},
    status::{Status, StatusReply},
};

use crate::{print_line, render::table};

/// Check this node: kernel, rights, limits, devices, and the weftd that runs on it, if one does.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look at these devices; unless given, at those of weftd's ports, or, without weftd, at all there are.
    devices: Vec<String>,
    /// Also move TCP between pods on every kind of port, with a weftd and namespaces of its own (needs root).
    #[arg(long)]
    self_test: bool,
    /// The weftd of the self-test; unless given, the one beside weftctl, or else that of PATH.
    #[arg(long, value_name = "FILE", requires = "self_test")]
    weftd: Option<PathBuf>,
    /// Leave out what is well.
    #[arg(long, short)]
    quiet: bool,
    /// One end of the self-test's TCP: echo at this address.
    #[arg(long, hide = true)]
    serve: Option<std::net::IpAddr>,
    /// The other: to there, and back.
    #[arg(long, hide = true)]
    reach: Option<std::net::SocketAddr>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// As it should be.
    Good,
    /// It works; it could be better, or could not be looked at.
    Note,
    /// Something does not work, or will lose packets.
    Problem,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Problem => "PROBLEM",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is about.
    about: String,
    severity: Severity,
    /// What was found, in a line.
    found: String,
    /// What to do, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// All of it, in the order it was looked at.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    findings: Vec<Finding>,
    #[serde(skip)]
    about: String,
}

impl Findings {
    /// What follows is about this.
    fn about(&mut self, about: impl Into<String>) {
        self.about = about.into();
    }

    fn add(&mut self, severity: Severity, found: impl Into<String>, remedy: Option<String>) {
        let about = self.about.clone();
        self.findings.push(Finding { about, severity, found: found.into(), remedy });
    }

    fn good(&mut self, found: impl Into<String>) {
        self.add(Severity::Good, found, None);
    }

    fn note(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Note, found, Some(remedy.into()));
    }

    fn problem(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Problem, found, Some(remedy.into()));
    }

    fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Problem).count()
    }

    fn render(&self, quiet: bool) -> String {
        let shown = self.findings.iter().filter(|finding| !quiet || finding.severity > Severity::Good);
        let rows = shown.map(|finding| {
            let remedy = finding.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            let severity = finding.severity.word().to_owned();
            vec![severity, finding.about.clone(), format!("{}{remedy}", finding.found)]
        });
        let text = table(&["", "about", "finding; remedy"], 3..3, rows.collect(), "");
        let notes = self.findings.iter().filter(|finding| finding.severity == Severity::Note).count();
        let count = |count: usize, what: &str| match count {
            0 => format!("no {what}s"),
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let sum = format!("{}, {}", count(self.problems(), "problem"), count(notes, "note"));
        if text.is_empty() { sum } else { format!("{text}\n\n{sum}") }
    }
}

/// What a running weftd says of itself.
struct Running {
    client: Client,
    status: StatusReply,
    ports: Vec<PortRow>,
}

impl Running {
    fn ask(socket: &std::path::Path, timeout: Duration) -> Result<Self, ClientError> {
        let mut client = Client::connect(socket, timeout)?;
        let status = client.call(&Status {})?;
        let ports = client.call(&PortList {})?.ports;
        Ok(Self { client, status, ports })
    }
}

/// Looks at everything. Ends with 1 where there is a problem.
pub(crate) fn run(doctor: &Doctor, socket: &std::path::Path, timeout: Duration, json: bool) -> ExitCode {
    if doctor.serve.is_some() || doctor.reach.is_some() {
        return selftest::end(doctor.serve, doctor.reach);
    }
    let mut findings = Findings::default();
    let mut running = Running::ask(socket, timeout);
    kernel::look(&mut findings);
    rights::look(&mut findings, running.as_ref().ok().map(|running| &running.status));
    let ports = running.as_ref().map(|running| running.ports.clone()).unwrap_or_default();
    device::look(&mut findings, &doctor.devices, &ports);
    findings.about("weftd");
    match &mut running {
        Ok(running) => health::look(&mut findings, running),
        // One that is not there is none that is ill; one that does not answer is.
        Err(ClientError::NotRunning { .. }) => {
            findings.note(format!("not running at {}", socket.display()), "its health was not looked at");
        }
        Err(error) => findings.problem(error.to_string(), "see its log, or restart it"),
    }
    if doctor.self_test {
        selftest::look(&mut findings, doctor.weftd.as_deref());
    }
    let text = if json {
        let whole = serde_json::json!({ "findings": findings.findings, "problems": findings.problems() });
        serde_json::to_string_pretty(&whole).unwrap_or_default()
    } else {
        findings.render(doctor.quiet)
    };
    match print_line(&text) {
        Ok(()) if findings.problems() == 0 => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_a_line_each_with_their_remedy() {
        let mut findings = Findings::default();
        findings.about("kernel");
        findings.good("Linux 6.18");
        findings.about("eth0");
        findings.problem("no XDP", "use a port of kind packet");
        assert_eq!(
            findings.render(false),
            "         ABOUT   FINDING; REMEDY\n\
             ok       kernel  Linux 6.18\n\
             PROBLEM  eth0    no XDP; use a port of kind packet\n\n\
             1 problem, no notes"
        );
        assert!(!findings.render(true).contains("Linux"));
    }
}
