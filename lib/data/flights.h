// Flights: which pages are on their way from the object store, so that nobody asks for them twice.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/result.h"
#include "data/block_cache.h"
#include "data/block_store.h"
#include "data/per_process.h"
#include "io/op_context.h"

namespace skerry::data {

struct PageRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// Thread-safe. The mutex is held for moments, never across I/O.
struct BlockStore::Flights {
 public:
  struct Flight {
    SliceKey key;
    PageRange pages;
    std::condition_variable landed;
    unsigned parts = 1;  // that are yet to land; guarded by the table's mutex, as is `done`
    bool done = false;
  };
  using FlightPtr = std::shared_ptr<Flight>;  // shared by who fetches and who waits

  struct Claims {
    std::vector<FlightPtr> own;     // the caller fetches these and calls land() for each
    std::vector<FlightPtr> others;  // under way, and of interest to the caller
  };

  /// Of the wanted pages (ascending ranges of one slice): those neither cached nor under way become
  /// the caller's.
  void claim(BlockCache& cache, const SliceKey& key, const std::vector<PageRange>& wanted,
             Claims* claims);
  /// The flight is over when land() was called so many times. Before the first of them.
  void split(const FlightPtr& flight, unsigned parts);
  /// Ends a flight, or one part of it, whatever became of it; its pages are in the cache if all
  /// went well. Once, or once a part.
  void land(const FlightPtr& flight);
  /// Waits until it has landed, or for the context.
  Status wait(const OpContext& ctx, const FlightPtr& flight);

 private:
  struct Table {
    std::mutex mutex;
    std::multimap<std::pair<meta::ObjectId, uint64_t>, FlightPtr> flights;  // guarded by mutex
  };
  /// The flights of the parent of a forked child never land there.
  PerProcess<Table> table_;
};

}  // namespace skerry::data
