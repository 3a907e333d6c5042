#include "meta/stores/postgres/change_message.h"

#include <catch2/catch.hpp>
#include <set>

#include "support/fake_clock.h"

namespace skerry::meta::postgres {

namespace {

class Told final : public ChangeSink {
 public:
  void entry_changed(Ino parent, std::string_view name) override {
    said.insert("entry " + std::to_string(parent) + " " + std::string(name));
  }
  void inode_changed(Ino ino) override { said.insert("inode " + std::to_string(ino)); }
  void children_changed(Ino ino) override { said.insert("children " + std::to_string(ino)); }
  void all_changed() override { said.insert("all"); }
  std::multiset<std::string> said;
};

std::multiset<std::string> told(const std::vector<std::string>& payloads, uint64_t own = 0) {
  Told sink;
  for (const std::string& payload : payloads) {
    CHECK(payload.size() < 8000);
    CHECK(read_payload(payload, own, &sink) == 77);
  }
  return sink.said;
}

EntryRecord entry(Ino parent, std::string name, Ino ino, uint64_t version) {
  EntryRecord record;
  record.parent = parent;
  record.name = std::move(name);
  record.attr.ino = ino;
  record.version = record.attr.version = version;
  return record;
}

}  // namespace

TEST_CASE("change messages: what a commit changed arrives", "[meta][postgres]") {
  CommitRequest request;
  const std::string odd("\0/\xff\x80 \n", 6);
  const Ino large = (Ino{1} << 63) - 1;
  request.expectations = {ExpectVersion{entry_key(1, "moved"), 4, 40},
                          ExpectVersion{entry_key(2, "replaced"), 2, 50}};
  OrphanRecord orphan;
  orphan.attr.ino = 50;
  orphan.attr.version = 3;
  request.mutations = {Put{entry(large, odd, 30, 1)},
                       Put{entry(1, std::string(255, 'n'), 31, 2)},
                       Delete{entry_key(1, "moved")},
                       Put{entry(2, "replaced", 40, 5)},
                       Put{orphan},
                       Patch{60},
                       WriteData{61},
                       AddDirStat{70, 1, 1, 0, 1},
                       DeleteRange{Table::kDirStat, 80, {}, {}},
                       AddNumber{"n", 1}};
  Patch access_time;
  access_time.ino = 62;
  access_time.keep_version = true;
  request.mutations.push_back(access_time);
  const auto said = told(change_payloads(77, changes_of(request)));
  for (const std::string& what :
       {"entry " + std::to_string(large) + " " + odd, "entry 1 " + std::string(255, 'n'),
        std::string("inode 31"), std::string("entry 1 moved"), std::string("inode 40"),
        std::string("entry 2 replaced"), std::string("inode 50"), std::string("inode 60"),
        std::string("inode 61"), std::string("children 70"), std::string("inode 80")}) {
    CAPTURE(what);
    CHECK(said.contains(what));
  }
  CHECK_FALSE(said.contains("inode 30"));  // nobody knew it
  CHECK_FALSE(said.contains("inode 62"));
  CHECK_FALSE(said.contains("all"));
  CHECK(told(change_payloads(77, changes_of(request)), 77).empty());  // its own
}

TEST_CASE("change messages: locks and sessions wake, and drop nothing", "[meta][postgres]") {
  CommitRequest request;
  request.mutations = {Delete{lock_key(3, 40)}, Put{LockedRecord{40, 1, {}}},
                       Delete{client_key(3)}};
  const auto keys = changes_of(request);
  CHECK(keys.size() == 3);
  CHECK(told(change_payloads(77, keys)).empty());
  request.mutations = {AddNumber{"n", 1}, AddUsage{}, Put{PinRecord{3, 40}}};
  CHECK(changes_of(request).empty());
}

TEST_CASE("change messages: many keys in several payloads", "[meta][postgres]") {
  std::vector<std::string> keys;
  for (Ino ino = 1; ino <= 3000; ++ino) {
    keys.push_back(change_key(ChangeKind::kEntry, ino, std::string(ino % 256, 'x')));
  }
  const auto payloads = change_payloads(77, keys);
  CHECK(payloads.size() > 50);
  CHECK(told(payloads).size() == 3000);
  CHECK(told(change_payloads(77, {})).empty());
  CHECK(told(change_payloads(77, {change_key(ChangeKind::kEverything, 0)})).contains("all"));
}

TEST_CASE("change messages: what is not understood means everything", "[meta][postgres]") {
  const std::string good = change_payloads(
      77, {change_key(ChangeKind::kEntry, 5, "name"), change_key(ChangeKind::kInode, 300)})[0];
  FakeRandom random;
  for (int i = 0; i < 20000; ++i) {
    std::string bad = good;
    switch (random.next() % 3) {
      case 0:
        bad.resize(random.next() % bad.size());
        break;
      case 1:
        bad[random.next() % bad.size()] = static_cast<char>(random.next());
        break;
      default:
        for (char& c : bad) c = static_cast<char>(random.next());
    }
    Told sink;
    if (read_payload(bad, 1, &sink) == 0) CHECK(sink.said.contains("all"));
    CHECK(read_payload(bad, 1, nullptr) != 1);
  }
  for (const char* text : {"", "A", "hello, world", "skerry"}) {
    Told sink;
    CHECK(read_payload(text, 1, &sink) == 0);
    CHECK(sink.said.contains("all"));
  }
}

}  // namespace skerry::meta::postgres
