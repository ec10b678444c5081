for _ in 1 2 3; do answers "$first" 10.0.0.2 || fail "packets do not pass"; done
packets=$(ctl f1 show packets)
[ "$packets" -ge 3 ] || fail "it counted $packets packets of at least 3"
ctl f1 set drop=true
if answers "$first" 10.0.0.2; then fail "packets pass although it drops them"; fi
ctl f1 set drop=false
answers "$first" 10.0.0.2 || fail "packets do not pass again"
echo "packets.sh: packets pass, are counted ($packets) and are dropped"
