#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "conformance/object_store_fixture.h"

using namespace skerry;
using namespace skerry::testing;

namespace {

/// The store under test, for the kind that Catch generates.
struct Subject {
  std::string kind = GENERATE(from_range(object_store_kinds()));
  std::unique_ptr<ObjectStoreFixture> fixture = make_object_store_fixture(kind);
  ObjectStore& store = fixture->store();
  OpContext ctx = plain_context();

  Status put(const std::string& key, std::string_view data, bool if_absent = false) {
    PutOptions options;
    options.if_absent = if_absent;
    return store.put(ctx, key, {as_bytes(data)}, options);
  }
};

template <typename T>
int code_of(const Result<T>& result) {
  return result.ok() ? 0 : const_cast<Result<T>&>(result).error().code();
}

std::string sentence_of(Status status) { return status.ok() ? "" : status.error().message(); }

MutableBytes writable(std::string& s) { return std::as_writable_bytes(std::span(s)); }

std::vector<std::string> list_all(ObjectStore& store, const std::string& prefix,
                                  std::string start_after, uint32_t limit) {
  std::vector<std::string> keys;
  while (true) {
    auto page = store.list(plain_context(), prefix, start_after, limit);
    REQUIRE(page.ok());
    REQUIRE(page->objects.size() <= limit);
    for (const auto& object : page->objects) keys.push_back(object.key);
    if (!page->more) return keys;
    REQUIRE_FALSE(page->objects.empty());
    start_after = keys.back();
  }
}

}  // namespace

