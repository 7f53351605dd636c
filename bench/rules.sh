#!/usr/bin/env bash
# Does a rule lower the loss as well as AdamW does? Trains MODEL 200 steps on TEXT with each row's rule and rate, everything else equal, and
# compares the mean loss of the last 20 steps and the loss on the text's held-out end.
# usage: rules.sh MODEL TEXT OUT [FLAG...]      (OUT: scratch folder; FLAG: of every run; prints a Markdown table)
# A run that is there is not made again. ROWS="1 3": those alone. SLICE=3min: ends each run after so long; the same command goes on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
model=$1 text=$2 out=$3
shift 3
mkdir -p "$out"

rows=(
  "AdamW, 2e-5|--optimizer adamw --lr 2e-5"
  "AdamW, 1e-4|--optimizer adamw --lr 1e-4"
  "Muon (match_rms_adamw), 2e-5|--optimizer muon --lr 2e-5 --optimizer-option adjust_lr_fn=match_rms_adamw"
  "Muon (match_rms_adamw), 1e-4|--optimizer muon --lr 1e-4 --optimizer-option adjust_lr_fn=match_rms_adamw"
)
printf '| rule, rate | loss, last 20 of 200 steps | held-out loss | arena, MiB |\n|---|---|---|---|\n'
for number in ${ROWS:-1 2 3 4}; do
  IFS='|' read -r name flags <<<"${rows[number - 1]}"
  run=$out/$number
  # shellcheck disable=SC2086
  [[ -e $run/model.safetensors ]] ||
    "$sluice" train --model "$model" --data "$text" --output "$run" --seq-len 128 --micro-batch-size 2 --max-steps 200 \
      --lr-schedule cosine --warmup-steps 10 --seed 7 --validation-split 0.03 --eval-steps 200 --max-tokens 16384 --keep 1 \
      ${SLICE:+--max-time "$SLICE"} $flags "$@" >>"$run.log" 2>&1 ||
    { echo "| $name | FAILED: $(tail -n 1 "$run.log") |"; continue; }
  field() { grep "\"event\":\"$1\"" "$run/metrics.jsonl" | tail -n "$3" | sed "s/.*\"$2\":\([^,}]*\).*/\1/"; }
  loss=$(field step loss 20 | awk '{ s += $1 } END { printf "%.5f", s / NR }')
  held=$(field eval loss 1 | awk '{ printf "%.5f", $1 }')
  peak=$(field end host_peak_bytes 1 | awk '{ printf "%.0f", $1 / 1048576 }')
  printf '| %s | %s | %s | %s |\n' "$name" "$loss" "$held" "$peak"
done
