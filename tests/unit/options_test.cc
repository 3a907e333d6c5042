#include "vfs/options.h"

#include <catch2/catch.hpp>

namespace skerry::vfs {

TEST_CASE("options: how requests to the object store are made", "[options]") {
  const char* const given[] = {"max_requests=7",
                               "hedge=10",
                               "request_limit=100",
                               "upload_limit=10M",
                               "download_limit=1G",
                               "retry_budget=0",
                               "connect_timeout=500ms",
                               "first_byte_timeout=3s",
                               "stall_timeout=4s",
                               "request_timeout=5s",
                               nullptr};
  const auto parsed = parse_volume_options(given);
  REQUIRE(parsed.ok());
  const RequestOptions& requests = parsed->requests;
  constexpr TimeNs kMs = 1'000'000;
  CHECK(requests.limits.max_requests == 7);
  CHECK(requests.limits.request_limit == 100);
  CHECK(requests.limits.upload_limit_bytes == 10u << 20);
  CHECK(requests.limits.download_limit_bytes == 1u << 30);
  CHECK(requests.retry_budget == 0);
  CHECK(requests.hedge.percent == 10);
  CHECK(requests.connect_timeout_ns == 500 * kMs);
  CHECK(requests.first_byte_timeout_ns == 3000 * kMs);
  CHECK(requests.stall_timeout_ns == 4000 * kMs);
  CHECK(requests.request_timeout_ns == 5000 * kMs);
  for (const char* wrong : {"max_requests=0", "max_requests=x", "hedge=101", "upload_limit=-1",
                            "connect_timeout=0s", "request_timeout=1h"}) {
    const char* const one[] = {wrong, nullptr};
    const auto refused = parse_volume_options(one);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code() == EINVAL);
  }
}

}  // namespace skerry::vfs