TEST_CASE("object store: what was put is read back", "[object]") {
  Subject s;
  INFO(s.kind);
  std::string a = "hello ", b = "object ", c = "world";
  REQUIRE(sentence_of(s.store.put(s.ctx, "chunks/00/1",
                                  {as_bytes(a), ByteView(), as_bytes(b), as_bytes(c)})) == "");
  CHECK(read_object(s.store, "chunks/00/1").value() == "hello object world");
  auto info = s.store.head(s.ctx, "chunks/00/1");
  REQUIRE(info.ok());
  CHECK(info->key == "chunks/00/1");
  CHECK(info->size_bytes == 18);
  CHECK(std::abs(info->modified_ns - system_clock().now_ns()) < TimeNs{60} * 1'000'000'000);

  REQUIRE(s.put("chunks/00/1", "replaced").ok());
  CHECK(read_object(s.store, "chunks/00/1").value() == "replaced");
}

TEST_CASE("object store: ranges are exact or EINVAL", "[object]") {
  Subject s;
  INFO(s.kind);
  REQUIRE(s.put("k", "0123456789").ok());
  std::string out(4, '\0');
  REQUIRE(s.store.get(s.ctx, "k", 3, writable(out)).ok());
  CHECK(out == "3456");
  REQUIRE(s.store.get(s.ctx, "k", 6, writable(out)).ok());
  CHECK(out == "6789");
  CHECK(code_of(s.store.get(s.ctx, "k", 7, writable(out))) == EINVAL);
  CHECK(code_of(s.store.get(s.ctx, "k", 11, writable(out))) == EINVAL);
  CHECK(code_of(s.store.get(s.ctx, "k", UINT64_MAX - 1, writable(out))) == EINVAL);
  CHECK(s.store.get(s.ctx, "k", 10, MutableBytes()).ok());
}

TEST_CASE("object store: a get in steps", "[object]") {
  Subject s;
  INFO(s.kind);
  REQUIRE(s.put("k", "0123456789").ok());
  const size_t memory = GENERATE(3, 4, 7, 64);  // of the buffer
  std::string buffer(memory, '\0');
  std::vector<std::string> taken;
  auto in_steps = [&](uint64_t offset, uint64_t length) {
    taken.clear();
    return s.store.get_in_steps(s.ctx, "k", offset, length, 3, writable(buffer),
                                [&](MutableBytes range) -> Status {
                                  taken.emplace_back(as_string_view(range));
                                  range[0] = std::byte{'x'};
                                  return {};
                                });
  };
  using Ranges = std::vector<std::string>;
  REQUIRE(in_steps(2, 8).ok());
  CHECK(taken == Ranges{"234", "567", "89"});
  REQUIRE(in_steps(1, 3).ok());
  CHECK(taken == Ranges{"123"});
  REQUIRE(in_steps(4, 0).ok());
  CHECK(taken.empty());
  CHECK(code_of(in_steps(5, 6)) == EINVAL);
  CHECK((taken.empty() || taken == Ranges{"567"}));
  int calls = 0;
  auto refuses = [&](MutableBytes) -> Status {
    return ++calls == 2 ? Status(Error(EIO, "not this one")) : Status();
  };
  CHECK(sentence_of(s.store.get_in_steps(s.ctx, "k", 0, 10, 3, writable(buffer), refuses)) ==
        "not this one");
  CHECK(calls == 2);
}

TEST_CASE("object store: many ranges at once are each as one get", "[object]") {
  Subject s;
  INFO(s.kind);
  std::string data(300000, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 % 251);
  REQUIRE(s.put("a", data).ok());
  REQUIRE(s.put("b", "0123456789").ok());
  struct Case {
    std::string key;
    uint64_t offset;
    size_t length;
    int error;
  };
  std::vector<Case> cases = {{"b", 0, 10, 0},
                             {"b", 9, 1, 0},
                             {"b", 9, 2, EINVAL},
                             {"b", 11, 1, EINVAL},
                             {"absent", 0, 1, ENOENT},
                             {"b", 3, 0, 0},
                             {"b", UINT64_MAX - 1, 4, EINVAL}};
  for (size_t i = 0; i < 60; ++i) cases.push_back({"a", i * 4001, 20000 + i, 0});
  std::vector<std::string> outs;
  std::vector<ObjectRange> ranges;
  for (const Case& c : cases) outs.emplace_back(c.length, '.');
  for (size_t i = 0; i < cases.size(); ++i) {
    ranges.push_back({cases[i].key, cases[i].offset, writable(outs[i]), Error(EIO, "not told")});
  }
  std::vector<int> told(cases.size(), 0);
  const auto caller = std::this_thread::get_id();
  s.store.get_many(s.ctx, ranges, [&](size_t i) {
    REQUIRE(std::this_thread::get_id() == caller);
    ++told[i];
    CHECK(code_of(ranges[i].result) == cases[i].error);
    if (!ranges[i].result.ok() || cases[i].length == 0) return;
    const std::string whole = cases[i].key == "a" ? data : "0123456789";
    CHECK(outs[i] == whole.substr(cases[i].offset, cases[i].length));
  });
  CHECK(told == std::vector<int>(cases.size(), 1));
  s.store.get_many(s.ctx, {}, [&](size_t) { FAIL("nothing was asked for"); });
}

TEST_CASE("object store: many ranges of a call that was given up are errors", "[object]") {
  Subject s;
  INFO(s.kind);
  REQUIRE(s.put("k", "0123456789").ok());
  CancelToken cancel;
  cancel.cancel();
  s.ctx.cancel = &cancel;
  std::vector<std::string> outs(20, std::string(10, '.'));
  std::vector<ObjectRange> ranges;
  for (std::string& out : outs) ranges.push_back({"k", 0, writable(out), {}});
  size_t told = 0;
  s.store.get_many(s.ctx, ranges, [&](size_t i) {
    ++told;
    CHECK(code_of(ranges[i].result) == ECANCELED);
  });
  CHECK(told == ranges.size());
}

TEST_CASE("object store: an absent key is ENOENT, and removing it succeeds", "[object]") {
  Subject s;
  INFO(s.kind);
  REQUIRE(s.put("dir/there", "x").ok());
  std::string out(1, '\0');
  for (const char* key : {"absent", "dir", "dir/absent", "absent/deep/er", "dir/there/below"}) {
    INFO(key);
    CHECK(code_of(s.store.get(s.ctx, key, 0, writable(out))) == ENOENT);
    CHECK(code_of(s.store.head(s.ctx, key)) == ENOENT);
    CHECK(sentence_of(s.store.remove(s.ctx, key)) == "");
  }
  CHECK(read_object(s.store, "dir/there").ok());
  REQUIRE(s.store.remove(s.ctx, "dir/there").ok());
  CHECK(code_of(s.store.get(s.ctx, "dir/there", 0, writable(out))) == ENOENT);
  CHECK(s.store.remove(s.ctx, "dir/there").ok());
}

TEST_CASE("object store: an object that was read and removed is gone", "[object]") {
  Subject s;
  INFO(s.kind);
  for (int i = 0; i < 3; i++) {
    REQUIRE(s.put("k", "value " + std::to_string(i)).ok());
    CHECK(read_object(s.store, "k").value() == "value " + std::to_string(i));
    REQUIRE(s.store.remove(s.ctx, "k").ok());
    std::string out(1, '\0');
    CHECK(code_of(s.store.get(s.ctx, "k", 0, writable(out))) == ENOENT);
  }
}

TEST_CASE("object store: empty and large objects", "[object]") {
  Subject s;
  INFO(s.kind);
  REQUIRE(s.store.put(s.ctx, "empty", {}).ok());
  CHECK(read_object(s.store, "empty").value().empty());
  std::string out(1, '\0');
  CHECK(code_of(s.store.get(s.ctx, "empty", 0, writable(out))) == EINVAL);
  REQUIRE(s.put("empty too", "").ok());
  CHECK(read_object(s.store, "empty too").value().empty());

  std::mt19937_64 rng(42);
  std::string large((9 << 20) + 17, '\0');
  for (char& c : large) c = static_cast<char>(rng());
  std::vector<ByteView> pieces;  // more than one writev takes
  for (size_t at = 0; at < large.size(); at += 20001)
    pieces.push_back(as_bytes(std::string_view(large).substr(at, 20001)));
  REQUIRE(s.store.put(s.ctx, "large", pieces).ok());
  CHECK((read_object(s.store, "large").value() == large));
  std::string middle(100000, '\0');
  REQUIRE(s.store.get(s.ctx, "large", 4'000'001, writable(middle)).ok());
  CHECK((middle == large.substr(4'000'001, middle.size())));
}

TEST_CASE("object store: a conditional put loses against what exists", "[object]") {
  Subject s;
  INFO(s.kind);
  if (!s.store.capabilities().conditional_put) return;
  REQUIRE(s.put("a/k", "first", true).ok());
  CHECK(code_of(s.put("a/k", "second", true)) == EEXIST);
  CHECK(read_object(s.store, "a/k").value() == "first");
  REQUIRE(s.store.remove(s.ctx, "a/k").ok());
  CHECK(s.put("a/k", "third", true).ok());
  CHECK(read_object(s.store, "a/k").value() == "third");
}

TEST_CASE("object store: of racing conditional puts exactly one wins", "[object]") {
  Subject s;
  INFO(s.kind);
  if (!s.store.capabilities().conditional_put) return;
  for (int round = 0; round < 10; round++) {
    std::string key = "race/" + std::to_string(round) + "/k";
    std::atomic<int> winner{-1}, winners{0}, losers{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; t++) {
      threads.emplace_back([&, t] {
        Status status = s.put(key, "by thread " + std::to_string(t), true);
        if (status.ok()) {
          winners++;
          winner = t;
        } else if (status.error().code() == EEXIST) {
          losers++;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    REQUIRE(winners == 1);
    REQUIRE(losers == 7);
    REQUIRE(read_object(s.store, key).value() == "by thread " + std::to_string(winner));
  }
}

TEST_CASE("object store: keys are listed in byte order of the whole key", "[object]") {
  Subject s;
  INFO(s.kind);
  std::vector<std::string> keys = {"a!",   "a-b", "a.b",   "a/b",       "a/b!",    "a/c/d",
                                   "a/c0", "a0",  "a\x7f", "a\xc3\xa9", "b/x/y/z", "c"};
  std::vector<std::string> shuffled = keys;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937_64(7));
  for (const auto& key : shuffled) REQUIRE(s.put(key, key).ok());
  std::sort(keys.begin(), keys.end());
  for (uint32_t limit : {1, 2, 3, 100}) CHECK(list_all(s.store, "", "", limit) == keys);
  CHECK(list_all(s.store, "a/", "", 2) == std::vector<std::string>{"a/b", "a/b!", "a/c/d", "a/c0"});
  CHECK(list_all(s.store, "a/c", "", 1) == std::vector<std::string>{"a/c/d", "a/c0"});
  CHECK(list_all(s.store, "a/c/", "", 1) == std::vector<std::string>{"a/c/d"});
  CHECK(list_all(s.store, "", "a/b!", 3).front() == "a/c/d");
  CHECK(list_all(s.store, "", "a/", 3).front() == "a/b");
  CHECK(list_all(s.store, "", "a/c/d", 3).front() == "a/c0");
  CHECK(list_all(s.store, "nothing/here/", "", 3).empty());
  CHECK(list_all(s.store, "../", "", 3).empty());
  CHECK(list_all(s.store, "", "zzz", 3).empty());
  auto none = s.store.list(s.ctx, "", "", 0);
  REQUIRE(none.ok());
  CHECK(none->objects.empty());
  auto page = s.store.list(s.ctx, "", "", 100);
  REQUIRE(page.ok());
  for (const auto& object : page->objects) {
    if (s.fixture->lists_sizes_put()) {
      CHECK(object.size_bytes == object.key.size());
    } else {
      CHECK(object.size_bytes > object.key.size());
    }
  }
}

TEST_CASE("object store: random puts, removals and pages agree with a map", "[object]") {
  Subject s;
  uint64_t seed = std::random_device()();
  INFO(s.kind << ", seed " << seed);
  std::mt19937_64 rng(seed);
  // Inner components end with "d", last ones do not: a local store has no key below a key.
  auto random_component = [&] {
    static const std::vector<std::string> kBytes = {"!", "-", ".",    "0",   "a",
                                                    "Z", "~", "\x80", "\xff"};
    static const std::vector<std::string> kText = {"!", "-",        ".", "0", "a", "Z",
                                                   "~", "\xc3\xa9", "%", "+", " "};
    const auto& alphabet = s.fixture->takes_any_bytes() ? kBytes : kText;
    std::string component;
    for (auto n = 1 + rng() % 2; n != 0; n--) component += alphabet[rng() % alphabet.size()];
    return component;
  };
  auto random_key = [&] {
    std::string key;
    for (auto depth = rng() % 4; depth != 0; depth--) key += random_component() + "d/";
    return key + random_component() + "f";
  };
  std::map<std::string, std::string> model;
  for (int step = 0; step < 250; step++) {
    std::string key = random_key();
    if (!model.empty() && rng() % 3 == 0) {
      auto it = model.lower_bound(key);
      if (it != model.end()) key = it->first;
    }
    if (rng() % 4 == 0) {
      REQUIRE(s.store.remove(s.ctx, key).ok());
      model.erase(key);
    } else {
      std::string value = std::to_string(rng());
      REQUIRE(sentence_of(s.put(key, value)) == "");
      model[key] = value;
    }
  }
  for (int query = 0; query < 60; query++) {
    std::string prefix = query == 0 ? "" : random_key();
    prefix.resize(rng() % (prefix.size() + 1));
    std::string start_after = rng() % 2 == 0 ? "" : random_key();
    if (rng() % 2 == 0) start_after.resize(rng() % (start_after.size() + 1));
    auto limit = static_cast<uint32_t>(1 + rng() % 20);
    INFO("prefix " << prefix << ", start_after " << start_after << ", limit " << limit);
    std::vector<std::string> expected;
    for (auto it = model.upper_bound(start_after); it != model.end(); ++it)
      if (it->first.starts_with(prefix)) expected.push_back(it->first);
    REQUIRE(list_all(s.store, prefix, start_after, limit) == expected);
  }
  for (const auto& [key, value] : model) REQUIRE(read_object(s.store, key).value() == value);
}

TEST_CASE("object store: a batch delete answers for each key in order", "[object]") {
  Subject s;
  INFO(s.kind);
  std::vector<std::string> keys;
  for (int i = 0; i < 20; i++) {
    keys.push_back("batch/" + std::to_string(i % 3) + "/" + std::to_string(i));
    if (i % 4 != 0) REQUIRE(s.put(keys.back(), "x").ok());
  }
  REQUIRE(s.put("batch/kept", "x").ok());
  auto outcomes = s.store.remove_batch(s.ctx, keys);
  REQUIRE(outcomes.ok());
  REQUIRE(outcomes->size() == keys.size());
  for (size_t i = 0; i < keys.size(); i++) {
    CHECK((*outcomes)[i].key == keys[i]);
    CHECK((*outcomes)[i].error == 0);
  }
  CHECK(list_all(s.store, "batch/", "", 100) == std::vector<std::string>{"batch/kept"});
  auto nothing = s.store.remove_batch(s.ctx, {});
  REQUIRE(nothing.ok());
  CHECK(nothing->empty());
}

TEST_CASE("object store: parts become one object at complete", "[object]") {
  Subject s;
  INFO(s.kind);
  auto capabilities = s.store.capabilities();
  if (!capabilities.multipart) {
    CHECK(code_of(s.store.start_upload(s.ctx, "multi/k")) == ENOTSUP);
    return;
  }
  std::string a(std::max<uint64_t>(capabilities.min_part_bytes, 3 << 20), 'a'), b(1000, 'b');
  auto upload = s.store.start_upload(s.ctx, "multi/k");
  REQUIRE(upload.ok());
  auto second = s.store.put_part(s.ctx, "multi/k", *upload, 7, as_bytes(b));
  auto first = s.store.put_part(s.ctx, "multi/k", *upload, 2, as_bytes(a));
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(code_of(s.store.head(s.ctx, "multi/k")) == ENOENT);
  CHECK(list_all(s.store, "", "", 100).empty());

  CHECK_FALSE(s.store.complete_upload(s.ctx, "multi/k", *upload, {*second, *first}).ok());
  CHECK_FALSE(s.store.complete_upload(s.ctx, "multi/k", *upload, {*first, {9, "none"}}).ok());
  CHECK(code_of(s.store.head(s.ctx, "multi/k")) == ENOENT);
  REQUIRE(sentence_of(s.store.complete_upload(s.ctx, "multi/k", *upload, {*first, *second})) == "");
  CHECK((read_object(s.store, "multi/k").value() == a + b));
  CHECK(list_all(s.store, "", "", 100) == std::vector<std::string>{"multi/k"});
}

TEST_CASE("object store: an aborted upload leaves nothing", "[object]") {
  Subject s;
  INFO(s.kind);
  if (!s.store.capabilities().multipart) return;
  auto upload = s.store.start_upload(s.ctx, "k");
  REQUIRE(upload.ok());
  auto part = s.store.put_part(s.ctx, "k", *upload, 1, as_bytes("data"));
  REQUIRE(part.ok());
  REQUIRE(s.store.abort_upload(s.ctx, "k", *upload).ok());
  CHECK(code_of(s.store.complete_upload(s.ctx, "k", *upload, {*part})) == ENOENT);
  CHECK(code_of(s.store.put_part(s.ctx, "k", *upload, 1, as_bytes("data"))) == ENOENT);
  CHECK(list_all(s.store, "", "", 100).empty());
  CHECK_FALSE(s.store.put_part(s.ctx, "k", "../../etc", 1, as_bytes("data")).ok());
}

TEST_CASE("object store: a cancelled or late call does nothing", "[object]") {
  Subject s;
  INFO(s.kind);
  REQUIRE(s.put("k", "x").ok());
  CancelToken cancel;
  cancel.cancel();
  OpContext cancelled = s.ctx;
  cancelled.cancel = &cancel;
  OpContext late = s.ctx;
  late.deadline_ns = system_clock().monotonic_ns() - 1;
  std::string out(1, '\0');
  for (auto [ctx, code] : {std::pair(&cancelled, ECANCELED), std::pair(&late, ETIMEDOUT)}) {
    CHECK(code_of(s.store.get(*ctx, "k", 0, writable(out))) == code);
    CHECK(code_of(s.store.put(*ctx, "new", {as_bytes("x")})) == code);
    CHECK(code_of(s.store.head(*ctx, "k")) == code);
    CHECK(code_of(s.store.remove(*ctx, "k")) == code);
    CHECK(code_of(s.store.list(*ctx, "", "", 10)) == code);
  }
  CHECK(list_all(s.store, "", "", 100) == std::vector<std::string>{"k"});
}

TEST_CASE("object store: threads read, replace and remove at the same time", "[object]") {
  Subject s;
  INFO(s.kind);
  const std::string a(50000, 'a'), b(70000, 'b');
  std::mutex mutex;
  std::set<std::string> wrong;
  auto note = [&](Status status) {
    std::lock_guard lock(mutex);
    if (!status.ok()) wrong.insert(status.error().message());
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(static_cast<uint64_t>(t));
      for (int i = 0; i < 60; i++) {
        std::string key = "shared/" + std::to_string(rng() % 3);
        switch (rng() % 4) {
          case 0:
            note(s.put(key, rng() % 2 == 0 ? a : b));
            break;
          case 1:
            note(s.store.remove(s.ctx, key));
            break;
          default: {
            std::string out(50000, '\0');
            Status status = s.store.get(s.ctx, key, 0, writable(out));
            bool whole = out == a || out == b.substr(0, out.size());
            if (status.ok() && !whole) status = Error(EIO, "two objects in one");
            const int code = code_of(status);
            const bool torn = code == EBADMSG && !s.fixture->replaces_under_readers();
            if (code != ENOENT && !torn) note(std::move(status));
          }
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::set<std::string>());
}
