// Reads that the memory cache lacks and the disk cache has, its files in the page cache; beside
// pread(2) of a page-cached file in the same file system, and the same read from the object store
// (a folder there: no network), which is what a miss costs at the very least.
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "bench.h"
#include "volume.h"

namespace {

constexpr uint64_t kFileBytes = uint64_t{192} << 20;

}  // namespace

int main(int argc, char** argv) {
  using namespace bench;
  Report report("disk cache", argc, argv);
  Scratch scratch(argument(argc, argv, "dir", "/tmp"));
  const std::string cache = "cache_dir=" + scratch.path() + "/cache";
  std::string bytes(kFileBytes, '\0');
  for (uint64_t i = 0; i < kFileBytes; ++i) bytes[i] = static_cast<char>(mix(i / 64) >> (i % 56));

  const BenchVolume cached(scratch.path(), {"background=0", "cache_size=0", "readahead=0", cache});
  const BenchVolume bare(scratch.path(), {"background=0", "cache_size=0", "readahead=0"}, {},
                         false);
  skerry_file* file = cached.open("/big", O_CREAT | O_RDWR);
  must(skerry_pwrite(file, nullptr, bytes.data(), bytes.size(), 0) ==
               static_cast<int64_t>(kFileBytes) &&
           skerry_fsync(file, nullptr) == 0,
       "write /big");
  skerry_file* other = bare.open("/big", O_RDONLY);
  const std::string plain = scratch.path() + "/plain";
  const int fd = ::open(plain.c_str(), O_CREAT | O_RDWR, 0644);
  must(fd >= 0 && ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(kFileBytes),
       "write the plain file");
  // What the writer outran is kept on reading.
  std::string back(kFileBytes, '\0');
  for (int round = 0; round < 20; ++round) {
    const uint64_t gets = cached.counter("object_gets");
    must(skerry_pread(file, nullptr, back.data(), back.size(), 0) ==
                 static_cast<int64_t>(kFileBytes) &&
             back == bytes,
         "read back what was written");
    if (cached.counter("object_gets") == gets) break;
  }

  const uint64_t gets = cached.counter("object_gets");
  for (uint64_t size : {uint64_t{4} << 10, uint64_t{128} << 10, uint64_t{4} << 20}) {
    const uint64_t reads = std::min<uint64_t>(2000, (uint64_t{512} << 20) / size);
    const std::unique_ptr<char[]> buffer(new char[size]());
    auto all = [&](auto read) {
      return [&, read] {
        for (uint64_t i = 0; i < reads; ++i)
          must(read(mix(i) % (kFileBytes / size) * size) == static_cast<int64_t>(size), "read");
      };
    };
    auto of = [&](skerry_file* from) {
      return all(
          [&, from](uint64_t at) { return skerry_pread(from, nullptr, buffer.get(), size, at); });
    };
    auto r = compare({{"disk cache", reads, of(file)},
                      {"pread", reads, all([&](uint64_t at) {
                         return int64_t{::pread(fd, buffer.get(), size, static_cast<off_t>(at))};
                       })},
                      {"object store", reads, of(other)}},
                     5);
    const std::string what = "read " + std::to_string(size >> 10) + " KiB from the disk cache";
    report.line(what, r[0].median.wall_ns / 1e3, "us", "pread(2), page-cached",
                r[1].median.wall_ns / 1e3, -1, true);
    report.line(what, r[0].median.wall_ns / 1e3, "us", "from a folder as object store",
                r[2].median.wall_ns / 1e3, -1, true);
    report.line(what + ", CPU", r[0].median.cpu_ns / 1e3, "us", "pread(2)",
                r[1].median.cpu_ns / 1e3, -1, true);
  }
  report.figure("requests to the object store meanwhile",
                static_cast<double>(cached.counter("object_gets") - gets), "");
  ::close(fd);
  bare.close(other);
  cached.close(file);
  return 0;
}
