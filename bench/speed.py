#!/usr/bin/env python3
"""Speed against a plain PyTorch trainer on the same work, in interleaved rounds: each round runs the peer once and then every
configuration of Sluice once, so that a drift of the machine meets both; the table gives the median over rounds of the ratio
ours / peer within a round.

The peer is any command that trains and prints, as its last line, a JSON object with `step_s_list` (seconds per step) and
`peak_rss_mib`. Step 1 is dropped on both sides.

usage: speed.py --sluice BIN --model DIR --data FILE --scratch DIR --peer 'COMMAND' --rows ROW[,ROW...] [--rounds 5] [--steps 4]
       [--micro-batch 4] [--init-random] [--peer-gflop-per-token F --gemm GFLOPS] [--markdown FILE]
ROW is NAME=FLAG FLAG ..., rows are separated by ';'; {spill} in a flag stands for a folder under --scratch. A row of several ranks
sets its own --micro-batch-size, so that all rows have the tokens of --micro-batch in a step. Examples:
  --rows 'unlimited=--max-grad-norm 0;1GiB=--max-grad-norm 0 --host-memory 1GiB --spill-dir {spill}'
  --rows 'one rank=--threads 2;2 ranks=--threads 2 --nproc 2 --zero-stage 2 --micro-batch-size 2'
"""
import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time

BYTES_PER_MIB = 1 << 20


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--init-random", action="store_true")
    parser.add_argument("--extra", default="", help="further flags of every row")
    parser.add_argument("--mflop-per-token", type=float, default=860.2, help="useful work: 6 x parameters + attention")
    parser.add_argument("--markdown")
    return parser.parse_args()


def peer_run(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"speed: the peer failed ({done.returncode}): {done.stderr[-800:]}")
    line = json.loads(done.stdout.strip().splitlines()[-1])
    return {"step": statistics.median(line["step_s_list"][1:]), "rss": line["peak_rss_mib"], "losses": line.get("losses")}


def our_run(a, name, flags):
    output = os.path.join(a.scratch, "out")
    spill = os.path.join(a.scratch, "spill")
    for folder in (output, spill):
        shutil.rmtree(folder, ignore_errors=True)
    command = [a.sluice, "train", "--model", a.model, "--data", a.data, "--output", output, "--seq-len", str(a.seq_len),
               "--max-steps", str(a.steps), "--no-shuffle"]
    command += [] if "--micro-batch-size" in flags else ["--micro-batch-size", str(a.micro_batch)]
    command += ["--init", "random"] if a.init_random else []
    command += shlex.split(a.extra) + shlex.split(flags.replace("{spill}", spill))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"speed: {name} failed ({done.returncode}): {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    with open(os.path.join(output, "metrics.jsonl"), encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    steps = [event for event in events if event["event"] == "step"][1:]
    middle = {key: statistics.median(step.get(key, 0) for step in steps)
              for key in ("step_seconds", "compute_seconds", "stall_seconds", "cpu_seconds", "minor_faults",
                          "disk_read_bytes", "disk_write_bytes")}
    end = [event for event in events if event["event"] == "end"][-1]
    shutil.rmtree(output, ignore_errors=True)
    shutil.rmtree(spill, ignore_errors=True)
    return {"step": middle["step_seconds"], "rss": end["rss_bytes"] / BYTES_PER_MIB, **middle,
            "losses": [round(step["loss"], 5) for step in steps]}


def gemm_rate(seconds=2.0):
    """GFLOP/s of a 2048 x 576 x 1536 product in torch with as many threads as cores: the yardstick of this round."""
    code = ("import torch,time\na=torch.randn(2048,576);b=torch.randn(1536,576);t=[]\n"
            f"end=time.time()+{seconds}\n"
            "while time.time()<end:\n s=time.perf_counter();torch.nn.functional.linear(a,b);t.append(time.perf_counter()-s)\n"
            "t.sort();print(2*2048*576*1536/1e9/t[len(t)//2])")
    done = subprocess.run([os.environ.get("PEER_PYTHON", sys.executable), "-c", code], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else 0.0


def describe(a, rows, rounds):
    tokens = a.micro_batch * a.seq_len
    useful = tokens * a.mflop_per_token / 1e3
    cores = os.cpu_count()
    lines = [f"{platform.processor() or platform.machine()}, {cores} cores; {tokens} tokens a step; {len(rounds)} rounds; "
             f"GEMM {statistics.median(r['gemm'] for r in rounds):.0f} GFLOP/s (median over rounds, 2048 x 576 x 1536, fp32)", "",
             "| run | ratio to the peer: median (min .. max) | tokens/s | step s | compute s | stall s | idle s | of GEMM | process MiB | disk read + written MiB a step | page faults a step |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    peer_step = statistics.median(r["peer"]["step"] for r in rounds)
    peer_rss = statistics.median(r["peer"]["rss"] for r in rounds)
    gemm = statistics.median(r["gemm"] for r in rounds)
    fraction = lambda step: f"{useful / step / gemm:.2f}" if gemm else "-"
    lines.append(f"| peer | 1 | {tokens / peer_step:.1f} | {peer_step:.2f} | - | - | - | {fraction(peer_step)} | {peer_rss:.0f} | - | - |")
    for name, _ in rows:
        runs = [(r["peer"]["step"] / r[name]["step"], r[name]) for r in rounds if r.get(name)]
        if not runs:
            lines.append(f"| {name} | failed | | | | | | | | | |")
            continue
        ratios = [ratio for ratio, _ in runs]
        of = lambda key: statistics.median(run[key] for _, run in runs)
        idle = max(0.0, of("step_seconds") - of("cpu_seconds") / cores) if of("cpu_seconds") else float("nan")
        lines.append(f"| {name} | {statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f}) | {tokens / of('step'):.1f} | "
                     f"{of('step'):.2f} | {of('compute_seconds'):.2f} | {of('stall_seconds'):.2f} | {idle:.2f} | {fraction(of('step'))} | "
                     f"{max(run['rss'] for _, run in runs):.0f} | {of('disk_read_bytes') / BYTES_PER_MIB:.0f} + "
                     f"{of('disk_write_bytes') / BYTES_PER_MIB:.0f} | {of('minor_faults'):.0f} |")
    return "\n".join(lines) + "\n"


def main():
    a = parse()
    rows = [row.split("=", 1) for row in a.rows.split(";") if row.strip()]
    os.makedirs(a.scratch, exist_ok=True)
    rounds = []
    for number in range(a.rounds):
        started = time.time()
        this = {"gemm": gemm_rate(), "peer": peer_run(a.peer)}
        for name, flags in rows:
            this[name] = our_run(a, name, flags)
        rounds.append(this)
        shown = ", ".join(f"{name} {this['peer']['step'] / this[name]['step']:.3f}" for name, _ in rows if this.get(name))
        print(f"speed: round {number + 1} of {a.rounds} in {time.time() - started:.0f} s: peer {this['peer']['step']:.2f} s; {shown}",
              file=sys.stderr, flush=True)
        table = describe(a, rows, rounds)
        if a.markdown:
            with open(a.markdown, "w", encoding="utf-8") as out:
                out.write(table)
    print(table)


if __name__ == "__main__":
    main()
