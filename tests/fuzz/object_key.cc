// A key is ours exactly when it is the key of the id it parses to.
#include <cstdlib>

#include "data/block_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view key(reinterpret_cast<const char*>(data), size);
  auto id = skerry::data::object_id_of_key(key);
  if (id != 0 && skerry::data::object_key(id) != key) abort();
  return 0;
}
