// Reading a whole range of records, page by page, with memory bounded by one page. The pages are
// separate snapshots: a record that moves while the scan runs may be met twice or not at all, so a
// caller must say why that does not matter to it.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "meta/store.h"

namespace skerry::meta {

/// The record as its table's type. Otherwise the store is broken, and what deletes must not go on.
template <typename R>
Result<R> take_record(Record&& record) {
  if (R* typed = std::get_if<R>(&record)) return std::move(*typed);
  return Error(EIO, "the metadata store returned a record of another table");
}

/// The records of a range, one after the other.
template <typename R>
class RecordStream {
 public:
  /// `ctx` and `store` outlive the stream. `range.after` is where it begins.
  RecordStream(const OpContext& ctx, Store& store, Range range)
      : ctx_(ctx), store_(store), range_(std::move(range)) {}

  /// The current record, owned by the stream until pop(); null at the end.
  Result<R*> peek() {
    while (position_ == page_.records.size()) {
      if (!page_.more) return static_cast<R*>(nullptr);
      SKERRY_TRY(ctx_.check());
      ReadRequest request;
      request.ranges.push_back(range_);
      request.time = true;
      SKERRY_ASSIGN(ReadResult read, store_.read(ctx_, request));
      if (read.pages.size() != 1 || (read.pages[0].more && read.pages[0].records.empty())) {
        return Error(EIO, "the metadata store returned a malformed page");
      }
      page_ = std::move(read.pages[0]);
      position_ = 0;
      server_time_ns_ = read.server_time_ns;
      if (!page_.records.empty()) range_.after = key_of(page_.records.back());
    }
    if (R* typed = std::get_if<R>(&page_.records[position_])) return typed;
    return Error(EIO, "the metadata store returned a record of another table");
  }
  void pop() { ++position_; }
  /// Of the last page read.
  TimeNs server_time_ns() const { return server_time_ns_; }

 private:
  const OpContext& ctx_;
  Store& store_;
  Range range_;
  RangePage page_{{}, true};
  size_t position_ = 0;
  TimeNs server_time_ns_ = 0;
};

/// Calls `visit(R&)` (returning Status) for every record of the range.
template <typename R, typename Visit>
Status scan_table(const OpContext& ctx, Store& store, Range range, Visit&& visit) {
  RecordStream<R> stream(ctx, store, std::move(range));
  for (;;) {
    SKERRY_ASSIGN(R * record, stream.peek());
    if (record == nullptr) return {};
    SKERRY_TRY(visit(*record));
    stream.pop();
  }
}

/// The whole of `table`.
inline Range whole_table(Table table) {
  Range range;
  range.table = table;
  range.prefix_fields = 0;
  return range;
}

/// The number of a volume record that every volume has.
inline Result<VolumeRecord> take_volume_record(std::optional<Record>& found, const char* name) {
  if (!found.has_value() || !std::holds_alternative<VolumeRecord>(*found)) {
    return Error(EIO, std::string("the volume's record '") + name + "' is missing; run fsck");
  }
  return std::get<VolumeRecord>(std::move(*found));
}

}  // namespace skerry::meta
