ip address add 10.0.0.2/24 dev veth1
ctl attach f1 veth1
