"""Loads an adapter folder that sluice wrote with PEFT on its base and compares the held-out loss with what sluice said,
the tensors with those that PEFT writes of it, and the logits with those of the folder that `sluice export
--merge-adapter` made.

    python tools/oracles/check_adapter_folder.py ADAPTER_FOLDER BASE_FOLDER DATA.safetensors LOSS [MERGED_FOLDER]
"""
import pathlib
import sys
import tempfile
import warnings

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def load_base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def load_adapted(adapter, base):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing.*")  # so PEFT speaks of keys that it does not find
        return PeftModel.from_pretrained(load_base(base), adapter).eval()


def check_files(adapter, model):
    """Names, shapes, dtypes and bytes of the tensors are those that PEFT writes, and so is the metadata."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        written, ours = (pathlib.Path(f) / "adapter_model.safetensors" for f in (folder, adapter))
        theirs, own = load_file(written), load_file(ours)
        assert theirs.keys() == own.keys(), theirs.keys() ^ own.keys()
        for name, value in theirs.items():
            assert value.shape == own[name].shape and value.dtype == own[name].dtype, name
            assert torch.equal(value, own[name]), name
        with safe_open(written, "pt") as a, safe_open(ours, "pt") as b:
            assert a.metadata() == b.metadata(), (a.metadata(), b.metadata())
    return len(own)


def check(adapter, base, data, expected, merged=None):
    ids = load_file(data)["input_ids"]
    model = load_adapted(adapter, base)
    with torch.no_grad():
        out = model(input_ids=ids, labels=ids)
        loss = out.loss.item()
        assert abs(loss - expected) < 1e-5 * max(1.0, abs(expected)), f"PEFT says {loss}, sluice {expected}"
        text = f"PEFT: loss {loss:.7f}, sluice {expected:.7f}, {check_files(adapter, model)} tensors alike"
        if merged:
            difference = (load_base(merged)(input_ids=ids).logits - out.logits).abs().max().item()
            assert difference < 1e-4, difference
            text += f", merged logits differ by {difference:.1e} at most"
    return text


if __name__ == "__main__":
    print(check(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), *sys.argv[5:6]))
