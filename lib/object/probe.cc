#include "object/probe.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "io/blocked_signals.h"

namespace skerry {
namespace {

constexpr TimeNs kRateNs = 5 * kSecond;  // of one measurement, at most
constexpr TimeNs kCleanNs = 120 * kSecond;
constexpr uint64_t kChecks = 12, kRates = 8;

/// "" where a check found nothing wrong, else what it found.
using Finding = std::string;

std::string said(const Status& status) {
  return status.ok() ? "it succeeded" : "it said: " + status.error().message();
}

int code_of(const Status& status) { return status.ok() ? 0 : status.error().code(); }

/// What no compression makes smaller.
std::string noise(Random& random, size_t bytes) {
  std::string out(bytes, '\0');
  uint64_t x = random.next() | 1;
  for (size_t at = 0; at < bytes; at += sizeof x) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    std::memcpy(out.data() + at, &x, std::min(sizeof x, bytes - at));
  }
  return out;
}

class Probe {
 public:
  Probe(const OpContext& ctx, ObjectStore& store, std::string prefix, Random& random,
        const StoreProbe& probe)
      : ctx_(ctx), store_(store), prefix_(std::move(prefix)), random_(random), probe_(probe) {}

  Result<uint64_t> run() {
    Status ran = run_all();
    Status cleaned = clean();
    if (!ran.ok()) return std::move(ran).error();
    if (!cleaned.ok() && !(probe_.essentials && told_)) return std::move(cleaned).error();
    return wrong_;
  }

 private:
  Status run_all() {
    // Without this nothing else says anything.
    SKERRY_TRY(put("first", "first"));
    SKERRY_TRY(check("put and get", "nothing that is stored can be trusted", &Probe::whole));
    SKERRY_TRY(check("ranges", "reads would return wrong bytes", &Probe::ranges));
    if (!probe_.essentials) SKERRY_TRY(exactness());
    SKERRY_TRY(check("list", "gc could miss objects, or delete what is used", &Probe::list));
    told_ = wrong_ > 0;
    SKERRY_TRY(conditional_puts());
    const uint64_t before = wrong_;
    SKERRY_TRY(check("delete", "space would not be freed", &Probe::deletion));
    SKERRY_TRY(check("batch delete", "space would not be freed", &Probe::batch));
    told_ |= wrong_ > before;
    if (probe_.essentials) return {};
    SKERRY_TRY(check("odd keys", "choose a prefix of letters, digits and '/'", &Probe::odd_keys));
    if (store_.capabilities().multipart) {
      SKERRY_TRY(
          check("multipart", "objects larger than one put cannot be stored", &Probe::multipart));
    } else {
      lacks("multipart", "not needed: one put stores objects of any size here");
    }
    return probe_.on_rate ? rates() : Status();
  }

  Status exactness() {
    SKERRY_TRY(check("wrong range", "an object cut short would not be noticed", &Probe::past_end));
    SKERRY_TRY(
        check("head", "fsck and gc rely on sizes and times; set the server's clock", &Probe::head));
    SKERRY_TRY(check("absent key", "an object that is lost would not be told from a fault",
                     &Probe::absent));
    return check("overwrite", "the store must show what was put last, at once", &Probe::overwrite);
  }

  Status conditional_puts() {
    constexpr const char* kName = "conditional put";
    constexpr const char* kAdvice = "two volumes that are made at once could take one prefix";
    // A store may know only once it has been asked.
    const bool taken = put("asked", "x", true).ok();
    if (!taken && !store_.capabilities().conditional_put) {
      SKERRY_TRY(going());
      lacks(kName, kAdvice);
      return {};
    }
    return check(kName, kAdvice, &Probe::conditional);
  }

  std::string key(std::string_view name) const { return prefix_ + std::string(name); }

  Status put(std::string_view name, std::string_view data, bool if_absent = false) {
    PutOptions options;
    options.if_absent = if_absent;
    return store_.put(ctx_, key(name), {as_bytes(data)}, options);
  }

  Status get(std::string_view name, uint64_t offset, std::string* out) {
    return store_.get(ctx_, key(name), offset, std::as_writable_bytes(std::span(*out)));
  }

  /// "" if the object is `expected` and no longer.
  Finding holds(std::string_view name, std::string_view expected) {
    auto info = store_.head(ctx_, key(name));
    if (!info.ok()) return "head failed: " + info.error().message();
    if (info->size_bytes != expected.size()) {
      return "head says " + std::to_string(info->size_bytes) + " bytes of " +
             std::to_string(expected.size());
    }
    std::string out(expected.size(), '\0');
    Status read = get(name, 0, &out);
    if (!read.ok()) return "get failed: " + read.error().message();
    return out == expected ? "" : "get returned other bytes than were put";
  }

