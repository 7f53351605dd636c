"""Oracles for tests/model: tiny random LlamaForCausalLM models of transformers, with their loss, every gradient and the
hidden states. One .bin per case: a JSON line {config, tensors: [[name, dtype, shape]...]}, then the raw values in order.

    python tools/oracles/make_llama_oracles.py tests/data/model
"""
import json
import pathlib
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

BASE = dict(vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=4, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0,
            attention_bias=False, mlp_bias=False, tie_word_embeddings=False, hidden_act="silu")
CASES = {
    "gqa_tied": dict(tie_word_embeddings=True),
    "mha_untied_linear_rope": dict(num_key_value_heads=4, rope_scaling=dict(rope_type="linear", factor=2.0)),
    "gqa_llama3_rope": dict(rope_theta=500.0, head_dim=8, rope_scaling=dict(
        rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32)),
    "biases": dict(attention_bias=True, mlp_bias=True, num_key_value_heads=1),
}


def make(name, changes, folder):
    torch.manual_seed(len(name))
    config = LlamaConfig(**{**BASE, **changes})
    model = LlamaForCausalLM(config).float()
    model.set_attn_implementation("eager")
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3 + (1.0 if parameter.dim() == 1 else 0.0)
    ids = torch.randint(0, config.vocab_size, (2, 13))
    labels = ids.clone()
    labels[0, 3:6] = -100
    labels[1, -1] = -100
    out = model(input_ids=ids, labels=labels, output_hidden_states=True)
    out.loss.backward()
    tensors = {"input_ids": ids, "labels": labels, "loss": out.loss.detach(), "logits": out.logits.detach()}
    # The last one of transformers is normalised already: boundaries are those before it.
    for i, hidden in enumerate(out.hidden_states[:-1]):
        tensors[f"hidden.{i}"] = hidden.detach()
    for parameter_name, parameter in model.named_parameters():
        tensors["parameter." + parameter_name] = parameter.detach()
        tensors["gradient." + parameter_name] = parameter.grad
    header = {"config": {**BASE, **changes}, "tensors": [
        [key, str(value.dtype).removeprefix("torch."), list(value.shape)] for key, value in tensors.items()]}
    with open(folder / f"llama_{name}.bin", "wb") as file:
        file.write((json.dumps(header) + "\n").encode())
        for value in tensors.values():
            file.write(value.contiguous().numpy().tobytes())


if __name__ == "__main__":
    for case, case_changes in CASES.items():
        make(case, case_changes, pathlib.Path(sys.argv[1]))
