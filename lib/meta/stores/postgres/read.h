// The statements of a volume, and reads made of them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "meta/store.h"
#include "meta/stores/postgres/connection.h"
#include "meta/stores/postgres/layout.h"

namespace skerry::meta::postgres {

/// Every statement that a store sends, for one schema. Immutable.
class Statements {
 public:
  explicit Statements(const std::string& schema);

  struct OfTable {
    std::array<Statement, 2> by_key;                  // with `join`
    std::array<std::array<Statement, 12>, 2> ranges;  // 4 * prefix + 2 with after + 1 bare
  };
  std::array<OfTable, kTables> tables;
  std::array<Statement, 2> home;  // with `join`
  Statement resolve, now, begin_snapshot, begin_serializable, end, commit, settle, trim;
};

/// What one read sends, and what it makes of the answer.
class ReadPlan {
 public:
  ReadPlan(const Statements& statements, const ReadRequest& request);
  const std::vector<Call>& calls() const { return calls_; }
  /// EIO if a record is malformed. `answer` has no error.
  Result<ReadResult> result(const Answer& answer) const;

 private:
  void add_key(const Key& key);
  void add_range(const Range& range);

  const Statements& statements_;
  const ReadRequest& request_;
  std::vector<Call> calls_;
  std::vector<int> ranges_;  // the call of each range, or -1: nothing can be in it
};

/// Of Statements::home, with or without `join`.
std::optional<AttributeHome> found_home(const PGresult* result, bool join);
/// Of Statements::resolve.
Result<std::vector<EntryRecord>> resolved(const PGresult* result);

}  // namespace skerry::meta::postgres
