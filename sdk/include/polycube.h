/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel side of a polycube plugin in C: one header, which needs clang and nothing else.
 *
 *     clang -target bpf -mcpu=v3 -O2 -g -c hello.bpf.c -o hello.o
 *
 * It declares what it uses of the kernel's interface itself. To use <linux/bpf.h>, libbpf's <bpf/bpf_helpers.h> or a
 * "vmlinux.h" as well, include them before this file, which then leaves out what they have.
 *
 * A program runs for one packet and ends with a verdict: pcn_next(), pcn_forward() or one of PCN_DROP, PCN_PASS, PCN_END.
 * docs/kernel-side.md says what each of them does.
 */
#ifndef POLYCUBE_H
#define POLYCUBE_H

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the host loads programs for little-endian machines: compile with -target bpf or -target bpfel"
#endif

#if !defined(__LINUX_BPF_H__) && !defined(__VMLINUX_H__)
typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;

/* Types of maps, with the kernel's numbers (include/uapi/linux/bpf.h). */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_RINGBUF = 27,
};

/* Flags of maps and helpers. */
enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK = 4 };
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_F_RECOMPUTE_CSUM = 1, BPF_F_INVALIDATE_HASH = 2 };
enum { BPF_F_HDR_FIELD_MASK = 15, BPF_F_PSEUDO_HDR = 16, BPF_F_MARK_MANGLED_0 = 32 };

/* A lock in the value of a map, and a timer. */
struct bpf_spin_lock {
	__u32 val;
};

struct bpf_timer {
	__u64 __opaque[2];
} __attribute__((aligned(8)));

/* The packet, as a program sees it. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	__u64 flow_keys __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	__u64 sk __attribute__((aligned(8)));
	__u32 gso_size;
};
#endif

#ifndef NULL
#define NULL ((void *)0)
#endif

#ifndef __BPF_HELPERS__
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

/* Helpers of the kernel, by their numbers there. */
#define PCN_HELPER(result, name, number, ...) \
	static result (*const name)(__VA_ARGS__) __attribute__((unused)) = (void *)number

PCN_HELPER(void *, bpf_map_lookup_elem, 1, void *map, const void *key);
PCN_HELPER(long, bpf_map_update_elem, 2, void *map, const void *key, const void *value, __u64 flags);
PCN_HELPER(long, bpf_map_delete_elem, 3, void *map, const void *key);
PCN_HELPER(__u64, bpf_ktime_get_ns, 5, void);
PCN_HELPER(long, bpf_trace_printk, 6, const char *format, __u32 size, ...);
PCN_HELPER(__u32, bpf_get_prandom_u32, 7, void);
PCN_HELPER(__u32, bpf_get_smp_processor_id, 8, void);
PCN_HELPER(long, bpf_skb_store_bytes, 9, struct __sk_buff *skb, __u32 at, const void *from, __u32 size, __u64 flags);
PCN_HELPER(long, bpf_l3_csum_replace, 10, struct __sk_buff *skb, __u32 at, __u64 from, __u64 to, __u64 size);
PCN_HELPER(long, bpf_l4_csum_replace, 11, struct __sk_buff *skb, __u32 at, __u64 from, __u64 to, __u64 flags);
PCN_HELPER(long, bpf_tail_call, 12, void *context, void *programs, __u32 index);
PCN_HELPER(long, bpf_clone_redirect, 13, struct __sk_buff *skb, __u32 ifindex, __u64 flags);
PCN_HELPER(long, bpf_skb_vlan_push, 18, struct __sk_buff *skb, __be16 protocol, __u16 tci);
PCN_HELPER(long, bpf_skb_vlan_pop, 19, struct __sk_buff *skb);
PCN_HELPER(long, bpf_redirect, 23, __u32 ifindex, __u64 flags);
PCN_HELPER(long, bpf_skb_load_bytes, 26, const struct __sk_buff *skb, __u32 at, void *to, __u32 size);
PCN_HELPER(__s64, bpf_csum_diff, 28, const void *from, __u32 from_size, const void *to, __u32 to_size, __u32 seed);
PCN_HELPER(__u32, bpf_get_hash_recalc, 34, struct __sk_buff *skb);
PCN_HELPER(long, bpf_skb_change_tail, 38, struct __sk_buff *skb, __u32 size, __u64 flags);
PCN_HELPER(long, bpf_skb_pull_data, 39, struct __sk_buff *skb, __u32 size);
PCN_HELPER(long, bpf_skb_change_head, 43, struct __sk_buff *skb, __u32 size, __u64 flags);
PCN_HELPER(long, bpf_skb_adjust_room, 50, struct __sk_buff *skb, __s32 size, __u32 mode, __u64 flags);
PCN_HELPER(long, bpf_spin_lock, 93, struct bpf_spin_lock *lock);
PCN_HELPER(long, bpf_spin_unlock, 94, struct bpf_spin_lock *lock);
PCN_HELPER(long, bpf_ringbuf_output, 130, void *ring, const void *data, __u64 size, __u64 flags);
PCN_HELPER(void *, bpf_ringbuf_reserve, 131, void *ring, __u64 size, __u64 flags);
PCN_HELPER(void, bpf_ringbuf_submit, 132, void *data, __u64 flags);
PCN_HELPER(void, bpf_ringbuf_discard, 133, void *data, __u64 flags);
PCN_HELPER(__u64, bpf_ktime_get_coarse_ns, 160, void);
#endif

