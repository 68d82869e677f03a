//! Who comes or moves is announced: to whom, in which words, how often.

use expect_test::expect;
use weft_tests::{packets::describe, sim::Sim};
use weftd::slowpath::announce::Announcer;

const LAN: &str = r#"
[node]
name = "test"
addresses = ["192.0.2.1"]
gateway_mac = "02:00:00:00:00:01"
[pmd]
cores = [0]
flows = 4096
[[network]]
name = "lan"
mode = "bridged"
vlan = 10
vni = 7
[[network]]
name = "pods"
vni = 42
prefixes = ["10.244.0.0/24", "fd00:244::/64"]
gateways = ["10.244.0.1", "fd00:244::1"]
[[port]]
name = "t"
kind = "xsk"
role = "trunk"
networks = ["lan"]
device = "t"
[[port]]
name = "p"
kind = "tap"
device = "p"
[[port]]
name = "q"
kind = "tap"
device = "q"
[[endpoint]]
name = "p"
network = "lan"
port = "p"
mac = "02:00:00:00:00:0a"
addresses = ["10.0.0.10", "fd00::10"]
[[endpoint]]
name = "q"
network = "lan"
port = "q"
mac = "02:00:00:00:00:0b"
[[port]]
name = "r"
kind = "tap"
device = "r"
[[endpoint]]
name = "r"
network = "pods"
port = "r"
mac = "02:00:00:00:00:0c"
addresses = ["10.244.0.12", "fd00:244::12"]
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
[fabric]
mode = "vxlan"
[[fabric.peer]]
name = "peer"
address = "192.0.2.2"
prefixes = ["10.244.1.0/24"]
"#;

const SECOND: u64 = 1_000_000_000;

/// What is announced now: by port, in words.
fn turn(announcer: &mut Announcer, sim: &Sim, now_ns: u64) -> Vec<String> {
    let (replies, _) = announcer.turn(&sim.snapshot(), now_ns);
    let port = |id| sim.desired.ports.iter().find(|port| sim.port(&port.name) == id).expect("it is there");
    replies.iter().map(|reply| format!("{} < {}", port(reply.port).name, describe(&reply.bytes))).collect()
}

