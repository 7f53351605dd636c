#!/usr/bin/env python3
"""Makes a multiple-choice benchmark of WordNet's dictionary: which definition is that of a word.

usage: make_definition_choice.py WORDNET_DIR OUT_DIR [--form definition|sense] [--train N] [--test N] [--seed S]

WORDNET_DIR holds data.noun, data.verb, index.noun, index.verb of WordNet 3.0 (Debian package wordnet-base:
`apt-get download wordnet-base && dpkg -x wordnet-base_*.deb .`, then usr/share/wordnet). Standard library only; the
same files, form, numbers and seed give the same bytes with every Python 3.

Writes three files into OUT_DIR: train.jsonl ({"prompt", "completion"}: for `sluice train --data`), train-items.jsonl
and test-items.jsonl ({"id", "context", "choices", "answer"}: for `sluice eval --tasks`, the former for few-shot
examples). No word is asked for in both, and no definition of one (right or wrong) is in the other.

definition: a common noun or verb, the definition of its most frequent sense and three others of the same field
            (animals, acts, feelings ...) and of about the same length. Chance is 25 %.
sense:      a sentence with a word of two to five senses, and the definitions of all these senses.
"""
import argparse
import hashlib
import json
import os
import re
import sys

FORMS = {"n": "noun", "v": "verb"}


def order(seed, *key):
    """A number that is random but the same everywhere."""
    text = "\0".join([str(seed), *map(str, key)])
    return hashlib.sha256(text.encode()).hexdigest()


def read_synsets(folder):
    """(part of speech, offset) -> {words, field, definition, examples}"""
    synsets = {}
    for pos, name in FORMS.items():
        with open(os.path.join(folder, f"data.{name}"), encoding="utf-8") as file:
            for line in file:
                if line.startswith("  "):
                    continue  # licence
                data, _, gloss = line.rstrip("\n").partition(" | ")
                fields = data.split(" ")
                count = int(fields[3], 16)
                words = [fields[4 + 2 * i].replace("_", " ") for i in range(count)]
                parts = gloss.strip().split("; \"")
                examples = [part.rstrip('"; ') for part in parts[1:]]
                synsets[pos, fields[0]] = {"words": words, "field": fields[1], "examples": examples,
                                           "definition": parts[0].strip().rstrip(";")}
    return synsets


def read_senses(folder):
    """(part of speech, word) -> (offsets of its senses, most frequent first; how many of them are tagged in texts)"""
    senses = {}
    for pos, name in FORMS.items():
        with open(os.path.join(folder, f"index.{name}"), encoding="utf-8") as file:
            for line in file:
                if line.startswith("  "):
                    continue
                fields = line.split()
                count, pointers = int(fields[2]), int(fields[3])
                rest = fields[4 + pointers:]
                senses[pos, fields[0]] = (rest[2:2 + count], int(rest[1]))
    return senses


def is_plain(word):
    return re.fullmatch(r"[a-z]{3,}", word) is not None


def is_good_definition(definition, word):
    """Of readable length, in ASCII, and without the word itself or its beginning."""
    if not 20 <= len(definition) <= 100 or not definition.isascii() or '"' in definition:
        return False
    return word[:max(4, len(word) - 2)] not in definition.lower()


def definition_entries(synsets, senses):
    """(word, part of speech, offset) of common words whose first sense has a good definition; a synset once."""
    seen = set()
    for (pos, word), (offsets, tagged) in sorted(senses.items()):
        if tagged == 0 or not is_plain(word) or (pos, offsets[0]) in seen:
            continue
        if is_good_definition(synsets[pos, offsets[0]]["definition"], word):
            seen.add((pos, offsets[0]))
            yield word, pos, offsets[0]


def definition_items(entries, synsets, seed):
    by_field = {}
    for entry in entries:
        by_field.setdefault(synsets[entry[1], entry[2]]["field"], []).append(entry)
    for word, pos, offset in entries:
        own = synsets[pos, offset]
        others = sorted((e for e in by_field[own["field"]] if e[2] != offset and e[0] not in own["words"] and
                         word not in synsets[e[1], e[2]]["words"]), key=lambda e: order(seed, "other", word, *e))
        near = sorted(others[:16], key=lambda e: abs(len(synsets[e[1], e[2]]["definition"]) - len(own["definition"])))
        wrong = [synsets[e[1], e[2]]["definition"] for e in near]
        wrong = [d for i, d in enumerate(wrong) if d != own["definition"] and d not in wrong[:i]][:3]
        if len(wrong) == 3:
            choices = sorted([own["definition"], *wrong], key=lambda d: order(seed, "place", word, d))
            yield {"id": f"{word}.{pos}", "context": f"Question: What does the {FORMS[pos]} \"{word}\" mean?\nAnswer:",
                   "choices": choices, "answer": choices.index(own["definition"])}


def sense_entries(synsets, senses):
    for (pos, word), (offsets, tagged) in sorted(senses.items()):
        if tagged == 0 or not is_plain(word) or not 2 <= len(offsets) <= 5:
            continue
        if len({synsets[pos, o]["definition"] for o in offsets}) == len(offsets):
            yield word, pos, offsets


def sense_items(entries, synsets, seed):
    for word, pos, offsets in entries:
        choices = [synsets[pos, o]["definition"] for o in offsets]
        found = [(o, e) for o in offsets for e in synsets[pos, o]["examples"]
                 if re.search(rf"\b{word}(s|es|ed|d|ing)?\b", e) and 15 <= len(e) <= 150]
        if not found:
            continue
        offset, example = min(found, key=lambda f: order(seed, "example", word, *f))
        own = synsets[pos, offset]["definition"]
        choices.sort(key=lambda d: order(seed, "place", word, d))
        yield {"id": f"{word}.{pos}",
               "context": f"{example[0].upper()}{example[1:]}{'' if example[-1] in '.!?' else '.'}\n"
                          f"Question: What does \"{word}\" mean in this sentence?\nAnswer:",
               "choices": choices, "answer": choices.index(own)}


def split(entries, share, seed):
    """(test, train) by word, so that a word's noun and verb stay together; `share` of the words are for tests."""
    test, train = [], []
    for entry in sorted(entries, key=lambda e: order(seed, "item", *e[:2])):
        (test if int(order(seed, "split", entry[0])[:8], 16) < share * 2**32 else train).append(entry)
    return test, train


def main():
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("wordnet")
    parser.add_argument("output")
    parser.add_argument("--form", choices=["definition", "sense"], default="definition")
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--test", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    synsets, senses = read_synsets(args.wordnet), read_senses(args.wordnet)
    find, make = {"definition": (definition_entries, definition_items), "sense": (sense_entries, sense_items)}[args.form]
    test_entries, train_entries = split(find(synsets, senses), args.test / (args.test + args.train), args.seed)
    test = list(make(test_entries, synsets, args.seed))[:args.test]
    train = list(make(train_entries, synsets, args.seed))[:args.train]
    if len(test) < args.test or len(train) < args.train:
        sys.exit(f"WordNet gives {len(test)} items to test and {len(train)} to train on: ask for fewer")
    os.makedirs(args.output, exist_ok=True)

    def write(name, rows):
        with open(os.path.join(args.output, name), "w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    write("test-items.jsonl", test)
    write("train-items.jsonl", train)
    write("train.jsonl", ({"prompt": item["context"], "completion": " " + item["choices"][item["answer"]]}
                          for item in train))


if __name__ == "__main__":
    main()
