//! Every file in `configs/` is a valid configuration, and comes back from being saved as it was.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use weft_ctl_api::spec::{self, Config};
use weft_dataplane::snapshot::Snapshot;
use weftd::{
    compile::{Facts, compile},
    config,
    desired::Desired,
};

fn files() -> Vec<std::path::PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let entries = fs::read_dir(dir).expect("configs/ is there");
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 3, "{files:?}");
    files
}

#[test]
fn every_example_compiles() {
    for path in files() {
        let (_, desired) = config::check(&path).unwrap_or_else(|error| panic!("{error}"));
        let snapshot: Snapshot = compile(&desired, &Facts::default());
        assert_eq!(snapshot.networks.len(), desired.networks.len());
    }
}

#[test]
fn every_example_survives_being_saved() {
    for path in files() {
        let original = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let dir = tempfile::tempdir().expect("a directory");
        let copy = dir.path().join("copy.toml");
        config::save(&original, &copy).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            config::load(&copy).unwrap_or_else(|error| panic!("{error}")),
            original,
            "{}",
            path.display()
        );
    }
}

#[test]
fn full_toml_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/full.toml");
    let text = fs::read_to_string(path).expect("configs/full.toml is there");
    // serde names the keys it knows when it meets one that it does not.
    for table in [
        "node",
        "roles",
        "pmd",
        "network",
        "port",
        "endpoint",
        "fabric",
        "fabric.peer",
        "flow",
        "flow.match",
        "log",
        "metrics",
    ] {
        let probe = match table {
            "node" => "[node]\nname = \"x\"\nno-such-key = 1".to_owned(),
            "flow.match" => {
                "[node]\nname = \"x\"\n[[flow]]\nname = \"f\"\nmatch = { no-such-key = 1 }\nactions = []"
                    .into()
            }
            "fabric.peer" => {
                "[node]\nname = \"x\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\nno-such-key = 1".into()
            }
            "roles" | "pmd" | "fabric" | "log" | "metrics" => {
                format!("[node]\nname = \"x\"\n[{table}]\nno-such-key = 1")
            }
            list => format!("[node]\nname = \"x\"\n[[{list}]]\nno-such-key = 1"),
        };
        let error = config::parse(&probe).expect_err("an unknown key is refused");
        let known: Vec<&str> =
            error.split('`').skip(1).step_by(2).filter(|key| *key != "no-such-key").collect();
        assert!(!known.is_empty(), "{table}: {error}");
        for key in known {
            assert!(text.contains(key), "configs/full.toml does not tell of {table}.{key}");
        }
    }
}

