// How a volume's user wants requests to the object store made.
#pragma once

#include "base/clock.h"
#include "object/decorators/hedge_store.h"
#include "object/decorators/limit_store.h"

namespace skerry {

struct RequestOptions {
  LimitOptions limits;
  HedgeOptions hedge;
  uint32_t retry_budget = 500;  // see RetryBudget; 0: retries are not bounded by one

  // Of HTTP; see HttpOptions.
  TimeNs connect_timeout_ns = 10'000'000'000;
  TimeNs first_byte_timeout_ns = 30'000'000'000;
  TimeNs stall_timeout_ns = 20'000'000'000;
  TimeNs request_timeout_ns = 0;  // 0: none but the call's
};

}  // namespace skerry
