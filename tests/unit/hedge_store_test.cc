// Reads that are asked for twice. Which request is slow is decided by the test, not by time.
#include "object/decorators/hedge_store.h"

#include <catch2/catch.hpp>
#include <functional>
#include <mutex>
#include <thread>

#include "object/memory/memory_store.h"
#include "object/s3/s3_store.h"
#include "support/http_server.h"

namespace skerry {
namespace {

constexpr TimeNs kMs = 1'000'000;

/// Gets are the test's; `n` counts them from 0.
class ScriptStore final : public ObjectStore {
 public:
  using Get = std::function<Status(int n, const OpContext& ctx, MutableBytes out)>;
  explicit ScriptStore(Get get) : get_(std::move(get)) {}

  std::string describe() const override { return "script"; }
  ObjectCapabilities capabilities() const override { return {}; }
  Status get(const OpContext& ctx, std::string_view, uint64_t, MutableBytes out) override {
    return get_(asked++, ctx, out);
  }
  Status put(const OpContext&, std::string_view, const std::vector<ByteView>&,
             const PutOptions&) override {
    return Error(ENOTSUP);
  }
  Result<ObjectInfo> head(const OpContext&, std::string_view) override { return Error(ENOTSUP); }
  Status remove(const OpContext&, std::string_view) override { return Error(ENOTSUP); }
  Result<std::vector<DeleteOutcome>> remove_batch(const OpContext&,
                                                  const std::vector<std::string>&) override {
    return Error(ENOTSUP);
  }
  Result<ObjectPage> list(const OpContext&, std::string_view, std::string_view, uint32_t) override {
    return Error(ENOTSUP);
  }
  Result<std::string> start_upload(const OpContext&, std::string_view, const PutOptions&) override {
    return Error(ENOTSUP);
  }
  Result<UploadedPart> put_part(const OpContext&, std::string_view, std::string_view, uint32_t,
                                ByteView) override {
    return Error(ENOTSUP);
  }
  Status complete_upload(const OpContext&, std::string_view, std::string_view,
                         const std::vector<UploadedPart>&) override {
    return Error(ENOTSUP);
  }
  Status abort_upload(const OpContext&, std::string_view, std::string_view) override {
    return Error(ENOTSUP);
  }

  std::atomic<int> asked{0};

 private:
  const Get get_;
};

void fill(MutableBytes out, char with) {
  std::fill(out.begin(), out.end(), static_cast<std::byte>(with));
}

/// As an HTTP request does: until it is given up.
Status never(const OpContext& ctx) {
  for (;;) {
    const uint32_t seen = ctx.cancel == nullptr ? 0 : ctx.cancel->signals();
    SKERRY_TRY(ctx.check());
    if (ctx.cancel == nullptr) {
      std::this_thread::yield();
    } else {
      ctx.cancel->wait(seen, kMs);
    }
  }
}

constexpr int kWarm = 320;  // reads after which latencies are known and ten second reads paid

struct HedgeFixture {
  /// The script's requests are counted after the first reads. A busy machine may make one of those
  /// late, so second requests are too.
  explicit HedgeFixture(ScriptStore::Get script,
                        HedgeOptions options = {.least_delay_ns = 20 * kMs})
      : base(std::make_shared<ScriptStore>(
            [this, script](int, const OpContext& ctx, MutableBytes out) -> Status {
              if (live) return script(asked++, ctx, out);
              fill(out, 'w');
              return {};
            })),
        store(base, system_clock(), options) {
    ctx.clock = &system_clock();
    ctx.deadline_ns = ctx.clock->monotonic_ns() + 60'000 * kMs;
    for (int i = 0; i < kWarm; ++i) REQUIRE(get().ok());
    hedged_before = store.hedges();
    won_before = store.wins();
    live = true;
  }
  uint64_t hedges() const { return store.hedges() - hedged_before; }
  uint64_t wins() const { return store.wins() - won_before; }
  Status get() {
    out.assign(8, '.');
    return store.get(ctx, "k", 0, std::as_writable_bytes(std::span(out)));
  }

