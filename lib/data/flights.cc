#include "data/flights.h"

#include <algorithm>
#include <chrono>

namespace skerry::data {
namespace {

/// A cancel token cannot wake a waiter, so it looks now and then.
constexpr auto kLookAgain = std::chrono::milliseconds(10);

}  // namespace

void BlockStore::Flights::claim(BlockCache& cache, const SliceKey& key,
                                const std::vector<PageRange>& wanted, Claims* claims) {
  Table& table = table_.get();
  std::lock_guard lock(table.mutex);
  auto [first, last] = table.flights.equal_range({key.object, key.offset});
  std::vector<FlightPtr> under_way;
  for (auto it = first; it != last; ++it) under_way.push_back(it->second);
  std::sort(under_way.begin(), under_way.end(),
            [](const FlightPtr& a, const FlightPtr& b) { return a->pages.begin < b->pages.begin; });
  auto take = [&](uint64_t begin, uint64_t end) {
    // Asked under the mutex: a flight leaves the table after its pages came into the cache.
    uint64_t miss_begin, miss_end;
    while (begin < end && cache.missing(key, begin, end, &miss_begin, &miss_end)) {
      auto flight = std::make_shared<Flight>();
      flight->key = key;
      flight->pages = {miss_begin, miss_end};
      table.flights.emplace(std::pair(key.object, key.offset), flight);
      claims->own.push_back(std::move(flight));
      begin = miss_end;
    }
  };
  for (PageRange range : wanted) {
    for (const FlightPtr& flight : under_way) {
      if (flight->pages.end <= range.begin || flight->pages.begin >= range.end) continue;
      take(range.begin, flight->pages.begin);
      if (claims->others.empty() || claims->others.back() != flight)
        claims->others.push_back(flight);
      range.begin = std::max(range.begin, flight->pages.end);
    }
    take(range.begin, range.end);
  }
}

void BlockStore::Flights::split(const FlightPtr& flight, unsigned parts) {
  std::lock_guard lock(table_.get().mutex);
  flight->parts = parts;
}

void BlockStore::Flights::land(const FlightPtr& flight) {
  Table& table = table_.get();
  std::lock_guard lock(table.mutex);
  if (--flight->parts > 0) return;
  auto [first, last] = table.flights.equal_range({flight->key.object, flight->key.offset});
  auto mine = std::find_if(first, last, [&](const auto& entry) { return entry.second == flight; });
  if (mine != last) table.flights.erase(mine);
  flight->done = true;
  flight->landed.notify_all();
}

Status BlockStore::Flights::wait(const OpContext& ctx, const FlightPtr& flight) {
  Table& table = table_.get();
  std::unique_lock lock(table.mutex);
  while (!flight->done) {
    flight->landed.wait_for(lock, kLookAgain);
    if (flight->done) break;
    lock.unlock();
    SKERRY_TRY(ctx.check());
    lock.lock();
  }
  return {};
}

}  // namespace skerry::data
