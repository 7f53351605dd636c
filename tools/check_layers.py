#!/usr/bin/env python3
"""Checks what the compiler does not: the ladder of layers, where torch may appear, size and text of the sources.

The ladder is read from the sluice_layer(...) lines of CMakeLists.txt, so it is written once. Prints one line per
violation, `FILE[:LINE]: [rule] what is wrong; what to do`, and exits 1 if there is any. Changes nothing.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field

# Files that may name torch although their layer does not link it.
TORCH_FILES = re.compile(r"src/tier/\w*allocator\w*\.(h|cpp)|src/cli/engine\w*(\.(h|cpp)|/.*)"
                         r"|src/(collective/plugins/gloo|tier/plugins/cuda)\.cpp")
TORCH_HEADER = re.compile(r"(torch|ATen|c10|caffe2)/")
MAX_LINES = 500
SOURCE = re.compile(r".*\.(h|cpp|cu|cmake|py|sh)$|(.*/)?CMakeLists\.txt$")
CODE_FOLDERS = ("src/", "include/", "tests/", "bench/", "tools/")
TEXT = re.compile(r".*\.(md|json|ya?ml|txt|toml|in)$")

# Spelled with a class in the middle so that this file does not match itself.
FORBIDDEN = (
    (re.compile(r"(?<![\w.])/(w[o]rk|r[o]ot|h[o]me)/"), "path of one machine"),
    (re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b"), "unfinished work"),
)
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


@dataclass
class Layer:
    """One sluice_layer(...) line."""

    depends: set = field(default_factory=set)
    torch: bool = False


def read_ladder(cmake_text):
    """Returns ({layer: Layer}, [problem]) from the text of CMakeLists.txt."""
    layers, problems = {}, []
    without_comments = re.sub(r"#.*", "", cmake_text)
    for name, arguments in re.findall(r"\bsluice_layer\(\s*(\w+)([^)]*)\)", without_comments):
        layer, keyword = Layer(), None
        for word in arguments.split():
            if word in ("DEPENDS", "LIBRARIES"):
                keyword = word
            elif word == "TORCH":
                layer.torch, keyword = True, None
            elif keyword == "DEPENDS":
                layer.depends.add(word)
                if word not in layers:
                    problems.append(f"CMakeLists.txt: [ladder] {name} depends on {word}, which stands at or above it; "
                                    "a layer may depend only on those listed before it")
        layers[name] = layer
    return layers, problems


def list_files(root):
    """All files of the repository: what git tracks or would track, or every file where there is no git."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, check=False)
    if listed.returncode == 0 and os.path.exists(os.path.join(root, ".git")):
        files = listed.stdout.decode().split("\0")
    else:
        files = [os.path.relpath(os.path.join(folder, name), root)
                 for folder, _, names in os.walk(root) for name in names]
    return sorted(name for name in files if name and os.path.isfile(os.path.join(root, name)))


def layer_of(path):
    """The layer of src/LAYER/..., or None."""
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


class Tree:
    """The sources of one repository with their includes resolved."""

    def __init__(self, root):
        self.root = root
        self.files = list_files(root)
        self.texts = {}
        for path in self.files:
            if SOURCE.match(path) or TEXT.match(path):
                with open(os.path.join(root, path), "rb") as file:
                    self.texts[path] = file.read()
        # path -> [(line, spelled, path in the repository or None)]
        self.includes = {path: self._find_includes(path) for path in self.texts if path.endswith((".h", ".cpp"))}
        self.layers, self.ladder_problems = read_ladder(self.text("CMakeLists.txt"))

    def text(self, path):
        return self.texts.get(path, b"").decode(errors="replace")

    def _find_includes(self, path):
        found, text = [], self.text(path)
        for match in INCLUDE.finditer(text):
            spelled = match.group(2)
            candidates = [f"src/{spelled}", f"include/{spelled}", f"tests/{spelled}"]
            if match.group(1) == '"':
                candidates.append(os.path.normpath(os.path.join(os.path.dirname(path), spelled)))
            target = next((name for name in candidates if name in self.texts), None)
            found.append((text.count("\n", 0, match.start()) + 1, spelled, target))
        return found