/// What is wrong, and what is said of it.
const MISTAKES: &[(&str, &str)] = &[
    ("[[network]]\nname = \"a\"\n[[network]]\nname = \"a\"", "network \"a\": there are two of this name"),
    ("[[network]]\nname = \"a\"\ngateways = [\"10.0.0.1\"]", "is in none of the network's prefixes"),
    (
        "[[network]]\nname = \"a\"\nmode = \"bridged\"\ngateways = [\"10.0.0.1\"]",
        "a bridged network has no gateway",
    ),
    ("[[port]]\nname = \"a\"\nkind = \"tap\"", "port \"a\".device: a port of kind tap needs a device"),
    ("[[port]]\nname = \"a\"\nkind = \"null\"\ndevice = \"x\"", "has no device"),
    ("[[port]]\nname = \"a\"\nkind = \"null\"\nflows = 3", "only ports of kind gen have it"),
    ("[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"a/b\"", "can't be a device's name"),
    ("[[port]]\nname = \"a\"\nkind = \"null\"\nrole = \"access\"", "an access port needs its network"),
    (
        "[[port]]\nname = \"a\"\nkind = \"null\"\nrole = \"host\"\n[[port]]\nname = \"b\"\nkind = \"null\"\nrole = \"host\"",
        "there is a host port already",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"packet\"\ndevice = \"v\"\n[[port]]\nname = \"b\"\nkind = \"packet\"\ndevice = \"v\"",
        "a device is one port's",
    ),
    (
        "[fabric]\nmode = \"vxlan\"\n[[network]]\nname = \"a\"",
        "network \"a\".vni: a routed network needs one in tunnels",
    ),
    (
        "[fabric]\nmode = \"vxlan\"\n[[network]]\nname = \"a\"\nvni = 1\n[[network]]\nname = \"b\"\nvni = 1",
        "network \"a\" has VNI 1 already",
    ),
    (
        "[fabric]\nmode = \"vxlan\"\n[[network]]\nname = \"a\"\nvni = 1\ngateway_mac = \"02:00:00:00:00:09\"",
        "with tunnels, all routed networks have the node's",
    ),
    ("[fabric]\nmode = \"native\"\nudp_port = 1", "a native fabric has no tunnels"),
    ("[fabric]\nmode = \"geneve\"\ndscp = 64", "fabric.dscp: 64; use 0 to 63"),
    (
        "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"vxlan\"\n[[fabric.peer]]\n\
             name = \"b\"\naddress = \"192.0.2.2\"",
        "192.0.2.2 is IPv4, and this node has no IPv4 address",
    ),
    ("[[flow]]\nname = \"f\"\nactions = []", "flow \"f\".actions: there are none"),
    ("[[flow]]\nname = \"f\"\nactions = [\"drop\", \"pop_vlan\"]", "does not say what becomes of the packet"),
    (
        "[[flow]]\nname = \"f\"\nmatch = { src = \"10.0.0.0/8\", dst = \"fd00::/8\" }\nactions = [\"drop\"]",
        "different families",
    ),
    (
        "[[flow]]\nname = \"f\"\nactions = [\"police:1pps,burst=1000000\", \"drop\"]",
        "flow \"f\".actions: a burst of 1000000 is more than an hour's worth of 1 a second",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"x\"\nqueues = 65",
        "port \"a\".queues: 65 queues; use 1 to 64",
    ),
    ("[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"x\"\nqueues = [0]", "takes a number, not a list"),
    ("[[port]]\nname = \"a\"\nkind = \"pcap\"\nqueues = 2", "port \"a\".queues: a port of kind pcap has one"),
    ("[[port]]\nname = \"a\"\nkind = \"xsk\"\ndevice = \"x\"\nqueues = [1, 0, 1]", "queue 1 is there twice"),
    (
        "[[port]]\nname = \"a\"\nkind = \"xsk\"\ndevice = \"x\"\nqueues = []",
        "port \"a\".queues: there are none",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"gen\"\nsize = 20",
        "port \"a\".size: a generated frame of 20 bytes: use 42 to",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"null\"\nnetns = \"x\"",
        "port \"a\".netns: a port of kind null has no device",
    ),
    ("[[port]]\nname = \"a\"\nkind = \"gen\"\nmtu = 1400", "port \"a\".mtu: frames are as long as"),
    ("[[port]]\nname = \"a\"\nkind = \"null\"\nrepeat = true", "port \"a\".repeat: only ports of kind pcap"),
    (
        "[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"x\"\nxdp_mode = \"native\"",
        "port \"a\".xdp_mode: only ports of kind xsk",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"x\"\nzerocopy = \"off\"",
        "port \"a\".zerocopy: only ports of kind xsk",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"packet\"\ndevice = \"x\"\nno_default_route = true",
        "port \"a\".no_default_route: only a pod's tap",
    ),
    ("[[port]]\nname = \"a\"\nkind = \"null\"\nnetworks = [\"n\"]", "port \"a\".networks: only a trunk port"),
    (
        "[[port]]\nname = \"a\"\nkind = \"packet\"\ndevice = \"v\"\n[[port]]\nname = \"b\"\nkind = \"packet\"\ndevice = \"v\"\n\
             netns = \"/proc/self/ns/net\"",
        "a device is one port's",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"v\"\nnetns = \"no-such\"\n[[port]]\nname = \"b\"\nkind = \"tap\"\n\
             device = \"v\"\nnetns = \"/run/netns/no-such\"",
        "a device is one port's",
    ),
    (
        "[[network]]\nname = \"a\"\nprefixes = [\"224.0.0.0/4\"]\ngateways = [\"224.0.0.1\"]",
        "network \"a\".gateways: 224.0.0.1 is no address that a station has",
    ),
    (
        "[[network]]\nname = \"a\"\nprefixes = [\"::ffff:10.0.0.0/104\"]",
        "network \"a\".prefixes: no station has an address of ::ffff:10.0.0.0/104: each is an IPv4-mapped address; \
         write it as IPv4, such as 10.0.0.0",
    ),
    (
        "[[network]]\nname = \"a\"\nmode = \"bridged\"\nprefixes = [\"127.0.0.0/24\"]",
        "network \"a\".prefixes: no station has an address of 127.0.0.0/24: each is a loopback address",
    ),
    (
        "[[network]]\nname = \"a\"\nprefixes = [\"240.0.0.0/8\"]",
        "network \"a\".prefixes: no station has an address of 240.0.0.0/8: each is a reserved address",
    ),
    (
        "[[network]]\nname = \"a\"\nprefixes = [\"fe80::/64\"]\n[[port]]\nname = \"p\"\nkind = \"null\"\n[[endpoint]]\n\
         name = \"e\"\nnetwork = \"a\"\nport = \"p\"\nmac = \"02:00:00:00:00:01\"\naddresses = [\"fe80::5\"]",
        "endpoint \"e\".addresses: fe80::5 is link-local, and never forwarded",
    ),
    (
        "[[network]]\nname = \"a\"\nmode = \"bridged\"\n[[port]]\nname = \"p\"\nkind = \"null\"\n[[endpoint]]\n\
         name = \"e\"\nnetwork = \"a\"\nport = \"p\"\nmac = \"02:00:00:00:00:01\"\naddresses = [\"::ffff:10.0.0.5\"]",
        "endpoint \"e\".addresses: ::ffff:10.0.0.5 is no address that a station has, but an IPv4-mapped address; \
         write it as IPv4, such as 10.0.0.5",
    ),
    (
        "[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"x\"\naddresses = [\"0.0.0.0/0\"]",
        "port \"a\".addresses: 0.0.0.0 is no address that a station has, but the unspecified address",
    ),
    (
        "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\n\
         name = \"b\"\naddress = \"::ffff:192.0.2.2\"",
        "fabric.peer \"b\".address: ::ffff:192.0.2.2 is no address that a station has",
    ),
    (
        "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\n\
         name = \"b\"\naddress = \"fe80::2\"",
        "fabric.peer \"b\".address: fe80::2 is link-local",
    ),
    (
        "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\n\
         name = \"b\"\naddress = \"192.0.2.2\"\naddresses = [\"169.254.20.10\"]",
        "fabric.peer \"b\".addresses: 169.254.20.10 is link-local",
    ),
    (
        "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\n\
         name = \"b\"\naddress = \"192.0.2.2\"\nprefixes = [\"::ffff:10.1.0.0/112\"]",
        "fabric.peer \"b\".prefixes: no station has an address of ::ffff:10.1.0.0/112",
    ),
    (
        "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\n\
         name = \"b\"\naddress = \"192.0.2.2\"\nprefixes = [\"169.254.0.0/16\"]",
        "fabric.peer \"b\".prefixes: 169.254.0.0 is link-local",
    ),
    (
        "[[flow]]\nname = \"f\"\nmatch = { src = \"::ffff:10.0.0.0/104\" }\nactions = [\"drop\"]",
        "flow \"f\".match.src: ::ffff:10.0.0.0/104: no packet has IPv4-mapped addresses; write it as IPv4",
    ),
    (
        "[[flow]]\nname = \"f\"\nmatch = { ethertype = 0x86dd, dst = \"10.0.0.0/8\" }\nactions = [\"drop\"]",
        "flow \"f\".match.dst: 10.0.0.0/8 is never in a frame of EtherType 0x86dd",
    ),
    (
        "[[flow]]\nname = \"f\"\nactions = [\"set:dst_ip=::ffff:10.0.0.1\", \"continue\"]",
        "flow \"f\".actions: set:dst_ip=::ffff:10.0.0.1: no packet is to an IPv4-mapped address; write it as IPv4",
    ),
    (
        "[[flow]]\nname = \"f\"\nactions = [\"set:src_ip=224.0.0.1\", \"continue\"]",
        "flow \"f\".actions: set:src_ip=224.0.0.1: no packet is from a multicast or broadcast address",
    ),
    (
        "[[flow]]\nname = \"f\"\nactions = [\"set:dst_ip=127.0.0.1\", \"continue\"]",
        "no packet is to a loopback address",
    ),
    (
        "[[network]]\nname = \"a\"\nprefixes = [\"10.0.0.0/8\"]\n[[network]]\nname = \"b\"\nprefixes = [\"10.1.0.0/16\"]",
        "network \"b\".prefixes: 10.1.0.0/16 overlaps 10.0.0.0/8",
    ),
];

