// The n-th call of a store fails, for every n: through a whole volume over an SQLite database and a
// directory. What a call reported as done is there afterwards, what it reported as failed can be
// done again, and nothing is left lying about.

#include <catch2/catch.hpp>
#include <filesystem>

#include "conformance/store_fixture.h"
#include "data/block_format.h"
#include "fault/call_faults.h"
#include "fault/workload.h"
#include "meta/session.h"
#include "object/decorators/retry_store.h"
#include "object/local/local_store.h"
#include "vfs/maintenance.h"

namespace fs = std::filesystem;

namespace skerry {
namespace {

constexpr TimeNs kPastExpiry = 120'000'000'000;

enum class Seam { kMetadata, kObjects };

/// Of the workload's files. Calls of the metadata store are many and do not depend on it.
size_t unit_of(Seam seam) { return seam == Seam::kObjects ? 1 << 20 : 64 << 10; }

/// A formatted volume as files, to begin every run with.
class Template {
 public:
  explicit Template(Seam seam) {
    FakeClock clock;
    const OpContext ctx = fault_context(clock);
    auto store = meta::SqliteStore::create(database(), {}, clock);
    REQUIRE(store.ok());
    meta::VolumeFormat format;
    format.uuid = "5b1c6cf8-2f0c-4f43-9a3e-1f6a2d0b7c11";
    format.storage = "file://" + folder_.file("data");
    format.block_bytes = 4 * unit_of(seam);
    REQUIRE(meta::format_volume(ctx, **store, format, clock).ok());
  }
  std::string database() const { return folder_.file("v.db"); }

 private:
  meta::TestDirectory folder_{meta::fast_folder()};
};

class Run {
 public:
  Run(const Template& formatted, Seam seam, const FaultPlan& plan)
      : faults_(plan), seam_(seam), ctx_(fault_context(clock_)) {
    fs::copy_file(formatted.database(), folder_.file("v.db"));
  }

  /// Works under the faults, then looks at what became of the volume.
  void go() {
    Workload workload(
        clock_, unit_of(seam_), [this](const OpContext& ctx) { return open(ctx, true); },
        [this] { return faults_.fired(); }, {EIO, faults_.plan().error});
    workload.run();
    failures_ = workload.failures();
    check(workload.expected());
  }
  bool fired() const { return faults_.fired(); }
  unsigned failures() const { return failures_; }

 private:
  Result<std::unique_ptr<vfs::Volume>> open(const OpContext& ctx, bool faulty) {
    vfs::Volume::Parts parts;
    parts.clock = &clock_;
    parts.random = &random_;
    meta::SqliteOptions sqlite;
    sqlite.record_requests = true;  // as every store whose answers can be lost
    SKERRY_ASSIGN(auto store, meta::SqliteStore::open(folder_.file("v.db"), sqlite, clock_));
    SKERRY_ASSIGN(parts.format, meta::read_format(ctx, *store));
    parts.store = std::move(store);
    if (faulty && seam_ == Seam::kMetadata) {
      parts.store = std::make_shared<meta::FaultStore>(std::move(parts.store), faults_);
    }
    LocalObjectStore::Options local;
    local.sync = false;
    local.random = &random_;
    SKERRY_ASSIGN(parts.objects, LocalObjectStore::open(folder_.file("data"), clock_, local));
    if (faulty && seam_ == Seam::kObjects) {
      parts.objects = std::make_shared<RetryObjectStore>(
          std::make_shared<FaultObjectStore>(parts.objects, faults_), random_);
    }
    vfs::VolumeOptions options;
    options.io_threads = 0;  // calls are made in one order
    options.background = false;
    options.cache_bytes = 1 << 20;
    options.readahead_bytes = 0;
    return vfs::Volume::open(ctx, std::move(parts), options);
  }

