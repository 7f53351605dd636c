"""Oracles for tests/model/adapter_oracle_test.cpp: tiny random models of transformers under PEFT's LoRA and DoRA, with
their loss, logits and the gradient of every adapter. Files as make_model_oracles.py writes them, and the adapter's settings.

    python tools/oracles/make_adapter_oracles.py tests/data/model [CASE...]
"""
import json
import pathlib
import sys

import torch
from make_model_oracles import CLASSES, GPT2, LLAMA
from peft import LoraConfig, get_peft_model

CASES = {
    "lora_llama_all_linear": (dict(LLAMA, tie_word_embeddings=True), dict(
        r=3, lora_alpha=5, target_modules="all-linear", rank_pattern={"down_proj": 2, "layers.1.self_attn.q_proj": 4},
        alpha_pattern={"o_proj": 7})),
    "lora_llama_default_rslora": (dict(LLAMA, attention_bias=True, mlp_bias=True), dict(
        r=4, lora_alpha=2, use_rslora=True, target_modules=["q_proj", "v_proj"], rank_pattern={}, alpha_pattern={})),
    "dora_llama_all_linear": (dict(LLAMA, attention_bias=True, tie_word_embeddings=True), dict(
        r=3, lora_alpha=5, use_dora=True, target_modules="all-linear", rank_pattern={"down_proj": 2},
        alpha_pattern={"o_proj": 7})),
    "dora_gpt2_rslora": (dict(GPT2), dict(
        r=2, lora_alpha=3, use_dora=True, use_rslora=True, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True,
        rank_pattern={}, alpha_pattern={})),
    "lora_gpt2_all_linear": (dict(GPT2), dict(
        r=3, lora_alpha=6, target_modules="all-linear", fan_in_fan_out=True, rank_pattern={"c_fc": 5},
        alpha_pattern={})),
}


def make(name, settings, lora, folder):
    torch.manual_seed(len(name))
    config_class, model_class = CLASSES[settings["model_type"]]
    base = model_class(config_class(**{key: value for key, value in settings.items() if key != "model_type"})).float()
    base.set_attn_implementation("eager")
    for parameter in base.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3 + (1.0 if parameter.dim() == 1 else 0.0)
    tensors = {"parameter." + key: value.detach().clone() for key, value in base.named_parameters()}
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **lora))
    adapters = {key.replace(".default.", ".").replace("vector.weight", "vector"): value  # as files have them
                for key, value in model.named_parameters() if value.requires_grad}
    for parameter in adapters.values():
        parameter.data = torch.randn_like(parameter) * 0.3
    ids = torch.randint(0, base.config.vocab_size, (2, 13))
    labels = ids.clone()
    labels[0, 3:6] = -100
    labels[1, -1] = -100
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    tensors |= {"input_ids": ids, "labels": labels, "loss": out.loss.detach(), "logits": out.logits.detach()}
    for key, parameter in adapters.items():
        tensors["parameter." + key] = parameter.detach()
        tensors["gradient." + key] = parameter.grad
    header = {"config": settings, "lora": lora, "tensors": [
        [key, str(value.dtype).removeprefix("torch."), list(value.shape)] for key, value in tensors.items()]}
    with open(folder / f"{name}.bin", "wb") as file:
        file.write((json.dumps(header) + "\n").encode())
        for value in tensors.values():
            file.write(value.contiguous().numpy().tobytes())


if __name__ == "__main__":
    for case in sys.argv[2:] or CASES:
        make(case, *CASES[case], pathlib.Path(sys.argv[1]))
