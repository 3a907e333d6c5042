// Access times: what a read leaves behind, and what it does not touch.
#include "ops_fixture.h"

namespace skerry::meta {

TEST_CASE("access times: when a read counts", "[meta][atime]") {
  constexpr TimeNs kHour = TimeNs{3600} * 1'000'000'000;
  Attributes attr;
  attr.atime_ns = 100 * kHour;
  attr.mtime_ns = attr.ctime_ns = 50 * kHour;
  auto needs = [&](TimeNs read, AtimeMode mode) { return needs_access_time(attr, read, mode); };
  CHECK_FALSE(needs(101 * kHour, AtimeMode::kNone));
  CHECK(needs(101 * kHour, AtimeMode::kStrict));
  CHECK_FALSE(needs(100 * kHour, AtimeMode::kStrict));
  CHECK_FALSE(needs(99 * kHour, AtimeMode::kStrict));
  CHECK_FALSE(needs(101 * kHour, AtimeMode::kRelative));
  CHECK_FALSE(needs(124 * kHour - 1, AtimeMode::kRelative));
  CHECK(needs(124 * kHour, AtimeMode::kRelative));
  attr.mtime_ns = 100 * kHour;
  CHECK(needs(101 * kHour, AtimeMode::kRelative));
  attr.mtime_ns = 0;
  attr.ctime_ns = 200 * kHour;
  CHECK(needs(101 * kHour, AtimeMode::kRelative));
}

TEST_CASE("access times: committed without a trace in anything else", "[meta][atime]") {
  OpsFixture f;
  const Ino file = f.file(kRootIno, "f"), dir = f.mkdir(kRootIno, "d");
  const Attributes before = f.stat(file);
  const TimeNs read = before.atime_ns + 1000;
  const std::vector<AccessTime> reads = {{file, before.atime_ns, read},
                                         {dir, f.stat(dir).atime_ns, read},
                                         {987654, 0, read}};  // gone meanwhile
  REQUIRE(code(set_access_times(f.root, f.meta, reads, AtimeMode::kStrict)) == 0);
  Attributes wanted = before;
  wanted.atime_ns = read;
  CHECK(f.stat(file) == wanted);  // the version too
  CHECK(f.stat_fresh(file) == wanted);
  CHECK(f.stat_fresh(dir).atime_ns == read);
  // Not back in time.
  REQUIRE(code(set_access_times(f.root, f.meta, {{file, before.atime_ns, read - 10}},
                                AtimeMode::kStrict)) == 0);
  CHECK(f.stat_fresh(file).atime_ns == read);
  // Who has set it since means it.
  SetAttributes set;
  set.atime_ns = 5;
  REQUIRE(code(set_attributes(f.root, f.meta, file, set)) == 0);
  REQUIRE(code(set_access_times(f.root, f.meta, {{file, read, read + 10}}, AtimeMode::kStrict)) ==
          0);
  CHECK(f.stat_fresh(file).atime_ns == 5);
  // Also while it is being committed.
  auto other = f.volume.open();
  set.atime_ns = 3;
  f.client->store->on_commit = [&](const CommitRequest&) {
    f.client->store->on_commit = nullptr;
    REQUIRE(code(set_attributes(other->ctx, *other->meta, file, set)) == 0);
    return Status();
  };
  REQUIRE(code(set_access_times(f.root, f.meta, {{file, 5, read + 10}}, AtimeMode::kStrict)) == 0);
  CHECK(f.stat_fresh(file).atime_ns == 3);
  f.require_consistent();
}

}  // namespace skerry::meta
