#include "meta/stores/postgres/program.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "meta/attribute_changes.h"
#include "meta/stores/postgres/layout.h"
#include "meta/stores/postgres/wire.h"

namespace skerry::meta::postgres {

namespace {

/// The same bits.
int64_t bits(uint64_t v) { return static_cast<int64_t>(v); }
int64_t small(uint32_t v) { return static_cast<int32_t>(v); }

/// The numbers and bytes of a record, in the order of its columns.
struct PutColumns {
  std::vector<int64_t>& numbers;
  std::vector<std::string>& bytes;

  void add(uint64_t v) const { numbers.push_back(bits(v)); }
  void add(int64_t v) const { numbers.push_back(v); }
  void add(const std::string& v) const { bytes.push_back(v); }
  template <typename... Values>
  void all(const Values&... values) const {
    (add(values), ...);
  }
  void attributes(const Attributes& a) const {
    all(a.ino, small(static_cast<uint32_t>(a.type)), small(a.mode), uint64_t{a.uid},
        uint64_t{a.gid}, small(a.nlink), small(a.flags), small(a.shards), a.rdev, a.length,
        a.atime_ns, a.mtime_ns, a.ctime_ns, a.btime_ns, a.version);
  }

  void operator()(const VolumeRecord& r) const { all(r.name, r.value, r.number, r.version); }
  void operator()(const EntryRecord& r) const {
    EntryRecord entry = r;
    normalize_entry(&entry);
    all(entry.parent, entry.name, uint64_t{entry.linked});
    attributes(entry.attr);
  }
  void operator()(const InodeRecord& r) const { attributes(r.attr); }
  void operator()(const OrphanRecord& r) const {
    attributes(r.attr);
    add(r.epoch);
  }
  void operator()(const LinkRecord& r) const { all(r.ino, r.parent, r.name); }
  void operator()(const DirStatRecord& r) const {
    all(r.ino, r.shard, r.mtime_ns, r.subdirs, r.entries);
  }
  void operator()(const ExtentRecord& r) const {
    all(r.ino, r.chunk, r.seq, uint64_t{r.extents.size()} * 7);
    for (const Extent& e : r.extents) {
      all(e.chunk_offset, e.length, e.object, e.object_offset, e.slice_length, e.slice_skip,
          uint64_t{e.crc});
    }
  }
  void operator()(const ObjectRecord& r) const { all(r.id, r.references, r.version); }
  void operator()(const InlineRecord& r) const { all(r.ino, uint64_t{r.crc}, r.bytes); }
  void operator()(const SymlinkRecord& r) const { all(r.ino, r.target); }
  void operator()(const XattrRecord& r) const { all(r.ino, r.name, r.value); }
  void operator()(const ClientRecord& r) const {
    all(r.id, r.heartbeat_ns, r.epoch_seen, r.first_object, r.host, r.pid, r.software);
  }
  void operator()(const PinRecord& r) const { all(r.client, r.ino); }
  void operator()(const GarbageRecord& r) const { all(r.epoch, r.object); }
  void operator()(const UsageRecord& r) const { all(r.scope, r.client, r.bytes, r.inodes); }
  void operator()(const LockRecord& r) const { all(r.client, r.ino, encode_locks(r.locks)); }
  void operator()(const LockedRecord& r) const {
    all(r.ino, r.version, uint64_t{r.clients.size()});
    for (ClientId client : r.clients) add(client);
  }
};

Place home_of(Ino ino) { return {Rank::kHome, Key{Table::kVolume, ino, 0, 0, {}}}; }
Place dirstats_of(Ino ino) { return {Rank::kOther, dirstat_key(ino, 0), true}; }
Place whole_table(Table table) { return {Rank::kTable, Key{table, 0, 0, 0, {}}}; }

/// Records that belong to one other, whose lock is theirs, or that nobody expects anything of.
bool written_blindly(Table table) {
  switch (table) {
    case Table::kLink:
    case Table::kExtent:
    case Table::kInline:
    case Table::kSymlink:
    case Table::kXattr:
    case Table::kPin:
    case Table::kGarbage:
      return true;
    default:
      return false;
  }
}

void emit(Program* program, Step step, std::initializer_list<int64_t> numbers) {
  program->numbers.push_back(static_cast<int64_t>(step));
  program->numbers.insert(program->numbers.end(), numbers);
}

void emit_row(Program* program, Step step, int64_t expectation, const Key& key, LockMode mode,
              uint64_t version, Ino ino) {
  const int64_t code = static_cast<int64_t>(key.table) * kLockModes + static_cast<int64_t>(mode);
  emit(program, step,
       {expectation, code, bits(key.a), bits(key.b), bits(key.c), bits(version), bits(ino)});
  program->bytes.push_back(key.name);
}

void lock_place(Program* program, const Place& place, LockMode mode) {
  if (place.rank == Rank::kTable) {
    emit(program, Step::kLockTable, {static_cast<int64_t>(place.key.table)});
  } else if (place.rank == Rank::kHome) {
    emit(program, Step::kHome, {-1, static_cast<int64_t>(mode), bits(place.key.a), 0});
  } else if (place.whole) {
    emit(program, Step::kDirStats, {bits(place.key.a)});
  } else {
    emit_row(program, Step::kLock, -1, place.key, mode, 0, 0);
  }
}

class Compiler {
 public:
  Compiler(const CommitRequest& request, bool exact) : request_(request), exact_(exact) {}

