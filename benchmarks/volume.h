// A volume for a benchmark: SQLite and a local directory below a scratch directory.
#pragma once

#include <fcntl.h>
#include <skerry/skerry.h>

#include <string>
#include <vector>

#include "bench.h"

namespace bench {

class BenchVolume {
 public:
  BenchVolume(const std::string& dir, std::vector<std::string> options = {},
              std::vector<std::string> format_options = {}, bool format = true)
      : url_("sqlite://" + dir + "/vol.db") {
    if (format)
      must(skerry_format(url_.c_str(), pointers(format_options).data()) == 0, "format " + why());
    must(skerry_volume_open(url_.c_str(), pointers(options).data(), &volume_) == 0,
         "open " + why());
  }
  ~BenchVolume() { skerry_volume_close(volume_); }
  BenchVolume(const BenchVolume&) = delete;

  skerry_volume* get() const { return volume_; }
  const std::string& url() const { return url_; }
  static std::string why() { return skerry_last_error(); }

  skerry_file* open(const std::string& path, int flags, uint32_t mode = 0644) const {
    skerry_file* file = nullptr;
    must(skerry_open(volume_, nullptr, path.c_str(), flags, mode, &file) == 0,
         "open " + path + ": " + why());
    return file;
  }
  void close(skerry_file* file) const { must(skerry_close(file, nullptr) == 0, "close: " + why()); }
  void write_file(const std::string& path, const std::string& bytes) const {
    must(skerry_write_file(volume_, nullptr, path.c_str(), bytes.data(), bytes.size(), 0644) == 0,
         "write " + path + ": " + why());
  }
  void mkdir(const std::string& path) const {
    must(skerry_mkdirs(volume_, nullptr, path.c_str(), 0755) == 0, "mkdir " + path + ": " + why());
  }
  uint64_t counter(const std::string& name) const {
    std::vector<skerry_counter> counters(256);
    int n = skerry_counters(volume_, counters.data(), counters.size());
    for (int i = 0; i < n && i < 256; ++i)
      if (name == counters[i].name) return counters[i].value;
    must(false, "find counter " + name);
    return 0;
  }

 private:
  static std::vector<const char*> pointers(const std::vector<std::string>& options) {
    std::vector<const char*> out;
    for (auto& o : options) out.push_back(o.c_str());
    out.push_back(nullptr);
    return out;
  }
  std::string url_;
  skerry_volume* volume_ = nullptr;
};

}  // namespace bench
