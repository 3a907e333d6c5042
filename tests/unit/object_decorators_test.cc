#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "object/decorators/counting_store.h"
#include "object/decorators/fault_store.h"
#include "object/decorators/retry_store.h"
#include "object/memory/memory_store.h"

using namespace skerry;

namespace {

using Decision = ObjectFaults::Decision;

class FakeClock final : public Clock {
 public:
  TimeNs now_ns() override { return now_; }
  TimeNs monotonic_ns() override { return now_; }
  void sleep_ns(TimeNs duration) override {
    now_ += duration;
    sleeps_.push_back(duration);
  }
  std::vector<TimeNs> sleeps_;

 private:
  TimeNs now_ = 1'000'000'000;
};

class LongestFirstPause final : public Random {
 public:
  uint64_t next() override { return 49'999'999; }
};

/// Follows a list of decisions, then passes.
class Script final : public ObjectFaults {
 public:
  Decision before(const char* op, std::string_view) override {
    ops.emplace_back(op);
    if (ops.size() > decisions.size()) return {};
    return decisions[ops.size() - 1];
  }
  std::vector<Decision> decisions;
  std::vector<std::string> ops;
};

struct Stack {
  FakeClock clock;
  LongestFirstPause random;
  Script script;
  std::shared_ptr<MemoryObjectStore> memory = std::make_shared<MemoryObjectStore>(clock);
  std::shared_ptr<FaultObjectStore> faulty = std::make_shared<FaultObjectStore>(memory, script);
  RetryObjectStore retry{faulty, random};
  OpContext ctx = context();

  OpContext context() {
    OpContext c;
    c.clock = &clock;
    return c;
  }
  Status put(ObjectStore& store, const std::string& data, bool if_absent = false) {
    PutOptions options;
    options.if_absent = if_absent;
    return store.put(ctx, "k", {as_bytes(data)}, options);
  }
  std::string stored() {
    auto info = memory->head(ctx, "k");
    if (!info.ok()) return "(none)";
    std::string data(info->size_bytes, '\0');
    if (!memory->get(ctx, "k", 0, std::as_writable_bytes(std::span(data))).ok()) return "(error)";
    return data;
  }
};

const Decision kBefore{Decision::kFailBefore, EIO, true};
const Decision kAfter{Decision::kFailAfter, ETIMEDOUT, true};

}  // namespace

TEST_CASE("fault store: before, after and corrupt do what they say", "[object]") {
  Stack s;
  s.script.decisions = {kBefore, kAfter, {Decision::kCorruptRead}, kAfter};
  Status before = s.put(*s.faulty, "data");
  REQUIRE_FALSE(before.ok());
  CHECK(before.error().code() == EIO);
  CHECK(before.error().retryable());
  CHECK_FALSE(before.error().maybe_applied());
  CHECK(s.stored() == "(none)");
  Status after = s.put(*s.faulty, "data");
  REQUIRE_FALSE(after.ok());
  CHECK(after.error().code() == ETIMEDOUT);
  CHECK(after.error().maybe_applied());
  CHECK(s.stored() == "data");
  std::string out(4, '\0');
  auto bytes = std::as_writable_bytes(std::span(out));
  CHECK(s.faulty->get(s.ctx, "k", 0, bytes).ok());
  CHECK(out != "data");
  Status lost_read = s.faulty->get(s.ctx, "k", 0, bytes);
  REQUIRE_FALSE(lost_read.ok());
  CHECK_FALSE(lost_read.error().maybe_applied());
  CHECK(s.faulty->get(s.ctx, "k", 0, bytes).ok());
  CHECK(out == "data");
}

TEST_CASE("fault store: a loop fails each call in turn and ends", "[object]") {
  uint64_t n = 0;
  for (;; n++) {
    REQUIRE(n < 100);
    Stack s;
    FailNthCall fault(n, kBefore);
    FaultObjectStore store(s.memory, fault);
    bool all = s.put(store, "x").ok() && store.head(s.ctx, "k").ok() &&
               store.list(s.ctx, "", "", 10).ok() && store.remove(s.ctx, "k").ok();
    CHECK(all == !fault.fired());
    if (!fault.fired()) break;
  }
  CHECK(n == 4);
}

TEST_CASE("counting store: requests and bytes by operation", "[object]") {
  Stack s;
  CountingObjectStore store(s.faulty);
  std::string out(3, '\0');
  auto bytes = std::as_writable_bytes(std::span(out));
  REQUIRE(store.put(s.ctx, "k", {as_bytes("12345"), as_bytes("67")}).ok());
  REQUIRE(store.get(s.ctx, "k", 1, bytes).ok());
  CHECK_FALSE(store.get(s.ctx, "k", 6, bytes).ok());
  CHECK_FALSE(store.head(s.ctx, "absent").ok());
  auto upload = store.start_upload(s.ctx, "m").value();
  auto part = store.put_part(s.ctx, "m", upload, 1, as_bytes("abc")).value();
  REQUIRE(store.complete_upload(s.ctx, "m", upload, {part}).ok());
  REQUIRE(store.list(s.ctx, "", "", 10).ok());
  REQUIRE(store.remove(s.ctx, "k").ok());
  REQUIRE(store.remove_batch(s.ctx, {"m", "n"}).ok());
  ObjectCounters c = store.counters();
  CHECK(c.puts == 4);
  CHECK(c.gets == 2);
  CHECK(c.heads == 1);
  CHECK(c.deletes == 2);
  CHECK(c.lists == 1);
  CHECK(c.put_bytes == 10);
  CHECK(c.get_bytes == 3);
  CHECK(c.errors == 1);
}

