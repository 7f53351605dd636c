#!/usr/bin/env bash
# Methods compared on one task, in the manner of figure 3 of the LOMO paper (arXiv 2306.09782): choose the definition of a word out of four
# (WordNet; tools/data/make_definition_choice.py). Each method trains on the same items, EPOCHS times, and answers the same test items.
# usage: method_comparison.sh MODEL WORDNET_DIR OUT [METHOD...]     (OUT: scratch folder, kept: what is there is not made again)
# With SPEED=ROUNDS nothing is answered: each method trains twelve steps, ROUNDS times in turns, for its tokens/s on a quiet machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
model=$1 wordnet=$2 out=$3
shift 3
num_train=${TRAIN:-1000} num_test=${TEST:-3000} epochs=${EPOCHS:-2} batch=8 compute=${COMPUTE:-fp32}
mkdir -p "$out"
[ -f "$out/test-items.jsonl" ] || "$here/../tools/data/make_definition_choice.py" "$wordnet" "$out" --train "$num_train" --test "$num_test"

flags() {
  case $1 in
    lora) echo "--adapter lora --lora-rank 8 --optimizer adamw --lr 1e-3" ;;
    lomo) echo "--optimizer lomo --lr 3e-3 --max-grad-norm 0" ;;
    adalomo) echo "--optimizer adalomo --lr 3e-4 --max-grad-norm 0" ;;
    adamw) echo "--optimizer adamw --lr 2e-5" ;;
    lora+lomo) echo "--adapter lora --lora-rank 8 --optimizer adamw --lr 1e-3 --base-optimizer lomo --base-lr 3e-3 --max-grad-norm 0" ;;
  esac
}
# train METHOD RUN STEPS
train() {
  # shellcheck disable=SC2046
  "$sluice" train --model "$model" --data "$out/train.jsonl" --output "$2" --seq-len 64 --micro-batch-size $batch --compute-dtype "$compute" \
    --max-steps "$3" --lr-schedule cosine --warmup-steps 10 --seed 7 $(flags "$1") >"$2.log" 2>&1
}
speed() { grep '"event":"step"' "$@" | sed 's/.*"tokens_per_second":\([0-9.]*\).*/\1/' | sort -n | awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] }'; }
end() { grep '"event":"end"' "$1/metrics.jsonl" | tail -n 1 | sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p"; }
mib() { awk -v b="$1" 'BEGIN { printf "%.0f", b / 1048576 }'; }

methods=("$@")
[ ${#methods[@]} -gt 0 ] || methods=(zero-shot lora lomo adalomo adamw lora+lomo)
steps=$((num_train * epochs / batch))
if [ -n "${SPEED:-}" ]; then
  for ((round = 1; round <= SPEED; ++round)); do
    for method in "${methods[@]}"; do
      run=$out/speed/$method-$round
      mkdir -p "$run"
      [ "$method" = zero-shot ] || [ -f "$run/report.html" ] || train "$method" "$run" 12
    done
  done
  printf '| method | tokens/s |\n|---|---|\n'
  for method in "${methods[@]}"; do
    [ "$method" = zero-shot ] || printf '| %s | %s |\n' "$method" "$(speed -h "$out/speed/$method"-*/metrics.jsonl)"
  done
  exit
fi
printf '| method | accuracy (95 %% interval) | against LoRA: difference, McNemar p | process MiB | arena MiB | tokens/s | MiB of files written |\n|---|---|---|---|---|---|---|\n'
for method in "${methods[@]}"; do
  run=$out/$method tuned=$model
  mkdir -p "$run"
  if [ "$method" != zero-shot ]; then
    tuned=$run
    [ -f "$run/report.html" ] || train "$method" "$run" "$steps"
  fi
  [ -f "$run/answers.jsonl" ] || {
    "$sluice" eval --model "$tuned" --tasks "$out/test-items.jsonl" --compute-dtype "$compute" --predictions "$run/answers.part" --json "$run/answers.json" >"$run.eval.log" 2>&1
    mv "$run/answers.part" "$run/answers.jsonl"
  }
  accuracy=$(python3 - "$run/answers.json" <<'PY'
import json, sys
acc = json.load(open(sys.argv[1]))["tasks"][0]
low, high = acc["acc_interval"]
print(f"{100 * acc['acc']:.2f} % ({100 * low:.2f} .. {100 * high:.2f})")
PY
)
  against=-
  if [ -f "$out/lora/answers.jsonl" ] && [ "$method" != lora ]; then
    against=$(python3 "$here/compare_predictions.py" "$out/lora/answers.jsonl" "$run/answers.jsonl" | tr '\n' ';')
  fi
  if [ "$method" = zero-shot ]; then
    printf '| %s | %s | %s | - | - | - | - |\n' "$method" "$accuracy" "$against"
    continue
  fi
  written=$(find "$run" -maxdepth 2 -name "*.safetensors" -print0 | xargs -0 du -cb | tail -n 1 | cut -f 1)
  printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$method" "$accuracy" "$against" "$(mib "$(end "$run" rss_bytes)")" "$(mib "$(end "$run" host_peak_bytes)")" "$(speed "$run/metrics.jsonl")" "$(mib "$written")"
done
