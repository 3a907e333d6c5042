// Whole files, and many at once: names are resolved together, data goes out together.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "io/op_context.h"
#include "vfs/handle.h"
#include "vfs/namespace.h"
#include "vfs/volume.h"

namespace skerry::vfs {

/// stat() of many paths: one metadata round trip for the last components of all that are not
/// cached. result[i] belongs to paths[i].
std::vector<Result<meta::Attributes>> stat_many(const OpContext& ctx, Volume& volume,
                                                const std::vector<std::string_view>& paths,
                                                bool follow);
std::vector<Result<std::unique_ptr<Handle>>> open_many(const OpContext& ctx, Volume& volume,
                                                       const std::vector<std::string_view>& paths,
                                                       int flags);

/// Copies min(out.size(), length) bytes; the file's length.
Result<uint64_t> read_file(const OpContext& ctx, Volume& volume, std::string_view path,
                           MutableBytes out);

struct ReadRequest {
  Handle* file = nullptr;  // or, where null,
  std::string_view path;
  uint64_t offset = 0;
  MutableBytes out;
  Result<size_t> result = size_t{0};
};
void read_many(const OpContext& ctx, Volume& volume, std::vector<ReadRequest>& requests);

struct WriteRequest {
  std::string_view path;
  ByteView data;
  uint32_t mode = 0;
  Status result;
};
/// Creates or replaces each file; durable when it returns. A path given twice gets the contents of
/// the last of its requests.
void write_many(const OpContext& ctx, Volume& volume, std::vector<WriteRequest>& requests);

}  // namespace skerry::vfs
