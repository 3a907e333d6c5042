// A store in memory: the reference for what every store must do, and the simulator's.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "meta/store.h"

namespace skerry::meta {

class MemoryStore;

/// The database that several MemoryStores, one per client, share. Thread-safe: one mutex.
class MemoryDatabase {
 public:
  /// `clock` is the server's time and outlives the database.
  explicit MemoryDatabase(Clock& clock) : clock_(clock) {}
  MemoryDatabase(const MemoryDatabase&) = delete;
  MemoryDatabase& operator=(const MemoryDatabase&) = delete;

 private:
  friend class MemoryStore;
  using Rows = std::map<Key, Record>;

  struct Undo {
    Key key;
    std::optional<Record> before;
  };
  struct RequestHash {
    size_t operator()(const RequestId& id) const { return id[0] ^ (id[1] * 0x9e3779b97f4a7c15u); }
  };

  Rows& rows(Table table) { return tables_[static_cast<size_t>(table)]; }
  const Record* find(const Key& key);
  void set(const Key& key, std::optional<Record> record);
  void index(const Record& record, bool add);
  void roll_back();

  /// The record that holds the attributes of `ino`, or null: entry, then inode, then orphan.
  const Record* find_home(Ino ino);
  uint64_t epoch();
  void join_directory(Attributes* attr);
  void join_entry(EntryRecord* entry);
  Record joined(const Record& record);
  RangePage read_range(const Range& range, bool join);

  bool holds(const Expectation& expectation);
  /// Nothing on a conflict.
  Result<std::optional<MutationOutcome>> apply(const Mutation& mutation);
  Result<std::optional<MutationOutcome>> apply_mutation(const Put& put);
  Result<std::optional<MutationOutcome>> apply_mutation(const Delete& remove);
  Result<std::optional<MutationOutcome>> apply_mutation(const DeleteRange& range);
  Result<std::optional<MutationOutcome>> apply_mutation(const Patch& patch);
  Result<std::optional<MutationOutcome>> apply_mutation(const AddDirStat& add);
  Result<std::optional<MutationOutcome>> apply_mutation(const WriteData& write);
  Result<std::optional<MutationOutcome>> apply_mutation(const AddObjectReferences& add);
  Result<std::optional<MutationOutcome>> apply_mutation(const AddUsage& add);
  Result<std::optional<MutationOutcome>> apply_mutation(const AddNumber& add);
  Result<std::optional<MutationOutcome>> apply_mutation(const MoveFile& move);
  void add_references(ObjectId id, int64_t delta);
  void put_home(const Key& key, Attributes attr);
  void remove_capability(Ino ino);
  void add_usage(const AddUsage& add);
  /// A file that loses its only name.
  Attributes orphan_file(const EntryRecord& entry, const MoveFile& move);
  /// Patch::usage_client, WriteData::usage_client.
  void count_growth(const Key& home, ClientId client, uint64_t before, uint64_t after);
  Result<CommitResult> commit_locked(const CommitRequest& request);
  void remember(const RequestId& id, const CommitResult& result);

  Clock& clock_;
  std::mutex mutex_;
  std::array<Rows, std::variant_size_v<Record>> tables_;  // guarded by mutex_, as is all below
  std::unordered_map<Ino, Key> unlinked_entry_;           // entries that hold attributes, by inode
  std::vector<Undo> undo_;                                // of the commit in progress
  std::vector<MemoryStore*> stores_;                      // registered by their constructors
  std::unordered_map<RequestId, CommitResult, RequestHash> answers_;
  std::deque<RequestId> answered_;  // oldest first
};

/// One client's view of a MemoryDatabase. Thread-safe. The database is shared by its stores, so the
/// last one to go releases it.
class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::shared_ptr<MemoryDatabase> database);
  ~MemoryStore() override;

  std::string describe() const override { return "memory:"; }
  StoreCapabilities capabilities() const override { return {}; }
  Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) override;
  Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) override;
  Status sync(const OpContext& ctx) override { return ctx.check(); }
  uint64_t generation() noexcept override { return others_.load(std::memory_order_acquire); }

 private:
  friend class MemoryDatabase;
  std::shared_ptr<MemoryDatabase> database_;
  std::atomic<uint64_t> others_{1};  // commits of other stores; written under the database's mutex
};

}  // namespace skerry::meta