#[test]
fn an_endpoint_is_announced_to_everybody_twice() {
    let (sim, mut announcer) = (Sim::new(LAN), Announcer::default());
    let first = turn(&mut announcer, &sim, SECOND);
    expect![[r#"
        t < 02:00:00:00:00:0a>ff:ff:ff:ff:ff:ff vlan 10 arp who 10.0.0.10@02:00:00:00:00:0a to 10.0.0.10
        q < 02:00:00:00:00:0a>ff:ff:ff:ff:ff:ff arp who 10.0.0.10@02:00:00:00:00:0a to 10.0.0.10
        uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 7 {02:00:00:00:00:0a>ff:ff:ff:ff:ff:ff arp who 10.0.0.10@02:00:00:00:00:0a to 10.0.0.10}
        t < 02:00:00:00:00:0a>33:33:00:00:00:01 vlan 10 fd00::10>ff02::1 ttl 255 icmp6 136/0 536870912 len 24
        q < 02:00:00:00:00:0a>33:33:00:00:00:01 fd00::10>ff02::1 ttl 255 icmp6 136/0 536870912 len 24
        uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 7 {02:00:00:00:00:0a>33:33:00:00:00:01 fd00::10>ff02::1 ttl 255 icmp6 136/0 536870912 len 24}"#]]
    .assert_eq(&first.join("\n"));
    let (_, next) = announcer.turn(&sim.snapshot(), SECOND + 1);
    assert_eq!(next, Some(3 * SECOND), "ANNOUNCE_INTERVAL later");
    assert!(turn(&mut announcer, &sim, 3 * SECOND - 1).is_empty());
    assert_eq!(turn(&mut announcer, &sim, 3 * SECOND), first, "ANNOUNCE_NUM is 2,");
    assert_eq!(announcer.turn(&sim.snapshot(), 3 * SECOND + 1), (vec![], None), "and no more");
    sim.finish();
}

#[test]
fn what_changes_is_announced_and_nothing_else() {
    let (mut sim, mut announcer) = (Sim::new(LAN), Announcer::default());
    let mut now = SECOND;
    let mut announced = |sim: &Sim| {
        let mut all = Vec::new();
        for _ in 0..60 {
            now += SECOND / 10;
            all.extend(turn(&mut announcer, sim, now));
        }
        all
    };
    assert_eq!(announced(&sim).len(), 12);
    sim.publish();
    assert_eq!(announced(&sim).len(), 0, "another generation, nothing new in it");
    let index =
        |sim: &Sim, name: &str| sim.desired.endpoints.iter().position(|e| e.name == name).expect("there");
    let (p, q, r) = (index(&sim, "p"), index(&sim, "q"), index(&sim, "r"));
    let ports = (sim.desired.endpoints[p].port, sim.desired.endpoints[q].port);
    // It moves to another port; the one that was there goes.
    (sim.desired.endpoints[p].port, sim.desired.endpoints[q].port) = (ports.1, ports.0);
    sim.publish();
    let moved = announced(&sim);
    assert_eq!(moved.len(), 12);
    assert!(moved.iter().any(|line| line.starts_with("p < 02:00:00:00:00:0a")), "{moved:?}");
    // Another MAC, another address.
    sim.desired.endpoints[p].mac = "02:00:00:00:00:1a".parse().expect("a MAC");
    sim.publish();
    let renamed = announced(&sim);
    assert!(renamed.len() == 12 && renamed.iter().all(|line| line.contains("00:1a")), "{renamed:?}");
    sim.desired.endpoints[p].addresses = vec!["10.0.0.20".parse().expect("an address")];
    sim.publish();
    let moved = announced(&sim);
    assert!(moved.len() == 6 && moved.iter().all(|line| line.contains("10.0.0.20")), "{moved:?}");
    // A routed network's pods are behind the gateway; whose MAC it is that counts there.
    sim.desired.endpoints[r].mac = "02:00:00:00:00:1c".parse().expect("a MAC");
    sim.publish();
    assert_eq!(announced(&sim).len(), 0);
    sim.desired.networks[1].gateway_mac = "02:00:00:00:00:02".parse().expect("a MAC");
    sim.publish();
    let gateways = announced(&sim);
    expect![[r#"
        r < 02:00:00:00:00:02>ff:ff:ff:ff:ff:ff arp who 10.244.0.1@02:00:00:00:00:02 to 10.244.0.1
        r < 02:00:00:00:00:02>33:33:00:00:00:01 fd00:244::1>ff02::1 ttl 255 icmp6 136/0 2684354560 len 24"#]]
    .assert_eq(&gateways[..gateways.len() / 2].join("\n"));
    // One that goes while it is announced is not announced any more.
    sim.desired.endpoints[p].port = ports.0;
    sim.desired.endpoints.remove(q);
    sim.publish();
    now += SECOND;
    assert_eq!(turn(&mut announcer, &sim, now).len(), 2, "the trunk and the other node");
    sim.desired.endpoints.remove(p);
    sim.publish();
    assert!(turn(&mut announcer, &sim, now + 3 * SECOND).is_empty());
    sim.finish();
}

/// Many at once go one after the other: 20,000 copies a second.
#[test]
fn many_are_announced_at_a_rate() {
    let mut config = LAN.to_owned();
    for i in 0..200 {
        config += &format!(
            "[[port]]\nname = \"m{i}\"\nkind = \"tap\"\ndevice = \"m{i}\"\n[[endpoint]]\nname = \"m{i}\"\nnetwork = \"lan\"\n\
             port = \"m{i}\"\nmac = \"02:00:00:01:00:{i:02x}\"\naddresses = [\"10.0.1.{i}\"]\n"
        );
    }
    let (sim, mut announcer) = (Sim::new(&config), Announcer::default());
    let (mut now, mut sent, mut most) = (SECOND, 0, 0);
    let begin = now;
    loop {
        let (replies, next) = announcer.turn(&sim.snapshot(), now);
        sent += replies.len();
        most = most.max(replies.len());
        let Some(next) = next else { break };
        assert!(next > now, "time goes on");
        now = next;
    }
    // Each to 202 others and the other node, twice; the first endpoint has two addresses.
    assert_eq!(sent, 2 * 202 * 203);
    assert!(most <= 2 * 203 + 203, "{most} at once");
    let least = (sent as u64 - 1000) * SECOND / 20_000;
    assert!((least..least + 3 * SECOND).contains(&(now - begin)), "{} ms", (now - begin) / 1_000_000);
    sim.finish();
}
