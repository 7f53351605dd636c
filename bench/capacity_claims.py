#!/usr/bin/env python3
"""Published claims of capacity beside what `sluice plan` says of the same model on the same memory. Plans only: nothing is
trained. Writes Markdown with every command.

usage: capacity_claims.py [RESULT.md]        About four minutes on two cores. SLUICE names the program."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SLUICE = os.environ.get("SLUICE", str(HERE.parent / "build/release/bin/sluice"))
GIB = 2.0**30

FP32 = "--optimizer adamw --max-grad-norm 0"
SMALL = "--optimizer adamw-8bit --weights-dtype bf16 --master-dtype split --max-grad-norm 0"
LOMO = "--optimizer lomo --weights-dtype bf16 --master-dtype none --max-grad-norm 0"

# Who, what they say, the plan of it. Host memory stands in the command where the claim names it or needs it.
CLAIMS = [
    ("Colossal-AI (result figures): RTX 2060 6 GB, 1.5B", f"--model gpt3-1.5b --machine rtx-2060-6gb {FP32}"),
    ("Colossal-AI: RTX 3090 24 GB, 18B (their 14 bytes a parameter are 239 GiB of RAM)", f"--model gpt3-18b --machine rtx-3090-24gb --host-memory 256GiB {FP32}"),
    ("with 120 GiB of RAM and its SSD: 8-bit AdamW, bf16 weights", f"--model gpt3-18b --machine rtx-3090-24gb --host-memory 120GiB {SMALL}"),
    ("Colossal-AI: V100 32 GB, 24B (theirs: 320 GiB of RAM)", f"--model gpt3-24b --machine v100-32gb --host-memory 336GiB {FP32}"),
    ("Colossal-AI: RTX 3080 10 GB and NVMe, 12B", f"--model gpt3-13b --machine rtx-3080-10gb {FP32}"),
    ("ZeRO-Offload (2101.06840): one V100 32 GB of a DGX-2 (1.5 TB), 13B", f"--model gpt3-13b --machine v100-32gb --host-memory 1536GiB {FP32}"),
    ("PatrickStar: 18B on 8 V100 32 GB with 240 GB of RAM", f"--model gpt3-18b --machine v100-32gb --nproc 8 --zero-stage 3 --host-memory 240GB {FP32}"),
    ("LOMO (2306.09782, table 2): 7B on one RTX 3090", f"--model llama-7b --machine rtx-3090-24gb --seq-len 1024 {LOMO}"),
    ("LOMO: 65B on 8 RTX 3090", f"--model llama-65b --machine rtx-3090-24gb --nproc 8 --zero-stage 3 --seq-len 1024 {LOMO}"),
    ("further: 65B on one", f"--model llama-65b --machine rtx-3090-24gb --seq-len 1024 {LOMO}"),
    ("SlideFormer (2603.16428): 123B on one RTX 4090 24 GB with 1.5 TB of RAM (12 bytes a parameter)", f"--model mistral-large-123b --machine rtx-4090-24gb --host-memory 1536GiB {FP32}"),
    ("further: with 128 GB of RAM and one SSD, 8-bit AdamW, bf16 weights", f"--model mistral-large-123b --machine rtx-4090-24gb {SMALL}"),
    ("LoHan (2403.06504): 175B on one RTX 4090 with 256 GB of RAM and 12 SSDs", f"--model gpt3-175b --machine rtx-4090-24gb --host-memory 256GiB --disk-memory 38TB {FP32}"),
    ("further: with 128 GB of RAM and one SSD of 2 TB, 8-bit AdamW, bf16 weights", f"--model gpt3-175b --machine rtx-4090-24gb {SMALL}"),
    ("MegaTrain (2604.05091): 120B on one H200 with 1.5 TB of RAM", f"--model mistral-large-123b --machine h200-141gb --host-memory 1536GiB {FP32}"),
    ("further: 405B there and on its 3.84 TB of SSD, 8-bit AdamW, bf16 weights", f"--model llama-3.1-405b --machine h200-141gb --host-memory 1536GiB {SMALL}"),
]

# What the paper counts in 16 bits with an fp32 copy and two moments.
LOMO_TABLE = [
    ("AdamW", "12.55", "12.55", "75.31", "--optimizer adamw"),
    ("AdamW, not clipped", "12.55", "12.55", "75.31", "--optimizer adamw --max-grad-norm 0"),
    ("LOMO", "12.55", "0.24", "0", "--optimizer lomo --weights-dtype bf16 --master-dtype none --max-grad-norm 0"),
]


def plan(arguments):
    """The JSON of a plan; of one that does not fit it says so."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        result = subprocess.run([SLUICE, "plan", *arguments.split(), "--json", file.name], capture_output=True, text=True)
        if result.returncode not in (0, 3):
            sys.exit(f"sluice plan {arguments}\n{result.stderr}")
        return json.loads(pathlib.Path(file.name).read_text())


