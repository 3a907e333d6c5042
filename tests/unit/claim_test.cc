// Which volume a prefix belongs to, over stores that do what they should and others.
#include "object/claim.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <thread>

#include "object/decorators/fault_store.h"
#include "object/memory/memory_store.h"

using namespace skerry;

namespace {

const std::string kMine = "11111111-1111-4111-8111-111111111111";
const std::string kOther = "22222222-2222-4222-8222-222222222222";

enum class Conditions { kKept, kIgnored, kRefused };

/// A store that keeps conditions, passes them over, or says that it knows none.
class Odd final : public FaultObjectStore {
 public:
  Odd(std::shared_ptr<ObjectStore> base, ObjectFaults& faults, Conditions conditions)
      : FaultObjectStore(std::move(base), faults), conditions_(conditions) {}

  ObjectCapabilities capabilities() const override {
    ObjectCapabilities all = FaultObjectStore::capabilities();
    all.conditional_put = conditions_ != Conditions::kRefused;
    return all;
  }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options) override {
    ++puts;
    PutOptions own = options;
    if (own.if_absent && conditions_ == Conditions::kRefused)
      return Error(ENOTSUP, "no such thing");
    if (conditions_ == Conditions::kIgnored) own.if_absent = false;
    return FaultObjectStore::put(ctx, key, pieces, own);
  }

  std::atomic<int> puts{0};

 private:
  const Conditions conditions_;
};

struct OneFault final : ObjectFaults {
  std::string op, key;
  Decision decision{Decision::kFailBefore, EACCES, false};

  Decision before(const char* called, std::string_view of) override {
    return called == op && of.find(key) != of.npos ? decision : Decision();
  }
};

struct Prefix {
  explicit Prefix(Conditions conditions = Conditions::kKept) : store(memory, fault, conditions) {
    ctx.clock = &system_clock();
  }

  Status claim(const std::string& uuid = kMine) {
    return claim_prefix(ctx, store, uuid, system_random(), [this](const StoreCheck& check) {
      std::lock_guard lock(mutex);
      lacks[check.name] = check.advice;
    });
  }
  std::string message(const Status& status) { return status.ok() ? "" : status.error().message(); }
  std::string all() {
    std::string keys;
    auto page = memory->list(ctx, "", "", 100);
    for (const ObjectInfo& object : page->objects) keys += object.key + " ";
    return keys;
  }

  OneFault fault;
  std::shared_ptr<MemoryObjectStore> memory = std::make_shared<MemoryObjectStore>(system_clock());
  Odd store;
  OpContext ctx;
  std::mutex mutex;
  std::map<std::string, std::string> lacks;
};

}  // namespace

TEST_CASE("claim: a prefix has one volume, whatever the store makes of conditions", "[claim]") {
  Prefix p(GENERATE(Conditions::kKept, Conditions::kIgnored, Conditions::kRefused));
  REQUIRE(p.message(p.claim()) == "");
  CHECK(p.all() == "skerry-volume ");
  const int puts = p.store.puts;
  Status refused = p.claim(kOther);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == EEXIST);
  CHECK(p.message(refused).find("holds the data of volume " + kMine) != std::string::npos);
  CHECK(p.store.puts == puts);  // it was looked for first
  CHECK(p.message(p.claim()) == "");
}

TEST_CASE("claim: what the store lacks is told", "[claim]") {
  Prefix kept, ignored(Conditions::kIgnored), refused(Conditions::kRefused);
  REQUIRE(kept.claim().ok());
  CHECK(kept.lacks.empty());
  REQUIRE(ignored.claim().ok());
  CHECK(ignored.lacks.size() == 1);
  CHECK(ignored.lacks.at("conditional put").find("two volumes") != std::string::npos);
  REQUIRE(refused.claim().ok());
  CHECK(refused.lacks.size() == 1);
  CHECK(refused.lacks.contains("conditional put"));
  Prefix kept_all;
  kept_all.fault.op = "remove_batch";
  REQUIRE(kept_all.message(kept_all.claim()) == "");
  CHECK(kept_all.lacks.contains("batch delete"));
  Prefix unlisted;
  unlisted.fault.op = "list";
  REQUIRE(unlisted.message(unlisted.claim()) == "");
  CHECK(unlisted.lacks.contains("list"));
}

TEST_CASE("claim: a store that gives back something else is refused", "[claim]") {
  Prefix p;
  p.fault.op = "get";
  p.fault.key = GENERATE("/whole", "/ranges");
  p.fault.decision = {ObjectFaults::Decision::kCorruptRead};
  Status refused = p.claim();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == EIO);
  CHECK(p.message(refused).find("will not do for a volume") != std::string::npos);
  CHECK(p.all() == "");
}

TEST_CASE("claim: of many at once at most one succeeds", "[claim]") {
  const auto conditions = GENERATE(Conditions::kKept, Conditions::kIgnored, Conditions::kRefused);
  for (int round = 0; round < 20; ++round) {
    Prefix p(conditions);
    std::atomic<int> winners{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::string uuid = kMine;
        uuid.back() = static_cast<char>('a' + t);
        if (p.claim(uuid).ok()) ++winners;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(winners <= 1);
    if (conditions == Conditions::kKept) CHECK(winners == 1);
    CHECK(p.all() == (winners == 1 ? "skerry-volume " : ""));
  }
}

TEST_CASE("claim: one that died in the midst is named", "[claim]") {
  Prefix p(Conditions::kIgnored);
  REQUIRE(p.memory->put(p.ctx, "skerry-claim/" + kOther, {as_bytes(kOther)}).ok());
  Status refused = p.claim();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == EEXIST);
  CHECK(p.message(refused).find("delete the object \"skerry-claim/" + kOther) != std::string::npos);
  REQUIRE(p.memory->remove(p.ctx, "skerry-claim/" + kOther).ok());
  CHECK(p.message(p.claim()) == "");
}
