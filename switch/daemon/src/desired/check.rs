//! Config → Desired: every reference resolved, every contradiction named.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    time::Duration,
};

use hashbrown::HashSet;
use weft_ctl_api::spec::{Config, EndpointSpec, IdleSpec, ModeSpec, NetworkSpec, PortSpec, RoleSpec};
use weft_dataplane::{share::Rate, snapshot::Mode, thread::Idle};
use weft_wire::Mac;

use super::{
    Desired, Endpoint, Fabric, Invalid, Network, Node, Port, Role, addresses, fabric, kinds, peers::Peers,
    rules,
};
use crate::{roles::Roles, runtime::Settings};

/// Networks, peers and ports are numbered in 16 bits; ports also cost a table slot in each thread.
const PORTS_MAX: usize = 4096;
const NETWORKS_MAX: usize = 4096;
const PEERS_MAX: usize = u16::MAX as usize;
/// A flow's program names rules and rewrites in 16 bits.
const RULES_MAX: usize = u16::MAX as usize;
const REWRITES_MAX: usize = u16::MAX as usize;

/// What a configuration means; `peers` is what was found of other nodes the last time, and becomes what is found now.
pub(super) fn desired(config: &Config, peers: &mut Peers) -> Result<Desired, Invalid> {
    unique("network", config.network.iter().map(|network| &network.name))?;
    unique("port", config.port.iter().map(|port| &port.name))?;
    unique("endpoint", config.endpoint.iter().map(|endpoint| &endpoint.name))?;
    unique("flow", config.flow.iter().map(|flow| &flow.name))?;
    at_most("port", config.port.len(), PORTS_MAX)?;
    at_most("network", config.network.len(), NETWORKS_MAX)?;
    at_most("flow", config.flow.len(), RULES_MAX)?;
    at_most("fabric.peer", config.fabric.as_ref().map_or(0, |fabric| fabric.peer.len()), PEERS_MAX)?;
    let gateway_mac = gateway_mac(config)?;
    let networks: Vec<Network> =
        config.network.iter().map(|spec| network(spec, gateway_mac)).collect::<Result<_, _>>()?;
    let pmd = settings(config)?;
    let ports: Vec<Port> =
        config.port.iter().map(|spec| port(spec, &networks, &pmd.cores)).collect::<Result<_, _>>()?;
    one_of_a_kind(&ports, Role::Host, "host")?;
    one_of_a_kind(&ports, Role::Fabric, "fabric")?;
    kinds::devices_differ(&ports)?;
    let endpoints: Vec<Endpoint> =
        config.endpoint.iter().map(|spec| endpoint(spec, &networks, &ports)).collect::<Result<_, _>>()?;
    endpoints_fit(&endpoints, &networks, &ports)?;
    let fabric = fabric::fabric(config, &networks)?;
    let specs = config.fabric.as_ref().map_or(&[][..], |fabric| &fabric.peer);
    peers.become_those(specs)?;
    rewrites_fit(&networks, &endpoints, &fabric, specs.len())?;
    let rules =
        config.flow.iter().map(|spec| rules::rule(spec, &networks, &ports)).collect::<Result<_, _>>()?;
    let node = Node { name: config.node.name.clone(), addresses: config.node.addresses.clone() };
    addresses::differ(&node, &networks, &endpoints, peers)?;
    addresses::prefixes_are_apart(&node, &networks, peers)?;
    let desired = Desired {
        node,
        roles: Roles::resolve(config)?,
        pmd,
        flow_idle_s: config.pmd.flow_idle_timeout_s,
        networks,
        ports,
        endpoints,
        fabric,
        peers: peers.all(),
        bfd: fabric::bfd(config)?,
        rules,
    };
    kinds::generators(&desired)?;
    Ok(desired)
}

fn at_most(noun: &str, count: usize, most: usize) -> Result<(), Invalid> {
    if count > most {
        return Err(Invalid::new(noun, format!("there are {count}"), format!("use {most} at most")));
    }
    Ok(())
}