  Status going() {
    SKERRY_TRY(ctx_.check());
    if (probe_.going && !probe_.going(done_, kChecks + (probe_.on_rate ? kRates : 0))) {
      return Error(ECANCELED, "operation cancelled");
    }
    return {};
  }

  Status check(const char* name, const char* advice, Finding (Probe::*body)()) {
    SKERRY_TRY(going());
    const Finding found = (this->*body)();
    SKERRY_TRY(ctx_.check());  // what was stopped is no verdict
    ++done_;
    if (!found.empty()) ++wrong_;
    probe_.on_check({name, found.empty() ? StoreVerdict::kFine : StoreVerdict::kWrong,
                     found.empty() ? "" : found + "; " + advice});
    return {};
  }

  void lacks(const char* name, const char* advice) {
    ++done_;
    probe_.on_check({name, StoreVerdict::kLacks, advice});
  }

  Finding whole() {
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1} << 20}) {
      if (probe_.essentials && bytes > 1) continue;
      const std::string data = noise(random_, bytes);
      Status stored = put("whole", data);
      if (!stored.ok()) return "put of " + std::to_string(bytes) + " bytes: " + said(stored);
      if (Finding found = holds("whole", data); !found.empty()) return found;
    }
    return "";
  }

  Finding ranges() {
    const std::string data = noise(random_, 100'000);
    if (Status stored = put("ranges", data); !stored.ok()) return said(stored);
    for (const auto& [offset, bytes] :
         {std::pair<size_t, size_t>(0, 1), {99'999, 1}, {77, 65'536}}) {
      std::string out(bytes, '\0');
      Status read = get("ranges", offset, &out);
      if (!read.ok()) return said(read);
      if (out != data.substr(offset, bytes)) return "a range returned other bytes than it names";
    }
    return "";
  }

  Finding past_end() {
    if (Status stored = put("short", "0123456789"); !stored.ok()) return said(stored);
    for (const uint64_t offset : {uint64_t{7}, uint64_t{10}, uint64_t{1000}}) {
      std::string out(4, '\0');
      Status read = get("short", offset, &out);
      if (code_of(read) != EINVAL) {
        return "4 bytes from " + std::to_string(offset) + " of an object of 10: " + said(read);
      }
    }
    return "";
  }

  Finding head() {
    if (Status stored = put("head", "12345"); !stored.ok()) return said(stored);
    auto info = store_.head(ctx_, key("head"));
    if (!info.ok()) return info.error().message();
    if (info->size_bytes != 5) return "the size is " + std::to_string(info->size_bytes) + " of 5";
    const TimeNs off = (info->modified_ns - ctx_.clock->now_ns()) / kSecond;
    if (off > 300 || off < -300) return "its clock is off by " + std::to_string(off) + " s";
    return "";
  }

  Finding absent() {
    std::string out(1, '\0');
    Status read = get("absent", 0, &out);
    if (code_of(read) != ENOENT) return "get: " + said(read);
    auto info = store_.head(ctx_, key("absent"));
    if (info.ok()) return "head: it succeeded";
    return info.error().code() == ENOENT ? "" : "head said: " + info.error().message();
  }

  Finding overwrite() {
    for (int i = 0; i < 10; ++i) {
      const std::string data = "version " + std::to_string(i * 1000);
      if (Status stored = put("overwritten", data); !stored.ok()) return said(stored);
      if (Finding found = holds("overwritten", data); !found.empty()) return found;
    }
    return "";
  }

  /// All keys below `name` in pages of `limit`, without the prefix.
  Result<std::vector<std::string>> listed(std::string_view name, uint32_t limit) {
    std::vector<std::string> keys;
    std::string after;
    while (true) {
      SKERRY_ASSIGN(ObjectPage page, store_.list(ctx_, key(name), after, limit));
      for (const ObjectInfo& object : page.objects) {
        keys.push_back(object.key.substr(std::min(prefix_.size(), object.key.size())));
      }
      if (!page.more) return keys;
      if (page.objects.empty() || page.objects.back().key <= after) {
        return Error(EIO, "a page of the listing does not go on");
      }
      after = page.objects.back().key;
    }
  }

  Finding list() {
    std::vector<std::string> expected;
    for (int i = 0; i < (probe_.essentials ? 1 : 4); ++i) {
      for (const char* form : {"list/a%d", "list/a%d-b", "list/d%d/x", "list/d%d.x", "list/Z%d"}) {
        char name[32];
        std::snprintf(name, sizeof name, form, i);
        expected.emplace_back(name);
        if (Status stored = put(name, "x"); !stored.ok()) return said(stored);
      }
    }
    std::sort(expected.begin(), expected.end());
    for (const uint32_t limit : {1000u, 7u, 3u, 1u}) {
      if (probe_.essentials != (limit == 3) && limit != 1000) continue;
      auto keys = listed("list/", limit);
      if (!keys.ok()) return keys.error().message();
      if (*keys == expected) continue;
      std::vector<std::string> sorted = *keys;
      std::sort(sorted.begin(), sorted.end());
      return "in pages of " + std::to_string(limit) +
             (sorted == expected ? ", keys are not in the order of their bytes"
                                 : ", it gave " + std::to_string(keys->size()) + " keys of " +
                                       std::to_string(expected.size()));
    }
    return "";
  }

  Finding conditional() {
    if (Status stored = put("once", "first", true); !stored.ok()) return said(stored);
    Status again = put("once", "second", true);
    if (code_of(again) != EEXIST) return "a second put of an object that is there: " + said(again);
    if (Finding found = holds("once", "first"); !found.empty()) return found;
    for (int round = 0; round < (probe_.essentials ? 0 : 5); ++round) {
      std::atomic<int> winners = 0;
      const std::string name = "race" + std::to_string(round);
      in_threads(8, [&](uint32_t) {
        if (put(name, "mine", true).ok()) ++winners;
      });
      if (winners != 1) return std::to_string(winners) + " of 8 puts at the same time succeeded";
    }
    return "";
  }

  Finding deletion() {
    if (Status stored = put("deleted", "x"); !stored.ok()) return said(stored);
    for (int i = 0; i < 2; ++i) {
      if (Status removed = store_.remove(ctx_, key("deleted")); !removed.ok()) {
        return (i == 0 ? "" : "of an absent key: ") + said(removed);
      }
    }
    std::string out(1, '\0');
    Status read = get("deleted", 0, &out);
    return code_of(read) == ENOENT ? "" : "a get after it: " + said(read);
  }

  Finding batch() {
    std::vector<std::string> keys;
    for (int i = 0; i < (probe_.essentials ? 3 : 20); ++i) {
      const std::string name = "batch/" + std::to_string(i);
      keys.push_back(key(name));
      if (i % 4 == 0) continue;  // absent ones count as deleted
      if (Status stored = put(name, "x"); !stored.ok()) return said(stored);
    }
    auto outcomes = store_.remove_batch(ctx_, keys);
    if (!outcomes.ok()) return outcomes.error().message();
    for (const DeleteOutcome& outcome : *outcomes) {
      if (outcome.error != 0) return "it could not delete " + outcome.key;
    }
    auto left = listed("batch/", 100);
    if (!left.ok()) return left.error().message();
    return left->empty() ? "" : std::to_string(left->size()) + " objects are still there";
  }

  Finding odd_keys() {
    for (const char* name : {"a b", "a+b", "a%20b", "a&b=c?d#e", "a'b\"c", "<a>", "caf\xc3\xa9",
                             "a:b;c,d@e", "(a)*!~$", ".hidden", "a..b"}) {
      const std::string odd = std::string("odd/") + name;
      Status stored = put(odd, name);
      if (!stored.ok()) return std::string("the key \"") + name + "\": " + said(stored);
      if (Finding found = holds(odd, name); !found.empty()) {
        return std::string("the key \"") + name + "\": " + found;
      }
      auto keys = listed(odd, 10);
      if (!keys.ok()) return keys.error().message();
      if (*keys != std::vector<std::string>{odd}) {
        return std::string("the key \"") + name + "\" is listed otherwise";
      }
    }
    return "";
  }

  Finding multipart() {
    const std::string first =
        noise(random_, std::max<uint64_t>(store_.capabilities().min_part_bytes, size_t{1} << 20));
    const std::string name = key("multipart");
    for (const bool complete : {false, true}) {
      auto upload = store_.start_upload(ctx_, name);
      if (!upload.ok()) return upload.error().message();
      Finding found = parts(name, *upload, first, complete);
      if (!complete || !found.empty()) {
        OpContext own = uncancelled();
        Status aborted = store_.abort_upload(own, name, *upload);
        if (found.empty() && !aborted.ok()) found = "an abort: " + said(aborted);
      }
      if (!found.empty()) return found;
    }
    return holds("multipart", first + "rest");
  }

  Finding parts(const std::string& name, const std::string& upload, const std::string& first,
                bool complete) {
    auto one = store_.put_part(ctx_, name, upload, 1, as_bytes(first));
    if (!one.ok()) return one.error().message();
    auto two = store_.put_part(ctx_, name, upload, 2, as_bytes("rest"));
    if (!two.ok()) return two.error().message();
    if (store_.head(ctx_, name).ok()) return "the object shows before its upload is complete";
    if (!complete) return "";
    Status done = store_.complete_upload(ctx_, name, upload, {*one, *two});
    return done.ok() ? "" : said(done);
  }

  template <typename Body>
  static void in_threads(uint32_t count, const Body& body) {
    std::vector<std::thread> threads;
    threads.reserve(count);
    const auto run = [&body](uint32_t i) {
      try {
        body(i);
      } catch (const std::bad_alloc&) {  // the others go on
      }
    };
    {
      const BlockedSignals blocked;
      try {
        for (uint32_t i = 0; i < count; ++i) threads.emplace_back(run, i);
      } catch (const std::system_error&) {  // with those that there are
      }
    }
    for (std::thread& thread : threads) thread.join();
  }

  Status rates() {
    struct Size {
      uint64_t bytes;
      uint64_t requests;
    };
    for (const Size& size : {Size{4 << 20, 32}, Size{128 << 10, 256}}) {
      const std::string data = noise(random_, size.bytes);
      for (const uint32_t callers : {1u, 16u}) {
        // Each object is put before it is got: a get that is stopped by time has enough of them.
        uint64_t stored = 0;
        SKERRY_TRY(rate("put", data, callers, size.requests, &stored));
        SKERRY_TRY(rate("get", data, callers, size.requests, &stored));
      }
    }
    return {};
  }

  /// `stored`: how many objects there are: set by "put", read by "get".
  Status rate(const char* operation, const std::string& data, uint32_t callers, uint64_t requests,
              uint64_t* stored) {
    SKERRY_TRY(going());
    const bool puts = *operation == 'p';
    std::atomic<uint64_t> next = 0;
    std::mutex mutex;
    std::vector<TimeNs> times;
    Status failure;
    const TimeNs began = ctx_.clock->monotonic_ns();
    in_threads(callers, [&](uint32_t) {
      std::string out(puts ? 0 : data.size(), '\0');
      while (true) {
        const TimeNs before = ctx_.clock->monotonic_ns();
        if (before - began > kRateNs) return;
        const uint64_t i = next++;
        if (i >= requests) return;
        const std::string name =
            "rate/" + std::to_string(data.size()) + "/" + std::to_string(puts ? i : i % *stored);
        Status done = puts ? put(name, data) : get(name, 0, &out);
        if (done.ok() && !puts && out != data) done = Error(EIO, key(name) + ": other bytes");
        const TimeNs took = ctx_.clock->monotonic_ns() - before;
        std::lock_guard lock(mutex);
        times.push_back(took);
        if (done.ok()) continue;
        failure = std::move(done);
        next = requests;
        return;
      }
    });
    const TimeNs elapsed = ctx_.clock->monotonic_ns() - began;
    SKERRY_TRY(ctx_.check());
    if (!failure.ok()) return failure;
    if (times.empty()) return Error(EAGAIN, "no thread or no memory for a request");
    if (puts) *stored = times.size();
    std::sort(times.begin(), times.end());
    const size_t n = times.size();
    ++done_;
    probe_.on_rate({operation, data.size(), callers, n, elapsed, times[n / 2],
                    times[std::min(n - 1, n * 99 / 100)]});
    return {};
  }

  /// For what has to be done also after the call was stopped.
  OpContext uncancelled() const {
    OpContext own = ctx_;
    own.cancel = nullptr;
    own.deadline_ns = ctx_.clock->monotonic_ns() + kCleanNs;
    return own;
  }

  Status clean() {
    const OpContext own = uncancelled();
    const uint32_t most = std::clamp(store_.capabilities().max_batch_delete, 1u, 1000u);
    std::string after;
    while (true) {
      auto page = store_.list(own, prefix_, after, most);
      if (!page.ok()) return left_behind(page.error());
      std::vector<std::string> keys;
      for (ObjectInfo& object : page->objects) keys.push_back(std::move(object.key));
      if (keys.empty()) return {};
      auto outcomes = store_.remove_batch(own, keys);
      if (!outcomes.ok()) return left_behind(outcomes.error());
      for (const DeleteOutcome& outcome : *outcomes) {
        if (outcome.error != 0) return left_behind(Error(outcome.error, "cannot delete it"));
      }
      if (!page->more) return {};
      after = keys.back();
    }
  }

  Error left_behind(const Error& error) const {
    return Error(error.code(), "objects below \"" + prefix_ + "\" in " + store_.describe() +
                                   " may be left: " + error.message());
  }

  const OpContext& ctx_;
  ObjectStore& store_;
  const std::string prefix_;
  Random& random_;
  const StoreProbe& probe_;
  uint64_t done_ = 0, wrong_ = 0;
  bool told_ = false;  // that what was put may stay
};

}  // namespace

Result<uint64_t> probe_store(const OpContext& ctx, ObjectStore& store, std::string prefix,
                             Random& random, const StoreProbe& probe) {
  return Probe(ctx, store, std::move(prefix), random, probe).run();
}

}  // namespace skerry
