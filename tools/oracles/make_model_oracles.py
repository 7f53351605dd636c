"""Oracles for tests/model: tiny random models of transformers, with their loss, every gradient and the hidden states. One
.bin per case: a JSON line {config, tensors: [[name, dtype, shape]...]}, then the raw values in order.

    python tools/oracles/make_model_oracles.py tests/data/model [CASE...]
"""
import json
import pathlib
import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

LLAMA = dict(model_type="llama", vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=4, max_position_embeddings=64, rms_norm_eps=1e-5,
             rope_theta=10000.0, attention_bias=False, mlp_bias=False, tie_word_embeddings=False, hidden_act="silu")
GPT2 = dict(model_type="gpt2", vocab_size=61, n_positions=16, n_embd=16, n_layer=2, n_head=4, n_inner=None,
            activation_function="gelu_new", layer_norm_epsilon=1e-5, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            tie_word_embeddings=True)
CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "gpt2": (GPT2Config, GPT2LMHeadModel)}
CASES = {
    "llama_gqa_tied": dict(LLAMA, tie_word_embeddings=True),
    "llama_mha_untied_linear_rope": dict(LLAMA, num_key_value_heads=4, rope_scaling=dict(rope_type="linear", factor=2.0)),
    "llama_gqa_llama3_rope": dict(LLAMA, rope_theta=500.0, head_dim=8, rope_scaling=dict(
        rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32)),
    "llama_biases": dict(LLAMA, attention_bias=True, mlp_bias=True, num_key_value_heads=1),
    "gpt2_tied": dict(GPT2),
    "gpt2_untied_exact_gelu": dict(GPT2, tie_word_embeddings=False, activation_function="gelu", n_inner=40,
                                   layer_norm_epsilon=1e-3),
    "gpt2_one_head": dict(GPT2, n_head=1, n_embd=24, activation_function="gelu_pytorch_tanh"),
}


def make(name, settings, folder):
    torch.manual_seed(len(name.split("_", 1)[1]))
    config_class, model_class = CLASSES[settings["model_type"]]
    config = config_class(**{key: value for key, value in settings.items() if key != "model_type"})
    model = model_class(config).float()
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
    header = {"config": settings, "tensors": [
        [key, str(value.dtype).removeprefix("torch."), list(value.shape)] for key, value in tensors.items()]}
    with open(folder / f"{name}.bin", "wb") as file:
        file.write((json.dumps(header) + "\n").encode())
        for value in tensors.values():
            file.write(value.contiguous().numpy().tobytes())


if __name__ == "__main__":
    for case in sys.argv[2:] or CASES:
        make(case, CASES[case], pathlib.Path(sys.argv[1]))
