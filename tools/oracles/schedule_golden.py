#!/usr/bin/env python3
"""Writes tests/data/optim/schedules.json: learning rates of transformers' get_scheduler as an optimizer sees them step by
step, and of DeepSpeed's and Megatron-LM's formulas, written down here from deepspeed/runtime/lr_schedules.py and
megatron/core/optimizer_param_scheduler.py as their engines step them.

A list of {name, lr, warmup, max_steps, options, rates}; rates as hexadecimal doubles, one per iteration from 0.

usage: schedule_golden.py [FILE]
"""
import json
import math
import sys

import torch
from transformers import get_scheduler


def transformers_rates(name, lr, warmup, max_steps, options, count):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=max_steps,
                             scheduler_specific_kwargs=dict(options))
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def warmup_factor(t, steps, kind):
    return math.log(t + 1) / math.log(steps) if kind == "log" else t / steps


def deepspeed_rate(name, lr, max_steps, o, t):
    """t = last_batch_iteration; -1 before the first step() of the schedule."""
    total = o.get("total_num_steps", max_steps)
    steps = max(2, o.get("warmup_num_steps", 1000))
    kind = o.get("warmup_type", "log")
    if name in ("warmup_lr", "warmup_decay_lr"):
        low, high = o.get("warmup_min_lr", 0.0), o.get("warmup_max_lr", lr)
        if t < 0:
            return low
        if t < steps:
            gamma = warmup_factor(t, steps, kind)
        elif name == "warmup_lr":
            gamma = 1.0
        else:
            gamma = max(0.0, (total - t) / max(1.0, total - steps))
        return low + (high - low) * gamma
    if name == "warmup_cosine_lr":
        if t < 0:
            return 0.0
        if t < steps:
            low = o.get("warmup_min_ratio", 0.0)
            return lr * (low + warmup_factor(t, steps, kind) * (1.0 - low))
        low = o.get("cos_min_ratio", 1e-4)
        progress = min(1.0, (t - steps + 1) / max(1, total - steps))
        return lr * max(0.0, low + (1.0 - low) * (1 + math.cos(math.pi * progress)) / 2)
    if name == "lr_range_test":
        low, size = o.get("lr_range_test_min_lr", 1e-3), o.get("lr_range_test_step_size", 2000)
        if t < 0:
            return low
        interval = (t + 1) / size
        if o.get("lr_range_test_staircase", False):
            interval = math.floor(interval)
        return low * (1 + o.get("lr_range_test_step_rate", 1.0) * interval)
    assert name == "one_cycle"
    low, high = o["cycle_min_lr"], o.get("cycle_max_lr", lr)
    first = float(o.get("cycle_first_step_size", 2000))
    second = float(o.get("cycle_second_step_size", first))
    if t < 0:
        return low
    if t >= first + second:
        if not o.get("decay_step_size", 0) or not o.get("decay_lr_rate", 0.0):
            return low
        return low / (1 + o["decay_lr_rate"] * (t - (first + second) + 1) / o["decay_step_size"])
    done = t + 1
    x = 1.0 + done / (first + second) - math.floor(1 + done / (first + second))
    split = first / (first + second)
    stairs = o.get("cycle_first_stair_count", 0)
    if x > split:
        stairs = o.get("cycle_second_stair_count", stairs)
    height = x / split if x <= split else (x - 1) / (split - 1)
    if stairs > 0:
        inside = done % (first + second)
        height = inside * stairs / first if inside <= first else (first + second - inside) * stairs / second
        height = math.floor(height) / stairs
    return low + (high - low) * height


def megatron_rate(lr, warmup, max_steps, o, step):
    low, first, decay = o.get("min_lr", 0.0), o.get("init_lr", 0.0), o["decay_steps"]
    if warmup > 0 and step <= warmup:
        return first + (lr - first) * step / warmup
    if step > max_steps:
        return low
    start = max_steps - decay
    done = max(0, step - start) / decay
    coefficient = {"linear": 1.0 - done, "cosine": 0.5 * (math.cos(math.pi * done) + 1.0),
                   "exponential": 2.0 * 0.5**done - 1.0, "minus_sqrt": 1.0 - math.sqrt(done)}[o["decay_style"]]
    return low + coefficient * (lr - low)


CASES = [(name, 3e-4, warmup, max_steps, {}, max_steps) for name in ("constant_with_warmup", "linear", "cosine")
         for warmup, max_steps in [(0, 1), (0, 7), (3, 10), (10, 10), (25, 100)]]