TEST_CASE("retry store: what fails for a while succeeds, after growing pauses", "[object]") {
  Stack s;
  s.script.decisions = {kBefore, kAfter};
  REQUIRE(s.put(s.retry, "data").ok());
  CHECK(s.stored() == "data");
  REQUIRE(s.clock.sleeps_.size() == 2);
  CHECK(s.clock.sleeps_[0] < 50'000'000);
  CHECK(s.clock.sleeps_[1] < 100'000'000);
}

TEST_CASE("retry store: a get in steps goes on where it failed", "[object]") {
  Stack s;
  REQUIRE(s.put(*s.memory, "0123456789").ok());
  s.script.decisions = {{}, {}, kBefore};  // its third step
  CountingObjectStore counting(
      std::shared_ptr<ObjectStore>(std::shared_ptr<ObjectStore>(), &s.retry));
  std::string buffer(3, '\0'), taken;
  auto take = [&](MutableBytes range) -> Status {
    taken += as_string_view(range);
    return {};
  };
  MutableBytes memory = std::as_writable_bytes(std::span(buffer));
  REQUIRE(counting.get_in_steps(s.ctx, "k", 0, 10, 3, memory, take).ok());
  CHECK(taken == "0123456789");
  CHECK(s.script.ops.size() == 5);
  CHECK(s.clock.sleeps_.size() == 1);
  CHECK(counting.counters().gets == 1);
  CHECK(counting.counters().get_bytes == 10);

  auto refuse = [&](MutableBytes) -> Status { return Error(EIO, "not this one"); };
  CHECK(counting.get_in_steps(s.ctx, "k", 0, 10, 3, memory, refuse).error().message() ==
        "not this one");
  CHECK(s.script.ops.size() == 6);
}

TEST_CASE("retry store: a spent budget ends retries, successes fill it", "[object]") {
  Stack s;
  RetryObjectStore store(s.faulty, s.random, {.max_attempts = 3, .budget = 12});
  s.script.decisions = {kBefore, kBefore, kBefore, kBefore};
  CHECK_FALSE(s.put(store, "data").ok());  // 10 of 12
  CHECK(s.script.ops.size() == 3);
  CHECK_FALSE(s.put(store, "data").ok());
  CHECK(s.script.ops.size() == 4);
  for (int i = 0; i < 3; i++) CHECK(s.put(store, "data").ok());  // 5
  const size_t before = s.script.ops.size();
  s.script.decisions.resize(before);
  s.script.decisions.push_back(kBefore);
  CHECK(s.put(store, "data").ok());
  CHECK(s.script.ops.size() == before + 2);
  // What a repetition that succeeded cost is there again; a time-out costs twice that.
  s.script.decisions.resize(before + 2);
  s.script.decisions.push_back({Decision::kFailBefore, ETIMEDOUT, true});
  CHECK_FALSE(s.put(store, "data").ok());
  CHECK(s.script.ops.size() == before + 3);
  s.script.decisions.resize(before + 3);
  s.script.decisions.push_back(kBefore);
  CHECK(s.put(store, "data").ok());
}

TEST_CASE("retry store: attempts are bounded, and the error says what may have happened",
          "[object]") {
  Stack s;
  s.script.decisions = {kAfter, kBefore, kBefore, kBefore};
  Status status = s.put(s.retry, "data");
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code() == EIO);
  CHECK(status.error().maybe_applied());
  CHECK(s.script.ops.size() == 3);
}

TEST_CASE("retry store: what another try cannot help is not tried again", "[object]") {
  Stack s;
  const int code = GENERATE(EACCES, EIO);
  s.script.decisions = {{Decision::kFailBefore, code, false}};
  CHECK(s.put(s.retry, "data").error().code() == code);
  CHECK(s.retry.head(s.ctx, "k").error().code() == ENOENT);
  CHECK(s.script.ops.size() == 2);
  CHECK(s.clock.sleeps_.empty());
}

TEST_CASE("retry store: no pause reaches past the deadline", "[object]") {
  Stack s;
  s.script.decisions = {kBefore, kBefore, kBefore};
  s.ctx.deadline_ns = s.clock.monotonic_ns() + 60'000'000;
  CHECK(s.put(s.retry, "data").error().code() == EIO);
  CHECK(s.script.ops.size() == 2);
  CHECK(s.clock.monotonic_ns() < s.ctx.deadline_ns);
}

