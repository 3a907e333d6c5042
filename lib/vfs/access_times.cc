#include "vfs/access_times.h"

namespace skerry::vfs {

using meta::AtimeMode;

std::shared_ptr<AccessMark> AccessTimes::open(const meta::Attributes& attr) {
  if (mode_ == AtimeMode::kNone) return nullptr;
  std::lock_guard lock(mutex_);
  std::shared_ptr<AccessMark>& mark = marks_[attr.ino];
  if (mark == nullptr) {
    mark = std::make_shared<AccessMark>(attr.ino, attr.atime_ns);
    count_.store(marks_.size(), std::memory_order_relaxed);
  }
  return mark;
}

void AccessTimes::show(meta::Attributes* attr) {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  TimeNs read_ns = 0, known_ns = 0;
  {
    std::lock_guard lock(mutex_);
    const auto found = marks_.find(attr->ino);
    if (found == marks_.end()) return;
    read_ns = found->second->read_ns.load(std::memory_order_relaxed);
    known_ns = found->second->known_ns.load(std::memory_order_relaxed);
  }
  if (read_ns == 0 || attr->atime_ns < known_ns) return;
  if (meta::needs_access_time(*attr, read_ns, mode_)) attr->atime_ns = read_ns;
}

void AccessTimes::replaced(meta::Ino ino, TimeNs atime_ns) {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  std::lock_guard lock(mutex_);
  const auto found = marks_.find(ino);
  if (found == marks_.end()) return;
  found->second->read_ns.store(0, std::memory_order_relaxed);
  found->second->known_ns.store(atime_ns, std::memory_order_relaxed);
}

Status AccessTimes::commit(const OpContext& ctx, meta::Meta& meta) {
  if (count_.load(std::memory_order_relaxed) == 0) return {};
  std::vector<meta::AccessTime> reads;
  std::vector<std::shared_ptr<AccessMark>> marks;
  {
    std::lock_guard lock(mutex_);
    for (auto it = marks_.begin(); it != marks_.end();) {
      AccessMark& mark = *it->second;
      if (const TimeNs read_ns = mark.read_ns.load(std::memory_order_relaxed)) {
        reads.push_back({mark.ino, mark.known_ns.load(std::memory_order_relaxed), read_ns});
        marks.push_back(it->second);
      } else if (it->second.use_count() == 1) {
        it = marks_.erase(it);  // nobody has it open
        continue;
      }
      ++it;
    }
    count_.store(marks_.size(), std::memory_order_relaxed);
  }
  if (reads.empty()) return {};
  SKERRY_TRY(meta::set_access_times(ctx, meta, reads, mode_));
  for (size_t i = 0; i < reads.size(); ++i) {
    TimeNs noted = reads[i].read_ns;  // a later one stays
    marks[i]->read_ns.compare_exchange_strong(noted, 0, std::memory_order_relaxed);
    // Perhaps what somebody else has set: later reads count from there.
    auto attr = meta::get_attributes(ctx, meta, reads[i].ino, false);
    if (attr.ok()) marks[i]->known_ns.store(attr->atime_ns, std::memory_order_relaxed);
  }
  return {};
}

}  // namespace skerry::vfs
