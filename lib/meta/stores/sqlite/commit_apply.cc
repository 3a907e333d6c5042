#include "meta/stores/sqlite/commit_apply.h"

#include <algorithm>
#include <compare>
#include <string_view>

#include "base/bytes.h"
#include "meta/attribute_changes.h"
#include "meta/stores/sqlite/read.h"

namespace skerry::meta::sqlite {

namespace {

/// Answers kept for repeated requests: far more than can be in flight at once.
constexpr uint64_t kMaxAnswers = 16384;

int step(sqlite3_stmt* s) {
  sqlite3_step(s);
  return sqlite3_reset(s);
}

/// The record whose row a statement can check by itself: entries and inodes. Null: none.
struct RowName {
  Table table;
  uint64_t a;
  std::string_view name;
  auto operator<=>(const RowName&) const = default;
};
std::optional<RowName> row_of(const Key& key) {
  if (key.table != Table::kEntry && key.table != Table::kInode) return std::nullopt;
  return RowName{key.table, key.a, key.name};
}
std::optional<RowName> row_of(const Record& record) {
  if (const auto* entry = std::get_if<EntryRecord>(&record)) {
    return RowName{Table::kEntry, entry->parent, entry->name};
  }
  if (const auto* inode = std::get_if<InodeRecord>(&record)) {
    return RowName{Table::kInode, inode->attr.ino, {}};
  }
  return std::nullopt;
}

/// Finds for an expectation the mutation whose statement can check it: the first that touches the
/// record, if nothing before may.
class FoldIndex {
 public:
  explicit FoldIndex(const std::vector<Mutation>& mutations) {
    rows_.reserve(mutations.size());
    for (size_t i = 0; i < mutations.size(); ++i) {
      const Mutation& mutation = mutations[i];
      if (const auto* put = std::get_if<Put>(&mutation)) {
        if (auto row = row_of(put->record)) rows_.push_back({*row, i, false});
      } else if (const auto* remove = std::get_if<Delete>(&mutation)) {
        if (auto row = row_of(remove->key)) rows_.push_back({*row, i, true});
      } else if (const auto* range = std::get_if<DeleteRange>(&mutation)) {
        if (range->table == Table::kEntry || range->table == Table::kInode) break;
      } else if (std::holds_alternative<Patch>(mutation) ||
                 std::holds_alternative<WriteData>(mutation) ||
                 std::holds_alternative<MoveFile>(mutation)) {
        break;  // may change any of them
      }
    }
    std::stable_sort(rows_.begin(), rows_.end(),
                     [](const Touched& x, const Touched& y) { return x.row < y.row; });
  }

  int find(const Key& key, bool absent) const {
    const auto row = row_of(key);
    if (!row) return -1;
    const auto it = std::lower_bound(rows_.begin(), rows_.end(), *row,
                                     [](const Touched& x, const RowName& y) { return x.row < y; });
    if (it == rows_.end() || it->row != *row || (it->removes && absent)) return -1;
    return static_cast<int>(it->mutation);
  }

