// Writing: slices in memory, their way into objects, and the commit that makes them the file's.
#include <algorithm>
#include <cstring>
#include <map>

#include "data/file_state.h"
#include "data/parallel.h"
#include "meta/metadata_cache.h"

namespace skerry::data {

using meta::Durability;
using meta::Extent;

namespace {

constexpr uint64_t kPackGroupBytes = 8u << 20;  // copied and handed to store_many at once
constexpr unsigned kKindSwitches = 16;
constexpr TimeNs kFirstPauseNs = 500'000;

using SlicePtr = std::shared_ptr<Slice>;

Error lost_with_lock() {
  return Error(EIO, "the session was lost while the file was locked; close it and open it again");
}

/// Contiguous bytes of a slice; copied to `*copy` only if it has several pieces.
ByteView contiguous(const Slice& slice, std::vector<std::byte>* copy) {
  const std::vector<ByteView> views = slice.buffer.views();
  if (views.size() == 1) return views[0];
  copy->resize(slice.length);
  slice.buffer.read(0, *copy);
  return *copy;
}

}  // namespace

// ---- taking bytes

Status OpenInode::write(const OpContext& ctx, uint64_t offset, ByteView bytes, bool append,
                        uint32_t clear_mode, std::optional<uint64_t> losses) {
  if (bytes.empty()) return {};
  if (append ? bytes.size() > meta::kMaxFileSize
             : offset > meta::kMaxFileSize || bytes.size() > meta::kMaxFileSize - offset) {
    return Error(EFBIG, "a write past the largest file size of 2^57 bytes");
  }
  State& state = *state_;
  if (!append) return take(ctx, offset, bytes, false, clear_mode, losses);
  for (unsigned switches = 0;; ++switches) {
    std::unique_lock lock(state.mutex);
    SKERRY_TRY(state.wait(ctx, lock, [&] { return !state.appending; }));
    if (!state.holds_other_kind(true)) {
      state.appending = true;
      break;
    }
    lock.unlock();
    if (switches == kKindSwitches) return Error(EBUSY, "writers and appenders alternate");
    SKERRY_TRY(flush(ctx, Durability::kVisible));
  }
  Status taken = take(ctx, 0, bytes, true, clear_mode, losses);
  bool large = false;
  {
    std::lock_guard lock(state.mutex);
    state.appending = false;
    large = state.pending.segments().size() > kMaxUncommittedSegments;
  }
  state.changed.notify_all();
  // The bytes are taken: an error of this flush is told by the next one.
  if (large && taken.ok()) (void)flush(ctx, Durability::kVisible).ok();
  return taken;
}

Status OpenInode::take(const OpContext& ctx, uint64_t offset, ByteView bytes, bool append,
                       uint32_t clear_mode, std::optional<uint64_t> losses) {
  State& state = *state_;
  const uint64_t block = store_.block_bytes();
  const uint64_t step =
      std::min(block, std::max<uint64_t>(store_.options.write_buffer_bytes / 4, 4096));
  std::optional<uint64_t> append_begin;  // where this append lies among the pending ones
  auto roll_back = [&] {
    if (!append_begin) return;
    std::vector<SlicePtr> dropped;
    std::lock_guard lock(state.mutex);
    state.pending.freeze_open();
    state.pending.cut_at(*append_begin, &dropped);
    state.drop_slices(dropped);
    state.note_if_clean(*this);
  };
  size_t done = 0;
  unsigned switches = 0;
  while (done < bytes.size()) {
    const size_t wanted = std::min<uint64_t>(bytes.size() - done, step);
    BufferCredit credit(store_.pool);
    if (Status room = store_.admit(ctx, wanted, credit); !room.ok()) {
      roll_back();
      return room;
    }
    std::vector<SlicePtr> dropped;
    SlicePtr full;
    bool many = false;
    {
      std::unique_lock lock(state.mutex);
      // Under the mutex, so that no byte of an old handle is taken after the dropping.
      if (losses && *losses != losses_.load(std::memory_order_relaxed)) {
        lock.unlock();
        roll_back();
        return lost_with_lock();
      }
      if (!append && (state.appending || state.holds_other_kind(false))) {
        lock.unlock();
        if (++switches > kKindSwitches) return Error(EBUSY, "writers and appenders alternate");
        SKERRY_TRY(flush(ctx, Durability::kVisible));
        continue;
      }
      const uint64_t at = append ? state.pending.end() : offset + done;
      if (append && !append_begin) append_begin = at;
      const size_t n = std::min<uint64_t>(wanted, DirtyData::window_end(at, block) - at);
      state.pending.append = append;
      state.pending.clear_mode |= clear_mode;
      state.pending.mtime_ns = std::max(state.pending.mtime_ns, store_.meta.now_ns());
      state.pending.write(at, bytes.subspan(done, n), block, credit, &dropped, &full);
      state.drop_slices(dropped);
      ++state.write_serial;
      if (!dirty()) {
        state.dirty_since_ns = store_.meta.clock().monotonic_ns();
        dirty_.store(true, std::memory_order_release);
        store_.note_dirty(shared_from_this());
      }
      many = !append && state.pending.segments().size() > kMaxUncommittedSegments;
      done += n;
    }
    if (full != nullptr) store_.store_early(shared_from_this(), std::move(full));
    // The bytes are taken: an error of this flush is told by the next one.
    if (many) (void)flush(ctx, Durability::kVisible).ok();
  }
  return {};
}

bool OpenInode::State::holds_other_kind(bool append) const {
  return (!pending.empty() && pending.append != append) ||
         (!batch.empty() && batch.append != append);
}

// ---- storing slices

void OpenInode::State::drop_slices(const std::vector<SlicePtr>& slices, bool in_doubt) {
  constexpr size_t kMaxSurplus = 65536;  // beyond, gc finds them
  for (const SlicePtr& slice : slices) {
    if (slice->state == Slice::State::kStored) {
      if (!in_doubt && surplus.size() < kMaxSurplus) surplus.push_back(slice->extent.object);
    } else if (slice->state != Slice::State::kStoring) {
      slice->buffer.clear();
    }
  }
}

void FileStoreImpl::stored(OpenInode& inode, const SlicePtr& slice, meta::ClientId client,
                           Result<Extent> extent) {
  OpenInode::State& state = *inode.state_;
  {
    std::lock_guard lock(state.mutex);
    if (extent.ok()) {
      slice->extent = *extent;
      slice->client = client;
      slice->state = Slice::State::kStored;
      slice->buffer.clear();
      if (slice->abandoned) state.drop_slices({slice});
    } else {
      slice->state = Slice::State::kFrozen;
      if (slice->abandoned) state.drop_slices({slice});
      state.store_error = std::move(extent).error();
    }
  }
  state.changed.notify_all();
  std::lock_guard lock(mutex);
  changed.notify_all();
}

void FileStoreImpl::upload(const OpContext& ctx, OpenInode& inode, const SlicePtr& slice,
                           bool packed) {
  {
    std::lock_guard lock(inode.state_->mutex);
    if (slice->state != Slice::State::kFrozen || slice->abandoned) return;
    slice->state = Slice::State::kStoring;
  }
  const meta::ClientId client = meta.client();
  std::vector<std::byte> copy;
  Result<Extent> extent = packed ? blocks.store_packed(ctx, contiguous(*slice, &copy))
                                 : blocks.store_block(ctx, slice->buffer.views());
  stored(inode, slice, client, std::move(extent));
}

void FileStoreImpl::store_early(std::shared_ptr<OpenInode> inode, SlicePtr slice) {
  {
    std::lock_guard lock(mutex);
    waiting.push_back({std::move(inode), std::move(slice)});
  }
  pump();
}

void FileStoreImpl::pump() {
  {
    std::lock_guard lock(mutex);
    if (uploads >= kMaxUploads || waiting.empty()) return;
    ++uploads;
  }
  executor.submit([this] {
    while (upload_one()) {
    }
    std::lock_guard lock(mutex);
    --uploads;
    changed.notify_all();
  });
}

bool FileStoreImpl::upload_one() {
  Upload next;
  {
    std::lock_guard lock(mutex);
    if (waiting.empty()) return false;
    next = std::move(waiting.front());
    waiting.pop_front();
  }
  upload(background(), *next.inode, next.slice, false);
  return true;
}

// ---- room in memory

Status FileStoreImpl::admit(const OpContext& ctx, uint64_t bytes, BufferCredit& credit) {
  // What SliceBuffer may allocate at most for these bytes.
  const uint64_t charge =
      bytes + std::min<uint64_t>(BufferPool::kPieceBytes, options.write_buffer_bytes / 8) +
      2 * SliceBuffer::kOverheadBytes;
  while (!pool.try_charge(charge, options.write_buffer_bytes)) {
    SKERRY_TRY(ctx.check());
    if (upload_one()) continue;
    bool did = false;
    if (Status stored = relieve(ctx, &did); !stored.ok()) {
      return std::move(stored).error().with_context(
          "the write buffer is full and its data can not be stored");
    }
    if (did) continue;
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::milliseconds(5));
  }
  credit.add(charge);
  return {};
}