def size(num_bytes):
    return f"{num_bytes / GIB:.1f} GiB"


def planned(answer):
    if not answer["fits"]:
        return f"**does not fit**: {answer['short_tier']} needs {size(answer['needed_bytes'])}, has {size(answer['available_bytes'])} | | |"
    tiers = {tier["kind"]: tier["planned_bytes"] for tier in answer["tiers"]}
    return " | ".join([*(size(tiers.get(kind, 0)) for kind in ("device", "host", "disk")), f"{answer['tokens_per_second']:.3g}"])


def claims():
    lines = ["| claim | `sluice plan` (each rank where there are several) | device | host | disk | tokens/s |", "|---|---|---|---|---|---|"]
    for claim, arguments in CLAIMS:
        if "--seq-len" not in arguments:
            arguments += " --seq-len 1024"
        lines.append(f"| {claim} | `{arguments}` | {planned(plan(arguments))} |")
    return lines


def lomo_table():
    lines = ["| | weights: paper | 2 bytes x ours | gradients: paper | 2 bytes x ours | ours, most at once | states: paper | 12 bytes x ours | ours |", "|---|---|---|---|---|---|---|---|---|"]
    for name, weights, gradients, states, arguments in LOMO_TABLE:
        answer = plan(f"--model llama-7b --machine a100-80gb --host-memory 512GiB --seq-len 512 --micro-batch-size 8 {arguments}")
        elements, held = answer["state_elements"], answer["state_bytes"]
        at_once = answer["largest_trained_tensor"] if name == "LOMO" else elements["weight"]  # it updates tensor by tensor
        theirs = 12 * elements["updated"] / GIB if held["moment"] else 0
        lines.append(f"| {name} | {weights} | {2 * elements['weight'] / GIB:.2f} | {gradients} | {2 * at_once / GIB:.2f} | {held['gradient'] / GIB:.2f} | {states} | {theirs:.2f} | "
                     f"{held['moment'] / GIB:.2f} |")
    return lines


LOMO_NOTES = [
    "Lower here: AdamW's states, since fp32 weights are their own master copy (8 bytes a parameter, not 12), and its gradients without clipping, since it updates inside backward, too.",
    "Higher here: LOMO's gradients. The paper has those of one tensor at a time, of 2 bytes (the largest is the table of 32000 x 4096: 0.24 GiB). These are fp32 and by block: those of the",
    "layer whose backward runs and of the one after it, which go down to the CPU for the update meanwhile, 0.75 GiB each. AdamW that clips by the global norm keeps all of them, fp32.",
]


def zero_table():
    arguments = "--model gpt3-7.5b --machine h100-80gb --nodes 8 --nproc 8 --host-memory 4TiB --seq-len 1024"
    answer = plan(arguments)
    lines = [f"`sluice plan {arguments} --json FILE`: {answer['parameters']:,} parameters, counted at their stage and scaled to 7.5e9.", "",
             "| stage | paper, GB | 2, 2 and 12 bytes x the plan's elements, GB | ours: weights + gradients + states, GB | gradients on their way, GB | sent a step, GB |",
             "|---|---|---|---|---|---|"]
    scale = 7.5e9 / answer["parameters"]
    for row, paper in zip(answer["stages"], (120, 31.4, 16.6, 1.9)):
        count = row["state_elements"]
        theirs = (2 * count["weight"] + 2 * count["gradient"] + 12 * count["updated"]) * scale / 1e9
        kept = [4 * count["weight"] * scale / 1e9, 4 * count["gradient"] * scale / 1e9, row["state_bytes"]["moment"] * scale / 1e9]
        on_way = (row["state_bytes"]["gradient"] - 4 * count["gradient"]) * scale / 1e9
        lines.append(f"| {row['zero_stage']} | {paper} | {theirs:.1f} | {kept[0]:.1f} + {kept[1]:.1f} + {kept[2]:.1f} = {sum(kept):.1f} | {on_way:.1f} | "
                     f"{row['sent_bytes'] * scale / 1e9:.1f} |")
    return lines


def main():
    text = ["# Claims of capacity, planned", "",
            "`bench/capacity_claims.py`: what other systems say of the largest model on some memory, and what `sluice plan` says of the same. Plans, not runs: no accelerator",
            "is driven by this version. Tokens per second are of one row of 1024 tokens a step (8 x 512 in LOMO's table), fp32 numbers in TF32 products where the card has them, and so",
            "nearly all waiting for buses and disks; more rows a step hide that.", "", "## One claim, one plan", "", *claims(), "",
            "## LOMO's table 1: LLaMA-7B, GiB", "", *lomo_table(), "", *LOMO_NOTES, "", "## ZeRO's figure 1: 7.5B parameters on 64 GPUs", "", *zero_table(), ""]
    output = "\n".join(text)
    if len(sys.argv) > 1:
        pathlib.Path(sys.argv[1]).write_text(output)
    else:
        print(output)


if __name__ == "__main__":
    main()
