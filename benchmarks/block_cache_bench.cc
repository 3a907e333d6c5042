// What a hit in the memory cache costs: 4 KiB reads on one and two threads, from many slices and
// from one, and 1 MiB reads against memcpy of the same bytes in the same run.
//
//   block_cache_bench [--json] [--seconds S]
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "data/block_cache.h"
#include "data/block_format.h"

using namespace skerry;
using namespace skerry::data;

namespace {

using Steady = std::chrono::steady_clock;
constexpr uint64_t kSliceBytes = 4 << 20;
constexpr uint64_t kSlices = 64;

double seconds_since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

/// Nanoseconds a call of `work(thread, random state)`, `threads` of them running.
double ns_per_call(unsigned threads, double seconds,
                   const std::function<void(uint64_t*, int)>& batch, int batch_size) {
  std::vector<double> ns(threads);
  std::vector<std::thread> running;
  for (unsigned t = 0; t < threads; t++) {
    running.emplace_back([&, t] {
      uint64_t random = 88172645463325252u + t;
      batch(&random, batch_size);
      auto begin = Steady::now();
      uint64_t calls = 0;
      double spent = 0;
      while ((spent = seconds_since(begin)) < seconds) {
        batch(&random, batch_size);
        calls += static_cast<uint64_t>(batch_size);
      }
      ns[t] = spent * 1e9 / static_cast<double>(calls);
    });
  }
  for (auto& thread : running) thread.join();
  double sum = 0;
  for (double n : ns) sum += n;
  return sum / threads;
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  double seconds = 0.5;
  for (int i = 1; i < argc; i++) {
    if (std::strcmp(argv[i], "--json") == 0) json = true;
    if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) seconds = std::atof(argv[++i]);
  }
  BlockCache cache((kSlices + 8) * kSliceBytes * 33 / 32);
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  constexpr uint64_t kPlainBytes = kSlices * kSliceBytes;
  std::unique_ptr<std::byte, Free> memory(
      static_cast<std::byte*>(std::aligned_alloc(2 << 20, kPlainBytes)));
  std::span<std::byte> plain(memory.get(), kPlainBytes);
  madvise(plain.data(), plain.size(), MADV_HUGEPAGE);  // as the cache does for itself
  for (size_t i = 0; i < plain.size(); i++)
    plain[i] = static_cast<std::byte>(i * 2654435761u >> 24);
  for (uint64_t s = 0; s < kSlices; s++)
    cache.fill({s + 1, 0}, kSliceBytes, 0, ByteView(plain.data() + s * kSliceBytes, kSliceBytes));
  // Rounds through a cache that is full from the second on, each slice evicting another; the last
  // one counts, when the machine has given all the memory that is needed.
  double fill_gib = 0;
  BlockCache full(kSlices / 4 * kSliceBytes);
  for (uint64_t round = 0; round < 3; round++) {
    auto filling = Steady::now();
    for (uint64_t s = 0; s < kSlices; s++)
      full.fill({s + 1 + round * kSlices, 0}, kSliceBytes, 0,
                ByteView(plain.data() + s * kSliceBytes, kSliceBytes));
    fill_gib = static_cast<double>(plain.size()) / (1 << 30) / seconds_since(filling);
  }

  auto reader = [&](uint64_t slices, uint64_t size) {
    return [&cache, slices, size](uint64_t* random, int n) {
      static thread_local std::vector<std::byte> out(1 << 20);
      for (int i = 0; i < n; i++) {
        uint64_t r = next_random(random);
        SliceKey key{(r >> 32) % slices + 1, 0};
        uint64_t at = (r & 0xffffffff) % (kSliceBytes / size) * size;
        if (!cache.read(key, at, {out.data(), size})) std::abort();
      }
    };
  };
  auto copier = [&](uint64_t slices, uint64_t size) {
    return [&plain, slices, size](uint64_t* random, int n) {
      static thread_local std::vector<std::byte> out(1 << 20);
      for (int i = 0; i < n; i++) {
        uint64_t r = next_random(random);
        uint64_t at =
            (r >> 32) % slices * kSliceBytes + (r & 0xffffffff) % (kSliceBytes / size) * size;
        std::memcpy(out.data(), plain.data() + at, size);
        asm volatile("" ::"r"(out.data()) : "memory");
      }
    };
  };
  struct Row {
    const char* name;
    double ns, memcpy_ns;
  };
  std::vector<Row> rows;
  auto measure = [&](const char* name, unsigned threads, uint64_t slices, uint64_t size,
                     int batch) {
    double best = 1e18, best_copy = 1e18;  // of three, turn by turn: the machine is shared
    for (int round = 0; round < 3; round++) {
      best = std::min(best, ns_per_call(threads, seconds / 3, reader(slices, size), batch));
      best_copy =
          std::min(best_copy, ns_per_call(threads, seconds / 3, copier(slices, size), batch));
    }
    rows.push_back({name, best, best_copy});
  };
  measure("4k_hit_1_thread", 1, kSlices, 4096, 1000);
  measure("4k_hit_2_threads", 2, kSlices, 4096, 1000);
  measure("4k_hit_1_thread_1_slice", 1, 1, 4096, 1000);
  measure("4k_hit_2_threads_1_slice", 2, 1, 4096, 1000);
  measure("1m_hit_1_thread", 1, kSlices, 1 << 20, 10);

  if (json)
    std::printf("{\"fill_gib_s\": %.2f", fill_gib);
  else
    std::printf("fill: %.2f GiB/s\n", fill_gib);
  for (const Row& row : rows) {
    if (json)
      std::printf(", \"%s_ns\": %.1f, \"%s_memcpy_ns\": %.1f", row.name, row.ns, row.name,
                  row.memcpy_ns);
    else
      std::printf("%-26s %10.1f ns   memcpy %10.1f ns   ratio of rates %.2f\n", row.name, row.ns,
                  row.memcpy_ns, row.memcpy_ns / row.ns);
  }
  std::printf(json ? "}\n" : "");
}
