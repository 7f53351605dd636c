#!/usr/bin/env bash
# in_cgroup.sh BYTES COMMAND...: runs COMMAND in a fresh memory cgroup (v2 or v1) with that hard limit and no swap; afterwards one line on
# standard error: peak of the group, how often the limit was met, and OOM kills. Needs root.
set -euo pipefail
limit=$1
shift
if [ -f /sys/fs/cgroup/cgroup.controllers ] && grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
  group=/sys/fs/cgroup/sluice-$$
  mkdir "$group"
  echo "$limit" >"$group/memory.max"
  echo 0 >"$group/memory.swap.max" 2>/dev/null || true
  facts() { echo "cgroup v2: limit $limit, peak $(cat "$group/memory.peak" 2>/dev/null || echo '?'), $(tr '\n' ' ' <"$group/memory.events")"; }
else
  group=${CGROUP_MEMORY:-/sys/fs/cgroup/memory}/sluice-$$
  mkdir "$group"
  echo "$limit" >"$group/memory.limit_in_bytes"
  echo "$limit" >"$group/memory.memsw.limit_in_bytes" 2>/dev/null || true
  echo 0 >"$group/memory.swappiness" 2>/dev/null || true
  facts() { echo "cgroup v1: limit $limit, peak $(cat "$group/memory.max_usage_in_bytes"), failcnt $(cat "$group/memory.failcnt"), $(tr '\n' ' ' <"$group/memory.oom_control")"; }
fi
status=0
bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@" || status=$?
facts >&2
rmdir "$group" 2>/dev/null || true
exit $status