/// Headers are rewritten for each routed endpoint, for the node, and for each peer: once, or in tunnels once for each gateway.
fn rewrites_fit(
    networks: &[Network],
    endpoints: &[Endpoint],
    fabric: &Fabric,
    peers: usize,
) -> Result<(), Invalid> {
    let routed = endpoints.iter().filter(|endpoint| networks[endpoint.network].mode == Mode::Routed).count();
    let in_tunnels = networks.iter().filter(|network| network.vni.is_some());
    let gateways: BTreeSet<Mac> = in_tunnels.map(|network| network.gateway_mac).collect();
    let each = if *fabric == Fabric::Native { 1 } else { gateways.len() };
    if 1 + routed + peers * each > REWRITES_MAX {
        let problem = format!("{routed} routed endpoints and {peers} peers are too many together");
        let remedy = format!("use {} at most, a peer counting {each}", REWRITES_MAX - 1);
        return Err(Invalid::new("endpoint", problem, remedy));
    }
    Ok(())
}

fn unique<'a>(noun: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    for name in names {
        check_name(noun, name)?;
        if !seen.insert(name) {
            return Err(two_of_a_name(noun, name));
        }
    }
    Ok(())
}

pub(super) fn check_name(noun: &str, name: &str) -> Result<(), Invalid> {
    if name.is_empty() || name.len() > 253 || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let problem = format!("{name:?} can't be a name");
        let remedy = "use 1 to 253 characters without white space";
        return Err(Invalid::new(format!("{noun}.name"), problem, remedy));
    }
    Ok(())
}

pub(super) fn two_of_a_name(noun: &str, name: &str) -> Invalid {
    let remedy = format!("give each {noun} a name of its own");
    Invalid::new(format!("{noun} \"{name}\""), "there are two of this name", remedy)
}

fn gateway_mac(config: &Config) -> Result<Mac, Invalid> {
    let mac =
        config.node.gateway_mac.unwrap_or_else(|| Mac::local(&format!("weft gateway {}", config.node.name)));
    check_mac("node.gateway_mac", mac)?;
    Ok(mac)
}

pub(super) fn check_mac(key: impl Display, mac: Mac) -> Result<(), Invalid> {
    if mac.is_group() || mac == Mac::ZERO {
        return Err(Invalid::new(
            key.to_string(),
            format!("{mac} is no station's address"),
            "use a unicast MAC, such as 02:…",
        ));
    }
    Ok(())
}

fn network(spec: &NetworkSpec, gateway_mac: Mac) -> Result<Network, Invalid> {
    let key = |field: &str| format!("network \"{}\".{field}", spec.name);
    let mode = match spec.mode {
        ModeSpec::Routed => Mode::Routed,
        ModeSpec::Bridged => Mode::Bridged,
    };
    if mode == Mode::Bridged && !spec.gateways.is_empty() {
        let remedy = "leave it out, or make the network routed";
        return Err(Invalid::new(
            key("gateways"),
            "a bridged network has no gateway of the switch's",
            remedy,
        ));
    }
    if mode == Mode::Routed && spec.vlan.is_some() {
        let remedy = "leave it out, or make the network bridged";
        return Err(Invalid::new(key("vlan"), "a routed network has no trunk ports", remedy));
    }
    for gateway in &spec.gateways {
        addresses::check(key("gateways"), *gateway)?;
        if !spec.prefixes.iter().any(|prefix| prefix.contains(gateway)) {
            let problem = format!("{gateway} is in none of the network's prefixes");
            return Err(Invalid::new(
                key("gateways"),
                problem,
                "add its prefix, or take an address inside one",
            ));
        }
    }
    if let Some(mac) = spec.gateway_mac {
        check_mac(key("gateway_mac"), mac)?;
    }
    Ok(Network {
        name: spec.name.clone(),
        mode,
        gateway_mac: spec.gateway_mac.unwrap_or(gateway_mac),
        prefixes: spec.prefixes.iter().map(|prefix| prefix.trunc()).collect(),
        gateways: spec.gateways.clone(),
        vlan: spec.vlan,
        ageing: Duration::from_secs(spec.ageing_s.max(1)),
        suppress: spec.suppress,
        vni: spec.vni,
        fdb_size: spec.fdb_size as usize,
        flood_rate: match spec.flood_rate {
            0 => None,
            rate => Some(Rate::new(rate, (rate / 10).max(1))),
        },
    })
}

