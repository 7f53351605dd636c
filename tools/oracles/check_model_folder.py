"""Loads a model folder that sluice wrote with transformers and compares the held-out loss: no key may be missing or left
over, and the mean loss over the rows of a pre-tokenised file must be what sluice said.

    python tools/oracles/check_model_folder.py MODEL_FOLDER DATA.safetensors LOSS
"""
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def main():
    folder, data, expected = sys.argv[1], sys.argv[2], float(sys.argv[3])
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    ids = load_file(data)["input_ids"]
    with torch.no_grad():
        loss = model.eval()(input_ids=ids, labels=ids).loss.item()
    assert abs(loss - expected) < 1e-5 * max(1.0, abs(expected)), f"transformers says {loss}, sluice {expected}"
    print(f"{model.__class__.__name__}: loss {loss:.7f}, sluice {expected:.7f}")


main()
