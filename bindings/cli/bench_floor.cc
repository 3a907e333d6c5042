#include "bench_floor.h"

namespace skerry::cli {

std::unique_ptr<Floor> Floor::make(const std::string& volume_url, std::string* why) {
  const std::string scheme = volume_url.substr(0, volume_url.find("://"));
  if (scheme == "sqlite") return make_sqlite_floor(volume_url, why);
  if (scheme == "postgres" || scheme == "postgresql") return make_postgres_floor(volume_url, why);
  *why = "no floor is known for " + scheme;
  return nullptr;
}

}  // namespace skerry::cli
