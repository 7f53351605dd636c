#!/usr/bin/env python3
"""One rank against many: every number of ranks, ZeRO stage, place of the state and accumulation, over every library.

  bench/rank_matrix.py SCRATCH [--sluice build/release/bin/sluice] [--only gloo,mpi,fixed,resume]

Trains a small random model on random tokens (a hidden size that no number of ranks divides, micro-batches without a target
among them). `gloo`, `mpi`: against one rank with the same global batch, losses, SGD's weights, planned and measured memory,
bytes sent. `fixed`: with --reduce-order fixed the final files of 1 to 4 ranks, rule by rule. `resume`: from every number of ranks
to every other with another stage, against a run that was not interrupted. Prints tables in Markdown; exit code 1 if anything
is wrong.
"""

import argparse
import array
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

SEQ, VOCAB, ROWS = 16, 509, 96
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 110,
    "intermediate_size": 298, "num_hidden_layers": 3, "num_attention_heads": 5, "num_key_value_heads": 5,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": True, "initializer_range": 0.05, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
}
RULES = ["adamw", "sgd", "lamb", "lars", "adafactor", "adalomo", "adamw-8bit", "muon"]


def write_inputs(scratch):
    os.makedirs(f"{scratch}/model", exist_ok=True)
    with open(f"{scratch}/model/config.json", "w", encoding="utf-8") as file:
        json.dump(CONFIG, file)
    chooser = random.Random(1)
    ids = [chooser.randrange(VOCAB) for _ in range(ROWS * SEQ)]
    # Rows 6 and 7 of 16 have no target: a micro-batch of two without any.
    labels = [-100 if i // SEQ % 16 in (6, 7) else token for i, token in enumerate(ids)]
    size = ROWS * SEQ * 8
    header = json.dumps({"input_ids": {"dtype": "I64", "shape": [ROWS, SEQ], "data_offsets": [0, size]},
                         "labels": {"dtype": "I64", "shape": [ROWS, SEQ], "data_offsets": [size, 2 * size]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(f"{scratch}/data.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + array.array("q", ids).tobytes() + array.array("q", labels).tobytes())


class Matrix:
    def __init__(self, options):
        self.options, self.wrong, self.ones, self.floors = options, 0, {}, {}

    def command(self, output, ranks, accumulation, flags):
        scratch = self.options.scratch
        return [self.options.sluice, "train", "--model", f"{scratch}/model", "--init", "random", "--data",
                f"{scratch}/data.safetensors", "--output", output, "--seq-len", str(SEQ), "--micro-batch-size", "2", "--no-shuffle",
                "--grad-accumulation", str(accumulation), "--nproc", str(ranks), "--threads", str(ranks), *flags]

    def train(self, name, ranks, accumulation, *flags):
        """A run that must end well: its folder and the lines of its metrics."""
        output = f"{self.options.scratch}/{name}"
        if "--resume" not in flags:
            shutil.rmtree(output, ignore_errors=True)
        done = subprocess.run(self.command(output, ranks, accumulation, flags), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{name}: exit code {done.returncode}\n{done.stderr}")
        with open(f"{output}/metrics.jsonl", encoding="utf-8") as file:
            return output, [json.loads(line) for line in file]

    def spill(self, ranks, stage, accumulation, flags):
        """Flags for the least memory that works, with the state on disk."""
        key = (ranks, stage, accumulation)
        spill = ["--spill-dir", f"{self.options.scratch}/spill"]
        if key not in self.floors:
            command = self.command(f"{self.options.scratch}/none", ranks, accumulation, [*flags, *spill, "--dry-run", "--host-memory"])
            # What the program itself takes is asked first, then what the plan takes on top; with so little more it may already fit.
            # A process of several ranks takes up to 2 MiB more or less from start to start.
            alone = self.refusal(command, 16 << 20, ranks, r"needs ([0-9.]+) MiB")
            least = int(float(alone) * 2**20) + (3 << 20)
            self.floors[key] = int(self.refusal(command, least, ranks, r"\((\d+) bytes") or least)
        return [*spill, "--host-memory", str(ranks * (self.floors[key] + (2 << 20)))]

    @staticmethod
    def refusal(command, each, ranks, pattern):
        """What a refusal for lack of memory says; nothing where the plan fits."""
        done = subprocess.run([*command, str(ranks * each)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return None
        found = re.search(pattern, done.stderr)
        if done.returncode != 3 or not found:
            sys.exit(f"expected a refusal for lack of memory, got exit code {done.returncode}\n{done.stderr}")
        return found.group(1)

    def expect(self, good, text):
        if not good:
            self.wrong += 1
            print(f"WRONG: {text}", file=sys.stderr)
        return good

    def one(self, micro_batches, flags):
        if micro_batches not in self.ones:
            output, lines = self.train("one", 1, micro_batches, *flags)
            self.ones[micro_batches] = losses(lines), weights(output)
        return self.ones[micro_batches]

    def against_one(self, library):
        flags = ["--optimizer", "sgd", "--momentum", "0.9", "--lr", "0.05", "--max-steps", "4"]
        print(f"\n## {library}\n\n| ranks | stage | micro-batches each | state | loss differs by | weights differ by | arena planned, got |"
              " sent by rank 0 a step, planned | sent / weights |\n|---|---|---|---|---|---|---|---|---|")
        for ranks in 1, 2, 3, 4:
            for stage in range(4) if ranks > 1 else [0]:
                for accumulation in 1, 4:
                    for place in "RAM", "disk":
                        name = f"{library}, {ranks} ranks, stage {stage}, accumulation {accumulation}, {place}"
                        own = [*flags, "--zero-stage", str(stage)] + (["--collective", library] if ranks > 1 else [])
                        if place == "disk":
                            own += self.spill(ranks, stage, accumulation, own)
                        output, lines = self.train("many", ranks, accumulation, *own)
                        expected, reference = self.one(ranks * accumulation, flags)
                        loss = max(abs(a - b) for a, b in zip(losses(lines), expected))
                        apart = distance(weights(output), reference)
                        end, last = lines[-1], [line for line in lines if line["event"] == "step"][-1]
                        planned = lines[0]["plan"].get("exchanges", {}).get("sent_bytes", 0)
                        sent = last.get("sent_bytes", 0)
                        self.expect(len(losses(lines)) == len(expected) and loss <= 1e-5, f"{name}: losses differ by {loss}")
                        self.expect(apart <= 1e-6, f"{name}: weights differ by {apart}")
                        self.expect(end["host_peak_bytes"] == end["predicted_host_peak_bytes"], f"{name}: the arena's peak")
                        self.expect(place == "RAM" or end["disk_write_bytes"] > 0, f"{name}: nothing went to the disk")
                        self.expect(0 <= sent - planned < 20000, f"{name}: sent {sent}, planned {planned}")
                        psi = lines[0]["parameters"] * 4
                        print(f"| {ranks} | {stage} | {accumulation} | {place} | {loss:.1e} | {apart:.1e} |"
                              f" {end['predicted_host_peak_bytes']}, {end['host_peak_bytes']} | {sent}, {planned} | {planned / psi:.2f} |",
                              flush=True)

    def fixed(self):
        print("\n## --reduce-order fixed: model.safetensors after 3 steps of 12 micro-batches\n\n"
              "| rule | 1 rank | 2 ranks, stage 0 | 2, stage 1 | 2, stage 2, disk | 3, stage 1 | 3, stage 3 | 4, stage 2 | 4, stage 3 |"
              " same |\n|---|---|---|---|---|---|---|---|---|---|")
        runs = [(1, 1, False), (2, 0, False), (2, 1, False), (2, 2, True), (3, 1, False), (3, 3, False), (4, 2, False), (4, 3, False)]
        for rule in RULES:
            shas = []
            for ranks, stage, disk in runs:
                flags = ["--optimizer", rule, "--lr", "1e-3", "--max-steps", "3", "--reduce-order", "fixed", "--zero-stage", str(stage)]
                if disk:
                    self.floors = {}
                    flags += self.spill(ranks, stage, 12 // ranks, flags)
                output, lines = self.train("fixed", ranks, 12 // ranks, *flags)
                shas.append((sha(f"{output}/model.safetensors"), losses(lines)))
            same = self.expect(all(found == shas[0] for found in shas), f"{rule}: the files differ")
            print(f"| {rule} | " + " | ".join(found[0][:12] for found in shas) + f" | {'yes' if same else 'NO'} |", flush=True)

    def resume(self):
        print("\n## Going on from each other's checkpoints (AdamW, --reduce-order fixed, saved after step 2 of 4)\n\n"
              "| from | to | weights and states after step 4 as uninterrupted |\n|---|---|---|")
        flags = ["--optimizer", "adamw", "--lr", "1e-3", "--reduce-order", "fixed", "--save-steps", "2", "--keep", "9", "--max-steps", "4"]
        state = lambda output: [sha(f"{output}/checkpoint-4/{name}.safetensors") for name in ("model", "optimizer")]
        saved = {}
        for ranks in 1, 2, 3, 4:
            output, _ = self.train(f"from-{ranks}", ranks, 12 // ranks, *flags, "--zero-stage", str(4 - ranks))
            saved[ranks] = output
        expected = state(saved[1])
        for before in 1, 2, 3, 4:
            self.expect(state(saved[before]) == expected, f"{before} ranks, uninterrupted")
            for after in 1, 2, 3, 4:
                stage = (before + after) % 4
                output, _ = self.train(f"to-{after}", after, 12 // after, *flags, "--zero-stage", str(stage), "--resume",
                                       f"{saved[before]}/checkpoint-2")
                same = self.expect(state(output) == expected, f"from {before} ranks to {after}")
                print(f"| {before} ranks, stage {4 - before if before > 1 else '-'} | {after} ranks, stage {stage if after > 1 else '-'} |"
                      f" {'identical' if same else 'DIFFERENT'} |", flush=True)
                shutil.rmtree(output)


def losses(lines):
    return [line["loss"] for line in lines if line["event"] == "step"]


def weights(output):
    with open(f"{output}/model.safetensors", "rb") as file:
        file.seek(struct.unpack("<Q", file.read(8))[0], 1)
        return array.array("f", file.read())


def distance(got, expected):
    apart = sum((a - b) * (a - b) for a, b in zip(got, expected, strict=True))
    return (apart / sum(b * b for b in expected)) ** 0.5


def sha(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch")
    parser.add_argument("--sluice", default=os.path.join(os.path.dirname(__file__), "../build/release/bin/sluice"))
    parser.add_argument("--only", default="gloo,mpi,fixed,resume")
    matrix = Matrix(parser.parse_args())
    write_inputs(matrix.options.scratch)
    for section in matrix.options.only.split(","):
        if section in ("gloo", "mpi"):
            matrix.against_one(section)
        else:
            getattr(matrix, section)()
    print(f"\n{'Nothing is wrong.' if matrix.wrong == 0 else f'{matrix.wrong} things are wrong.'}")
    sys.exit(1 if matrix.wrong else 0)


if __name__ == "__main__":
    main()
