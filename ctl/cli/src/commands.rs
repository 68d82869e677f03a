//! Nouns and verbs, as typed. Each verb's arguments are its struct in `weft-ctl-api`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;
use weft_ctl_api::{
    audit, client::ClientError, config, drops, endpoint, fabric, fdb, flow, history, network, pmd, port,
    stats, status,
};

use crate::{
    Session,
    capture::CaptureArgs,
    doctor, top,
    trace::{self, TraceArguments},
    watch,
};

/// What to talk about.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Show the switch's state at a glance.
    Status(status::Status),
    /// Ports: ways in and out of the switch.
    #[command(subcommand)]
    Port(Port),
    /// Networks: L2 or L3 domains.
    #[command(subcommand)]
    Network(Network),
    /// Endpoints: pods.
    #[command(subcommand)]
    Endpoint(Endpoint),
    /// Flow rules, and the flows each core has cached.
    #[command(subcommand)]
    Flow(Flow),
    /// The fabric: other nodes, and how they are reached.
    #[command(subcommand)]
    Fabric(Fabric),
    /// Addresses learnt in bridged networks.
    #[command(subcommand)]
    Fdb(Fdb),
    /// PMD threads.
    #[command(subcommand)]
    Pmd(Pmd),
    #[command(
        after_help = "Keys: 1-5 views, ← → back and forward in time, space pause, s/r sort, / filter, ? help, q quit.\n\n\
                      Examples:\n  weftctl top\n  weftctl top --view drops --at -3m\n  \
                            weftctl top --once --view flows --filter 10.244.0.5"
    )]
    Top(top::Top),
    #[command(after_help = "Examples:\n  weftctl history\n  weftctl history --from 15m --step 1m --sums\n  \
                      weftctl --json history --from 3m --to 2m --step 1s --port web-1")]
    History(history::History),
    /// Show counters per port and queue.
    Stats(WatchedStats),
    /// Show drops by port, endpoint and reason; or the packets that were dropped last.
    #[command(
        after_help = "A reason of the ingress side counts at the port a packet came by and at the endpoint that sent it, \
                      one of the egress side at the port it was to leave by and at the endpoint it was for. \
                      What a packet was is told in the words that `weftctl trace` takes. \
                      Packets that weft answers itself, with an ICMP error say, are no drops: `weftctl port show` counts \
                      them as punted.\n\n\
                      Examples:\n  weftctl drops\n  weftctl drops --watch\n  weftctl drops web-1 --last 50\n  \
                            weftctl drops --endpoint default/web-1 --last --watch"
    )]
    Drops(WatchedDrops),
    /// Show what becomes of a packet, and why: of one that is only asked about, or of the next ones that come.
    Trace(TraceArguments),
    Capture(CaptureArgs),
    /// The configuration as a whole: planned, applied, confirmed, compared, rolled back.
    #[command(subcommand)]
    Config(Config),
    #[command(
        after_help = "Examples:\n  weftctl audit -n 50\n  weftctl --json audit | jq \".entries[] | select(.done | not)\""
    )]
    Audit(audit::Audit),
    #[command(after_help = "Exit codes: 0 no problem, 1 at least one.\n\n\
                            Examples:\n  weftctl doctor\n  weftctl doctor --quiet ens1\n  weftctl doctor --self-test")]
    Doctor(doctor::Doctor),
    /// Print the manual page, or write all of them into a directory.
    #[command(after_help = "Examples:\n  weftctl man | man -l -\n  weftctl man /usr/local/share/man/man8")]
    Man {
        /// Where to; one page per command, gathered under weftctl.8.
        directory: Option<std::path::PathBuf>,
    },
    /// Print a shell's completion script.
    #[command(after_help = "Examples:\n  weftctl completions bash > /etc/bash_completion.d/weftctl\n  \
                            weftctl completions zsh > \"${fpath[1]}/_weftctl\"")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WatchedStats {
    #[command(flatten)]
    call: stats::Stats,
    /// Show rates, again and again, every so many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    watch: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchedDrops {
    #[command(flatten)]
    call: drops::Drops,
    /// Show rates, or with --last the packets as they are dropped, again and again, every so many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    watch: Option<u64>,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for a moment")]
pub(crate) enum Port {
    #[command(after_help = "Examples:\n  weftctl port add web-2 --kind tap --device eth0 --netns web-2\n  \
                            weftctl port add db --kind packet --device veth7\n  \
                            weftctl port add lan --kind xsk --device ens2 \\\n    --role access --network lan")]
    Add(port::PortAdd),
    Del(port::PortDel),
    List(port::PortList),
    Show(port::PortShow),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    #[command(
        after_help = "Examples:\n  weftctl network add pods --prefix 10.244.0.0/24 --gateway 10.244.0.1\n  \
                            weftctl network add lan --mode bridged --vlan 10"
    )]
    Add(network::NetworkAdd),
    Del(network::NetworkDel),
    List(network::NetworkList),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Endpoint {
    #[command(
        after_help = "Example:\n  weftctl endpoint add default/web-2 --network pods --port web-2 \\\n    \
                            --mac 02:00:0a:f4:00:06 --address 10.244.0.6 --address fd00:244::6"
    )]
    Add(endpoint::EndpointAdd),
    Del(endpoint::EndpointDel),
    List(endpoint::EndpointList),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Flow {
    #[command(
        after_help = "Match fields: port, network, vlan, src_mac, dst_mac, ethertype, src, dst, protocol, src_port, \
                      dst_port, tcp_flags (syn,!ack).\n\n\
                      Actions: drop, continue, output:PORT, set:FIELD=VALUE (src_mac, dst_mac, src_ip, dst_ip, src_port, \
                      dst_port, dscp, ttl), push_vlan:ID, pop_vlan, mirror:PORT, police:RATE[,burst=SIZE].\n\n\
                      Examples:\n  weftctl flow add no-telnet --priority 100 \\\n    \
                      --match network=pods,protocol=tcp,dst_port=23 --action drop\n  \
                      weftctl flow add slow --match src=10.244.0.5 \\\n    \
                      --action police:10mbit --action continue"
    )]
    Add(flow::FlowAdd),
    Del(flow::FlowDel),
    List(flow::FlowList),
    Cache(flow::FlowCache),
    Top(flow::FlowTop),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fabric {
    Show(fabric::FabricShow),
    /// Other nodes.
    #[command(subcommand)]
    Peer(Peer),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    #[command(after_help = "Example:\n  weftctl fabric peer add b --address 192.0.2.2 \\\n    \
                      --prefix 10.244.1.0/24 --prefix fd00:244:1::/64")]
    Add(fabric::PeerAdd),
    Del(fabric::PeerDel),
    List(fabric::PeerList),
    Show(fabric::PeerShow),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fdb {
    List(fdb::FdbList),
    Flush(fdb::FdbFlush),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pmd {
    List(pmd::PmdList),
    #[command(after_help = "Examples:\n  weftctl pmd rebalance --plan\n  weftctl pmd rebalance --apply")]
    Rebalance(pmd::PmdRebalance),
    #[command(after_help = "Example:\n  weftctl pmd set web-1:0 --core 3")]
    Set(pmd::PmdSet),
}

#[derive(Debug, Subcommand)]
#[command(after_help = "A change in safety, though it may cut you off:\n  weftctl config plan weft.toml\n  \
                            weftctl config apply weft.toml --confirm-within 60s\n  weftctl config confirm\n\n\
                            weftd comes up with the configuration last confirmed, unless its file was edited since: then with the file.")]
pub(crate) enum Config {
    Show(config::ConfigShow),
    #[command(
        after_help = "Exit codes: 0 planned, 1 it would be refused, 2 wrong usage; with --exit-code also 3: something \
                      would change.\n\n\
                      Examples:\n  weftctl config plan weft.toml\n  weftctl config plan --generation 17\n  \
                            weftctl config plan weft.toml --exit-code || echo \"not what is running\""
    )]
    Plan(Plan),
    #[command(
        after_help = "Examples:\n  weftctl config apply weft.toml\n  weftctl config apply weft.toml --confirm-within 60s\n\n\
                      Until it is confirmed nothing else can be changed; if weftd ends meanwhile, however it ends, it comes up \
                      with the configuration before."
    )]
    Apply(config::ConfigApply),
    Confirm(config::ConfigConfirm),
    Cancel(config::ConfigCancel),
    #[command(after_help = "- is what the file has, + what is in force.\n\n\
                      Exit codes: 0 compared, 1 weftd refused or could not, 2 wrong usage; with --exit-code also 3: they differ.")]
    Diff(Diff),
    History(config::ConfigHistory),
    #[command(
        after_help = "A second rollback leads back to where the first came from.\n\nExamples:\n  weftctl config rollback\n  \
                            weftctl config rollback 17 --confirm-within 60s"
    )]
    Rollback(config::ConfigRollback),
    Save(config::ConfigSave),
    Check(config::ConfigCheck),
    Reload(config::ConfigReload),
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    call: config::ConfigPlan,
    /// Exit with 3 if something would change.
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    call: config::ConfigDiff,
    /// Exit with 3 if they differ.
    #[arg(long)]
    exit_code: bool,
}

