"""Scores a file of items with transformers, by lm-evaluation-harness's rules written down again here, and compares with what
`sluice eval --tasks ITEMS --predictions PREDICTIONS` wrote: the number of tokens scored must be equal, sums of
log-likelihoods within 1e-3 of their size, picks and greedy matches equal wherever two choices are further apart than that.

    python tools/oracles/check_choice_scores.py MODEL ITEMS.jsonl PREDICTIONS.jsonl [--limit N] [--write GOLDEN.jsonl]

MODEL is a Hugging Face folder or a FILE.gguf. Items are as docs/evaluation.md says. Also prints the time that transformers
takes for the same texts, one at a time. --write keeps the items with transformers' figures (tests/data/train).
"""
import argparse
import json
import os
import time

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(path):
    if not path.endswith(".gguf"):
        return AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    folder, file = os.path.split(os.path.abspath(path))
    return (AutoTokenizer.from_pretrained(folder, gguf_file=file),
            AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32))


def encode_pair(tokenizer, context, continuation):
    """Trailing white space goes to the continuation; the whole text is cut after as many tokens as the context has."""
    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False)

    stripped = context.rstrip()
    whole = encode(context + continuation)
    if not stripped:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return [start], whole
    return whole[:len(encode(stripped))], whole[len(encode(stripped)):]


def score(model, context, continuation):
    """(sum of log-likelihoods, whether greedy decoding writes the continuation)"""
    logits = model(torch.tensor([context + continuation])).logits[0, len(context) - 1:-1].double()
    targets = torch.tensor(continuation)
    taken = torch.log_softmax(logits, -1).gather(1, targets[:, None]).sum().item()
    return taken, bool((logits.argmax(-1) == targets).all())


def delimiter(item, choices):
    if "delimiter" in item:
        return item["delimiter"]
    spaced = not item["context"] or item["context"][-1].isspace() or any(c[0].isspace() for c in choices)
    return "" if spaced else " "


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("items")
    parser.add_argument("predictions")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--write")
    args = parser.parse_args()
    tokenizer, model = load(args.model)
    model.eval()
    items = [json.loads(line) for line in open(args.items, encoding="utf-8")][:args.limit]
    said = [json.loads(line) for line in open(args.predictions, encoding="utf-8")]
    worst, correct, num_texts, seconds = 0.0, 0, 0, 0.0
    golden = []
    with torch.inference_mode():
        for item, prediction in zip(items, said, strict=True):
            choices = item.get("choices") or [item["target"]]
            sums, greedy, lengths = [], False, []
            for choice in choices:
                context, continuation = encode_pair(tokenizer, item["context"], delimiter(item, choices) + choice)
                start = time.perf_counter()
                taken, greedy = score(model, context, continuation)
                seconds += time.perf_counter() - start
                sums.append(taken)
                lengths.append(len(continuation))
            num_texts += len(choices)
            golden.append({**item, "log_likelihoods": sums, "num_tokens": lengths})
            assert lengths == prediction["num_tokens"], (item, lengths, prediction)
            for ours, theirs in zip(prediction["log_likelihoods"], sums, strict=True):
                worst = max(worst, abs(ours - theirs) / max(abs(theirs), 1e-3))
            if "target" in item:
                assert greedy == prediction["correct"], (item, prediction)
                correct += greedy
                continue
            size = {"pick": [1] * len(choices), "pick_norm": [len(c) for c in choices],
                    "pick_bytes": [len(c.encode()) for c in choices], "pick_tokens": lengths}
            for key, sizes in size.items():
                values = np.array(sums) / np.array(sizes)
                near = values.max() - values[prediction[key]] < 2e-3 * abs(values.max())
                assert prediction[key] == int(values.argmax()) or near, (key, item, values, prediction)
            answer = item["answer"] if isinstance(item["answer"], int) else choices.index(item["answer"])
            correct += int(np.argmax(sums)) == answer
    if args.write:
        with open(args.write, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in golden)
    assert worst < 1e-3, f"sums differ by {worst:.2e} of their size"
    print(f"{len(items)} items, {num_texts} texts: largest relative difference of a sum {worst:.2e}; "
          f"transformers: acc {correct / len(items):.4f} in {seconds:.1f} s")


main()
