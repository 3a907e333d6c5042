// Text for people and for programs: sizes, modes, times, owners, names. No I/O but name services.
#ifndef SKERRY_BINDINGS_CLI_TEXT_H_
#define SKERRY_BINDINGS_CLI_TEXT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "skerry/skerry.h"

namespace skerry::cli {

using Json = nlohmann::ordered_json;

// "1.5K", "3.0G": powers of 1,024 as coreutils' -h prints them.
std::string human_size(uint64_t bytes);
// "drwxr-xr-t".
std::string mode_string(uint32_t mode);
// "file", "directory", "symlink", "fifo", "socket", "block-device", "character-device".
std::string_view type_name(uint32_t mode);
// "0644": the permission bits in octal.
std::string octal_mode(uint32_t mode);
// Local time to the minute, for listings.
std::string listing_time(const skerry_timespec& time);
// RFC 3339 in UTC with nanoseconds.
std::string exact_time(const skerry_timespec& time);
int64_t nanoseconds(const skerry_timespec& time);

// Names from the host's user database, the number where it has none.
std::string user_name(uint32_t uid);
std::string group_name(uint32_t gid);
std::optional<uint32_t> parse_user(const std::string& text);
std::optional<uint32_t> parse_group(const std::string& text);

// A mode as chmod(1) takes it: octal, or symbolic clauses ("u+rwx,go-w,a=rX") applied to `current`,
// which has its type bits. `umask` is what a clause without u, g, o or a leaves alone.
std::optional<uint32_t> parse_mode(const std::string& text, uint32_t current, uint32_t umask);

// Names are bytes; JSON strings are UTF-8. A name that is UTF-8 is put as it is. One that is not is
// put with each byte that does not belong as "\xNN", and its exact bytes go into `key`_base64.
void put_name(Json& object, const std::string& key, std::string_view name);
// For a terminal: control characters as "?", as ls(1) does. `plain` leaves every byte alone.
std::string printable(std::string_view name, bool plain);

Json stat_json(const struct skerry_stat& stat);

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_TEXT_H_
