#!/usr/bin/env bash
# A 1.1B Llama shape (hidden 2048, 22 layers, 32 heads, 4 key-value heads, intermediate 5632, vocabulary 32000; random weights, fp32 AdamW:
# 13.2 GB of state) trained in 3 GiB under a cgroup limit of 3 GiB, states on disk: predicted and measured peaks and step time.
# usage: big_model.sh TEXT OUT    (OUT: scratch folder on a disk with 20 GB free)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
text=$1 out=$2
rm -rf "$out/big"
mkdir -p "$out"
# Tokenised in advance: with a tokenizer of its own the model would take that one's vocabulary and be another shape.
"$sluice" data tokenize "$text" --tokenizer byte --seq-len 512 --output "$out/big.safetensors"
"$here/in_cgroup.sh" $((3 << 30)) "$sluice" train --model tinyllama-1.1b --init random --data "$out/big.safetensors" \
  --output "$out/big" --host-memory 3GiB --spill-dir "$out/big-spill" --seq-len 512 --micro-batch-size 1 --max-steps "${STEPS:-3}" --seed 1
grep '"event":"end"' "$out/big/metrics.jsonl"
