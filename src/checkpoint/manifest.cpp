#include "checkpoint/manifest.h"

#include <xxhash.h>

#include <array>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/folders.h"
#include "format/strict_json.h"

namespace sluice::checkpoint {
namespace {

constexpr std::string_view kFormat = "sluice-checkpoint";
constexpr int kVersion = 1;
constexpr const char* kTryThis = "resume from another checkpoint";

[[noreturn]] void reject(const std::filesystem::path& file, std::string_view what, std::string_view expected,
                         std::string_view got) {
  throw FormatError("checkpoint", file.string() + " " + std::string(what),
                    "expected " + std::string(expected) + ", got " + std::string(got), kTryThis);
}

std::string hex(std::uint64_t value) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  const std::string text(digits.data(), end);
  return std::string(16 - text.size(), '0') + text;
}

std::uint64_t parse_hex(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size() || text.size() != 16)
    throw std::invalid_argument("not a checksum: " + text);
  return value;
}

std::string sealed(nlohmann::json json) {
  json.erase("checksum");
  const std::string body = json.dump();
  json["checksum"] = hex(checksum(std::as_bytes(std::span(body.data(), body.size()))));
  return json.dump(2) + "\n";
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name != kManifestName &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

Manifest from_json(const nlohmann::json& json) {
  Manifest manifest;
  manifest.step = json.at("step").get<std::int64_t>();
  for (const auto& entry : json.at("files")) {
    manifest.files.push_back({entry.at("name").get<std::string>(), entry.at("size").get<Bytes>(),
                              parse_hex(entry.at("xxh3").get<std::string>())});
    if (!is_plain_name(manifest.files.back().name)) throw std::invalid_argument("not a file name");
  }
  return manifest;
}

std::uint64_t checksum_of_file(const FileReader& file) {
  constexpr Bytes kPiece = MiB;
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> hash(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(hash.get());
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min(kPiece, file.size())));
  for (Bytes offset = 0; offset < file.size(); offset += kPiece) {
    const auto part = std::span(piece).first(static_cast<std::size_t>(std::min(kPiece, file.size() - offset)));
    file.read(offset, part);
    XXH3_64bits_update(hash.get(), part.data(), part.size());
  }
  return XXH3_64bits_digest(hash.get());
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
  nlohmann::json json = {{"format", kFormat}, {"version", kVersion}, {"step", manifest.step}};
  json["files"] = nlohmann::json::array();
  for (const ManifestFile& file : manifest.files)
    json["files"].push_back({{"name", file.name}, {"size", file.size}, {"xxh3", hex(file.checksum)}});
  return sealed(std::move(json));
}

Manifest read_manifest(const std::filesystem::path& folder) {
  const auto path = folder / kManifestName;
  const std::string text = read_text(path, 4 * MiB);
  const nlohmann::json json = format::parse_json_object(text, path.string());
  if (json.value("format", nlohmann::json()) != kFormat)
    reject(path, "is not a checkpoint's manifest", kFormat, json.value("format", nlohmann::json()).dump());
  if (json.value("version", nlohmann::json()) != kVersion)
    reject(path, "has an unknown version", std::to_string(kVersion), json.value("version", nlohmann::json()).dump());
  if (sealed(json) != text) reject(path, "is damaged", "text that matches its own checksum", "another text");
  Manifest manifest;
  try {
    manifest = from_json(json);
  } catch (const std::exception& error) {
    reject(path, "cannot be read", "step and files", error.what());
  }
  if (const auto step = step_of(folder.filename().string()); step && *step != manifest.step)
    reject(path, "belongs to another step", std::to_string(*step), std::to_string(manifest.step));
  return manifest;
}

void verify_files(const std::filesystem::path& folder, const Manifest& manifest, bool contents) {
  for (const ManifestFile& entry : manifest.files) {
    const FileReader file(folder / entry.name);
    if (file.size() != entry.size)
      reject(file.path(), "has the wrong size", std::to_string(entry.size) + " bytes", std::to_string(file.size()));
    if (!contents) continue;
    if (const std::uint64_t got = checksum_of_file(file); got != entry.checksum)
      reject(file.path(), "is damaged", "XXH3 " + hex(entry.checksum), hex(got));
  }
}

}  // namespace sluice::checkpoint
