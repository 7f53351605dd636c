// Every key of a DeepSpeed config.json once: what may stand there and what becomes of it here. What reads a file, the
// table that a run prints and docs/deepspeed.md all come from these rows. Keys and defaults: DeepSpeed 0.19.6.
#pragma once
#include <span>
#include <string>
#include <string_view>

namespace sluice::recipe {

enum class KeyFate {
  Mapped,    ///< becomes options of ours
  NoEffect,  ///< changes nothing here that anybody could want changed, for the reason given
  Refused,   ///< would change what is computed, and nothing here does that
};

struct DeepSpeedKey {
  std::string_view key;     ///< with the sections that it stands in: "zero_optimization.stage"
  std::string_view values;  ///< "bool", "int", "number", "text", "list", "map" (not looked into), or choices "none|cpu"
  KeyFate fate = KeyFate::NoEffect;
  std::string_view what;         ///< what it becomes, why it has no effect, or what to use instead
  std::string_view option = {};  ///< Mapped as it stands: the option that takes the value; else a function does it
  /// Refused: the value that asks for nothing. "enabled": a map in which nothing is switched on. Empty: none.
  std::string_view neutral = {};
};

/// In the order of the documentation.
std::span<const DeepSpeedKey> deepspeed_keys();

/// nullptr: no such key.
const DeepSpeedKey* find_deepspeed_key(std::string_view key);

/// Whether keys stand in a section of this name.
bool is_deepspeed_section(std::string_view name);

/// All rows as a table in Markdown.
std::string deepspeed_keys_table();

/// The parts of the table, private to it.
std::span<const DeepSpeedKey> deepspeed_training_keys();
std::span<const DeepSpeedKey> deepspeed_zero_keys();
std::span<const DeepSpeedKey> deepspeed_other_keys();

}  // namespace sluice::recipe
