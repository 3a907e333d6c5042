// What a client knows of a file's committed state, and the changes that are no writes.
#include <algorithm>

#include "data/file_state.h"
#include "meta/attribute_changes.h"
#include "meta/metadata_cache.h"

namespace skerry::data {

using meta::Attributes;
using meta::Durability;
using meta::Extent;
using meta::kChunkSize;

namespace {

constexpr unsigned kAttempts = 16;
constexpr uint64_t kZeroChunks = 1024;  // zeroed in one commit

}  // namespace

OpenInode::OpenInode(FileStoreImpl& store, meta::Ino ino)
    : store_(store), ino_(ino), state_(std::make_unique<State>(store)) {}

std::shared_ptr<OpenInode> OpenInode::make(FileStoreImpl& store, meta::Ino ino) {
  return std::shared_ptr<OpenInode>(new OpenInode(store, ino));
}

OpenInode::~OpenInode() {
  if (state_->current != nullptr) store_.snapshot_bytes -= state_->current->bytes;
}

// ---- snapshots

void OpenInode::State::publish(const std::unique_lock<std::mutex>&, SnapshotPtr snapshot) {
  SnapshotPtr before = std::move(current);
  current = std::move(snapshot);
  published.store(current.get(), std::memory_order_seq_cst);
  if (current != nullptr) impl.snapshot_bytes += current->bytes;
  if (before != nullptr) {
    impl.snapshot_bytes -= before->bytes;
    impl.reclaimer.retire(std::move(before));
  }
}

void OpenInode::State::invalidate() {
  std::unique_lock lock(mutex);
  publish(lock, nullptr);
}

void OpenInode::State::follow(uint64_t version) {
  if (followed_version + 1 == version) followed_version = version;
}

void OpenInode::State::invalidate_at(uint64_t version) {
  std::unique_lock lock(mutex);
  own_version = std::max(own_version, version);
  follow(version);
  if (current != nullptr && current->attr.version < version) publish(lock, nullptr);
}

SnapshotPtr OpenInode::State::adopt(std::shared_ptr<FileSnapshot> loaded) {
  std::unique_lock lock(mutex);
  // Read before a commit of this client that has ended since: good for its reader alone.
  if (loaded->attr.version < own_version) return loaded;
  if (current != nullptr && current->attr.version > loaded->attr.version) return loaded;
  if (current != nullptr && current->attr.version == loaded->attr.version && !loaded->is_inline &&
      current->chunks.size() + loaded->chunks.size() <= kMaxLoadedChunks &&
      current->bytes + loaded->bytes <= kMaxSnapshotBytes) {
    std::vector<std::pair<uint64_t, std::shared_ptr<const ChunkExtents>>> merged;
    merged.reserve(current->chunks.size() + loaded->chunks.size());
    std::set_union(loaded->chunks.begin(), loaded->chunks.end(), current->chunks.begin(),
                   current->chunks.end(), std::back_inserter(merged),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
    loaded->chunks = std::move(merged);
    loaded->count_bytes();
  }
  publish(lock, loaded);
  return loaded;
}

/// A file that was just created is known to be empty without asking. Else null.
SnapshotPtr OpenInode::State::known_empty(const OpContext& ctx, meta::Ino ino) {
  meta::CachedAttributes cached;
  if (!impl.meta.cache().find_attributes(ino, impl.meta.freshness(ctx), false, &cached) ||
      cached.attr.length != 0) {
    return nullptr;
  }
  {
    // Who knows of a later state must not go back.
    std::lock_guard lock(mutex);
    const uint64_t known = current != nullptr ? current->attr.version : 0;
    if (cached.attr.version < std::max(own_version, known)) return nullptr;
  }
  auto empty = std::make_shared<FileSnapshot>();
  empty->attr = cached.attr;
  empty->mark.store(cached.mark, std::memory_order_relaxed);
  empty->count_bytes();
  return adopt(std::move(empty));
}

Result<SnapshotPtr> OpenInode::State::load(const OpContext& ctx, meta::Ino ino,
                                           uint64_t first_chunk, uint64_t last_chunk) {
  if (SnapshotPtr empty = known_empty(ctx, ino)) return empty;
  const uint64_t mark = impl.meta.mark();
  last_chunk = std::max(last_chunk, first_chunk + kLoadChunks - 1);
  SKERRY_ASSIGN(meta::FileData data, meta::load_file(ctx, impl.meta, ino, first_chunk, last_chunk));
  SKERRY_ASSIGN(std::shared_ptr<FileSnapshot> loaded,
                make_snapshot(std::move(data), first_chunk, last_chunk, mark));
  for (const auto& [chunk, extents] : loaded->chunks) {
    if (extents->stored_extents > impl.options.compact_extents) impl.note_fragmented(ino, chunk);
  }
  return adopt(std::move(loaded));
}

Result<SnapshotPtr> OpenInode::State::validated(const OpContext& ctx, meta::Ino ino,
                                                uint64_t first_chunk, uint64_t last_chunk) {
  const meta::Freshness fresh = impl.meta.freshness(ctx);
  SnapshotPtr known;
  {
    std::lock_guard lock(mutex);
    known = current;
  }
  if (known != nullptr && !is_current(*known, fresh)) {
    uint64_t mark = 0;
    SKERRY_ASSIGN(Attributes attr, meta::get_attributes(ctx, impl.meta, ino, true, &mark));
    if (attr.version == known->attr.version) {
      known->mark.store(mark, std::memory_order_release);
    } else {
      known = nullptr;
    }
  }
  if (known != nullptr && known->covers(first_chunk, last_chunk)) return known;
  return load(ctx, ino, first_chunk, last_chunk);
}

void OpenInode::State::extend(const std::unique_lock<std::mutex>& lock, uint64_t version,
                              uint64_t length, TimeNs mtime_ns,
                              const std::vector<meta::ExtentRecord>& extents) {
  own_version = std::max(own_version, version);
  follow(version);
  if (current != nullptr && current->attr.version >= version) return;
  if (current == nullptr || current->attr.version + 1 != version) {
    // Who only writes does not see how many pieces there are, so he counts his own.
    unseen_extents += extents.size();
    if (unseen_extents > impl.options.compact_extents && !extents.empty()) {
      impl.note_fragmented(extents.back().ino, extents.back().chunk);
      unseen_extents = 0;
    }
    return publish(lock, nullptr);
  }
  std::shared_ptr<FileSnapshot> next;
  if (current->is_inline) {
    next = std::make_shared<FileSnapshot>();
    next->attr = current->attr;
    next->mark.store(current->mark.load(std::memory_order_acquire), std::memory_order_relaxed);
  } else {
    next = std::make_shared<FileSnapshot>(*current);
  }
  for (const meta::ExtentRecord& record : extents) {
    const ChunkExtents* before = next->find(record.chunk);
    if (before == nullptr) continue;  // not loaded
    auto after = std::make_shared<ChunkExtents>(*before);
    overlay_extents(after->pieces, record.extents);
    after->stored_extents += static_cast<uint32_t>(record.extents.size());
    if (after->stored_extents > impl.options.compact_extents) {
      impl.note_fragmented(next->attr.ino, record.chunk);
    }
    next->set_chunk(record.chunk, std::move(after));
  }
  next->attr.version = version;
  next->attr.length = std::max(next->attr.length, length);
  next->attr.flags &= ~meta::kFlagInline;
  next->attr.mtime_ns = std::max(next->attr.mtime_ns, mtime_ns);
  // Chunks that were empty and were not written are known to be so; they need no entry as long as
  // find() is not asked for them, so those between are loaded when they are.
  next->empty_from = std::max(next->empty_from, (next->attr.length + kChunkSize - 1) / kChunkSize);
  next->count_bytes();
  if (next->chunks.size() > kMaxLoadedChunks || next->bytes > 2 * kMaxSnapshotBytes) {
    return publish(lock, nullptr);
  }
  publish(lock, std::move(next));
}

// ---- attributes

Result<Attributes> OpenInode::attributes(const OpContext& ctx) {
  State& state = *state_;
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
    SKERRY_ASSIGN(Attributes attr, meta::get_attributes(ctx, store_.meta, ino_));
    if (!dirty()) return attr;
    std::unique_lock lock(state.mutex);
    // While an append is committed, it is both here and there.
    if (state.flushing && state.batch.append) {
      SKERRY_TRY(state.wait(ctx, lock, [&] { return !state.flushing; }));
      continue;
    }
    if (attr.version < state.own_version) continue;
    for (const DirtyData* data : {&state.batch, &state.pending}) {
      if (data->empty()) continue;
      attr.length = data->append ? attr.length + data->end() : std::max(attr.length, data->end());
      attr.mtime_ns = std::max(attr.mtime_ns, data->mtime_ns);
      attr.ctime_ns = std::max(attr.ctime_ns, data->mtime_ns);
      attr.mode = meta::mode_without(attr.mode, data->clear_mode);
    }
    return attr;
  }
  return Error(EBUSY, "the file changes faster than it can be looked at");
}

Result<uint64_t> OpenInode::data_token(const OpContext& ctx) {
  SKERRY_ASSIGN(Attributes attr, meta::get_attributes(ctx, store_.meta, ino_));
  std::lock_guard lock(state_->mutex);
  // Versions count every change, so one that own commits did not lead to is another client's. An
  // own commit that is not told here yet only makes a new token too many.
  if (attr.version > state_->followed_version) {
    state_->token = state_->followed_version = attr.version;
  }
  return state_->token;
}

void OpenInode::note_own_change(uint64_t version) {
  std::lock_guard lock(state_->mutex);
  state_->follow(version);
}

Status OpenInode::take_error(uint64_t* seen) {
  const uint64_t drops = state_->drops.load(std::memory_order_acquire);
  if (drops == *seen) return {};
  *seen = drops;
  note_told();
  std::lock_guard lock(state_->mutex);
  return *state_->drop_error;
}

void OpenInode::note_told() {
  std::lock_guard lock(state_->mutex);
  state_->told_serial = state_->write_serial;
  store_.note_told(ino_);
}

uint64_t OpenInode::drop_count() const noexcept {
  return state_->drops.load(std::memory_order_acquire);
}

// ---- changes that are no writes

Result<Attributes> OpenInode::truncate(const OpContext& ctx, uint64_t length, uint32_t clear_mode,
                                       bool only_grow) {
  if (length > meta::kMaxFileSize) {
    return Error(EFBIG, "a length past the largest file size of 2^57 bytes");
  }
  if (dirty()) SKERRY_TRY(flush(ctx, Durability::kVisible));
  const uint64_t mark = store_.meta.mark();
  Result<Attributes> after =
      meta::truncate(bound_context(ctx), store_.meta, ino_, length, clear_mode, only_grow);
  if (!after.ok()) {
    state_->invalidate();  // it may have happened in part
    return after;
  }
  state_->invalidate_at(after->version);
  {
    std::lock_guard lock(state_->mutex);
    state_->unsynced = true;
  }
  if (length == 0 && (after->flags & meta::kFlagInline) == 0) {
    auto empty = std::make_shared<FileSnapshot>();
    empty->attr = *after;
    empty->mark.store(mark, std::memory_order_relaxed);
    empty->count_bytes();
    state_->adopt(std::move(empty));
  }
  return after;
}

Result<std::optional<uint64_t>> FileStoreImpl::next_chunk(const OpContext& ctx, meta::Ino ino,
                                                          uint64_t chunk) {
  meta::ReadRequest request;
  meta::Range range;
  range.table = meta::Table::kExtent;
  range.a = ino;
  range.limit = 1;
  range.after = meta::extent_key(ino, chunk, 0);  // no record has seq 0
  request.ranges.push_back(std::move(range));
  SKERRY_ASSIGN(meta::ReadResult seen, meta.store().read(ctx, request));
  if (seen.pages[0].records.empty()) return std::optional<uint64_t>();
  return std::optional<uint64_t>(std::get<meta::ExtentRecord>(seen.pages[0].records.front()).chunk);
}

Status OpenInode::zero_range(const OpContext& ctx, uint64_t offset, uint64_t length, bool extend,
                             uint32_t clear_mode) {
  if (length == 0) return Error(EINVAL, "a range of no bytes");
  if (offset > meta::kMaxFileSize || length > meta::kMaxFileSize - offset) {
    return Error(EFBIG, "a range past the largest file size of 2^57 bytes");
  }
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
    if (dirty()) SKERRY_TRY(flush(ctx, Durability::kVisible));
    // What lies behind an older end would be left as it is.
    const NotBefore now(ctx, store_.meta.current_not_before(ctx));
    SKERRY_ASSIGN(SnapshotPtr known, state_->validated(*now, ino_, 0, 0));
    if (!known->is_inline) {
      const uint64_t end = extend ? offset + length : std::min(offset + length, known->attr.length);
      if (offset >= end) return {};
      Status zeroed = write_zeros(ctx, offset, end - offset, extend, clear_mode);
      if (zeroed.ok() || zeroed.error().code() != EAGAIN) return zeroed;
    } else {
      const uint64_t before = known->attr.length;
      const uint64_t after = extend ? std::max(before, offset + length) : before;
      std::string bytes = known->inline_bytes;
      const uint64_t shown = offset < bytes.size()
                                 ? std::min<uint64_t>(length, bytes.size() - offset)
                                 : 0;  // bytes to be zeroed
      if (after > store_.meta.format().inline_bytes) {
        // It does not fit the metadata with its length: zero what there is, then grow.
        if (shown > 0) {
          SKERRY_TRY(write(ctx, offset, std::vector<std::byte>(shown), false, clear_mode));
          SKERRY_TRY(flush(ctx, Durability::kVisible));
        }
        if (after > before) SKERRY_TRY(truncate(ctx, after, clear_mode, /*only_grow=*/true));
        return {};
      }
      if (shown > 0) std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(offset), shown, '\0');
      bytes.resize(after);
      Result<meta::DataWritten> written =
          meta::write_inline(bound_context(ctx), store_.meta, ino_, known->attr.version, bytes,
                             clear_mode, Durability::kVisible);
      if (written.ok()) {
        state_->invalidate_at(written->version);
        std::lock_guard lock(state_->mutex);
        state_->unsynced = true;
        return {};
      }
      if (written.error().code() != EAGAIN) return std::move(written).error();
    }
    state_->invalidate();
  }
  return Error(EBUSY, "gave up after too many conflicting changes of the file");
}

