#include "vfs/options.h"

#include <charconv>
#include <functional>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry::vfs {
namespace {

constexpr size_t kMaxOptions = 64;
constexpr size_t kMaxOptionBytes = 4096;
// Less would leave each of the cache's 256 folders too few pieces to choose from.
constexpr uint64_t kLeastDiskCache = uint64_t{256} << 20;
constexpr TimeNs kLeastExpiry = 5'000'000'000;
constexpr TimeNs kLongestLease = TimeNs{3600} * 1'000'000'000;
constexpr TimeNs kMostExpiry = TimeNs{86400} * 1'000'000'000;

struct Option {
  std::string_view key;
  std::function<Status(std::string_view)> set;
};

/// The number at the start of `text`; the rest stays in `*suffix`.
Result<uint64_t> leading_number(std::string_view text, std::string_view* suffix) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return Error(EINVAL, "\"" + std::string(text) + "\" is not a number");
  *suffix = text.substr(static_cast<size_t>(end - text.data()));
  return number;
}

template <typename T>
std::function<Status(std::string_view)> size_between(uint64_t least, uint64_t most, T* out) {
  return [=](std::string_view text) -> Status {
    SKERRY_ASSIGN(uint64_t size, parse_size(text));
    if (size < least || size > most) {
      return Error(EINVAL, "\"" + std::string(text) + "\" is not between " + std::to_string(least) +
                               " and " + std::to_string(most));
    }
    *out = static_cast<T>(size);
    return {};
  };
}

/// Or nothing.
std::function<Status(std::string_view)> absolute_path(std::string* out) {
  return [=](std::string_view text) -> Status {
    if (!text.empty() && text[0] != '/') {
      return Error(EINVAL, "\"" + std::string(text) + "\" is not an absolute path");
    }
    *out = text;
    return {};
  };
}

std::function<Status(std::string_view)> flag(bool* out) {
  return [=](std::string_view text) -> Status {
    if (text != "0" && text != "1") {
      return Error(EINVAL, "\"" + std::string(text) + "\" is neither 0 nor 1");
    }
    *out = text == "1";
    return {};
  };
}

std::function<Status(std::string_view)> duration(TimeNs* out) {
  return [=](std::string_view text) -> Status {
    SKERRY_ASSIGN(*out, parse_duration(text));
    return {};
  };
}

std::function<Status(std::string_view)> access_times(meta::AtimeMode* out) {
  return [=](std::string_view text) -> Status {
    if (text == "noatime") {
      *out = meta::AtimeMode::kNone;
    } else if (text == "relatime") {
      *out = meta::AtimeMode::kRelative;
    } else if (text == "strictatime") {
      *out = meta::AtimeMode::kStrict;
    } else {
      return Error(EINVAL,
                   "\"" + std::string(text) + "\" is none of noatime, relatime and strictatime");
    }
    return {};
  };
}

std::function<Status(std::string_view)> consistency(meta::Consistency* out) {
  return [=](std::string_view text) -> Status {
    if (text == "strict") {
      *out = meta::Consistency::kStrict;
    } else if (text == "close-to-open") {
      *out = meta::Consistency::kCloseToOpen;
    } else if (text == "leased") {
      *out = meta::Consistency::kLeased;
    } else {
      return Error(EINVAL,
                   "\"" + std::string(text) + "\" is none of strict, close-to-open and leased");
    }
    return {};
  };
}

std::function<Status(std::string_view)> key_source(std::optional<KeySource>* out) {
  return [=](std::string_view text) -> Status {
    SKERRY_ASSIGN(*out, KeySource::parse(text));
    return {};
  };
}

template <typename T>  // Compression, or an optional one
std::function<Status(std::string_view)> compression(T* out) {
  return [=](std::string_view text) -> Status {
    SKERRY_ASSIGN(*out, Compression::parse(text));
    return {};
  };
}

std::function<Status(std::string_view)> lease(TimeNs* out) {
  return [=](std::string_view text) -> Status {
    SKERRY_ASSIGN(*out, parse_duration(text));
    if (*out > kLongestLease) return Error(EINVAL, "longer than an hour");
    return {};
  };
}

Status unknown(std::string_view key, const std::vector<Option>& known) {
  std::string keys;
  for (const Option& option : known) {
    if (!keys.empty()) keys += ", ";
    keys += option.key;
  }
  return Error(EINVAL, "unknown option \"" + std::string(key) + "\"; known are: " + keys);
}

Status parse(const char* const* options, const std::vector<Option>& known) {
  if (options == nullptr) return {};
  for (size_t i = 0; options[i] != nullptr; i++) {
    if (i == kMaxOptions) return Error(EINVAL, "too many options");
    std::string_view text(options[i]);
    if (text.size() > kMaxOptionBytes) return Error(EINVAL, "an option is too long");
    size_t equals = text.find('=');
    if (equals == std::string_view::npos) {
      return Error(EINVAL, "option \"" + std::string(text) + "\" is not of the form key=value");
    }
    std::string_view key = text.substr(0, equals);
    const Option* found = nullptr;
    for (const Option& option : known)
      if (option.key == key) found = &option;
    if (found == nullptr) return unknown(key, known);
    Status set = found->set(text.substr(equals + 1));
    if (!set.ok()) return std::move(set).error().with_context("option " + std::string(key));
  }
  return {};
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  std::string_view suffix;
  SKERRY_ASSIGN(uint64_t number, leading_number(text, &suffix));
  unsigned shift = 0;
  if (suffix == "K") {
    shift = 10;
  } else if (suffix == "M") {
    shift = 20;
  } else if (suffix == "G") {
    shift = 30;
  } else if (suffix == "T") {
    shift = 40;
  } else if (!suffix.empty()) {
    return Error(EINVAL, "\"" + std::string(text) + "\" is not a size; write 4096, 64K, 4M, 1G");
  }
  if (number > (std::numeric_limits<uint64_t>::max() >> shift)) {
    return Error(EINVAL, "\"" + std::string(text) + "\" is too large");
  }
  return number << shift;
}

