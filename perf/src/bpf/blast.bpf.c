// Sends UDP frames out of an interface without a socket or an skb: run over live frames (BPF_PROG_TEST_RUN with
// BPF_F_TEST_XDP_LIVE_FRAMES), it draws a source port and redirects the frame.
//
// Pages come back as the last receiver left them, so headers are written anew each time.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define HEADERS 42

const volatile __u32 ifindex = 0;
const volatile __u32 flows = 1;
const volatile __u8 headers[HEADERS] = {};

SEC("xdp")
int blast(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u16 port;
	int i;

	if ((void *)(data + HEADERS) > end)
		return XDP_DROP;
	for (i = 0; i < HEADERS; i++)
		data[i] = headers[i];
	port = bpf_htons(1024 + bpf_get_prandom_u32() % flows);
	data[34] = port & 0xff;
	data[35] = port >> 8;
	return bpf_redirect(ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
