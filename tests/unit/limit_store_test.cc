// Limits of requests: in flight, in a second, and of bytes.
#include "object/decorators/limit_store.h"

#include <catch2/catch.hpp>
#include <thread>

#include "object/memory/memory_store.h"
#include "support/fake_clock.h"

namespace skerry {
namespace {

/// Heads wait until they are let go, and then say what the test wants.
class Gate {
 public:
  std::shared_ptr<ObjectStore> over(std::shared_ptr<ObjectStore> base);

  std::atomic<int> inside{0}, most{0};
  std::atomic<bool> open{true}, throttles{false};
};

class GateStore final : public ObjectStore {
 public:
  GateStore(std::shared_ptr<ObjectStore> base, Gate& gate) : base_(std::move(base)), gate_(gate) {}
  std::string describe() const override { return base_->describe(); }
  ObjectCapabilities capabilities() const override { return base_->capabilities(); }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options) override {
    return base_->put(ctx, key, pieces, options);
  }
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override {
    return base_->get(ctx, key, offset, out);
  }
  void get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                const RangeDone& done) override {
    gate_.most = std::max(gate_.most.load(), static_cast<int>(ranges.size()));
    for (size_t i = 0; i < ranges.size(); ++i) {
      ranges[i].result = get(ctx, ranges[i].key, ranges[i].offset, ranges[i].out);
      if (gate_.throttles) {
        ranges[i].result = Error(EIO, "slow down").set_retryable().set_throttled();
      }
      done(i);
    }
  }
  Result<ObjectInfo> head(const OpContext&, std::string_view) override {
    const int now = ++gate_.inside;
    for (int seen = gate_.most; now > seen && !gate_.most.compare_exchange_weak(seen, now);) {
    }
    while (!gate_.open) std::this_thread::yield();
    --gate_.inside;
    if (gate_.throttles) return Error(EIO, "slow down").set_retryable().set_throttled();
    return ObjectInfo{};
  }
  Status remove(const OpContext& ctx, std::string_view key) override {
    return base_->remove(ctx, key);
  }
  Result<std::vector<DeleteOutcome>> remove_batch(const OpContext& ctx,
                                                  const std::vector<std::string>& keys) override {
    return base_->remove_batch(ctx, keys);
  }
  Result<ObjectPage> list(const OpContext& ctx, std::string_view prefix, std::string_view after,
                          uint32_t limit) override {
    return base_->list(ctx, prefix, after, limit);
  }
  Result<std::string> start_upload(const OpContext& ctx, std::string_view key,
                                   const PutOptions& options) override {
    return base_->start_upload(ctx, key, options);
  }
  Result<UploadedPart> put_part(const OpContext& ctx, std::string_view key, std::string_view id,
                                uint32_t number, ByteView data) override {
    return base_->put_part(ctx, key, id, number, data);
  }
  Status complete_upload(const OpContext& ctx, std::string_view key, std::string_view id,
                         const std::vector<UploadedPart>& parts) override {
    return base_->complete_upload(ctx, key, id, parts);
  }
  Status abort_upload(const OpContext& ctx, std::string_view key, std::string_view id) override {
    return base_->abort_upload(ctx, key, id);
  }

 private:
  const std::shared_ptr<ObjectStore> base_;
  Gate& gate_;
};

std::shared_ptr<ObjectStore> Gate::over(std::shared_ptr<ObjectStore> base) {
  return std::make_shared<GateStore>(std::move(base), *this);
}

struct LimitFixture {
  explicit LimitFixture(LimitOptions options)
      : store(gate.over(std::make_shared<MemoryObjectStore>(clock)), options) {
    ctx.clock = &clock;
  }
  TimeNs seconds(TimeNs since) const { return (ctx.clock->monotonic_ns() - since) / kSecond; }

  FakeClock clock;
  Gate gate;
  LimitObjectStore store;
  OpContext ctx;
};

TEST_CASE("limits: many ranges go as there is room for them", "[object][limits]") {
  Gate gate;
  FakeClock clock;
  OpContext ctx;
  ctx.clock = &clock;
  auto memory = std::make_shared<MemoryObjectStore>(clock);
  REQUIRE(memory->put(ctx, "k", {as_bytes("0123456789")}).ok());
  LimitObjectStore store(gate.over(memory), {.max_requests = 4});
  std::string out(10, '-');
  std::vector<ObjectRange> ranges;
  for (size_t i = 0; i < out.size(); ++i) {
    ranges.push_back({"k", i, std::as_writable_bytes(std::span(out).subspan(i, 1)), {}});
  }
  std::vector<int> told(ranges.size(), 0);
  const auto done = [&](size_t i) { ++told.at(i); };
  store.get_many(ctx, ranges, done);
  CHECK(out == "0123456789");
  CHECK(gate.most == 4);
  CHECK(told == std::vector<int>(10, 1));
  CHECK(store.current_limit() == 4);

  gate.throttles = true;  // rounds of 4, 2 and 1
  store.get_many(ctx, ranges, done);
  CHECK(told == std::vector<int>(10, 2));
  CHECK(store.current_limit() == 1);
  for (const ObjectRange& range : ranges) CHECK(range.result.error().throttled());

  gate.throttles = false;
  CancelToken token;
  token.cancel();
  OpContext cancelled = ctx;
  cancelled.cancel = &token;
  LimitObjectStore slow(gate.over(memory), {.request_limit = 1});
  store.get_many(ctx, ranges, done);
  slow.get_many(cancelled, ranges, done);  // at once: nobody went before
  slow.get_many(cancelled, ranges, done);
  CHECK(told == std::vector<int>(10, 5));
  for (const ObjectRange& range : ranges) CHECK(range.result.error().code() == ECANCELED);
}

}  // namespace

