// What `skerry mount` and fstab may say about a mount.
#ifndef SKERRY_BINDINGS_FUSE_OPTIONS_H_
#define SKERRY_BINDINGS_FUSE_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::fuse {

struct Options {
  std::string url;
  std::string directory;
  bool foreground = false;
  bool debug = false;
  bool remount = false;  // only changes how the kernel has mounted it

  bool read_only = false;
  // The kernel checks permissions, from the attributes it has cached. Without it every look-up and
  // open is asked here, and names are not cached, since a cached name is walked through unchecked.
  bool default_permissions = true;
  bool writeback = false;
  bool local_locks = false;                           // flock and fcntl are the kernel's own
  std::string subdir;                                 // the directory that becomes the root
  std::optional<uint32_t> umask;                      // instead of the caller's
  std::optional<double> attr_timeout, entry_timeout;  // seconds
  double negative_timeout = 0;
  uint32_t max_io = 1 << 20;      // bytes of one read or write request
  uint32_t read_ahead = 4 << 20;  // bytes the kernel reads ahead
  uint32_t threads = 16;
  uint32_t max_background = 64;  // requests the kernel has in flight without a waiting caller

  std::vector<std::string> volume;  // "key=value" for skerry_volume_open
  std::vector<std::string> kernel;  // for the mount itself: "allow_other", "nosuid"

  double attribute_seconds() const { return attr_timeout.value_or(1); }
  double entry_seconds() const { return entry_timeout.value_or(default_permissions ? 1 : 0); }
};

constexpr const char* kUsage =
    "Usage: skerry-fuse [-f] [-d] [-o OPTION[,OPTION...]] META_URL DIR\n"
    "\n"
    "  -f  stay in the foreground      -d  the same, and show every request\n"
    "  -o  options of the mount:\n"
    "      ro                     refuse every change\n"
    "      allow_other            let other users in (who is not root needs user_allow_other\n"
    "                             in /etc/fuse.conf)\n"
    "      no_default_permissions permissions are checked by Skerry alone, always as they are now\n"
    "      subdir=PATH            mount this directory of the volume\n"
    "      umask=OCTAL            for new files, instead of the caller's\n"
    "      attr_timeout=S         seconds the kernel trusts attributes (1)\n"
    "      entry_timeout=S        seconds it trusts names (1; 0 with no_default_permissions)\n"
    "      negative_timeout=S     seconds it trusts that a name is absent (0)\n"
    "      writeback_cache        writes are gathered in the page cache: for a volume\n"
    "                             that only this mount writes\n"
    "      local_locks            file locks hold within this mount alone, and cost nothing\n"
    "      max_io=SIZE            largest request (1M)\n"
    "      read_ahead=SIZE        of the kernel, for sequential readers (4M; as root)\n"
    "      threads=N              that serve requests (16)\n"
    "      max_background=N       readahead and writeback requests in flight (64)\n"
    "      noatime (default), relatime, strictatime, nosuid, nodev, noexec ... as mount(8)\n"
    "      KEY=VALUE              of the volume, such as cache_size=1G (see skerry.h)\n"
    "\n"
    "In /etc/fstab:\n"
    "  sqlite:///srv/vol.db  /mnt/vol  skerry  _netdev,allow_other  0 0\n";

/// Fills `options` from the program's arguments; false after *error was set ("" asks for help).
bool parse_arguments(int argc, char** argv, Options* options, std::string* error);

/// True of a setting's name whose value nobody may see: "password", "secret_key".
bool is_secret(std::string_view name);
/// The URL without a password in it: neither behind the user's name nor as a parameter.
std::string without_secret(const std::string& url);
/// Takes passwords out of the program's arguments, which every user of the machine can read. To be
/// called when they have been parsed.
void hide_secrets(int argc, char** argv);

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_OPTIONS_H_
