neighbour veth2 10.0.0.2
ctl f1 ports add p1 peer=veth1
ctl f1 ports add p2 peer=veth2
