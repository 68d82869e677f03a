//! What happens to a switch while a stream passes. One more: a variant, its words, and what it does.

use clap::ValueEnum;

use crate::{
    lab::Error,
    node::{Death, Node},
};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Nothing: what the machine itself costs.
    Nothing,
    /// A flow rule that does not match is added and removed.
    Rule,
    /// A hundred of them, one by one.
    Rules,
    /// Another node's prefix is added to the fabric and removed.
    Peer,
    /// Another endpoint is added and removed.
    Endpoint,
    /// Another port is added and removed.
    Port,
    /// The stream's queue moves to another PMD thread and back (needs --cpu-switch-2).
    Queue,
    /// weftd ends as it should, and is started again.
    Restart,
    /// weftd is killed, and is started again.
    Kill,
}

/// How many rules `Rules` adds.
const RULES: usize = 100;

impl Scenario {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Rule,
        Self::Rules,
        Self::Peer,
        Self::Endpoint,
        Self::Port,
        Self::Queue,
        Self::Restart,
        Self::Kill,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Rule => "rule",
            Self::Rules => "rules",
            Self::Peer => "peer",
            Self::Endpoint => "endpoint",
            Self::Port => "port",
            Self::Queue => "queue",
            Self::Restart => "restart",
            Self::Kill => "kill",
        }
    }

    /// For people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Nothing => "Nothing happens",
            Self::Rule => "A rule added and removed",
            Self::Rules => "A hundred rules added and removed",
            Self::Peer => "A peer added and removed",
            Self::Endpoint => "An endpoint added and removed",
            Self::Port => "A port added and removed",
            Self::Queue => "A queue moved to another thread and back",
            Self::Restart => "weftd restarted",
            Self::Kill => "weftd killed and started",
        }
    }

    /// What must be there before, and costs nothing.
    pub fn prepare(self, node: &Node) -> Result<(), Error> {
        match self {
            Self::Endpoint => node.ctl(&["port", "add", "extra", "--kind", "null"]).map(drop),
            _ => Ok(()),
        }
    }

    /// What must not be there afterwards.
    pub fn tidy(self, node: &Node) -> Result<(), Error> {
        match self {
            Self::Endpoint => node.ctl(&["port", "del", "extra"]).map(drop),
            _ => Ok(()),
        }
    }

    /// It happens.
    pub fn happen(self, node: &mut Node) -> Result<(), Error> {
        match self {
            Self::Nothing => Ok(()),
            Self::Rule => rules(node, 1),
            Self::Rules => rules(node, RULES),
            Self::Peer => {
                let address = ["--address", "192.0.2.77", "--prefix", "10.244.77.0/24"];
                node.ctl(&[&["fabric", "peer", "add", "extra"][..], &address].concat())?;
                node.ctl(&["fabric", "peer", "del", "extra"]).map(drop)
            }
            Self::Endpoint => {
                let place = ["--network", "pods", "--port", "extra"];
                let who = ["--mac", "02:00:0a:f4:01:4d", "--address", "10.244.1.77"];
                node.ctl(&[&["endpoint", "add", "extra"][..], &place, &who].concat())?;
                node.ctl(&["endpoint", "del", "extra"]).map(drop)
            }
            Self::Port => {
                node.ctl(&["port", "add", "extra", "--kind", "tap", "--device", "extra0"])?;
                node.ctl(&["port", "del", "extra"]).map(drop)
            }
            Self::Queue => move_queue(node),
            Self::Restart => reborn(node, Death::Planned),
            Self::Kill => reborn(node, Death::Sudden),
        }
    }
}

fn rules(node: &Node, count: usize) -> Result<(), Error> {
    let names: Vec<String> = (0..count).map(|at| format!("extra-{at}")).collect();
    for (at, name) in names.iter().enumerate() {
        let matching = format!("protocol=tcp,dst_port={}", 20_000 + at);
        node.ctl(&["flow", "add", name, "--priority", "7", "--match", &matching, "--action", "drop"])?;
    }
    names.iter().try_for_each(|name| node.ctl(&["flow", "del", name]).map(drop))
}

/// The generator's pod's, to each core in turn: whichever it is on, it moves, and comes back.
fn move_queue(node: &Node) -> Result<(), Error> {
    let cores = node.cores();
    let [first, second] = cores[..] else {
        let remedy = "give it a core with --cpu-switch-2".to_owned();
        return Err(Error::Absent { program: "a second PMD thread".into(), remedy });
    };
    for core in [second, first, second, first] {
        node.ctl(&["pmd", "set", "pod0:0", "--core", &core.to_string()]).map_err(|error| match error {
            Error::Failed { said, .. } if said.contains("unrecognized subcommand") => Error::Absent {
                program: "weftctl pmd set".into(),
                remedy: "this weft does not have it yet".into(),
            },
            error => error,
        })?;
    }
    Ok(())
}

fn reborn(node: &mut Node, death: Death) -> Result<(), Error> {
    node.restart(death)?;
    node.wait_until_it_answers()
}
