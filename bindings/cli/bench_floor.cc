#include "bench_floor.h"

#include <time.h>

namespace skerry::cli {

int64_t floor_now_ns() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

std::unique_ptr<Floor> Floor::make(const std::string& volume_url, std::string* why) {
  const std::string scheme = volume_url.substr(0, volume_url.find("://"));
  if (scheme == "sqlite") return make_sqlite_floor(volume_url, why);
  if (scheme == "postgres" || scheme == "postgresql") return make_postgres_floor(volume_url, why);
  *why = "no floor is known for " + scheme;
  return nullptr;
}

}  // namespace skerry::cli