Status FileStoreImpl::relieve(const OpContext& ctx, bool* did) {
  std::shared_ptr<OpenInode> largest;
  uint64_t most = 0;
  bool appending = false;
  for (auto& candidate : dirty_inodes()) {
    OpenInode::State& state = *candidate->state_;
    std::lock_guard lock(state.mutex);
    if (state.flushing) continue;  // its flusher is making room
    const uint64_t bytes = state.pending.memory_bytes() + state.batch.memory_bytes();
    if (bytes <= most) continue;
    most = bytes;
    appending = state.appending;
    largest = std::move(candidate);
  }
  *did = largest != nullptr;
  if (largest == nullptr) return {};
  if (appending) return largest->store_pending(ctx);
  Status flushed = largest->flush(ctx, Durability::kVisible);
  // Dropped data made room as well, and its handles are told.
  if (!flushed.ok() && (flushed.error().code() == ESTALE || flushed.error().code() == EFBIG)) {
    return {};
  }
  return flushed;
}

/// Stores what is pending without committing it: an append that is being taken stays in one piece.
Status OpenInode::store_pending(const OpContext& ctx) {
  std::vector<SlicePtr> slices;
  {
    std::lock_guard lock(state_->mutex);
    state_->pending.freeze_open();
    state_->store_error.reset();
    for (const auto& [at, segment] : state_->pending.segments()) slices.push_back(segment.slice);
  }
  for (const SlicePtr& slice : slices) store_.upload(ctx, *this, slice, false);
  std::lock_guard lock(state_->mutex);
  if (state_->store_error) return *state_->store_error;
  return {};
}

