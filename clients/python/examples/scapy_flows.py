#!/usr/bin/env python3
"""Counts packets and bytes of each flow with scapy (pip install scapy): scapy_flows.py PLACE [EXPRESSION]"""

import sys
from collections import Counter

from polycube import Client
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether


def main():
    place, expression = sys.argv[1], " ".join(sys.argv[2:])
    packets_of, bytes_of = Counter(), Counter()
    with Client() as daemon, daemon.capture(place, filter=expression, packets=100) as packets:
        for packet in packets:
            frame = Ether(packet.data)
            if IP not in frame:
                continue
            port = next((f":{frame[layer].dport}" for layer in (TCP, UDP) if layer in frame), "")
            flow = f"{frame[IP].src} -> {frame[IP].dst}{port}"
            packets_of[flow] += 1
            bytes_of[flow] += packet.length
    for flow, count in packets_of.most_common():
        print(f"{count:6} packets {bytes_of[flow]:8} bytes  {flow}")


if __name__ == "__main__":
    main()
