// Warm reads: pread of 4 KiB and 1 MiB, one and two threads, views, whole files by path; beside
// pread(2) of a page-cached file on tmpfs, memcpy, and open+read+close on tmpfs.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>

#include "bench.h"
#include "volume.h"

namespace {

constexpr uint64_t kFileBytes = uint64_t{256} << 20;
constexpr uint64_t kSmallFiles = 500;
constexpr uint64_t kSmallBytes = 100 << 10;

std::string pattern(uint64_t bytes, uint64_t seed) {
  std::string out(bytes, '\0');
  for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t v = bench::mix(seed + i);
    std::memcpy(out.data() + i, &v, 8);
  }
  return out;
}

/// `reads` random aligned reads of `size`, by `threads` threads that share them.
void run_threads(int threads, const std::function<void(uint64_t seed)>& body) {
  std::vector<std::thread> pool;
  for (int t = 1; t < threads; ++t) pool.emplace_back(body, t);
  body(0);
  for (auto& t : pool) t.join();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bench;
  Report report("warm reads", argc, argv);
  Scratch scratch(argument(argc, argv, "dir", "/tmp")), tmpfs("/dev/shm");
  BenchVolume volume(scratch.path(), {"cache_size=1G", "background=0"}, {});

  std::string big = pattern(kFileBytes, 1);
  skerry_file* file = volume.open("/big", O_CREAT | O_RDWR);
  must(skerry_pwrite(file, nullptr, big.data(), big.size(), 0) == static_cast<int64_t>(big.size()),
       "write /big");
  must(skerry_fsync(file, nullptr) == 0, "fsync /big");
  std::string tmpfs_big = tmpfs.path() + "/big";
  int fd = ::open(tmpfs_big.c_str(), O_CREAT | O_RDWR, 0644);
  must(fd >= 0 && ::write(fd, big.data(), big.size()) == static_cast<ssize_t>(big.size()),
       "write to tmpfs");
  std::vector<char> whole(kFileBytes);
  must(skerry_pread(file, nullptr, whole.data(), whole.size(), 0) ==
               static_cast<int64_t>(kFileBytes) &&
           std::memcmp(whole.data(), big.data(), whole.size()) == 0,
       "read back what was written");

  auto random_reads = [&](uint64_t size, uint64_t reads, int threads, auto read) {
    return [=] {
      run_threads(threads, [=](uint64_t seed) {
        // As a loader would: into a buffer of its own, warm in its caches.
        std::unique_ptr<char[]> buffer(new char[size]);
        std::memset(buffer.get(), 0, size);
        for (uint64_t i = 0; i < reads; ++i)
          read(buffer.get(), mix(seed << 40 | i) % (kFileBytes / size) * size);
      });
    };
  };
  auto ours = [&](uint64_t size) {
    return [=](char* buffer, uint64_t offset) {
      if (skerry_pread(file, nullptr, buffer, size, offset) != static_cast<int64_t>(size)) abort();
    };
  };
  auto kernel = [&](uint64_t size) {
    return [=](char* buffer, uint64_t offset) {
      if (::pread(fd, buffer, size, static_cast<off_t>(offset)) != static_cast<ssize_t>(size))
        abort();
    };
  };
  auto copy = [&](uint64_t size) {
    return [=, &big](char* buffer, uint64_t offset) {
      std::memcpy(buffer, big.data() + offset, size);
      asm volatile("" : : "r"(buffer) : "memory");
    };
  };

  const uint64_t k4 = 4096, m1 = 1 << 20;
  auto r = compare({{"skerry", 200000, random_reads(k4, 200000, 1, ours(k4))},
                    {"pread", 200000, random_reads(k4, 200000, 1, kernel(k4))},
                    {"memcpy", 200000, random_reads(k4, 200000, 1, copy(k4))},
                    {"skerry x2", 400000, random_reads(k4, 200000, 2, ours(k4))},
                    {"memcpy x2", 400000, random_reads(k4, 200000, 2, copy(k4))}},
                   9);
  report.line("pread 4 KiB, CPU", r[0].median.cpu_ns, "ns", "pread(2), CPU", r[1].median.cpu_ns, 1,
              true);
  report.line("pread 4 KiB, CPU", r[0].median.cpu_ns, "ns", "memcpy", r[2].median.cpu_ns, -1, true);
  report.line("pread 4 KiB, rate of 2 threads on one file", 1e3 / r[3].median.wall_ns, "M/s",
              "1 thread", 1e3 / r[0].median.wall_ns, 1.8, false);
  report.line("  (the same for memcpy)", 1e3 / r[4].median.wall_ns, "M/s", "1 thread",
              1e3 / r[2].median.wall_ns, -1, false);

  r = compare({{"skerry", 2000, random_reads(m1, 2000, 1, ours(m1))},
               {"pread", 2000, random_reads(m1, 2000, 1, kernel(m1))},
               {"memcpy", 2000, random_reads(m1, 2000, 1, copy(m1))},
               {"skerry x2", 4000, random_reads(m1, 2000, 2, ours(m1))},
               {"memcpy x2", 4000, random_reads(m1, 2000, 2, copy(m1))}},
              9);
  auto rate = [&](const Outcome& o) { return static_cast<double>(m1) / o.median.wall_ns; };
  report.line("pread 1 MiB", rate(r[0]), "GB/s", "memcpy", rate(r[2]), 0.9, false);
  report.line("pread 1 MiB", rate(r[0]), "GB/s", "pread(2)", rate(r[1]), -1, false);
  report.line("pread 1 MiB, 2 threads", rate(r[3]), "GB/s", "memcpy, 2 threads", rate(r[4]), 0.9,
              false);
  report.figure("pread 1 MiB, CPU a GiB", r[0].median.cpu_ns * 1024 / 1e9, "s");

  for (uint64_t size : {uint64_t{4096}, uint64_t{1} << 20, uint64_t{4} << 20}) {
    auto view = compare({{"view", 200000,
                          [&] {
                            for (uint64_t i = 0; i < 200000; ++i) {
                              skerry_view v;
                              uint64_t offset = mix(i) % (kFileBytes / size) * size;
                              if (skerry_read_view(file, nullptr, offset, size, &v) <= 0) abort();
                              skerry_view_release(&v);
                            }
                          }}},
                        9);
    report.figure("view of " + std::to_string(size >> 10) + " KiB, CPU", view[0].median.cpu_ns,
                  "ns", 300, true);
  }

  // Whole small files by path.
  volume.mkdir("/d/e/f");
  std::string small_dir = tmpfs.path() + "/d";
  for (uint64_t i = 0; i < kSmallFiles; ++i) {
    std::string bytes = pattern(kSmallBytes, i);
    volume.write_file("/d/e/f/" + std::to_string(i), bytes);
    std::string path = tmpfs.path() + "/" + std::to_string(i);
    int out = ::open(path.c_str(), O_CREAT | O_WRONLY, 0644);
    must(out >= 0 && ::write(out, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
         "write small file");
    ::close(out);
  }
  std::vector<std::string> ours_paths, tmpfs_paths;
  for (uint64_t i = 0; i < kSmallFiles; ++i) {
    ours_paths.push_back("/d/e/f/" + std::to_string(i));
    tmpfs_paths.push_back(tmpfs.path() + "/" + std::to_string(i));
  }
  std::vector<char> buffer(kSmallBytes);
  r = compare(
      {{"skerry", kSmallFiles * 4,
        [&] {
          for (uint64_t i = 0; i < kSmallFiles * 4; ++i)
            if (skerry_read_file(volume.get(), nullptr, ours_paths[mix(i) % kSmallFiles].c_str(),
                                 buffer.data(), buffer.size()) != static_cast<int64_t>(kSmallBytes))
              abort();
        }},
       {"tmpfs", kSmallFiles * 4,
        [&] {
          for (uint64_t i = 0; i < kSmallFiles * 4; ++i) {
            int in = ::open(tmpfs_paths[mix(i) % kSmallFiles].c_str(), O_RDONLY);
            if (::read(in, buffer.data(), buffer.size()) != static_cast<ssize_t>(kSmallBytes))
              abort();
            ::close(in);
          }
        }}},
      9);
  report.line("whole 100 KiB file by path, CPU", r[0].median.cpu_ns / 1e3, "us",
              "open+read+close on tmpfs", r[1].median.cpu_ns / 1e3, 1, true);

  ::close(fd);
  volume.close(file);
  return 0;
}
