// Takes back references that no extent holds.
//
// The count of a pack is committed before the slices in it are, each by its own file's flush. A
// client that dies in between, or a flush that fails for good, leaves a count that is too high, and
// an object that nothing would ever free.
//
// A record's version tells whether its count was changed since, even if it is the same again. Who
// adds or takes an extent of an object with an id below uncommitted_floor() changes its count in
// the same commit: nobody is about to commit slices of it. So if the version is the same before and
// after a scan of the extents, the scan has met each extent of the object; or met it twice, where a
// chunk was rewritten ahead of the scan, and a count that seems too low is left alone.

#include <algorithm>

#include "meta/session.h"
#include "meta/table_scan.h"

namespace skerry::meta {

namespace {

constexpr size_t kObjectsPerPass = 1'000'000;
constexpr size_t kObjectsPerCommit = 1000;

struct Count {
  ObjectId id = 0;
  int64_t recorded = 0;
  uint64_t version = 0;
  int64_t held = 0;  // by extents
};

class Repair {
 public:
  Repair(const OpContext& ctx, Meta& meta, ObjectId floor)
      : ctx_(ctx), meta_(meta), store_(meta.store()), floor_(floor) {}

  Result<uint64_t> run() {
    for (ObjectId first = 1; first < floor_;) {
      SKERRY_TRY(find_records(first));
      if (counts_.empty()) break;
      first = counts_.back().id + 1;
      SKERRY_TRY(measure());
      SKERRY_TRY(take_back());
    }
    return repaired_;
  }

 private:
  Range records_from(ObjectId first) const {
    Range range = whole_table(Table::kObject);
    range.after = object_key(first - 1);
    range.max_a = floor_ - 1;
    return range;
  }

  Status find_records(ObjectId first) {
    counts_.clear();
    RecordStream<ObjectRecord> records(ctx_, store_, records_from(first));
    while (counts_.size() < kObjectsPerPass) {
      SKERRY_ASSIGN(ObjectRecord * record, records.peek());
      if (record == nullptr) break;
      counts_.push_back({record->id, record->references, record->version, 0});
      records.pop();
    }
    return {};
  }

  Count* find(ObjectId id) {
    auto it = std::lower_bound(counts_.begin(), counts_.end(), id,
                               [](const Count& c, ObjectId i) { return c.id < i; });
    return it != counts_.end() && it->id == id ? &*it : nullptr;
  }

  /// Leaves those with more than extents hold.
  Status measure() {
    SKERRY_TRY(scan_table<ExtentRecord>(ctx_, store_, whole_table(Table::kExtent),
                                        [&](ExtentRecord& record) -> Status {
                                          for (const Extent& e : record.extents) {
                                            if (Count* count = find(e.object)) ++count->held;
                                          }
                                          return {};
                                        }));
    std::erase_if(counts_, [](const Count& count) { return count.held >= count.recorded; });
    return {};
  }

  Status take_back() {
    while (!counts_.empty()) {
      const size_t n = std::min(counts_.size(), kObjectsPerCommit);
      std::vector<Expectation> expectations;
      std::vector<Mutation> mutations;
      for (size_t i = 0; i < n; ++i) {
        const Count& count = counts_[i];
        expectations.push_back(ExpectVersion{object_key(count.id), count.version});
        mutations.push_back(AddObjectReferences{count.id, count.held - count.recorded});
      }
      SKERRY_ASSIGN(CommitResult done, meta_.commit(ctx_, std::move(expectations),
                                                    std::move(mutations), Durability::kDurable));
      const auto begin = counts_.begin();
      if (done.applied) {
        repaired_ += n;
        counts_.erase(begin, begin + static_cast<ptrdiff_t>(n));
      } else {  // that one was in use meanwhile: the next run measures it anew
        counts_.erase(begin + std::max(done.failed_expectation, 0));
      }
    }
    return {};
  }

  const OpContext& ctx_;
  Meta& meta_;
  Store& store_;
  const ObjectId floor_;
  std::vector<Count> counts_;  // by id
  uint64_t repaired_ = 0;
};

}  // namespace

Result<uint64_t> repair_references(const OpContext& ctx, Meta& meta, ObjectId floor) {
  return Repair(ctx, meta, floor).run();
}

}  // namespace skerry::meta