 private:
  struct Touched {
    RowName row;
    size_t mutation;
    bool removes;
  };
  std::vector<Touched> rows_;
};

void encode_attributes(const Attributes& a, Encoder* encoder) {
  for (uint64_t v :
       {a.ino, uint64_t{static_cast<uint8_t>(a.type)}, uint64_t{a.mode}, uint64_t{a.uid},
        uint64_t{a.gid}, uint64_t{a.nlink}, uint64_t{a.flags}, uint64_t{a.shards}, a.rdev, a.length,
        static_cast<uint64_t>(a.atime_ns), static_cast<uint64_t>(a.mtime_ns),
        static_cast<uint64_t>(a.ctime_ns), static_cast<uint64_t>(a.btime_ns), a.version}) {
    encoder->varint(v);
  }
}

Attributes decode_attributes(Decoder* decoder) {
  Attributes a;
  const auto small = [decoder] { return static_cast<uint32_t>(decoder->varint()); };
  const auto time = [decoder] { return static_cast<TimeNs>(decoder->varint()); };
  a.ino = decoder->varint();
  a.type = static_cast<FileType>(decoder->varint());
  a.mode = small();
  a.uid = small();
  a.gid = small();
  a.nlink = small();
  a.flags = small();
  a.shards = small();
  a.rdev = decoder->varint();
  a.length = decoder->varint();
  a.atime_ns = time();
  a.mtime_ns = time();
  a.ctime_ns = time();
  a.btime_ns = time();
  a.version = decoder->varint();
  return a;
}

bool removes_clients(const CommitRequest& request) {
  for (const Mutation& mutation : request.mutations) {
    if (const auto* remove = std::get_if<Delete>(&mutation)) {
      if (remove->key.table == Table::kClient) return true;
    } else if (const auto* range = std::get_if<DeleteRange>(&mutation)) {
      if (range->table == Table::kClient) return true;
    }
  }
  return false;
}

}  // namespace

void CommitApplier::fold(const CommitRequest& request) {
  const size_t expectations = request.expectations.size();
  folded_.assign(expectations, 0);
  fold_of_mutation_.assign(request.mutations.size(), -1);
  if (expectations == 0) return;
  const FoldIndex index(request.mutations);
  for (size_t i = 0; i < expectations; ++i) {
    const auto* version = std::get_if<ExpectVersion>(&request.expectations[i]);
    const auto* absent = std::get_if<ExpectAbsent>(&request.expectations[i]);
    if (version == nullptr && absent == nullptr) continue;
    const Key& key = version != nullptr ? version->key : absent->key;
    const int mutation = index.find(key, absent != nullptr);
    if (mutation < 0 || fold_of_mutation_[static_cast<size_t>(mutation)] >= 0) continue;
    fold_of_mutation_[static_cast<size_t>(mutation)] = static_cast<int>(i);
    folded_[i] = 1;
  }
}

int CommitApplier::apply(const CommitRequest& request, bool exact, CommitResult* result) {
  if (record_requests_ && request.request != RequestId{}) {
    int rc = find_answer(request, result);
    if (rc != SQLITE_OK || result->applied) return rc;
  }
  int rc = check_session(request.session);
  if (rc == SQLITE_OK) rc = apply_now(request, exact, result);
  if (rc == SQLITE_OK) {
    result->applied = true;
    if (removes_clients(request)) session_ = 0;
    if (record_requests_ && request.request != RequestId{}) rc = record_answer(request, *result);
  }
  return rc;
}

int CommitApplier::apply_now(const CommitRequest& request, bool exact, CommitResult* result) {
  *result = CommitResult{};
  epoch_.reset();
  if (exact) {
    folded_.assign(request.expectations.size(), 0);
    fold_of_mutation_.assign(request.mutations.size(), -1);
  } else {
    fold(request);
  }
  bool any_folded = false;
  for (size_t i = 0; i < request.expectations.size(); ++i) {
    if (folded_[i]) {
      any_folded = true;
      continue;
    }
    bool held = false;
    int rc = std::visit([&](const auto& e) { return holds(e, &held); }, request.expectations[i]);
    if (rc != SQLITE_OK) return rc;
    if (held) continue;
    if (any_folded) return apply_now(request, true, result);  // an earlier one may fail as well
    result->failed_expectation = static_cast<int>(i);
    return kConflict;
  }
  result->outcomes.resize(request.mutations.size());
  for (size_t i = 0; i < request.mutations.size(); ++i) {
    const int folded = fold_of_mutation_[i];
    const Expectation* condition =
        folded < 0 ? nullptr : &request.expectations[static_cast<size_t>(folded)];
    MutationOutcome* outcome = &result->outcomes[i];
    int rc = std::visit([&](const auto& m) { return mutate(m, condition, outcome); },
                        request.mutations[i]);
    if (rc == SQLITE_OK) continue;
    result->outcomes.clear();
    if (rc == kConflict && any_folded) {
      if (i == 0) return apply_now(request, true, result);  // nothing was written yet
      return kUnsettled;
    }
    if (rc == kConflict) result->failed_mutation = static_cast<int>(i);
    return rc;
  }
  return SQLITE_OK;
}

int CommitApplier::check_session(ClientId session) {
  if (session == 0) return SQLITE_OK;
  // Inside the write lock nobody else's commit is uncounted.
  if (session == session_ && session_generation_ == watch_.counted()) return SQLITE_OK;
  bool found = false;
  if (int rc = holds(ExpectExists{client_key(session)}, &found)) return rc;
  if (!found) {
    refusal_.emplace(ESTALE, "database " + connection_.path() +
                                 ": this client's session was removed from the volume; open it "
                                 "again");
    return kRefused;
  }
  session_ = session;
  session_generation_ = watch_.counted();
  return SQLITE_OK;
}

int CommitApplier::find_answer(const CommitRequest& request, CommitResult* result) {
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(Fixed::kFindRequest, &s)) return rc;
  Rows rows(s);
  bind_value(s, 1, request.request[0]);
  bind_value(s, 2, request.request[1]);
  int rc = sqlite3_step(s);
  if (rc == SQLITE_DONE) return SQLITE_OK;
  if (rc != SQLITE_ROW) return rc;
  const std::string encoded = column_bytes(s, 0);
  Decoder decoder(encoded);
  const uint64_t count = decoder.varint();
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    MutationOutcome& outcome = result->outcomes.emplace_back();
    outcome.number = decoder.varint();
    outcome.version = decoder.varint();
    if (decoder.varint() != 0) outcome.moved = decode_attributes(&decoder);
  }
  result->applied = decoder.ok();
  return decoder.ok() ? SQLITE_OK : SQLITE_CORRUPT;
}

