#include "virtual_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

#include "file_system.h"
#include "wire.h"

namespace skerry::fuse {
namespace {

constexpr std::array kFiles = {"stats", "config", "accesslog"};

constexpr double kTimeout = 3600;  // seconds: they do not change

timespec now() {
  timespec time = {};
  clock_gettime(CLOCK_REALTIME, &time);
  return time;
}

nlohmann::json options_as_json(const Options& options) {
  nlohmann::json json = {
      {"url", without_secret(options.url)},
      {"directory", options.directory},
      {"pid", getpid()},
      {"read_only", options.read_only},
      {"default_permissions", options.default_permissions},
      {"writeback_cache", options.writeback},
      {"subdir", options.subdir},
      {"attr_timeout", options.attribute_seconds()},
      {"entry_timeout", options.entry_seconds()},
      {"negative_timeout", options.negative_timeout},
      {"max_io", options.max_io},
      {"read_ahead", options.read_ahead},
      {"threads", options.threads},
      {"max_background", options.max_background},
      {"mount_options", options.kernel},
  };
  if (options.umask) json["umask"] = *options.umask;
  nlohmann::json volume = nlohmann::json::object();
  for (const std::string& setting : options.volume) {
    const size_t equals = setting.find('=');
    const std::string key = setting.substr(0, equals);
    volume[key] = is_secret(key) ? "removed" : setting.substr(equals + 1);
  }
  json["volume_options"] = volume;
  return json;
}

}  // namespace

VirtualFiles::VirtualFiles(FileSystem& fs)
    : fs_(fs), uid_(geteuid()), gid_(getegid()), mounted_(now()) {}

bool VirtualFiles::hides(fuse_ino_t parent, const char* name) {
  return owns(parent) ||
         (parent == FUSE_ROOT_ID && name[0] == '.' && std::strcmp(name, kName) == 0);
}

struct stat VirtualFiles::attributes(fuse_ino_t node) const {
  struct stat stat = {};
  stat.st_ino = node;
  stat.st_uid = uid_;
  stat.st_gid = gid_;
  stat.st_nlink = node == kDirectory ? 2 : 1;
  stat.st_mode = node == kDirectory ? S_IFDIR | 0500 : S_IFREG | 0400;
  stat.st_blksize = 4096;
  stat.st_atim = stat.st_mtim = stat.st_ctim = mounted_;
  return stat;
}

bool VirtualFiles::permitted(fuse_req_t req) const {
  const uid_t caller = fuse_req_ctx(req)->uid;
  return caller == 0 || caller == uid_;
}

void VirtualFiles::lookup(fuse_req_t req, fuse_ino_t parent, const char* name) const {
  fuse_entry_param entry = {};
  entry.attr_timeout = entry.entry_timeout = kTimeout;
  if (parent == FUSE_ROOT_ID) {
    entry.ino = kDirectory;
  } else {
    if (!permitted(req)) {
      fuse_reply_err(req, EACCES);
      return;
    }
    const auto found = std::find_if(kFiles.begin(), kFiles.end(),
                                    [&](const char* each) { return std::strcmp(each, name) == 0; });
    if (parent != kDirectory || found == kFiles.end()) {
      fuse_reply_err(req, ENOENT);
      return;
    }
    entry.ino = kStats + static_cast<fuse_ino_t>(found - kFiles.begin());
  }
  entry.attr = attributes(entry.ino);
  fuse_reply_entry(req, &entry);
}

void VirtualFiles::getattr(fuse_req_t req, fuse_ino_t node) const {
  const struct stat stat = attributes(node);
  reply_attributes(req, stat, kTimeout, nullptr);
}

void VirtualFiles::access(fuse_req_t req, fuse_ino_t node, int mask) const {
  const bool allowed =
      permitted(req) && (mask & W_OK) == 0 && ((mask & X_OK) == 0 || node == kDirectory);
  fuse_reply_err(req, allowed ? 0 : EACCES);
}

std::string VirtualFiles::stats() const {
  std::string text;
  std::vector<skerry_counter> counters(64);
  int count = skerry_counters(fs_.volume, counters.data(), counters.size());
  if (count > static_cast<int>(counters.size())) {
    counters.resize(static_cast<size_t>(count));
    count = skerry_counters(fs_.volume, counters.data(), counters.size());
  }
  for (int i = 0; i < std::min(count, static_cast<int>(counters.size())); ++i) {
    const skerry_counter& counter = counters[static_cast<size_t>(i)];
    text += std::string(counter.name) + " " + std::to_string(counter.value) + "\n";
  }
  return text + fs_.log.statistics();
}

std::string VirtualFiles::config() const {
  std::string text(64 << 10, '\0');
  const int64_t length = skerry_volume_info(fs_.volume, nullptr, text.data(), text.size());
  text.resize(
      static_cast<size_t>(std::clamp<int64_t>(length, 0, static_cast<int64_t>(text.size()) - 1)));
  nlohmann::json volume = nlohmann::json::parse(text, nullptr, false);
  if (volume.is_discarded()) volume = nullptr;
  if (volume.is_object()) {
    // The only place where a volume's description may name a store with its password.
    for (auto* part : {&volume, volume.contains("format") ? &volume["format"] : &volume}) {
      if (part->is_object() && part->contains("storage") && (*part)["storage"].is_string()) {
        (*part)["storage"] = without_secret((*part)["storage"].get<std::string>());
      }
    }
  }
  const nlohmann::json all = {{"volume", volume}, {"mount", options_as_json(fs_.options)}};
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void VirtualFiles::open(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  if (node == kDirectory) {
    fi->fh = 0;
    fuse_reply_open(req, fi);
    return;
  }
  if (!permitted(req) || (fi->flags & O_ACCMODE) != O_RDONLY) {
    fuse_reply_err(req, EACCES);
    return;
  }
  // Lengths are not known before, so the page cache has to stay out of it.
  fi->direct_io = 1;
  fi->nonseekable = node == kAccessLog ? 1 : 0;
  if (node == kAccessLog) {
    fi->fh = reinterpret_cast<uint64_t>(fs_.log.open());
  } else {
    fi->fh = reinterpret_cast<uint64_t>(new std::string(node == kStats ? stats() : config()));
  }
  fuse_reply_open(req, fi);
}

void VirtualFiles::read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
                        fuse_file_info* fi) {
  if (node == kAccessLog) {
    return fs_.log.read(req, reinterpret_cast<AccessLog::Reader*>(fi->fh), size);
  }
  const std::string& text = *reinterpret_cast<std::string*>(fi->fh);
  const size_t begin = std::min(static_cast<size_t>(offset), text.size());
  fuse_reply_buf(req, text.data() + begin, std::min(size, text.size() - begin));
}

void VirtualFiles::release(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  if (node == kAccessLog) {
    fs_.log.close(reinterpret_cast<AccessLog::Reader*>(fi->fh));
  } else if (node != kDirectory) {
    delete reinterpret_cast<std::string*>(fi->fh);
  }
  fuse_reply_err(req, 0);
}

void VirtualFiles::readdir(fuse_req_t req, size_t size, off_t offset, bool plus) const {
  std::vector<char> buffer(size);
  size_t used = 0;
  for (size_t i = static_cast<size_t>(offset); i < kFiles.size() + 2; ++i) {
    const char* name = i == 0 ? "." : i == 1 ? ".." : kFiles[i - 2];
    fuse_entry_param entry = {};
    entry.attr = attributes(i < 2 ? kDirectory : kStats + static_cast<fuse_ino_t>(i - 2));
    if (i >= 2) entry.ino = entry.attr.st_ino;
    entry.attr_timeout = entry.entry_timeout = kTimeout;
    char* at = buffer.data() + used;
    const auto next = static_cast<off_t>(i + 1);
    const size_t length = plus ? fuse_add_direntry_plus(req, at, size - used, name, &entry, next)
                               : fuse_add_direntry(req, at, size - used, name, &entry.attr, next);
    if (length > size - used) break;
    used += length;
  }
  fuse_reply_buf(req, buffer.data(), used);
}

}  // namespace skerry::fuse
