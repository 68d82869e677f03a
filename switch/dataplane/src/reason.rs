//! Why packets are dropped or punted: one list each, from which code, counters, `weftctl` and metrics take the words.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = $text] $variant,)+
        }

        impl $name {
            /// All of them, in the order of their counters.
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its word in counters, tables and metrics.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What happened, for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped. A reason of the ingress side counts at the port it came from, one of the egress side
    /// at the port it was to leave by.
    DropReason {
        // ingress side
        Truncated = "truncated", "shorter than its headers say";
        Malformed = "malformed", "an IP header that no host may send (version, length or header checksum)";
        HeaderChain = "header_chain", "more IPv6 extension headers than are looked behind, 8 (RFC 8504 §5.3)";
        TinyFragment = "tiny_fragment", "a fragment made to hide TCP flags (RFC 1858 §3)";
        BadSource = "bad_source", "a group address, or none (all zeros), as source MAC";
        NdInvalid = "nd_invalid", "neighbour or router discovery that whoever gets it must discard (RFC 4861 §6.1, §7.1, §8.1; RFC 6980)";
        Spoofed = "spoofed", "addresses in another's name: the source, or what ARP or neighbour discovery says";
        MartianSource = "martian_source", "from an address that no packet may be forwarded from (RFC 1812 §5.3.7, RFC 4291 §2.5)";
        MartianDestination = "martian_destination", "to an address that no packet may be forwarded to (RFC 1812 §5.3.7, RFC 4291 §2.5)";
        RogueRouter = "rogue_router", "a router advertisement or redirect from a pod, which is no router (RFC 6105)";
        IcmpUnrelated = "icmp_unrelated", "a pod's ICMP error about a packet that its addressee has not sent to it (RFC 5927 §4)";
        BadOffload = "bad_offload", "what its sender leaves to be done (checksum, segmentation) contradicts the packet";
        NoEndpoint = "no_endpoint", "a pod port without an endpoint";
        VlanNotAllowed = "vlan_not_allowed", "a VLAN tag that the port does not carry, or none where one is needed, or one that hides what is behind it";
        Reserved = "reserved", "to an address that bridges do not forward (802.1Q-2018 table 8-1): pause, LACP, LLDP and the like";
        NotForGateway = "not_for_gateway", "a routed network's frame whose destination MAC is not the gateway's";
        Multicast = "multicast", "multicast or broadcast in a routed network";
        NotIp = "not_ip", "neither IP nor ARP, in a routed network";
        NotOurs = "not_ours", "the node's own, which its own stack has received, too";
        Ignored = "ignored", "neighbour or router discovery that needs no answer";
        BadChecksum = "bad_checksum", "an ICMP message for the switch itself with a wrong checksum";
        Isolated = "isolated", "destination in another network";
        NoRoute = "no_route", "no route to the destination, and no host port to hand it to";
        NeighbourUnresolved = "neighbour_unresolved", "the next hop's MAC is not known yet";
        SamePort = "same_port", "destination is behind the port it came from";
        Rule = "rule", "an operator's rule says drop";
        Policed = "policed", "over the rate that a rule allows";
        TooManyActions = "too_many_actions", "more rules with `continue` matched than a program holds";
        ResolveLimited = "resolve_limited", "a new flow, while established ones keep the thread busy";
        TunnelMalformed = "tunnel_malformed", "a tunnel packet whose headers are not as they should be";
        TunnelProbe = "tunnel_probe", "another node's question of how large packets the way takes; it carries nothing";
        TunnelStranger = "tunnel_stranger", "a tunnel packet from an address that is no peer's";
        TunnelNetwork = "tunnel_network", "a tunnel packet of a network (VNI) that is not here";
        TunnelNested = "tunnel_nested", "a tunnel packet inside of another";
        TunnelCongested = "tunnel_congested", "marked congested on the way, and its sender can't be told (RFC 6040 §4.2)";
        PuntLimited = "punt_limited", "for the slow path, of which its sender has had its share";
        PuntFull = "punt_full", "the slow path is behind: its ring is full";
        StormLimited = "storm_limited", "flooded at more than the rate that its network allows each port";
        // egress side
        PortGone = "port_gone", "the port to leave by is gone";
        TxFull = "tx_full", "the port to leave by is full";
        HandoffFull = "handoff_full", "the thread that owns the queue to leave by is behind";
        FloodLimited = "flood_limited", "flooded to other nodes at more than the network's rate";
        TooBig = "too_big", "larger than the port's MTU and may not be cut";
        NoFrames = "no_frames", "frame memory is used up";
        Refused = "refused", "the device refused the frame";
    }
}

impl DropReason {
    /// The stage, or the table, that decides it.
    pub const fn decided_by(self) -> &'static str {
        match self {
            Self::Truncated | Self::Malformed | Self::TinyFragment => "parse",
            Self::BadSource | Self::BadOffload | Self::HeaderChain | Self::NdInvalid => "parse",
            Self::TunnelMalformed | Self::TunnelProbe | Self::TunnelStranger => "decap",
            Self::TunnelNetwork | Self::TunnelCongested => "decap",
            Self::NoEndpoint | Self::VlanNotAllowed => "port",
            Self::MartianSource | Self::MartianDestination => "scope",
            Self::Spoofed | Self::RogueRouter | Self::IcmpUnrelated => "endpoints",
            Self::BadChecksum => "slowpath",
            Self::Reserved | Self::NotForGateway | Self::Multicast | Self::NotIp | Self::Ignored => "network",
            Self::Isolated | Self::NoRoute | Self::NotOurs | Self::TunnelNested => "routes",
            Self::NeighbourUnresolved => "peers",
            Self::SamePort => "fdb",
            Self::Rule | Self::Policed | Self::TooManyActions => "rules",
            Self::ResolveLimited => "classify",
            Self::PuntLimited
            | Self::PuntFull
            | Self::StormLimited
            | Self::PortGone
            | Self::TxFull
            | Self::HandoffFull => "egress",
            Self::FloodLimited | Self::TooBig | Self::NoFrames | Self::Refused => "egress",
        }
    }
}

reasons! {
    /// Why a packet went to the slow path.
    PuntReason {
        Arp = "arp", "an ARP request for the switch to answer";
        Nd = "nd", "IPv6 neighbour or router discovery for the switch to answer";
        Local = "local", "for one of the switch's own (gateway) addresses";
        TtlExpired = "ttl_expired", "TTL or hop limit used up: ICMP time exceeded";
        TooBig = "too_big", "larger than the egress MTU and may not be fragmented: ICMP too big";
        PathMtu = "path_mtu", "a router says that a tunnel's packets are too big for its next hop";
        Unreachable = "unreachable", "no such host or network: ICMP unreachable";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_and_plain() {
        for words in
            [DropReason::ALL.map(DropReason::word).to_vec(), PuntReason::ALL.map(PuntReason::word).to_vec()]
        {
            let set: std::collections::BTreeSet<_> = words.iter().collect();
            assert_eq!(set.len(), words.len());
            assert!(
                words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
            );
        }
    }
}
