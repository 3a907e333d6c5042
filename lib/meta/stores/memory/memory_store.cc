#include "meta/stores/memory/memory_store.h"

#include <algorithm>

#include "meta/attribute_changes.h"

namespace skerry::meta {

namespace {

/// Answers kept for repeated requests: far more than can be in flight at once.
constexpr size_t kMaxAnswers = 16384;

using Outcome = std::optional<MutationOutcome>;

Attributes& attributes_of(Record& record) {
  if (auto* entry = std::get_if<EntryRecord>(&record)) return entry->attr;
  if (auto* inode = std::get_if<InodeRecord>(&record)) return inode->attr;
  return std::get<OrphanRecord>(record).attr;
}
const Attributes& attributes_of(const Record& record) {
  return attributes_of(const_cast<Record&>(record));
}

uint64_t version_of(const Record& record) {
  if (const auto* volume = std::get_if<VolumeRecord>(&record)) return volume->version;
  if (const auto* entry = std::get_if<EntryRecord>(&record)) return entry->version;
  if (const auto* inode = std::get_if<InodeRecord>(&record)) return inode->attr.version;
  if (const auto* orphan = std::get_if<OrphanRecord>(&record)) return orphan->attr.version;
  if (const auto* object = std::get_if<ObjectRecord>(&record)) return object->version;
  if (const auto* locked = std::get_if<LockedRecord>(&record)) return locked->version;
  return 0;
}

}  // namespace

const Record* MemoryDatabase::find(const Key& key) {
  Rows& table = rows(key.table);
  auto it = table.find(key);
  return it == table.end() ? nullptr : &it->second;
}

void MemoryDatabase::index(const Record& record, bool add) {
  const auto* entry = std::get_if<EntryRecord>(&record);
  if (entry == nullptr || entry->linked) return;
  if (add) {
    unlinked_entry_[entry->attr.ino] = entry_key(entry->parent, entry->name);
  } else {
    unlinked_entry_.erase(entry->attr.ino);
  }
}

void MemoryDatabase::set(const Key& key, std::optional<Record> record) {
  Rows& table = rows(key.table);
  auto it = table.find(key);
  Undo undo{key, std::nullopt};
  if (it != table.end()) {
    index(it->second, false);
    undo.before = std::move(it->second);
    if (!record) table.erase(it);
  }
  if (record) {
    index(*record, true);
    if (it != table.end()) {
      it->second = std::move(*record);
    } else {
      table.emplace(key, std::move(*record));
    }
  }
  undo_.push_back(std::move(undo));
}

void MemoryDatabase::roll_back() {
  std::vector<Undo> undo = std::move(undo_);
  undo_.clear();
  for (auto it = undo.rbegin(); it != undo.rend(); ++it) set(it->key, std::move(it->before));
  undo_.clear();
}

const Record* MemoryDatabase::find_home(Ino ino) {
  if (auto it = unlinked_entry_.find(ino); it != unlinked_entry_.end()) return find(it->second);
  if (const Record* inode = find(inode_key(ino))) return inode;
  return find(orphan_key(ino));
}

uint64_t MemoryDatabase::epoch() {
  const Record* record = find(volume_key(kVolumeEpoch));
  return record == nullptr ? 0 : std::get<VolumeRecord>(*record).number;
}

void MemoryDatabase::join_directory(Attributes* attr) {
  if (!attr->is_dir()) return;
  Rows& table = rows(Table::kDirStat);
  for (auto it = table.lower_bound(dirstat_key(attr->ino, 0));
       it != table.end() && it->first.a == attr->ino; ++it) {
    const auto& stat = std::get<DirStatRecord>(it->second);
    attr->mtime_ns = std::max(attr->mtime_ns, stat.mtime_ns);
    attr->ctime_ns = std::max(attr->ctime_ns, stat.mtime_ns);
    attr->nlink += static_cast<uint32_t>(stat.subdirs);
  }
}

void MemoryDatabase::join_entry(EntryRecord* entry) {
  if (entry->linked) {
    if (const Record* inode = find(inode_key(entry->attr.ino))) entry->attr = attributes_of(*inode);
  }
  join_directory(&entry->attr);
}

Record MemoryDatabase::joined(const Record& record) {
  Record result = record;
  if (auto* entry = std::get_if<EntryRecord>(&result)) {
    join_entry(entry);
  } else if (std::holds_alternative<InodeRecord>(result) ||
             std::holds_alternative<OrphanRecord>(result)) {
    join_directory(&attributes_of(result));
  }
  return result;
}

RangePage MemoryDatabase::read_range(const Range& range, bool join) {
  Key first{range.table, 0, 0, 0, {}};
  if (range.after) first = *range.after;
  first.table = range.table;
  if (range.prefix_fields >= 1) first.a = range.a;
  if (range.prefix_fields >= 2) first.b = range.b;
  Rows& table = rows(range.table);
  auto it = range.after ? table.upper_bound(first) : table.lower_bound(first);
  RangePage page;
  for (; it != table.end(); ++it) {
    const Key& key = it->first;
    if (range.prefix_fields >= 1 && key.a != range.a) break;
    if (range.prefix_fields >= 2 && key.b != range.b) break;
    if (range.prefix_fields == 0 && range.max_a && key.a > *range.max_a) break;
    if (page.records.size() >= std::max<uint32_t>(range.limit, 1)) {
      page.more = true;
      break;
    }
    const auto* entry = std::get_if<EntryRecord>(&it->second);
    if (entry != nullptr && !range.with_attributes) {
      EntryRecord bare;
      bare.parent = entry->parent;
      bare.name = entry->name;
      bare.attr.ino = entry->attr.ino;
      bare.attr.type = entry->attr.type;
      page.records.emplace_back(std::move(bare));
    } else {
      page.records.push_back(join ? joined(it->second) : it->second);
    }
  }
  return page;
}

bool MemoryDatabase::holds(const Expectation& expectation) {
  if (const auto* expect = std::get_if<ExpectVersion>(&expectation)) {
    const Record* record = find(expect->key);
    if (record == nullptr || version_of(*record) != expect->version) return false;
    const auto* entry = std::get_if<EntryRecord>(record);
    return entry == nullptr || entry->attr.ino == expect->ino;
  }
  if (const auto* expect = std::get_if<ExpectAbsent>(&expectation)) {
    return find(expect->key) == nullptr;
  }
  if (const auto* expect = std::get_if<ExpectExists>(&expectation)) {
    return find(expect->key) != nullptr;
  }
  if (const auto* expect = std::get_if<ExpectEmpty>(&expectation)) {
    Rows& table = rows(expect->table);
    auto it = table.lower_bound(Key{expect->table, expect->a, 0, 0, {}});
    return it == table.end() || it->first.a != expect->a;
  }
  if (const auto* expect = std::get_if<ExpectAttributes>(&expectation)) {
    const Record* home = find_home(expect->ino);
    return home != nullptr &&
           (expect->version == 0 || attributes_of(*home).version == expect->version);
  }
  const auto& expect = std::get<ExpectExtentPrefix>(expectation);
  Rows& table = rows(Table::kExtent);
  auto first = table.lower_bound(extent_key(expect.ino, expect.chunk, 0));
  auto last = table.upper_bound(extent_key(expect.ino, expect.chunk, expect.last_seq));
  return static_cast<uint64_t>(std::distance(first, last)) == expect.count;
}

Result<Outcome> MemoryDatabase::apply(const Mutation& mutation) {
  return std::visit([this](const auto& m) { return apply_mutation(m); }, mutation);
}

Result<Outcome> MemoryDatabase::apply_mutation(const Put& put) {
  Record record = put.record;
  if (auto* entry = std::get_if<EntryRecord>(&record)) {
    normalize_entry(entry);
    if (!entry->linked) {
      auto it = unlinked_entry_.find(entry->attr.ino);
      if (it != unlinked_entry_.end() && it->second != entry_key(entry->parent, entry->name)) {
        return Outcome();  // a second home for the inode
      }
    }
  } else if (auto* client = std::get_if<ClientRecord>(&record)) {
    client->heartbeat_ns = clock_.now_ns();
  } else if (auto* orphan = std::get_if<OrphanRecord>(&record)) {
    orphan->epoch = epoch();
  } else if (auto* garbage = std::get_if<GarbageRecord>(&record)) {
    if (garbage->epoch == kCurrentEpoch) garbage->epoch = epoch();
  }
  Key key = key_of(record);
  set(key, std::move(record));
  return Outcome(MutationOutcome{});
}

Result<Outcome> MemoryDatabase::apply_mutation(const Delete& remove) {
  if (find(remove.key) != nullptr) set(remove.key, std::nullopt);
  return Outcome(MutationOutcome{});
}

Result<Outcome> MemoryDatabase::apply_mutation(const DeleteRange& range) {
  Rows& table = rows(range.table);
  std::vector<Key> doomed;
  for (auto it = table.lower_bound(Key{range.table, range.a, range.b.value_or(0), 0, {}});
       it != table.end() && it->first.a == range.a; ++it) {
    if (range.b && it->first.b != *range.b) break;
    if (!range.max_c || it->first.c <= *range.max_c) doomed.push_back(it->first);
  }
  for (const Key& key : doomed) set(key, std::nullopt);
  return Outcome(MutationOutcome{});
}

void MemoryDatabase::put_home(const Key& key, Attributes attr) {
  Record record = *find(key);
  if (auto* entry = std::get_if<EntryRecord>(&record)) entry->version = attr.version;
  attributes_of(record) = attr;
  set(key, std::move(record));
}

void MemoryDatabase::add_usage(const AddUsage& add) {
  const Key key = usage_key(add.scope, add.client);
  UsageRecord usage{add.scope, add.client, 0, 0};
  if (const Record* record = find(key)) usage = std::get<UsageRecord>(*record);
  usage.bytes += add.bytes;
  usage.inodes += add.inodes;
  set(key, usage);
}

void MemoryDatabase::remove_capability(Ino ino) {
  const Key key = xattr_key(ino, kCapabilityXattr);
  if (find(key) != nullptr) set(key, std::nullopt);
}

void MemoryDatabase::count_growth(const Key& home, ClientId client, uint64_t before,
                                  uint64_t after) {
  // A file without a name was taken out of the count when it lost its last one.
  if (client == 0 || before == after || home.table == Table::kOrphan) return;
  add_usage({0, client, static_cast<int64_t>(after - before), 0});
}

Result<Outcome> MemoryDatabase::apply_mutation(const Patch& patch) {
  const Record* home = find_home(patch.ino);
  if (home == nullptr) return Outcome();
  Attributes attr = attributes_of(*home);
  const uint64_t length_before = attr.length;
  const bool drop_capability = drops_capability(patch, attr);
  apply_patch(patch, &attr);
  const Key key = key_of(*home);
  put_home(key, attr);
  if (drop_capability) remove_capability(patch.ino);
  count_growth(key, patch.usage_client, length_before, attr.length);
  return Outcome(MutationOutcome{length_before, attr.version});
}

Result<Outcome> MemoryDatabase::apply_mutation(const AddDirStat& add) {
  const Key key = dirstat_key(add.ino, add.shard);
  const Record* record = find(key);
  if (record == nullptr) return Outcome();
  DirStatRecord stat = std::get<DirStatRecord>(*record);
  stat.mtime_ns = add.replace_time ? add.mtime_ns : std::max(stat.mtime_ns, add.mtime_ns);
  stat.subdirs += add.subdirs;
  stat.entries += add.entries;
  set(key, stat);
  return Outcome(MutationOutcome{});
}

Result<Outcome> MemoryDatabase::apply_mutation(const WriteData& write) {
  const Record* home = find_home(write.ino);
  if (home == nullptr || write_conflicts(write, attributes_of(*home))) return Outcome();
  Attributes attr = attributes_of(*home);
  const uint64_t length_before = attr.length;
  SKERRY_ASSIGN(WrittenData written, apply_write(write, &attr));
  const Key key = key_of(*home);
  put_home(key, attr);
  count_growth(key, write.usage_client, length_before, attr.length);
  if (written.drop_capability) remove_capability(write.ino);
  if (written.drop_inline && find(inline_key(write.ino)) != nullptr) {
    set(inline_key(write.ino), std::nullopt);
  }
  for (ExtentRecord& record : written.extents) {
    Key place = extent_key(record.ino, record.chunk, record.seq);
    set(place, std::move(record));
  }
  for (ObjectId id : written.extra_references) add_references(id, 1);
  return Outcome(MutationOutcome{length_before, attr.version});
}

void MemoryDatabase::add_references(ObjectId id, int64_t delta) {
  const Record* record = find(object_key(id));
  const auto before = record == nullptr ? ObjectRecord{id} : std::get<ObjectRecord>(*record);
  const int64_t after = before.references + delta;
  if (after > 1) {
    const auto now = static_cast<uint64_t>(clock_.now_ns());
    set(object_key(id), ObjectRecord{id, after, std::max(before.version + 1, now)});
    return;
  }
  if (record != nullptr) set(object_key(id), std::nullopt);
  if (after < 1) {
    GarbageRecord garbage{epoch(), id};
    set(garbage_key(garbage.epoch, id), garbage);
  }
}

Result<Outcome> MemoryDatabase::apply_mutation(const AddObjectReferences& add) {
  add_references(add.id, add.delta);
  return Outcome(MutationOutcome{});
}

Result<Outcome> MemoryDatabase::apply_mutation(const AddUsage& add) {
  add_usage(add);
  return Outcome(MutationOutcome{});
}

Result<Outcome> MemoryDatabase::apply_mutation(const AddNumber& add) {
  const Key key = volume_key(add.name);
  VolumeRecord volume;
  volume.name = add.name;
  if (const Record* record = find(key)) {
    volume = std::get<VolumeRecord>(*record);
    volume.version += 1;
  }
  const uint64_t before = volume.number;
  volume.number += add.delta;
  set(key, std::move(volume));
  return Outcome(MutationOutcome{before, 0});
}

Attributes MemoryDatabase::orphan_file(const EntryRecord& entry, const MoveFile& move) {
  const Attributes attr = moved_file(entry.attr, move.ctime_ns, true);
  set(entry_key(entry.parent, entry.name), std::nullopt);
  set(orphan_key(attr.ino), OrphanRecord{attr, epoch()});
  add_usage({0, move.usage_client, -static_cast<int64_t>(attr.length), -1});
  return attr;
}

Result<Outcome> MemoryDatabase::apply_mutation(const MoveFile& move) {
  const Record* from = find(move.from);
  if (from == nullptr || !is_movable(std::get<EntryRecord>(*from))) return Outcome();
  EntryRecord entry = std::get<EntryRecord>(*from);
  MutationOutcome outcome;
  if (!move.to) {
    outcome.moved = orphan_file(entry, move);
    return Outcome(outcome);
  }
  if (const Record* there = find(*move.to)) {
    const EntryRecord replaced = std::get<EntryRecord>(*there);
    if (!move.replace || !is_movable(replaced) || *move.to == move.from) return Outcome();
    const Attributes gone = orphan_file(replaced, move);
    outcome.number = gone.ino;
    outcome.version = gone.version;
    if (move.counted_in) {
      Result<Outcome> counted =
          apply_mutation(AddDirStat{move.counted_in->a, move.counted_in->b, INT64_MIN, 0, -1});
      if (!counted.ok() || !counted->has_value()) return counted;
    }
  }
  set(move.from, std::nullopt);
  entry.parent = move.to->a;
  entry.name = move.to->name;
  entry.attr = moved_file(entry.attr, move.ctime_ns, false);
  entry.version = entry.attr.version;
  outcome.moved = entry.attr;
  set(*move.to, std::move(entry));
  return Outcome(outcome);
}

Result<CommitResult> MemoryDatabase::commit_locked(const CommitRequest& request) {
  CommitResult result;
  if (request.session != 0 && find(client_key(request.session)) == nullptr) {
    return Error(ESTALE, "this client's session was removed from the volume");
  }
  for (size_t i = 0; i < request.expectations.size(); ++i) {
    if (holds(request.expectations[i])) continue;
    result.failed_expectation = static_cast<int>(i);
    return result;
  }
  for (size_t i = 0; i < request.mutations.size(); ++i) {
    Result<Outcome> outcome = apply(request.mutations[i]);
    if (!outcome.ok()) {
      roll_back();
      return std::move(outcome).error();
    }
    if (!outcome->has_value()) {
      roll_back();
      result.failed_mutation = static_cast<int>(i);
      result.outcomes.clear();
      return result;
    }
    result.outcomes.push_back(**outcome);
  }
  undo_.clear();
  result.applied = true;
  return result;
}

void MemoryDatabase::remember(const RequestId& id, const CommitResult& result) {
  if (id == RequestId{}) return;
  answers_.emplace(id, result);
  answered_.push_back(id);
  if (answered_.size() > kMaxAnswers) {
    answers_.erase(answered_.front());
    answered_.pop_front();
  }
}

MemoryStore::MemoryStore(std::shared_ptr<MemoryDatabase> database)
    : database_(std::move(database)) {
  std::lock_guard lock(database_->mutex_);
  database_->stores_.push_back(this);
}

MemoryStore::~MemoryStore() {
  std::lock_guard lock(database_->mutex_);
  std::erase(database_->stores_, this);
}

Result<ReadResult> MemoryStore::read(const OpContext& ctx, const ReadRequest& request) {
  SKERRY_TRY(ctx.check());
  MemoryDatabase& db = *database_;
  std::lock_guard lock(db.mutex_);
  ReadResult result;
  if (request.time) result.server_time_ns = db.clock_.now_ns();
  for (const Key& key : request.keys) {
    const Record* record = db.find(key);
    if (record == nullptr) {
      result.records.emplace_back();
    } else {
      result.records.emplace_back(request.join ? db.joined(*record) : *record);
    }
  }
  for (const Range& range : request.ranges) {
    result.pages.push_back(db.read_range(range, request.join));
  }
  for (Ino ino : request.inodes) {
    const Record* record = db.find_home(ino);
    if (record == nullptr) {
      result.homes.emplace_back();
      continue;
    }
    const Key key = key_of(*record);
    AttributeHome home{key.table, 0, {}, attributes_of(*record)};
    if (key.table == Table::kEntry) {
      home.parent = key.a;
      home.name = key.name;
    }
    if (request.join) db.join_directory(&home.attr);
    result.homes.emplace_back(std::move(home));
  }
  return result;
}

Result<CommitResult> MemoryStore::commit(const OpContext& ctx, CommitRequest request) {
  SKERRY_TRY(ctx.check());
  MemoryDatabase& db = *database_;
  std::lock_guard lock(db.mutex_);
  if (auto it = db.answers_.find(request.request); it != db.answers_.end()) return it->second;
  SKERRY_ASSIGN(CommitResult result, db.commit_locked(request));
  if (!result.applied) return result;
  db.remember(request.request, result);
  if (!request.mutations.empty()) {
    for (MemoryStore* store : db.stores_) {
      if (store != this) store->others_.fetch_add(1, std::memory_order_release);
    }
  }
  return result;
}

}  // namespace skerry::meta
