// Takes back references that no extent holds.
//
// The count of a pack is committed before the slices in it are, each by its own file's flush. A
// client that dies in between, or a flush that fails for good, leaves a count that is too high, and
// an object that nothing would ever free.
//
// What is recorded minus what extents hold is the same at every moment for an object whose id lies
// below uncommitted_floor(): nobody is about to commit slices of it, and clones and removals change
// both sides in one commit. So the difference may be taken off whatever happens meanwhile, if it
// was measured rightly. The extents are scanned in several snapshots, which miss one that moves
// behind the scan; the tests against that are the ones of a collector of objects (gc.cc), and one
// more: two scans agree, and the record is the same before, between and after them.
//
// Taken off twice a difference would free what is in use. So every commit renews a record of the
// volume and expects it as it was before the measurement: of two that repair at one time the second
// does nothing.

#include <algorithm>

#include "meta/session.h"
#include "meta/table_scan.h"

namespace skerry::meta {

namespace {

constexpr size_t kObjectsPerPass = 1'000'000;
constexpr size_t kObjectsPerCommit = 1000;
constexpr char kRepairSerial[] = "reference_repair";

struct Count {
  ObjectId id = 0;
  int64_t recorded = 0;
  int64_t held = 0;  // by extents
};

class Repair {
 public:
  Repair(const OpContext& ctx, Meta& meta, ObjectId floor)
      : ctx_(ctx), meta_(meta), store_(meta.store()), floor_(floor) {}

  Result<uint64_t> run() {
    for (ObjectId first = 1; first < floor_ && !overtaken_;) {
      SKERRY_TRY(read_serial());
      SKERRY_TRY(find_records(first));
      if (counts_.empty()) break;
      first = counts_.back().id + 1;
      SKERRY_TRY(measure());
      // Few candidates are left, so the second time costs a scan but no memory.
      if (counts_.empty()) continue;
      SKERRY_TRY(measure());
      SKERRY_TRY(take_back());
    }
    return repaired_;
  }

 private:
  Status read_serial() {
    ReadRequest request;
    request.keys = {volume_key(kRepairSerial)};
    SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
    serial_ = VolumeRecord{kRepairSerial, {}, 0, 0};
    if (!read.records.at(0).has_value()) return {};
    SKERRY_ASSIGN(serial_, take_volume_record(read.records[0], kRepairSerial));
    return {};
  }

  Range records_from(ObjectId first) const {
    Range range = whole_table(Table::kObject);
    range.after = object_key(first - 1);
    range.max_a = floor_ - 1;
    return range;
  }

  Status find_records(ObjectId first) {
    counts_.clear();
    measured_ = false;
    RecordStream<ObjectRecord> records(ctx_, store_, records_from(first));
    while (counts_.size() < kObjectsPerPass) {
      SKERRY_ASSIGN(ObjectRecord * record, records.peek());
      if (record == nullptr) break;
      counts_.push_back({record->id, record->references, 0});
      records.pop();
    }
    return {};
  }

  Count* find(ObjectId id) {
    auto it = std::lower_bound(counts_.begin(), counts_.end(), id,
                               [](const Count& c, ObjectId i) { return c.id < i; });
    return it != counts_.end() && it->id == id ? &*it : nullptr;
  }

  /// Leaves the objects that are still recorded as they were, with more than extents hold, and with
  /// as many as the measurement before found.
  Status measure() {
    std::vector<int64_t> before;
    for (Count& count : counts_) before.push_back(std::exchange(count.held, 0));
    SKERRY_TRY(scan_table<ExtentRecord>(ctx_, store_, whole_table(Table::kExtent),
                                        [&](ExtentRecord& record) -> Status {
                                          for (const Extent& e : record.extents) {
                                            if (Count* count = find(e.object)) ++count->held;
                                          }
                                          return {};
                                        }));
    std::vector<bool> same(counts_.size());
    Range range = records_from(counts_.front().id);
    range.max_a = counts_.back().id;
    SKERRY_TRY(scan_table<ObjectRecord>(ctx_, store_, range, [&](ObjectRecord& record) -> Status {
      Count* count = find(record.id);
      if (count == nullptr) return {};
      same[static_cast<size_t>(count - counts_.data())] = count->recorded == record.references;
      return {};
    }));
    size_t kept = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      const Count& count = counts_[i];
      if (!same[i] || count.held >= count.recorded) continue;
      if (measured_ && count.held != before[i]) continue;
      counts_[kept++] = count;
    }
    counts_.resize(kept);
    measured_ = true;
    return {};
  }

  Status take_back() {
    for (size_t i = 0; i < counts_.size() && !overtaken_; i += kObjectsPerCommit) {
      const size_t end = std::min(counts_.size(), i + kObjectsPerCommit);
      const Key key = volume_key(kRepairSerial);
      std::vector<Expectation> expectations;
      if (serial_.version == 0) {
        expectations.push_back(ExpectAbsent{key});
      } else {
        expectations.push_back(ExpectVersion{key, serial_.version});
      }
      serial_.version += 1;
      std::vector<Mutation> mutations = {Put{serial_}};
      for (size_t c = i; c < end; ++c) {
        mutations.push_back(
            AddObjectReferences{counts_[c].id, counts_[c].held - counts_[c].recorded});
      }
      SKERRY_ASSIGN(CommitResult done, meta_.commit(ctx_, std::move(expectations),
                                                    std::move(mutations), Durability::kDurable));
      overtaken_ = !done.applied;
      if (done.applied) repaired_ += end - i;
    }
    return {};
  }

  const OpContext& ctx_;
  Meta& meta_;
  Store& store_;
  const ObjectId floor_;
  VolumeRecord serial_;
  std::vector<Count> counts_;  // by id
  bool measured_ = false;      // counts_ were held against the extents before
  bool overtaken_ = false;     // by another client that repairs
  uint64_t repaired_ = 0;
};

}  // namespace

Result<uint64_t> repair_references(const OpContext& ctx, Meta& meta, ObjectId floor) {
  return Repair(ctx, meta, floor).run();
}

}  // namespace skerry::meta
