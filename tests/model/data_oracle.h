// DataOracle: which bytes a reader may see, told only what callers told each other.
//
// Every write puts its own tag into every cell of 16 bytes. A cell may be read with the value of a
// write that had begun before the read ended and that was not surely overwritten: by another that
// surely came after it and was surely visible before the read began. A write surely took effect
// between its begin and the moment when an fsync or close of its handle was acknowledged; to its
// own client it is visible at once. Files that are only appended to are checked as lists of
// records.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "meta/records.h"

namespace skerry::model {

using meta::Ino;

inline constexpr uint64_t kCell = 16;
inline constexpr uint64_t kNever = UINT64_MAX;

/// Logical time: the order of everything callers did.
using Moment = uint64_t;

/// What a cell holds: cell number (position - base) / kCell of write `tag`; tag 0: zeros.
struct Value {
  uint64_t tag = 0;
  int64_t base = 0;
  friend auto operator<=>(const Value&, const Value&) = default;
};
struct ValueRange {
  uint64_t begin = 0, end = 0;
  std::vector<Value> values;  // any of these, cell by cell
};

/// The bytes of write `tag`; `size` is a multiple of kCell.
std::string tagged_bytes(uint64_t tag, size_t size);

class DataOracle {
 public:
  Moment tick() { return ++now_; }
  Moment now() const { return now_; }

  void created(Ino ino);
  bool knows(Ino ino) const { return files_.contains(ino); }
  /// The file gets nothing but appends.
  void set_append_only(Ino ino) { files_[ino].append_only = true; }
  bool append_only(Ino ino) const;

  enum class Kind { kBytes, kZeros, kZerosKeepSize, kTruncate, kAppend };
  struct Change {
    Kind kind = Kind::kBytes;
    int client = 0;
    uint64_t handle = 0;
    uint64_t offset = 0;  // truncate: the new length
    uint64_t length = 0;
    std::vector<ValueRange> values;  // empty: zeros
    uint64_t tag = 0;                // append
    Moment begin = 0;
    Moment ack = kNever;
    Moment sure = kNever;
    bool open_end = false;  // of a copy: perhaps shorter
    bool lost = false;      // perhaps dropped: nothing can be concluded from it any more
    uint64_t end() const { return kind == Kind::kTruncate ? UINT64_MAX : offset + length; }
  };
  /// Returns a number for acknowledged() and failed().
  uint64_t begin(Ino ino, Change change);
  /// `visible`: seen by every client from now on.
  void acknowledged(Ino ino, uint64_t id, bool visible);
  void failed(Ino ino, uint64_t id);  // certainly not applied
  /// A copy: what it takes, and how much.
  void set_values(Ino ino, uint64_t id, uint64_t length, std::vector<ValueRange> values,
                  bool open_end);
  /// An fsync or close that began at `began` was acknowledged. handle 0: what was written through
  /// any handle of the client.
  void settled(Ino ino, int client, uint64_t handle, Moment began);
  /// A sync of the whole volume that began at `began` was acknowledged.
  void all_settled(int client, Moment began);
  /// Unsettled writes of the client (to one file, or to all) may have been dropped.
  void dropped(int client, std::optional<Ino> ino = std::nullopt);

  /// Since when a call owes its caller what was done: by himself, and by others, which is earlier
  /// where he may be told of the past.
  struct Since {
    Since(Moment began) : own(began), others(began) {}  // NOLINT: the same for all
    Since(Moment began, Moment by_others) : own(began), others(by_others) {}
    Moment own, others;
  };
  /// A read by `client` between `began` and now gave `bytes` from `offset`; `wanted` were asked.
  std::optional<std::string> check_read(Ino ino, int client, Since began, uint64_t offset,
                                        size_t wanted, std::string_view bytes);
  std::optional<std::string> check_size(Ino ino, int client, Since began, uint64_t size);
  /// What a copy between `began` and now may have taken.
  std::vector<ValueRange> possible(Ino ino, int client, Since began, uint64_t offset,
                                   uint64_t length);

  /// No check under way began before this.
  void set_oldest_check(Moment moment) { oldest_check_ = moment; }

 private:
  struct File {
    bool append_only = false;
    bool cut = false;  // an append-only file that was truncated: less can be said
    uint64_t next_id = 0;
    std::map<uint64_t, Change> changes;  // by id: in order of begin
  };

  static bool surely_before(const Change& a, const Change& b);
  static bool surely_visible(const Change& change, int client, Since began);
  void prune(File& file);
  std::optional<std::string> check_records(const File& file, int client, Since began,
                                           std::string_view bytes);
  std::string describe(const File& file, uint64_t cell) const;

  std::map<Ino, File> files_;
  Moment now_ = 0;
  Moment oldest_check_ = 0;
};

}  // namespace skerry::model
