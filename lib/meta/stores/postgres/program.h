// A commit as the server's function takes it: a list of numbers and a list of byte strings, read
// from left to right.
//
// How a commit is serializable under READ COMMITTED. The program has three parts.
//   1. Rows are locked: all that the expectations name, all that the mutations change and that may
//      be there before, and the guards of ranges, in one order for all commits, so that two of them
//      seldom wait for each other in a circle. What is looked at here is what the lock has found.
//   2. Ranges are looked at, by statements that begin after the locks were had and so see all that
//      their former holders have committed.
//   3. Mutations are applied.
// A row that is there cannot change any more. A key that must be absent is taken: by inserting its
// record, which waits for whoever inserts or deletes the same, or (kAbsent) by inserting and
// deleting a row that is nothing but the key. A range has a guard, a row that everybody locks who
// adds to the range: the directory's dirstat rows for its entries, the home of a file for its
// extents. Ranges of other tables are guarded by a lock of the table; no operation asks for one.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "meta/store.h"

namespace skerry::meta::postgres {

/// How a row is locked: from what only its removal may not pass to what nothing may.
enum class LockMode : uint8_t { kKeyShare, kShare, kNoKeyUpdate, kUpdate };
inline constexpr int kLockModes = 4;
inline constexpr const char* kModes[kLockModes] = {"FOR KEY SHARE", "FOR SHARE",
                                                   "FOR NO KEY UPDATE", "FOR UPDATE"};

/// Steps, with the numbers that follow each; `name` is taken from the byte strings.
enum class Step : int {
  // expectation or -1, table * 4 + mode, a, b, c, version, ino; name
  kLock = 1,
  kVersion = 2,
  kExists = 3,
  kAbsent = 4,
  kHome = 5,       // expectation or -1, mode, ino, version or 0
  kDirStats = 6,   // directory: all its rows, as by kUpdate
  kLockTable = 7,  // table
  kEmpty = 8,      // expectation, table, a
  kPrefix = 9,     // expectation, ino, chunk, last seq, count
  kChecked = 10,   // no expectations any more
  // mutation, table, expectation or -1, exact, columns (an array: its length first); their bytes
  kPut = 11,
  kDelete = 12,         // table, a, b, c; name
  kDeleteRange = 13,    // table, a, 1 if b counts, b, largest c
  kChange = 14,         // see ChangeField
  kAddDirStat = 15,     // mutation, ino, shard, mtime, subdirs, entries, 1 to replace the time
  kAddReferences = 16,  // object, delta
  kAddUsage = 17,       // scope, client, bytes, inodes
  kAddNumber = 18,      // delta; name
  // mutation, parent, how (0 away, 1 to a free name, 2 to any), parent to, ctime, client, dirstat
  // of
  // which an entry is gone with what was there: inode (0: none), shard; name, name to
  kMove = 19,
};

/// Numbers of kChange: Patch and WriteData are one step.
enum class ChangeField : int {
  kMutation = 1,
  kIno,
  kMask,  // ChangeBit
  kMode,
  kUid,
  kGid,
  kLength,
  kAtime,
  kMtime,
  kCtime,
  kMaxLength,
  kMaxMtime,
  kMaxCtime,
  kMaxAtime,
  kClearMode,
  kClearFlags,
  kSetFlags,
  kAddNlink,
  kUsageClient,
  kOffset,
  kWriteLength,
  kPieces,  // how many; then seven numbers each
  kCount,
};
enum ChangeBit : int {
  kSetsMode = 1,
  kSetsUid = 2,
  kSetsGid = 4,
  kSetsLength = 8,
  kSetsAtime = 16,
  kSetsMtime = 32,
  kSetsCtime = 64,
  kIsWrite = 128,
  kAppends = 256,
  kReplacesInline = 512,
  kExtends = 1024,
  kKeepsVersion = 2048,
};

// SQLSTATEs that the function raises; the detail is the mutation's number.
inline constexpr char kMutationConflict[] = "SK001";
inline constexpr char kUnclearConflict[] = "SK002";  // run it once more, exactly
inline constexpr char kFileTooLarge[] = "SK003";
// What it returns as status.
inline constexpr int kApplied = 0, kExpectationFailed = 1, kSessionGone = 2, kMutationFailed = 3;

/// What is locked, in the order in which every commit locks. An inode's home stands behind the
/// entries, one of which it may be.
enum class Rank : uint8_t { kTable, kClient, kVolume, kEntry, kHome, kOther };
struct Place {
  Rank rank = Rank::kOther;
  Key key;
  bool whole = false;  // all dirstat rows of the directory key.a
  friend auto operator<=>(const Place&, const Place&) = default;
};
using LockSet = std::map<Place, LockMode>;

Place place_of(const Key& key);

/// Appends a record's columns, numbers and bytes apart, each in the order of the table's.
void append_columns(const Record& record, std::vector<int64_t>* numbers,
                    std::vector<std::string>* bytes);

struct Program {
  std::vector<int64_t> numbers;
  std::vector<std::string> bytes;
  /// The first expectation that is part of a mutation's step, or -1: until it has been looked at
  /// nothing that a later expectation or a mutation met is the first conflict.
  int first_folded = -1;
  /// All that it locks, in its first part or in passing.
  LockSet locks;
};

/// With `exact`, every expectation is looked at by itself before the first mutation; without, that
/// a key is absent may be found out by inserting its record.
Program compile(const CommitRequest& request, bool exact);

/// Each place by the stronger of both modes.
void merge_locks(const LockSet& some, LockSet* all);
/// Locks and nothing else, for a transaction of several commits.
Program lock_program(const LockSet& locks);

/// The outcomes that the function returned: two numbers for each mutation that has any, before them
/// the attributes of the file that MoveFile moved.
bool decode_outcomes(const CommitRequest& request, const std::vector<int64_t>& numbers,
                     std::vector<MutationOutcome>* outcomes);

}  // namespace skerry::meta::postgres