  Program compile() {
    fold();
    for (const Expectation& e : request_.expectations) {
      const bool folded = folded_[static_cast<size_t>(&e - request_.expectations.data())];
      if (!folded) std::visit([this](const auto& x) { plan(x); }, e);
    }
    for (const Mutation& m : request_.mutations) {
      std::visit([this](const auto& x) { plan(x); }, m);
      ++mutation_;
    }
    lock();
    for (size_t i = 0; i < request_.expectations.size(); ++i) {
      look(request_.expectations[i], static_cast<int64_t>(i));
    }
    if (!request_.expectations.empty()) emit(Step::kChecked, {});
    mutation_ = 0;
    for (const Mutation& m : request_.mutations) {
      std::visit([this](const auto& x) { mutate(x); }, m);
      ++mutation_;
    }
    program_.locks = std::move(locks_);
    return std::move(program_);
  }

 private:
  void emit(Step step, std::initializer_list<int64_t> numbers) {
    postgres::emit(&program_, step, numbers);
  }

  /// Finds the expectations of absence that the insertion itself proves.
  void fold() {
    folded_.assign(request_.expectations.size(), false);
    fold_of_mutation_.assign(request_.mutations.size(), -1);
    if (exact_) return;
    std::map<Key, size_t> inserts;
    bool closed[kTables] = {};
    for (size_t i = 0; i < request_.mutations.size(); ++i) {
      const Mutation& m = request_.mutations[i];
      if (const auto* put = std::get_if<Put>(&m)) {
        const Key key = key_of(put->record);
        const bool foldable = key.table == Table::kEntry || key.table == Table::kXattr ||
                              key.table == Table::kClient || key.table == Table::kLocked ||
                              key.table == Table::kSymlink;
        if (foldable && !closed[static_cast<size_t>(key.table)]) inserts.try_emplace(key, i);
      } else if (const auto* remove = std::get_if<Delete>(&m)) {
        // The record may be there before: not what a later Put proves.
        inserts.try_emplace(remove->key, request_.mutations.size());
      } else if (const auto* range = std::get_if<DeleteRange>(&m)) {
        closed[static_cast<size_t>(range->table)] = true;
      } else if (std::holds_alternative<Patch>(m) || std::holds_alternative<WriteData>(m)) {
        closed[static_cast<size_t>(Table::kXattr)] = true;
      } else if (std::holds_alternative<MoveFile>(m)) {
        closed[static_cast<size_t>(Table::kEntry)] = true;
      }
    }
    for (size_t i = 0; i < request_.expectations.size(); ++i) {
      const auto* absent = std::get_if<ExpectAbsent>(&request_.expectations[i]);
      if (absent == nullptr) continue;
      auto it = inserts.find(absent->key);
      if (it == inserts.end() || it->second == request_.mutations.size()) continue;
      if (fold_of_mutation_[it->second] >= 0) continue;
      fold_of_mutation_[it->second] = static_cast<int>(i);
      folded_[i] = true;
      if (program_.first_folded < 0) program_.first_folded = static_cast<int>(i);
    }
  }

  // ---- What is locked.

  void need(Place place, LockMode mode) {
    auto [it, added] = locks_.try_emplace(std::move(place), mode);
    if (!added) it->second = std::max(it->second, mode);
  }
  void need_first(Place place, LockMode mode) {
    lock_first_ = true;
    need(std::move(place), mode);
  }
  /// Of a mutation: it locks for itself if all of them come in the order of locks.
  void need_in_turn(Place place, LockMode mode) {
    if (last_ && place < *last_) lock_first_ = true;
    last_ = place;
    need(std::move(place), mode);
  }