/* ---- The chain ---- */

/* Drops the packet (TC_ACT_SHOT). */
#define PCN_DROP 2
/*
 * Takes the packet out of the chain, to where its netdev leads: the stack on ingress, the driver on egress (TC_ACT_OK).
 * Neither the cubes that follow nor programs that others attached see it.
 */
#define PCN_PASS 0
/* Ends the chain: the cubes that follow do not see the packet, programs that others attached do (TCX_NEXT). */
#define PCN_END (-1)

/* What pcn_port() answers for a packet of a netdev that is not the peer of any port. */
#define PCN_NO_PORT 0xffffffffU
/* Ports that a cube can have; all port ids are lower. */
#define PCN_MAX_PORTS 1024

/* The licence of an object. Without a GPL-compatible one, the kernel refuses many helpers. */
#define PCN_LICENSE(text) char pcn_license[] SEC("license") = text

/* The host puts the next program of the chain here. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 1);
} next SEC(".maps");

/* Runs the next program of the chain: the verdict of a program that has nothing to say about a packet. */
static __always_inline int pcn_next(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &next, 0);
	return PCN_END;
}

/* The id of the port through which the packet came in, or PCN_NO_PORT. */
static __always_inline __u32 pcn_port(const struct __sk_buff *skb)
{
	return skb->cb[0];
}

/* Declares what pcn_accept() needs, in a program that is not its cube's last stage. */
#define PCN_STAGES                                  \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);      \
		__uint(key_size, 4);                        \
		__uint(value_size, 4);                      \
		__uint(max_entries, 1);                     \
	} accept SEC(".maps")

/* Runs the next stage of the same cube. */
#define pcn_accept(skb) (bpf_tail_call(skb, &accept, 0), PCN_END)

/* Declares the ports of a standard cube, which the host fills: port id to ifindex, 0 for a port without a peer. */
#define PCN_PORTS                                   \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_ARRAY);           \
		__type(key, __u32);                         \
		__type(value, __u32);                       \
		__uint(max_entries, PCN_MAX_PORTS);         \
	} ports SEC(".maps")

/* Sends the packet out of a port of a standard cube, which declares PCN_PORTS; drops it if the port has no peer. */
#define pcn_forward(port) pcn_forward_through(&ports, port)

static __always_inline int pcn_forward_through(void *ports, __u32 port)
{
	__u32 *ifindex = bpf_map_lookup_elem(ports, &port);

	return ifindex && *ifindex ? (int)bpf_redirect(*ifindex, 0) : PCN_DROP;
}

/*
 * A setting: a constant that the plugin sets before the verifier sees the program, so that a branch that it turns off
 * costs nothing. PCN_SETTING(__u8, MIN_TTL) = 2;
 */
#define PCN_SETTING(type, name) const volatile type name

/*
 * Ends the way of a packet that user space has: it goes nowhere, as with PCN_DROP, but where it comes from this machine, its
 * sender does not take it for lost. No netdev has this index, and a redirection counts as sent.
 */
#define pcn_taken() ((int)bpf_redirect(0, 0))

/* ---- Jumps ---- */

/*
 * Declares programs of the cube that others jump to by index: PCN_PROGRAMS(calls, 8), whose slots the plugin describes
 * (Datapath::jump).
 */
