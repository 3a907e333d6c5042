// Any text is a volume format that survives a round trip, or is refused with a sentence.
#include <cstdlib>

#include "meta/meta.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto format = skerry::meta::decode_format({reinterpret_cast<const char*>(data), size});
  if (!format.ok()) {
    if (format.error().message().empty()) abort();
    return 0;
  }
  auto again = skerry::meta::decode_format(skerry::meta::encode_format(*format));
  if (!again.ok() || again->uuid != format->uuid || again->storage != format->storage ||
      again->block_bytes != format->block_bytes || again->inline_bytes != format->inline_bytes)
    abort();
  return 0;
}
