// A volume's metadata in one schema of a PostgreSQL database, shared by any number of machines.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "meta/store.h"

namespace skerry::meta {

struct PostgresOptions {
  enum class Isolation {
    kReadCommitted,  // with rows locked explicitly: see postgres/program.h
    kSerializable,   // by the server's own account, which makes more commits try again
  };
  Isolation isolation = Isolation::kReadCommitted;
  unsigned connections = 8;  // at most; opened when they are needed
  TimeNs connect_timeout_ns = TimeNs{10} * 1'000'000'000;
  bool notify = true;  // tells other clients of changes, and hears of theirs: see notifier.h
};

/// Thread-safe, as every Store. Each read and each commit is one round trip; every commit is
/// durable on the server when it returns. Clients tell each other of changes by a thread and a
/// connection of their own, started with the first change, or when there is something to listen for
/// (notifier.h). Needs sessions of its own: a connection pooler between works in session mode
/// alone.
///
/// fork(): the parent goes on. In the child the store answers every call with an error and
/// destroying it leaves the parent's connections alone; open the volume anew.
class PostgresStore final : public Store {
 public:
  using Options = PostgresOptions;

  /// Makes a new volume's schema. `url`: libpq's URI, and `schema=` (default: skerry). EEXIST if
  /// a volume is there, EINVAL if something else is; else Connection::open()'s errors. `clock`
  /// outlives the store.
  static Result<std::unique_ptr<Store>> create(const std::string& url, const Options& options,
                                               Clock& clock);
  /// ENOENT if there is no such schema, EINVAL if it is no volume, ENOTSUP if it is a newer one.
  static Result<std::unique_ptr<Store>> open(const std::string& url, const Options& options,
                                             Clock& clock);
  /// `url` without what may be secret, for messages. Of other URLs, `url`.
  static std::string without_secrets(const std::string& url);
  ~PostgresStore() override;

  std::string describe() const override;
  StoreCapabilities capabilities() const override;
  Result<ReadResult> read(const OpContext& ctx, const ReadRequest& request) override;
  Result<CommitResult> commit(const OpContext& ctx, CommitRequest request) override;
  Status sync(const OpContext& ctx) override;
  /// Counts what was heard of others, which proves nothing.
  uint64_t generation() noexcept override;
  void tell_changes(ChangeSink* sink) override;
  /// Returns within kWaitSliceNs where others are not heard.
  Status wait_for_change(const OpContext& ctx, uint64_t seen, TimeNs timeout_ns) override;
  Result<std::vector<EntryRecord>> resolve(const OpContext& ctx, Ino directory,
                                           const std::vector<std::string>& names,
                                           std::optional<AttributeHome>* start) override;

 private:
  struct Engine;
  explicit PostgresStore(std::unique_ptr<Engine> engine);
  Status usable() const;

  std::unique_ptr<Engine> engine_;
};

}  // namespace skerry::meta
