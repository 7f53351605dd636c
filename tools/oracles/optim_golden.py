#!/usr/bin/env python3
"""Writes tests/data/optim/rules.txt: what torch's optimizers (or, named here, the reference code of a rule) compute, as
bit patterns.

Per case a line `case NAME lr weight_decay SHAPE steps states OPTIONS` (SHAPE as 37 or 6x11, OPTIONS as key=value,... or
-), then rows of hexadecimal fp32 words: initial parameter, one gradient per step, then after each step the parameter and
each state. Vectors are computed longer than they are written, because torch rounds the last few elements of a tensor
otherwise.

torch's Muon makes its products in bf16. Cases named `case` are the same code in fp32, cases named `rough` are as it is.

usage: optim_golden.py [FOLDER]
"""
import contextlib
import math
import pathlib
import sys

import torch
from transformers.optimization import Adafactor

ELEMENTS, PADDED, STEPS = 37, 128, 4


class Lion(torch.optim.Optimizer):
    """The update of the authors' code (arXiv 2302.06675, Program 1)."""

    def __init__(self, parameters, lr, weight_decay, beta1=0.9, beta2=0.99):
        super().__init__(parameters, dict(lr=lr, weight_decay=weight_decay, beta1=beta1, beta2=beta2))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                direction = (m * group["beta1"]).add(p.grad, alpha=1 - group["beta1"]).sign()
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                m.mul_(group["beta2"]).add_(p.grad, alpha=1 - group["beta2"])


class WholeTensor(torch.optim.Optimizer):
    """One tensor at a time; its rule is in `rule`, its states in the order of the file are those that the rule makes."""

    def __init__(self, parameters, **options):
        super().__init__(parameters, options)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                self.rule(p, p.grad.clone(), state, group)


class AdaLomo(WholeTensor):
    """fuse_update of lomo_optim/adalomo.py, without loss scale and clipping."""

    @staticmethod
    def rule(p, g, state, o):
        beta2 = 1.0 - math.pow(state["step"], -0.8)
        square = g**2 + 1e-30
        if p.dim() > 1:
            row = state.setdefault("exp_avg_sq_row", torch.zeros(p.shape[0]))
            col = state.setdefault("exp_avg_sq_col", torch.zeros(p.shape[1]))
            row.mul_(beta2).add_(square.mean(dim=-1), alpha=1.0 - beta2)
            col.mul_(beta2).add_(square.mean(dim=-2), alpha=1.0 - beta2)
            update = (row / row.mean()).rsqrt().unsqueeze(-1) * col.rsqrt().unsqueeze(-2) * g
        else:
            moment = state.setdefault("exp_avg_sq", torch.zeros_like(p))
            moment.mul_(beta2).add_(square, alpha=1.0 - beta2)
            update = moment.rsqrt().mul_(g)
        update.div_((update.norm(2) / update.numel() ** 0.5 / o["clip_threshold"]).clamp_(min=1.0))
        lr = o["lr"] * max(1e-3, float(p.norm(2)) / math.sqrt(p.numel()))
        p.mul_(1.0 - lr * o["weight_decay"]).add_(update, alpha=-lr)


class Lars(WholeTensor):
    """Algorithm 1 of arXiv 1708.03888; ratio 1 without decay."""

    @staticmethod
    def rule(p, g, state, o):
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(p))
        norm, decay = float(p.double().norm()), o["weight_decay"]
        ratio = o["trust_coefficient"] * norm / (float(g.double().norm()) + decay * norm) if decay else 1.0
        buffer.mul_(o["momentum"]).add_(g.add(p, alpha=decay), alpha=o["lr"] * ratio)
        p.sub_(buffer)


class Lamb(WholeTensor):
    """apex FusedLAMB without its clipping."""

    @staticmethod
    def rule(p, g, state, o):
        m = state.setdefault("exp_avg", torch.zeros_like(p))
        v = state.setdefault("exp_avg_sq", torch.zeros_like(p))
        m.mul_(o["beta1"]).add_(g, alpha=1 - o["beta1"])
        v.mul_(o["beta2"]).addcmul_(g, g, value=1 - o["beta2"])
        corrected = m / (1 - o["beta1"] ** state["step"])
        root = (v / (1 - o["beta2"] ** state["step"])).sqrt() + o["eps"]
        step = corrected / root + o["weight_decay"] * p
        ratio = float(p.double().norm() / step.double().norm()) if o["weight_decay"] else 1.0
        p.add_(step, alpha=-o["lr"] * ratio)


