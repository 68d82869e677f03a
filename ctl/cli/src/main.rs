//! `weftctl`: drives a running weftd.
#![forbid(unsafe_code)]

mod capture;
mod commands;
mod doctor;
mod filter;
mod pages;
mod render;
mod stay;
mod top;
mod trace;
mod watch;

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use commands::Noun;
use weft_ctl_api::{
    Call,
    client::{Client, ClientError},
    name::visible,
    spec::DEFAULT_SOCKET,
};

use crate::render::Render;

/// Above what every verb takes, apart from its own.
const GLOBAL: &str = "Options of every verb";

/// Control a weft switch: ports, networks, endpoints, flows.
#[derive(Debug, Parser)]
#[command(
    name = "weftctl",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 weftd refused or could not, 2 wrong usage; 3: see config plan --exit-code. \
                  Verbs that stay (top, --watch, capture, trace --live) also end with 1 when weftd ends, with 129 when the terminal goes \
                  away, with 130 or 143 by SIGINT or SIGTERM, and with 0 when whoever reads their output has seen enough.\n\n\
                  Where to begin:\n  weftctl doctor                  is this node fit, and weftd well?\n  \
                  weftctl status                  what there is, at a glance\n  \
                  weftctl top                     what is going on: live, and back in time\n  \
                  weftctl drops                   what was lost, where and why\n  \
                  weftctl port list               ports, and why each is no faster\n  \
                  weftctl config plan weft.toml   what it would change, and for whom\n  \
                  weftctl config apply weft.toml --confirm-within 60s\n  \
                  weftctl history --from 15m --step 1m\n  \
                  weftctl flow add no-telnet --priority 100 \\\n    \
                  --match network=pods,protocol=tcp,dst_port=23 --action drop"
)]
pub(crate) struct Arguments {
    /// The control socket.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "WEFT_SOCKET", help_heading = GLOBAL)]
    socket: PathBuf,
    /// Print JSON instead of tables.
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Give up after so many seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, help_heading = GLOBAL)]
    timeout: u64,
    /// Also write what is then in force to weftd's configuration file, as `config save` does and if you may: comments in it are
    /// lost. A change that is not written is gone when weftd ends.
    #[arg(long, global = true, help_heading = GLOBAL)]
    persist: bool,
    #[command(subcommand)]
    noun: Noun,
}

/// Where replies go, and how they look there.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Where it is connected to, and how long it waits: to connect again.
    pub(crate) socket: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) json: bool,
    /// What weftctl exits with if nothing fails.
    pub(crate) exit: u8,
}

impl Session {
    /// Asks, and prints the answer.
    pub(crate) fn show<C: Call>(&mut self, call: &C) -> Result<(), ClientError>
    where
        C::Reply: Render,
    {
        let reply = self.client.call(call)?;
        self.print(&reply)
    }

    /// Asks in a verb that stays: weftd lets those go who have said nothing for long, and is then connected to anew; so it is when an
    /// answer came too late, for it would be taken for the next one.
    pub(crate) fn ask<C: Call>(&mut self, call: &C) -> Result<C::Reply, ClientError> {
        let outcome = self.client.call(call);
        if matches!(outcome, Err(ClientError::Broken(_) | ClientError::TimedOut(_))) {
            self.client = Client::connect(&self.socket, self.timeout)?;
            stay::watch_connection(self)?;
        }
        match outcome {
            Err(ClientError::Broken(_)) => self.client.call(call),
            outcome => outcome,
        }
    }

    /// Prints a reply.
    pub(crate) fn print<R: Render + serde::Serialize>(&self, reply: &R) -> Result<(), ClientError> {
        let text = if self.json {
            serde_json::to_string_pretty(reply).map_err(std::io::Error::other)?
        } else {
            reply.render()
        };
        print_line(&text)
    }
}

/// Prints text, of which others made parts. A reader that has seen enough (`| head`) is no error of ours.
pub(crate) fn print_line(text: &str) -> Result<(), ClientError> {
    writeln!(std::io::stdout(), "{}", visible(text.trim_end())).map_err(|error| match stay::gone(&error) {
        Some(cause) => std::process::exit(cause.code().into()),
        None => ClientError::Own(format!("standard output: {error}")),
    })
}

/// Says something beside the output; a terminal that is gone hears nothing.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", visible(text));
}

