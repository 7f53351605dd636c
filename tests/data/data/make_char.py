"""Makes char.json (characters of sample.txt, as nanoGPT's prepare.py numbers them) and byte.json, loads both with the
Python package `tokenizers` (0.23), and writes NAME.golden.jsonl: per line a text, its ids, and what decoding gives back.

    python make_char.py
"""
import json
import pathlib

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

HERE = pathlib.Path(__file__).parent


def make_char(text):
    characters = sorted(set(text))
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(characters)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def make_byte():
    codes = [b for r in ((0x21, 0x7E), (0xA1, 0xAC), (0xAE, 0xFF)) for b in range(r[0], r[1] + 1)]
    rest = [b for b in range(256) if b not in codes]
    letters = {**{b: chr(b) for b in codes}, **{b: chr(0x100 + i) for i, b in enumerate(rest)}}
    tokenizer = Tokenizer(models.BPE({letters[b]: b for b in range(256)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def main():
    text = (HERE / "sample.txt").read_text()
    pieces = ["", "\n\n", text[:700]] + text.splitlines()[::12]
    more = ["caf\u00e9 \u4e2d\u6587 \U0001f600\n", "\x00\x01\x7f"]
    for name, tokenizer, texts in (("char", make_char(text), pieces), ("byte", make_byte(), pieces + more)):
        (HERE / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), separators=(",", ":")) + "\n")
        with open(HERE / f"{name}.golden.jsonl", "w") as out:
            for piece in texts:
                ids = tokenizer.encode(piece).ids
                out.write(json.dumps({"text": piece, "ids": ids, "decoded": tokenizer.decode(ids)}) + "\n")


if __name__ == "__main__":
    main()