/// Of the node's own addresses, which every mistake above has none of.
#[test]
fn the_nodes_addresses_are_ones_that_it_can_have() {
    for (address, says) in [
        ("::ffff:192.0.2.1", "no address that a station has, but an IPv4-mapped address"),
        ("fe80::1", "link-local, and never forwarded"),
        ("127.0.0.1", "a loopback address"),
        ("0.0.0.0", "the unspecified address"),
        ("240.0.0.1", "a reserved address"),
    ] {
        let text = format!("[node]\nname = \"x\"\naddresses = [\"{address}\"]");
        let error = Desired::try_from(&config::parse(&text).expect("it parses")).expect_err("it is invalid");
        let error = error.to_string();
        assert!(error.contains("node.addresses: ") && error.contains(says), "{address}: {error}");
    }
    let text = "[node]\nname = \"x\"\naddresses = [\"169.254.20.10\", \"192.0.2.1\", \"2001:db8::1\"]";
    let desired =
        Desired::try_from(&config::parse(text).expect("it parses")).expect("a DNS cache's is right");
    assert_eq!(desired.node.source(true), Some("192.0.2.1".parse().expect("an address")));
}

#[test]
fn checks_name_key_problem_and_remedy() {
    for (text, says) in MISTAKES {
        let config: Config = config::parse(&format!("[node]\nname = \"x\"\n{text}")).expect("it parses");
        let error = Desired::try_from(&config).expect_err("it is invalid").to_string();
        assert!(error.contains(says) && error.contains("; "), "{text}: {error}");
    }
}

