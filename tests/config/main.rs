//! Every file in `configs/` is a valid configuration, and comes back from being saved as it was.

use std::{fs, path::Path};

use weft_ctl_api::spec::Config;
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
    for table in ["node", "pmd", "network", "port", "endpoint", "fabric", "fabric.peer", "flow", "flow.match"]
    {
        let probe = match table {
            "node" => "[node]\nname = \"x\"\nno-such-key = 1".to_owned(),
            "flow.match" => {
                "[node]\nname = \"x\"\n[[flow]]\nname = \"f\"\nmatch = { no-such-key = 1 }\nactions = []"
                    .into()
            }
            "fabric.peer" => {
                "[node]\nname = \"x\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\nno-such-key = 1".into()
            }
            "pmd" | "fabric" => format!("[node]\nname = \"x\"\n[{table}]\nno-such-key = 1"),
            list => format!("[node]\nname = \"x\"\n[[{list}]]\nno-such-key = 1"),
        };
        let error = config::parse(&probe).expect_err("an unknown key is refused");
        let known: Vec<&str> =
            error.split('`').skip(1).step_by(2).filter(|key| *key != "no-such-key").collect();
        assert!(known.len() >= 2, "{table}: {error}");
        for key in known {
            assert!(text.contains(key), "configs/full.toml does not tell of {table}.{key}");
        }
    }
}

#[test]
fn checks_name_key_problem_and_remedy() {
    let error = |text: &str| {
        let config: Config = config::parse(text).expect("it parses");
        Desired::try_from(&config).expect_err("it is invalid").to_string()
    };
    let node = "[node]\nname = \"x\"\n";
    for (text, says) in [
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
        ("[fabric]\nmode = \"native\"\nudp_port = 1", "a native fabric has no tunnels"),
        ("[fabric]\nmode = \"geneve\"\ndscp = 64", "fabric.dscp: 64; use 0 to 63"),
        (
            "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"vxlan\"\n[[fabric.peer]]\n\
             name = \"b\"\naddress = \"192.0.2.2\"",
            "192.0.2.2 is IPv4, and this node has no IPv4 address",
        ),
        ("[[flow]]\nname = \"f\"\nactions = []", "flow \"f\".actions: there are none"),
        (
            "[[flow]]\nname = \"f\"\nactions = [\"drop\", \"pop_vlan\"]",
            "does not say what becomes of the packet",
        ),
        (
            "[[flow]]\nname = \"f\"\nmatch = { src = \"10.0.0.0/8\", dst = \"fd00::/8\" }\nactions = [\"drop\"]",
            "different families",
        ),
    ] {
        let error = error(&format!("{node}{text}"));
        assert!(error.contains(says) && error.contains("; "), "{text}: {error}");
    }
}
