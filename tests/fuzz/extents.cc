// Any bytes decode to extents that encode to something that decodes to the same, or are refused.
#include <cstdlib>

#include "meta/records.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  std::vector<skerry::meta::Extent> extents;
  if (!skerry::meta::decode_extents(input, &extents)) return 0;
  std::vector<skerry::meta::Extent> again;
  if (!skerry::meta::decode_extents(skerry::meta::encode_extents(extents), &again)) abort();
  if (again != extents) abort();
  return 0;
}
