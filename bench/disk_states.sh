#!/usr/bin/env bash
# Steps that wait for the disk: AdamW with moments in fp32, bf16 and 8 bits on a disk, 1 x 64 tokens a step, random weights, in turns within each round. Prints a Markdown
# table: bytes a step, the median of all rounds' steps but each run's first, and seconds against fp32's.
#   bench/disk_states.sh TEXT OUT [MODEL] [BUDGET] [ROUNDS] [STEPS]    (OUT: scratch folder on the disk that is measured)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
text=$1 out=$2 model=${3:-smollm2-135m} budget=${4:-400MiB} rounds=${5:-3} steps=${6:-6}
mkdir -p "$out"
# Tokenised in advance: with a tokenizer of its own the model would take that one's vocabulary and be another shape.
"$sluice" data tokenize "$text" --tokenizer byte --seq-len 64 --output "$out/ids.safetensors" >&2

# NAME FLAGS...: one run.
train() {
  local name=$1
  shift
  rm -rf "$out/run"
  "$sluice" train --model "$model" --init random --data "$out/ids.safetensors" --output "$out/run" --spill-dir "$out/spill" --host-memory "$budget" --seq-len 64 \
    --micro-batch-size 1 --max-steps "$steps" --max-grad-norm 0 --seed 1 --threads 2 "$@" >&2
  cp "$out/run/metrics.jsonl" "$out/$name.jsonl"
  rm -rf "$out/run"
}

for round in $(seq "$rounds"); do
  train "fp32-$round" --optimizer adamw
  train "bf16-$round" --optimizer adamw --moments-dtype bf16
  train "8bit-$round" --optimizer adamw-8bit
done
python3 - "$out" "$rounds" <<'PY'
import json, statistics, sys
out, rounds = sys.argv[1], int(sys.argv[2])
print("| moments | read a step, MiB | written a step, MiB | step, s (of each round) | against fp32 |\n|---|---|---|---|---|")
base = None
for name in ("fp32", "bf16", "8bit"):
    seconds, medians, read, written = [], [], 0, 0
    for number in range(1, rounds + 1):
        lines = [json.loads(line) for line in open(f"{out}/{name}-{number}.jsonl")]
        steps = [line for line in lines if line["event"] == "step"][1:]
        seconds += [step["step_seconds"] for step in steps]
        medians.append(statistics.median(step["step_seconds"] for step in steps))
        read, written = (statistics.median(step[key] for step in steps) / 2**20 for key in ("disk_read_bytes", "disk_write_bytes"))
    middle = statistics.median(seconds)
    base = base or middle
    each = ", ".join(f"{value:.2f}" for value in medians)
    print(f"| {name} | {read:.0f} | {written:.0f} | {middle:.2f} ({each}) | {middle / base:.2f} |")
PY