TEST_CASE("limit store: so many requests in flight and no more", "[object]") {
  LimitFixture f({.max_requests = 3});
  f.gate.open = false;
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] { good += f.store.head(f.ctx, "k").ok(); });
  }
  while (f.gate.inside < 3) std::this_thread::yield();
  CancelToken cancel;
  OpContext impatient = f.ctx;
  impatient.cancel = &cancel;
  cancel.cancel();
  CHECK(f.store.head(impatient, "k").error().code() == ECANCELED);
  impatient.cancel = nullptr;
  impatient.deadline_ns = f.clock.monotonic_ns();
  CHECK(f.store.head(impatient, "k").error().code() == ETIMEDOUT);
  f.gate.open = true;
  for (auto& thread : threads) thread.join();
  CHECK(good == 12);
  CHECK(f.gate.most == 3);
}

TEST_CASE("limit store: a store that has too many gets fewer, and more again", "[object]") {
  LimitFixture f({.max_requests = 16});
  f.gate.throttles = true;
  for (uint32_t limit : {8, 4, 2, 1, 1}) {
    CHECK_FALSE(f.store.head(f.ctx, "k").ok());
    CHECK(f.store.current_limit() == limit);
  }
  f.gate.throttles = false;
  f.gate.open = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { (void)f.store.head(f.ctx, "k"); });
  while (f.gate.inside < 1) std::this_thread::yield();
  f.gate.open = true;
  for (auto& thread : threads) thread.join();
  CHECK(f.store.current_limit() > 1);
  int asked = 0;
  while (f.store.current_limit() < 16 && asked < 1000) {
    CHECK(f.store.head(f.ctx, "k").ok());
    ++asked;
  }
  CHECK(asked > 50);  // one more a round
  CHECK(asked < 200);
  for (int i = 0; i < 100; ++i) CHECK(f.store.head(f.ctx, "k").ok());
  CHECK(f.store.current_limit() == 16);
}

TEST_CASE("limit store: answers of one round lower the limit once", "[object]") {
  LimitFixture f({.max_requests = 16});
  f.gate.throttles = true;
  f.gate.open = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) threads.emplace_back([&] { (void)f.store.head(f.ctx, "k"); });
  while (f.gate.inside < 16) std::this_thread::yield();
  f.gate.open = true;
  for (auto& thread : threads) thread.join();
  CHECK(f.store.current_limit() == 8);
}

TEST_CASE("limit store: requests and bytes in a second", "[object]") {
  const std::string data(1000, 'x');
  std::string out(1000, '.');
  auto put = [&](LimitFixture& f) { return f.store.put(f.ctx, "k", {as_bytes(data)}); };
  auto get = [&](LimitFixture& f) {
    return f.store.get(f.ctx, "k", 0, std::as_writable_bytes(std::span(out)));
  };
  SECTION("requests") {
    LimitFixture f({.request_limit = 10});
    const TimeNs since = f.clock.monotonic_ns();
    for (int i = 0; i < 101; ++i) REQUIRE(f.store.head(f.ctx, "k").ok());
    CHECK(f.seconds(since) == 10);
  }
  SECTION("uploads") {
    LimitFixture f({.upload_limit_bytes = 100});
    const TimeNs since = f.clock.monotonic_ns();
    REQUIRE(put(f).ok());
    CHECK(f.seconds(since) == 0);
    for (int i = 0; i < 3; ++i) REQUIRE(get(f).ok());
    CHECK(f.seconds(since) == 0);
    REQUIRE(put(f).ok());
    CHECK(f.seconds(since) == 10);
    f.ctx.deadline_ns = f.clock.monotonic_ns() + 9 * kSecond;
    CHECK(put(f).error().code() == ETIMEDOUT);
    CHECK(f.seconds(since) == 10);
    f.clock.advance_ns(100 * kSecond);
    f.ctx.deadline_ns = INT64_MAX;
    const TimeNs later = f.clock.monotonic_ns();
    REQUIRE(put(f).ok());
    CHECK(f.seconds(later) == 0);
  }
  SECTION("downloads") {
    LimitFixture f({.download_limit_bytes = 500});
    REQUIRE(put(f).ok());
    const TimeNs since = f.clock.monotonic_ns();
    for (int i = 0; i < 4; ++i) REQUIRE(get(f).ok());
    CHECK(f.seconds(since) == 6);
  }
}

}  // namespace skerry
