#!/usr/bin/env python3
"""Do forecasts hold? `sluice doctor` once, then for every point of a grid what `sluice plan` predicts from the machine file alone
beside what `sluice train` measures, and a table of errors in Markdown.

usage: forecast_grid.py SMOLLM2 OUT [--only NAME] [--points N] [--result FILE] [--no-doctor]
  SMOLLM2  folder or GGUF of SmolLM2-135M ("-": leave its points out)
  OUT      scratch folder on the disk that is the disk tier
About 12 minutes on two cores. With numpy a product of fixed size is timed before and after each point, so that the machine's drift
stands beside the error; without it the columns are empty. SLUICE names the program."""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import struct
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
SLUICE = os.environ.get("SLUICE", str(HERE.parent / "build/release/bin/sluice"))

# name: hidden, layers, intermediate, heads, key-value heads, vocabulary
MODELS = {
    "128x4": (128, 4, 352, 4, 2, 4096),
    "256x6": (256, 6, 704, 4, 2, 8192),
    "384x8": (384, 8, 1024, 6, 2, 16384),
    "512x12": (512, 12, 1408, 8, 4, 32000),
    "768x8": (768, 8, 2048, 12, 4, 32000),
    "1024x6": (1024, 6, 2816, 16, 8, 32000),
}

# model, sequence, micro-batch, accumulation, budget ("all": no limit and no disk; else a factor of the smallest that works), activations
POINTS = [
    ("128x4", 256, 8, 2, "all", "recompute"),
    ("128x4", 1024, 4, 1, "all", "auto"),
    ("256x6", 64, 8, 2, "all", "auto"),
    ("256x6", 64, 8, 4, "1.2", "auto"),
    ("256x6", 128, 8, 4, "all", "keep"),
    ("256x6", 512, 4, 1, "1.5", "auto"),
    ("256x6", 1024, 2, 1, "all", "recompute"),
    ("384x8", 128, 4, 1, "all", "auto"),
    ("384x8", 256, 4, 1, "1.05", "auto"),
    ("384x8", 256, 4, 1, "all", "auto"),
    ("384x8", 512, 2, 2, "2", "auto"),
    ("384x8", 1024, 1, 1, "1.3", "recompute"),
    ("384x8", 1024, 4, 1, "all", "keep"),
    ("512x12", 64, 2, 1, "all", "auto"),
    ("512x12", 128, 8, 1, "all", "auto"),
    ("512x12", 256, 2, 2, "1.1", "auto"),
    ("512x12", 256, 8, 1, "1.5", "spill"),
    ("512x12", 256, 8, 1, "1.5", "recompute"),
    ("512x12", 512, 1, 4, "all", "auto"),
    ("512x12", 512, 4, 1, "all", "recompute"),
    ("512x12", 512, 4, 1, "all", "keep"),
    ("768x8", 64, 8, 1, "1.2", "auto"),
    ("768x8", 256, 1, 1, "all", "auto"),
    ("768x8", 512, 2, 1, "1.05", "auto"),
    ("768x8", 1024, 1, 2, "2", "auto"),
    ("1024x6", 128, 4, 1, "all", "auto"),
    ("1024x6", 256, 2, 1, "1.1", "auto"),
    ("1024x6", 512, 2, 1, "2", "spill"),
    ("1024x6", 512, 2, 1, "2", "recompute"),
    ("smol", 128, 1, 1, "1.2", "auto"),
    ("smol", 256, 2, 1, "all", "auto"),
    ("smol", 512, 1, 2, "1.5", "auto"),
    ("smol", 512, 2, 1, "1.1", "auto"),
    ("smol", 512, 4, 1, "1.2", "auto"),
]


def write_model(folder, figures):
    hidden, layers, intermediate, heads, kv_heads, vocabulary = figures
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
        "intermediate_size": intermediate, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocabulary,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": True, "initializer_range": 0.02, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}))


def write_tokens(path, rows, length, vocabulary):
    """Pre-tokenised rows as safetensors."""
    draw = random.Random(1)
    ids = struct.pack(f"<{rows * length}q", *(draw.randrange(3, vocabulary) for _ in range(rows * length)))
    header = json.dumps({"input_ids": {"dtype": "I64", "shape": [rows, length], "data_offsets": [0, len(ids)]}}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + ids)


def gemm_rate():
    """GFLOP/s of a fixed product, or None."""
    try:
        import numpy
    except ImportError:
        return None
    a = numpy.ones((1024, 1024), numpy.float32)
    a @ a
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * 1024**3 / statistics.median(seconds) / 1e9