impl Noun {
    /// Asks weftd and prints what it says.
    pub(crate) fn run(self, session: &mut Session) -> Result<(), ClientError> {
        match self {
            Self::Status(call) => session.show(&call),
            Self::Port(Port::Add(call)) => session.show(&call),
            Self::Port(Port::Del(call)) => session.show(&call),
            Self::Port(Port::List(call)) => session.show(&call),
            Self::Port(Port::Show(call)) => session.show(&call),
            Self::Network(Network::Add(call)) => session.show(&call),
            Self::Network(Network::Del(call)) => session.show(&call),
            Self::Network(Network::List(call)) => session.show(&call),
            Self::Endpoint(Endpoint::Add(call)) => session.show(&call),
            Self::Endpoint(Endpoint::Del(call)) => session.show(&call),
            Self::Endpoint(Endpoint::List(call)) => session.show(&call),
            Self::Flow(Flow::Add(call)) => session.show(&call),
            Self::Flow(Flow::Del(call)) => session.show(&call),
            Self::Flow(Flow::List(call)) => session.show(&call),
            Self::Flow(Flow::Cache(call)) => session.show(&call),
            Self::Flow(Flow::Top(call)) => flow_top(session, &call),
            Self::Top(call) => top::run(session, &call),
            Self::History(call) => session.show(&call),
            Self::Fabric(Fabric::Show(call)) => session.show(&call),
            Self::Fabric(Fabric::Peer(Peer::Add(call))) => session.show(&call),
            Self::Fabric(Fabric::Peer(Peer::Del(call))) => session.show(&call),
            Self::Fabric(Fabric::Peer(Peer::List(call))) => session.show(&call),
            Self::Fabric(Fabric::Peer(Peer::Show(call))) => session.show(&call),
            Self::Fdb(Fdb::List(call)) => session.show(&call),
            Self::Fdb(Fdb::Flush(call)) => session.show(&call),
            Self::Pmd(Pmd::List(call)) => session.show(&call),
            Self::Pmd(Pmd::Rebalance(call)) => session.show(&call),
            Self::Pmd(Pmd::Set(call)) => session.show(&call),
            Self::Stats(WatchedStats { call, watch: None }) => session.show(&call),
            Self::Stats(WatchedStats { call, watch: Some(seconds) }) => watch::stats(session, &call, seconds),
            Self::Drops(WatchedDrops { call, watch: None }) => session.show(&call),
            Self::Drops(WatchedDrops { call, watch: Some(seconds) }) => watch::drops(session, &call, seconds),
            Self::Capture(arguments) => arguments.run(session),
            Self::Trace(arguments) => trace::trace(session, &arguments),
            Self::Config(call) => call.run(session),
            Self::Audit(call) => session.show(&call),
            Self::Doctor(_) | Self::Man { .. } | Self::Completions { .. } => Ok(()), // asked nothing of weftd
        }
    }
}

