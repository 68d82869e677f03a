// Hands UDP over IPv4 and IPv6 to the sink's socket of the queue it came by, behind one VLAN tag at most. All else, and what
// comes by a queue without a socket, is the kernel's as before: ARP, neighbour discovery and ping go on.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define QUEUES 256

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u16 type;
	__u8 protocol;

	if (data + 14 + 20 > end)
		return XDP_PASS;
	type = *(__u16 *)(data + 12);
	if (type == bpf_htons(ETH_P_8021Q)) {
		data += 4;
		if (data + 14 + 20 > end)
			return XDP_PASS;
		type = *(__u16 *)(data + 12);
	}
	if (type == bpf_htons(ETH_P_IP))
		protocol = data[14 + 9];
	else if (type == bpf_htons(ETH_P_IPV6))
		protocol = data[14 + 6];
	else
		return XDP_PASS;
	if (protocol != IPPROTO_UDP)
		return XDP_PASS;
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