TEST_CASE("retry store: a conditional put whose answer was lost is recognised", "[object]") {
  Stack s;
  s.script.decisions = {kAfter};
  REQUIRE(s.put(s.retry, "mine", true).ok());
  CHECK(s.script.ops == std::vector<std::string>{"put", "head", "get"});
  CHECK(s.stored() == "mine");
}

TEST_CASE("retry store: a conditional put never wins over another's object", "[object]") {
  for (const char* theirs : {"longer", "them"}) {  // of another size, and of the same
    Stack s;
    // The answer is lost and the put was not applied, because their object came first.
    struct LoseFirst final : ObjectFaults {
      explicit LoseFirst(Stack& stack, const char* data) : s(stack), theirs(data) {}
      Decision before(const char* op, std::string_view) override {
        if (std::string(op) != "put" || done) return {};
        done = true;
        if (!s.put(*s.memory, theirs, true).ok()) return {};
        return {Decision::kFailBefore, ETIMEDOUT, true};
      }
      Stack& s;
      const char* theirs;
      bool done = false;
    } faults(s, theirs);
    RetryObjectStore retry(std::make_shared<FaultObjectStore>(s.memory, faults), s.random);
    CHECK(s.put(retry, "mine", true).error().code() == EEXIST);
    CHECK(s.stored() == theirs);
  }
  Stack s;
  REQUIRE(s.put(*s.memory, "mine", true).ok());
  CHECK(s.put(s.retry, "mine", true).error().code() == EEXIST);
}

TEST_CASE("retry store: a conditional put that cannot be verified stays uncertain", "[object]") {
  Stack s;
  s.script.decisions = {kAfter, kBefore, kBefore, kBefore};
  Status status = s.put(s.retry, "mine", true);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().maybe_applied());
  CHECK(status.error().code() == ETIMEDOUT);
}

TEST_CASE("retry store: a completed upload whose answer was lost is recognised", "[object]") {
  Stack s;
  auto upload = s.retry.start_upload(s.ctx, "k").value();
  auto part = s.retry.put_part(s.ctx, "k", upload, 1, as_bytes("part")).value();
  s.script.ops.clear();
  s.script.decisions = {kAfter};
  CHECK(s.retry.complete_upload(s.ctx, "k", upload, {part}).ok());
  CHECK(s.stored() == "part");
  CHECK_FALSE(s.retry.complete_upload(s.ctx, "k", upload, {part}).ok());
}

TEST_CASE("many ranges: faults meet each, and only what failed is asked for again", "[object]") {
  Stack s;
  REQUIRE(s.put(*s.memory, "0123456789").ok());
  std::vector<std::string> outs(6, std::string(2, '.'));
  std::vector<ObjectRange> ranges;
  for (size_t i = 0; i < 5; ++i) {
    ranges.push_back({"k", 2 * i, std::as_writable_bytes(std::span(outs[i])), {}});
  }
  ranges.push_back({"absent", 0, std::as_writable_bytes(std::span(outs[5])), {}});
  std::vector<int> told(ranges.size(), 0);
  auto tell = [&](size_t i) { ++told[i]; };

  SECTION("without retries each has its own") {
    s.script.decisions = {{}, kBefore, {Decision::kCorruptRead}, kAfter};
    s.faulty->get_many(s.ctx, ranges, tell);
    CHECK(ranges[0].result.ok());
    CHECK(ranges[1].result.error().code() == EIO);
    CHECK(outs[1] == "..");
    CHECK(ranges[2].result.ok());
    CHECK(outs[2] != "45");
    CHECK(ranges[3].result.error().code() == ETIMEDOUT);
    CHECK_FALSE(ranges[3].result.error().maybe_applied());
    CHECK(outs[4] == "89");
    CHECK(ranges[5].result.error().code() == ENOENT);
    CHECK(s.script.ops.size() == 6);
  }
  SECTION("with retries all succeed, after growing pauses") {
    s.script.decisions = {{}, kBefore, {}, kAfter, {}, {}, kBefore};
    CountingObjectStore counting(
        std::shared_ptr<ObjectStore>(std::shared_ptr<ObjectStore>(), &s.retry));
    counting.get_many(s.ctx, ranges, tell);
    for (size_t i = 0; i < 5; ++i) CHECK(ranges[i].result.ok());
    CHECK(outs[0] + outs[1] + outs[2] + outs[3] + outs[4] == "0123456789");
    CHECK(ranges[5].result.error().code() == ENOENT);
    CHECK(s.script.ops.size() == 9);  // 6, then 2, then 1
    CHECK(s.clock.sleeps_.size() == 2);
    CHECK(counting.counters().gets == 6);
    CHECK(counting.counters().get_bytes == 10);
    CHECK(counting.counters().errors == 0);
  }
  SECTION("attempts are bounded") {
    s.script.decisions.assign(100, kBefore);
    s.retry.get_many(s.ctx, ranges, tell);
    for (const ObjectRange& range : ranges) CHECK(range.result.error().code() == EIO);
    CHECK(s.script.ops.size() == 18);
  }
  CHECK(told == std::vector<int>(ranges.size(), 1));
}
