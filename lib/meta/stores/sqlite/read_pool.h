// Connections for readers: few, opened when first needed, each lent to one thread at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "io/op_context.h"
#include "meta/stores/sqlite/connection.h"
#include "meta/stores/sqlite/fork_gate.h"

namespace skerry::meta::sqlite {

/// Thread-safe. A thread gets the connection it had last, when free: taking and giving back is then
/// two atomic operations, and its pages and statements are warm.
class ReadPool {
 public:
  ReadPool(Connection::Settings settings, unsigned size);

  class Lease {
   public:
    Lease(ReadPool& pool, size_t slot) : pool_(&pool), slot_(slot) {}
    Lease(Lease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), slot_(other.slot_) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (pool_ != nullptr) pool_->give_back(slot_);
    }
    /// Only inside the fork gate.
    Connection& operator*() const { return *pool_->slots_[slot_].connection; }
    Connection* operator->() const { return pool_->slots_[slot_].connection.get(); }

   private:
    ReadPool* pool_;
    size_t slot_;
  };

  /// Waits for a connection at most until the deadline of `ctx`. Called outside the fork gate.
  Result<Lease> acquire(const OpContext& ctx);

 private:
  struct alignas(64) Slot {
    std::atomic<bool> busy{false};
    std::atomic<bool> opened{false};
    std::unique_ptr<Connection> connection;  // owned by who set `busy`
  };
  static constexpr size_t kNone = SIZE_MAX;

  size_t try_take(bool opened_only);
  Result<size_t> take(const OpContext& ctx, bool opened_only);
  bool any_opened() const;
  void give_back(size_t slot);

  Connection::Settings settings_;
  std::vector<Slot> slots_;
  std::atomic<int> waiting_{0};
  std::mutex mutex_;
  std::condition_variable freed_;
};

}  // namespace skerry::meta::sqlite
