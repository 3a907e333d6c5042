// A key that the local store accepts names a place below its root, and no other key names it.
#include <cstdlib>
#include <filesystem>
#include <string>

#include "object/local/key_path.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string key(reinterpret_cast<const char*>(data), size);
  skerry::Status valid = skerry::check_key(key);
  if (!valid.ok()) {
    if (valid.error().message().empty()) abort();
    return 0;
  }
  const std::filesystem::path path(key);
  if (path.is_absolute() || path.lexically_normal() != path || *path.begin() == "..") abort();
  if (skerry::parent_of(key) != (path.has_parent_path() ? path.parent_path().string() : ".")) {
    abort();
  }
  return 0;
}