int CommitApplier::record_answer(const CommitRequest& request, const CommitResult& result) {
  std::string encoded;
  Encoder encoder(&encoded);
  encoder.varint(result.outcomes.size());
  for (const MutationOutcome& outcome : result.outcomes) {
    encoder.varint(outcome.number);
    encoder.varint(outcome.version);
    encoder.varint(outcome.moved ? 1 : 0);
    if (outcome.moved) encode_attributes(*outcome.moved, &encoder);
  }
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(Fixed::kAddRequest, &s)) return rc;
  bind_value(s, 1, request.request[0]);
  bind_value(s, 2, request.request[1]);
  bind_value(s, 3, encoded);
  if (int rc = step(s)) return rc;
  if (++recorded_ % 1024 != 0) return SQLITE_OK;
  if (int rc = connection_.statement(Fixed::kTrimRequests, &s)) return rc;
  bind_value(s, 1, kMaxAnswers);
  return step(s);
}

int CommitApplier::exists(sqlite3_stmt* s, bool* found) {
  const int rc = sqlite3_step(s);
  *found = rc == SQLITE_ROW;
  sqlite3_reset(s);
  return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int CommitApplier::holds(const ExpectVersion& expect, bool* held) {
  std::optional<Record> record;
  if (int rc = read_record(connection_, expect.key, false, &record)) return rc;
  *held = false;
  if (!record) return SQLITE_OK;
  if (const auto* entry = std::get_if<EntryRecord>(&*record)) {
    *held = entry->version == expect.version && entry->attr.ino == expect.ino;
  } else if (const auto* volume = std::get_if<VolumeRecord>(&*record)) {
    *held = volume->version == expect.version;
  } else if (const auto* inode = std::get_if<InodeRecord>(&*record)) {
    *held = inode->attr.version == expect.version;
  } else if (const auto* orphan = std::get_if<OrphanRecord>(&*record)) {
    *held = orphan->attr.version == expect.version;
  } else if (const auto* object = std::get_if<ObjectRecord>(&*record)) {
    *held = object->version == expect.version;
  } else if (const auto* locked = std::get_if<LockedRecord>(&*record)) {
    *held = locked->version == expect.version;
  } else {
    *held = expect.version == 0;  // has none
  }
  return SQLITE_OK;
}

int CommitApplier::holds(const ExpectAbsent& expect, bool* held) {
  int rc = holds(ExpectExists{expect.key}, held);
  *held = !*held;
  return rc;
}

int CommitApplier::holds(const ExpectExists& expect, bool* held) {
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(expect.key.table, Verb::kExists, &s)) return rc;
  bind_key(s, expect.key);
  return exists(s, held);
}

int CommitApplier::holds(const ExpectEmpty& expect, bool* held) {
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(expect.table, Verb::kAny, &s)) return rc;
  if (layout_of(expect.table).a != nullptr) bind_value(s, 1, expect.a);
  bool found = false;
  int rc = exists(s, &found);
  *held = !found;
  return rc;
}

int CommitApplier::holds(const ExpectAttributes& expect, bool* held) {
  std::optional<AttributeHome> home;
  if (int rc = find_home(connection_, expect.ino, &home)) return rc;
  *held = home && (expect.version == 0 || home->attr.version == expect.version);
  return SQLITE_OK;
}

int CommitApplier::holds(const ExpectExtentPrefix& expect, bool* held) {
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(Fixed::kCountExtents, &s)) return rc;
  Rows rows(s);
  bind_value(s, 1, expect.ino);
  bind_value(s, 2, expect.chunk);
  bind_value(s, 3, std::min<uint64_t>(expect.last_seq, INT64_MAX));
  int rc = sqlite3_step(s);
  if (rc != SQLITE_ROW) return rc;
  *held = column_u64(s, 0) == expect.count;
  return SQLITE_OK;
}

