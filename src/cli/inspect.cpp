// inspect: finds out what a path holds and lets the layer that knows it say so. Nothing is changed.
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/manifest.h"
#include "cli/verb.h"
#include "data/catalog.h"
#include "data/tokenizer.h"
#include "format/inspect.h"
#include "format/strict_json.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

bool is_there(const fs::path& path) {
  std::error_code code;
  return fs::exists(path, code);
}

Json describe_tokenizer(const fs::path& path) {
  const auto tokenizer = data::load_tokenizer(path);
  Json json = {
      {"kind", "tokenizer"}, {"vocab_size", tokenizer->vocab_size()}, {"fingerprint", tokenizer->fingerprint()}};
  if (tokenizer->eos_id()) json["eos_id"] = *tokenizer->eos_id();
  const data::SpecialFrame frame = tokenizer->special_frame();
  json["ids_before_text"] = frame.before;
  json["ids_after_text"] = frame.after;
  return json;
}

/// Names and sizes are compared with the manifest; `contents` compares every byte with its checksum.
Json describe_checkpoint(const fs::path& folder, bool contents) {
  const checkpoint::Manifest manifest = checkpoint::read_manifest(folder);
  checkpoint::verify_files(folder, manifest, contents);
  Json files = Json::array();
  Bytes total = 0;
  for (const checkpoint::ManifestFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.size}});
    total += file.size;
  }
  Json json = {{"kind", "checkpoint"},
               {"step", manifest.step},
               {"verified", contents ? "every byte" : "names and sizes"},
               {"bytes", total},
               {"files", std::move(files)}};
  const fs::path state = folder / checkpoint::kTrainerStateName;
  if (is_there(state)) json["trainer_state"] = format::parse_json_object(read_text(state), state.string());
  return json;
}

Json describe_data(const fs::path& path) {
  for (const auto& row : data::dataset_rows()) {
    if (!row.make.recognises(path)) continue;
    Json json = {{"kind", "data"}, {"format", std::string(row.name)}, {"what", std::string(row.summary)}};
    if (fs::is_regular_file(path)) json["bytes"] = fs::file_size(path);
    try {
      const auto dataset = data::open_dataset({.path = path, .format = std::string(row.name)});
      json["rows"] = dataset->num_rows();
      json["row_tokens"] = dataset->seq_len();
      json["max_id"] = dataset->max_id();
      json["summary"] = dataset->summary();
    } catch (const ConfigError&) {  // text needs a tokenizer, which a path alone does not name
      json["samples"] = "sluice data inspect " + path.string() + " --tokenizer DIR";
    }
    return json;
  }
  throw ConfigError("cli.inspect", "nothing known in " + path.string(),
                    "expected a model, checkpoint, safetensors, GGUF, tokenizer or data file",
                    "see `sluice list datasets`");
}

void print_text(const Json& json, const fs::path& path) {
  const auto scalar = [](const Json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  std::cout << path.string() << ": " << json.at("kind").get<std::string>() << "\n";
  for (const auto& [key, value] : json.items()) {
    if (key == "kind") continue;
    if (key == "files") {
      for (const Json& file : value) {
        std::cout << "  " << file.at("name").get<std::string>() << ": " << format_bytes(file.at("bytes").get<Bytes>())
                  << "\n";
      }
    } else {
      std::cout << "  " << key << ": " << scalar(value) << "\n";
    }
  }
}

/// What the format layer knows; the rest is ours.
bool is_model(const fs::path& path) {
  if (fs::is_directory(path)) {
    return is_there(path / "config.json") || is_there(path / "adapter_config.json") ||
           is_there(path / "model.safetensors") || is_there(path / "model.safetensors.index.json");
  }
  const fs::path extension = path.extension();
  return extension == ".safetensors" || extension == ".gguf" || path.filename() == "config.json";
}

bool is_tokenizer(const fs::path& path) {
  return fs::is_directory(path) ? is_there(path / "tokenizer.json") : path.filename() == "tokenizer.json";
}

Json describe(const fs::path& path) {
  if (is_tokenizer(path)) return describe_tokenizer(path);
  if (path.extension() == ".json") {
    // Any other JSON file: a config under another name, a tokenizer under another name.
    const nlohmann::json root =
        format::parse_json_object(read_text(path, 256 * MiB), path.string(), {.max_bytes = 256 * MiB});
    if (root.contains("model") && root.contains("added_tokens")) return describe_tokenizer(path);
  }
  return describe_data(path);
}

}  // namespace

std::vector<FlagSpec> inspect_flags() {
  return {{.name = "json", .help = "print one JSON object"},
          {.name = "verify", .help = "of a checkpoint: read every byte and compare it with its checksum"}};
}

std::vector<PositionalSpec> inspect_positionals() { return {{"PATH", "file or folder"}}; }

int run_inspect(const Arguments& arguments) {
  fs::path path = arguments.positionals.at(0);
  const bool as_json = arguments.has("json");
  if (!is_there(path))
    throw IoError("cli.inspect", "nothing at " + path.string(), "expected a file or folder", "check the path");
  if (path.filename() == checkpoint::kManifestName) path = path.parent_path();
  if (path.filename().empty()) path = path.parent_path();
  Json json;
  if (fs::is_directory(path) && is_there(path / checkpoint::kManifestName)) {
    json = describe_checkpoint(path, arguments.has("verify"));
  } else if (is_model(path)) {
    std::cout << format::inspect(path, as_json ? format::InspectFormat::Json : format::InspectFormat::Text);
    return 0;
  } else {
    json = describe(path);
  }
  if (as_json) {
    std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print_text(json, path);
  }
  return 0;
}

}  // namespace sluice::cli