// ---- flush

Status OpenInode::flush(const OpContext& ctx, Durability durability) {
  if (ctx.session != 0) {
    // What the data itself is bound to decides, and objects are stored together with others'.
    OpContext own = ctx;
    own.session = 0;
    return flush(own, durability);
  }
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  const uint64_t target = state.write_serial;
  while (state.committed_serial < target) {
    if (state.flushing || state.appending) {
      SKERRY_TRY(state.wait(ctx, lock, [&] {
        return !(state.flushing || state.appending) || state.committed_serial >= target;
      }));
      continue;
    }
    if (state.batch_is_doomed()) {
      const Error error = *state.doom_error;
      state.drop_batch(*this, error);
      lock.unlock();
      release_surplus(ctx);
      return error;
    }
    if (state.batch.empty()) {
      state.batch = std::move(state.pending);
      state.pending.clear();
      state.batch_serial = state.write_serial;
      state.progress = {};
      state.batch.freeze(store_.block_bytes(), store_.pool);
    }
    if (state.batch.empty()) {  // what was written was taken back
      state.committed_serial = state.batch_serial;
      continue;
    }
    state.flushing = true;
    state.batch_session = bound();
    lock.unlock();
    Status flushed = flush_batch(ctx, durability);
    lock.lock();
    state.flushing = false;
    if (!flushed.ok() && state.batch_is_doomed()) {
      flushed = *state.doom_error;
      state.drop_batch(*this, flushed.error());
    } else if (!flushed.ok() && !state.batch.empty() &&
               (flushed.error().code() == ESTALE || flushed.error().code() == EFBIG)) {
      state.drop_batch(*this, flushed.error());
    }
    lock.unlock();
    state.changed.notify_all();
    release_surplus(ctx);
    SKERRY_TRY(std::move(flushed));
    lock.lock();
  }
  if (durability != Durability::kDurable || !state.unsynced) return {};
  state.unsynced = false;
  lock.unlock();
  Status synced = store_.meta.store().sync(ctx);
  if (!synced.ok()) {
    lock.lock();
    state.unsynced = true;
  }
  return synced;
}

