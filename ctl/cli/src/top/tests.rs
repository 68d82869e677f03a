//! What the screen shows, in a terminal of any size.

use ratatui::{Terminal, backend::TestBackend};
use weft_ctl_api::{
    history::{Counts, DropMoment, Moment, PortMoment, ThreadMoment},
    port::PortRow,
    spec::{EndpointSpec, PortKind, RoleSpec},
    status::StatusReply,
};

use super::{
    data::{Data, Step},
    screen,
    state::State,
    views::View,
};

fn port(name: &str, state: &str) -> PortRow {
    PortRow {
        name: name.into(),
        kind: PortKind::Tap,
        role: RoleSpec::Pod,
        device: None,
        netns: None,
        state: state.into(),
        mac: None,
        mtu: 1500,
        cores: vec![1],
        mode: "vnet headers".into(),
        why: "device gone".into(),
    }
}

fn data() -> Data {
    let counts = Counts {
        rx_packets: 12_345,
        rx_bytes: 1_000_000,
        tx_packets: 7,
        tx_bytes: 700,
        dropped: 42,
        ..Counts::default()
    };
    let thread = ThreadMoment {
        core: 1,
        cycles: 1000,
        busy_cycles: 970,
        packets: 10,
        bursts: 2,
        hits: 9,
        misses: 1,
        flows: 3,
        ..ThreadMoment::default()
    };
    let endpoint = |name: &str| EndpointSpec {
        name: name.into(),
        network: "pods".into(),
        port: "web".into(),
        mac: "02:00:00:00:00:01".parse().expect("a MAC"),
        addresses: vec!["10.0.0.1".parse().expect("an address")],
    };
    Data {
        status: Some(StatusReply {
            confirm_within_s: None,
            dropped: 0,
            learn_lost: 0,
            captures: 0,
            problems: Vec::new(),
            version: "0".into(),
            pid: 1,
            node: "node-a".into(),
            uptime_s: 4000,
            generation: 12,
            threads: 1,
            threads_dead: 0,
            ports: 2,
            ports_waiting: 1,
            ports_degraded: 0,
            networks: 1,
            endpoints: 2,
            rules: 0,
            flows: 3,
            memory_bytes: 0,
            memory_free_percent: 90,
            chunks: vec![],
            hugepages: false,
        }),
        moment: Moment {
            at_ms: 60_000,
            lasted_ms: 1000,
            sum: counts,
            ports: vec![PortMoment { port: "web".into(), counts }],
            threads: vec![thread],
            drops: vec![DropMoment { port: "web".into(), reason: "spoofed".into(), packets: 42 }],
        },
        reaches_s: 300,
        now_ms: 60_000,
        ports: vec![port("web", "up"), port("db", "waiting")],
        endpoints: vec![endpoint("default/web"), endpoint("default/side")],
        meanings: vec![("spoofed".into(), "not its own address".into())],
        graph: (0..20).map(|i| Step { at_ms: i * 5000, packets_per_second: i as f64 }).collect(),
        ..Data::default()
    }
}

fn drawn(state: &State, data: &Data, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    terminal.draw(|frame| screen::draw(frame, state, data, None)).expect("drawn");
    terminal.backend().to_string()
}

#[test]
fn each_view_shows_its_rows() {
    for (view, shows) in [
        (View::Ports, &["RX BIT/S▼", "web", "12.35 k", "8.00 M", "42", "waiting: device gone"][..]),
        (View::Pmd, &["BUSY %▼", "97.0", "5.0", "90.0", "web:0"]),
        (View::Endpoints, &["default/web", "web (shared by 2)", "share a port all show what the port did"]),
        (View::Flows, &["not looked yet"]),
        (View::Drops, &["spoofed", "42", "not its own address"]),
    ] {
        let text = drawn(&State::new(view, String::new()), &data(), 140, 24);
        for words in ["weft node-a", "up 66m40s, generation 12", " LIVE ", "1 port(s) wait", "q quit"] {
            assert!(text.contains(words), "{view:?}: {words}\n{text}");
        }
        for words in shows {
            assert!(text.contains(words), "{view:?}: {words}\n{text}");
        }
    }
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut state = State::new(View::Ports, "web".into());
    for help in [false, true] {
        state.help = help;
        state.stopped_ms = Some(20_000);
        for view in View::ALL {
            state.view = view;
            for (width, height) in [(1, 1), (10, 3), (40, 8), (80, 24), (300, 90)] {
                drawn(&state, &data(), width, height);
            }
        }
    }
}

#[test]
fn a_narrow_terminal_shows_fewer_columns_whole() {
    let text = drawn(&State::new(View::Ports, String::new()), &data(), 60, 12);
    assert!(text.contains("web ") && text.contains("12.35 k") && text.contains("RX BIT/S▼"), "{text}");
    assert!(!text.contains("STATE"), "{text}");
}

#[test]
fn the_past_is_told_from_the_present() {
    let mut state = State::new(View::Ports, String::new());
    state.stopped_ms = Some(20_000);
    let text = drawn(&state, &data(), 100, 24);
    assert!(text.contains(" 40s ago, 00:00:20 UTC ") && !text.contains("LIVE"), "{text}");
}

#[test]
fn what_is_filtered_out_is_not_there() {
    let mut state = State::new(View::Ports, "db".into());
    state.offset = 50; // scrolled further than there are rows
    let text = drawn(&state, &data(), 100, 24);
    assert!(text.contains("db") && text.contains("filter: db") && !text.contains("12.35 k  "), "{text}");
}

#[test]
fn plain_text_is_a_table() {
    let grid = View::Drops.grid(&data()).arranged(View::Drops.sort(), "");
    assert_eq!(
        grid.plain(),
        "PORT  REASON   PPS  PACKETS  MEANING\n\
         web   spoofed   42       42  not its own address"
    );
}