fn complain(error: &ClientError) {
    tell(&format!("weftctl: {error}"));
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(outcome) = pages::offline(&arguments.noun) {
        return match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::from(1)
            }
        };
    }
    let timeout = Duration::from_secs(arguments.timeout.max(1));
    let Arguments { socket, json, noun, persist, .. } = arguments;
    if let Noun::Doctor(doctor) = &noun {
        return doctor::run(doctor, &socket, timeout, json);
    }
    let outcome = Client::connect(&socket, timeout).and_then(|client| {
        let client = client.persist(persist);
        let mut session = Session { client, socket, timeout, json, exit: 0 };
        noun.run(&mut session).map(|()| session.exit)
    });
    if let Err(ClientError::Broken(error)) = &outcome
        && stay::gone(error) == Some(stay::Cause::HANGUP)
    {
        stay::note(stay::Cause::HANGUP); // it was the terminal that broke
    }
    if let Some(code) = stay::exit_code() {
        return ExitCode::from(code);
    }
    match outcome {
        Ok(exit) => ExitCode::from(exit),
        Err(error) => {
            if let (true, ClientError::Refused(refused)) = (json, &error) {
                let _ = print_line(&serde_json::json!({ "error": refused }).to_string());
            }
            complain(&error);
            ExitCode::from(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// Every command that is shown, after `look` has seen its name in full.
    fn walk(command: &clap::Command, name: &str, look: &mut impl FnMut(&str, &clap::Command)) {
        look(name, command);
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            walk(verb, &format!("{name} {}", verb.get_name()), look);
        }
    }

    #[test]
    fn help_fits_into_any_terminal() {
        for width in [60, 80, 100] {
            let mut command = Arguments::command().term_width(width);
            command.build();
            walk(&command, "weftctl", &mut |name, command| {
                for help in [command.clone().render_help(), command.clone().render_long_help()] {
                    for line in help.to_string().lines() {
                        // A usage is never broken, nor can one word be.
                        let is_whole = line.starts_with("Usage:") || line.split_whitespace().count() <= 1;
                        assert!(line.chars().count() <= width || is_whole, "{name}, {width} columns: {line}");
                    }
                }
            });
        }
    }

    /// A paragraph is one line, which a terminal breaks where it ends; an example is whole at 80 columns.
    #[test]
    fn help_is_broken_by_the_terminal_and_examples_are_not() {
        walk(&Arguments::command(), "weftctl", &mut |name, command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| !line.is_empty()) {
                if line.starts_with(' ') {
                    assert!(line.chars().count() <= 80, "{name}: {line}");
                } else {
                    assert!(line.ends_with(['.', ':']), "{name}: {line}");
                }
            }
        });
    }

    const LINES: &[&str] = &[
        "status",
        "port add web --kind tap --device eth0 --netns web --mtu 1450",
        "port add lan --kind xsk --role access --network lan --device v0 --queues 0,1 --core 1",
        "port del web --force",
        "port list",
        "port show web",
        "network add pods --prefix 10.0.0.0/24 --gateway 10.0.0.1",
        "network del pods",
        "network list",
        "endpoint add default/web --network pods --port web --mac 02:00:00:00:00:05 --address 10.0.0.5 --address fd00::5",
        "endpoint del default/web",
        "endpoint list --network pods",
        "flow add f --priority 7 --match protocol=tcp,dst_port=80 --action set:dscp=46 --action continue",
        "flow del f",
        "flow list",
        "flow cache --address 10.0.0.5 --protocol tcp --limit 5",
        "fdb list",
        "fdb flush --network lan",
        "flow top --limit 5",
        "history --from -5m --to 1m --step 30s --port web",
        "history --sums",
        "top",
        "top --view drops --at -3m --once --filter web",
        "pmd list",
        "pmd set web-1:0 --core 3",
        "pmd rebalance --plan",
        "pmd rebalance --apply",
        "stats web",
        "stats --watch",
        "stats --watch 2",
        "drops web",
        "trace --from web tcp 10.0.0.5:33000 > 10.0.0.6:80 flags syn",
        "trace --from web --against new.toml icmp 10.0.0.5 > 10.0.0.6",
        "trace --from peer:node-b --network pods udp 10.244.1.7:1 > 10.0.0.5:2",
        "trace --from uplink --pcap x.pcap --frame 7",
        "trace --from web --hex 0200",
        "trace --live --from web tcp port 80 -n 20 --seconds 5",
        "trace --live",
        "drops --last",
        "drops web --last 7 --endpoint default/web",
        "drops --watch",
        "drops --watch 5 --last",
        "capture web",
        "capture default/web tcp port 80 -w - -c 5 --duration 1.5 -s 128 --direction in",
        "capture drops --at web",
        "config show",
        "config save /tmp/x.toml",
        "config check x.toml",
        "config reload",
        "config plan x.toml --exit-code",
        "config plan --generation 17",
        "config apply x.toml --confirm-within 60s",
        "config apply x.toml --confirm-within 5m",
        "config apply x.toml --confirm-within 90",
        "config confirm",
        "config cancel",
        "config diff",
        "config diff x.toml --exit-code",
        "config history -n 5",
        "config rollback",
        "config rollback 17 --confirm-within 1h",
        "--persist flow del f",
        "flow del f --persist",
        "audit -n 5",
        "doctor",
        "doctor eth0 eth1 --self-test --weftd /usr/sbin/weftd --quiet",
        "man",
        "man /tmp/man",
        "completions bash",
    ];

    #[test]
    fn every_verb_can_be_said() {
        for line in LINES {
            let words = ["weftctl"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn mistakes_get_a_sentence() {
        for (line, says) in [
            ("port add web --kind tpa", "tap"),
            ("endpoint add a --network p --port q --mac 02:00", "is not a MAC address"),
            ("flow add f --action dorp", "use drop,"),
            ("flow add f --match dport=3 --action drop", "can't be matched"),
            ("network add n --prefix 10.0.0.0/33", "--prefix"),
            ("network add n --vlan 4095", "use 1 to 4094"),
            ("capture web --duration 0", "above 0"),
            ("capture web -c 0", "1.."),
            ("capture", "TARGET"),
            ("prot list", "port"),
            ("pmd rebalance", "required"),
            ("config plan", "required"),
            ("config plan x.toml --generation 3", "cannot be used with"),
            ("config apply x.toml --confirm-within soon", "use such as 60s, 5m or 1h"),
            ("top --at yesterday", "use 90s"),
            ("top --view prots", "ports"),
            ("trace tcp 10.0.0.5:1 > 10.0.0.6:2", "--from"),
            ("trace --live --against x.toml", "--against"),
            ("trace --live --network pods", "--network"),
            ("trace --from a --hex 02 --pcap x", "--pcap"),
        ] {
            let words = ["weftctl"].into_iter().chain(line.split(' '));
            let error = Arguments::try_parse_from(words).unwrap_err();
            assert!(error.to_string().contains(says), "{line}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