int CommitApplier::epoch(uint64_t* epoch) {
  if (!epoch_) {
    std::optional<Record> record;
    if (int rc = read_record(connection_, volume_key(kVolumeEpoch), false, &record)) return rc;
    epoch_ = record ? std::get<VolumeRecord>(*record).number : 0;
  }
  *epoch = *epoch_;
  return SQLITE_OK;
}

int CommitApplier::put_record(const Record& record, const Expectation* condition) {
  const auto table = static_cast<Table>(record.index());  // in the order of the tables
  if (table == Table::kVolume) epoch_.reset();
  const auto* version = condition == nullptr ? nullptr : std::get_if<ExpectVersion>(condition);
  const Verb verb = condition == nullptr ? Verb::kUpsert
                    : version != nullptr ? Verb::kUpdateVersion
                                         : Verb::kInsert;
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(table, verb, &s)) return rc;
  int next = bind_record(s, record, &encoded_);
  if (version != nullptr) {
    bind_value(s, next++, version->version);
    if (table == Table::kEntry) bind_value(s, next, version->ino);
  }
  int rc = step(s);
  // A key that is there, or an inode that has its attributes in another entry.
  if ((rc & 0xff) == SQLITE_CONSTRAINT) return kConflict;
  if (rc != SQLITE_OK) return rc;
  if (version != nullptr && sqlite3_changes(connection_.db()) == 0) return kConflict;
  return SQLITE_OK;
}

int CommitApplier::mutate(const Put& put, const Expectation* condition, MutationOutcome*) {
  if (const auto* entry = std::get_if<EntryRecord>(&put.record)) {
    if (!entry->linked) return put_record(put.record, condition);
    EntryRecord bare = *entry;
    normalize_entry(&bare);
    return put_record(bare, condition);
  }
  if (const auto* client = std::get_if<ClientRecord>(&put.record)) {
    ClientRecord stamped = *client;
    stamped.heartbeat_ns = clock_.now_ns();
    return put_record(stamped, condition);
  }
  if (const auto* orphan = std::get_if<OrphanRecord>(&put.record)) {
    OrphanRecord stamped = *orphan;
    if (int rc = epoch(&stamped.epoch)) return rc;
    return put_record(stamped, condition);
  }
  if (const auto* garbage = std::get_if<GarbageRecord>(&put.record)) {
    GarbageRecord stamped = *garbage;
    if (stamped.epoch == kCurrentEpoch) {
      if (int rc = epoch(&stamped.epoch)) return rc;
    }
    return put_record(stamped, condition);
  }
  return put_record(put.record, condition);
}

int CommitApplier::delete_record(const Key& key) {
  if (key.table == Table::kVolume) epoch_.reset();
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(key.table, Verb::kDelete, &s)) return rc;
  bind_key(s, key);
  return step(s);
}

int CommitApplier::mutate(const Delete& remove, const Expectation* condition, MutationOutcome*) {
  if (condition == nullptr) return delete_record(remove.key);
  const auto& expect = std::get<ExpectVersion>(*condition);
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(remove.key.table, Verb::kDeleteVersion, &s)) return rc;
  const int next = bind_key(s, remove.key);
  bind_value(s, next, expect.version);
  if (remove.key.table == Table::kEntry) bind_value(s, next + 1, expect.ino);
  if (int rc = step(s)) return rc;
  return sqlite3_changes(connection_.db()) == 0 ? kConflict : SQLITE_OK;
}

int CommitApplier::mutate(const DeleteRange& range, const Expectation*, MutationOutcome*) {
  const TableLayout& layout = layout_of(range.table);
  // A field that the table does not have is 0 in every key.
  if (layout.a == nullptr && range.a != 0) return SQLITE_OK;
  if (layout.b == nullptr && range.b.value_or(0) != 0) return SQLITE_OK;
  if (range.table == Table::kVolume) epoch_.reset();
  const bool with_b = range.b && layout.b != nullptr;
  const bool with_c = range.max_c && layout.c != nullptr;
  sqlite3_stmt* s = nullptr;
  const Verb verb = Verb::kDeleteRange + ((with_b ? 1u : 0u) + (with_c ? 2u : 0u));
  if (int rc = connection_.statement(range.table, verb, &s)) return rc;
  if (layout.a != nullptr) bind_value(s, 1, range.a);
  if (with_b) bind_value(s, 2, *range.b);
  if (with_c) bind_value(s, 3, std::min<uint64_t>(*range.max_c, INT64_MAX));
  return step(s);
}

