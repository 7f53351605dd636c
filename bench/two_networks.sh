#!/usr/bin/env bash
# two_networks.sh RANK_PROGRAM: two ranks in two network namespaces that only a veth pair joins. First the whole contract of a
# communicator across it; then ranks at work while the link is cut: both must end with exit code 5 within the deadline and name
# the other. Needs root.
set -euo pipefail
program=$1
deadline_ms=3000
a=sluice-a-$$ b=sluice-b-$$
work=$(mktemp -d)
cleanup() {
  for name in $a $b; do
    ip netns pids "$name" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
    ip netns del "$name" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT

ip netns add "$a"
ip netns add "$b"
ip link add veth-a-$$ netns "$a" type veth peer name veth-b-$$ netns "$b"
ip -n "$a" addr add 10.77.0.1/24 dev veth-a-$$
ip -n "$b" addr add 10.77.0.2/24 dev veth-b-$$
for name in $a $b; do ip -n "$name" link set lo up; done
ip -n "$a" link set veth-a-$$ up
ip -n "$b" link set veth-b-$$ up

start() {  # start RANK NAMESPACE MODE
  ip netns exec "$2" env RANK="$1" WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 \
    SLUICE_JOB_SECRET=two-networks "$program" --deadline $deadline_ms gloo "$3" >"$work/$3-$1.log" 2>&1 &
}
codes=
await() {
  codes=
  for process in "$@"; do
    local code=0
    wait "$process" || code=$?
    codes+="$code "
  done
}

start 0 "$a" contract; first=$!
start 1 "$b" contract; second=$!
await $first $second
echo "contract across the pair: exit codes $codes- $(tail -n 1 "$work/contract-0.log")"
[ "$codes" = "0 0 " ]

start 0 "$a" loop; first=$!
start 1 "$b" loop; second=$!
for _ in $(seq 300); do grep -q looping "$work/loop-0.log" && break; sleep 0.1; done
sleep 0.5
begin=$(date +%s%N)
ip -n "$a" link set veth-a-$$ down
await $first $second
echo "link cut at work: exit codes ${codes}after $((($(date +%s%N) - begin) / 1000000)) ms (deadline $deadline_ms ms)"
for rank in 0 1; do grep -h 'failed:' "$work/loop-$rank.log"; done
[ "$codes" = "5 5 " ]
grep -q 'got no answer from rank 1' "$work/loop-0.log"
grep -q 'got no answer from rank 0' "$work/loop-1.log"
