#include "conformance/object_store_fixture.h"

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <utility>

#include "object/decorators/counting_store.h"
#include "object/decorators/fault_store.h"
#include "object/decorators/framed_store.h"
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

/// Every object framed, over a store of another kind.
class FramedFixture final : public ObjectStoreFixture {
 public:
  FramedFixture(std::unique_ptr<ObjectStoreFixture> base, const char* compression, bool encrypted)
      : base_(std::move(base)) {
    FramedOptions options;
    options.frame_bytes = FrameHeader::kMinFrameBytes;
    options.compression = Compression::parse(compression).value();
    if (encrypted) {
      auto keys = std::make_shared<KeyRing>();
      keys->volume = "conformance";
      keys->current = 1;
      keys->data_keys[1] = SecretKey::random().value();
      options.keys = std::move(keys);
    }
    const StoredAs as = encrypted ? StoredAs::kEncrypted : StoredAs::kFramed;
    // The fixture keeps the store below.
    std::shared_ptr<ObjectStore> below(std::shared_ptr<ObjectStore>(), &base_->store());
    store_ = std::make_unique<FramedObjectStore>(
        std::move(below), [as](std::string_view) { return as; }, std::move(options));
  }
  ObjectStore& store() override { return *store_; }
  bool takes_any_bytes() const override { return base_->takes_any_bytes(); }
  bool lists_sizes_put() const override { return false; }
  bool replaces_under_readers() const override { return false; }

 private:
  const std::unique_ptr<ObjectStoreFixture> base_;
  std::unique_ptr<ObjectStore> store_;
};

struct FramedKind {
  const char* name;
  const char* base;
  const char* compression;
  bool encrypted;
};
constexpr FramedKind kFramedKinds[] = {
    {"encrypted over memory", "memory", "none", true},
    {"encrypted over memory that gets together", "memory that gets together", "none", true},
    {"encrypted over local", "local", "none", true},
    {"lz4 over memory", "memory", "lz4", false},
    {"zstd over local", "local", "zstd", false},
    {"zstd over memory that gets together", "memory that gets together", "zstd", false},
    {"zstd, encrypted over memory", "memory", "zstd:3", true},
    {"lz4, encrypted over local", "local", "lz4", true},
    {"zstd, encrypted over retry", "retry over fault over memory", "zstd", true},
};
constexpr FramedKind kFramedS3 = {"zstd, encrypted over s3", "s3", "zstd", true};

std::unique_ptr<ObjectStoreFixture> make_framed_fixture(const FramedKind& kind) {
  return std::make_unique<FramedFixture>(make_object_store_fixture(kind.base), kind.compression,
                                         kind.encrypted);
}

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
  for (const FramedKind& kind : kFramedKinds) kinds.emplace_back(kind.name);
  if (::getenv("SKERRY_TEST_S3") != nullptr) {
    kinds.insert(kinds.end(), {"s3", "s3, unsigned", kFramedS3.name});
  }
  return kinds;
}

std::unique_ptr<ObjectStoreFixture> make_object_store_fixture(const std::string& kind) {
  if (kind == "memory")
    return std::make_unique<SimpleFixture>(std::make_unique<MemoryObjectStore>(system_clock()));
  if (kind == "memory that gets together") {
    return std::make_unique<SimpleFixture>(
        std::make_unique<MemoryObjectStore>(system_clock(), true));
  }
  for (const FramedKind& framed : kFramedKinds) {
    if (kind == framed.name) return make_framed_fixture(framed);
  }
  if (kind == kFramedS3.name) return make_framed_fixture(kFramedS3);
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
