// Any text is an option, a size, a duration or a storage URL, or is refused with a sentence.
#include "vfs/options.h"

#include <cstdlib>
#include <string>

#include "capi/factory.h"

namespace {

template <typename T>
void explained(const T& outcome) {
  if (!outcome.ok() && (outcome.error().code() == 0 || outcome.error().message().empty())) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skerry;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const char* options[] = {text.c_str(), nullptr};
  explained(vfs::parse_volume_options(options));
  explained(vfs::parse_format_options(options));
  explained(vfs::parse_settings_options(options));
  explained(vfs::parse_rotation_options(options));
  explained(vfs::parse_size(text));
  explained(vfs::parse_duration(text));
  explained(capi::check_storage_url(text));
  explained(capi::default_storage(text));
  return 0;
}