int CommitApplier::update_home(const AttributeHome& home) {
  sqlite3_stmt* s = nullptr;
  const Fixed fixed = home.table == Table::kEntry   ? Fixed::kUpdateEntry
                      : home.table == Table::kInode ? Fixed::kUpdateInode
                                                    : Fixed::kUpdateOrphan;
  if (int rc = connection_.statement(fixed, &s)) return rc;
  const Attributes& attr = home.attr;
  bind_value(s, 1, home.table == Table::kEntry ? home.parent : attr.ino);
  if (home.table == Table::kEntry) bind_value(s, 2, home.name);
  bind_value(s, 3, attr.mode);
  bind_value(s, 4, attr.uid);
  bind_value(s, 5, attr.gid);
  bind_value(s, 6, attr.nlink);
  bind_value(s, 7, attr.flags);
  bind_value(s, 8, attr.length);
  bind_value(s, 9, attr.atime_ns);
  bind_value(s, 10, attr.mtime_ns);
  bind_value(s, 11, attr.ctime_ns);
  bind_value(s, 12, attr.version);
  return step(s);
}

int CommitApplier::count_growth(const AttributeHome& home, ClientId client, uint64_t before) {
  // A file without a name was taken out of the count when it lost its last one.
  if (client == 0 || home.attr.length == before || home.table == Table::kOrphan) return SQLITE_OK;
  return mutate(AddUsage{0, client, static_cast<int64_t>(home.attr.length - before), 0}, nullptr,
                nullptr);
}

int CommitApplier::mutate(const Patch& patch, const Expectation*, MutationOutcome* outcome) {
  std::optional<AttributeHome> home;
  if (int rc = find_home(connection_, patch.ino, &home)) return rc;
  if (!home) return kConflict;
  outcome->number = home->attr.length;
  if (drops_capability(patch, home->attr)) {
    if (int rc = delete_record(xattr_key(patch.ino, kCapabilityXattr))) return rc;
  }
  apply_patch(patch, &home->attr);
  outcome->version = home->attr.version;
  if (int rc = update_home(*home)) return rc;
  return count_growth(*home, patch.usage_client, outcome->number);
}

int CommitApplier::mutate(const AddDirStat& add, const Expectation*, MutationOutcome*) {
  if (add.replace_time) {
    std::optional<Record> record;
    if (int rc = read_record(connection_, dirstat_key(add.ino, add.shard), false, &record)) {
      return rc;
    }
    if (!record) return kConflict;
    auto& stat = std::get<DirStatRecord>(*record);
    stat.mtime_ns = add.mtime_ns;
    stat.subdirs += add.subdirs;
    stat.entries += add.entries;
    return put_record(*record, nullptr);
  }
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(Fixed::kAddDirStat, &s)) return rc;
  bind_value(s, 1, add.ino);
  bind_value(s, 2, add.shard);
  bind_value(s, 3, add.mtime_ns);
  bind_value(s, 4, add.subdirs);
  bind_value(s, 5, add.entries);
  if (int rc = step(s)) return rc;
  return sqlite3_changes(connection_.db()) == 0 ? kConflict : SQLITE_OK;
}

int CommitApplier::mutate(const WriteData& write, const Expectation*, MutationOutcome* outcome) {
  std::optional<AttributeHome> home;
  if (int rc = find_home(connection_, write.ino, &home)) return rc;
  if (!home || write_conflicts(write, home->attr)) return kConflict;
  outcome->number = home->attr.length;
  Result<WrittenData> written = apply_write(write, &home->attr);
  if (!written.ok()) {
    refusal_.emplace(std::move(written).error());
    return kRefused;
  }
  outcome->version = home->attr.version;
  if (int rc = update_home(*home)) return rc;
  if (int rc = count_growth(*home, write.usage_client, outcome->number)) return rc;
  if (written->drop_capability) {
    if (int rc = delete_record(xattr_key(write.ino, kCapabilityXattr))) return rc;
  }
  if (written->drop_inline) {
    if (int rc = delete_record(inline_key(write.ino))) return rc;
  }
  for (ExtentRecord& record : written->extents) {
    if (int rc = put_record(std::move(record), nullptr)) return rc;
  }
  for (ObjectId id : written->extra_references) {
    if (int rc = add_references(id, 1)) return rc;
  }
  return SQLITE_OK;
}

