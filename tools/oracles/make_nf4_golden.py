#!/usr/bin/env python3
"""tests/data/nf4.bin: what bitsandbytes makes of a tensor whose elements are a formula that the test has, too.

    pip install torch bitsandbytes==0.50.2 && python3 tools/oracles/make_nf4_golden.py tests/data/nf4.bin

In the file, one after the other: packed codes (N / 2 bytes), magnitudes of blocks (N / 64 bytes), their scales (fp32,
one per 16384 elements), their mean (fp32), and every seventh element as bitsandbytes gives it back (fp32).

The codes of magnitudes are the nearest numbers of the map, which its kernels for GPUs and its reference find. Its library
for CPUs (0.50.2) looks them up in bins and takes a neighbour where a number is within 1e-5 of the middle of two.
"""
import sys

import bitsandbytes.functional as F
import torch

N = 16384 + 4096


def elements():
    i = torch.arange(N, dtype=torch.int64)
    hashed = (i * 2654435761) % (1 << 32)
    near = (hashed >> 8).double() / (1 << 24) - 0.5
    return (near * (1 + (i // 64 % 37).double() / 8)).float()


def main():
    packed, state = F.quantize_4bit(elements(), blocksize=64, quant_type="nf4", compress_statistics=True)
    _, plain = F.quantize_4bit(elements(), blocksize=64, quant_type="nf4", compress_statistics=False)
    scaled = (plain.absmax - state.offset) / state.state2.absmax.repeat_interleave(256)[: N // 64]
    state.absmax = (scaled[:, None] - state.state2.code[None, :]).abs().argmin(1).to(torch.uint8)
    back = F.dequantize_4bit(packed, state)
    with open(sys.argv[1], "wb") as out:
        for tensor in (packed.flatten(), state.absmax, state.state2.absmax.float(), state.offset.float().reshape(1),
                       back.flatten()[::7].contiguous()):
            out.write(tensor.numpy().tobytes())


main()