impl Config {
    fn run(self, session: &mut Session) -> Result<(), ClientError> {
        match self {
            Self::Show(call) => session.show(&call),
            Self::Plan(Plan { call, exit_code }) => {
                let call = config::ConfigPlan { file: call.file.map(absolute), ..call };
                let plan = session.client.call(&call)?;
                let differs = exit_code && !plan.changes.is_empty();
                session.exit = if plan.refused.is_some() { 1 } else { u8::from(differs) * EXIT_DIFFERS };
                session.print(&plan)
            }
            Self::Apply(call) => session.show(&config::ConfigApply { file: absolute(call.file), ..call }),
            Self::Confirm(call) => session.show(&call),
            Self::Cancel(call) => session.show(&call),
            Self::Diff(Diff { call, exit_code }) => {
                let diff = session.client.call(&config::ConfigDiff { file: call.file.map(absolute) })?;
                session.exit = u8::from(exit_code && !diff.changes.is_empty()) * EXIT_DIFFERS;
                session.print(&diff)
            }
            Self::History(call) => session.show(&call),
            Self::Rollback(call) => session.show(&call),
            Self::Save(call) => session.show(&config::ConfigSave { file: call.file.map(absolute) }),
            Self::Check(call) => session.show(&config::ConfigCheck { file: absolute(call.file) }),
            Self::Reload(call) => session.show(&call),
        }
    }
}

/// Of `--exit-code`: neither weftd's refusal nor wrong usage.
const EXIT_DIFFERS: u8 = 3;

/// A file is named from where the user stands, and opened where weftd stands.
fn absolute(file: PathBuf) -> PathBuf {
    std::path::absolute(&file).unwrap_or(file)
}

/// The biggest flows of a moment: where the last look is long ago, another one is taken first.
fn flow_top(session: &mut Session, call: &flow::FlowTop) -> Result<(), ClientError> {
    const LONG_AGO_S: f64 = 5.0;
    let last = session.client.call(&flow::FlowTop { limit: 1 })?.seconds;
    if last == 0.0 || last > LONG_AGO_S {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    session.show(call)
}