  void check(const Tree& expected) {
    clock_.advance_ns(kPastExpiry);  // a session whose end failed is over
    auto opened = open(ctx_, false);
    REQUIRE(opened.ok());
    vfs::Volume& volume = **opened;
    auto tree = read_tree(ctx_, volume);
    if (!tree.ok()) FAIL("reading all: " << tree.error().message());
    CHECK(tree->directories == expected.directories);
    CHECK(tree->links == expected.links);
    for (const auto& [path, bytes] : expected.files) {
      INFO(path);
      const auto found = tree->files.find(path);
      REQUIRE(found != tree->files.end());
      const bool same = found->second == bytes;
      CHECK(same);
    }
    CHECK(tree->files.size() == expected.files.size());

    vfs::GcResult swept;
    for (int round = 0; round < 4; ++round) {
      swept = {};
      REQUIRE(vfs::collect_garbage(ctx_, volume, false, &swept, {}).ok());
    }
    CHECK(swept.leaked_objects == 0);
    CHECK(swept.pending_objects == 0);
    check_objects(volume);
    REQUIRE(volume.close(ctx_).ok());
  }

  /// The volume is healthy, its data too, and every object belongs to a file.
  void check_objects(vfs::Volume& volume) {
    std::string problems;
    auto report = [&](const char* kind, const char* detail) {
      problems += std::string(kind) + ": " + detail + "\n";
    };
    auto found = vfs::check(ctx_, volume, true, report, {});
    REQUIRE(found.ok());
    CHECK(problems.empty());
    CHECK(found->problems == 0);
    CHECK(found->meta.orphans == 0);
    std::set<meta::ObjectId> live, stored;
    auto visit = [&](meta::Ino, uint64_t, const meta::Extent& extent) {
      if (extent.object != 0) live.insert(extent.object);
    };
    REQUIRE(meta::fsck(ctx_, volume.meta(), visit).ok());
    auto page = volume.objects().list(ctx_, data::kObjectPrefix, "", 1000);
    REQUIRE(page.ok());
    for (const auto& object : page->objects) stored.insert(data::object_id_of_key(object.key));
    CHECK(stored == live);
    auto sessions = meta::sessions(ctx_, volume.meta());
    REQUIRE(sessions.ok());
    CHECK(sessions->size() == 1);
  }

  meta::TestDirectory folder_{meta::fast_folder()};
  FakeClock clock_;
  FakeRandom random_;
  CallFaults faults_;
  const Seam seam_;
  const OpContext ctx_;
  unsigned failures_ = 0;
};

/// Until a run makes fewer than n calls.
void fail_each_call(Seam seam, FaultPlan plan) {
  const Template formatted(seam);
  unsigned failures = 0;
  bool fired = true;
  for (plan.n = 0; fired; ++plan.n) {
    CAPTURE(plan.n);
    Run run(formatted, seam, plan);
    run.go();
    fired = run.fired();
    failures += run.failures();
  }
  CAPTURE(plan.n);
  CHECK(plan.n > 20);
  // Retries hide single failures that passed by, but not these.
  if (!plan.retryable) CHECK(failures > plan.n / 3);
}

}  // namespace

TEST_CASE("nth call: each call of the object store fails", "[fault][nth]") {
  FaultPlan plan;
  plan.error = ENOSPC;
  fail_each_call(Seam::kObjects, plan);
}

TEST_CASE("nth call: each call of the object store is applied, its answer lost", "[fault][nth]") {
  FaultPlan plan;
  plan.error = ENOSPC;
  plan.lost_answer = true;
  fail_each_call(Seam::kObjects, plan);
}

TEST_CASE("nth call: the object store is away from each call on, then back", "[fault][nth]") {
  FaultPlan plan;
  plan.calls = 5;
  plan.retryable = true;
  fail_each_call(Seam::kObjects, plan);
}

TEST_CASE("nth call: each call of the metadata store fails", "[fault][nth]") {
  FaultPlan plan;
  plan.error = ENOSPC;
  fail_each_call(Seam::kMetadata, plan);
}

TEST_CASE("nth call: each call of the metadata store is applied, its answer lost", "[fault][nth]") {
  FaultPlan plan;
  plan.lost_answer = true;
  plan.retryable = true;
  fail_each_call(Seam::kMetadata, plan);
}

TEST_CASE("nth call: each call of the metadata store is its last for a while", "[fault][nth]") {
  FaultPlan plan;
  plan.lost_answer = true;
  plan.calls = 14;
  fail_each_call(Seam::kMetadata, plan);
}

}  // namespace skerry