  void plan(const ExpectVersion& e) { need_first(place_of(e.key), LockMode::kShare); }
  void plan(const ExpectExists& e) { need_first(place_of(e.key), LockMode::kKeyShare); }
  void plan(const ExpectAbsent& e) { need_first(place_of(e.key), LockMode::kKeyShare); }
  void plan(const ExpectAttributes& e) {
    need_first(home_of(e.ino), e.version == 0 ? LockMode::kKeyShare : LockMode::kShare);
  }
  void plan(const ExpectEmpty& e) {
    if (e.table == Table::kEntry) {
      need_first(dirstats_of(e.a), LockMode::kUpdate);
    } else if (e.table == Table::kExtent) {
      need_first(home_of(e.a), LockMode::kShare);
    } else {
      need_first(whole_table(e.table), LockMode::kUpdate);
    }
  }
  void plan(const ExpectExtentPrefix& e) { need_first(home_of(e.ino), LockMode::kShare); }

  void plan_epoch() { need_first(place_of(volume_key(kVolumeEpoch)), LockMode::kShare); }

  void plan(const Put& m) {
    const auto table = static_cast<Table>(m.record.index());  // in the order of the tables
    if (const auto* garbage = std::get_if<GarbageRecord>(&m.record)) {
      if (garbage->epoch == kCurrentEpoch) plan_epoch();
    }
    if (table == Table::kOrphan) plan_epoch();
    if (written_blindly(table) || fold_of_mutation_[mutation_] >= 0) return;
    need_in_turn(place_of(key_of(m.record)), LockMode::kNoKeyUpdate);
  }
  void plan(const Delete& m) {
    if (!written_blindly(m.key.table)) need_in_turn(place_of(m.key), LockMode::kUpdate);
  }
  void plan(const DeleteRange& m) {
    if (m.table == Table::kDirStat) {
      need_first(dirstats_of(m.a), LockMode::kUpdate);
    } else if (m.table == Table::kExtent || m.table == Table::kXattr || m.table == Table::kLink) {
      need_first(home_of(m.a), LockMode::kShare);
    } else {
      lock_first_ = true;
    }
  }
  void plan(const Patch& m) { need_in_turn(home_of(m.ino), LockMode::kNoKeyUpdate); }
  void plan(const WriteData& m) { need_in_turn(home_of(m.ino), LockMode::kNoKeyUpdate); }
  void plan(const AddDirStat& m) {
    need_in_turn(place_of(dirstat_key(m.ino, m.shard)), LockMode::kNoKeyUpdate);
  }
  void plan(const AddObjectReferences& m) {
    plan_epoch();
    need_in_turn(place_of(object_key(m.id)), LockMode::kUpdate);
  }
  void plan(const AddUsage& m) {
    need_in_turn(place_of(usage_key(m.scope, m.client)), LockMode::kNoKeyUpdate);
  }
  void plan(const AddNumber& m) {
    need_in_turn(place_of(volume_key(m.name)), LockMode::kNoKeyUpdate);
  }
  void plan(const MoveFile& m) {
    plan_epoch();
    need_first(place_of(m.from), LockMode::kUpdate);
    if (m.to) need_first(place_of(*m.to), LockMode::kUpdate);
    if (m.counted_in) need_first(place_of(*m.counted_in), LockMode::kNoKeyUpdate);
    need_first(place_of(usage_key(0, m.usage_client)), LockMode::kNoKeyUpdate);
  }

  // ---- Part 1: locks, and the expectations of single rows with them.

  void emit_row(Step step, int64_t expectation, const Key& key, LockMode mode, uint64_t version,
                Ino ino) {
    postgres::emit_row(&program_, step, expectation, key, mode, version, ino);
  }

  void lock() {
    if (!lock_first_) return;
    std::map<Place, std::vector<int64_t>> expectations;
    for (size_t i = 0; i < request_.expectations.size(); ++i) {
      const Expectation& e = request_.expectations[i];
      const auto index = static_cast<int64_t>(i);
      if (folded_[i]) continue;
      if (const auto* version = std::get_if<ExpectVersion>(&e)) {
        expectations[place_of(version->key)].push_back(index);
      } else if (const auto* exists = std::get_if<ExpectExists>(&e)) {
        expectations[place_of(exists->key)].push_back(index);
      } else if (const auto* absent = std::get_if<ExpectAbsent>(&e)) {
        expectations[place_of(absent->key)].push_back(index);
      } else if (const auto* attributes = std::get_if<ExpectAttributes>(&e)) {
        expectations[home_of(attributes->ino)].push_back(index);
      }
    }
    for (const auto& [place, mode] : locks_) {
      auto it = expectations.find(place);
      if (it == expectations.end()) {
        lock_place(&program_, place, mode);
        continue;
      }
      for (int64_t index : it->second) {
        look_locked(request_.expectations[static_cast<size_t>(index)], index, mode);
      }
    }
  }