/// Zero extents over the chunks that have any: a hole of any size costs what is in it.
Status OpenInode::write_zeros(const OpContext& ctx, uint64_t offset, uint64_t length, bool extend,
                              uint32_t clear_mode) {
  const uint64_t end = offset + length;
  uint64_t begin = offset;
  do {
    meta::DataWrite write;
    write.ino = ino_;
    write.offset = begin;
    write.extend = extend;
    write.clear_mode = clear_mode;
    std::optional<uint64_t> chunk = begin / kChunkSize;
    uint64_t done = begin;
    while (write.pieces.size() < kZeroChunks && done < end) {
      SKERRY_TRY(ctx.check());
      SKERRY_ASSIGN(chunk, store_.next_chunk(ctx, ino_, *chunk));
      if (!chunk || *chunk * kChunkSize >= end) {
        done = end;
        break;
      }
      const uint64_t from = std::max(begin, *chunk * kChunkSize);
      done = std::min(end, (*chunk + 1) * kChunkSize);
      Extent zeros;
      zeros.chunk_offset = from - begin;
      zeros.length = done - from;
      write.pieces.push_back(zeros);
      ++*chunk;
    }
    write.length = done - begin;
    SKERRY_ASSIGN(std::vector<Result<meta::DataWritten>> results,
                  meta::write_data(ctx, store_.meta, {write}, Durability::kVisible, {},
                                   bound_context(ctx).session));
    SKERRY_ASSIGN(meta::DataWritten written, std::move(results[0]));
    std::vector<meta::ObjectId> cut;
    const auto records = meta::place_extents(ino_, written.version, begin, write.pieces, &cut);
    std::unique_lock lock(state_->mutex);
    state_->extend(lock, written.version, extend ? done : 0, 0, records);
    state_->unsynced = true;
    begin = done;
  } while (begin < end);
  return {};
}

