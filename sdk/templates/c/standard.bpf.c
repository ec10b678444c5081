// The kernel side of @name@: runs for each packet that comes in from one of a cube's ports, and joins them in pairs.
#include "polycube.h"

PCN_LICENSE("Dual MIT/GPL");
PCN_PORTS;
PCN_SETTING(__u8, DROP) = 0;
PCN_COUNTERS(counters, 1);

SEC("tc") int @entry@(struct __sk_buff *skb)
{
	pcn_count(&counters, 0, skb);
	return DROP ? PCN_DROP : pcn_forward(pcn_port(skb) ^ 1);
}