@contextlib.contextmanager
def products_in_fp32():
    """Muon's code rounds with Tensor.bfloat16 and goes on in that type."""
    rounding = torch.Tensor.bfloat16
    torch.Tensor.bfloat16 = torch.Tensor.clone
    try:
        yield
    finally:
        torch.Tensor.bfloat16 = rounding


def make_optimizer(name, parameter, lr, weight_decay, o):
    o = dict(o)
    common = dict(lr=lr, weight_decay=weight_decay)
    if name in ("adamw", "adam"):
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        betas = (o.pop("beta1", 0.9), o.pop("beta2", 0.999))
        return kind([parameter], betas=betas, fused=True, **common, **o), ["exp_avg", "exp_avg_sq"]
    if name == "sgd":
        states = ["momentum_buffer"] if o.get("momentum") else []
        return torch.optim.SGD([parameter], fused=True, **common, **o), states
    if name == "adagrad":
        return torch.optim.Adagrad([parameter], fused=True, **common, **o), ["sum"]
    if name == "rmsprop":
        states = ["square_avg"] + ["momentum_buffer"] * ("momentum" in o) + ["grad_avg"] * ("centered" in o)
        return torch.optim.RMSprop([parameter], foreach=False, **common, **o), states
    if name == "lion":
        return Lion([parameter], **common, **o), ["exp_avg"]
    factored = ["exp_avg_sq_row", "exp_avg_sq_col"] if parameter.dim() > 1 else ["exp_avg_sq"]
    if name == "adafactor":
        eps = (o.pop("eps1", 1e-30), o.pop("eps2", 1e-3))
        o = {"scale_parameter": False, "relative_step": False, **o}
        if o["relative_step"]:
            common["lr"] = None
        return Adafactor([parameter], eps=eps, **common, **o), factored + ["exp_avg"] * ("beta1" in o)
    if name == "adalomo":
        return AdaLomo([parameter], **{"clip_threshold": 1.0, **common, **o}), factored
    if name == "muon":
        if "ns_coefficients" in o:
            o["ns_coefficients"] = tuple(map(float, o["ns_coefficients"].split(";")))
        return torch.optim.Muon([parameter], **common, **o), ["momentum_buffer"]
    if name == "lars":
        return Lars([parameter], **{"momentum": 0.9, "trust_coefficient": 1e-3, **common, **o}), ["momentum_buffer"]
    if name == "lamb":
        defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6}
        return Lamb([parameter], **{**defaults, **common, **o}), ["exp_avg", "exp_avg_sq"]
    raise ValueError(name)


def words(tensor, count=None):
    bits = tensor.detach().flatten()[:count].contiguous().view(torch.int32)
    return " ".join(f"{x & 0xFFFFFFFF:08x}" for x in bits.tolist())


def gradients(generator):
    rows = [torch.randn(PADDED, generator=generator) for _ in range(STEPS)]
    for row in rows:
        row[0] = 0.0
        row[1] *= 1e-20
        row[2] *= 1e15
        row[3] *= 1e-40
    return rows


def text(value):
    if isinstance(value, bool):
        return {True: "true", False: "false"}[value]
    return value if isinstance(value, str) else repr(value)


def run_case(out, name, lr, weight_decay, options, parameter, grads, count=None, word="case"):
    parameter = torch.nn.Parameter(parameter)
    optimizer, states = make_optimizer(name, parameter, lr, weight_decay, options)
    pairs = ",".join(f"{k}={text(v)}" for k, v in options.items()) or "-"
    shape = str(count) if count else "x".join(map(str, parameter.shape))
    out.write(f"{word} {name} {lr!r} {weight_decay!r} {shape} {len(grads)} {len(states)} {pairs}\n")
    out.write(words(parameter, count) + "\n")
    for grad in grads:
        out.write(words(grad, count) + "\n")
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
        out.write(words(parameter, count) + "\n")
        for state in states:
            out.write(words(optimizer.state[parameter][state], count) + "\n")


