//! Whatever some pods flood the switch with, what another asks of it is answered.

use proptest::{prelude::*, sample::select};
use weft_tests::{packets::eth, sim::Sim};

const GATEWAY: &str = "02:00:00:00:00:01";
const ALL: &str = "ff:ff:ff:ff:ff:ff";

/// What a flood is made of.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Arp,
    Solicit,
    Ping,
    Half,
    Udp,
    Ttl,
    Unreachable,
    TooBig,
}

const KINDS: [Kind; 8] =
    [Kind::Arp, Kind::Solicit, Kind::Ping, Kind::Half, Kind::Udp, Kind::Ttl, Kind::Unreachable, Kind::TooBig];

/// A node with so many pods.
fn config(pods: usize) -> String {
    let pod = |i: usize| {
        format!(
            "[[port]]\nname = \"p{i}\"\nkind = \"tap\"\ndevice = \"p{i}\"\nmtu = {}\n[[endpoint]]\nname = \"p{i}\"\n\
             network = \"pods\"\nport = \"p{i}\"\nmac = \"{}\"\naddresses = [\"{}\", \"fd00::{i:x}a\"]\n",
            if i == 0 { 1500 } else { 9000 },
            mac(i),
            v4(i)
        )
    };
    let head = "[node]\nname = \"n\"\ngateway_mac = \"02:00:00:00:00:01\"\n[pmd]\ncores = [0]\nflows = 4096\n[[network]]\n\
                name = \"pods\"\nprefixes = [\"10.0.0.0/24\", \"fd00::/64\"]\ngateways = [\"10.0.0.1\", \"fd00::1\"]\n";
    head.to_owned() + &(0..pods).map(pod).collect::<String>()
}

fn mac(i: usize) -> String {
    format!("02:00:00:00:01:{i:02x}")
}

fn v4(i: usize) -> String {
    format!("10.0.0.{}", 10 + i)
}

fn packet(i: usize, kind: Kind) -> Vec<u8> {
    let (own, sent) = (v4(i), eth(&mac(i), GATEWAY));
    match kind {
        Kind::Arp => eth(&mac(i), ALL).arp(&own, "10.0.0.1"),
        Kind::Solicit => eth(&mac(i), "33:33:ff:00:00:01").solicit(&format!("fd00::{i:x}a"), "fd00::1"),
        Kind::Ping => sent.ping(&own, "10.0.0.1", 64),
        Kind::Half => {
            let mut half = sent.ping(&own, "10.0.0.1", 64);
            // More fragments to come, and the checksum that goes with it: DF was set.
            half[20] = 0x20;
            let sum = u32::from(u16::from_be_bytes([half[24], half[25]])) + 0x2000;
            half[24..26].copy_from_slice(&((sum + (sum >> 16)) as u16).to_be_bytes());
            half
        }
        Kind::Udp => sent.udp(&own, "10.0.0.1", (1, 2), 64, 10),
        Kind::Ttl => sent.udp(&own, &v4(0), (1, 2), 1, 10),
        Kind::Unreachable => sent.udp(&own, "10.0.0.250", (1, 2), 64, 10),
        Kind::TooBig => sent.udp(&own, &v4(0), (1, 2), 64, 3000),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn floods_leave_others_their_answers(
        floods in 1_usize..12,
        rounds in proptest::collection::vec((select(&KINDS[..]), 1_usize..400), 1..6),
    ) {
        let mut sim = Sim::new(&config(floods + 1));
        for (kind, packets) in rounds {
            for flood in 1..=floods {
                (0..packets).for_each(|_| sim.put(&format!("p{flood}"), packet(flood, kind)));
            }
            for asked in [Kind::Arp, Kind::Solicit, Kind::Ping, Kind::Udp, Kind::Unreachable] {
                sim.put("p0", packet(0, asked));
            }
            sim.run();
            prop_assert_eq!(sim.tape("p0").take().len(), 5, "{:?} of {} pods", kind, floods);
            sim.now_ns += 100_000_000;
        }
        sim.check_laws();
        sim.finish();
    }
}
