// A bounded set of connections that many callers borrow.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "meta/stores/postgres/connection.h"

namespace skerry::meta::postgres {

/// Opens connections as they are needed. Thread-safe. Outlives its leases.
class Pool {
 public:
  Pool(ConnInfo info, unsigned most, TimeNs connect_timeout_ns)
      : info_(std::move(info)), most_(most), connect_timeout_ns_(connect_timeout_ns) {}

  class Lease {
   public:
    Lease(Pool& pool, std::unique_ptr<Connection> connection)
        : pool_(&pool), connection_(std::move(connection)) {}
    Lease(Lease&& other) = default;
    ~Lease() {
      if (connection_ != nullptr) pool_->give_back(std::move(connection_));
    }
    Connection& operator*() const { return *connection_; }
    Connection* operator->() const { return connection_.get(); }

   private:
    Pool* pool_;
    std::unique_ptr<Connection> connection_;
  };

  /// Waits while all are lent, and while none can be opened for a reason that passes: the server is
  /// restarted, another is being made the primary, all its connections are taken. Errors: ctx's,
  /// then with that reason in words, and Connection::open()'s. None is maybe_applied.
  Result<Lease> borrow(const OpContext& ctx);

  const ConnInfo& info() const { return info_; }

 private:
  friend class Lease;
  void give_back(std::unique_ptr<Connection> connection);
  Result<std::unique_ptr<Connection>> open(const OpContext& ctx);
  std::unique_ptr<Connection> wait_for_idle(const OpContext& ctx, TimeNs pause_ns);

  const ConnInfo info_;
  const unsigned most_;
  const TimeNs connect_timeout_ns_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Connection>> idle_;  // guarded by mutex_; the last used at the end
  unsigned lent_ = 0;                              // guarded by mutex_
};

}  // namespace skerry::meta::postgres