#define PCN_PROGRAMS(name, count)                   \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);      \
		__uint(key_size, 4);                        \
		__uint(value_size, 4);                      \
		__uint(max_entries, count);                 \
	} name SEC(".maps")

/* Jumps to a program of the cube. Returns only where the slot is empty, or after 33 tail calls of one packet. */
#define pcn_jump(skb, programs, index) bpf_tail_call(skb, &(programs), index)

/* ---- Log lines ---- */

/* Levels, by the names of Polycube. */
enum { LOG_CRITICAL = 1, LOG_ERR = 1, LOG_WARN = 2, LOG_INFO = 3, LOG_DEBUG = 4, LOG_TRACE = 5 };

/* Lines that a cube may write in a second on each CPU, words of a line, and bytes of its format. */
#define PCN_LOG_PER_SECOND 100
#define PCN_LOG_WORDS 8
#define PCN_LOG_LONGEST 200

struct pcn_log_state {
	__u64 since;
	__u64 count;
	__u64 lost;
};

struct pcn_log_header {
	__u8 level;
	__u8 words;
	__u16 length;
	__u32 zero;
};

/* Declares what pcn_log() needs, once in an object. The host makes the maps and sets the level to the cube's loglevel. */
#define PCN_LOGGING                                 \
	const volatile __u8 pcn_log_level = LOG_INFO;   \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_RINGBUF);         \
		__uint(max_entries, 1 << 16);               \
	} pcn_log_lines SEC(".maps");                   \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);    \
		__type(key, __u32);                         \
		__type(value, struct pcn_log_state);        \
		__uint(max_entries, 1);                     \
	} pcn_log_state SEC(".maps")

/* Counts a line. Answers whether it may be written. */
static __always_inline int pcn_log_admits(void *states)
{
	__u32 first = 0;
	struct pcn_log_state *state = bpf_map_lookup_elem(states, &first);
	__u64 now;

	if (!state)
		return 0;
	now = bpf_ktime_get_coarse_ns();
	if (now - state->since >= 1000000000) {
		state->since = now;
		state->count = 0;
	}
	if (state->count < PCN_LOG_PER_SECOND) {
		state->count += 1;
		return 1;
	}
	state->lost += 1;
	return 0;
}

static __always_inline void pcn_log_lost(void *states)
{
	__u32 first = 0;
	struct pcn_log_state *state = bpf_map_lookup_elem(states, &first);

	if (state)
		state->lost += 1;
}

/* Six bytes of a MAC address as a word, for %M. */
static __always_inline __u64 pcn_mac(const __u8 *mac)
{
	return mac[0] | mac[1] << 8 | mac[2] << 16 | (__u64)mac[3] << 24 | (__u64)mac[4] << 32 | (__u64)mac[5] << 40;
}

/*
 * Writes a line to the cube's log, if the cube's loglevel admits it; otherwise it costs nothing. Formats: %d %i %u %x %X %c
 * take 32 bits of their word, %ld %lu %lx all 64, as %lld does; %I is an IPv4 address and %P the port of TCP or UDP, both in
 * network byte order; %M is a MAC address, from pcn_mac(). At most eight words, all of them numbers.
 *
 *     pcn_log(skb, LOG_INFO, "from %I:%P, by port %u", ip->source, udp->source, pcn_port(skb));
 */
#define pcn_log(skb, severity, text, ...)                                                         \
	do {                                                                                          \
		(void)(skb);                                                                              \
		if ((severity) <= pcn_log_level && pcn_log_admits(&pcn_log_state)) {                      \
			const __u64 pcn_words[] = { 0, ##__VA_ARGS__ };                                       \
			enum { pcn_count = sizeof(pcn_words) / 8 - 1 };                                       \
			_Static_assert(pcn_count <= PCN_LOG_WORDS, "a line of the log has eight words");      \
			_Static_assert(sizeof(text) <= PCN_LOG_LONGEST, "a line of the log has 200 bytes");   \
			struct {                                                                              \
				struct pcn_log_header header;                                                     \
				__u64 words[pcn_count];                                                           \
				char format[sizeof(text)];                                                        \
			} *pcn_line = bpf_ringbuf_reserve(&pcn_log_lines, sizeof(*pcn_line), 0);              \
			if (pcn_line) {                                                                       \
				pcn_line->header.level = (severity);                                              \
				pcn_line->header.words = pcn_count;                                               \
				pcn_line->header.length = sizeof(text);                                           \
				pcn_line->header.zero = 0;                                                        \
				__builtin_memcpy(pcn_line->words, pcn_words + 1, 8 * pcn_count);                  \
				__builtin_memcpy(pcn_line->format, text, sizeof(text));                           \
				bpf_ringbuf_submit(pcn_line, 0);                                                  \
			} else {                                                                              \
				pcn_log_lost(&pcn_log_state);                                                     \
			}                                                                                     \
		}                                                                                         \
	} while (0)

/* ---- Counters ---- */

/* What one CPU counted; the plugin adds up the CPUs'. */
struct pcn_counter {
	__u64 packets;
	__u64 bytes;
};

/* Declares a map of counters, each CPU with its own. */
#define PCN_COUNTERS(name, count)                   \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);    \
		__type(key, __u32);                         \
		__type(value, struct pcn_counter);          \
		__uint(max_entries, count);                 \
	} name SEC(".maps")

