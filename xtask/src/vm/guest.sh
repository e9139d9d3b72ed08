#!/bin/bash
# Runs inside the virtual machine; every line of the verdict begins with "vm:".
say() { echo "vm: $*"; }
check() { local what=$1; shift; if "$@" >/tmp/out 2>&1; then say "ok $what"; else say "FAIL $what"; sed 's/^/    /' /tmp/out; fi; }
until_true() { local n=$1; shift; for _ in $(seq "$n"); do "$@" >/dev/null 2>&1 && return 0; sleep 0.5; done; return 1; }
attached() { ip -o link show tg0 | grep -q 'xdp'; }
gone() { ! attached; }
main_pid() { systemctl show -p MainPID --value tidegate; }
answers() { tidegate status; }
say "kernel $(uname -r)"
# Emulated, the verifier takes seconds for what takes milliseconds on a real processor.
mkdir -p /etc/systemd/system/tidegate.service.d
printf '[Service]\nWatchdogSec=60s\nTimeoutStartSec=300s\n' > /etc/systemd/system/tidegate.service.d/emulated.conf
check "package installs" dpkg -i /pkg/1.deb
check "unit starts with the installed configuration" until_true 60 answers
check "runs as tidegate" test "$(stat -c %U /proc/$(main_pid))" = tidegate
# bpf, perfmon, net_admin, net_bind_service (capability.h: bits 39, 38, 12, 10) and nothing else.
check "four capabilities and no more" grep -q '^CapEff:.000000c000001400$' /proc/$(main_pid)/status
ip link add tg0 type veth peer name tg1; ip addr add 192.0.2.1/24 dev tg0; ip link set tg0 up; ip link set tg1 up
sed -i 's/^interfaces = .*/interfaces = ["tg0"]\nports = [8080]/' /etc/tidegate/tidegate.toml
printf '[[ceiling]]\nname = "all"\nconnections_per_second = 100\npackets_per_second = 10000\n' >> /etc/tidegate/tidegate.toml
check "reload takes the interface in" systemctl reload tidegate
check "program accepted and attached" until_true 40 attached
tidegate status | sed 's/^/    /'
if ! attached; then journalctl -u tidegate --no-pager -o cat | tail -15 | sed 's/^/    /'; nsenter -t $(main_pid) -m ls -lad /sys/fs/bpf /sys/fs/bpf/tidegate | sed 's/^/    /'; nsenter -t $(main_pid) -m grep bpf /proc/self/mountinfo | sed 's/^/    /'; say end; exit; fi
check "explain asks the program" tidegate explain --from 198.51.100.7 --port 8080
sed 's/^/    /' /tmp/out
cp /etc/tidegate/tidegate.toml /tmp/good.toml
echo 'nonsense = 1' >> /etc/tidegate/tidegate.toml
check "a faulty file is refused" bash -c '! systemctl reload tidegate'
check "and changes nothing" answers
cp /tmp/good.toml /etc/tidegate/tidegate.toml
tidegate ceiling set all packets_per_second=12000 >/dev/null
gaps=0; dead=0
for i in $(seq 20); do
  pid=$(main_pid); kill -9 "$pid"
  attached || gaps=$((gaps+1))
  for _ in $(seq 120); do attached || gaps=$((gaps+1)); new=$(main_pid); [ "$new" != 0 ] && [ "$new" != "$pid" ] && tidegate status >/dev/null 2>&1 && break; sleep 0.25; done
  tidegate status >/dev/null 2>&1 || dead=$((dead+1))
done
say "20 SIGKILLs: $gaps gaps, $dead without a restart"
check "what was set by hand survives" bash -c 'tidegate --json status | jq -e ".overrides | length == 1"'
pid=$(main_pid); kill -STOP "$pid"
check "a hang is ended by the watchdog" until_true 300 bash -c '[ "$(systemctl show -p MainPID --value tidegate)" != '$pid' ] && tidegate status'
journalctl -u tidegate --no-pager | grep -i watchdog | tail -2 | sed 's/^/    /'
before=$(main_pid)
check "upgrade" dpkg --force-confold -i /pkg/2.deb
attached || say "FAIL detached by the upgrade"
check "the new daemon answers" until_true 60 answers
check "the program stayed over the upgrade" attached
systemctl stop tidegate
check "stop leaves the program attached" attached
systemctl start tidegate
say "exposure: $(systemd-analyze security --no-pager tidegate.service 2>/dev/null | tail -1)"
check "remove" dpkg -r tidegate
check "remove detaches" gone
check "purge" dpkg -P tidegate
check "purge removes the state" test ! -e /var/lib/tidegate
journalctl -u tidegate --no-pager -p warning | tail -15 | sed 's/^/    /'
say "end"