void OpenInode::State::note_if_clean(OpenInode& inode) {
  if (!pending.empty() || !batch.empty() || !inode.dirty()) return;
  inode.dirty_.store(false, std::memory_order_release);
  impl.note_clean(inode.ino_);
}

void OpenInode::State::end_batch(OpenInode& inode) {
  batch.clear();
  progress = {};
  committed_serial = batch_serial;
  dirty_since_ns = impl.meta.clock().monotonic_ns();
  note_if_clean(inode);
}

void OpenInode::State::abandon(const DirtyData& data, bool in_doubt) {
  std::vector<SlicePtr> slices;
  for (const auto& [at, segment] : data.segments()) {
    if (segment.slice->abandoned) continue;
    segment.slice->abandoned = true;
    slices.push_back(segment.slice);
  }
  drop_slices(slices, in_doubt);
}

void OpenInode::State::drop_batch(OpenInode& inode, const Error& error) {
  const bool in_doubt = progress.lost.has_value();
  abandon(batch, in_doubt);
  if (progress.base != nullptr) drop_slices({progress.base}, in_doubt);
  drops.fetch_add(1, std::memory_order_release);
  drop_error = error;
  if (batch_serial > told_serial) impl.note_dropped(inode.ino_, error);
  end_batch(inode);
}

/// The binding ends last: a flush that begins before is refused, one that begins later finds
/// nothing of what was written before.
void OpenInode::lose(const Error& error) {
  drop_uncommitted(error);
  bind(0);
}

void OpenInode::drop_uncommitted(const Error& error) {
  State& state = *state_;
  std::lock_guard lock(state.mutex);
  losses_.fetch_add(1, std::memory_order_release);
  state.doomed_serial = state.write_serial;
  state.doom_error = error;
  // Who flushes the batch drops it himself, unless it is committed by then.
  if (!state.batch.empty() && !state.flushing) state.drop_batch(*this, error);
  if (state.pending.empty()) return;
  state.pending.freeze_open();
  state.abandon(state.pending);
  state.pending.clear();
  state.drops.fetch_add(1, std::memory_order_release);
  state.drop_error = error;
  if (state.write_serial > state.told_serial) store_.note_dropped(ino_, error);
  if (state.batch.empty()) state.committed_serial = state.batch_serial = state.write_serial;
  state.note_if_clean(*this);
}

/// What is written under a lock is not worth storing once its session is gone.
Status OpenInode::check_bound() const {
  const meta::ClientId session = state_->batch_session;
  if (session == 0 || session == store_.meta.client()) return {};
  return Error(ESTALE, "the session that held locks of the file is gone");
}

/// For changes that the store must refuse when the session that holds locks of the file is gone.
OpContext OpenInode::bound_context(const OpContext& ctx) const {
  OpContext bound_ctx = ctx;
  if (bound_ctx.session == 0) bound_ctx.session = bound();
  return bound_ctx;
}

/// Objects that were stored for nothing: one reference less makes them garbage. If that fails they
/// stay until gc, as nothing refers to them.
void OpenInode::release_surplus(const OpContext& ctx) {
  std::map<meta::ObjectId, int64_t> objects;
  {
    std::lock_guard lock(state_->mutex);
    for (meta::ObjectId object : state_->surplus) --objects[object];
    state_->surplus.clear();
  }
  if (objects.empty()) return;
  std::vector<meta::Mutation> mutations;
  for (const auto& [object, delta] : objects) {
    mutations.push_back(meta::AddObjectReferences{object, delta});
  }
  (void)store_.meta.commit(ctx, {}, std::move(mutations)).ok();
}

