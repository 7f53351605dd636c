#!/usr/bin/env python3
"""tools/check_layers.py against tiny trees, each broken in one way."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import check_layers  # noqa: E402

SOUND = {
    "CMakeLists.txt": "sluice_layer(base)\nsluice_layer(tier DEPENDS base LIBRARIES ring)  # sluice_layer(ghost)\n"
                      "sluice_layer(model DEPENDS base TORCH)\n",
    "src/base/error.h": "#include <string>\n",
    "src/base/error.cpp": '#include "base/error.h"\n',
    "src/tier/store.h": '#include "base/error.h"\n',
    "src/tier/store_disk.cpp": '#include "tier/store.h"\n',
    "src/model/block.h": '#include <ATen/ATen.h>\n#include "base/error.h"\n',
    "src/cli/main.cpp": '#include "base/error.h"\n#include "tier/store.h"\n',
    "src/cli/engine.cpp": '#include "model/block.h"\n',
    "tests/base/error_test.cpp": '#include "base/error.h"\n',
}


class CheckLayers(unittest.TestCase):
    def violations(self, changes, removed=()):
        """The violations of the sound tree with some files replaced."""
        files = {name: text for name, text in {**SOUND, **changes}.items() if name not in removed}
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write(text)
            return check_layers.check_tree(root)[0]

    def assert_refused(self, rule, place, changes, removed=()):
        found = self.violations(changes, removed)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(place + ":"), found)
        self.assertIn(f"[{rule}]", found[0])

    def test_passes_a_sound_tree(self):
        self.assertEqual(self.violations({}), [])

    def test_refuses_an_include_of_a_layer_above(self):
        self.assert_refused("ladder", "src/base/error.cpp:1", {"src/base/error.cpp": '#include "tier/store.h"\n'})

    def test_refuses_an_include_beside_the_ladder(self):
        self.assert_refused("ladder", "src/model/block.cpp:2",
                            {"src/model/block.cpp": '#include "model/block.h"\n#include "tier/store.h"\n'})

    def test_refuses_an_include_by_relative_path(self):
        self.assert_refused("ladder", "src/base/error.cpp:1", {"src/base/error.cpp": '#include "../tier/store.h"\n'})

    def test_refuses_a_ladder_that_points_upwards(self):
        self.assert_refused("ladder", "CMakeLists.txt",
                            {"CMakeLists.txt": "sluice_layer(base DEPENDS tier)\n" + SOUND["CMakeLists.txt"][19:]})

    def test_refuses_a_folder_without_a_layer(self):
        self.assert_refused("ladder", "src/extra", {"src/extra/thing.cpp": "int thing;\n"})

    def test_refuses_test_code_in_the_program(self):
        self.assert_refused("ladder", "src/tier/store_disk.cpp:1",
                            {"src/tier/store_disk.cpp": '#include "base/helper.h"\n', "tests/base/helper.h": "\n"})

    def test_refuses_torch_in_a_torch_free_layer(self):
        self.assert_refused("torch", "src/base/error.cpp", {"src/base/error.cpp": "#include <torch/torch.h>\n"})

    def test_refuses_torch_reached_through_a_header(self):
        self.assert_refused("torch", "src/cli/main.cpp", {"src/cli/main.cpp": SOUND["src/cli/main.cpp"] +
                                                          '#include "model/block.h"\n'})

    def test_allows_torch_in_the_allocators_of_the_tiers(self):
        self.assertEqual(self.violations({"src/tier/torch_allocator.cpp": "#include <c10/core/Allocator.h>\n"}), [])

    def test_refuses_a_header_that_only_its_own_source_includes(self):
        self.assert_refused("orphan", "src/base/lonely.h",
                            {"src/base/lonely.h": "\n", "src/base/lonely.cpp": '#include "base/lonely.h"\n'})

    def test_reports_no_orphans_before_there_is_a_program(self):
        self.assertEqual(self.violations({}, removed=("src/cli/main.cpp", "src/cli/engine.cpp")), [])

    def test_refuses_a_file_over_the_limit(self):
        at_limit = "int x;\n" * check_layers.MAX_LINES
        self.assertEqual(self.violations({"src/base/long.cpp": at_limit}), [])
        self.assert_refused("size", "src/base/long.cpp", {"src/base/long.cpp": at_limit + "\n"})

    def test_refuses_characters_outside_ascii_in_sources(self):
        self.assert_refused("ascii", "src/base/error.cpp:2", {"src/base/error.cpp": "\n// caf\u00e9\n"})
        self.assertEqual(self.violations({"README.md": "caf\u00e9\n"}), [])

    def test_refuses_paths_of_one_machine(self):
        self.assert_refused("words", "docs/notes.md:1", {"docs/notes.md": "see /ho" + "me/me/notes\n"})

    def test_refuses_markers_of_unfinished_work(self):
        self.assert_refused("words", "src/base/error.cpp:1", {"src/base/error.cpp": "// TO" + "DO\n"})
        self.assertEqual(self.violations({"src/base/error.cpp": 'const char* name = "fileXXXXXX";\n'}), [])


if __name__ == "__main__":
    unittest.main()
