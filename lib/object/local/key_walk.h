// Lists a directory tree as an object store would: in the order of whole keys, one page at a time.
#pragma once

#include <cstdint>
#include <string_view>

#include "object/object_store.h"

namespace skerry {

/// Reads only directories that can hold a key of the page, and holds in memory the names of those
/// on the path it is at. Objects that appear or vanish meanwhile may or may not be listed.
Result<ObjectPage> list_directory(const OpContext& ctx, int root_fd, std::string_view prefix,
                                  std::string_view start_after, uint32_t limit);

}  // namespace skerry
