// Listing directories.
#include <cstring>
#include <memory>
#include <utility>

#include "capi/call.h"
#include "vfs/namespace.h"

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

namespace {

std::string_view after_of(const char* after) {
  return after == nullptr ? std::string_view() : std::string_view(after);
}

}  // namespace

extern "C" {

int skerry_opendir(skerry_volume* volume, const skerry_context* context, const char* path,
                   int with_attributes, const char* after, skerry_dir** dir) {
  if (dir != nullptr) *dir = nullptr;
  return static_cast<int>(on_volume({"skerry_opendir", path}, volume, context,
                                    [&](const OpContext& ctx, VolumeState& state) -> Status {
                                      if (path == nullptr) return null_argument("the path");
                                      if (dir == nullptr)
                                        return null_argument("the place for the directory");
                                      SKERRY_ASSIGN(
                                          vfs::Listing listing,
                                          vfs::open_listing(ctx, *state.volume, view_of(path),
                                                            after_of(after), with_attributes != 0));
                                      *dir = new skerry_dir(volume, std::move(listing));
                                      return {};
                                    }));
}

int skerry_fdopendir(skerry_file* file, const skerry_context* context, int with_attributes,
                     const char* after, skerry_dir** dir) {
  if (dir != nullptr) *dir = nullptr;
  return static_cast<int>(on_file(
      {"skerry_fdopendir"}, file, context, [&](const OpContext&, vfs::Handle& handle) -> Status {
        if (dir == nullptr) return null_argument("the place for the directory");
        SKERRY_TRY(handle.check_not_path());
        if (!handle.is_directory()) return Error(ENOTDIR, "the file is not a directory");
        handle.note_read();
        vfs::Listing listing(handle.ino(), after_of(after), with_attributes != 0);
        *dir = new skerry_dir(file->volume, std::move(listing));
        return {};
      }));
}

int skerry_readdir(skerry_dir* dir, const skerry_context* context, struct skerry_dirent* entries,
                   uint32_t count) {
  if (dir == nullptr) return fail(EINVAL, "the directory is null", "skerry_readdir");
  return static_cast<int>(
      on_volume({"skerry_readdir"}, dir->volume, context,
                [&](const OpContext& ctx, VolumeState& state) -> Result<int64_t> {
                  if (entries == nullptr) return null_argument("the array of entries");
                  if (count == 0) return Error(EINVAL, "a count of zero");
                  SKERRY_ASSIGN(auto listed, dir->listing.next(ctx, *state.volume, count));
                  for (size_t i = 0; i < listed.count; i++) {
                    const meta::ListedEntry& from = listed.begin[i];
                    skerry_dirent& to = entries[i];
                    to.name = from.name.c_str();
                    to.name_length = static_cast<uint32_t>(from.name.size());
                    to.ino = from.attr.ino;
                    to.type = type_bits(from.attr.type);
                    to.stat = {};
                    if (dir->listing.with_attributes()) {
                      fill_stat(from.attr, *state.volume, &to.stat);
                    }
                  }
                  return static_cast<int64_t>(listed.count);
                }));
}

void skerry_closedir(skerry_dir* dir) { delete dir; }

}  // extern "C"
