//! What each stage did to a packet, one line after the other.

use weft_ctl_api::trace::TraceStep;
use weft_dataplane::{
    program::{Action, Program, Verdict},
    resolve::{self, Note},
    snapshot::{Role, Station},
    stats::Stage,
    table::routes::Route,
    trace::Traced,
};
use weft_wire::{
    ip,
    l4::tcp_flags::{FIN, RST, SYN},
};

use crate::switch::View;

struct Steps(Vec<TraceStep>);

impl Steps {
    fn add(&mut self, stage: &str, table: impl Into<String>, text: impl Into<String>) {
        self.0.push(TraceStep { stage: stage.into(), table: table.into(), text: text.into() });
    }
}

impl View<'_> {
    pub(super) fn steps(&self, traced: &Traced) -> Vec<TraceStep> {
        let mut steps = Steps(Vec::new());
        let port = self.names.port(traced.ingress);
        let role = self.snapshot.port(traced.ingress).map_or("", |view| role_word(&view.role));
        steps.add("receive", format!("port:{port}"), format!("{role} port, {} bytes", traced.before.len()));
        if let Some((peer, network)) = traced.origin.tunnel() {
            let (peer, network) = (self.names.peer(peer), self.names.network(network));
            steps.add("decap", format!("peer:{peer}"), format!("out of a tunnel, network {network}"));
        }
        match &traced.key {
            Some(_) => steps.add("parse", "", "headers are sound"),
            None if traced.decided == Stage::Receive => {
                steps.add("receive", "rules", "a cross-connect: no header is looked at");
            }
            None if traced.program.is_some() => {
                steps.add("parse", "", "headers are not sound: relayed by its MACs, as bridges do");
            }
            None => {}
        }
        if traced.key.is_some() {
            steps.add("classify", "flows", self.cached_words(traced));
            self.resolve_steps(traced, &mut steps);
        }
        if let Some(program) = &traced.program {
            self.act_steps(program, &mut steps);
        }
        self.end_step(traced, &mut steps);
        steps.0
    }

    fn cached_words(&self, traced: &Traced) -> String {
        let Some((state, _)) = &traced.cached else { return "a new flow".into() };
        let flags = weft_dataplane::parse::parse_packet(super::inner(traced))
            .map_or(0, |(_, headers)| headers.tcp_flags);
        if state.generation != traced.generation as u32 {
            "known from an older generation: decided again".into()
        } else if flags & (SYN | FIN | RST) != 0 {
            "known, and decided again: it opens or closes a connection".into()
        } else {
            format!("known: {} packets before, decided under this generation", state.packets)
        }
    }

    /// By which tables the flow was decided: the decision depends on key and snapshot alone, so it can be told afterwards.
    fn resolve_steps(&self, traced: &Traced, steps: &mut Steps) {
        let (Some(key), Some(program)) = (&traced.key, &traced.program) else { return };
        if self.snapshot.generation != traced.generation {
            return steps.add("resolve", "", "the configuration has changed since");
        }
        let (resolved, notes) = resolve::explain(key, &self.snapshot);
        if resolved.program != *program {
            return; // learnt addresses are of the generation, too: this can't be
        }
        for note in notes {
            self.note_step(note, steps);
        }
        if resolved.learn.is_some() {
            steps.add("resolve", "fdb", format!("{} is new here: it is learnt", key.src_mac));
        }
        if let (Verdict::Drop(reason), None) = (program.verdict(), program.last_rule()) {
            steps.add("resolve", reason.decided_by(), reason.text());
        }
    }

    fn note_step(&self, note: Note, steps: &mut Steps) {
        match note {
            Note::Arrived { port, network } => {
                let network = match network {
                    Some(network) => format!("network {}", self.names.network(network)),
                    None => "no network of its own".into(),
                };
                steps.add("resolve", format!("port:{}", self.names.port(port)), network);
            }
            Note::Rule(index) => self.rule_step(index, steps),
            Note::NoRule => {
                let count = self.snapshot.rules.iter().count();
                if count > 0 {
                    steps.add("resolve", "rules", format!("none of {count} rules ends it"));
                }
            }
            Note::Source { mac, learnt } => {
                let endpoint = self.desired.endpoints.iter().find(|endpoint| endpoint.mac == mac);
                let text = match (endpoint, learnt) {
                    (Some(endpoint), false) => format!("the source is {}'s own", endpoint.name),
                    (_, true) => format!("{mac} may be anybody's: learnt"),
                    (None, false) => "the source may send this".into(),
                };
                steps.add("resolve", "endpoints", text);
            }
            Note::Gateway(mac) => steps.add("resolve", "network", format!("{mac} is the gateway's MAC")),
            Note::Route { address, route } => self.route_step(address, route, steps),
            Note::Station { mac, station } => {
                steps.add("resolve", "fdb", format!("{mac}: {}", self.station_words(station)));
            }
        }
    }

    fn rule_step(&self, index: u16, steps: &mut Steps) {
        let name = self.names.rule(index);
        let text = match self.config.flow.iter().find(|flow| flow.name == name) {
            Some(flow) => {
                let actions: Vec<String> = flow.actions.iter().map(ToString::to_string).collect();
                let matching = flow.matching.to_string();
                let matching = if matching.is_empty() { "everything" } else { &matching };
                format!("priority {}, matches {matching}: {}", flow.priority, actions.join(", "))
            }
            None => "matches".into(),
        };
        steps.add("resolve", format!("rule:{name}"), text);
    }

    fn route_step(&self, address: [u8; 16], route: Option<Route>, steps: &mut Steps) {
        let prefix = self.snapshot.matched(address);
        let address = ip::unmapped(address);
        let to = match route {
            None => "no route".into(),
            Some(Route::Endpoint { network, port, .. }) => {
                let endpoint = self.endpoint_of(address).unwrap_or_else(|| "an endpoint".into());
                format!(
                    "{endpoint} of network {} behind port {}",
                    self.names.network(network),
                    self.names.port(port)
                )
            }
            Some(Route::Gateway { network }) => {
                format!("the gateway of network {}", self.names.network(network))
            }
            Some(Route::Node) => "the node itself".into(),
            Some(Route::Peer(peer)) => format!("node {}", self.names.peer(peer)),
            Some(Route::Unreachable) => "no pod at this address".into(),
        };
        let by = prefix.map_or_else(String::new, |prefix| format!(" by {prefix}"));
        steps.add("resolve", "routes", format!("{address}{by}: {to}"));
    }

    fn station_words(&self, station: Option<Station>) -> String {
        match station {
            None => "nobody knows where".into(),
            Some(Station::Remote(peer)) => format!("on node {}", self.names.peer(peer)),
            Some(Station::Local { port, vlan }) => {
                let tag = vlan.map_or_else(String::new, |vlan| format!(", tag {vlan}"));
                format!("behind port {}{tag}", self.names.port(port))
            }
        }
    }

    fn act_steps(&self, program: &Program, steps: &mut Steps) {
        for action in program.actions() {
            match *action {
                Action::Rule(index) => {
                    let done: &[_] = self.snapshot.rules.get(index).map_or(&[], |rule| &rule.steps);
                    if !done.is_empty() {
                        let name = self.names.rule(index);
                        steps.add("act", format!("rule:{name}"), "carries out what the rule says");
                    }
                }
                Action::PopVlan => steps.add("act", "pop_vlan", "takes the tag off"),
                Action::SetVlan(vlan) => steps.add("act", "set_vlan", format!("leaves with tag {vlan}")),
                Action::Route(index) => {
                    let to = self.snapshot.rewrites.get(usize::from(index));
                    let text = to.map_or_else(String::new, |rewrite| {
                        format!("TTL − 1, to {}, MTU {}", rewrite.dst(), rewrite.mtu)
                    });
                    steps.add("act", "route", text);
                }
                Action::Claim(_) => {
                    steps.add("act", "endpoints", "may its sender say this of addresses?");
                }
                Action::Checksum => steps.add("act", "checksum", "is the message whole?"),
                Action::Encap(index) => {
                    let text = format!("wraps it up for node {}", self.peer_of_tunnel(index));
                    steps.add("act", "encap", text);
                }
            }
        }
    }

    fn end_step(&self, traced: &Traced, steps: &mut Steps) {
        let stage = match (traced.verdict, traced.decided) {
            (Verdict::Drop(_) | Verdict::Punt(_), stage) => stage.word(),
            _ => "egress",
        };
        let (table, text) = match traced.verdict {
            Verdict::Forward(port) => (format!("port:{}", self.names.port(port)), "leaves by it".to_owned()),
            Verdict::Flood(network) => (
                format!("network:{}", self.names.network(network)),
                "leaves by every other port of it".to_owned(),
            ),
            Verdict::Punt(reason) => ("slowpath".into(), format!("{}: {}", reason.word(), reason.text())),
            Verdict::Drop(reason) => {
                let by = self.decided_by(traced).unwrap_or_default();
                (by, format!("dropped, {}: {}", reason.word(), reason.text()))
            }
        };
        steps.add(stage, table, text);
    }
}

fn role_word(role: &Role) -> &'static str {
    match role {
        Role::Pod => "pod",
        Role::Host => "host",
        Role::Fabric => "fabric",
        Role::Access(_) => "access",
        Role::Trunk(_) => "trunk",
    }
}
