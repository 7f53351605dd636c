#!/bin/sh
# What packed weights save, on SmolLM2-135M: LoRA and QLoRA beside each other on a disk, QLoRA and LOMO on bf16 in RAM alone.
# Prints one line of Markdown per run; loads each adapter folder with PEFT where SLUICE_PYTHON names a Python that has it.
#   bench/packed_weights.sh OUT [STEPS]
set -eu
cd "$(dirname "$0")/.."
out=$1 steps=${2:-20} sluice=${SLUICE:-build/release/bin/sluice}
model=$(tools/fetch_model.sh)
mkdir -p "$out/spill"

# NAME FLAGS...: a run, and its row.
row() {
  name=$1
  shift
  $sluice train --model "$model" --data examples/data/instructions-train.jsonl --output "$out/$name" --resume never --max-steps "$steps" \
    --seq-len 256 --micro-batch-size 1 --grad-accumulation 2 --threads 2 "$@" 2>"$out/$name.log" ||
    { tail -n 1 "$out/$name.log"; return; }
  python3 - "$out/$name/metrics.jsonl" "$name" <<'PY'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
losses = [line["loss"] for line in lines if line["event"] == "step"]
end = [line for line in lines if line["event"] == "end"][-1]
pair = lambda key: f"{end['predicted_' + key] / 2**20:.1f} / {end[key] / 2**20:.1f}"
print("|", " | ".join([sys.argv[2], f"{losses[0]:.4f}", f"{sum(losses[-5:]) / 5:.4f}", pair("host_peak_bytes"),
                        pair("packed_peak_bytes"), pair("rss_bytes"), pair("disk_peak_bytes"),
                        f"{end['disk_read_bytes'] / len(losses) / 2**20:.0f}",
                        f"{end['predicted_step_seconds']:.2f} / {end['step_seconds']:.2f}"]), "|")
PY
}

echo "| run | loss of step 1 | of the last 5 | arena, MiB | packed, MiB | process, MiB | disk, MiB | read a step, MiB | step, s |"
echo "|---|---|---|---|---|---|---|---|---|"
lora="--lr 5e-4 --lora-rank 8 --lora-alpha 16 --lora-targets all-linear"
lomo="--optimizer lomo --lr 1e-2 --max-grad-norm 0 --weights-dtype bf16 --master-dtype none"
# shellcheck disable=SC2086
{
  row lora-disk --adapter lora $lora --host-memory 512MiB --spill-dir "$out/spill"
  row qlora-disk --adapter qlora $lora --host-memory 512MiB --spill-dir "$out/spill"
  row lora-ram --adapter lora $lora --host-memory "${LORA_RAM:-4GiB}"
  row qlora-ram --adapter qlora $lora --host-memory "${QLORA_RAM:-700MiB}"
  row lomo-ram $lomo --host-memory 4GiB
  row lomo-packed $lomo --host-memory "${LOMO_RAM:-800MiB}"
}
same() { if cmp -s "$out/$1" "$out/$2"; then echo "$1 and $2: the same bytes"; else echo "$1 and $2 differ"; fi; }
same lora-disk/adapter_model.safetensors lora-ram/adapter_model.safetensors
same qlora-disk/adapter_model.safetensors qlora-ram/adapter_model.safetensors
same lomo-ram/model.safetensors lomo-packed/model.safetensors
if [ -n "${SLUICE_PYTHON:-}" ]; then
  "$SLUICE_PYTHON" - "$out/qlora-disk" <<'PY'
import sys
from peft import PeftConfig
from safetensors.torch import load_file
config = PeftConfig.from_pretrained(sys.argv[1])
tensors = load_file(sys.argv[1] + "/adapter_model.safetensors")
print(f"PEFT reads {sys.argv[1]}: {config.peft_type}, rank {config.r}, {len(tensors)} tensors")
PY
fi
