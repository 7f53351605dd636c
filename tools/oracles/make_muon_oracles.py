"""Oracle for tests/train/muon_oracle_program_test.cpp: tiny random transformers models whose hidden matrices are trained
by torch.optim.Muon and everything else by torch.optim.AdamW, clipped by one norm. Muon's code rounds to bf16 for its
products; here it runs in fp32. GPT-2's c_attn is three matrices to it, queries, keys and values.

    python tools/oracles/make_muon_oracles.py tests/data/train
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

STEPS, ACCUMULATION, ROWS, LENGTH = 4, 2, 2, 16
# A bias of keys has gradient 0 but for rounding, which a small eps would make steps of.
LR, ADAMW_LR, EPS, DECAY, BOUND = 0.02, 3e-3, 1e-4, 0.1, 0.7


def llama():
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
        attn_implementation="eager"))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=48, n_embd=16, n_inner=24, n_layer=2, n_head=2, n_positions=32, resid_pdrop=0, embd_pdrop=0,
        attn_pdrop=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager"))


class Joined:
    """A parameter that is so many matrices side by side, each a parameter of its own to the optimizer."""

    def __init__(self, whole, count):
        self.whole, self.count = whole, count
        self.parts = [torch.nn.Parameter(part.clone()) for part in whole.data.chunk(count, dim=1)]

    def take_gradient(self):
        for part, gradient in zip(self.parts, self.whole.grad.chunk(self.count, dim=1)):
            part.grad = gradient.clone()

    def give_back(self):
        self.whole.data = torch.cat([part.data for part in self.parts], dim=1)


def make(model, folder):
    shutil.rmtree(folder, ignore_errors=True)
    model = model.float()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2 + (1.0 if parameter.dim() == 1 else 0.0)
    model.save_pretrained(folder / "base")
    ids = torch.randint(0, 48, (STEPS * ACCUMULATION * ROWS, LENGTH))
    save_file({"input_ids": ids}, folder / "data.safetensors")
    hidden, tables, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            vectors.append(parameter)
        elif ".layers." in name or ".h." in name:
            hidden.append(Joined(parameter, 3 if "c_attn" in name else 1))
        else:
            tables.append(parameter)
    muon = torch.optim.Muon([part for each in hidden for part in each.parts], lr=LR, weight_decay=DECAY)
    adamw = torch.optim.AdamW([{"params": tables, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}],
                              lr=ADAMW_LR, eps=EPS)
    losses, norms = [], []
    for step in range(STEPS):
        first = step * ACCUMULATION * ROWS
        batch = ids[first:first + ACCUMULATION * ROWS]
        loss = model(input_ids=batch, labels=batch).loss  # rows are equally long: the mean over the window
        model.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(list(model.parameters()), BOUND).item())
        losses.append(loss.item())
        for each in hidden:
            each.take_gradient()
        muon.step()
        adamw.step()
        for each in hidden:
            each.give_back()
    save_file({name: value.detach().clone() for name, value in model.named_parameters()},
              folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps({"losses": losses, "norms": norms}) + "\n")
    (folder / "base" / "generation_config.json").unlink(missing_ok=True)


def main():
    torch.Tensor.bfloat16 = torch.Tensor.clone
    torch.manual_seed(11)
    folder = pathlib.Path(sys.argv[1])
    make(llama(), folder / "muon_llama")
    make(gpt2(), folder / "muon_gpt2")


main()
