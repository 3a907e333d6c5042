// Whether an object store does what Skerry asks of one, and how fast it is.
//
// Works below a prefix that must be its own, and removes all objects there in the end, whether it
// succeeds, fails or is cancelled.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "object/object_store.h"

namespace skerry {

enum class StoreVerdict {
  kFine,
  kLacks,  // the store says that it has no such thing; Skerry does without
  kWrong   // the store does something else
};

struct StoreCheck {
  const char* name;
  StoreVerdict verdict;
  std::string advice;  // "" where fine: what it did, and what that means for a volume
};

struct StoreRate {
  const char* operation;  // "put" or "get"
  uint64_t object_bytes;
  uint32_t callers;  // that each wait for one request at a time
  uint64_t requests;
  TimeNs elapsed_ns;  // of all of them together
  TimeNs median_ns;   // of one
  TimeNs p99_ns;
};

struct StoreProbe {
  /// What a volume cannot do without, in some thirty small requests: putting, getting, ranges,
  /// listing, conditional puts, deleting. Then what could not be removed, where a check has said
  /// that listing or deleting is wrong, is no error.
  bool essentials = false;
  std::function<void(const StoreCheck&)> on_check;
  std::function<void(const StoreRate&)> on_rate;             // empty: rates are not measured
  std::function<bool(uint64_t done, uint64_t total)> going;  // false: stop, ECANCELED; may be empty
};

/// `prefix` ends in '/'. How many checks were kWrong. An error: the store cannot be used at all, or
/// the call was stopped, or what was put could not be removed.
Result<uint64_t> probe_store(const OpContext& ctx, ObjectStore& store, std::string prefix,
                             Random& random, const StoreProbe& probe);

}  // namespace skerry
