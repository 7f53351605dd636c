#!/usr/bin/env bash
# Does a rule lower the loss as well as AdamW does? Trains 200 steps with each row's rule and rate, everything else equal, and compares the mean
# loss of the last 20 steps and the loss on the text's held-out end.
# usage: rules.sh scratch TEXT OUT            a character-level GPT from random weights
#        rules.sh fine-tune TEXT OUT MODEL    all parameters of MODEL
# OUT is a scratch folder; prints a Markdown table. A run that is there is not made again. SLICE=3min ends each run after so long; the same
# command goes on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
what=$1 text=$2 out=$3
mkdir -p "$out"

scratch=(
  "AdamW, 1e-3|--optimizer adamw --lr 1e-3"
  "AdamW, 3e-3|--optimizer adamw --lr 3e-3"
  "Muon, 0.02, the rest 1e-3|--optimizer muon --lr 0.02 --optimizer-option adamw_lr=1e-3"
  "Muon (match_rms_adamw), 1e-3|--optimizer muon --lr 1e-3 --optimizer-option adjust_lr_fn=match_rms_adamw"
)
fine_tune=(
  "AdamW, 2e-5|--optimizer adamw --lr 2e-5"
  "AdamW, 1e-4|--optimizer adamw --lr 1e-4"
  "Muon (match_rms_adamw), 2e-5|--optimizer muon --lr 2e-5 --optimizer-option adjust_lr_fn=match_rms_adamw"
  "Muon (match_rms_adamw), 1e-4|--optimizer muon --lr 1e-4 --optimizer-option adjust_lr_fn=match_rms_adamw"
)
case $what in
  scratch)
    rows=("${scratch[@]}")
    common=(--model char-gpt --init random --tokenizer char --seq-len 64 --micro-batch-size 12 --warmup-steps 20
      --betas "0.9,0.99" --weight-decay 0.1 --validation-split 0.1 --seed 1337)
    ;;
  fine-tune)
    rows=("${fine_tune[@]}")
    common=(--model "$4" --seq-len 128 --micro-batch-size 2 --warmup-steps 10 --validation-split 0.03 --max-tokens 16384 --seed 7)
    ;;
  *)
    echo "usage: rules.sh scratch TEXT OUT | fine-tune TEXT OUT MODEL" >&2
    exit 2
    ;;
esac

printf '| rule, rate | loss, last 20 of 200 steps | held-out loss | arena, MiB |\n|---|---|---|---|\n'
for row in "${rows[@]}"; do
  IFS='|' read -r name flags <<<"$row"
  run=$out/$(tr -c 'a-z0-9\n' '-' <<<"$name")
  # shellcheck disable=SC2086
  [[ -e $run/model.safetensors ]] ||
    "$sluice" train --data "$text" --output "$run" --max-steps 200 --eval-steps 200 --lr-schedule cosine --keep 1 \
      ${SLICE:+--max-time "$SLICE"} "${common[@]}" $flags >>"$run.log" 2>&1 ||
    { echo "| $name | FAILED: $(tail -n 1 "$run.log") |"; continue; }
  field() { grep "\"event\":\"$1\"" "$run/metrics.jsonl" | tail -n "$3" | sed "s/.*\"$2\":\([^,}]*\).*/\1/"; }
  loss=$(field step loss 20 | awk '{ s += $1 } END { printf "%.4f", s / NR }')
  held=$(field eval loss 1 | awk '{ printf "%.4f", $1 }')
  peak=$(field step host_peak_bytes 1 | awk '{ printf "%.1f", $1 / 1048576 }')
  printf '| %s | %s | %s | %s |\n' "$name" "$loss" "$held" "$peak"
done
