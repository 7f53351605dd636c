// Records of JSON files, one at a time: lines of a JSON-lines file, elements of a JSON array.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

namespace sluice::data {

/// Hands over the text of each record with its number (from 1; of lines: the line). Which of the two forms the file has
/// is told by its first character. Returns the hash of the file's bytes. Throws FormatError for a record of more than
/// 64 MiB and for an array that is not closed.
std::uint64_t for_each_record(const std::filesystem::path& file,
                              const std::function<void(std::string_view, std::int64_t)>& visit);

/// The first record if it is a JSON object that starts in the first MiB and ends there; null otherwise.
nlohmann::ordered_json first_record(const std::filesystem::path& file);

}  // namespace sluice::data
