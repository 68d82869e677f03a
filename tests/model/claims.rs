//! What may be said in a bridged network, against an oracle that knows who is who.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use weft_dataplane::reason::DropReason;
use weft_tests::{
    messages::{Arp, advertisement, solicitation},
    packets::Eth,
    sim::Sim,
};
use weft_wire::Mac;

/// Two pods with addresses, one without, and a port where addresses are learnt.
fn config() -> String {
    let pod = |i: u8, addresses: &str| {
        format!(
            "[[port]]\nname = \"p{i}\"\nkind = \"tap\"\ndevice = \"p{i}\"\n[[endpoint]]\nname = \"p{i}\"\nnetwork = \"lan\"\n\
             port = \"p{i}\"\nmac = \"{}\"\naddresses = [{addresses}]\n",
            mac(i)
        )
    };
    format!(
        "[node]\nname = \"model\"\n[pmd]\ncores = [0]\nflows = 64\n[[network]]\nname = \"lan\"\nmode = \"bridged\"\n\
         {}{}{}[[port]]\nname = \"p3\"\nkind = \"xsk\"\nrole = \"access\"\nnetwork = \"lan\"\ndevice = \"p3\"\n",
        pod(0, "\"10.9.0.10\", \"fd09::10\""),
        pod(1, "\"10.9.0.11\", \"fd09::11\", \"fe80::11\", \"169.254.0.11\""),
        pod(2, "")
    )
}

const WORLD: u8 = 3;

fn mac(who: u8) -> Mac {
    Mac([2, 0, 0, 0, 9, who])
}

/// An address that can be spoken of: whose it is, and whether it is a link-local one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    of: u8,
    is_link_local: bool,
}

impl Address {
    fn v4(self) -> String {
        let [a, b] = if self.is_link_local { [169, 254] } else { [10, 9] };
        Ipv4Addr::new(a, b, 0, 10 + self.of).to_string()
    }

    fn v6(self) -> String {
        format!("{}::1{}", if self.is_link_local { "fe80" } else { "fd09" }, self.of)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Arp { is_reply: bool },
    Advertisement,
    Solicitation,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    port: u8,
    kind: Kind,
    /// Whose MAC the frame comes from, and whose it names.
    from: u8,
    named: u8,
    /// What is claimed; a sender without an address would like to have it.
    about: Address,
    has_address: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let kind = prop_oneof![
        any::<bool>().prop_map(|is_reply| Kind::Arp { is_reply }),
        Just(Kind::Advertisement),
        Just(Kind::Solicitation),
    ];
    let mostly = |port: u8| prop_oneof![4 => Just(port), 1 => 0_u8..5];
    let about = (0_u8..5, prop::bool::weighted(0.3));
    (0_u8..4, kind, about, prop::bool::weighted(0.8))
        .prop_flat_map(move |(port, kind, about, has_address)| {
            (Just((port, kind, about, has_address)), mostly(port), mostly(port), prop::bool::weighted(0.5))
        })
        .prop_map(|((port, kind, about, has_address), from, named, is_own)| {
            let of = if is_own { port } else { about.0 };
            Said { port, kind, from, named, about: Address { of, is_link_local: about.1 }, has_address }
        })
}

fn frame(said: &Said) -> Vec<u8> {
    let (src, named) = (mac(said.from), mac(said.named).to_string());
    let multicast = Eth { src, dst: Mac([0x33, 0x33, 0, 0, 0, 1]), vlan: None };
    let (v4, v6) = (said.about.v4(), said.about.v6());
    match said.kind {
        Kind::Arp { is_reply } => {
            let (sender, target) =
                if said.has_address { (&v4[..], "10.9.0.99") } else { ("0.0.0.0", &v4[..]) };
            let operation = 1 + u16::from(is_reply);
            let arp = Arp { hardware: 1, operation, sender_mac: Some(&named), sender, target };
            Eth { dst: Mac::BROADCAST, ..multicast }.arp_packet(arp)
        }
        Kind::Advertisement => multicast.icmp6(&advertisement(&v6, "ff02::1", &v6, &named)),
        Kind::Solicitation if said.has_address => {
            multicast.icmp6(&solicitation(&v6, "fd09::99", Some(&named)))
        }
        Kind::Solicitation => multicast.icmp6(&solicitation("::", &v6, None)),
    }
}

/// Whether it may be said.
fn is_right(said: &Said) -> bool {
    let names_nobody = said.kind == Kind::Solicitation && !said.has_address;
    let wishes = !said.has_address && said.kind != Kind::Advertisement;
    let of = said.about.of;
    // Only the second pod's link-local addresses are known to anybody.
    let is_known = if said.about.is_link_local { of == 1 } else { of < 2 };
    if said.port == WORLD {
        let is_a_pods = |who: u8| who < WORLD;
        let names_a_pod = !names_nobody && is_a_pods(said.named);
        return !is_a_pods(said.from) && !names_a_pod && (wishes || !is_known);
    }
    let is_itself = said.from == said.port && (names_nobody || said.named == said.from);
    let may_have = match said.port {
        0 => (of == 0 && !said.about.is_link_local) || (said.about.is_link_local && !is_known),
        1 => of == 1,
        _ => !is_known,
    };
    is_itself && may_have
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_true_is_passed_on_and_nothing_else(all in prop::collection::vec(said(), 1..40)) {
        let mut sim = Sim::new(&config());
        for said in &all {
            let port = format!("p{}", said.port);
            let before = sim.drops(&port, DropReason::Spoofed);
            sim.put(&port, frame(said));
            sim.run();
            let got = (0..4).filter(|other| !sim.tape(&format!("p{other}")).take().is_empty()).count();
            let dropped = sim.drops(&port, DropReason::Spoofed) - before;
            prop_assert_eq!((got, dropped), if is_right(said) { (3, 0) } else { (0, 1) }, "{:?}", said);
        }
        sim.check_laws();
        sim.finish();
    }
}
