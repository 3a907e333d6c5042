// Random commits: every store does what the store in memory does, and that what plain maps say.

#include <cstdlib>
#include <map>
#include <random>

#include "conformance/store_fixture.h"

namespace skerry::meta {

namespace {

constexpr Table kAllTables[] = {Table::kVolume, Table::kEntry,   Table::kInode,  Table::kOrphan,
                                Table::kLink,   Table::kDirStat, Table::kExtent, Table::kObject,
                                Table::kInline, Table::kSymlink, Table::kXattr,  Table::kClient,
                                Table::kPin,    Table::kGarbage, Table::kUsage,  Table::kLock,
                                Table::kLocked};

uint32_t seed_of_test() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  return given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10))
                          : std::random_device{}();
}

/// Small ranges of everything, so that commits meet each other.
class RandomCommits {
 public:
  explicit RandomCommits(uint32_t seed) : random_(seed) {}

  uint64_t below(uint64_t n) { return random_() % n; }
  Ino ino() { return 10 + below(6); }
  std::string name() {
    static const std::string names[] = {"a", "b", "\xff", std::string("\0", 1), "a\xff"};
    return names[below(5)];
  }
  Attributes attributes() {
    Attributes attr = file_entry(1, "", ino(), 1 + below(3)).attr;
    attr.type = below(4) == 0 ? FileType::kDirectory : FileType::kRegular;
    attr.flags = below(4) == 0 ? kFlagInline : 0;
    attr.length = below(2) == 0 ? below(100) : kChunkSize - below(20);
    return attr;
  }
  Record record() {
    switch (below(17)) {
      case 0:
        return VolumeRecord{name(), name(), below(5), 1 + below(3)};
      case 1:
        return InodeRecord{attributes()};
      case 2:
        return OrphanRecord{attributes(), 0};
      case 3:
        return LinkRecord{ino(), below(3), name()};
      case 4:
        return DirStatRecord{ino(), below(2), static_cast<TimeNs>(below(50)), 0, 0};
      case 5:
        return ExtentRecord{ino(), below(2), below(4), {Extent{below(9), 1, below(4)}}};
      case 6:
        return ObjectRecord{below(4), static_cast<int64_t>(2 + below(3))};
      case 7:
        return InlineRecord{ino(), 1, name()};
      case 8:
        return SymlinkRecord{ino(), name()};
      case 9:
        return XattrRecord{ino(), name(), name()};
      case 10:
        return ClientRecord{below(3), 0, below(3), 1, "h", 2, "s"};
      case 11:
        return PinRecord{below(3), ino()};
      case 12:
        return GarbageRecord{below(2) == 0 ? kCurrentEpoch : below(3), below(4)};
      case 13:
        return LockRecord{below(3), ino(), {FileLock{LockKind::kRecord, below(2) == 0, below(3)}}};
      case 14:
        return LockedRecord{ino(), 1 + below(3), {below(3)}};
      default:
        break;
    }
    EntryRecord entry;
    entry.parent = below(3);
    entry.name = name();
    entry.linked = below(5) == 0;
    entry.attr = attributes();
    entry.version = entry.attr.version;
    return entry;
  }
  Key key() { return key_of(record()); }
  Expectation expectation() {
    switch (below(7)) {
      case 6:
        return ExpectVersion{locked_key(ino()), 1 + below(3)};
      case 0:
        return ExpectVersion{entry_key(below(3), name()), 1 + below(3), ino()};
      case 1:
        return ExpectAbsent{key()};
      case 2:
        return ExpectExists{key()};
      case 3:
        return ExpectEmpty{kAllTables[1 + below(16)], below(16)};
      case 4:
        return ExpectAttributes{ino(), below(4)};
      default:
        return ExpectExtentPrefix{ino(), below(2), below(4), below(2)};
    }
  }
  Mutation mutation() {
    switch (below(14)) {
      case 0:
        return Delete{key()};
      case 1: {
        DeleteRange range{kAllTables[1 + below(16)], below(16)};
        if (below(2)) range.b = below(2);
        if (below(2)) range.max_c = below(4);
        return range;
      }
      case 2: {
        Patch patch;
        patch.ino = ino();
        if (below(2)) patch.mode = 0600;
        if (below(2)) patch.length = below(100);
        patch.max_length = below(100);
        patch.max_mtime_ns = static_cast<TimeNs>(below(60));
        patch.clear_flags = below(2) ? kFlagInline : 0;
        return patch;
      }
      case 3:
        return AddDirStat{ino(), below(2), static_cast<TimeNs>(below(60)), 1, 2};
      case 4: {
        WriteData write;
        write.ino = ino();
        write.append = below(2);
        write.replace_inline = below(2);
        write.extend = below(3) != 0;
        write.offset = below(40);
        write.length = 30;
        write.pieces = {Extent{0, 10, below(4), 0, 10}, Extent{10, 20, below(4), 0, 20}};
        write.mtime_ns = static_cast<TimeNs>(below(60));
        return write;
      }
      case 5:
        return AddObjectReferences{below(4), static_cast<int64_t>(below(5)) - 2};
      case 6:
        return AddUsage{0, below(3), static_cast<int64_t>(below(9)) - 4, 1};
      case 7:
        return AddNumber{below(3) == 0 ? kVolumeEpoch : name(), below(3)};
      case 8:
      case 9: {
        MoveFile move;
        move.from = entry_key(ino(), name());
        if (below(3) != 0) move.to = entry_key(ino(), name());
        move.replace = below(2);
        move.ctime_ns = static_cast<TimeNs>(below(60));
        move.usage_client = below(3);
        if (below(2)) move.counted_in = dirstat_key(ino(), below(2));
        return move;
      }
      default:
        return Put{record()};
    }
  }
  CommitRequest request() {
    CommitRequest request;
    request.request = next_request();
    request.session = below(10) == 0 ? below(3) : 0;
    for (uint64_t n = below(3); n > 0; --n) request.expectations.push_back(expectation());
    for (uint64_t n = 1 + below(4); n > 0; --n) request.mutations.push_back(mutation());
    // As operations do: expect something of what is then changed.
    for (const Mutation& mutation : request.mutations) {
      const auto* put = std::get_if<Put>(&mutation);
      if (put == nullptr || below(3) != 0) continue;
      const Key at = key_of(put->record);
      if (below(2) == 0) {
        request.expectations.push_back(ExpectAbsent{at});
      } else {
        request.expectations.push_back(ExpectVersion{at, 1 + below(3), ino()});
      }
    }
    return request;
  }