  void look_locked(const Expectation& expectation, int64_t index, LockMode mode) {
    if (const auto* version = std::get_if<ExpectVersion>(&expectation)) {
      emit_row(Step::kVersion, index, version->key, mode, version->version, version->ino);
    } else if (const auto* exists = std::get_if<ExpectExists>(&expectation)) {
      emit_row(Step::kExists, index, exists->key, mode, 0, 0);
    } else if (const auto* absent = std::get_if<ExpectAbsent>(&expectation)) {
      emit_row(Step::kAbsent, index, absent->key, mode, 0, 0);
    } else {
      const auto& attributes = std::get<ExpectAttributes>(expectation);
      emit(Step::kHome,
           {index, static_cast<int64_t>(mode), bits(attributes.ino), bits(attributes.version)});
    }
  }

  // ---- Part 2: ranges.

  void look(const Expectation& expectation, int64_t index) {
    if (const auto* empty = std::get_if<ExpectEmpty>(&expectation)) {
      // A field that the table does not have is 0 in every key.
      if (layout_of(empty->table).field(0) == nullptr && empty->a != 0) return;
      emit(Step::kEmpty, {index, static_cast<int64_t>(empty->table), bits(empty->a)});
    } else if (const auto* prefix = std::get_if<ExpectExtentPrefix>(&expectation)) {
      emit(Step::kPrefix, {index, bits(prefix->ino), bits(prefix->chunk), clamped(prefix->last_seq),
                           bits(prefix->count)});
    }
  }

  // ---- Part 3.

  int64_t number_of_mutation() const { return static_cast<int64_t>(mutation_); }

  void mutate(const Put& m) {
    emit(Step::kPut, {number_of_mutation(), static_cast<int64_t>(m.record.index()),
                      fold_of_mutation_[mutation_], exact_ ? 1 : 0});
    append_columns(m.record, &program_.numbers, &program_.bytes);
  }
  void mutate(const Delete& m) {
    emit(Step::kDelete,
         {static_cast<int64_t>(m.key.table), bits(m.key.a), bits(m.key.b), bits(m.key.c)});
    program_.bytes.push_back(m.key.name);
  }
  void mutate(const DeleteRange& m) {
    const TableLayout& t = layout_of(m.table);
    if (t.field(0) == nullptr && m.a != 0) return;
    if (t.field(1) == nullptr && m.b.value_or(0) != 0) return;
    emit(Step::kDeleteRange, {static_cast<int64_t>(m.table), bits(m.a), m.b ? 1 : 0,
                              bits(m.b.value_or(0)), clamped(m.max_c.value_or(INT64_MAX))});
  }
  void mutate(const Patch& m) {
    int64_t mask = 0;
    auto value = [&mask](const auto& optional, ChangeBit bit) -> int64_t {
      if (!optional) return 0;
      mask |= bit;
      return static_cast<int64_t>(*optional);
    };
    const int64_t mode = value(m.mode, kSetsMode), uid = value(m.uid, kSetsUid);
    const int64_t gid = value(m.gid, kSetsGid), length = value(m.length, kSetsLength);
    const int64_t atime = value(m.atime_ns, kSetsAtime), mtime = value(m.mtime_ns, kSetsMtime);
    const int64_t ctime = value(m.ctime_ns, kSetsCtime);
    if (m.keep_version) mask |= kKeepsVersion;
    emit(Step::kChange, {number_of_mutation(),
                         bits(m.ino),
                         mask,
                         mode,
                         uid,
                         gid,
                         length,
                         atime,
                         mtime,
                         ctime,
                         clamped(m.max_length),
                         m.max_mtime_ns,
                         m.max_ctime_ns,
                         m.max_atime_ns,
                         small(m.clear_mode),
                         small(m.clear_flags),
                         small(m.set_flags),
                         m.add_nlink,
                         bits(m.usage_client),
                         0,
                         0,
                         0});
  }
  void mutate(const WriteData& m) {
    int64_t mask = kIsWrite;
    if (m.append) mask |= kAppends;
    if (m.replace_inline) mask |= kReplacesInline;
    if (m.extend) mask |= kExtends;
    emit(Step::kChange, {number_of_mutation(),
                         bits(m.ino),
                         mask,
                         0,
                         0,
                         0,
                         0,
                         0,
                         0,
                         0,
                         0,
                         m.mtime_ns,
                         m.mtime_ns,
                         INT64_MIN,
                         small(m.clear_mode),
                         kFlagInline | kFlagCapability,
                         0,
                         0,
                         bits(m.usage_client),
                         clamped(m.offset),
                         clamped(m.length),
                         static_cast<int64_t>(m.pieces.size())});
    for (const Extent& e : m.pieces) {
      for (uint64_t v : {e.chunk_offset, e.length, e.object, e.object_offset, e.slice_length,
                         e.slice_skip, uint64_t{e.crc}}) {
        program_.numbers.push_back(bits(v));
      }
    }
  }
  void mutate(const AddDirStat& m) {
    emit(Step::kAddDirStat, {number_of_mutation(), bits(m.ino), bits(m.shard), m.mtime_ns,
                             m.subdirs, m.entries, m.replace_time ? 1 : 0});
  }
  void mutate(const AddObjectReferences& m) { emit(Step::kAddReferences, {bits(m.id), m.delta}); }
  void mutate(const AddUsage& m) {
    emit(Step::kAddUsage, {bits(m.scope), bits(m.client), m.bytes, m.inodes});
  }
  void mutate(const AddNumber& m) {
    emit(Step::kAddNumber, {bits(m.delta)});
    program_.bytes.push_back(m.name);
  }
  void mutate(const MoveFile& m) {
    const Key none;
    const Key& to = m.to ? *m.to : none;
    const Key& counted = m.counted_in ? *m.counted_in : none;
    emit(Step::kMove,
         {number_of_mutation(), bits(m.from.a),
          !m.to       ? 0
          : m.replace ? 2
                      : 1,
          bits(to.a), m.ctime_ns, bits(m.usage_client), bits(counted.a), bits(counted.b)});
    program_.bytes.push_back(m.from.name);
    program_.bytes.push_back(to.name);
  }

