"""What Schemathesis has to know about the API: names that exist, and that a refused request changes nothing."""

import json
import urllib.error
import urllib.request
import zlib

import schemathesis

BASE = "http://127.0.0.1:9000/polycube/v1"
NAMES = {"cube": "br1", "service": "simplebridge", "netdev": "veth1", "port": "p1", "address": "02:00:00:00:00:07"}
# Of the fixture, which has keys of several members and actions in lists.
WALL = {
    "cube": "wall1", "name": "INGRESS", "id": 1, "vip": "10.0.0.1", "vport": 80, "proto": "TCP", "ip": "10.1.0.1",
    "port": 80, "src": "10.0.0.1", "sport": 443, "topic": "a,b", "word": "c%",
}
STAGE = [
    ("wall/wall1", {"note": [{"topic": "a,b", "word": "c%"}]}),
    ("wall1/service/10.0.0.1/80/TCP", {"backend": [{"ip": "10.1.0.1", "port": 80}]}),
    ("wall1/chain/INGRESS/rule/1", {}),
    ("simplebridge/br1", {"ports": [{"name": "p1", "peer": "veth1"}]}),
    ("br1/fdb/entry/02:00:00:00:00:07", {"port": "p1"}),
    ("packetcapture/sniffer", {"capture": "ingress"}),
    ("attach", {"cube": "sniffer", "port": "br1:p1"}),
]
# What traffic and time change by themselves.
MOVING = {"counters", "port-counters", "dump", "age", "files", "readers"}
before = {}


def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{BASE}/{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        return refused.code


def still(value):
    if isinstance(value, dict):
        return {name: still(member) for name, member in value.items() if name not in MOVING}
    return [still(entry) for entry in value] if isinstance(value, list) else value


def state():
    return still([ask("GET", service) for service in ("simplebridge", "packetcapture", "wall")])


@schemathesis.hook
def before_call(context, case, kwargs):
    """Uses names that exist for most requests."""
    for path, body in STAGE:
        ask("POST", path, body)
    before["state"] = state()
    if zlib.crc32(str(case.body).encode()) % 10 < 8:
        # A generated tag never matches.
        (case.headers or {}).pop("If-Match", None)
    sniffs = "/packetcapture/" in case.operation.path
    names = WALL if "/wall/" in case.operation.path else NAMES
    for name, given in (case.path_parameters or {}).items():
        if name in names and zlib.crc32(str(given).encode()) % 10 < 7:
            case.path_parameters[name] = "sniffer" if name == "cube" and sniffs else names[name]


@schemathesis.check
def a_refused_request_changes_nothing(context, response, case):
    if response.status_code >= 400:
        after = state()
        assert after == before["state"], f"{before['state']} became {after}"
