"""Loads an adapter folder that sluice wrote with PEFT on its base and compares the held-out loss with what sluice said, and
the logits with those of the folder that `sluice export --merge-adapter` made of it.

    python tools/oracles/check_adapter_folder.py ADAPTER_FOLDER BASE_FOLDER DATA.safetensors LOSS [MERGED_FOLDER]
"""
import sys
import warnings

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def main():
    adapter, base, data, expected = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    ids = load_file(data)["input_ids"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing.*")  # so PEFT speaks of keys that it does not find
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    with torch.no_grad():
        out = model.eval()(input_ids=ids, labels=ids)
        loss = out.loss.item()
        assert abs(loss - expected) < 1e-5 * max(1.0, abs(expected)), f"PEFT says {loss}, sluice {expected}"
        text = f"PEFT: loss {loss:.7f}, sluice {expected:.7f}"
        if len(sys.argv) > 5:
            merged = AutoModelForCausalLM.from_pretrained(sys.argv[5], dtype=torch.float32).eval()
            difference = (merged(input_ids=ids).logits - out.logits).abs().max().item()
            assert difference < 1e-4, difference
            text += f", merged logits differ by {difference:.1e} at most"
    print(text)


main()