CASES += [
    ("constant", 1e-5, 0, 4, {}, 4),
    ("cosine", 1e-3, 2, 20, {"num_cycles": 1.5}, 20),
    ("cosine_with_min_lr", 1e-3, 0, 7, {"min_lr_rate": 0.1}, 7),
    ("cosine_with_min_lr", 1e-3, 3, 10, {"min_lr_rate": 0.0}, 10),
    ("cosine_with_min_lr", 1e-3, 25, 100, {"min_lr": 1e-4}, 100),
    ("cosine_with_min_lr", 1e-3, 10, 10, {"min_lr_rate": 0.5}, 10),
    ("cosine_warmup_with_min_lr", 1e-3, 4, 30, {"min_lr_rate": 0.1}, 30),
    ("cosine_warmup_with_min_lr", 1e-3, 4, 30, {"min_lr": 1e-5, "warmup_lr_rate": 0.2}, 30),
    ("cosine_with_restarts", 5e-4, 3, 40, {}, 50),
    ("cosine_with_restarts", 5e-4, 3, 40, {"num_cycles": 3}, 50),
    ("polynomial", 1e-3, 3, 20, {}, 25),
    ("polynomial", 1e-3, 3, 20, {"power": 2.5, "lr_end": 1e-5}, 25),
    ("inverse_sqrt", 1e-3, 5, 40, {}, 60),
    ("inverse_sqrt", 1e-3, 0, 40, {}, 60),
    ("inverse_sqrt", 1e-3, 5, 40, {"timescale": 20}, 60),
    ("warmup_stable_decay", 1e-3, 5, 40, {"num_decay_steps": 10}, 50),
    ("warmup_stable_decay", 1e-3, 5, 40, {"num_decay_steps": 10, "decay_type": "linear", "warmup_type": "cosine",
                                         "min_lr_ratio": 0.1}, 50),
    ("warmup_stable_decay", 1e-3, 5, 40, {"num_decay_steps": 7, "num_stable_steps": 11, "decay_type": "1-sqrt",
                                         "warmup_type": "1-sqrt", "min_lr_ratio": 0.05}, 50),
    ("warmup_lr", 1e-3, 0, 40, {"warmup_num_steps": 10}, 40),
    ("warmup_lr", 1e-3, 0, 40, {"warmup_num_steps": 10, "warmup_type": "linear", "warmup_min_lr": 1e-5,
                                "warmup_max_lr": 2e-3}, 40),
    ("warmup_lr", 1e-3, 0, 40, {}, 1100),
    ("warmup_decay_lr", 1e-3, 0, 40, {"warmup_num_steps": 10}, 50),
    ("warmup_decay_lr", 1e-3, 0, 40, {"warmup_num_steps": 1, "total_num_steps": 30, "warmup_type": "linear",
                                      "warmup_min_lr": 1e-4}, 50),
    ("warmup_cosine_lr", 1e-3, 0, 40, {"warmup_num_steps": 10}, 50),
    ("warmup_cosine_lr", 1e-3, 0, 40, {"warmup_num_steps": 5, "total_num_steps": 30, "warmup_type": "linear",
                                       "warmup_min_ratio": 0.1, "cos_min_ratio": 0.2}, 50),
    ("one_cycle", 1e-3, 0, 40, {"cycle_min_lr": 1e-4, "cycle_first_step_size": 10}, 40),
    ("one_cycle", 1e-3, 0, 40, {"cycle_min_lr": 1e-4, "cycle_max_lr": 5e-3, "cycle_first_step_size": 7,
                                "cycle_second_step_size": 13, "decay_step_size": 5, "decay_lr_rate": 0.5}, 60),
    ("one_cycle", 1e-3, 0, 40, {"cycle_min_lr": 1e-4, "cycle_first_step_size": 10, "cycle_first_stair_count": 5,
                                "cycle_second_step_size": 12, "cycle_second_stair_count": 3}, 40),
    ("lr_range_test", 1e-3, 0, 40, {"lr_range_test_min_lr": 1e-5, "lr_range_test_step_size": 4,
                                    "lr_range_test_step_rate": 2.0}, 20),
    ("lr_range_test", 1e-3, 0, 40, {"lr_range_test_step_size": 4, "lr_range_test_staircase": True}, 20),
]
CASES += [("wsd", 1e-3, warmup, 40, {"decay_steps": 12, "decay_style": style, "min_lr": low, "init_lr": low / 2}, 45)
          for style in ("linear", "cosine", "exponential", "minus_sqrt") for warmup, low in [(0, 0.0), (6, 1e-4)]]


def rates(name, lr, warmup, max_steps, options, count):
    if name == "wsd":
        return [megatron_rate(lr, warmup, max_steps, options, i) for i in range(count)]
    if name in ("warmup_lr", "warmup_decay_lr", "warmup_cosine_lr", "one_cycle", "lr_range_test"):
        return [deepspeed_rate(name, lr, max_steps, options, i - 1) for i in range(count)]
    return transformers_rates(name, lr, warmup, max_steps, options, count)


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "tests/data/optim/schedules.json"
    rows = []
    for name, lr, warmup, max_steps, options, count in CASES:
        text = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}
        rows.append(json.dumps({"name": name, "lr": lr, "warmup": warmup, "max_steps": max_steps, "options": text,
                                "rates": [x.hex() for x in map(float, rates(name, lr, warmup, max_steps, options, count))]}))
    with open(path, "w") as out:
        out.write("[\n" + ",\n".join(rows) + "\n]\n")


main()
