"""Ids and assistant masks of conversations by transformers (5.x), with the small tokenizers of the folder above.

    python make_golden.py

The masks are those of marked.jinja, which has generation blocks; plain.jinja renders the same conversations without them.
"""
import json
import pathlib

from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
CONVERSATIONS = [
    [("system", "You are terse."), ("user", "What is 2+2?"), ("assistant", "It is 4.")],
    [("system", "S"), ("user", "Hello"), ("assistant", "Hi!\nHow are you?"), ("user", "fine  "), ("assistant", " 123 \u4e2d\u6587 \u00e9\n")],
    [("system", "x"), ("user", "only a question")],
    [("system", "x"), ("user", "tokens <|end|> in text"), ("assistant", "")],
    [("system", "x"), ("assistant", "\n\nstarts with breaks"), ("user", "and"), ("assistant", "ends with them\n\n")],
]


def main():
    with open(HERE / "chat.golden.jsonl", "w") as out:
        for name in ("gpt2", "smollm", "llama3", "qwen2"):
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(HERE.parent / f"{name}.json"))
            for turns in CONVERSATIONS:
                messages = [{"role": role, "content": content} for role, content in turns]
                for template in ("plain", "marked"):
                    tokenizer.chat_template = (HERE / f"{template}.jinja").read_text()
                    encoded = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True,
                                                            return_assistant_tokens_mask=template == "marked")
                    row = {"tokenizer": name, "template": template, "messages": messages, "ids": encoded["input_ids"]}
                    if template == "marked":
                        row["mask"] = encoded["assistant_masks"]
                    out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