Status OpenInode::flush_batch(const OpContext& ctx, Durability durability) {
  State& state = *state_;
  bool committed = false;
  SKERRY_TRY(settle_lost_answer(ctx, &committed));
  if (committed) return {};
  SKERRY_TRY(check_bound());
  const uint64_t inline_bytes = store_.meta.format().inline_bytes;
  bool look = false;  // what is known of the file was wrong
  TimeNs pause = kFirstPauseNs;
  for (unsigned attempt = 0; attempt < kCommitRetries; ++attempt) {
    if (attempt > 2) {
      SKERRY_TRY(ctx.check());
      const uint64_t random = store_.meta.random().next();
      ctx.clock->sleep_ns(pause / 2 + static_cast<TimeNs>(random % static_cast<uint64_t>(pause)));
      pause = std::min<TimeNs>(pause * 2, 16'000'000);
    }
    bool small = false;
    SnapshotPtr known;
    {
      std::lock_guard lock(state.mutex);
      small = inline_bytes > 0 && attempt < kInlineRetries && state.batch.end() <= inline_bytes &&
              state.batch.all_in_memory();
      known = state.current;
    }
    if (known == nullptr) known = state.known_empty(ctx, ino_);
    if (small || look) {
      SKERRY_ASSIGN(known, state.validated(ctx, ino_, 0, 0));
    }
    Status done;
    const uint64_t end = state.batch.end();
    if (small && (known->is_inline || known->attr.length == 0) &&
        (state.batch.append ? known->attr.length + end : std::max(known->attr.length, end)) <=
            inline_bytes) {
      done = commit_inline(ctx, *known, durability);
    } else {
      done = commit_extents(ctx, known.get(), durability);
    }
    if (done.ok() || done.error().code() != EAGAIN) return done;
    look = true;
    state.invalidate();
  }
  return Error(EBUSY, "gave up after too many conflicting changes of the file");
}

Status OpenInode::commit_inline(const OpContext& ctx, const FileSnapshot& known,
                                Durability durability) {
  State& state = *state_;
  std::string bytes = known.inline_bytes;
  {
    std::unique_lock lock(state.mutex);
    // A slice may be on its way to an object of its own already.
    if (!state.batch.all_in_memory()) {
      lock.unlock();
      return commit_extents(ctx, &known, durability);
    }
    const uint64_t base = state.batch.append ? known.attr.length : 0;
    bytes.resize(std::max(known.attr.length, base + state.batch.end()));
    for (const auto& [at, segment] : state.batch.segments()) {
      segment.slice->buffer.read(
          segment.skip, {reinterpret_cast<std::byte*>(bytes.data()) + base + at, segment.length});
    }
  }
  OpContext bound_ctx = ctx;
  bound_ctx.session = state.batch_session;
  Result<meta::DataWritten> written =
      meta::write_inline(bound_ctx, store_.meta, ino_, known.attr.version, bytes,
                         state.batch.clear_mode, durability, &state.progress.lost);
  if (!written.ok()) {
    state.progress.lost_inline = true;
    return std::move(written).error();
  }
  auto snapshot = std::make_shared<FileSnapshot>(known);
  snapshot->attr.version = written->version;
  snapshot->attr.length = bytes.size();
  snapshot->attr.flags |= meta::kFlagInline;
  snapshot->is_inline = true;
  snapshot->inline_bytes = std::move(bytes);
  snapshot->chunks.clear();
  snapshot->count_bytes();
  std::unique_lock lock(state.mutex);
  state.abandon(state.batch);  // it went into the metadata
  state.own_version = std::max(state.own_version, written->version);
  state.follow(written->version);
  if (state.current == nullptr || state.current->attr.version < written->version) {
    state.publish(lock, std::move(snapshot));
  }
  state.unsynced = durability == Durability::kVisible;
  state.end_batch(*this);
  return {};
}

