#!/usr/bin/env bash
# Same bits and the promise: trains MODEL 3 steps with accumulation 2 at several budgets, each under a cgroup limit equal to its budget,
# once through and once resumed in the middle; compares losses, norms and final weights, and the process's peak with the budget.
# usage: same_bits.sh MODEL TEXT OUT [BUDGET...]    (OUT: scratch folder on a disk with room; prints a Markdown table)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
model=$1 text=$2 out=$3
shift 3
budgets=("$@")
[ ${#budgets[@]} -gt 0 ] || budgets=(unlimited 2GiB 1GiB 700MiB 512MiB floor)
mkdir -p "$out"

train() {  # folder, steps, more flags
  local folder=$1 steps=$2
  shift 2
  "${prefix[@]}" "$sluice" train --model "$model" --data "$text" --output "$folder" --seq-len 512 --micro-batch-size 1 \
    --grad-accumulation 2 --max-steps 3 --save-steps "$steps" --lr 1e-4 --seed 7 "$@"
}
bytes() { { "$sluice" train --model "$model" --data "$text" --output "$out/none" --seq-len 512 --micro-batch-size 1 --grad-accumulation 2 \
    --max-steps 3 --host-memory 200MiB --spill-dir "$out/spill" || true; } 2>&1 | sed -n 's/.*(\([0-9]*\) bytes, .*/\1/p'; }
field() { grep '"event":"end"' "$1/metrics.jsonl" | tail -n 1 | sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p"; }
digest() { grep '"event":"step"' "$1/metrics.jsonl" | sed 's/.*"step":\([0-9]*\),"loss":\([^,]*\),"grad_norm":\([^,]*\),.*/\1 \2 \3/' | sort -u | sha256sum | cut -c 1-12; }
mib() { awk -v b="$1" 'BEGIN { printf "%.1f", b / 1048576 }'; }

printf '| budget | MiB | arena predicted = measured | process predicted | process measured (VmHWM) | steps (loss, norm) | weights | resumed weights | step s |\n|---|---|---|---|---|---|---|---|---|\n'
for budget in "${budgets[@]}"; do
  prefix=() flags=() limit=-
  if [ "$budget" != unlimited ]; then
    case $budget in
      floor) limit=$(bytes) ;;
      *GiB) limit=$((${budget%GiB} * 1073741824)) ;;
      *MiB) limit=$((${budget%MiB} * 1048576)) ;;
    esac
    prefix=("$here/in_cgroup.sh" "$limit")
    flags=(--host-memory "$limit" --spill-dir "$out/spill")
  fi
  whole=$out/$budget-whole resumed=$out/$budget-resumed
  rm -rf "$whole" "$resumed"
  train "$whole" 2 "${flags[@]}" >"$whole.log" 2>&1 || { echo "| $budget | FAILED: $(tail -n 1 "$whole.log") |"; continue; }
  grep cgroup "$whole.log" | sed 's/^/<!-- /; s/$/ -->/' >>"$out/cgroup.txt" || true
  mkdir -p "$resumed"
  cp -r "$whole/checkpoint-2" "$resumed/"
  train "$resumed" 3 "${flags[@]}" >"$resumed.log" 2>&1 || { echo "| $budget | resumed FAILED: $(tail -n 1 "$resumed.log") |"; continue; }
  same=$([ "$(field "$whole" predicted_host_peak_bytes)" = "$(field "$whole" host_peak_bytes)" ] && echo '=' || echo '!=')
  printf '| %s | %s | %s %s %s | %s | %s | %s | %s | %s | %s |\n' "$budget" "$([ "$limit" = - ] && echo - || mib "$limit")" \
    "$(mib "$(field "$whole" predicted_host_peak_bytes)")" "$same" "$(mib "$(field "$whole" host_peak_bytes)")" \
    "$(mib "$(field "$whole" predicted_rss_bytes)")" "$(mib "$(field "$whole" rss_bytes)")" "$(digest "$whole")" \
    "$(sha256sum <"$whole/model.safetensors" | cut -c 1-12)" "$(sha256sum <"$resumed/model.safetensors" | cut -c 1-12)" "$(field "$whole" step_seconds)"
  rm -rf "$whole"/*.safetensors "$whole"/checkpoint-* "$resumed"/*.safetensors "$resumed"/checkpoint-*
done
cat "$out/cgroup.txt" 2>/dev/null || true
