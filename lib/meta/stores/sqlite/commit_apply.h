// Checks one commit's expectations and applies its mutations, inside the caller's transaction.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "meta/store.h"
#include "meta/stores/sqlite/connection.h"
#include "meta/stores/sqlite/wal_watch.h"

namespace skerry::meta::sqlite {

/// Beside SQLite's result codes, which are not negative:
inline constexpr int kConflict = -1;   // CommitResult says which
inline constexpr int kRefused = -2;    // refusal() says why
inline constexpr int kUnsettled = -3;  // a conflict, found after writing: roll back, apply exactly

/// One for each writing connection; used by one thread at a time.
class CommitApplier {
 public:
  CommitApplier(Connection& connection, Clock& clock, WalWatch& watch, bool record_requests)
      : connection_(connection), clock_(clock), watch_(watch), record_requests_(record_requests) {}

  /// After anything but SQLITE_OK the caller rolls back to where this began. Without `exact`,
  /// expectations of the record that a mutation replaces or removes are part of the mutation's
  /// statement; with it, each is looked at alone and in order, which tells exactly what failed.
  int apply(const CommitRequest& request, bool exact, CommitResult* result);
  Error refusal() { return std::move(*refusal_); }

  /// What was applied since the last call is not going to be committed.
  void forget() { session_ = 0; }

 private:
  int apply_now(const CommitRequest& request, bool exact, CommitResult* result);
  void fold(const CommitRequest& request);
  int check_session(ClientId session);
  int find_answer(const CommitRequest& request, CommitResult* result);
  int record_answer(const CommitRequest& request, const CommitResult& result);

  int exists(sqlite3_stmt* s, bool* found);
  int holds(const ExpectVersion& expect, bool* held);
  int holds(const ExpectAbsent& expect, bool* held);
  int holds(const ExpectExists& expect, bool* held);
  int holds(const ExpectEmpty& expect, bool* held);
  int holds(const ExpectAttributes& expect, bool* held);
  int holds(const ExpectExtentPrefix& expect, bool* held);

  // `condition`: the expectation folded into the mutation, or null.
  int mutate(const Put& put, const Expectation* condition, MutationOutcome* outcome);
  int mutate(const Delete& remove, const Expectation* condition, MutationOutcome* outcome);
  int mutate(const DeleteRange& range, const Expectation*, MutationOutcome* outcome);
  int mutate(const Patch& patch, const Expectation*, MutationOutcome* outcome);
  int mutate(const AddDirStat& add, const Expectation*, MutationOutcome* outcome);
  int mutate(const WriteData& write, const Expectation*, MutationOutcome* outcome);
  int mutate(const AddObjectReferences& add, const Expectation*, MutationOutcome* outcome);
  int mutate(const AddUsage& add, const Expectation*, MutationOutcome* outcome);
  int mutate(const AddNumber& add, const Expectation*, MutationOutcome* outcome);
  int mutate(const MoveFile& move, const Expectation*, MutationOutcome* outcome);

  int put_record(const Record& record, const Expectation* condition);
  int delete_record(const Key& key);
  int update_home(const AttributeHome& home);
  /// Patch::usage_client, WriteData::usage_client; `home` as it is after.
  int count_growth(const AttributeHome& home, ClientId client, uint64_t before);
  int add_references(ObjectId id, int64_t delta);
  /// The entry that MoveFile moves; a conflict if there is none.
  int movable_entry(const Key& key, EntryRecord* entry);
  /// A file that loses its only name.
  int orphan_file(const EntryRecord& entry, const MoveFile& move, Attributes* after);
  int epoch(uint64_t* epoch);

  Connection& connection_;
  Clock& clock_;
  WalWatch& watch_;
  const bool record_requests_;

  std::string encoded_;                // scratch of bind_record
  std::vector<int> fold_of_mutation_;  // the expectation in its statement, or -1
  std::vector<char> folded_;           // by expectation
  std::optional<Error> refusal_;
  std::optional<uint64_t> epoch_;  // the volume's, as far as the commit has been applied
  // The session last found to be there, while nobody else has committed.
  ClientId session_ = 0;
  uint64_t session_generation_ = 0;
  unsigned recorded_ = 0;
};

}  // namespace skerry::meta::sqlite