/// Stores all slices of the batch (and `base`, if any): full ones each in its object and in
/// parallel, small ones together. Returns the session that their ids belong to.
Result<meta::ClientId> OpenInode::store_batch(const OpContext& ctx, const SlicePtr& base) {
  State& state = *state_;
  const meta::ClientId session =
      state.batch_session != 0 ? state.batch_session : store_.meta.client();
  std::vector<SlicePtr> all, small, large, under_way;
  {
    std::lock_guard lock(state.mutex);
    state.store_error.reset();
    if (base != nullptr) all.push_back(base);
    for (const auto& [at, segment] : state.batch.segments()) all.push_back(segment.slice);
    for (const SlicePtr& slice : all) {
      if (slice->state == Slice::State::kStoring) under_way.push_back(slice);
      if (slice->state != Slice::State::kFrozen) continue;
      (slice->length > store_.block_bytes() / 2 ? large : small).push_back(slice);
    }
  }
  run_parallel(store_.executor, large.size(),
               [&](size_t i) { store_.upload(ctx, *this, large[i], false); });
  if (small.size() == 1) store_.upload(ctx, *this, small[0], true);
  for (size_t i = 0; small.size() > 1 && i < small.size();) {
    std::vector<SlicePtr> group;
    std::vector<std::vector<std::byte>> copies;
    uint64_t bytes = 0;
    {
      std::lock_guard lock(state.mutex);
      for (; i < small.size() && bytes < kPackGroupBytes; ++i) {
        if (small[i]->state != Slice::State::kFrozen || small[i]->abandoned) continue;
        small[i]->state = Slice::State::kStoring;
        bytes += small[i]->length;
        group.push_back(small[i]);
      }
    }
    copies.resize(group.size());
    std::vector<ByteView> views;
    for (size_t g = 0; g < group.size(); ++g) views.push_back(contiguous(*group[g], &copies[g]));
    const meta::ClientId client = store_.meta.client();
    Result<std::vector<Extent>> extents =
        group.empty() ? std::vector<Extent>() : store_.blocks.store_many(ctx, views);
    for (size_t g = 0; g < group.size(); ++g) {
      store_.stored(*this, group[g], client,
                    extents.ok() ? Result<Extent>((*extents)[g]) : Result<Extent>(extents.error()));
    }
    if (!extents.ok()) break;
  }

  std::unique_lock lock(state.mutex);
  SKERRY_TRY(state.wait(ctx, lock, [&] {
    return std::none_of(all.begin(), all.end(), [](const SlicePtr& slice) {
      return slice->state == Slice::State::kStoring;
    });
  }));
  // What failed in an upload that began before this call may succeed by now.
  std::erase_if(under_way, [](const SlicePtr& s) { return s->state != Slice::State::kFrozen; });
  if (!under_way.empty()) {
    lock.unlock();
    for (const SlicePtr& slice : under_way) store_.upload(ctx, *this, slice, false);
    lock.lock();
  }
  for (const SlicePtr& slice : all) {
    if (slice->state == Slice::State::kStored) {
      // The second: a pack whose leader began before this session.
      if (slice->client == session && slice->extent.object >= store_.meta.first_object()) continue;
      return Error(ESTALE, "the session under which data was stored is gone");
    }
    if (state.store_error) return *state.store_error;
    return Error(EIO, "a block could not be stored");
  }
  return session;
}