def run(arguments, machine):
    environment = dict(os.environ, SLUICE_MACHINE=str(machine))
    done = subprocess.run([SLUICE, *arguments], env=environment, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1:] or [""]
    return done.returncode, last[0]


class Grid:
    def __init__(self, options):
        self.out = pathlib.Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.smol = options.smol
        self.machine = self.out / "machine.json"
        self.spill = self.out / "spill"
        self.spill.mkdir(exist_ok=True)

    def doctor(self):
        start = time.perf_counter()
        done = subprocess.run([SLUICE, "doctor", "--spill-dir", str(self.spill), "--output", str(self.machine)], check=True,
                              capture_output=True, text=True)
        return time.perf_counter() - start, done.stdout

    def shape_arguments(self, point):
        model, length, rows, accumulation, _, activations = point
        arguments = ["--seq-len", str(length), "--micro-batch-size", str(rows), "--grad-accumulation", str(accumulation),
                     "--activations", activations]
        if model == "smol":
            return ["--model", self.smol, *arguments]
        folder = self.out / model
        if not folder.exists():
            write_model(folder, MODELS[model])
        return ["--model", str(folder), "--init", "random", *arguments]

    def plan(self, arguments):
        path = self.out / "plan.json"
        path.unlink(missing_ok=True)
        plan_arguments = [a for i, a in enumerate(arguments) if a != "--init" and arguments[i - 1] != "--init"]
        code, message = run(["plan", *plan_arguments, "--json", str(path)], self.machine)
        return (json.loads(path.read_text()) if path.exists() else None), code, message

    def measure(self, point):
        """One row of the table, or a text that says why there is none."""
        arguments = self.shape_arguments(point)
        if point[4] != "all":
            spill = ["--spill-dir", str(self.spill)]
            # Of the most frugal mode: a budget named by it may be too small for `keep`, never for the others.
            frugal, code, message = self.plan([*arguments, *spill, "--host-memory", "64GiB"])
            if not frugal:
                return f"plan: exit {code}, {message}"
            budget = int(frugal["smallest_budget_bytes"] * float(point[4])) + (1 << 20)
            arguments += [*spill, "--host-memory", str(budget)]
        before = gemm_rate()
        plan, code, message = self.plan(arguments)
        if code != 0 or not plan or not plan["fits"]:
            return f"plan: exit {code}, {message}"
        steps = max(4, min(24, round(8 / plan["step_seconds"])))
        if plan["step_seconds"] > 6:
            steps = 3
        vocabulary = 49152 if point[0] == "smol" else MODELS[point[0]][5]
        data = self.out / "data.safetensors"
        write_tokens(data, point[2] * point[3] * steps, point[1], vocabulary)
        folder = self.out / "run"
        shutil.rmtree(folder, ignore_errors=True)
        code, message = run(["train", *arguments, "--data", str(data), "--output", str(folder), "--max-steps", str(steps),
                             "--lr", "1e-5", "--resume", "never"], self.machine)
        after = gemm_rate()
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] if code == 0 else []
        shutil.rmtree(folder, ignore_errors=True)
        if code != 0:
            return f"train: exit {code}, {message}"
        steady = [line for line in lines if line["event"] == "step"][2 if steps > 3 else 1:]
        end = lines[-1]
        median = lambda key: statistics.median(line[key] for line in steady)
        return {"point": point, "plan": plan, "end": end, "measured": median("step_seconds"), "compute": median("compute_seconds"),
                "stall": median("stall_seconds"), "read": median("disk_read_bytes"), "written": median("disk_write_bytes"),
                "gemm": (before, after), "steps": steps}


def name_of(point):
    return f"{point[0]}, {point[1]} x {point[2]} x {point[3]}, {point[4] if point[4] == 'all' else point[4] + ' x smallest'}, {point[5]}"


def percent(value):
    return "" if value is None else f"{value * 100:+.1f} %"


def summary(errors):
    if not errors:
        return "no points"
    sizes = sorted(abs(e) for e in errors)
    return (f"{len(sizes)} points, median {statistics.median(sizes) * 100:.1f} %, worst {sizes[-1] * 100:.1f} %, "
            f"within 15 %: {sum(s <= 0.15 for s in sizes)}")


