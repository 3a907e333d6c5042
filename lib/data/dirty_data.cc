#include "data/dirty_data.h"

#include <algorithm>
#include <bit>
#include <mutex>

namespace skerry::data {

std::unique_ptr<std::byte[]> BufferPool::take_piece() {
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto piece = std::move(free_.back());
      free_.pop_back();
      return piece;
    }
  }
  return std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
}

void BufferPool::give_piece(std::unique_ptr<std::byte[]> piece) {
  std::lock_guard lock(mutex_);
  if (free_.size() < kMaxFree) free_.push_back(std::move(piece));
}

bool BufferPool::try_charge(uint64_t bytes, uint64_t bound) {
  uint64_t used = used_.load(std::memory_order_relaxed);
  do {
    if (used != 0 && (used > bound || bytes > bound - used)) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_acq_rel));
  return true;
}

void SliceBuffer::grow(uint64_t length, BufferCredit& credit) {
  constexpr size_t kPiece = BufferPool::kPieceBytes;
  const size_t first = std::min<uint64_t>(length, kPiece);
  if (first > first_capacity_) {
    // Small files stay small; a slice that goes on growing soon has whole pieces.
    const size_t capacity =
        length > kPiece / 2 ? kPiece : std::bit_ceil(std::max<size_t>(first, 128));
    auto piece = capacity == kPiece ? pool_.take_piece()
                                    : std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (pieces_.empty()) {
      pieces_.push_back(std::move(piece));
    } else {
      std::memcpy(piece.get(), pieces_[0].get(), std::min<uint64_t>(length_, first_capacity_));
      pieces_[0] = std::move(piece);
    }
    credit.spend(capacity - first_capacity_);
    allocated_ += capacity - first_capacity_;
    first_capacity_ = capacity;
  }
  while (pieces_.size() * kPiece < length) {
    pieces_.push_back(pool_.take_piece());
    credit.spend(kPiece);
    allocated_ += kPiece;
  }
  length_ = length;
}

void SliceBuffer::write(uint64_t offset, ByteView bytes, BufferCredit& credit) {
  if (offset + bytes.size() > length_) grow(offset + bytes.size(), credit);
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t piece = (offset + done) / BufferPool::kPieceBytes;
    const size_t at = (offset + done) % BufferPool::kPieceBytes;
    const size_t n = std::min(bytes.size() - done, BufferPool::kPieceBytes - at);
    std::memcpy(pieces_[piece].get() + at, bytes.data() + done, n);
    done += n;
  }
}

void SliceBuffer::read(uint64_t offset, MutableBytes out) const {
  size_t done = 0;
  while (done < out.size()) {
    const size_t piece = (offset + done) / BufferPool::kPieceBytes;
    const size_t at = (offset + done) % BufferPool::kPieceBytes;
    const size_t n = std::min(out.size() - done, BufferPool::kPieceBytes - at);
    std::memcpy(out.data() + done, pieces_[piece].get() + at, n);
    done += n;
  }
}

std::vector<ByteView> SliceBuffer::views() const {
  std::vector<ByteView> views;
  views.reserve(pieces_.size());
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const uint64_t begin = i * BufferPool::kPieceBytes;
    views.emplace_back(pieces_[i].get(),
                       std::min<uint64_t>(length_ - begin, BufferPool::kPieceBytes));
  }
  return views;
}

void SliceBuffer::clear() {
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (i > 0 || first_capacity_ == BufferPool::kPieceBytes)
      pool_.give_piece(std::move(pieces_[i]));
  }
  pieces_.clear();
  pool_.discharge(allocated_);
  allocated_ = 0;  // also of the overhead: what is left is small and bounded by its owner
  first_capacity_ = 0;
  length_ = 0;
}

uint64_t DirtyData::window_end(uint64_t offset, uint64_t block_bytes) {
  const uint64_t chunk = offset / meta::kChunkSize * meta::kChunkSize;
  const uint64_t in_chunk = (offset - chunk) / block_bytes * block_bytes + block_bytes;
  return chunk + std::min(in_chunk, meta::kChunkSize);
}

uint64_t DirtyData::memory_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [position, segment] : segments_) {
    if (segment.skip == 0) bytes += segment.slice->buffer.allocated_bytes();
  }
  return bytes;
}

bool DirtyData::all_in_memory() const {
  return std::all_of(segments_.begin(), segments_.end(), [](const auto& entry) {
    return entry.second.slice->state == Slice::State::kOpen ||
           entry.second.slice->state == Slice::State::kFrozen;
  });
}

