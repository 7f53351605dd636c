// Names and moves of checkpoint folders inside OUTPUT. Unfinished work carries a mark in its name, so that what has the
// plain name is whole: checkpoint-N.tmp-PID is being written, checkpoint-N.trash-PID is being deleted.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace sluice::checkpoint {

/// N of a folder called "checkpoint-N" (no sign, no leading zero).
std::optional<std::int64_t> step_of(std::string_view folder_name);

/// PATH.tmp-PID of this process.
std::filesystem::path temporary_name(const std::filesystem::path& path);

/// The folders checkpoint-N in `output`, highest step first; empty if `output` does not exist. Throws IoError.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& output);

/// Creates an empty folder, with its parents; one of that name is emptied first. Throws IoError.
void create_empty_folder(const std::filesystem::path& folder);

/// Renames, or throws IoError.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);

/// Gives `from` the name `to`; a folder called `to` is replaced in one step and deleted. Durable on return.
void publish_folder(const std::filesystem::path& from, const std::filesystem::path& to);

/// Renames `folder` to a trash name, then deletes it. What cannot be deleted is warned about.
void discard_folder(const std::filesystem::path& folder);

/// Deletes what killed processes left in `output`. The caller holds its FolderLock. What cannot be deleted is warned
/// about.
void sweep_leftovers(const std::filesystem::path& output);

}  // namespace sluice::checkpoint