/// A node with an uplink, two peers and a network; the network's prefix and the peers' are to be filled in.
fn with_peers(network: &str, first: &str, second: &str) -> Result<Desired, String> {
    let text = format!(
        "[node]\nname = \"x\"\naddresses = [\"192.0.2.1\"]\n[[network]]\nname = \"n\"\nprefixes = [\"{network}\"]\n\
         [[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"native\"\n\
         [[fabric.peer]]\nname = \"a\"\naddress = \"198.51.100.1\"\nprefixes = [\"{first}\"]\n\
         [[fabric.peer]]\nname = \"b\"\naddress = \"198.51.100.2\"\nprefixes = [\"{second}\"]\n"
    );
    Desired::try_from(&config::parse(&text).expect("it parses")).map_err(|error| error.to_string())
}

#[test]
fn what_is_no_value_at_all_is_said_with_its_line() {
    for (text, says) in [
        (
            "[metrics]\nlisten = \"0.0.0.0:9100\"",
            "can be reached from other nodes, and there is no password; use",
        ),
        ("[metrics]\nlisten = \"unix:metrics\"", "no absolute path; use a loopback address and port"),
        ("[log]\nformat = \"xml\"", "expected `text` or `json`"),
    ] {
        let error = config::parse(&format!("[node]\nname = \"x\"\n{text}")).expect_err("refused");
        assert!(error.starts_with("line 4: ") && error.contains(says), "{error}");
    }
}

#[test]
fn prefixes_are_one_nodes() {
    let (own, other) = ("10.244.0.0/24", "10.244.1.0/24");
    // Wider than this node's own, the longer goes first; so it does between peers.
    for wider in ["10.244.0.0/16", "10.0.0.0/8"] {
        with_peers(own, wider, other).unwrap_or_else(|error| panic!("{error}"));
    }
    for (network, first, second, says) in [
        (own, "10.244.0.0/24", other, "fabric.peer \"a\".prefixes: 10.244.0.0/24 is this node's own"),
        (own, "10.244.0.128/25", other, "fabric.peer \"a\".prefixes: 10.244.0.128/25 is this node's own"),
        (own, "10.244.0.7/32", other, "10.244.0.7/32 is this node's own (10.244.0.0/24)"),
        (own, other, "10.244.1.9/24", "fabric.peer \"b\".prefixes: 10.244.1.0/24 is peer \"a\"'s already"),
        (own, other, "192.0.0.0/16", "192.0.0.0/16 contains this node's address 192.0.2.1"),
        ("192.0.2.0/24", own, other, "network \"n\".prefixes: 192.0.2.0/24 contains the node's address"),
        ("198.51.100.0/24", own, other, "198.51.100.0/24 contains 198.51.100.1, the address of peer \"a\""),
    ] {
        let error = with_peers(network, first, second).expect_err("refused");
        assert!(error.contains(says) && error.contains("; "), "{error}");
    }
}

