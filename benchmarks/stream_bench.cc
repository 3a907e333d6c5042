// 1 GiB written and read cold through a volume on a local directory, beside cp on the same disk
// (write: cp and fsync). And what an append to a large file writes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "bench.h"
#include "volume.h"

namespace {

constexpr uint64_t kTotal = uint64_t{1} << 30;
constexpr size_t kPiece = 1 << 20;

void drop_caches() {
  sync();
  int fd = ::open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (fd >= 0) {
    bench::must(::write(fd, "1", 1) == 1, "drop the page cache");
    ::close(fd);
  }
}

void fill(char* buffer, uint64_t seed) {
  for (size_t i = 0; i < kPiece; i += 8) {
    uint64_t v = bench::mix(seed + i);
    std::memcpy(buffer + i, &v, 8);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bench;
  Report report("1 GiB through a volume on a local directory", argc, argv);
  Scratch scratch(argument(argc, argv, "dir", "/tmp"));
  std::string source = scratch.path() + "/source", copy = scratch.path() + "/copy";
  std::unique_ptr<char[]> piece(new char[kPiece]);
  {
    int fd = ::open(source.c_str(), O_CREAT | O_WRONLY, 0644);
    for (uint64_t i = 0; i < kTotal; i += kPiece) {
      fill(piece.get(), i);
      must(::write(fd, piece.get(), kPiece) == static_cast<ssize_t>(kPiece), "write the source");
    }
    ::close(fd);
  }
  std::vector<std::vector<double>> wall(4), cpu(4);
  int round = 0;
  for (; round < 3; ++round) {
    std::string dir = scratch.path() + "/" + std::to_string(round);
    must(::mkdir(dir.c_str(), 0755) == 0, "make a directory");
    auto keep = [&](int i, Sample s) {
      wall[i].push_back(s.wall_ns / 1e9);
      cpu[i].push_back(s.cpu_ns / 1e9);
    };
    {
      BenchVolume volume(dir, {"background=0"});
      int in = ::open(source.c_str(), O_RDONLY);
      drop_caches();
      keep(0, time_once(1, [&] {
             skerry_file* file = volume.open("/file", O_CREAT | O_WRONLY);
             for (uint64_t i = 0; i < kTotal; i += kPiece) {
               must(::read(in, piece.get(), kPiece) == static_cast<ssize_t>(kPiece), "read");
               must(skerry_pwrite(file, nullptr, piece.get(), kPiece, i) ==
                        static_cast<int64_t>(kPiece),
                    "write: " + BenchVolume::why());
             }
             must(skerry_fsync(file, nullptr) == 0, "fsync");
             volume.close(file);
           }));
      ::close(in);
    }
    drop_caches();
    // cp: the same loop with read(2) and write(2), then fsync.
    keep(1, time_once(1, [&] {
           int in = ::open(source.c_str(), O_RDONLY);
           int out = ::open(copy.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
           for (uint64_t i = 0; i < kTotal; i += kPiece) {
             must(::read(in, piece.get(), kPiece) == static_cast<ssize_t>(kPiece), "read");
             must(::write(out, piece.get(), kPiece) == static_cast<ssize_t>(kPiece), "write");
           }
           must(::fsync(out) == 0, "fsync");
           ::close(out);
           ::close(in);
         }));
    drop_caches();
    {
      BenchVolume volume(dir, {"background=0"}, {}, false);
      keep(2, time_once(1, [&] {
             skerry_file* file = volume.open("/file", O_RDONLY);
             for (uint64_t i = 0; i < kTotal; i += kPiece)
               must(skerry_pread(file, nullptr, piece.get(), kPiece, i) ==
                        static_cast<int64_t>(kPiece),
                    "read: " + BenchVolume::why());
             volume.close(file);
           }));
    }
    drop_caches();
    keep(3, time_once(1, [&] {
           int in = ::open(copy.c_str(), O_RDONLY);
           for (uint64_t i = 0; i < kTotal; i += kPiece)
             must(::read(in, piece.get(), kPiece) == static_cast<ssize_t>(kPiece), "read");
           ::close(in);
         }));

    ::unlink(copy.c_str());
  }
  auto median = [](std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  };
  report.line("write 1 GiB and fsync", 1.074 / median(wall[0]), "GB/s", "cp and fsync",
              1.074 / median(wall[1]), 0.6, false);
  report.line("write 1 GiB, CPU", median(cpu[0]), "s", "cp and fsync", median(cpu[1]), -1, true);
  report.line("cold read of 1 GiB", 1.074 / median(wall[2]), "GB/s", "cp (reading)",
              1.074 / median(wall[3]), 0.6, false);
  report.line("cold read of 1 GiB, CPU", median(cpu[2]), "s", "cp (reading)", median(cpu[3]), -1,
              true);

  {  // appending 1 MiB to 2 GiB
    std::string dir = scratch.path() + "/append";
    must(::mkdir(dir.c_str(), 0755) == 0, "make a directory");
    BenchVolume volume(dir, {"background=0"});
    skerry_file* file = volume.open("/file", O_CREAT | O_WRONLY);
    for (uint64_t i = 0; i < 2 * kTotal; i += kPiece)
      must(skerry_pwrite(file, nullptr, piece.get(), kPiece, i) == static_cast<int64_t>(kPiece),
           "write");
    volume.close(file);
    uint64_t before = volume.counter("object_put_bytes");
    file = volume.open("/file", O_WRONLY | O_APPEND);
    must(skerry_pwrite(file, nullptr, piece.get(), kPiece, 0) == static_cast<int64_t>(kPiece),
         "append");
    volume.close(file);
    report.figure("appending 1 MiB to 2 GiB stores",
                  static_cast<double>(volume.counter("object_put_bytes") - before) / kPiece, "MiB",
                  5, true);
  }
  return 0;
}