def check_ladder(tree):
    """Includes that the ladder does not allow, and folders of src/ that stand in no rung."""
    problems = list(tree.ladder_problems)
    strangers = {layer_of(path) for path in tree.includes} - set(tree.layers) - {None, "cli"}
    for name in sorted(strangers):
        problems.append(f"src/{name}: [ladder] has sources but no sluice_layer({name} ...) in CMakeLists.txt; add the line")
    for path, includes in tree.includes.items():
        source = layer_of(path)
        for line, spelled, target in includes:
            if target is None or source is None:
                continue
            if not target.startswith("src/"):
                if target.startswith("tests/"):
                    problems.append(f'{path}:{line}: [ladder] includes "{spelled}" from the tests; move what it needs')
                continue
            layer = layer_of(target)
            if layer == source or source not in tree.layers:
                continue
            if layer not in tree.layers[source].depends:
                allowed = ", ".join(sorted(tree.layers[source].depends)) or "nothing"
                problems.append(f'{path}:{line}: [ladder] {source} includes "{spelled}": expected one of {allowed}; '
                                "move the code down, or extend DEPENDS in CMakeLists.txt in a commit of its own")
    return problems


def may_use_torch(tree, path):
    layer = layer_of(path)
    return bool(TORCH_FILES.fullmatch(path)) or (layer in tree.layers and tree.layers[layer].torch)


def check_torch(tree):
    """Torch headers, direct or through headers of ours, in layers that must build without torch."""
    problems = []
    for path in tree.includes:
        if layer_of(path) is None or may_use_torch(tree, path):
            continue
        chain = find_torch(tree, path, [path])
        if chain:
            problems.append(f"{path}: [torch] reaches a torch header ({' > '.join(chain[1:])}) in a layer that builds "
                            "without torch; include a torch-free header instead")
    return problems


def find_torch(tree, path, chain, seen=None):
    """The chain of includes from `path` to a torch header, or None."""
    seen = set() if seen is None else seen
    seen.add(path)
    for _, spelled, target in tree.includes.get(path, ()):
        if TORCH_HEADER.match(spelled) and target is None:
            return chain + [spelled]
        if target is not None and target not in seen:
            found = find_torch(tree, target, chain + [target], seen)
            if found:
                return found
    return None


def header_implemented_by(tree, path):
    """The header that a source stands beside: name.h for name.cpp and for name_part.cpp; None if there is none."""
    folder, stem = os.path.split(os.path.splitext(path)[0])
    words = stem.split("_")
    names = (os.path.join(folder, "_".join(words[:count])) + ".h" for count in range(len(words), 0, -1))
    return next((name for name in names if name in tree.includes), None)


def check_orphans(tree):
    """Headers of src/ that the program does not reach; no complaint while there is no program."""
    sources = [path for path in tree.includes if path.startswith("src/") and path.endswith(".cpp")]
    if not any(path.startswith("src/cli/") for path in sources):
        return []
    beside = {path: header_implemented_by(tree, path) for path in sources}
    # A source with no header of its own stands behind someone else's (the rows of a catalog), so it is taken as used.
    waiting = [path for path in sources if path.startswith("src/cli/") or beside[path] is None]
    reached = set()
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += [target for _, _, target in tree.includes.get(path, ()) if target]
            waiting += [source for source, header in beside.items() if header == path]
    return [f"{path}: [orphan] no source of the program reaches this header; use it or delete it"
            for path in tree.includes if path.startswith("src/") and path.endswith(".h") and path not in reached]


def check_text(tree):
    """Length, character set and forbidden words."""
    problems = []
    for path, content in tree.texts.items():
        is_source = bool(SOURCE.match(path))
        if is_source and path.startswith(CODE_FOLDERS) and content.count(b"\n") > MAX_LINES:
            problems.append(f"{path}: [size] {content.count(bytes([10]))} lines: expected at most {MAX_LINES}; split it")
        in_data = path.startswith(("tests/data/", "examples/data/"))
        for number, line in enumerate(content.split(b"\n"), 1):
            if is_source and not line.isascii():
                problems.append(f"{path}:{number}: [ascii] a source holds a character outside ASCII; write an escape")
            for pattern, meaning in FORBIDDEN:
                match = None if in_data else pattern.search(line.decode(errors="replace"))
                if match:
                    problems.append(f"{path}:{number}: [words] {match.group(0)!r} ({meaning}); take it out")
    return problems


def check_tree(root, warn_orphans=False):
    """Returns ([violation], [warning]) of the repository at `root`."""
    tree = Tree(root)
    problems = check_ladder(tree) + check_torch(tree) + check_text(tree)
    orphans = check_orphans(tree)
    return (problems, orphans) if warn_orphans else (problems + orphans, [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser.add_argument("--warn-orphans", action="store_true", help="report headers that nothing reaches, but pass")
    options = parser.parse_args()
    problems, warnings = check_tree(options.root, options.warn_orphans)
    for line in warnings:
        print(f"warning: {line}")
    for line in problems:
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
