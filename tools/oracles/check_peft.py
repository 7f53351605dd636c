"""PEFT and sluice on each other's folders, for each kind of adapter on tiny random models: sluice evaluates, merges and
trains what PEFT wrote; PEFT loads what sluice wrote, gives its loss and its merged logits, and writes the same tensors.
Of qlora also the loss on the base in 4 bits, whose numbers bitsandbytes makes.

    python tools/oracles/check_peft.py build/release/bin/sluice
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from check_adapter_folder import check, load_adapted
from make_model_oracles import CLASSES, GPT2, LLAMA
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

BASES = {"llama": dict(LLAMA, attention_bias=True, tie_word_embeddings=True),
         "gpt2": dict(GPT2, bos_token_id=1, eos_token_id=2)}
KINDS = {
    "lora": ("--adapter lora --lora-targets all-linear", dict(target_modules="all-linear")),
    "qlora": ("--adapter qlora --lora-targets all-linear", None),
    "rslora": ("--adapter rslora --lora-rank-pattern o_proj=2 --lora-alpha-pattern q_proj=3",
               dict(use_rslora=True, rank_pattern={"o_proj": 2}, alpha_pattern={"q_proj": 3})),
    "dora": ("--adapter dora --lora-targets all-linear", dict(use_dora=True, target_modules="all-linear")),
    "dora+rslora": ("--adapter rslora --use-dora", dict(use_dora=True, use_rslora=True)),
    "base-too": ("--adapter lora --base-optimizer lomo --base-lr 1e-2", None),
}
LENGTH = 12


class Family:
    def __init__(self, sluice, name, folder):
        self.sluice, self.name, self.folder = sluice, name, folder
        self.base, self.data = folder / "base", folder / "data.safetensors"
        settings = BASES[name]
        config_class, self.model_class = CLASSES[name]
        torch.manual_seed(3)
        base = self.model_class(config_class(**{k: v for k, v in settings.items() if k != "model_type"})).float()
        for parameter in base.parameters():
            parameter.data = torch.randn_like(parameter) * 0.2 + (1.0 if parameter.dim() == 1 else 0.0)
        base.save_pretrained(self.base)
        save_file({"input_ids": torch.randint(0, settings["vocab_size"], (4, LENGTH))}, self.data)

    def run(self, *arguments):
        result = subprocess.run([self.sluice, *map(str, arguments)], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    def train(self, output, *what):
        self.run("train", "--model", self.base, "--data", self.data, "--output", output, "--seq-len", LENGTH,
                 "--max-steps", 3, "--lr", 1e-2, "--threads", 2, *what)

    def loss(self, adapter, base, *flags):
        result = self.folder / "eval.json"
        self.run("eval", "--model", base, "--adapter-path", adapter, "--data", self.data, "--json", result,
                 "--seq-len", LENGTH, "--threads", 2, *flags)
        return json.loads(result.read_text())["loss"]

    def compare(self, adapter, base):
        merged = adapter.with_name(adapter.name + "-merged")
        self.run("export", "--model", base, "--adapter-path", adapter, "--merge-adapter", "--output", merged)
        return check(adapter, base, self.data, self.loss(adapter, base), merged)

    def compare_in_4_bits(self, adapter):
        model = load_adapted(adapter, self.base)
        maps = [m for m in model.modules() if hasattr(m, "base_layer")]
        with torch.no_grad():
            for m in maps:
                weight = m.base_layer.weight
                row = weight.view(1, -1)  # short rows may come back wrong from its kernels for CPUs (0.50.2)
                codes = quantize_4bit(row, blocksize=64, compress_statistics=True, quant_type="nf4")
                weight.copy_(dequantize_4bit(*codes).view_as(weight))
            ids = load_file(self.data)["input_ids"]
            loss = model(input_ids=ids, labels=ids).loss.item()
        ours = self.loss(adapter, self.base, "--base-dtype", "nf4")
        assert abs(loss - ours) < 1e-5 * abs(loss), f"bitsandbytes and PEFT say {loss}, sluice {ours}"
        return f"bitsandbytes and PEFT: loss {loss:.7f}, sluice {ours:.7f}, {len(maps)} maps in 4 bits"

    def write_with_peft(self, adapter, lora):
        fan_in_fan_out = dict(fan_in_fan_out=True) if self.name == "gpt2" else {}
        config = LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=5, init_lora_weights=False, **fan_in_fan_out, **lora)
        base = self.model_class.from_pretrained(self.base, dtype=torch.float32)
        get_peft_model(base, config).save_pretrained(adapter)

    def check(self, kind, flags, lora):
        ours, theirs, on = (self.folder / (kind + suffix) for suffix in ("", "-peft", "-on"))
        self.train(ours, *flags.split(), "--lora-rank", 3, "--lora-alpha", 5)
        base = ours / "base" if (ours / "base").exists() else self.base
        print(f"{self.name} {kind}, sluice's:", self.compare(ours, base))
        if kind == "qlora":
            print(f"{self.name} {kind}, in 4 bits:", self.compare_in_4_bits(ours))
        if lora is None:
            return
        self.write_with_peft(theirs, lora)
        print(f"{self.name} {kind}, PEFT's:  ", self.compare(theirs, self.base))
        self.train(on, "--adapter-path", theirs)
        tensors = "adapter_model.safetensors"
        assert load_file(theirs / tensors).keys() == load_file(on / tensors).keys()
        load_adapted(on, self.base)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for name in BASES:
            family = Family(sys.argv[1], name, pathlib.Path(scratch) / name)
            for kind, (flags, lora) in KINDS.items():
                family.check(kind, flags, lora)