Status OpenInode::commit_extents(const OpContext& ctx, const FileSnapshot* known,
                                 Durability durability) {
  State& state = *state_;
  FlushProgress& progress = state.progress;
  const bool replaces_inline = known != nullptr && known->is_inline;
  // The inline bytes move into an object, unless the batch covers them all.
  uint64_t covered = 0;
  if (!state.batch.append) {
    for (const auto& [at, segment] : state.batch.segments()) {
      if (at != covered) break;
      covered += segment.length;
    }
  }
  const bool needs_base =
      replaces_inline && covered < known->inline_bytes.size() && !known->inline_bytes.empty();
  if (progress.base != nullptr && (!needs_base || progress.base_version != known->attr.version)) {
    std::lock_guard lock(state.mutex);
    state.drop_slices({progress.base});
    progress.base = nullptr;
  }
  if (needs_base && progress.base == nullptr) {
    BufferCredit credit(store_.pool);
    progress.base = std::make_shared<Slice>(credit);
    progress.base->segments = 1;
    progress.base->length = known->inline_bytes.size();
    progress.base->buffer.write(0, as_bytes(known->inline_bytes), credit);
    progress.base->state = Slice::State::kFrozen;
    progress.base_version = known->attr.version;
  }
  SKERRY_ASSIGN(const meta::ClientId session, store_batch(ctx, progress.base));

  meta::DataWrite write;
  write.ino = ino_;
  write.clear_mode = state.batch.clear_mode;
  write.mtime_ns = state.batch.mtime_ns;
  // Under a version the end of the file is known, so that an append has a position.
  const uint64_t shift = state.batch.append && replaces_inline ? known->attr.length : 0;
  write.append = state.batch.append && !replaces_inline;
  if (replaces_inline) write.replace_inline_version = known->attr.version;
  write.offset = write.append || needs_base ? 0 : shift + state.batch.begin();
  write.length = shift + state.batch.end() - write.offset;
  if (needs_base) write.length = std::max(write.length, progress.base->length);
  std::map<meta::ObjectId, int64_t> uses;
  std::map<const Slice*, int64_t> shown;
  auto add = [&](uint64_t at, const Slice& slice, uint64_t skip, uint64_t length) {
    Extent piece = slice.extent;
    piece.chunk_offset = at - write.offset;
    piece.slice_skip += skip;
    piece.length = length;
    write.pieces.push_back(piece);
    if (++shown[&slice] > 1) ++uses[piece.object];
  };
  if (needs_base) add(0, *progress.base, 0, progress.base->length);
  for (const auto& [at, segment] : state.batch.segments()) {
    add(shift + at, *segment.slice, segment.skip, segment.length);
  }
  const std::vector<std::pair<meta::ObjectId, int64_t>> references(uses.begin(), uses.end());
  Result<std::vector<Result<meta::DataWritten>>> results =
      meta::write_data(ctx, store_.meta, {write}, durability, references, session, &progress.lost);
  Result<meta::DataWritten> written =
      results.ok() ? std::move(results->at(0)) : std::move(results).error();
  if (!written.ok()) {
    progress.lost_inline = false;
    return std::move(written).error();
  }

  const uint64_t position = write.append ? written->length_before : write.offset;
  std::vector<meta::ObjectId> cut;
  const std::vector<meta::ExtentRecord> records =
      meta::place_extents(ino_, written->version, position, write.pieces, &cut);
  std::unique_lock lock(state.mutex);
  state.extend(lock, written->version, position + write.length, write.mtime_ns, records);
  state.unsynced = durability == Durability::kVisible;
  state.end_batch(*this);
  return {};
}

/// An earlier flush sent a commit and got no answer. Whether it was applied cannot be seen in the
/// file, which others may have changed since: the store is asked, before anything else is sent.
Status OpenInode::settle_lost_answer(const OpContext& ctx, bool* committed) {
  State& state = *state_;
  FlushProgress& progress = state.progress;
  if (!progress.lost) return {};
  Result<meta::CommitResult> settled = store_.meta.settle(ctx, *progress.lost);
  state.invalidate();
  if (!settled.ok() && settled.error().code() != ESTALE) return std::move(settled).error();
  progress.lost.reset();
  if (!settled.ok() || !settled->applied) return {};
  const uint64_t version =
      progress.lost_inline ? settled->outcomes.back().version : settled->outcomes.front().version;
  *committed = true;
  state.invalidate_at(version);
  std::lock_guard lock(state.mutex);
  if (progress.lost_inline) state.abandon(state.batch);
  state.unsynced = true;
  state.end_batch(*this);
  return {};
}

}  // namespace skerry::data