/// Cuts [begin, end) out of frozen segments.
void DirtyData::hide(uint64_t begin, uint64_t end, std::vector<std::shared_ptr<Slice>>* dropped) {
  auto it = segments_.lower_bound(begin);
  if (it != segments_.begin()) {
    auto before = std::prev(it);
    const uint64_t before_end = before->first + before->second.length;
    if (before_end > begin) {
      if (before_end > end) {
        Segment tail = before->second;
        tail.skip += end - before->first;
        tail.length = before_end - end;
        ++tail.slice->segments;
        segments_.emplace(end, std::move(tail));
      }
      before->second.length = begin - before->first;
    }
  }
  while (it != segments_.end() && it->first < end) {
    const uint64_t segment_end = it->first + it->second.length;
    if (segment_end > end) {
      Segment tail = std::move(it->second);
      tail.skip += end - it->first;
      tail.length = segment_end - end;
      segments_.erase(it);
      segments_.emplace(end, std::move(tail));
      break;
    }
    std::shared_ptr<Slice> slice = std::move(it->second.slice);
    it = segments_.erase(it);
    if (--slice->segments == 0) {
      slice->abandoned = true;
      dropped->push_back(std::move(slice));
    }
  }
}

void DirtyData::write(uint64_t offset, ByteView bytes, uint64_t block_bytes, BufferCredit& credit,
                      std::vector<std::shared_ptr<Slice>>* dropped, std::shared_ptr<Slice>* full) {
  const uint64_t limit = window_end(offset, block_bytes);
  const uint64_t end = offset + bytes.size();
  uint64_t at = offset;
  while (at < end) {
    auto next = segments_.upper_bound(at);
    auto current = next == segments_.begin() ? segments_.end() : std::prev(next);
    const bool joins = current != segments_.end() &&
                       current->second.slice->state == Slice::State::kOpen &&
                       at <= current->first + current->second.length &&
                       window_end(current->first, block_bytes) == limit;
    // Up to the next open slice, which takes what overlaps it; frozen ones are hidden.
    while (next != segments_.end() && next->first < end &&
           next->second.slice->state != Slice::State::kOpen) {
      ++next;
    }
    const uint64_t stop = next == segments_.end() ? end : std::min(end, next->first);
    const ByteView part = bytes.subspan(at - offset, stop - at);
    if (joins) {
      const uint64_t begin = current->first;
      const uint64_t current_end = begin + current->second.length;
      if (stop > current_end) {
        hide(current_end, stop, dropped);
        current = segments_.find(begin);
        current->second.length = stop - begin;
        current->second.slice->length = stop - begin;
      }
      current->second.slice->buffer.write(at - begin, part, credit);
    } else {
      hide(at, stop, dropped);
      auto slice = std::make_shared<Slice>(credit);
      slice->segments = 1;
      slice->length = part.size();
      slice->buffer.write(0, part, credit);
      current = segments_.emplace(at, Segment{part.size(), 0, std::move(slice)}).first;
    }
    at = stop;
    end_ = std::max(end_, stop);
    Segment& written = current->second;
    if (at == limit && written.length >= block_bytes / 2 && written.length > 0) {
      written.slice->state = Slice::State::kFrozen;
      *full = written.slice;
    }
  }
}

void DirtyData::freeze(uint64_t block_bytes, BufferPool& pool) {
  BufferCredit credit(pool);
  for (auto it = segments_.begin(); it != segments_.end(); ++it) {
    Slice& slice = *it->second.slice;
    if (slice.state != Slice::State::kOpen) continue;
    const uint64_t window = window_end(it->first, block_bytes);
    for (auto next = std::next(it); next != segments_.end(); next = segments_.erase(next)) {
      const Segment& joined = next->second;
      if (joined.slice->state != Slice::State::kOpen || joined.skip != 0 ||
          next->first != it->first + it->second.length || next->first >= window) {
        break;
      }
      for (ByteView piece : joined.slice->buffer.views()) {
        slice.buffer.write(slice.buffer.length(), piece, credit);
      }
      it->second.length += joined.length;
      slice.length += joined.length;
    }
    slice.state = Slice::State::kFrozen;
  }
}

void DirtyData::freeze_open() {
  for (auto& [position, segment] : segments_) {
    if (segment.slice->state == Slice::State::kOpen) segment.slice->state = Slice::State::kFrozen;
  }
}

void DirtyData::cut_at(uint64_t end, std::vector<std::shared_ptr<Slice>>* dropped) {
  if (end_ > end) hide(end, end_, dropped);
  end_ = end;
}

}  // namespace skerry::data
