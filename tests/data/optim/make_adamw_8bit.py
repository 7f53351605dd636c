#!/usr/bin/env python3
"""Writes adamw_8bit.txt: the dynamic maps and three steps of block-wise 8-bit AdamW, in the order of bitsandbytes'
rules (functional.py create_dynamic_map; kernels.cu, the block-wise optimizer with two states), computed by numpy in
fp32. Codes are found by comparing with all 256 numbers. `make_adamw_8bit.py > adamw_8bit.txt`
"""

import numpy as np

F = np.float32
SIZE, BLOCK, STEPS = 5000, 256, 3
LR, DECAY, BETA1, BETA2, EPS, SCALE = 0.01, 0.1, 0.9, 0.999, 1e-8, 0.5


def linspace(steps):
    """torch.linspace(0.1, 1, steps) in fp32, element by element: from the nearer end. Its vector code differs in the
    last bit, and not everywhere in the same way."""
    step = (F(1) - F(0.1)) / F(steps - 1)
    i = np.arange(steps)
    return np.where(i < steps // 2, F(0.1) + step * i.astype(F), F(1) - step * (steps - 1 - i).astype(F))


def dynamic_map(signed):
    numbers = [F(0), F(1)]
    for i in range(7):
        borders = linspace(2 ** (i if signed else i + 1) + 1)
        middles = F(10.0 ** (i - 6)) * ((borders[:-1] + borders[1:]) / F(2))
        assert middles.dtype == F
        numbers += list(middles) + (list(-middles) if signed else [])
    return np.sort(np.array(numbers, dtype=F))


def gradient(step):
    """The same numbers in C++: integers, and powers of two."""
    i = np.arange(SIZE, dtype=np.uint64)
    word = (i * np.uint64(2654435761) + np.uint64(step * 40503)) % np.uint64(1 << 32)
    value = word.astype(np.float64) / 2.0**32 - 0.5
    return (value * 2.0 ** -((i // 3) % np.uint64(12)).astype(np.float64)).astype(F)


def encode(values, numbers, signed):
    codes = np.empty(SIZE, dtype=np.int64)
    scales = []
    for first in range(0, SIZE, BLOCK):
        part = values[first : first + BLOCK]
        scale = np.max(np.abs(part))
        scales.append(scale)
        x = (part / (scale if scale > 0 else F(1))).astype(F)
        distance = np.abs(x[:, None].astype(np.float64) - numbers[None, :].astype(np.float64))
        code = np.argmin(distance, axis=1)
        if signed:
            wrong = np.signbit(numbers[code]) != np.signbit(x)
            code = code + wrong * np.where(np.signbit(x), -1, 1)
        codes[first : first + BLOCK] = code
    return codes, np.array(scales, dtype=F)


def decode(codes, scales, numbers):
    return (numbers[codes] * np.repeat(scales, BLOCK)[:SIZE]).astype(F)


def words(values):
    return " ".join(f"{word:08x}" for word in np.asarray(values, dtype=F).view(np.uint32))


def main():
    maps = {True: dynamic_map(True), False: dynamic_map(False)}
    print(words(maps[True]))
    print(words(maps[False]))
    parameter = gradient(77)
    blocks = (SIZE + BLOCK - 1) // BLOCK
    moments = [(np.zeros(SIZE, dtype=np.int64), np.zeros(blocks, dtype=F)) for _ in range(2)]
    for step in range(1, STEPS + 1):
        g = (gradient(step) * F(SCALE)).astype(F)
        m = decode(*moments[0], maps[True])
        v = decode(*moments[1], maps[False])
        m = m * F(BETA1) + F(1 - BETA1) * g
        v = v * F(BETA2) + F(1 - BETA2) * g * g
        correction1 = 1 - BETA1**step
        correction2 = np.sqrt(1 - BETA2**step)
        quotient = m / (np.sqrt(v) + F(correction2 * EPS))
        parameter = (parameter + F(-LR * correction2 / correction1) * quotient) * F(1 - LR * DECAY)
        assert parameter.dtype == F and m.dtype == F and v.dtype == F
        moments = [encode(m, maps[True], True), encode(v, maps[False], False)]
    for codes, scales in moments:
        print("".join(f"{code:02x}" for code in codes))
        print(words(scales))
    print(words(parameter[::50]))


main()