  const CommitRequest& request_;
  const bool exact_;
  Program program_;
  std::vector<bool> folded_;           // by expectation
  std::vector<int> fold_of_mutation_;  // the expectation in its step, or -1
  LockSet locks_;
  bool lock_first_ = false;    // part 1 is there
  std::optional<Place> last_;  // of the mutations planned so far
  size_t mutation_ = 0;        // the one that is planned or written
};

}  // namespace

Place place_of(const Key& key) {
  const Rank rank = key.table == Table::kClient   ? Rank::kClient
                    : key.table == Table::kVolume ? Rank::kVolume
                    : key.table == Table::kEntry  ? Rank::kEntry
                                                  : Rank::kOther;
  return {rank, key};
}

void append_columns(const Record& record, std::vector<int64_t>* numbers,
                    std::vector<std::string>* bytes) {
  std::visit(PutColumns{*numbers, *bytes}, record);
}

Program compile(const CommitRequest& request, bool exact) {
  return Compiler(request, exact).compile();
}

void merge_locks(const LockSet& some, LockSet* all) {
  for (const auto& [place, mode] : some) {
    auto [it, added] = all->try_emplace(place, mode);
    if (!added) it->second = std::max(it->second, mode);
  }
}

Program lock_program(const LockSet& locks) {
  Program program;
  for (const auto& [place, mode] : locks) lock_place(&program, place, mode);
  return program;
}

bool decode_outcomes(const CommitRequest& request, const std::vector<int64_t>& numbers,
                     std::vector<MutationOutcome>* outcomes) {
  size_t next = 0;
  outcomes->assign(request.mutations.size(), {});
  const size_t attributes = attribute_columns().size();
  for (size_t i = 0; i < request.mutations.size(); ++i) {
    const Mutation& m = request.mutations[i];
    MutationOutcome& outcome = (*outcomes)[i];
    if (std::holds_alternative<MoveFile>(m)) {
      if (next + attributes > numbers.size()) return false;
      const auto first = numbers.begin() + static_cast<std::ptrdiff_t>(next);
      const auto end = first + static_cast<std::ptrdiff_t>(attributes);
      if (!attributes_of({first, end}, &outcome.moved.emplace())) return false;
      next += attributes;
    } else if (!std::holds_alternative<Patch>(m) && !std::holds_alternative<WriteData>(m) &&
               !std::holds_alternative<AddNumber>(m)) {
      continue;
    }
    if (next + 2 > numbers.size()) return false;
    outcome.number = static_cast<uint64_t>(numbers[next]);
    outcome.version = static_cast<uint64_t>(numbers[next + 1]);
    next += 2;
  }
  return next == numbers.size();
}

}  // namespace skerry::meta::postgres
