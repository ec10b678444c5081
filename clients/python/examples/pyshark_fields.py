#!/usr/bin/env python3
"""Has tshark decode a capture, by pyshark (pip install pyshark; apt install tshark): pyshark_fields.py PLACE [EXPRESSION]"""

import sys
import tempfile
from pathlib import Path

import pyshark
from polycube import Client


def main():
    place, expression = sys.argv[1], " ".join(sys.argv[2:])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "capture.pcapng"
        with Client() as daemon, daemon.capture(place, filter=expression, packets=10) as packets:
            packets.save(path)
        with pyshark.FileCapture(str(path)) as capture:
            for packet in capture:
                layers = " / ".join(layer.layer_name for layer in packet.layers)
                print(f"{packet.sniff_time} {packet.length:>5} bytes  {layers}")


if __name__ == "__main__":
    main()
