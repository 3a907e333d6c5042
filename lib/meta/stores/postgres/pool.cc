#include "meta/stores/postgres/pool.h"

#include <algorithm>
#include <chrono>

namespace skerry::meta::postgres {

Result<Pool::Lease> Pool::borrow(const OpContext& ctx) {
  constexpr auto kSlice = std::chrono::milliseconds(20);  // to look at ctx
  std::unique_ptr<Connection> connection;
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      SKERRY_TRY(ctx.check());
      if (lent_ < most_) break;
      freed_.wait_for(lock, kSlice);
    }
    ++lent_;
    if (!idle_.empty()) {
      connection = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (connection != nullptr && connection->usable()) return Lease(*this, std::move(connection));
  connection.reset();  // the server closed it, and the others with it perhaps
  OpContext patient = ctx;
  patient.deadline_ns = std::min(ctx.deadline_ns, ctx.clock->monotonic_ns() + connect_timeout_ns_);
  Result<std::unique_ptr<Connection>> opened = Connection::open(patient, info_);
  if (!opened.ok()) {
    give_back(nullptr);
    return std::move(opened).error();
  }
  return Lease(*this, std::move(opened).value());
}

void Pool::give_back(std::unique_ptr<Connection> connection) {
  if (connection != nullptr && !connection->usable()) connection.reset();
  {
    std::lock_guard lock(mutex_);
    --lent_;
    if (connection != nullptr) idle_.push_back(std::move(connection));
  }
  freed_.notify_one();
}

}  // namespace skerry::meta::postgres
