#!/usr/bin/env python3
"""Gradient norms of the SmolLM2 fixture, summed in fp64 over PyTorch's own fp32 gradients.

torch.nn.utils.clip_grad_norm_ sums in fp32, which is about 1e-4 low for 135 million elements; a test that compares to
fewer digits than it could would miss real differences. Writes tests/data/train/smollm2_fp64_norms.json.

usage: smollm2_fp64_norms.py MODEL_DIR smollm2_adamw.json smollm2_adamw.safetensors OUTPUT.json
"""
import json
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

model_dir, recipe_file, tokens_file, output = sys.argv[1:]
recipe = json.load(open(recipe_file))
tokens = load_file(tokens_file)
model = AutoModelForCausalLM.from_pretrained(model_dir, torch_dtype=torch.float32)
model.config.use_cache = False
optimizer = torch.optim.AdamW(model.parameters(), lr=recipe["lr"], betas=tuple(recipe["betas"]), eps=recipe["eps"],
                              weight_decay=recipe["weight_decay"], fused=True)
rows = recipe["micro_batch_size"]
steps = []
for step in range(len(recipe["steps"])):
    ids = tokens["input_ids"][step * rows:(step + 1) * rows]
    labels = tokens.get("labels", tokens["input_ids"])[step * rows:(step + 1) * rows]
    optimizer.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=labels).loss
    loss.backward()
    squares = sum(p.grad.double().square().sum().item() for p in model.parameters())
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe["max_grad_norm"])
    optimizer.step()
    steps.append({"step": step + 1, "loss": loss.item(), "grad_norm": squares ** 0.5})
    print(steps[-1], flush=True)
json.dump({"what": "norms of PyTorch's fp32 gradients, summed in fp64, before clipping", "torch": torch.__version__,
           "steps": steps}, open(output, "w"), indent=1)
open(output, "a").write("\n")