Result<TimeNs> parse_duration(std::string_view text) {
  std::string_view suffix;
  SKERRY_ASSIGN(uint64_t number, leading_number(text, &suffix));
  TimeNs unit = 0;
  if (suffix == "ms") {
    unit = 1'000'000;
  } else if (suffix == "s" || suffix.empty()) {
    unit = 1'000'000'000;
  } else if (suffix == "m") {
    unit = TimeNs{60} * 1'000'000'000;
  } else {
    return Error(EINVAL, "\"" + std::string(text) + "\" is not a duration; write 500ms, 60s, 2m");
  }
  constexpr TimeNs kLongest = TimeNs{365} * 86400 * 1'000'000'000;
  if (number == 0 || number > static_cast<uint64_t>(kLongest / unit)) {
    return Error(EINVAL, "\"" + std::string(text) + "\" is not between 1ms and a year");
  }
  return static_cast<TimeNs>(number) * unit;
}

Result<FormatOptions> parse_format_options(const char* const* options) {
  FormatOptions out;
  SKERRY_TRY(
      parse(options, {
                         {"storage",
                          [&](std::string_view text) -> Status {
                            if (text.empty()) return Error(EINVAL, "an empty URL");
                            out.storage = text;
                            return {};
                          }},
                         {"block_size", size_between(64u << 10, 16u << 20, &out.block_bytes)},
                         {"inline", size_between(0, 64u << 10, &out.inline_bytes)},
                         {"durable", flag(&out.durable)},
                         {"session_expiry",
                          [&](std::string_view text) -> Status {
                            SKERRY_ASSIGN(out.session_expiry_ns, parse_duration(text));
                            if (out.session_expiry_ns < kLeastExpiry ||
                                out.session_expiry_ns > kMostExpiry) {
                              return Error(EINVAL, "not between 5s and a day");
                            }
                            return {};
                          }},
                         {"timeout", duration(&out.timeout_ns)},
                         {"compression", compression(&out.compression)},
                         {"encryption_key", key_source(&out.encryption_key)},
                     }));
  return out;
}

Result<SettingsOptions> parse_settings_options(const char* const* options) {
  SettingsOptions out;
  SKERRY_TRY(parse(options, {
                                {"compression", compression(&out.compression)},
                                {"encryption_key", key_source(&out.encryption_key)},
                                {"timeout", duration(&out.timeout_ns)},
                            }));
  return out;
}

Result<RotationOptions> parse_rotation_options(const char* const* options) {
  RotationOptions out;
  SKERRY_TRY(parse(options, {
                                {"encryption_key", key_source(&out.encryption_key)},
                                {"new_encryption_key", key_source(&out.new_encryption_key)},
                                {"new_data_key", flag(&out.new_data_key)},
                                {"timeout", duration(&out.timeout_ns)},
                            }));
  return out;
}

Result<VolumeOptions> parse_volume_options(const char* const* options) {
  VolumeOptions out;
  constexpr uint64_t kMostMemory = uint64_t{1} << 46;
  SKERRY_TRY(parse(
      options,
      {
          {"cache_size", size_between(0, kMostMemory, &out.cache_bytes)},
          {"cache_dir", absolute_path(&out.cache_directory)},
          {"cache_dir_size",
           size_between(kLeastDiskCache, uint64_t{1} << 50, &out.cache_directory_bytes)},
          {"write_buffer", size_between(1u << 20, kMostMemory, &out.write_buffer_bytes)},
          {"readahead", size_between(0, uint64_t{1} << 30, &out.readahead_bytes)},
          {"io_threads", size_between(1, 256, &out.io_threads)},
          {"timeout", duration(&out.timeout_ns)},
          {"read_only", flag(&out.read_only)},
          {"durable", flag(&out.durable)},
          {"background", flag(&out.background)},
          {"atime", access_times(&out.atime)},
          {"consistency", consistency(&out.consistency)},
          {"lease", lease(&out.lease_ns)},
          {"notify", flag(&out.notify)},
          {"encryption_key", key_source(&out.encryption_key)},
          {"metadata_cache", size_between(0, uint64_t{1} << 28, &out.metadata_cache)},
          {"max_requests", size_between(1, 65536, &out.requests.limits.max_requests)},
          {"request_limit", size_between(0, 1u << 30, &out.requests.limits.request_limit)},
          {"upload_limit", size_between(0, kMostMemory, &out.requests.limits.upload_limit_bytes)},
          {"download_limit",
           size_between(0, kMostMemory, &out.requests.limits.download_limit_bytes)},
          {"hedge", size_between(0, 100, &out.requests.hedge.percent)},
          {"retry_budget", size_between(0, 1u << 20, &out.requests.retry_budget)},
          {"connect_timeout", duration(&out.requests.connect_timeout_ns)},
          {"first_byte_timeout", duration(&out.requests.first_byte_timeout_ns)},
          {"stall_timeout", duration(&out.requests.stall_timeout_ns)},
          {"request_timeout", duration(&out.requests.request_timeout_ns)},
      }));
  return out;
}

}  // namespace skerry::vfs