def vector_case(out, name, lr, weight_decay, **options):
    generator = torch.Generator().manual_seed(len(name) * 1000 + len(str(options)))
    parameter = torch.randn(PADDED, generator=generator)
    run_case(out, name, lr, weight_decay, options, parameter, gradients(generator), ELEMENTS)


def tensor_case(out, name, lr, weight_decay, shape, word="case", **options):
    generator = torch.Generator().manual_seed(len(name) * 100 + len(str(options)) + sum(shape))
    parameter = torch.randn(shape, generator=generator) * 0.5
    grads = [torch.randn(shape, generator=generator) * 10.0**i for i in (-2, 0, -1)]
    grads[1][0] = 0.0
    run_case(out, name, lr, weight_decay, options, parameter, grads, word=word)


def main():
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/optim")
    with open(folder / "rules.txt", "w") as out:
        for name in ("adamw", "adam"):
            vector_case(out, name, 1e-3, 0.01)
            vector_case(out, name, 0.05, 0.1, beta1=0.8, beta2=0.95, eps=1e-5)
            vector_case(out, name, 1e-3, 0.0, beta1=0.3)
        vector_case(out, "sgd", 0.1, 0.0)
        vector_case(out, "sgd", 0.1, 0.01)
        vector_case(out, "sgd", 0.1, 0.01, momentum=0.9)
        vector_case(out, "sgd", 0.03, 0.2, momentum=0.8, dampening=0.25)
        vector_case(out, "sgd", 0.1, 0.01, momentum=0.9, nesterov=True)
        vector_case(out, "adagrad", 0.01, 0.0)
        vector_case(out, "adagrad", 0.1, 0.1, lr_decay=0.05, initial_accumulator_value=0.3, eps=1e-6)
        vector_case(out, "rmsprop", 0.01, 0.0)
        vector_case(out, "rmsprop", 0.02, 0.1, alpha=0.9, eps=1e-6)
        vector_case(out, "rmsprop", 0.01, 0.01, momentum=0.9)
        vector_case(out, "rmsprop", 0.01, 0.01, alpha=0.95, centered=True)
        vector_case(out, "rmsprop", 0.01, 0.01, alpha=0.3, momentum=0.5, centered=True)
        vector_case(out, "lion", 1e-3, 0.1)
        vector_case(out, "lion", 3e-2, 0.01, beta1=0.95, beta2=0.98)
        matrix, vector = (5, 29), (31,)
        for shape in (matrix, vector):
            tensor_case(out, "adafactor", 1e-2, 0.0, shape)
            tensor_case(out, "adafactor", 1e-2, 0.1, shape, scale_parameter=True, relative_step=True, beta1=0.9)
            tensor_case(out, "adalomo", 1e-2, 0.1, shape)
            tensor_case(out, "lars", 0.1, 0.1, shape)
            tensor_case(out, "lamb", 1e-2, 0.1, shape)
        tensor_case(out, "adafactor", 1e-2, 0.0, matrix, clip_threshold=0.5, decay_rate=-0.5, eps1=1e-6)
        tensor_case(out, "adafactor", 1e-2, 0.0, matrix, relative_step=True, warmup_init=True)
        tensor_case(out, "adalomo", 1e-2, 0.0, matrix, clip_threshold=2.0)
        tensor_case(out, "lars", 0.1, 0.0, matrix, momentum=0.5)
        tensor_case(out, "lars", 0.1, 0.01, matrix, trust_coefficient=0.02)
        tensor_case(out, "lamb", 1e-2, 0.0, matrix, beta1=0.8, eps=1e-5)
        with products_in_fp32():
            tensor_case(out, "muon", 0.02, 0.1, matrix)
            tensor_case(out, "muon", 0.02, 0.0, (13, 7), adjust_lr_fn="match_rms_adamw")
            tensor_case(out, "muon", 0.1, 0.1, (8, 8), nesterov=False, momentum=0.5, eps=1e-3)
            tensor_case(out, "muon", 0.1, 0.1, (6, 9), ns_steps=3, ns_coefficients="2.0;-1.5;0.5")
        tensor_case(out, "muon", 0.02, 0.1, (14, 22), word="rough")


main()