/* Adds a packet to a counter: pcn_count(&drops, 0, skb). */
static __always_inline void pcn_count(void *counters, __u32 index, const struct __sk_buff *skb)
{
	struct pcn_counter *counter = bpf_map_lookup_elem(counters, &index);

	if (counter) {
		counter->packets += 1;
		counter->bytes += skb->len;
	}
}

/* ---- Packets to user space ---- */

/* What the plugin gets to know of a packet; the frame follows. `struct PacketRecord` of polycube-layout is the same. */
struct pcn_packet_record {
	__u32 at;
	__u16 direction;
	__u16 reason;
	__u32 metadata[4];
	__u32 length;
	__u32 captured;
	__u32 mark;
	__u32 hash;
	__u32 gso_size;
	__u16 has_tag;
	__u16 tag_tci;
	__u16 tag_protocol;
	__u16 zero;
	__u32 time; /* of the coarse monotonic clock, in units of 2^24 ns; 0 if the program does not say */
};

/* What one CPU handed over, and what found no room. */
struct pcn_packet_counts {
	__u64 queued;
	__u64 lost;
};

/*
 * Declares what pcn_to_user() needs: a ring of `bytes` bytes, which is a power of two and a multiple of the page size, and
 * what the program knows of its place.
 */
#define PCN_PACKETS(bytes)                          \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_RINGBUF);         \
		__uint(max_entries, bytes);                 \
	} packets SEC(".maps");                         \
	struct {                                        \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);    \
		__uint(max_entries, 1);                     \
		__type(key, __u32);                         \
		__type(value, struct pcn_packet_counts);    \
	} packet_counts SEC(".maps");                   \
	PCN_SETTING(__u32, PCN_POINT) = PCN_NO_PORT;    \
	PCN_SETTING(__u32, PCN_DIRECTION)

/*
 * Copies the packet to user space, with a number of the program's for why; pcn_to_user_with() adds four words of its own.
 * Answers whether there was room: what finds none is counted. The program goes on to decide about the packet itself. If
 * user space is to decide, that is: return pcn_to_user(skb, 1) ? pcn_taken() : PCN_DROP;
 */
#define pcn_to_user(skb, reason) pcn_to_user_with(skb, reason, 0, 0, 0, 0)
#define pcn_to_user_with(skb, reason, a, b, c, d) \
	pcn_hand_over(skb, &packets, &packet_counts, PCN_POINT, PCN_DIRECTION, reason, (const __u32[4]){ a, b, c, d })

static __always_inline int pcn_copy(struct __sk_buff *skb, void *ring, const struct pcn_packet_record *head,
				    const __u32 room)
{
	struct pcn_packet_record *record = bpf_ringbuf_reserve(ring, sizeof(*record) + room, 0);
	__u32 captured = skb->len;

	if (!record)
		return 0;
	/* The verifier has to see the comparison with this very register. */
	asm volatile("" : "+r"(captured));
	if (captured > room)
		captured = room;
	if (!captured || bpf_skb_load_bytes(skb, 0, record + 1, captured)) {
		bpf_ringbuf_discard(record, 0);
		return 0;
	}
	*record = *head;
	record->captured = captured;
	bpf_ringbuf_submit(record, 0);
	return 1;
}

