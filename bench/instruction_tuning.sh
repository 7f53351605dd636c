#!/usr/bin/env bash
# Instruction tuning: SmolLM2-135M-Instruct learns to answer as a concise dictionary. Held-out loss before and after, and the same question
# asked before and after, in the model's own chat form.
# usage: instruction_tuning.sh MODEL.gguf OUT    (OUT: scratch folder)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
data=$here/../examples/data
model=$1 out=$2
rm -rf "$out/tuned"
mkdir -p "$out"
ask() {
  for question in 'What does the noun "lantern" mean?' 'Give me a short definition of the verb "whisper".'; do
    printf '> %s\n' "$question"
    "$sluice" sample --model "$1" --chat --prompt "$question" --temperature 0 --max-new-tokens 40 2> "$out/sample.log"
  done
}
printf 'before:\n'
ask "$model"
"$sluice" train --model "$model" --data "$data/instructions-train.jsonl" --eval-data "$data/instructions-held-out.jsonl" --output "$out/tuned" \
  --seq-len 128 --micro-batch-size 4 --max-steps "${STEPS:-24}" --lr 1e-4 --warmup-steps 2 --seed 1
printf 'after:\n'
ask "$out/tuned"
grep '"event":"eval' "$out/tuned/metrics.jsonl" || true