 private:
  std::mt19937_64 random_;
};

std::vector<Record> everything(StoreUser& user) {
  std::vector<Record> all;
  for (Table table : kAllTables) {
    for (Record& record : user.range({table, 0}).records) all.push_back(std::move(record));
  }
  return all;
}

}  // namespace

TEST_CASE("store: random commits do the same in every store", "[meta][store]") {
  const auto kind = GENERATE(StoreKind::kSqlite, StoreKind::kSqliteRecording, StoreKind::kPostgres,
                             StoreKind::kPostgresSerializable);
  const uint32_t seed = seed_of_test();
  CAPTURE(name_of(kind), seed);
  StoreWorld reference_world(StoreKind::kMemory), world(kind);
  reference_world.set_time(1000);
  world.set_time(1000);
  StoreUser reference(reference_world), user(world);
  RandomCommits random(seed);
  int applied = 0;
  for (int i = 0; i < 3000; ++i) {
    CAPTURE(i);
    CommitRequest request = random.request();
    auto expected = reference.store->commit(reference_world.ctx, request);
    auto actual = user.store->commit(world.ctx, request);
    REQUIRE(expected.ok() == actual.ok());
    if (!expected.ok()) {
      REQUIRE(expected.error().code() == actual.error().code());
      continue;
    }
    REQUIRE(expected->applied == actual->applied);
    REQUIRE(expected->failed_expectation == actual->failed_expectation);
    REQUIRE(expected->failed_mutation == actual->failed_mutation);
    REQUIRE(expected->outcomes.size() == actual->outcomes.size());
    for (size_t m = 0; m < expected->outcomes.size(); ++m) {
      REQUIRE(expected->outcomes[m].number == actual->outcomes[m].number);
      REQUIRE(expected->outcomes[m].version == actual->outcomes[m].version);
      REQUIRE(expected->outcomes[m].moved == actual->outcomes[m].moved);
    }
    applied += expected->applied;
    if (i % 50 != 0) continue;
    REQUIRE(everything(reference) == everything(user));
    ReadRequest read{{}, {{Table::kEntry, 0}}, {10, 11, 12, 13, 14, 15}, true};
    for (int n = 0; n < 5; ++n) read.keys.push_back(random.key());
    ReadResult from_reference = reference.read(read), from_user = user.read(read);
    REQUIRE(from_reference.records == from_user.records);
    REQUIRE(from_reference.pages[0].records == from_user.pages[0].records);
    for (size_t h = 0; h < read.inodes.size(); ++h) {
      REQUIRE(from_reference.homes[h].has_value() == from_user.homes[h].has_value());
      if (!from_user.homes[h]) continue;
      REQUIRE(from_reference.homes[h]->table == from_user.homes[h]->table);
      REQUIRE(from_reference.homes[h]->attr == from_user.homes[h]->attr);
    }
  }
  CHECK(applied > 300);
}

STORE_TEST("random puts and deletes against a plain map", "") {
  const uint32_t seed = seed_of_test();
  CAPTURE(seed);
  StoreUser user(world);
  world.set_time(1000);
  RandomCommits random(seed);
  std::map<Key, Record> model;
  for (int i = 0; i < 1000; ++i) {
    Record record = random.record();
    // What the store fills in, or refuses, has tests of its own.
    if (auto* entry = std::get_if<EntryRecord>(&record))
      entry->attr.ino = 1000 + static_cast<Ino>(i);
    if (auto* entry = std::get_if<EntryRecord>(&record)) entry->linked = false;
    if (auto* client = std::get_if<ClientRecord>(&record)) client->heartbeat_ns = 1000;
    if (auto* garbage = std::get_if<GarbageRecord>(&record)) garbage->epoch %= 100;
    const Key key = key_of(record);
    const bool absent = random.below(3) == 0;
    if (random.below(4) == 0) {
      user.apply({Delete{key}});
      model.erase(key);
    } else {
      std::vector<Expectation> expectations;
      if (absent) expectations.push_back(ExpectAbsent{key});
      const bool applied = user.commit(expectations, {Put{record}}).applied;
      REQUIRE(applied == (!absent || model.count(key) == 0));
      if (applied) model.insert_or_assign(key, record);
    }
  }
  std::vector<Record> expected;
  for (auto& [key, record] : model) expected.push_back(record);
  CHECK(everything(user) == expected);
}

}  // namespace skerry::meta
