"""Oracle for tests/train/adapter_oracle_program_test.cpp: PEFT's LoRA on a tiny random Llama whose adapter is trained by
torch's AdamW while the base is under LOMO (gradient descent with decoupled decay, arXiv 2306.09782 section 3 and the
authors' lomo_lora_trainer.py), both clipped by one norm of everything. Writes the base and the adapter as transformers
and PEFT save them, the data, and what is expected after the last step.

    python tools/oracles/make_base_rule_oracles.py tests/data/train/lora_lomo
"""
import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

STEPS, ACCUMULATION, ROWS, LENGTH = 4, 2, 2, 16
LR, BASE_LR, DECAY, BASE_DECAY, BOUND = 1e-2, 5e-2, 0.1, 0.02, 0.7


def main():
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(7)
    base = LlamaForCausalLM(LlamaConfig(
        vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        attn_implementation="eager")).float()
    for parameter in base.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2 + (1.0 if parameter.dim() == 1 else 0.0)
    base.save_pretrained(folder / "base")
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=6, target_modules="all-linear",
                                            init_lora_weights=False))
    model.save_pretrained(folder / "adapter")
    ids = torch.randint(0, 48, (STEPS * ACCUMULATION * ROWS, LENGTH))
    save_file({"input_ids": ids}, folder / "data.safetensors")

    for parameter in model.parameters():
        parameter.requires_grad_(True)
    adapter = [p for n, p in model.named_parameters() if "lora_" in n]
    others = [p for n, p in model.named_parameters() if "lora_" not in n]
    adamw = torch.optim.AdamW(adapter, lr=LR, weight_decay=DECAY)
    losses, norms = [], []
    for step in range(STEPS):
        first = step * ACCUMULATION * ROWS
        batch = ids[first:first + ACCUMULATION * ROWS]
        loss = model(input_ids=batch, labels=batch).loss  # rows are equally long: the mean over the window
        model.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(list(model.parameters()), BOUND).item())
        losses.append(loss.item())
        adamw.step()
        with torch.no_grad():
            for parameter in others:
                decay = BASE_DECAY if parameter.dim() > 1 else 0
                parameter.mul_(1 - BASE_LR * decay).sub_(BASE_LR * parameter.grad)
    save_file({name.replace(".base_layer", "").removeprefix("base_model.model.") if "lora_" not in name
               else name.replace(".default", ""): value.detach().clone()
               for name, value in model.named_parameters()}, folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps({"losses": losses, "norms": norms}) + "\n")
    for name in ("README.md", "generation_config.json"):
        for part in ("base", "adapter"):
            (folder / part / name).unlink(missing_ok=True)


main()