Result<uint64_t> OpenInode::seek(const OpContext& ctx, uint64_t offset, bool data) {
  if (dirty()) SKERRY_TRY(flush(ctx, Durability::kVisible));
  uint64_t chunk = offset / kChunkSize;
  for (;;) {
    SKERRY_TRY(ctx.check());
    SKERRY_ASSIGN(SnapshotPtr known, state_->validated(ctx, ino_, chunk, chunk));
    const uint64_t length = known->attr.length;
    if (offset >= length) return Error(ENXIO, "at or past the end of the file");
    if (known->is_inline) {
      const uint64_t end = known->inline_bytes.size();
      if (data) {
        if (offset < end) return offset;
        return Error(ENXIO, "no data behind this offset");
      }
      return offset < end ? end : offset;
    }
    const ChunkExtents& extents = *known->find(chunk);
    uint64_t at = std::max(offset, chunk * kChunkSize);
    const uint64_t chunk_end = (chunk + 1) * kChunkSize;
    while (at < std::min(length, chunk_end)) {
      const uint64_t in_chunk = at - chunk * kChunkSize;
      const Extent* piece = first_piece_after(extents, in_chunk);
      const bool in_piece = piece != nullptr && piece->chunk_offset <= in_chunk;
      const bool in_data = in_piece && piece->object != 0;
      if (in_data == data) return at;
      if (piece == nullptr) {
        at = chunk_end;
      } else {
        at = chunk * kChunkSize + piece->chunk_offset + (in_piece ? piece->length : 0);
      }
    }
    if (at >= length) {
      if (!data) return length;
      return Error(ENXIO, "no data behind this offset");
    }
    ++chunk;
    if (!data) continue;  // a chunk without extents answers at once
    SKERRY_ASSIGN(std::optional<uint64_t> next, store_.next_chunk(ctx, ino_, chunk));
    if (!next || *next * kChunkSize >= length) return Error(ENXIO, "no data behind this offset");
    chunk = *next;
  }
}

}  // namespace skerry::data