def table(rows, reference):
    """Markdown, and the sizes of the errors: plain, with the drift of the machine taken out, and of refined forecasts."""
    text = ("| point (sequence x micro-batch x accumulation, budget, activations) | plan s | measured s | plan is | drift of GEMM | "
            "without drift | after 2 steps | compute plan / measured s | stall s | disk GB | arena | process |\n"
            "|---|---|---|---|---|---|---|---|---|---|---|---|\n")
    plain, undrifted, refined = [], [], []
    for row in rows:
        plan, end, measured = row["plan"], row["end"], row["measured"]
        error = plan["step_seconds"] / measured - 1
        later = end["refined_step_seconds"] / measured - 1
        drift = None
        if reference and all(row["gemm"]):
            drift = statistics.mean(row["gemm"]) / reference - 1
            undrifted.append(plan["step_seconds"] / (1 + drift) / measured - 1)
        plain.append(error)
        refined.append(later)
        same = "=" if end["predicted_host_peak_bytes"] == end["host_peak_bytes"] else "DIFFERS"
        process = plan["rss_bytes"] / end["rss_bytes"] - 1
        text += (f"| {name_of(row['point'])} | {plan['step_seconds']:.3f} | {measured:.3f} | {percent(error)} | {percent(drift)} | "
                 f"{percent(undrifted[-1] if drift is not None else None)} | {percent(later)} | "
                 f"{plan['compute_seconds']:.3f} / {row['compute']:.3f} | {plan['stall_seconds']:.3f} / {row['stall']:.3f} | "
                 f"{(plan['disk_read_bytes'] + plan['disk_write_bytes']) / 1e9:.2f} / {(row['read'] + row['written']) / 1e9:.2f} | "
                 f"{same} | {percent(process)} |\n")
    lines = [f"- step time, plan against measured: {summary(plain)}"]
    if undrifted:
        lines.append(f"- the same with the drift of the machine since doctor taken out: {summary(undrifted)}")
    lines.append(f"- after two steps: {summary(refined)}")
    return text + "\n" + "\n".join(lines) + "\n"


def policies(rows):
    """Points that differ in what becomes of activations alone: do prediction and measurement agree on the faster one?"""
    groups = {}
    for row in rows:
        groups.setdefault(row["point"][:5], []).append(row)
    text = ""
    for rest in groups.values():
        if len(rest) < 2:
            continue
        first = rest[0]
        for other in rest[1:]:
            planned = other["plan"]["step_seconds"] / first["plan"]["step_seconds"]
            measured = other["measured"] / first["measured"]
            agrees = (planned > 1) == (measured > 1) or abs(planned - measured) < 0.05
            text += (f"- {name_of(first['point'])}: {other['point'][5]} takes {planned:.2f} x as long by plan, {measured:.2f} x measured"
                     f"{'' if agrees else ' (DISAGREES)'}\n")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smol")
    parser.add_argument("out")
    parser.add_argument("--only", help="points whose name contains this")
    parser.add_argument("--points", type=int, help="the first so many")
    parser.add_argument("--result", default=str(HERE / "results/forecast_grid.md"))
    parser.add_argument("--no-doctor", action="store_true", help="OUT/machine.json is there")
    options = parser.parse_args()
    start = time.perf_counter()
    grid = Grid(options)
    doctor_seconds, reference = 0.0, gemm_rate()
    if not options.no_doctor:
        doctor_seconds, findings = grid.doctor()
        print(findings, flush=True)
        after = gemm_rate()
        reference = after and statistics.mean([reference, after])
    rows, failures = [], []
    points = [p for p in POINTS if (p[0] != "smol" or options.smol != "-") and (not options.only or options.only in name_of(p))]
    for point in points[:options.points]:
        row = grid.measure(point)
        if isinstance(row, str):
            failures.append(f"- not run: {name_of(point)}: {row}")
            print(failures[-1], flush=True)
            continue
        rows.append(row)
        print(f"{name_of(point)}: plan {row['plan']['step_seconds']:.3f} s, measured {row['measured']:.3f} s, "
              f"{percent(row['plan']['step_seconds'] / row['measured'] - 1)}", flush=True)
    text = ("# Forecasts against measurements\n\n`bench/forecast_grid.py SMOLLM2 OUT`: `sluice plan` from the machine file that `sluice doctor` "
            f"wrote in the same session ({doctor_seconds:.0f} s), against the median of the later steps of `sluice train`. "
            f"{time.perf_counter() - start:.0f} s in all.\n\n" + table(rows, reference))
    if policies(rows):
        text += "\nKeep, spill or recompute:\n\n" + policies(rows)
    if failures:
        text += "\n" + "\n".join(failures) + "\n"
    pathlib.Path(options.result).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