fn settings(config: &Config) -> Result<Settings, Invalid> {
    let available: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let cores = if config.pmd.cores.is_empty() {
        available.last().copied().into_iter().collect()
    } else {
        config.pmd.cores.clone()
    };
    let mut seen = BTreeSet::new();
    for core in &cores {
        if !available.contains(core) {
            let problem = format!("core {core} is not one weftd may run on");
            return Err(Invalid::new("pmd.cores", problem, format!("use some of {available:?}")));
        }
        if !seen.insert(*core) {
            return Err(Invalid::new(
                "pmd.cores",
                format!("core {core} is there twice"),
                "name each core once",
            ));
        }
    }
    if config.pmd.memory_mib < 8 || config.pmd.memory_mib > 1 << 20 {
        let problem = format!("{} MiB of frame memory", config.pmd.memory_mib);
        return Err(Invalid::new("pmd.memory_mib", problem, "use 8 to 1048576"));
    }
    if config.pmd.flows == 0 || config.pmd.flows > 1 << 26 {
        return Err(Invalid::new("pmd.flows", format!("{} flows", config.pmd.flows), "use 1 to 67108864"));
    }
    let idle = match config.pmd.idle {
        IdleSpec::Adaptive => Idle::Adaptive,
        IdleSpec::Spin => Idle::Spin,
    };
    Ok(Settings { cores, idle, memory_mib: config.pmd.memory_mib, flows: config.pmd.flows })
}

fn port(spec: &PortSpec, networks: &[Network], cores: &[usize]) -> Result<Port, Invalid> {
    let key = |field: &str| format!("port \"{}\".{field}", spec.name);
    let bridged = |name: &String| {
        let found = networks.iter().position(|network| network.name == *name);
        let index = found
            .ok_or_else(|| unknown(key("network"), "network", name, networks.iter().map(|n| &n.name)))?;
        if networks[index].mode != Mode::Bridged {
            let problem = format!("network \"{name}\" is routed: its pods are behind ports of role pod");
            return Err(Invalid::new(
                key("network"),
                problem,
                "name a bridged network, or use role = \"pod\"",
            ));
        }
        Ok(index)
    };
    let role = match spec.role {
        RoleSpec::Pod => Role::Pod,
        RoleSpec::Host => Role::Host,
        RoleSpec::Fabric => Role::Fabric,
        RoleSpec::Access => {
            let missing =
                || Invalid::new(key("network"), "an access port needs its network", "add network = \"…\"");
            Role::Access(bridged(spec.network.as_ref().ok_or_else(missing)?)?)
        }
        RoleSpec::Trunk => Role::Trunk(trunk(spec, networks, bridged)?),
    };
    if spec.network.is_some() && spec.role != RoleSpec::Access {
        let remedy = "leave it out; a pod's network is its endpoint's, a trunk's are in `networks`";
        return Err(Invalid::new(key("network"), "only an access port has a network of its own", remedy));
    }
    if !spec.networks.is_empty() && spec.role != RoleSpec::Trunk {
        let remedy = "leave it out, or use role = \"trunk\"";
        return Err(Invalid::new(key("networks"), "only a trunk port has several networks", remedy));
    }
    for core in &spec.cores {
        if !cores.contains(core) {
            let problem = format!("no PMD thread runs on core {core}");
            return Err(Invalid::new(key("cores"), problem, format!("use some of pmd.cores, {cores:?}")));
        }
    }
    if let Some(mac) = spec.mac {
        check_mac(key("mac"), mac)?;
    }
    kinds::check(spec)?;
    Ok(Port { name: spec.name.clone(), role, spec: spec.clone() })
}

fn trunk(
    spec: &PortSpec,
    networks: &[Network],
    bridged: impl Fn(&String) -> Result<usize, Invalid>,
) -> Result<Vec<usize>, Invalid> {
    let key = format!("port \"{}\".networks", spec.name);
    if spec.networks.is_empty() {
        return Err(Invalid::new(key, "a trunk port needs networks", "add networks = [\"…\"]"));
    }
    let indices: Vec<usize> = spec.networks.iter().map(bridged).collect::<Result<_, _>>()?;
    let mut tags = BTreeMap::new();
    for &index in &indices {
        let network = &networks[index];
        let Some(vlan) = network.vlan else {
            let problem = format!("network \"{}\" has no VLAN id", network.name);
            return Err(Invalid::new(key, problem, "give the network a `vlan`"));
        };
        if let Some(other) = tags.insert(vlan, &network.name) {
            let problem = format!("networks \"{other}\" and \"{}\" both have VLAN {vlan}", network.name);
            return Err(Invalid::new(key, problem, "give them different VLAN ids, or leave one out"));
        }
    }
    Ok(indices)
}

