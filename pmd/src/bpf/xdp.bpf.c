// Hands frames to the switch's AF_XDP sockets, and passes everything else to the kernel.
//
// Two ways, by `steer`:
// - 0: every frame of a queue with a socket is the switch's (a pod's veth).
// - 1: only IP packets to one of the prefixes in the tries are (a NIC that the node uses, too). ARP, neighbour
//   discovery, the node's own addresses and whatever else there is go on to the node's own stack.
//
// Section "xdp.frags": the program takes multi-buffer frames, so that an MTU above a page can be set
// (Documentation/bpf/libbpf/program_types.rst).

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

const volatile __u32 steer = 0;

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
	__type(value, __u8);
} prefixes_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key_v6);
	__type(value, __u8);
} prefixes_v6 SEC(".maps");

static __always_inline int is_ours(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		struct key_v4 key = { .prefix_len = 32 };

		if ((void *)(ip + 1) > end)
			return 0;
		key.address = ip->daddr;
		return bpf_map_lookup_elem(&prefixes_v4, &key) != 0;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		struct key_v6 key = { .prefix_len = 128 };

		if ((void *)(ip + 1) > end)
			return 0;
		__builtin_memcpy(key.address, &ip->daddr, sizeof(key.address));
		return bpf_map_lookup_elem(&prefixes_v6, &key) != 0;
	}
	return 0;
}

SEC("xdp.frags")
int weft(struct xdp_md *ctx)
{
	if (steer && !is_ours(ctx))
		return XDP_PASS;
	// Without a socket on this queue the frame goes to the kernel.
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
