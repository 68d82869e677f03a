//! Flow rules and the flow cache, as people read them.

use weft_ctl_api::{
    Error,
    flow::{CachedFlow, CachedFlows, FlowCache, FlowRow, FlowRows},
    spec::Protocol,
};
use weft_dataplane::{key::FlowKey, table::flow::FlowEntry};
use weft_wire::{PortId, ThreadId, ethertype, ip::proto};

use super::{Session, not_found};

/// So many at most, whatever is asked: a reply has a limit.
const FLOWS_MAX: usize = 200_000;

impl Session {
    pub(super) fn flow_rows(&self) -> FlowRows {
        let mut flows: Vec<FlowRow> = self
            .switch
            .config
            .flow
            .iter()
            .map(|spec| {
                let (packets, bytes) = self.switch.rule_hits(&spec.name);
                FlowRow { spec: spec.clone(), packets, bytes }
            })
            .collect();
        flows.sort_by_key(|row| std::cmp::Reverse(row.spec.priority)); // stable: as they are looked at
        FlowRows { flows }
    }

    pub(super) fn cached_flows(&self, call: &FlowCache) -> Result<CachedFlows, Error> {
        let switch = &self.switch;
        let port = call.port.as_ref().map(|name| {
            let open = switch.ports.get(name).map(|open| open.id());
            open.ok_or_else(|| not_found("port", name, switch.ports.keys().map(String::as_str)))
        });
        let port = port.transpose()?;
        let limit = call.limit.min(FLOWS_MAX);
        let mut reply = CachedFlows { flows: Vec::new(), total: 0, truncated: false };
        for (index, thread) in switch.runtime.threads.iter().enumerate() {
            reply.total += thread.counters.flows.get();
            if call.core.is_some_and(|core| core != thread.core) {
                continue;
            }
            switch.runtime.flows(ThreadId(index as u16), |flow, dump| {
                if !matches(call, port, &flow.key) {
                    return true;
                }
                if reply.flows.len() >= limit {
                    reply.truncated = true;
                    return false;
                }
                let stale = flow.state.generation != dump.generation;
                reply.flows.push(self.cached_flow(thread.core, flow, dump.now_ms, stale));
                true
            });
        }
        reply.flows.sort_by_key(|flow| std::cmp::Reverse(flow.packets));
        Ok(reply)
    }

    pub(super) fn cached_flow(&self, core: usize, flow: &FlowEntry, now_ms: u32, stale: bool) -> CachedFlow {
        let view = self.switch.view_of_flow(&flow.state);
        CachedFlow {
            core,
            port: view.names.origin(flow.key.origin()),
            flow: describe(&flow.key),
            actions: view.program_words(&flow.program),
            packets: flow.state.packets,
            bytes: flow.state.bytes,
            idle_ms: now_ms.wrapping_sub(flow.state.used_ms).into(),
            stale,
        }
    }
}

fn matches(call: &FlowCache, port: Option<PortId>, key: &FlowKey) -> bool {
    let is_ip = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6);
    port.is_none_or(|port| key.ingress() == Some(port))
        && call.address.is_none_or(|address| key.src_ip() == address || key.dst_ip() == address)
        && call.protocol.is_none_or(|protocol| is_ip && key.protocol == protocol.0)
        && call.l4_port.is_none_or(|port| is_ip && (key.src_port() == port || key.dst_port() == port))
}

/// A flow in words.
pub fn describe(key: &FlowKey) -> String {
    let tag = key.vlan().map(|vlan| format!("vlan {vlan} ")).unwrap_or_default();
    let words = match key.ethertype {
        ethertype::ARP => format!("arp {} > {}", key.src_ip(), key.dst_ip()),
        ethertype::IPV4 | ethertype::IPV6 => {
            let protocol = Protocol(key.protocol);
            let is_later = key.tag & FlowKey::LATER_FRAGMENT != 0;
            let has_ports = matches!(key.protocol, proto::TCP | proto::UDP | proto::SCTP) && !is_later;
            let end = |address: std::net::IpAddr, port: u16| match (has_ports, address) {
                (true, std::net::IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
                (true, v4) => format!("{v4}:{port}"),
                (false, address) => address.to_string(),
            };
            let fragment = if is_later { " fragment" } else { "" };
            let (src, dst) = (end(key.src_ip(), key.src_port()), end(key.dst_ip(), key.dst_port()));
            let kind = match key.protocol {
                proto::ICMP | proto::ICMPV6 if !is_later => format!(" type {}", key.dst_port() >> 8),
                _ => String::new(),
            };
            format!("{protocol}{fragment} {src} > {dst}{kind}")
        }
        other => format!("0x{other:04x} {} > {}", key.src_mac, key.dst_mac),
    };
    format!("{tag}{words}")
}
