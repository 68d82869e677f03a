// Hands frames to the switch's AF_XDP sockets, and passes everything else to the kernel.
//
// Two ways, by `steer`:
// - 0: every frame of a queue with a socket is the switch's (a pod's veth).
// - 1: only IP packets to one of the prefixes in the tries are (a NIC that the node uses, too): all of them where the
//   trie's value is 0, else tunnel packets, to that UDP port, and what routers say about those that were sent. ARP,
//   neighbour discovery, fragments, the node's other traffic go on to the node's own stack.
//
// `weft_claim` and `weft_keep` below are for the node's stack: what it is not to get of a device.
//
// Section "xdp.frags": the program takes multi-buffer frames, so that an MTU above a page can be set
// (Documentation/bpf/libbpf/program_types.rst).

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

const volatile __u32 steer = 0;
// What becomes of a frame of a queue without a socket: the kernel gets it, or nobody (XDP_DROP: a pod's).
const volatile __u32 unserved = XDP_PASS;

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct key_v4 {
	__u32 prefix_len;
	__u32 address;
};

struct key_v6 {
	__u32 prefix_len;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key_v4);
	__type(value, __u16);
} prefixes_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key_v6);
	__type(value, __u16);
} prefixes_v6 SEC(".maps");

// RFC 792 and RFC 4443 agree on these; <linux/icmp.h> wants the C library's headers.
struct icmp_error {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 mtu;
};
#define V4_UNREACHABLE 3
#define V4_TOO_BIG 4
#define V6_TOO_BIG 2

// RFC 791: all but the "don't fragment" bit.
#define FRAGMENT 0xbfff

// Whether `udp` is to the port; nothing behind it is looked at.
static __always_inline int is_to_port(struct udphdr *udp, void *end, __be16 port)
{
	return (void *)(udp + 1) <= end && udp->dest == port;
}

static __always_inline int is_tunnel_v4(struct iphdr *ip, void *end, __be16 port)
{
	if (ip->ihl != 5 || ip->frag_off & bpf_htons(FRAGMENT))
		return 0;
	if (ip->protocol == IPPROTO_UDP)
		return is_to_port((void *)(ip + 1), end, port);
	if (ip->protocol == IPPROTO_ICMP) {
		struct icmp_error *icmp = (void *)(ip + 1);
		struct iphdr *quoted = (void *)(icmp + 1);

		return (void *)(quoted + 1) <= end && icmp->type == V4_UNREACHABLE &&
		       icmp->code == V4_TOO_BIG && quoted->ihl == 5 &&
		       quoted->protocol == IPPROTO_UDP && is_to_port((void *)(quoted + 1), end, port);
	}
	return 0;
}

static __always_inline int is_tunnel_v6(struct ipv6hdr *ip, void *end, __be16 port)
{
	if (ip->nexthdr == IPPROTO_UDP)
		return is_to_port((void *)(ip + 1), end, port);
	if (ip->nexthdr == IPPROTO_ICMPV6) {
		struct icmp_error *icmp = (void *)(ip + 1);
		struct ipv6hdr *quoted = (void *)(icmp + 1);

		return (void *)(quoted + 1) <= end && icmp->type == V6_TOO_BIG &&
		       quoted->nexthdr == IPPROTO_UDP && is_to_port((void *)(quoted + 1), end, port);
	}
	return 0;
}

static __always_inline int is_ours(void *data, void *end)
{
	struct ethhdr *eth = data;
	__u16 *port;

	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		struct key_v4 key = { .prefix_len = 32 };

		if ((void *)(ip + 1) > end)
			return 0;
		key.address = ip->daddr;
		port = bpf_map_lookup_elem(&prefixes_v4, &key);
		return port && (!*port || is_tunnel_v4(ip, end, *port));
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		struct key_v6 key = { .prefix_len = 128 };

		if ((void *)(ip + 1) > end)
			return 0;
		__builtin_memcpy(key.address, &ip->daddr, sizeof(key.address));
		port = bpf_map_lookup_elem(&prefixes_v6, &key);
		return port && (!*port || is_tunnel_v6(ip, end, *port));
	}
	return 0;
}

SEC("xdp.frags")
int weft(struct xdp_md *ctx)
{
	if (steer && !is_ours((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_PASS;
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, unserved);
}

// For devices without XDP, where the switch listens by AF_PACKET: what is its own, which it has a copy of already, is kept
// from the node's stack.
// enum tcx_action_base, which older headers lack.
#define CONTINUE -1
#define DROP 2

SEC("tc")
int weft_claim(struct __sk_buff *skb)
{
	// Ethernet, IPv6, ICMPv6, and the IPv6 and UDP headers that it quotes.
	bpf_skb_pull_data(skb, skb->len < 110 ? skb->len : 110);
	if (is_ours((void *)(long)skb->data, (void *)(long)skb->data_end))
		return DROP;
	return CONTINUE;
}

// For devices that are the switch's alone, such as its end of a pod's veth: nothing goes further. AF_PACKET sockets of all
// protocols (ETH_P_ALL) are served before, bridges, VLAN devices and the stack behind it, and so are sockets of one protocol:
// a switch that listens by those has to mark frames PACKET_OTHERHOST (bpf_skb_change_type) instead.
SEC("tc")
int weft_keep(struct __sk_buff *skb)
{
	return DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
