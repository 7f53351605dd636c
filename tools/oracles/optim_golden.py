#!/usr/bin/env python3
"""Writes tests/data/optim/: what torch's optimizers and transformers' schedules compute, as bit patterns.

rules.txt: per case a line `case NAME lr weight_decay beta1 beta2 eps momentum dampening nesterov elements steps states`,
then rows of hexadecimal fp32 words: initial parameter, one gradient per step, then after each step the parameter and
each state. schedules.txt: `NAME lr warmup max_steps min_lr_rate`, then one row of fp64 words, one per iteration.
Tensors are longer than what is written, because torch rounds the last few elements of a tensor otherwise.
"""
import pathlib
import struct
import sys

import torch
from transformers import get_scheduler

ELEMENTS, PADDED, STEPS = 37, 128, 5


def words(tensor):
    return " ".join(f"{x & 0xFFFFFFFF:08x}" for x in tensor.detach()[:ELEMENTS].contiguous().view(torch.int32).tolist())


def gradients(generator):
    rows = [torch.randn(PADDED, generator=generator) for _ in range(STEPS)]
    for row in rows:
        row[0] = 0.0
        row[1] *= 1e-20
        row[2] *= 1e15
        row[3] *= 1e-40
    return rows


def rule_case(out, name, **o):
    generator = torch.Generator().manual_seed(len(name) * 1000 + len(str(o)))
    parameter = torch.nn.Parameter(torch.randn(PADDED, generator=generator))
    grads = gradients(generator)
    if name == "adamw":
        optimizer = torch.optim.AdamW([parameter], lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"],
                                      weight_decay=o["weight_decay"], fused=True)
        states = ["exp_avg", "exp_avg_sq"]
    else:
        optimizer = torch.optim.SGD([parameter], lr=o["lr"], momentum=o["momentum"], dampening=o["dampening"],
                                    nesterov=o["nesterov"], weight_decay=o["weight_decay"], fused=True)
        states = ["momentum_buffer"] if o["momentum"] else []
    keys = ["lr", "weight_decay", "beta1", "beta2", "eps", "momentum", "dampening"]
    out.write(f"case {name} " + " ".join(repr(float(o[k])) for k in keys) +
              f" {int(o['nesterov'])} {ELEMENTS} {STEPS} {len(states)}\n")
    out.write(words(parameter) + "\n")
    for grad in grads:
        out.write(words(grad) + "\n")
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
        out.write(words(parameter) + "\n")
        for state in states:
            out.write(words(optimizer.state[parameter][state]) + "\n")


def schedule_case(out, name, lr, warmup, max_steps, min_lr_rate=0.0):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    kwargs = dict(min_lr_rate=min_lr_rate) if name == "cosine_with_min_lr" else None
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=max_steps,
                             scheduler_specific_kwargs=kwargs)
    row = []
    for _ in range(max_steps):
        row.append(struct.unpack("<Q", struct.pack("<d", optimizer.param_groups[0]["lr"]))[0])
        optimizer.step()
        schedule.step()
    out.write(f"{name} {lr!r} {warmup} {max_steps} {min_lr_rate!r}\n" + " ".join(f"{x:016x}" for x in row) + "\n")


def main():
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/optim")
    base = dict(lr=1e-3, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8, momentum=0.0, dampening=0.0,
                nesterov=False)
    with open(folder / "rules.txt", "w") as out:
        rule_case(out, "adamw", **base)
        rule_case(out, "adamw", **{**base, "lr": 0.05, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-5})
        rule_case(out, "adamw", **{**base, "weight_decay": 0.0, "beta1": 0.3})
        rule_case(out, "sgd", **{**base, "lr": 0.1, "weight_decay": 0.0})
        rule_case(out, "sgd", **{**base, "lr": 0.1})
        rule_case(out, "sgd", **{**base, "lr": 0.1, "momentum": 0.9})
        rule_case(out, "sgd", **{**base, "lr": 0.03, "momentum": 0.8, "dampening": 0.25, "weight_decay": 0.2})
        rule_case(out, "sgd", **{**base, "lr": 0.1, "momentum": 0.9, "nesterov": True})
    with open(folder / "schedules.txt", "w") as out:
        for name in ["constant_with_warmup", "linear", "cosine"]:
            for warmup, max_steps in [(0, 1), (0, 7), (3, 10), (10, 10), (25, 100)]:
                schedule_case(out, name, 3e-4, warmup, max_steps)
        schedule_case(out, "constant", 1e-5, 0, 4)
        for warmup, max_steps, min_lr_rate in [(0, 7, 0.1), (3, 10, 0.0), (25, 100, 0.1), (10, 10, 0.5)]:
            schedule_case(out, "cosine_with_min_lr", 1e-3, warmup, max_steps, min_lr_rate)


main()
