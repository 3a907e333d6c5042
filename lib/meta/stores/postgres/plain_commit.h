// The common commits as plain statements: those that make, remove and rename files.
//
// The function of program.h costs the server more than the statements it runs, so these commits do
// without it. They are one pipeline, which is one transaction and one round trip, and what does not
// hold is an error that undoes all of it. Then the function is asked, which tells what it was. What
// is locked and in which order is as program.h says it, except that:
//   - mutations lock for themselves what no expectation names, in the order of the places, behind
//     all expectations;
//   - the session's row and the epoch are locked in passing, shared. Who locks them otherwise (to
//     end a session, to begin an epoch) does it before anything else.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "meta/store.h"
#include "meta/stores/postgres/connection.h"
#include "meta/stores/postgres/program.h"

namespace skerry::meta::postgres {

/// The statements, for one schema. Immutable.
class PlainStatements {
 public:
  static constexpr size_t kMostDirectories = 2;  // whose counters one commit changes

  explicit PlainStatements(const std::string& schema);

  struct OfTable {
    Statement insert;  // an error if the key is there
    Statement put;
    Statement remove;
    Statement remove_version;                      // an error unless it is at the version
    std::array<Statement, kLockModes> at_version;  // as well
    std::array<Statement, kLockModes> exists;      // an error unless it is there
  };
  std::array<OfTable, kTables> tables;  // empty for those that plain commits do not touch
  Statement count_children, use;
  /// Away or to another name; of no session or one; with the counters of one directory or two.
  std::array<std::array<std::array<Statement, kMostDirectories>, 2>, 2> move;
  std::array<Statement, 2> create;  // of no session or one
  /// An error if a directory is gone, or the session of [1].
  std::array<std::array<Statement, kMostDirectories + 1>, 2> request;
};

/// A part of a plain commit.
struct PlainCall {
  Call call;
  Place place;
};

/// Those of entries come first. They stay in their order, others are in the order of places; the
/// request's row is last.
using PlainCommit = std::vector<PlainCall>;

/// Null if it is no common commit, or one without an id.
std::shared_ptr<const PlainCommit> plain_commit(const PlainStatements& statements,
                                                const CommitRequest& request);

/// A whole commit as one statement, in which a conflict is no error: it returns a row with the
/// outcomes, or none where there was a conflict, or something has to be replaced. Then nothing has
/// changed, and the function finds out what it was, or does it.
struct WholeCommit {
  Call call;
  LockSet locks;  // with those on what it finds absent
};
/// One MoveFile and what it adds to the counters of directories. Null: it is another.
std::optional<WholeCommit> move_commit(const PlainStatements& statements,
                                       const CommitRequest& request);
/// A new entry with what it adds to one directory's counters and to usage. Null: it is another.
std::optional<Call> create_commit(const PlainStatements& statements, const CommitRequest& request);

/// Of an error that says that something does not hold. Only the function can tell what it was: an
/// earlier expectation may fail as well, the session may be gone, the commit may be there already.
bool is_refusal(const ServerError& error);

/// Several commits as one transaction, which is as if they had come one after another. They lock in
/// the order of places, as far as each by itself does. The calls are the commits'.
std::vector<const Call*> merged(const std::vector<const PlainCommit*>& commits);

}  // namespace skerry::meta::postgres