int CommitApplier::add_references(ObjectId id, int64_t delta) {
  std::optional<Record> record;
  if (int rc = read_record(connection_, object_key(id), false, &record)) return rc;
  const auto before = record ? std::get<ObjectRecord>(*record) : ObjectRecord{id};
  const int64_t after = before.references + delta;
  if (after > 1) {
    const auto now = static_cast<uint64_t>(clock_.now_ns());
    return put_record(ObjectRecord{id, after, std::max(before.version + 1, now)}, nullptr);
  }
  if (record) {
    if (int rc = delete_record(object_key(id))) return rc;
  }
  if (after == 1) return SQLITE_OK;
  GarbageRecord garbage{0, id};
  if (int rc = epoch(&garbage.epoch)) return rc;
  return put_record(garbage, nullptr);
}

int CommitApplier::mutate(const AddObjectReferences& add, const Expectation*, MutationOutcome*) {
  return add_references(add.id, add.delta);
}

int CommitApplier::mutate(const AddUsage& add, const Expectation*, MutationOutcome*) {
  sqlite3_stmt* s = nullptr;
  if (int rc = connection_.statement(Fixed::kAddUsage, &s)) return rc;
  bind_value(s, 1, add.scope);
  bind_value(s, 2, add.client);
  bind_value(s, 3, add.bytes);
  bind_value(s, 4, add.inodes);
  if (int rc = step(s)) return rc;
  if (sqlite3_changes(connection_.db()) != 0) return SQLITE_OK;
  return put_record(UsageRecord{add.scope, add.client, add.bytes, add.inodes}, nullptr);
}

int CommitApplier::mutate(const AddNumber& add, const Expectation*, MutationOutcome* outcome) {
  std::optional<Record> record;
  if (int rc = read_record(connection_, volume_key(add.name), false, &record)) return rc;
  VolumeRecord volume;
  volume.name = add.name;
  if (record) {
    volume = std::get<VolumeRecord>(std::move(*record));
    volume.version += 1;
  }
  outcome->number = volume.number;
  volume.number += add.delta;
  return put_record(volume, nullptr);
}

int CommitApplier::movable_entry(const Key& key, EntryRecord* entry) {
  std::optional<Record> record;
  if (int rc = read_record(connection_, key, false, &record)) return rc;
  if (!record) return kConflict;
  *entry = std::get<EntryRecord>(std::move(*record));
  return is_movable(*entry) ? SQLITE_OK : kConflict;
}

int CommitApplier::orphan_file(const EntryRecord& entry, const MoveFile& move, Attributes* after) {
  OrphanRecord orphan{moved_file(entry.attr, move.ctime_ns, true)};
  *after = orphan.attr;
  if (int rc = epoch(&orphan.epoch)) return rc;
  if (int rc = delete_record(entry_key(entry.parent, entry.name))) return rc;
  if (int rc = put_record(orphan, nullptr)) return rc;
  return mutate(AddUsage{0, move.usage_client, -static_cast<int64_t>(after->length), -1}, nullptr,
                nullptr);
}

int CommitApplier::mutate(const MoveFile& move, const Expectation*, MutationOutcome* outcome) {
  EntryRecord entry;
  if (int rc = movable_entry(move.from, &entry)) return rc;
  if (!move.to) return orphan_file(entry, move, &outcome->moved.emplace());
  std::optional<Record> there;
  if (int rc = read_record(connection_, *move.to, false, &there)) return rc;
  if (there) {
    EntryRecord replaced = std::get<EntryRecord>(std::move(*there));
    if (!move.replace || !is_movable(replaced) || *move.to == move.from) return kConflict;
    Attributes gone;
    if (int rc = orphan_file(replaced, move, &gone)) return rc;
    outcome->number = gone.ino;
    outcome->version = gone.version;
    if (move.counted_in) {
      const AddDirStat less{move.counted_in->a, move.counted_in->b, INT64_MIN, 0, -1};
      if (int rc = mutate(less, nullptr, nullptr)) return rc;
    }
  }
  if (int rc = delete_record(move.from)) return rc;
  entry.parent = move.to->a;
  entry.name = move.to->name;
  entry.attr = moved_file(entry.attr, move.ctime_ns, false);
  entry.version = entry.attr.version;
  outcome->moved = entry.attr;
  return put_record(entry, nullptr);
}

}  // namespace skerry::meta::sqlite