static __always_inline int pcn_hand_over(struct __sk_buff *skb, void *ring, void *counts, __u32 point, __u32 direction,
					 __u16 reason, const __u32 *metadata)
{
	struct pcn_packet_record head = {
		.at = point == PCN_NO_PORT ? pcn_port(skb) : point,
		.direction = direction,
		.reason = reason,
		.metadata = { metadata[0], metadata[1], metadata[2], metadata[3] },
		.length = skb->len,
		.mark = skb->mark,
		.hash = bpf_get_hash_recalc(skb),
		.gso_size = skb->gso_size,
		.has_tag = skb->vlan_present != 0,
		.tag_tci = skb->vlan_tci,
		.tag_protocol = skb->vlan_proto,
		.time = bpf_ktime_get_coarse_ns() >> 24,
	};
	struct pcn_packet_counts *counted = bpf_map_lookup_elem(counts, &(__u32){ 0 });
	int queued;

	/* The size of a record is a constant: the smallest of four that has room. */
	if (head.length <= 192)
		queued = pcn_copy(skb, ring, &head, 192);
	else if (head.length <= 1600)
		queued = pcn_copy(skb, ring, &head, 1600);
	else if (head.length <= 9216)
		queued = pcn_copy(skb, ring, &head, 9216);
	else
		queued = pcn_copy(skb, ring, &head, 65600);
	if (counted)
		*(queued ? &counted->queued : &counted->lost) += 1;
	return queued;
}

/* ---- Headers ---- */

#define pcn_htons(value) __builtin_bswap16(value)
#define pcn_ntohs(value) __builtin_bswap16(value)
#define pcn_htonl(value) __builtin_bswap32(value)
#define pcn_ntohl(value) __builtin_bswap32(value)

enum {
	PCN_ETH_IPV4 = 0x0800,
	PCN_ETH_ARP = 0x0806,
	PCN_ETH_VLAN = 0x8100,
	PCN_ETH_IPV6 = 0x86dd,
	PCN_ETH_QINQ = 0x88a8,
};

enum {
	PCN_IP_ICMP = 1,
	PCN_IP_TCP = 6,
	PCN_IP_UDP = 17,
	PCN_IP_ICMPV6 = 58,
};

struct pcn_eth {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
} __attribute__((packed, aligned(2)));

struct pcn_vlan {
	__be16 tci;
	__be16 type;
} __attribute__((packed, aligned(2)));

struct pcn_ipv4 {
	__u8 version_length;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__be32 source;
	__be32 destination;
} __attribute__((packed, aligned(2)));

struct pcn_ipv6 {
	__be32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u8 source[16];
	__u8 destination[16];
} __attribute__((packed, aligned(2)));

struct pcn_tcp {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgment;
	__u8 length;
	__u8 flags;
	__be16 window;
	__u16 checksum;
	__be16 urgent;
} __attribute__((packed, aligned(2)));

struct pcn_udp {
	__be16 source;
	__be16 destination;
	__be16 length;
	__u16 checksum;
} __attribute__((packed, aligned(2)));

struct pcn_icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 rest;
} __attribute__((packed, aligned(2)));

/* A packet that is being read, header by header. */
struct pcn_packet {
	void *at;
	void *end;
};

/* Bytes that pcn_open() makes readable, as far as the packet has them: Ethernet, two tags, IPv6, TCP with options. */
#define PCN_HEADERS 128

/*
 * Begins to read a packet. Helpers that change a packet (bpf_skb_store_bytes, bpf_skb_vlan_push …) make what was read
 * invalid, which the verifier enforces: call this again after one.
 */
static __always_inline struct pcn_packet pcn_open(struct __sk_buff *skb)
{
	struct pcn_packet packet;
	__u32 wanted = skb->len < PCN_HEADERS ? skb->len : PCN_HEADERS;

	if ((void *)(long)skb->data + wanted > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, wanted);
	packet.at = (void *)(long)skb->data;
	packet.end = (void *)(long)skb->data_end;
	return packet;
}

/* The next bytes of a packet; NULL if it has fewer. */
static __always_inline void *pcn_take(struct pcn_packet *packet, __u32 bytes)
{
	void *here = packet->at;

	if (here + bytes > packet->end)
		return NULL;
	packet->at = here + bytes;
	return here;
}

/*
 * The Ethernet header, and in `type` what follows it and up to two VLAN tags in the packet, in the machine's byte order.
 * The kernel has usually moved the outermost tag to skb->vlan_tci.
 */
