#!/usr/bin/env bash
# What is gained where weights wait and travel in the bits that products take: plans for a 24 GB card with a 128 GB host and an SSD, bf16 products,
# with weights of 16 bits that are widened to fp32 above the disk (fp16, which bf16 products cannot take as they lie), and with bf16 and fp8 ones.
# usage: held_weights.sh [SLUICE]      (prints a Markdown table of forecasts)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${1:-$here/../build/release/bin/sluice}

row() {  # what, weights, tokens a step / 1024, flags
  local what=$1 weights=$2 accumulation=$3 text
  shift 3
  text=$("$sluice" plan --machine rtx-4090-24gb --seq-len 1024 --micro-batch-size 1 --grad-accumulation "$accumulation" --compute-dtype bf16 --weights-dtype "$weights" "$@" 2>&1) ||
    { echo "| $what | $weights | $((accumulation * 1024)) | $(tail -n 1 <<<"$text") | | | |"; return; }
  value() { sed -n "s/^ *$1 *\([^,(|]*[^ ,(|]\).*/\1/p" <<<"$text" | head -n 1; }
  printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$what" "$weights" "$((accumulation * 1024))" "$(value time)" \
    "$(awk '$1 == "host" { print $2, $3; exit }' <<<"$text")" "$(sed -n 's/.*disk read, written *//p' <<<"$text")" "$(sed -n 's/.*smallest that works *\(.*\) of device memory.*/\1/p' <<<"$text")"
}
printf '| what | weights | tokens a step | step | host | disk read, written | smallest device |\n|---|---|---|---|---|---|---|\n'
for tokens in 1 4 16; do
  for weights in fp16 bf16; do row "llama-65b, lomo" $weights $tokens --model llama-65b --optimizer lomo --max-grad-norm 0 --master-dtype none; done
done
for tokens in 1 16; do
  for weights in fp16 bf16 fp8; do row "llama-7b, LoRA, 6 GiB of the card" $weights $tokens --model llama-7b --adapter lora --device-memory 6GiB; done
done
for tokens in 1 16; do
  for weights in fp16 bf16 fp8; do row "llama-7b, adamw, fp32 masters" $weights $tokens --model llama-7b; done
done