  std::atomic<bool> live{false};
  std::atomic<int> asked{0};
  uint64_t hedged_before = 0, won_before = 0;
  std::string out;
  std::shared_ptr<ScriptStore> base;
  HedgeObjectStore store;
  OpContext ctx;
};

}  // namespace

TEST_CASE("hedge store: a second request answers for one that is late", "[object][hedge]") {
  std::atomic<int> given_up{0};
  HedgeFixture f([&](int n, const OpContext& ctx, MutableBytes out) -> Status {
    if (n == 0) {
      fill(out, 'x');  // begun, never ended
      Status status = never(ctx);
      ++given_up;
      return status;
    }
    fill(out, '2');
    return {};
  });
  CancelToken unused;
  if (GENERATE(false, true)) f.ctx.cancel = &unused;
  REQUIRE(f.get().ok());
  CHECK(f.out == "22222222");
  CHECK(given_up == 1);  // before the call returned
  CHECK(f.hedges() == 1);
  CHECK(f.wins() == 1);
  CHECK(f.asked == 2);
}

TEST_CASE("hedge store: the second request is given up where the first answers",
          "[object][hedge]") {
  std::atomic<bool> second{false};
  std::atomic<int> given_up{0};
  HedgeFixture f([&](int n, const OpContext& ctx, MutableBytes out) -> Status {
    if (n == 0) {
      while (!second) std::this_thread::yield();
      fill(out, '1');
      return {};
    }
    second = true;
    Status status = never(ctx);
    fill(out, '2');  // a loser that goes on writes into memory of its own
    ++given_up;
    return status;
  });
  REQUIRE(f.get().ok());
  while (given_up == 0) std::this_thread::yield();
  CHECK(f.out == "11111111");
  CHECK(f.hedges() == 1);
  CHECK(f.wins() == 0);
}

TEST_CASE("hedge store: the first good answer counts", "[object][hedge]") {
  std::atomic<bool> second{false}, first_ended{false};
  int code = 0;
  bool retryable = true, second_fails = false;
  HedgeFixture f([&](int n, const OpContext& ctx, MutableBytes out) -> Status {
    if (n == 0) {
      while (!second) std::this_thread::yield();
      first_ended = true;
      return Error(code, "first").set_retryable(retryable);
    }
    second = true;
    while (!first_ended) std::this_thread::yield();
    if (second_fails) return Error(EIO, "second").set_retryable();
    if (!retryable) return never(ctx);
    fill(out, '2');
    return {};
  });
  SECTION("an error that passes") {
    code = EIO;
    REQUIRE(f.get().ok());
    CHECK(f.out == "22222222");
  }
  SECTION("an error that is final") {
    code = ENOENT;
    retryable = false;
    CHECK(f.get().error().code() == ENOENT);
  }
  SECTION("no good answer") {
    code = EIO;
    second_fails = true;
    CHECK(f.get().error().message() == "first");
  }
}

TEST_CASE("hedge store: the caller may give up", "[object][hedge]") {
  std::atomic<int> inside{0};
  HedgeFixture f([&](int, const OpContext& ctx, MutableBytes) -> Status {
    ++inside;
    Status status = never(ctx);
    --inside;
    return status;
  });
  CancelToken cancel;
  f.ctx.cancel = &cancel;
  std::thread other([&] {
    while (inside < 2) std::this_thread::yield();
    cancel.cancel();
  });
  CHECK(f.get().error().code() == ECANCELED);
  other.join();
  while (inside > 0) std::this_thread::yield();
}

TEST_CASE("hedge store: a bounded share is asked for twice", "[object][hedge]") {
  HedgeFixture f(
      [&](int, const OpContext& ctx, MutableBytes) -> Status {
        OpContext limited = ctx;
        limited.deadline_ns = ctx.clock->monotonic_ns() + 5 * kMs;
        return never(limited);
      },
      {.percent = 1, .least_delay_ns = kMs});
  for (int i = 0; i < 40; ++i) CHECK_FALSE(f.get().ok());
  CHECK(f.hedges() <= 3);
  CHECK(f.store.hedges() >= 1);  // of 360 reads, less those that the first ones took
  HedgeObjectStore none(f.base, system_clock(), {.percent = 0});
  std::string out(8, '.');
  CHECK_FALSE(none.get(f.ctx, "k", 0, std::as_writable_bytes(std::span(out))).ok());
  CHECK(none.hedges() == 0);
}

TEST_CASE("hedge store: nothing is asked twice of a store that has too many", "[object][hedge]") {
  HedgeFixture f([&](int n, const OpContext& ctx, MutableBytes) -> Status {
    if (n == 0) return Error(EIO, "slow down").set_retryable().set_throttled();
    OpContext limited = ctx;
    limited.deadline_ns = ctx.clock->monotonic_ns() + 50 * kMs;
    return never(limited);
  });
  CHECK_FALSE(f.get().ok());
  CHECK_FALSE(f.get().ok());
  CHECK(f.hedges() == 0);
}

TEST_CASE("hedge store: over HTTP, where the first answer never comes", "[object][hedge][s3]") {
  std::atomic<bool> silent{false};
  HttpServer server([&](const HttpServer::Request&) {
    return HttpServer::Answer{
        HttpServer::whole("206 x", "Content-Range: bytes 0-7/8\r\n", "12345678"), false,
        silent.exchange(false) ? 60'000 : 0};
  });
  auto location = s3::parse_location("s3://bucket?endpoint=" + server.url(),
                                     [](const char*) -> const char* { return nullptr; });
  HedgeObjectStore store(std::make_shared<S3ObjectStore>(
                             *location, s3::Credentials{"key", "secret", ""}, system_clock()),
                         system_clock(), {.least_delay_ns = 20 * kMs});
  OpContext ctx;
  ctx.clock = &system_clock();
  std::string out(8, '.');
  auto bytes = std::as_writable_bytes(std::span(out));
  for (int i = 0; i < kWarm; ++i) REQUIRE(store.get(ctx, "k", 0, bytes).ok());
  const uint64_t before = store.wins();
  silent = true;
  out.assign(8, '.');
  REQUIRE(store.get(ctx, "k", 0, bytes).ok());
  CHECK(out == "12345678");
  CHECK(store.wins() == before + 1);
}

}  // namespace skerry
