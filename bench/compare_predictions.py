#!/usr/bin/env python3
"""Compares two models on the same items: `sluice eval --tasks FILE --predictions A.jsonl` of each.

usage: compare_predictions.py A.jsonl B.jsonl [--measure pick|pick_norm|pick_bytes|pick_tokens]

Items are paired by task and id. Prints both accuracies, how many items only one of them gets right, the difference with its
95 % interval (of paired proportions), and McNemar's exact test: the probability of so uneven a split, or a more uneven one, if
neither model were better. Standard library only.
"""
import argparse
import json
import math


def read(path, measure):
    right = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            key = row["task"], row["id"]
            if key in right:
                raise SystemExit(f"{path}: item {key} stands twice")
            right[key] = row["correct"] if "answer" not in row else row[measure] == row["answer"]
    return right


def mcnemar(only_a, only_b):
    """Two-sided exact binomial test."""
    n, k = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--measure", default="pick", choices=["pick", "pick_norm", "pick_bytes", "pick_tokens"])
    args = parser.parse_args()
    a, b = read(args.a, args.measure), read(args.b, args.measure)
    if a.keys() != b.keys():
        raise SystemExit(f"the files hold different items: {len(a.keys() - b.keys())} only in {args.a}, "
                         f"{len(b.keys() - a.keys())} only in {args.b}")
    n = len(a)
    only_a = sum(a[key] and not b[key] for key in a)
    only_b = sum(b[key] and not a[key] for key in a)
    difference = (only_b - only_a) / n
    half = 1.959963984540054 * math.sqrt(max(0.0, (only_a + only_b) / n - difference**2) / n)
    print(f"{n} items: A {sum(a.values()) / n:.4f}, B {sum(b.values()) / n:.4f}; "
          f"right in A alone {only_a}, in B alone {only_b}")
    print(f"B - A {difference:+.4f} (95 %: {difference - half:+.4f} to {difference + half:+.4f}); "
          f"McNemar exact p = {mcnemar(only_a, only_b):.4g}")


if __name__ == "__main__":
    main()
