#!/usr/bin/env python3
"""Ranks that are killed or stopped at random moments: does every other rank end in time, and does it name the right one?

  bench/lost_ranks.py build/release/bin/rank_program [--ranks 4] [--kills 50] [--stops 20] [--deadline-ms 2000]

Each round starts a job over Gloo that sums all the time, waits until all ranks are at work and a random moment longer, and
signals a random rank. Prints a table in Markdown; exit code 1 if any round went wrong.
"""

import argparse
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time

NAMED = re.compile(r"\[collective\] rank (\d+): .* failed: .*got (?:no answer from )?ranks? ([\d, ]+)")


def run_round(options, number, chooser):
    """One job; returns (what is wrong, or None; seconds from the signal to the end of the job)."""
    victim = chooser.randrange(options.ranks)
    pause = chooser.uniform(0, 0.4)
    command = [options.program, "--nproc", str(options.ranks), "--deadline", str(options.deadline_ms), "gloo", "loop"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        processes, lines = {}, []
        for line in job.stderr:
            lines.append(line)
            if found := re.search(r"process (\d+) (\d+) ", line):
                processes[int(found.group(1))] = int(found.group(2))
            if "looping" in line:
                break
        # Lines of other ranks come through the launcher, perhaps after rank 0's.
        while len(processes) < options.ranks and (line := job.stderr.readline()):
            lines.append(line)
            if found := re.search(r"process (\d+) (\d+) ", line):
                processes[int(found.group(1))] = int(found.group(2))
        time.sleep(pause)
        begin = time.monotonic()
        os.kill(processes[victim], number)
        lines += job.stderr.readlines()
        code = job.wait()
        seconds = time.monotonic() - begin
    named = {int(rank): ranks for rank, ranks in NAMED.findall("".join(lines))}
    wrong = []
    if code != 5:
        wrong.append(f"exit code {code}")
    for rank in set(range(options.ranks)) - {victim}:
        if named.get(rank, "").strip() != str(victim):
            wrong.append(f"rank {rank} named {named.get(rank, 'nobody')}, not {victim}")
    if any(os.path.exists(f"/proc/{process}") for process in processes.values()):
        wrong.append("a rank is left over")
    if wrong:
        sys.stderr.write("".join(lines))
    return ("; ".join(wrong) or None), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--deadline-ms", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chooser = random.Random(options.seed)
    print("| signal | rounds | right | seconds to the end of the job: median | most |\n|---|---|---|---|---|")
    all_right = True
    for number, rounds in ((signal.SIGKILL, options.kills), (signal.SIGSTOP, options.stops)):
        results = [run_round(options, number, chooser) for _ in range(rounds)]
        wrong = [problem for problem, _ in results if problem]
        seconds = [taken for _, taken in results] or [0.0]
        print(f"| {number.name} | {rounds} | {rounds - len(wrong)} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")
        for problem in wrong:
            print(f"wrong: {problem}", file=sys.stderr)
        all_right = all_right and not wrong
    return 0 if all_right else 1


if __name__ == "__main__":
    sys.exit(main())
