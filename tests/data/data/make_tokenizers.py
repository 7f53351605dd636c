"""Makes the small tokenizers of this folder and their golden ids with the Python package `tokenizers` (0.23).

    python make_tokenizers.py

Writes NAME.json (a tokenizer.json of about a thousand entries) and NAME.golden.jsonl: per line a text, its ids with and
without the post-processor's tokens and with special tokens as plain text, and what decoding gives back.
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

FIXED = [
    "", " ", "\n", "a", "Hello world", "  Hello   world  ", "It's we'll I'D they'Re 'S \u2019s", "'\u017f 'LL don'T",
    "1234567890 12.5e-3 \uff14\uff12 \u00b2\u00b3 \u2167 \u0661\u0662\u0663 \u00bd",
    "\t\ttab\n\n\n  new\r\n\r\nline \u00a0nbsp\u2003em\u3000wide\u180emong\u200bzero\u2028ls\u0085nel\x1cfs",
    "x \n y", "x  \n\n  y   ", "   ", "\n\n\n", "\r\n \t", "foo.\nbar!\r\n\r\nbaz ?\n",
    "\u4e2d\u6587\u5206\u8bcd\u6d4b\u8bd5\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8\u3001\u30ab\u30bf\u30ab\u30ca\u3002\ud55c\uad6d\uc5b4 \ubb38\uc7a5",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0646\u0635", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u094d\u0937\u093f",
    "\u0e44\u0e17\u0e22\u0e17\u0e14\u0e2a\u0e2d\u0e1a", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3", "\u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u0401\u0436\u0438\u043a",
    "\u0130stanbul DI\u015e \u0131I", "\ufb01 \ufb02 \ufb05 \u212a \u00c5 \ufdfa \u2460 \u3392",
    "e\u0301 \u00e9 a\u0308\u0323 a\u0323\u0308 \u1100\u1161\u11a8 \uac01 \u212b q\u0307\u0323 \u0344",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f600\U0001f600",
    "\x00\x01\x02\x03\x04\x06\x13\x14\x16\x1d\x7f\x1b[0m", "\ufeffbom \ufffd \U0010ffff \ue000 \U000e0001",
    "<|end|>", "a<|end|>b <|start|>user\nhi<|end|>\n", "<|end", "<|end|><|end|>", " <|end|> x", "<mask>", "  <mask>  x",
    "foo <mask> bar", "[W] a[W]b x [W]. \u00e9[W] _[W] [W]\u0301", "  [L]  [R]  [LR]   [L]\n", "ADDED added Added", "x added  y", "addedadded",
    "def f(x):\n    return x**2 # comment\n\n\nclass A(object):\n\tdef g(self):\n\t\tself.x = {'a': [1,2,3], \"b\": None}\n",
    "int main() { std::vector<int> v{1,2,3}; for (auto& x : v) x <<= 2; }\n", "https://example.com/a?b=c&d=%20#frag",
    "....!!!??? --- === ***", "a" * 300, "ab" * 200, " " * 300 + "x", "\u00e9" * 100, "\n" * 60, "0" * 50,
]
SPICE = ["<|end|>", "<mask>", "[W]", "[L]", "[R]", "[LR]", "added", "ADDED", "the ", "ing", "'s", "'LL", "\u2019ve"]


def texts():
    rng = random.Random(1)
    result = list(FIXED)
    for _ in range(60):
        text = ""
        for _ in range(rng.randint(1, 30)):
            kind = rng.random()
            if kind < 0.30:
                text += rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFG") * rng.randint(1, 2)
            elif kind < 0.45:
                text += rng.choice([" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\x0b", "\x1c", "\u180e"])
            elif kind < 0.55:
                text += rng.choice("0123456789\u0663\u00b2\u2167")
            elif kind < 0.65:
                text += rng.choice(".,!?'\"-_()[]{}<>|/\\@#$%^&*~`")
            elif kind < 0.75:
                text += rng.choice(SPICE)
            else:
                text += chr(rng.choice([rng.randint(0x80, 0x2FFF), rng.randint(0x3000, 0xD7FF), rng.randint(0xE000, 0x1FFFF)]))
        result.append(text)
    characters = [chr(c) for c in range(0x80, 0x20000, 113) if not 0xD800 <= c <= 0xDFFF]
    for first in range(0, len(characters), 50):
        result.append("".join(f"a{c} {c}1{c}" for c in characters[first:first + 50]))
    return result


def train(name, pre_tokenizer, normalizer=None, special=("<|end|>", "<|start|>"), vocab_size=900):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    sample = (HERE / "sample.txt").read_text()
    tokenizer.train_from_iterator([sample] + [t for t in FIXED if "<" not in t] * 3, trainer)
    return name, tokenizer


def edit(tokenizer, change):
    config = json.loads(tokenizer.to_str())
    change(config)
    return Tokenizer.from_str(json.dumps(config))


def make_all():
    level = pre_tokenizers.ByteLevel
    yield train("gpt2", level(add_prefix_space=False))
    name, smol = train("smollm", pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level(add_prefix_space=False)]))

    def drop_bytes(config):  # as in the released file: some bytes have no token
        config["model"]["unk_token"] = "<|end|>"
        for character in "\u0104\u0106\u0113\u0114":
            config["model"]["vocab"].pop(character, None)
        kept = config["model"]["vocab"]
        config["model"]["merges"] = [m for m in config["model"]["merges"] if m[0] in kept and m[1] in kept and m[0] + m[1] in kept]

    yield name, edit(smol, drop_bytes)

    split = lambda pattern: pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated", invert=False), level(add_prefix_space=False, use_regex=False)])
    name, llama = train("llama3", split(LLAMA3))
    llama.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|start|> $A", pair="<|start|> $A <|start|> $B:1", special_tokens=[("<|start|>", 1)])])

    def whole_words(config):
        config["model"]["ignore_merges"] = True
        vocabulary = config["model"]["vocab"]
        for word in ("\u0120Hello", "\u0120comment", "\u0120object"):
            vocabulary.setdefault(word, len(vocabulary))
        config["model"]["merges"] = [" ".join(m) for m in config["model"]["merges"]]

    yield name, edit(llama, whole_words)
    yield train("qwen2", split(QWEN2), normalizers.NFC())

    name, added = train("added", level(add_prefix_space=True), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]))
    added.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("[LR]", lstrip=True, rstrip=True)])
    added.add_tokens([AddedToken("[W]", single_word=True, normalized=False), AddedToken("[L]", lstrip=True), AddedToken("[R]", rstrip=True),
                      AddedToken("ADDED", normalized=True), AddedToken("added ", normalized=False)])
    added.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", pair="$A $B", special_tokens=[("<|start|>", 1), ("<|end|>", 0)])
    yield name, added

    name, odd = train("splits", pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\r\n|\r"), "removed"),
        pre_tokenizers.Split(Regex(r"(?<=[a-z])(?=[A-Z])"), "isolated"),
        pre_tokenizers.Split(".", "merged_with_previous"),
        pre_tokenizers.Split("(", "merged_with_next"),
        pre_tokenizers.Split(Regex(r"[\s\-_]"), "contiguous"),
        pre_tokenizers.Split(Regex(r"\p{Lu}?\p{Ll}+|[^\S\n]+|\d+"), "isolated", invert=True),
        pre_tokenizers.Digits(False), level(add_prefix_space=False, use_regex=False)]), normalizers.NFD())
    yield name, odd

    fallback = Tokenizer(models.BPE(
        vocab={"<unk>": 0, **{f"<0x{b:02X}>": b + 1 for b in range(0xE0)}, "a": 300, "b": 301, "ab": 302, "c": 303, "abc": 304, "bc": 305, "e": 306},
        merges=[("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    yield "fallback", fallback


def main():
    for name, tokenizer in make_all():
        (HERE / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=True, separators=(",", ":")) + "\n")
        with open(HERE / f"{name}.golden.jsonl", "w") as out:
            for text in texts():
                tokenizer.encode_special_tokens = False
                ids = tokenizer.encode(text).ids
                bare = tokenizer.encode(text, add_special_tokens=False).ids
                tokenizer.encode_special_tokens = True
                plain = tokenizer.encode(text, add_special_tokens=False).ids
                row = {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
                row["skipped"] = tokenizer.decode(ids)
                if bare != ids:
                    row["bare"] = bare
                if plain != bare:
                    row["plain"] = plain
                if row["decoded"] == text:
                    del row["decoded"]
                if row["skipped"] == row.get("decoded", text):
                    del row["skipped"]
                out.write(json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