static __always_inline struct pcn_eth *pcn_eth(struct pcn_packet *packet, __u16 *type)
{
	struct pcn_eth *eth = pcn_take(packet, sizeof(*eth));
	__be16 found;

	if (!eth)
		return NULL;
	found = eth->type;
	for (int tags = 0; tags < 2; tags++) {
		struct pcn_vlan *vlan;

		if (found != pcn_htons(PCN_ETH_VLAN) && found != pcn_htons(PCN_ETH_QINQ))
			break;
		vlan = pcn_take(packet, sizeof(*vlan));
		if (!vlan)
			return NULL;
		found = vlan->type;
	}
	*type = pcn_ntohs(found);
	return eth;
}

/* The IPv4 header; what follows its options is next. */
static __always_inline struct pcn_ipv4 *pcn_ipv4(struct pcn_packet *packet)
{
	struct pcn_ipv4 *ip = pcn_take(packet, sizeof(*ip));
	__u32 options;

	if (!ip || ip->version_length >> 4 != 4 || (ip->version_length & 15) < 5)
		return NULL;
	options = (ip->version_length & 15) * 4 - sizeof(*ip);
	return options && !pcn_take(packet, options) ? NULL : ip;
}

/* Whether a packet begins a datagram: only then a transport header follows. */
static __always_inline int pcn_ipv4_is_first(const struct pcn_ipv4 *ip)
{
	return !(ip->fragment & pcn_htons(0x1fff));
}

/* The IPv6 header. Extension headers are the caller's: `next_header` may be one of them. */
static __always_inline struct pcn_ipv6 *pcn_ipv6(struct pcn_packet *packet)
{
	struct pcn_ipv6 *ip = pcn_take(packet, sizeof(*ip));

	return ip && (ip->version_class_flow & 0xf0) == 0x60 ? ip : NULL;
}

/* The TCP header; the payload is next. */
static __always_inline struct pcn_tcp *pcn_tcp(struct pcn_packet *packet)
{
	struct pcn_tcp *tcp = pcn_take(packet, sizeof(*tcp));
	__u32 options;

	if (!tcp || tcp->length >> 4 < 5)
		return NULL;
	options = (tcp->length >> 4) * 4 - sizeof(*tcp);
	return options && !pcn_take(packet, options) ? NULL : tcp;
}

static __always_inline struct pcn_udp *pcn_udp(struct pcn_packet *packet)
{
	return pcn_take(packet, sizeof(struct pcn_udp));
}

static __always_inline struct pcn_icmp *pcn_icmp(struct pcn_packet *packet)
{
	return pcn_take(packet, sizeof(struct pcn_icmp));
}

/* ---- Checksums ---- */

/*
 * These adjust the checksum of an IPv4 header in place (RFC 1624, equation 3). For TCP and UDP use bpf_l4_csum_replace(),
 * which knows whether the netdev is still to compute the checksum, with the offset of the field in the packet.
 */
static __always_inline void pcn_checksum_16(__u16 *checksum, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~*checksum + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*checksum = ~sum;
}

static __always_inline void pcn_checksum_32(__u16 *checksum, __u32 from, __u32 to)
{
	pcn_checksum_16(checksum, from, to);
	pcn_checksum_16(checksum, from >> 16, to >> 16);
}

/* Takes one from the TTL, and answers with what is left. A TTL of 0 stays. */
static __always_inline __u8 pcn_ipv4_age(struct pcn_ipv4 *ip)
{
	__u8 left = ip->ttl;

	if (!left)
		return 0;
	ip->ttl = --left;
	/* The TTL is the first byte of its word. */
	pcn_checksum_16(&ip->checksum, ip->protocol << 8 | (__u8)(left + 1), ip->protocol << 8 | left);
	return left;
}

/* Sets the source or the destination of an IPv4 packet, as in pcn_ipv4_set(ip, source, address). */
#define pcn_ipv4_set(ip, member, address)                                  \
	do {                                                                   \
		__be32 pcn_to = (address);                                         \
		pcn_checksum_32(&(ip)->checksum, (ip)->member, pcn_to);            \
		(ip)->member = pcn_to;                                             \
	} while (0)

/* ---- Finding out what a program does ---- */

/* Writes a line to /sys/kernel/tracing/trace_pipe: for debugging, since it is slow. At most three numbers. */
#define pcn_trace(format, ...)                                             \
	({                                                                     \
		static const char pcn_format[] = format;                           \
		bpf_trace_printk(pcn_format, sizeof(pcn_format), ##__VA_ARGS__);   \
	})

#endif
