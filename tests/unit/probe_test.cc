#include "object/probe.h"

#include <catch2/catch.hpp>
#include <map>
#include <memory>

#include "object/decorators/fault_store.h"
#include "object/memory/memory_store.h"

using namespace skerry;

namespace {

/// One kind of call on one kind of key goes wrong.
struct Fault final : ObjectFaults {
  std::string op, key;
  Decision decision;

  Decision before(const char* called, std::string_view of) override {
    return called == op && of.find(key) != of.npos ? decision : Decision();
  }
};

struct Probed {
  Fault fault;
  std::shared_ptr<MemoryObjectStore> memory = std::make_shared<MemoryObjectStore>(system_clock());
  FaultObjectStore store{memory, fault};
  OpContext ctx;
  std::map<std::string, StoreCheck> checks;
  size_t rates = 0;
  StoreProbe probe;

  Probed() {
    ctx.clock = &system_clock();
    probe.on_check = [this](const StoreCheck& check) { checks[check.name] = check; };
    REQUIRE(memory->put(ctx, "another's", {as_bytes("x")}).ok());
  }

  Result<uint64_t> run() { return probe_store(ctx, store, "own/", system_random(), probe); }

  bool only_anothers_is_left() {
    auto page = memory->list(ctx, "", "", 100);
    return page.ok() && page->objects.size() == 1 && page->objects[0].key == "another's";
  }
};

}  // namespace

TEST_CASE("probe: a store that does what it should", "[probe]") {
  Probed p;
  p.probe.on_rate = [&](const StoreRate& rate) {
    ++p.rates;
    CHECK(rate.requests > 0);
    CHECK(rate.median_ns <= rate.p99_ns);
  };
  auto wrong = p.run();
  REQUIRE(wrong.ok());
  CHECK(*wrong == 0);
  CHECK(p.checks.size() == 12);
  for (const auto& [name, check] : p.checks) CHECK(check.verdict != StoreVerdict::kWrong);
  CHECK(p.rates == 8);
  CHECK(p.only_anothers_is_left());
}

TEST_CASE("probe: what a store does wrong is told by that check alone", "[probe]") {
  using Decision = ObjectFaults::Decision;
  struct Case {
    const char *op, *key, *check;
    Decision decision;
  };
  const Case cases[] = {
      {"get", "/whole", "put and get", {Decision::kCorruptRead}},
      {"get", "/ranges", "ranges", {Decision::kCorruptRead}},
      {"get", "/short", "wrong range", {Decision::kFailBefore, EIO, false}},
      {"head", "/head", "head", {Decision::kFailBefore, EIO, false}},
      {"head", "/absent", "absent key", {Decision::kFailBefore, EACCES, false}},
      {"get", "/overwritten", "overwrite", {Decision::kCorruptRead}},
      {"list", "/list", "list", {Decision::kFailBefore, EIO, false}},
      {"put", "/race", "conditional put", {Decision::kFailBefore, EIO, false}},
      {"remove", "/deleted", "delete", {Decision::kFailBefore, EIO, false}},
      {"remove_batch", "/batch/0", "batch delete", {Decision::kFailBefore, EIO, false}},
      {"put", "caf", "odd keys", {Decision::kFailBefore, EINVAL, false}},
  };
  for (const Case& c : cases) {
    INFO(c.check);
    Probed p;
    p.fault.op = c.op;
    p.fault.key = c.key;
    p.fault.decision = c.decision;
    auto wrong = p.run();
    REQUIRE(wrong.ok());
    CHECK(*wrong == 1);
    for (const auto& [name, check] : p.checks) {
      CHECK((check.verdict == StoreVerdict::kWrong) == (name == c.check));
      CHECK((check.advice.empty()) == (check.verdict == StoreVerdict::kFine));
    }
    CHECK(p.only_anothers_is_left());
  }
}

TEST_CASE("probe: stopped at any step, it leaves nothing", "[probe]") {
  for (uint64_t step = 0; step < 12; ++step) {
    Probed p;
    CancelToken cancel;
    p.ctx.cancel = &cancel;
    p.probe.going = [&](uint64_t done, uint64_t) {
      if (step % 2 == 0) return done < step;
      if (done == step) cancel.cancel();
      return true;
    };
    auto stopped = p.run();
    p.ctx.cancel = nullptr;
    REQUIRE_FALSE(stopped.ok());
    CHECK(stopped.error().code() == ECANCELED);
    CHECK(p.checks.size() == step);
    CHECK(p.only_anothers_is_left());
  }
}

TEST_CASE("probe: a store that cannot be used, or emptied, is an error", "[probe]") {
  Probed p;
  p.fault.op = "put";
  p.fault.decision = {ObjectFaults::Decision::kFailBefore, EACCES, false};
  auto refused = p.run();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == EACCES);
  CHECK(p.checks.empty());

  p.fault.op = "remove_batch";
  auto left = p.run();
  REQUIRE_FALSE(left.ok());
  CHECK(left.error().message().find("objects below \"own/\"") != std::string::npos);
}
