// The key=value options of a volume, as the C ABI documents them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "meta/freshness.h"
#include "meta/ops.h"
#include "object/crypto/key_source.h"
#include "object/decorators/compression.h"
#include "object/request_options.h"

namespace skerry::vfs {

struct FormatOptions {
  std::string storage;  // empty: the default beside the database
  uint32_t block_bytes = 4u << 20;
  uint32_t inline_bytes = 4096;
  bool durable = false;
  TimeNs session_expiry_ns = 60'000'000'000;
  TimeNs timeout_ns = 60'000'000'000;
  Compression compression;
  std::optional<KeySource> encryption_key;  // none: not encrypted
};

/// Of a volume that is there.
struct SettingsOptions {
  std::optional<Compression> compression;
  std::optional<KeySource> encryption_key;  // encrypts new data from now on
  TimeNs timeout_ns = 60'000'000'000;
};

struct RotationOptions {
  std::optional<KeySource> encryption_key;      // must be given
  std::optional<KeySource> new_encryption_key;  // none: the same
  bool new_data_key = false;
  TimeNs timeout_ns = 60'000'000'000;
};

struct VolumeOptions {
  uint64_t cache_bytes = 256u << 20;
  std::string cache_directory;  // empty: no disk cache
  uint64_t cache_directory_bytes = uint64_t{10} << 30;
  uint64_t write_buffer_bytes = 64u << 20;
  uint64_t readahead_bytes = 16u << 20;
  uint32_t io_threads = 8;  // 0 (not as an option's text): tasks run in their submitter's thread
  TimeNs timeout_ns = 60'000'000'000;
  bool read_only = false;
  bool durable = false;
  bool background = true;
  uint64_t metadata_cache = 1u << 18;
  meta::AtimeMode atime = meta::AtimeMode::kNone;
  meta::Consistency consistency = meta::Consistency::kCloseToOpen;
  TimeNs lease_ns = 1'000'000'000;
  bool notify = true;
  std::optional<KeySource> encryption_key;
  RequestOptions requests;
};

/// `options`: NULL-terminated, may be null. EINVAL with a sentence that names the option, and the
/// known ones where it is not among them.
Result<FormatOptions> parse_format_options(const char* const* options);
Result<VolumeOptions> parse_volume_options(const char* const* options);
Result<SettingsOptions> parse_settings_options(const char* const* options);
Result<RotationOptions> parse_rotation_options(const char* const* options);

/// "64K", "4M": powers of 1,024.
Result<uint64_t> parse_size(std::string_view text);
/// "500ms", "60s", "2m"; a bare number counts seconds.
Result<TimeNs> parse_duration(std::string_view text);

}  // namespace skerry::vfs
