#include "data/block_reader.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <tuple>

#include "base/crc32c.h"
#include "base/log.h"
#include "data/parallel.h"
#include "data/tally.h"

namespace skerry::data {
namespace {

/// Bytes that are cheaper to transfer than another request: about a millisecond at 64 MiB/s.
constexpr uint64_t kMaxGap = 64 << 10;

constexpr uint64_t kBytesTogether = 32 << 20;  // under way at once for one call

constexpr uint64_t kStepPages = 32;  // 256 KiB: they stay in the processor's second cache

uint64_t pages_of(uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes; }

/// The object ends too early, or is not what was put: damage, not a failure of the store.
bool is_damage(const Error& error) { return error.code() == EINVAL || error.code() == EBADMSG; }

Error no_memory(uint64_t size) {
  return Error(ENOMEM, "no memory to read " + std::to_string(size) + " bytes");
}

}  // namespace

uint64_t BlockStore::Reader::Piece::payload_bytes() const {
  return std::min(pages.end * kPageBytes, extent->slice_length) - payload_begin();
}

Status BlockStore::Reader::want(const meta::Extent& extent, uint64_t slice_offset, uint64_t length,
                                std::byte* out) {
  if (extent.object == 0 || extent.slice_length > meta::kChunkSize ||
      slice_offset > extent.slice_length || length > extent.slice_length - slice_offset)
    return Error(EIO, "an extent reaches past its slice: " + std::to_string(slice_offset) + " + " +
                          std::to_string(length) + " of " + std::to_string(extent.slice_length) +
                          " bytes in object " + std::to_string(extent.object));
  if (length == 0) return {};
  Wanted& wanted = wanted_.emplace_back();
  wanted.extent = &extent;
  wanted.offset = slice_offset;
  wanted.length = length;
  wanted.out = out;
  return {};
}

Status BlockStore::Reader::fetch(Claiming claiming) {
  std::vector<Request> requests = merge(take_from_disk(plan(claiming)));
  std::vector<Status> outcomes(requests.size());
  if (requests.size() > 1 && store_.objects_.capabilities().gets_together)
    fetch_together(requests, outcomes);
  else
    run_parallel(store_.executor_, requests.size(),
                 [&](size_t i) { outcomes[i] = fetch_request(requests[i]); });
  for (Status& outcome : outcomes) SKERRY_TRY(std::move(outcome));
  return {};
}

Status BlockStore::Reader::finish() {
  for (const auto& flight : awaited_) SKERRY_TRY(store_.flights_->wait(ctx_, flight));
  bool all_done = true;
  for (Wanted& wanted : wanted_) {
    if (wanted.done()) continue;
    SliceKey key{wanted.extent->object, wanted.extent->object_offset};
    bool cached = store_.cache_.read(key, wanted.offset, {wanted.out, wanted.length});
    wanted.delivered = cached ? wanted.length : 0;
    all_done = all_done && cached;
  }
  // Evicted already, not admitted, or the other's request failed.
  return all_done ? Status() : fetch(Claiming::kAll);
}

Status BlockStore::Reader::verify(const meta::Extent& extent) {
  fill_cache_ = false;
  std::vector<std::byte> bytes(extent.slice_length <= meta::kChunkSize ? extent.slice_length : 0);
  SKERRY_TRY(want(extent, 0, extent.slice_length, bytes.data()));
  SKERRY_TRY(fetch(Claiming::kAll));
  if (crc32c(0, bytes) == extent.crc) return {};
  store_.tally_->checksum_errors++;
  return Error(EIO, "object " + object_key(extent.object) + ": the slice at byte " +
                        std::to_string(extent.object_offset) +
                        " has another checksum than its pages");
}

std::vector<BlockStore::Reader::Piece> BlockStore::Reader::plan(Claiming claiming) {
  auto slice = [](const Wanted* w) {
    return std::tuple(w->extent->object, w->extent->object_offset);
  };
  sorted_.clear();
  for (Wanted& wanted : wanted_)
    if (!wanted.done()) sorted_.push_back(&wanted);
  std::sort(sorted_.begin(), sorted_.end(), [&](const Wanted* a, const Wanted* b) {
    return std::tuple(slice(a), a->offset) < std::tuple(slice(b), b->offset);
  });
  std::vector<Piece> pieces;
  for (size_t first = 0, end = 0; first < sorted_.size(); first = end) {
    while (end < sorted_.size() && slice(sorted_[end]) == slice(sorted_[first])) end++;
    const meta::Extent* extent = sorted_[first]->extent;
    std::vector<PageRange> pages = pages_wanted(sorted_, first, end);
    if (claiming == Claiming::kAll) {
      for (PageRange range : pages) pieces.push_back({extent, range, first, end, nullptr});
      continue;
    }
    Flights::Claims claims;
    store_.flights_->claim(store_.cache_, {extent->object, extent->object_offset}, pages, &claims);
    for (auto& flight : claims.own) pieces.push_back({extent, flight->pages, first, end, flight});
    awaited_.insert(awaited_.end(), claims.others.begin(), claims.others.end());
  }
  return pieces;
}

std::vector<PageRange> BlockStore::Reader::pages_wanted(const std::vector<Wanted*>& sorted,
                                                        size_t first, size_t end) {
  std::vector<PageRange> ranges;
  uint64_t count = 0;
  for (size_t i = first; i < end; i++) {
    PageRange range{sorted[i]->offset / kPageBytes,
                    pages_of(sorted[i]->offset + sorted[i]->length)};
    if (!ranges.empty() && range.begin <= ranges.back().end) {
      uint64_t further = std::max(ranges.back().end, range.end);
      count += further - ranges.back().end;
      ranges.back().end = further;
    } else {
      count += range.end - range.begin;
      ranges.push_back(range);
    }
  }
  uint64_t whole = pages_of(sorted[first]->extent->slice_length);
  if (count * 4 >= whole * 3) ranges = {{0, whole}};
  return ranges;
}

std::vector<BlockStore::Reader::Piece> BlockStore::Reader::take_from_disk(
    std::vector<Piece> pieces) {
  if (store_.disk_ == nullptr || !fill_cache_ || pieces.empty()) return pieces;
  std::vector<DiskCache::Part> parts;
  for (size_t i = 0; i < pieces.size(); i++) {
    const PageRange pages = pieces[i].pages;
    for (uint64_t page = pages.begin; page < pages.end;) {
      DiskCache::Part& part = parts.emplace_back();
      part.key = segment_of(*pieces[i].extent, page);
      part.tag = i;
      const uint64_t first = part.key.first_page();
      const uint64_t end = std::min(first + kSegmentPages, pages.end);
      part.wanted = page_mask(page - first, end - first);
      page = end;
    }
  }
  std::vector<std::vector<PageRange>> had(pieces.size());
  store_.disk_->look_up(std::move(parts), [&](const DiskCache::Part& part) {
    const std::vector<PageRange> ranges = accept_from_disk(pieces[part.tag], part);
    had[part.tag].insert(had[part.tag].end(), ranges.begin(), ranges.end());
  });
  std::vector<Piece> left;
  for (size_t i = 0; i < pieces.size(); i++) leave(pieces[i], std::move(had[i]), &left);
  return left;
}

std::vector<PageRange> BlockStore::Reader::accept_from_disk(const Piece& piece,
                                                            const DiskCache::Part& part) {
  std::vector<PageRange> passed;
  ByteView framed = part.framed;
  for (PageMask rest = part.found; rest != 0;) {
    const auto begin = static_cast<uint64_t>(std::countr_zero(rest));
    const auto end = begin + static_cast<uint64_t>(std::countr_one(rest >> begin));
    const PageMask run = page_mask(begin, end);
    rest &= ~run;
    Piece held = piece;
    held.pages = {part.key.first_page() + begin, part.key.first_page() + end};
    const uint64_t size = part.key.framed_bytes(run);
    const Result<PageBytes> payload =
        check_pages(piece.extent->crc, held.pages.begin, framed.first(size), held.payload_bytes());
    if (!payload.ok()) {
      store_.disk_->remove_bad(part.key);
      break;
    }
    deliver(held, *payload);
    passed.push_back(held.pages);
    framed = framed.subspan(size);
  }
  return passed;
}

void BlockStore::Reader::leave(const Piece& piece, std::vector<PageRange> had,
                               std::vector<Piece>* left) {
  std::sort(had.begin(), had.end(), [](PageRange a, PageRange b) { return a.begin < b.begin; });
  had.push_back({piece.pages.end, piece.pages.end});
  unsigned parts = 0;
  Piece rest = piece;
  for (const PageRange range : had) {
    rest.pages.end = range.begin;
    if (rest.pages.begin < rest.pages.end) {
      left->push_back(rest);
      parts++;
    }
    rest.pages.begin = range.end;
  }
  if (piece.flight == nullptr) return;
  if (parts == 0) return store_.flights_->land(piece.flight);
  if (parts > 1) store_.flights_->split(piece.flight, parts);
}

/// `pieces` are in the order of objects and of places in them.
std::vector<BlockStore::Reader::Request> BlockStore::Reader::merge(std::vector<Piece> pieces) {
  std::vector<Request> requests;
  for (Piece& piece : pieces) {
    bool joins = !requests.empty() &&
                 requests.back().pieces.back().extent->object == piece.extent->object &&
                 piece.object_begin() <= requests.back().end + kMaxGap;
    if (!joins) requests.push_back({piece.object_begin(), 0, {}});
    Request& request = requests.back();
    request.end = std::max(request.end, piece.object_end());
    request.pieces.push_back(std::move(piece));
  }
  return requests;
}

Status BlockStore::Reader::fetch_request(const Request& request) {
  const bool large = request.end - request.begin > kStepPages * kFramedPageBytes;
  Status outcome = large && request.pieces.size() == 1 ? fetch_in_steps(request.pieces.front())
                                                       : fetch_pieces(request);
  land(request);
  return outcome;
}

void BlockStore::Reader::fetch_together(const std::vector<Request>& requests,
                                        std::vector<Status>& outcomes) {
  for (size_t begin = 0, end = 0; begin < requests.size(); begin = end) {
    uint64_t bytes = 0;
    for (; end < requests.size() && (end == begin || bytes < kBytesTogether); end++)
      bytes += requests[end].end - requests[end].begin;
    std::vector<ScratchBuffers::Loan> buffers;
    std::vector<ObjectRange> ranges;
    std::vector<size_t> where;
    for (size_t i = begin; i < end; i++) {
      const Request& request = requests[i];
      const uint64_t size = request.end - request.begin;
      ScratchBuffers::Loan buffer = store_.scratch_.borrow(size);
      if (buffer.data() == nullptr) {
        outcomes[i] = no_memory(size);
        land(request);
        continue;
      }
      ranges.push_back({object_key(request.pieces.front().extent->object),
                        request.begin,
                        {buffer.data(), size},
                        {}});
      buffers.push_back(std::move(buffer));
      where.push_back(i);
    }
    store_.objects_.get_many(ctx_, ranges, [&](size_t r) {
      const Request& request = requests[where[r]];
      outcomes[where[r]] =
          accept_pieces(request, buffers[r].data(), note_got(std::move(ranges[r])));
      land(request);
    });
  }
}

void BlockStore::Reader::land(const Request& request) {
  for (const Piece& piece : request.pieces)
    if (piece.flight != nullptr) store_.flights_->land(piece.flight);
}

Status BlockStore::Reader::fetch_pieces(const Request& request) {
  uint64_t size = request.end - request.begin;
  const ScratchBuffers::Loan buffer = store_.scratch_.borrow(size);
  if (buffer.data() == nullptr) return no_memory(size);
  return accept_pieces(request, buffer.data(),
                       get(request.pieces.front(), request.begin, {buffer.data(), size}));
}

/// `got`: of reading the request's bytes.
Status BlockStore::Reader::accept_pieces(const Request& request, std::byte* bytes,
                                         const Status& got) {
  // Damage may be of some of the pieces only.
  if (!got.ok() && !is_damage(got.error())) return got;
  Status outcome;
  for (const Piece& piece : request.pieces) {
    MutableBytes framed(bytes + (piece.object_begin() - request.begin),
                        framed_size(piece.payload_bytes()));
    Status accepted = accept(piece, framed, got);
    if (outcome.ok()) outcome = std::move(accepted);
  }
  return outcome;
}

/// A few pages at a time, so that they are checked and copied while the processor has them in its
/// cache.
Status BlockStore::Reader::fetch_in_steps(const Piece& piece) {
  const uint64_t size = piece.object_end() - piece.object_begin();
  const ScratchBuffers::Loan buffer = store_.scratch_.borrow(size);
  if (buffer.data() == nullptr) return no_memory(size);
  const std::string key = object_key(piece.extent->object);
  Status outcome;
  Piece part = piece;
  part.pages.end = part.pages.begin;
  Status got = store_.objects_.get_in_steps(
      ctx_, key, piece.object_begin(), size, kStepPages * kFramedPageBytes, {buffer.data(), size},
      [&](MutableBytes framed) -> Status {
        part.pages = {part.pages.end, std::min(part.pages.end + kStepPages, piece.pages.end)};
        store_.tally_->bytes_fetched += framed.size();
        Status accepted = accept(part, framed, Status());
        if (outcome.ok()) outcome = std::move(accepted);
        return {};
      });
  if (got.ok()) return outcome;
  if (!is_damage(got.error())) return std::move(got).error().with_context("reading object " + key);
  // Told page by page.
  for (part.pages.begin = part.pages.end; part.pages.begin < piece.pages.end;
       part.pages.begin = part.pages.end) {
    part.pages.end = std::min(part.pages.begin + kStepPages, piece.pages.end);
    Status fetched = fetch_pieces({part.object_begin(), part.object_end(), {part}});
    if (outcome.ok()) outcome = std::move(fetched);
  }
  return outcome;
}

/// `got`: success where `framed` holds all that was asked for, else the damage.
Status BlockStore::Reader::accept(const Piece& piece, MutableBytes framed, const Status& got) {
  Result<PageBytes> payload = got.ok() ? check(piece, framed) : Result<PageBytes>(got.error());
  if (!payload.ok()) {
    store_.tally_->checksum_errors++;
    log_message(LogLevel::kWarning, "object " + object_key(piece.extent->object) + ": " +
                                        payload.error().message() + "; reading it again");
    payload = fetch_again(piece, framed);
  }
  if (!payload.ok()) return std::move(payload).error();
  deliver(piece, *payload);
  if (store_.disk_ != nullptr && fill_cache_) {
    const ByteView pages = framed;
    store_.disk_->offer(*piece.extent, piece.pages.begin, {&pages, 1});
  }
  return {};
}

Status BlockStore::Reader::get(const Piece& piece, uint64_t begin, MutableBytes out) {
  ObjectRange range{object_key(piece.extent->object), begin, out, {}};
  range.result = store_.objects_.get(ctx_, range.key, begin, out);
  return note_got(std::move(range));
}

Status BlockStore::Reader::note_got(ObjectRange range) {
  if (!range.result.ok())
    return std::move(range.result).error().with_context("reading object " + range.key);
  store_.tally_->bytes_fetched += range.out.size();
  return {};
}

Result<PageBytes> BlockStore::Reader::check(const Piece& piece, MutableBytes framed) {
  return check_pages(piece.extent->crc, piece.pages.begin, framed, piece.payload_bytes());
}

Result<PageBytes> BlockStore::Reader::fetch_again(const Piece& piece, MutableBytes framed) {
  Status again = get(piece, piece.object_begin(), framed);
  if (!again.ok() && !is_damage(again.error())) return std::move(again).error();
  Result<PageBytes> payload =
      again.ok() ? check(piece, framed) : Result<PageBytes>(std::move(again).error());
  if (payload.ok()) return payload;
  store_.tally_->checksum_errors++;
  return Error(EIO, "object " + object_key(piece.extent->object) +
                        " is damaged, in the slice at byte " +
                        std::to_string(piece.extent->object_offset) + ": " +
                        payload.error().message() + " (read twice)");
}

void BlockStore::Reader::deliver(const Piece& piece, const PageBytes& payload) {
  const uint64_t begin = piece.payload_begin();
  const uint64_t end = begin + payload.size;
  if (fill_cache_)
    store_.cache_.fill(piece.key(), piece.extent->slice_length, piece.pages.begin, payload);
  for (size_t i = piece.first_wanted; i < piece.end_wanted; i++) {
    Wanted& wanted = *sorted_[i];
    uint64_t from = std::max(begin, wanted.offset);
    uint64_t to = std::min(end, wanted.offset + wanted.length);
    if (from >= to) continue;
    if (wanted.out != nullptr)
      payload.copy(from - begin, to - from, wanted.out + (from - wanted.offset));
    wanted.delivered.fetch_add(to - from, std::memory_order_relaxed);
  }
}

}  // namespace skerry::data
