#!/usr/bin/env bash
# What ranks send, and what it does to the loss: a character-level GPT on tiny Shakespeare (examples/char_gpt.yaml) by four ranks with
# gradients in fp32, bf16, fp16 and one bit, in one group and in groups of two. Prints a Markdown table from rank 0's metrics.
# usage: wire.sh OUT [STEPS]    (OUT: new folder for text and models; 500 steps by default)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
out=$1
steps=${2:-500}
mkdir -p "$out"
cat "$here/../examples/data/shakespeare-train.txt" "$here/../examples/data/shakespeare-held-out.txt" >"$out/tiny-shakespeare.txt"

number() { sed -n "s/.*\"$1\":\([-0-9.e+]*\).*/\1/p"; }
row() {
  local flags=$1
  local folder=$out/${flags//[^a-z0-9]/}
  # shellcheck disable=SC2086 # several flags
  [ -e "$folder/run.yaml" ] || "$sluice" train --config "$here/../examples/char_gpt.yaml" --data "$out/tiny-shakespeare.txt" --output "$folder" \
    --nproc 4 --threads 4 --micro-batch-size 3 --max-steps "$steps" --eval-steps "$steps" $flags 2>"$folder.log" || { cat "$folder.log" >&2; exit 1; }
  local step start across
  step=$(grep '"event":"step"' "$folder/metrics.jsonl" | tail -n 1)
  start=$(head -n 1 "$folder/metrics.jsonl")
  across=$(number sent_across_groups_bytes <<<"$step")
  printf '| `%s` | %s | %s | %s | %.6f |\n' "$flags" "$(sed 's/.*"exchanges"://' <<<"$start" | number sent_bytes)" "$(number sent_bytes <<<"$step")" \
    "${across:--}" "$(grep '"event":"eval"' "$folder/metrics.jsonl" | tail -n 1 | number loss)"
}

printf '| flags | bytes a step, planned | counted (with norms and losses) | of these out of the group | held-out loss |\n|---|---|---|---|---|\n'
for stage in 0 3; do
  for flags in "" "--reduce-dtype bf16" "--zero-shard-size 2" "--zero-shard-size 2 --reduce-dtype bf16"; do
    row "--zero-stage $stage${flags:+ $flags}"
  done
done
row "--zero-stage 2 --reduce-dtype fp16"
row "--zero-stage 2 --reduce-dtype fp16 --loss-scale dynamic"
for stage in 0 2 3; do
  row "--zero-stage $stage --gradient-compression 1bit"
done
row "--zero-stage 0 --gradient-compression 1bit --compression-warmup-steps $((steps / 5))"
for rule in "--optimizer sgd --momentum 0.9 --lr 0.1" "--optimizer lion --lr 2e-4"; do
  for flags in "" "--gradient-compression 1bit"; do
    row "--zero-stage 0 $rule${flags:+ $flags}"
  done
done
