#include "conformance/object_store_fixture.h"

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <utility>

#include "object/decorators/counting_store.h"
#include "object/decorators/fault_store.h"
#include "object/decorators/retry_store.h"
#include "object/local/local_store.h"
#include "object/memory/memory_store.h"
#include "object/s3/s3_store.h"
#include "support/s3_server.h"

namespace skerry::testing {
namespace {

/// Every third call fails in a way that a retry must hide.
class EveryThirdCall final : public ObjectFaults {
 public:
  Decision before(const char*, std::string_view) override {
    uint64_t n = calls_.fetch_add(1, std::memory_order_relaxed);
    if (n % 3 != 2) return {};
    return {n % 2 == 0 ? Decision::kFailBefore : Decision::kFailAfter, ETIMEDOUT, true};
  }

 private:
  std::atomic<uint64_t> calls_{0};
};

class NoFaults final : public ObjectFaults {
 public:
  Decision before(const char*, std::string_view) override { return {}; }
};

class SimpleFixture final : public ObjectStoreFixture {
 public:
  explicit SimpleFixture(std::unique_ptr<ObjectStore> store) : store_(std::move(store)) {}
  ObjectStore& store() override { return *store_; }

 private:
  std::unique_ptr<ObjectStore> store_;
};

class LocalFixture final : public ObjectStoreFixture {
 public:
  explicit LocalFixture(LocalObjectStore::Options options) {
    auto opened = LocalObjectStore::open(directory_.path() + "/a/root", system_clock(), options);
    if (!opened.ok()) throw std::runtime_error(opened.error().message());
    store_ = std::move(opened).value();
  }
  ObjectStore& store() override { return *store_; }

 private:
  TempDirectory directory_;
  std::unique_ptr<ObjectStore> store_;
};

class FaultFixture final : public ObjectStoreFixture {
 public:
  ObjectStore& store() override { return store_; }

 private:
  NoFaults faults_;
  FaultObjectStore store_{std::make_shared<MemoryObjectStore>(system_clock()), faults_};
};

class RetryFixture final : public ObjectStoreFixture {
 public:
  ObjectStore& store() override { return store_; }

 private:
  EveryThirdCall faults_;
  RetryObjectStore store_{std::make_shared<FaultObjectStore>(
                              std::make_shared<MemoryObjectStore>(system_clock()), faults_),
                          system_random(), RetryOptions{64, 1000, 1000}};
};

/// A prefix of its own in the server of tests/support/s3.sh whose folder SKERRY_TEST_S3 names; as
/// users have it, with retries.
class S3Fixture final : public ObjectStoreFixture {
 public:
  explicit S3Fixture(const std::string& parameters) {
    auto opened =
        S3ObjectStore::open(s3_url("conformance", fresh_s3_prefix()) + parameters, system_clock());
    if (!opened.ok()) throw std::runtime_error(opened.error().message());
    Status made = (*opened)->make_bucket_if_absent(plain_context());
    if (!made.ok()) throw std::runtime_error(made.error().message());
    store_ = std::make_unique<RetryObjectStore>(std::move(opened).value(), system_random());
  }
  ObjectStore& store() override { return *store_; }
  bool takes_any_bytes() const override { return false; }

 private:
  std::unique_ptr<ObjectStore> store_;
};

}  // namespace

TempDirectory::TempDirectory() {
  path_ = (std::filesystem::temp_directory_path() / "skerry-test-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> object_store_kinds() {
  std::vector<std::string> kinds = {"memory",
                                    "local",
                                    "local, no sync, no descriptors",
                                    "fault over memory",
                                    "counting over memory",
                                    "retry over fault over memory"};
  if (::getenv("SKERRY_TEST_S3") != nullptr) kinds.insert(kinds.end(), {"s3", "s3, unsigned"});
  return kinds;
}

std::unique_ptr<ObjectStoreFixture> make_object_store_fixture(const std::string& kind) {
  if (kind == "memory")
    return std::make_unique<SimpleFixture>(std::make_unique<MemoryObjectStore>(system_clock()));
  if (kind == "local") return std::make_unique<LocalFixture>(LocalObjectStore::Options());
  if (kind == "local, no sync, no descriptors")
    return std::make_unique<LocalFixture>(
        LocalObjectStore::Options{.sync = false, .max_open_files = 0});
  if (kind == "fault over memory") return std::make_unique<FaultFixture>();
  if (kind == "counting over memory")
    return std::make_unique<SimpleFixture>(
        std::make_unique<CountingObjectStore>(std::make_shared<MemoryObjectStore>(system_clock())));
  if (kind == "s3") return std::make_unique<S3Fixture>("");
  if (kind == "s3, unsigned") return std::make_unique<S3Fixture>("&payload=unsigned");
  if (kind == "retry over fault over memory") return std::make_unique<RetryFixture>();
  throw std::logic_error("no object store is called " + kind);
}

OpContext plain_context() {
  OpContext ctx;
  ctx.clock = &system_clock();
  return ctx;
}

Result<std::string> read_object(ObjectStore& store, const std::string& key) {
  OpContext ctx = plain_context();
  SKERRY_ASSIGN(ObjectInfo info, store.head(ctx, key));
  std::string data(info.size_bytes, '\0');
  SKERRY_TRY(store.get(ctx, key, 0, std::as_writable_bytes(std::span(data))));
  return data;
}

}  // namespace skerry::testing