fn unknown<'a>(key: String, noun: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Invalid {
    let known: Vec<&str> = known.map(String::as_str).take(20).collect();
    let remedy = if known.is_empty() {
        format!("add a {noun} first")
    } else {
        format!("use one of {}", known.join(", "))
    };
    Invalid::new(key, format!("there is no {noun} \"{name}\""), remedy)
}

pub(super) fn find_port(key: String, name: &str, ports: &[Port]) -> Result<usize, Invalid> {
    let found = ports.iter().position(|port| port.name == name);
    found.ok_or_else(|| unknown(key, "port", name, ports.iter().map(|port| &port.name)))
}

pub(super) fn find_network(key: String, name: &str, networks: &[Network]) -> Result<usize, Invalid> {
    let found = networks.iter().position(|network| network.name == name);
    found.ok_or_else(|| unknown(key, "network", name, networks.iter().map(|network| &network.name)))
}

fn one_of_a_kind(ports: &[Port], role: Role, word: &str) -> Result<(), Invalid> {
    match ports.iter().filter(|port| port.role == role).nth(1) {
        Some(second) => {
            let key = format!("port \"{}\".role", second.name);
            Err(Invalid::new(key, format!("there is a {word} port already"), "a node has one"))
        }
        None => Ok(()),
    }
}

fn endpoint(spec: &EndpointSpec, networks: &[Network], ports: &[Port]) -> Result<Endpoint, Invalid> {
    let key = |field: &str| format!("endpoint \"{}\".{field}", spec.name);
    let network = find_network(key("network"), &spec.network, networks)?;
    let port = find_port(key("port"), &spec.port, ports)?;
    check_mac(key("mac"), spec.mac)?;
    for address in &spec.addresses {
        addresses::check(key("addresses"), *address)?;
    }
    if ports[port].role != Role::Pod {
        let problem = format!("port \"{}\" is not for pods", spec.port);
        return Err(Invalid::new(key("port"), problem, "name a port whose role is pod"));
    }
    if networks[network].mode == Mode::Routed {
        if spec.addresses.is_empty() {
            let problem = "an endpoint of a routed network needs an address";
            return Err(Invalid::new(key("addresses"), problem, "add addresses = [\"…\"]"));
        }
        for address in &spec.addresses {
            if !networks[network].prefixes.iter().any(|prefix| prefix.contains(address)) {
                let problem = format!("{address} is in none of the prefixes of network \"{}\"", spec.network);
                return Err(Invalid::new(key("addresses"), problem, "take an address inside one of them"));
            }
        }
    }
    Ok(Endpoint { name: spec.name.clone(), network, port, mac: spec.mac, addresses: spec.addresses.clone() })
}

/// All endpoints of a port are in one network; a MAC is one endpoint's per network.
fn endpoints_fit(endpoints: &[Endpoint], networks: &[Network], ports: &[Port]) -> Result<(), Invalid> {
    let mut macs = BTreeMap::new();
    let mut homes: BTreeMap<usize, &Endpoint> = BTreeMap::new();
    for endpoint in endpoints {
        let key = |field: &str| format!("endpoint \"{}\".{field}", endpoint.name);
        if endpoint.mac == networks[endpoint.network].gateway_mac {
            let problem = format!("{} is the gateway's", endpoint.mac);
            return Err(Invalid::new(key("mac"), problem, "give the endpoint a MAC of its own"));
        }
        if let Some(other) = macs.insert((endpoint.network, endpoint.mac), &endpoint.name) {
            let problem = format!("endpoint \"{other}\" has {} already", endpoint.mac);
            return Err(Invalid::new(
                key("mac"),
                problem,
                "give each endpoint of a network a MAC of its own",
            ));
        }
        if let Some(other) =
            homes.insert(endpoint.port, endpoint).filter(|other| other.network != endpoint.network)
        {
            let port = &ports[endpoint.port].name;
            let problem = format!("port \"{port}\" has endpoint \"{}\" of another network", other.name);
            return Err(Invalid::new(key("network"), problem, "a pod port's endpoints are of one network"));
        }
    }
    Ok(())
}
