#!/usr/bin/env bash
# Three tiers: trains MODEL 3 steps of 2 x 1 x 512 tokens in one arena, and behind an emulated device with host and disk below it; compares
# losses, norms and final weights, predicted with measured peaks of every tier, and says how much of the copies ran under computation.
# usage: three_tiers.sh MODEL TEXT OUT [DEVICE HOST [GB/s]]    (OUT: scratch folder on a disk with 10 GB free; prints a Markdown table; FLAGS: of both runs)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
model=$1 text=$2 out=$3 device=${4:-300MiB} host=${5:-700MiB} link=${6:-6}
mkdir -p "$out"

# shellcheck disable=SC2086
train() {  # folder, more flags
  local folder=$1
  shift
  rm -rf "${out:?}/$folder"
  "$sluice" train --model "$model" --data "$text" --output "$out/$folder" --seq-len 512 --micro-batch-size 1 --grad-accumulation 2 \
    --max-steps 3 --lr 1e-4 --seed 7 --spill-dir "$out/spill" ${FLAGS:-} "$@" >"$out/$folder.log" 2>&1 || { tail -n 3 "$out/$folder.log" >&2; exit 1; }
}
last() { grep '"event":"end"' "$out/$1/metrics.jsonl" | tail -n 1; }
field() { last "$1" | sed -n "s/.*[{,]\"$2\":\([0-9.]*\).*/\1/p"; }
digest() { grep '"event":"step"' "$out/$1/metrics.jsonl" | sed 's/.*"step":\([0-9]*\),"loss":\([^,]*\),"grad_norm":\([^,]*\),.*/\1 \2 \3/' | sort -u | sha256sum | cut -c 1-12; }
mib() { awk -v b="$1" 'BEGIN { printf "%.2f", b / 1048576 }'; }
pair() { printf '%s %s %s' "$(mib "$(field "$1" "predicted_$2")")" "$([ "$(field "$1" "predicted_$2")" = "$(field "$1" "$2")" ] && echo '=' || echo '/')" "$(mib "$(field "$1" "$2")")"; }
speed() { grep '"event":"step"' "$out/$1/metrics.jsonl" | sed 's/.*"tokens_per_second":\([0-9.]*\).*/\1/' | sort -n | sed -n 2p; }
# Seconds that the measured lane was busy, and how many of them lay under a computation.
overlap() {
  awk -v lane="$2" 'BEGIN { nc = nl = 0 }
    /"pid":1/ && /"ph":"M"/ && /thread_name/ { match($0, /"tid":[0-9]+/); t = substr($0, RSTART + 6, RLENGTH - 6); match($0, /"args":{"name":"[^"]*/); names[t] = substr($0, RSTART + 16, RLENGTH - 16) }
    /"pid":1/ && /"ph":"X"/ { match($0, /"tid":[0-9]+/); t = substr($0, RSTART + 6, RLENGTH - 6); match($0, /"ts":[0-9.]+/); b = substr($0, RSTART + 5, RLENGTH - 5); match($0, /"dur":[0-9.]+/); d = substr($0, RSTART + 6, RLENGTH - 6)
      if (names[t] == "compute") { cb[nc] = b + 0; ce[nc++] = b + d } else if (names[t] == lane) { lb[nl] = b + 0; le[nl++] = b + d } }
    END { for (i = 0; i < nl; ++i) { busy += le[i] - lb[i]; for (j = 0; j < nc; ++j) { s = lb[i] > cb[j] ? lb[i] : cb[j]; e = le[i] < ce[j] ? le[i] : ce[j]; if (e > s) under += e - s } }
      printf "%.2f s, %.0f %% under computation", busy / 1e6, busy ? 100 * under / busy : 0 }' "$out/$1/trace.json"
}

train one
train three --device "emulated:$link" --device-memory "$device" --host-memory "$host"
printf '| tiers | device MiB | host arena MiB | disk MiB | process MiB | steps (loss, norm) | weights | tokens/s |\n|---|---|---|---|---|---|---|---|\n'
for run in one three; do
  printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$run" "$(pair $run device_peak_bytes)" "$(pair $run host_peak_bytes)" "$(pair $run disk_peak_bytes)" \
    "$(pair $run rss_bytes)" "$(digest $run)" "$(sha256sum <"$out/$run/model.safetensors" | cut -c 1-12)" "$(speed $run)"
done
printf '\nLast step of "three": '
for lane in "host to device" "device to host" "disk read" "disk write"; do printf '%s %s; ' "$lane" "$(overlap three "$lane")"; done
printf '\n'
