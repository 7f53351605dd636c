#!/usr/bin/env bash
# Do runs in 16 bits converge like fp32? Trains MODEL STEPS steps on TEXT in each precision, everything else equal, and compares
# the mean loss of the last 20 steps and the loss on the text's held-out end. The last row forces overflows: a loss scale that starts far too
# high is halved once per skipped step.
# usage: convergence.sh MODEL TEXT OUT [STEPS]      (OUT: scratch folder; prints a Markdown table; ROWS=PATTERN: of these rows alone)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
model=$1 text=$2 out=$3 steps=${4:-200}
mkdir -p "$out"

rows=(
  "fp32|--weights-dtype fp32"
  "fp32, bf16 products|--weights-dtype fp32 --compute-dtype bf16"
  "bf16, fp32 master|--weights-dtype bf16"
  "bf16, fp32 master, bf16 products|--weights-dtype bf16 --compute-dtype bf16"
  "bf16, split master|--weights-dtype bf16 --master-dtype split"
  "bf16, no master, rounded at random|--weights-dtype bf16 --master-dtype none"
  "bf16, no master, moments in bf16|--weights-dtype bf16 --master-dtype none --moments-dtype bf16"
  "fp16, fp32 master, moments in 8 bits|--weights-dtype fp16 --optimizer adamw-8bit"
  "fp8, fp32 master|--weights-dtype fp8"
  "fp8, fp32 master, bf16 products|--weights-dtype fp8 --compute-dtype bf16"
  "fp32, fp16 products, dynamic loss scale|--weights-dtype fp32 --compute-dtype fp16 --loss-scale dynamic"
  "fp16, fp32 master, loss scale from 2^127|--weights-dtype fp16 --loss-scale dynamic --loss-scale-option initial_scale_power=127 --loss-scale-option hysteresis=1"
)
printf '| precision | loss, last 20 of %s steps | against fp32 | held-out loss | against fp32 | skipped steps | arena, MiB |\n|---|---|---|---|---|---|---|\n' "$steps"
first_loss='' first_held=''
for row in "${rows[@]}"; do
  IFS='|' read -r name flags <<<"$row"
  grep -qE "${ROWS:-.}" <<<"$name" || continue
  run=$out/$(tr -c 'a-z0-9\n' '-' <<<"$name")
  rm -rf "$run"
  # shellcheck disable=SC2086
  "$sluice" train --model "$model" --data "$text" --output "$run" --seq-len 128 --micro-batch-size 2 --max-steps "$steps" --lr 2e-5 \
    --lr-schedule cosine --warmup-steps 10 --seed 7 --validation-split 0.03 --eval-steps "$steps" --max-tokens 16384 $flags >"$run.log" 2>&1 ||
    { echo "| $name | FAILED: $(tail -n 1 "$run.log") |"; continue; }
  loss=$(grep '"event":"step"' "$run/metrics.jsonl" | tail -n 20 | sed 's/.*"loss":\([^,]*\),.*/\1/' | awk '{ s += $1 } END { printf "%.5f", s / NR }')
  held=$(grep '"event":"eval"' "$run/metrics.jsonl" | tail -n 1 | sed 's/.*"loss":\([^,}]*\).*/\1/' | awk '{ printf "%.5f", $1 }')
  skipped=$(grep -c '"skipped":true' "$run/metrics.jsonl" || true)
  : "${first_loss:=$loss}" "${first_held:=$held}"
  change() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%+.3f %%", 100 * (a / b - 1) }'; }
  peak=$(grep '"event":"end"' "$run/metrics.jsonl" | tail -n 1 | sed 's/.*"host_peak_bytes":\([0-9]*\).*/\1/' | awk '{ printf "%.0f", $1 / 1048576 }')
  printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$name" "$loss" "$(change "$loss" "$first_loss")" "$held" "$(change "$held" "$first_held")" "$skipped" "$peak"
  rm -f "$run"/*.safetensors
done
