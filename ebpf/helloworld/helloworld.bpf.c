// The program of a helloworld cube: on the ingress of each of its ports.
#include "polycube.h"

PCN_LICENSE("Dual MIT/GPL");
PCN_PORTS;
PCN_PACKETS(1 << 22);

enum { DROP, SLOWPATH, FORWARD };

/* What becomes of packets. */
PCN_SETTING(__u32, ACTION);
/* The ids of the two ports, or PCN_NO_PORT. */
PCN_SETTING(__u32, FIRST);
PCN_SETTING(__u32, SECOND);

SEC("tc") int helloworld(struct __sk_buff *skb)
{
	switch (ACTION) {
	case SLOWPATH:
		/* What finds no room is counted, and lost. */
		return pcn_to_user(skb, 0) ? pcn_taken() : PCN_DROP;
	case FORWARD:
		return pcn_forward(pcn_port(skb) == FIRST ? SECOND : FIRST);
	default:
		return PCN_DROP;
	}
}