#[test]
fn what_is_numbered_in_16_bits_has_a_limit() {
    let text = "[node]\nname = \"x\"\n[[network]]\nname = \"n\"\nprefixes = [\"10.0.0.0/8\"]\n[[port]]\nname = \"p\"\n\
                kind = \"null\"\n[[endpoint]]\nname = \"e\"\nnetwork = \"n\"\nport = \"p\"\nmac = \"02:00:00:00:00:01\"\n\
                addresses = [\"10.0.0.1\"]\n[[flow]]\nname = \"f\"\nactions = [\"drop\"]\n";
    let few: Config = config::parse(text).expect("it parses");
    let error = |config: &Config| Desired::try_from(config).expect_err("too many").to_string();
    let mut many = few.clone();
    many.flow =
        (0..65_536).map(|i| spec::FlowSpec { name: format!("f{i}"), ..few.flow[0].clone() }).collect();
    assert_eq!(error(&many), "flow: there are 65536; use 65535 at most");
    let mut many = few.clone();
    let peer = spec::PeerSpec {
        name: "p".into(),
        address: [198, 51, 100, 1].into(),
        addresses: Vec::new(),
        prefixes: Vec::new(),
        mac: None,
    };
    let peer = vec![peer.into(); 65_536];
    many.fabric = Some(spec::FabricSpec {
        mode: spec::FabricMode::Vxlan,
        udp_port: None,
        dscp: None,
        flood_rate: 1,
        bfd: None,
        peer,
    });
    assert_eq!(error(&many), "fabric.peer: there are 65536; use 65535 at most");
    let mut many = few.clone();
    many.network = (0..4097)
        .map(|i| spec::NetworkSpec { name: format!("n{i}"), prefixes: Vec::new(), ..few.network[0].clone() })
        .collect();
    assert_eq!(error(&many), "network: there are 4097; use 4096 at most");
    let mut many = few.clone();
    many.endpoint = (0..65_535_u32)
        .map(|i| spec::EndpointSpec {
            name: format!("e{i}"),
            mac: weft_wire::Mac([&[2, 0], &i.to_be_bytes()[..]].concat().try_into().expect("six bytes")),
            addresses: vec![std::net::Ipv4Addr::from(0x0a00_0001 + i).into()],
            ..few.endpoint[0].clone()
        })
        .collect();
    assert!(error(&many).contains("65535 routed endpoints and 0 peers are too many"), "{}", error(&many));
    many.endpoint.pop();
    Desired::try_from(&many).expect("one less fits");
}

#[test]
fn a_file_that_is_saved_again_stays_what_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, link) = (dir.path().join("real.toml"), dir.path().join("link.toml"));
    fs::write(&file, "old").expect("writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("its owner may");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    config::save(&Config::default(), &link).unwrap_or_else(|error| panic!("{error}"));
    assert!(link.is_symlink());
    assert_eq!(config::load(&file).unwrap_or_else(|error| panic!("{error}")), Config::default());
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o640);
    // What can't be written leaves nothing behind.
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).expect("a folder");
    assert!(config::save(&Config::default(), &folder).is_err());
    let left: Vec<_> = fs::read_dir(dir.path()).expect("a directory").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn only_a_regular_file_is_read() {
    let error = config::check(Path::new("/dev/zero")).expect_err("refused").to_string();
    assert!(error.contains("no regular file"), "{error}");
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    let error = config::check(&fifo).expect_err("refused").to_string();
    assert!(error.contains("no regular file"), "{error}");
}
