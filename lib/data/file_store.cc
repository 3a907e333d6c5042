#include "data/file_store.h"

#include <algorithm>

#include "base/crc32c.h"
#include "data/file_state.h"
#include "meta/metadata_cache.h"

namespace skerry::data {

using meta::Attributes;
using meta::Durability;
using meta::Extent;
using meta::kChunkSize;

namespace {

constexpr TimeNs kFlushAfterNs = 5'000'000'000;
constexpr unsigned kCompactedAtOnce = 4;
constexpr size_t kMaxFragmented = 1024;
constexpr size_t kEvictionSteps = 8;
constexpr size_t kFilesAtOnce = 256;
constexpr uint64_t kBytesAtOnce = 32u << 20;
constexpr size_t kReadsAtOnce = 128;
constexpr uint32_t kRecordsOfOneFile = 256;
constexpr uint64_t kCopyStepBytes = uint64_t{1} << 30;
constexpr uint64_t kCopyByValueBytes = 64 << 10;

/// What open() hands out: while it lives the inode counts as open.
struct OpenReference {
  OpenReference(meta::Meta& meta, std::shared_ptr<OpenInode> inode)
      : meta(meta), inode(std::move(inode)) {
    meta.note_open(this->inode->ino());
  }
  ~OpenReference() { meta.note_closed(inode->ino()); }
  OpenReference(const OpenReference&) = delete;
  OpenReference& operator=(const OpenReference&) = delete;

  meta::Meta& meta;
  std::shared_ptr<OpenInode> inode;
};

}  // namespace

// ---- the table

void FileStoreImpl::evict_some(Shard& shard, std::vector<std::shared_ptr<OpenInode>>* evicted) {
  for (size_t step = 0; step < kEvictionSteps && !shard.ring.empty(); ++step) {
    const bool full = shard.ring.size() > kKeptPerShard ||
                      snapshot_bytes.load(std::memory_order_relaxed) > kKeptSnapshotBytes;
    if (!full) return;
    if (shard.hand >= shard.ring.size()) shard.hand = 0;
    auto it = shard.known.find(shard.ring[shard.hand]);
    // Only the table refers to it, and nobody gets it from the table while the mutex is held.
    if (it->second.used || it->second.inode.use_count() > 1) {
      it->second.used = false;
      ++shard.hand;
      continue;
    }
    evicted->push_back(std::move(it->second.inode));
    shard.known.erase(it);
    shard.ring[shard.hand] = shard.ring.back();
    shard.ring.pop_back();
  }
}

std::shared_ptr<OpenInode> FileStoreImpl::find(meta::Ino ino) {
  Shard& shard = shard_of(ino);
  std::vector<std::shared_ptr<OpenInode>> evicted;  // destroyed outside the mutex
  std::lock_guard lock(shard.mutex);
  Known& known = shard.known[ino];
  if (known.inode != nullptr) {
    known.used = true;
    return known.inode;
  }
  known.inode = OpenInode::make(*this, ino);
  std::shared_ptr<OpenInode> inode = known.inode;
  shard.ring.push_back(ino);
  evict_some(shard, &evicted);
  return inode;
}

std::shared_ptr<OpenInode> FileStoreImpl::find_known(meta::Ino ino) {
  Shard& shard = shard_of(ino);
  std::lock_guard lock(shard.mutex);
  auto it = shard.known.find(ino);
  return it == shard.known.end() ? nullptr : it->second.inode;
}

void FileStoreImpl::note_dirty(const std::shared_ptr<OpenInode>& inode) {
  std::lock_guard lock(mutex);
  dirty[inode->ino()] = inode;
}

void FileStoreImpl::note_dropped(meta::Ino ino, const Error& error) {
  constexpr size_t kMaxUntold = 1024;  // one is enough for an error
  std::lock_guard lock(mutex);
  if (untold.size() < kMaxUntold) untold.insert_or_assign(ino, error);
}

void FileStoreImpl::note_told(meta::Ino ino) {
  std::lock_guard lock(mutex);
  untold.erase(ino);
}

Status FileStoreImpl::take_untold(const OpContext& ctx) {
  std::map<meta::Ino, Error> dropped;
  {
    std::lock_guard lock(mutex);
    dropped.swap(untold);
  }
  for (const auto& [ino, error] : dropped) {
    if (!is_forgotten(ctx, ino)) return error;
  }
  return {};
}

void FileStoreImpl::note_clean(meta::Ino ino) {
  std::lock_guard lock(mutex);
  dirty.erase(ino);  // its caller holds it as well
  changed.notify_all();
}

void FileStoreImpl::note_fragmented(meta::Ino ino, uint64_t chunk) {
  std::lock_guard lock(mutex);
  if (fragmented.size() < kMaxFragmented) fragmented.emplace(ino, chunk);
}

std::vector<std::shared_ptr<OpenInode>> FileStoreImpl::dirty_inodes() {
  std::lock_guard lock(mutex);
  std::vector<std::shared_ptr<OpenInode>> inodes;
  inodes.reserve(dirty.size());
  for (const auto& [ino, inode] : dirty) inodes.push_back(inode);
  return inodes;
}

/// True if the inode is gone and nobody here has it open: what was left of a failed close, in a
/// file that lost its last name, is nobody's any more.
bool FileStoreImpl::is_forgotten(const OpContext& ctx, meta::Ino ino) {
  if (meta.is_open(ino)) return false;
  Result<Attributes> attr = meta::get_attributes(ctx, meta, ino);
  return !attr.ok() && attr.error().code() == ESTALE;
}

// ---- FileStore

FileStore::FileStore(meta::Meta& meta, BlockStore& blocks, Executor& executor,
                     FileStoreOptions options)
    : impl_(std::make_unique<FileStoreImpl>(meta, blocks, executor, options)) {
  if (meta.exact()) return;
  meta.on_inode_changed([this](meta::Ino ino) {
    auto inode = impl_->find_known(ino);
    if (inode == nullptr) return;
    inode->state_->heard.store(impl_->meta.mark(), std::memory_order_release);
  });
}

FileStore::~FileStore() {
  impl_->meta.on_inode_changed({});
  impl_->closing.cancel();
  std::deque<FileStoreImpl::Upload> waiting;
  {
    std::unique_lock lock(impl_->mutex);
    waiting.swap(impl_->waiting);
    impl_->changed.wait(lock, [&] { return impl_->uploads == 0; });
  }
  waiting.clear();
  std::unordered_map<meta::Ino, std::shared_ptr<OpenInode>> dirty;
  std::lock_guard lock(impl_->mutex);
  dirty.swap(impl_->dirty);
}

std::shared_ptr<OpenInode> FileStore::open(meta::Ino ino) {
  auto reference = std::make_shared<OpenReference>(impl_->meta, impl_->find(ino));
  OpenInode* inode = reference->inode.get();
  return std::shared_ptr<OpenInode>(std::move(reference), inode);
}

std::shared_ptr<OpenInode> FileStore::peek(meta::Ino ino) { return impl_->find(ino); }

uint64_t FileStore::buffered_bytes() const noexcept { return impl_->pool.used(); }

Status FileStore::flush_all(const OpContext& ctx, Durability durability) {
  Status first;
  // Without a sync for each; one at the end covers all.
  for (const auto& inode : impl_->dirty_inodes()) {
    Status flushed = inode->flush(ctx, Durability::kVisible);
    if (!flushed.ok() && flushed.error().code() == ESTALE &&
        impl_->is_forgotten(ctx, inode->ino())) {
      continue;
    }
    if (first.ok() && !flushed.ok()) first = std::move(flushed);
  }
  if (durability == Durability::kDurable) {
    Status synced = impl_->meta.store().sync(ctx);
    if (first.ok() && !synced.ok()) first = std::move(synced);
  }
  Status dropped = impl_->take_untold(ctx);
  if (first.ok() && !dropped.ok()) first = std::move(dropped);
  return first;
}

void FileStore::background_step(const OpContext& ctx) {
  const TimeNs now = impl_->meta.clock().monotonic_ns();
  for (const auto& inode : impl_->dirty_inodes()) {
    if (!ctx.check().ok()) return;
    bool old = false;
    {
      std::lock_guard lock(inode->state_->mutex);
      old = now - inode->state_->dirty_since_ns >= kFlushAfterNs && !inode->state_->flushing &&
            !inode->state_->appending;
    }
    // What fails stays, and is told by the flush that a caller waits for.
    if (old) (void)inode->flush(ctx, Durability::kVisible).ok();
  }
  for (unsigned i = 0; i < kCompactedAtOnce && ctx.check().ok(); ++i) {
    std::pair<meta::Ino, uint64_t> next;
    {
      std::lock_guard lock(impl_->mutex);
      if (impl_->fragmented.empty()) return;
      next = *impl_->fragmented.begin();
      impl_->fragmented.erase(impl_->fragmented.begin());
    }
    (void)impl_->find(next.first)->compact_chunk(ctx, next.second, true).ok();
  }
}

// ---- many files at once

namespace {

/// Several files' inline data in one commit; false if any of them is not what was thought.
Result<bool> write_inline_group(const OpContext& ctx, meta::Meta& meta,
                                const std::vector<std::pair<Attributes, ByteView>>& files) {
  const TimeNs now = meta.now_ns();
  std::vector<meta::Expectation> expectations;
  std::vector<meta::Mutation> mutations;
  const meta::ClientId usage_client = meta.usage_client();
  for (const auto& [attr, bytes] : files) {
    expectations.emplace_back(meta::ExpectAttributes{attr.ino, attr.version});
    expectations.emplace_back(meta::ExpectEmpty{meta::Table::kExtent, attr.ino});
    mutations.push_back(meta::Put{
        meta::InlineRecord{attr.ino, crc32c(0, bytes), std::string(as_string_view(bytes))}});
    meta::Patch patch;
    patch.ino = attr.ino;
    patch.length = bytes.size();
    patch.max_mtime_ns = patch.max_ctime_ns = now;
    patch.set_flags = meta::kFlagInline;
    patch.clear_flags = meta::kFlagCapability;
    patch.usage_client = usage_client;
    mutations.push_back(patch);
  }
  SKERRY_ASSIGN(meta::CommitResult result,
                meta.commit(ctx, std::move(expectations), std::move(mutations)));
  if (!result.applied) return false;
  for (const auto& [attr, bytes] : files) {
    meta.cache().update_attributes(attr.ino, attr.version + 1, [&, size = bytes.size()](auto* a) {
      a->length = size;
      a->mtime_ns = std::max(a->mtime_ns, now);
      a->ctime_ns = std::max(a->ctime_ns, now);
      a->flags = (a->flags & ~meta::kFlagCapability) | meta::kFlagInline;
    });
  }
  return true;
}

}  // namespace

std::vector<Status> FileStore::write_files(const OpContext& ctx,
                                           const std::vector<meta::Ino>& files,
                                           const std::vector<ByteView>& contents) {
  std::vector<Status> results(files.size());
  const uint64_t block = impl_->block_bytes();
  const uint64_t inline_bytes = impl_->meta.format().inline_bytes;
  auto write_alone = [&](size_t i) -> Status {
    auto inode = impl_->find(files[i]);
    SKERRY_TRY(inode->truncate(ctx, 0, 0));
    SKERRY_TRY(inode->write(ctx, 0, contents[i], false, 0));
    return inode->flush(ctx, Durability::kVisible);
  };
  for (size_t next = 0; next < files.size();) {
    // ---- one group: what is stored together
    std::vector<size_t> group;
    uint64_t bytes = 0;
    for (; next < files.size() && group.size() < kFilesAtOnce && bytes < kBytesAtOnce; ++next) {
      if (contents[next].size() > kBytesAtOnce) {
        results[next] = write_alone(next);
        continue;
      }
      group.push_back(next);
      bytes += contents[next].size();
    }
    std::vector<std::pair<Attributes, ByteView>> small;
    std::vector<size_t> small_index, large;
    std::vector<ByteView> slices;
    std::vector<meta::DataWrite> writes;
    for (size_t i : group) {
      auto inode = impl_->find_known(files[i]);
      if (inode != nullptr && inode->bound() != 0) {
        results[i] = write_alone(i);
        continue;
      }
      Result<Attributes> attr = meta::get_attributes(ctx, impl_->meta, files[i]);
      if (attr.ok() && (attr->length > 0 || (inode != nullptr && inode->dirty()))) {
        attr = impl_->find(files[i])->truncate(ctx, 0, 0);
      }
      if (!attr.ok()) {
        results[i] = std::move(attr).error();
      } else if (contents[i].size() <= inline_bytes) {
        if (contents[i].empty()) continue;
        small.emplace_back(*attr, contents[i]);
        small_index.push_back(i);
      } else {
        large.push_back(i);
        meta::DataWrite write;
        write.ino = files[i];
        write.length = contents[i].size();
        for (uint64_t at = 0; at < write.length;) {
          const uint64_t end = std::min(write.length, DirtyData::window_end(at, block));
          slices.push_back(contents[i].subspan(at, end - at));
          Extent piece;
          piece.chunk_offset = at;
          write.pieces.push_back(piece);
          at = end;
        }
        writes.push_back(std::move(write));
      }
    }
    // ---- small: into the metadata
    Result<bool> done =
        small.empty() ? Result<bool>(true) : write_inline_group(ctx, impl_->meta, small);
    for (size_t s = 0; s < small.size(); ++s) {
      if (!done.ok()) {
        results[small_index[s]] = done.error();
      } else if (!*done) {
        results[small_index[s]] = write_alone(small_index[s]);
      } else if (auto inode = impl_->find_known(files[small_index[s]])) {
        inode->state_->invalidate_at(small[s].first.version + 1);
      }
    }
    // ---- large: into shared objects
    if (large.empty()) continue;
    const meta::ClientId session = impl_->meta.client();
    Result<std::vector<Extent>> extents = impl_->blocks.store_many(ctx, slices);
    Result<std::vector<Result<meta::DataWritten>>> written =
        std::vector<Result<meta::DataWritten>>();
    if (extents.ok()) {
      size_t at = 0;
      for (auto& write : writes) {
        for (Extent& piece : write.pieces) {
          const uint64_t position = piece.chunk_offset;
          piece = (*extents)[at++];
          piece.chunk_offset = position;
        }
      }
      written = meta::write_data(ctx, impl_->meta, writes, Durability::kVisible, {}, session);
    }
    for (size_t l = 0; l < large.size(); ++l) {
      const size_t i = large[l];
      if (!extents.ok()) {
        results[i] = extents.error();
      } else if (!written.ok()) {
        results[i] = written.error();
      } else if (!(*written)[l].ok()) {
        results[i] =
            (*written)[l].error().code() == EAGAIN ? write_alone(i) : Status((*written)[l].error());
      } else if (auto inode = impl_->find_known(files[i])) {
        inode->state_->invalidate_at((*written)[l]->version);
      }
    }
  }
  return results;
}

void FileStore::read_many(const OpContext& ctx, std::vector<ReadItem>& items) {
  std::vector<ReadItem*> group;
  uint64_t bytes = 0;
  for (ReadItem& item : items) {
    group.push_back(&item);
    bytes += item.out.size();
    if (group.size() == kReadsAtOnce || bytes >= kBytesAtOnce) {
      impl_->read_group(ctx, group);
      group.clear();
      bytes = 0;
    }
  }
  if (!group.empty()) impl_->read_group(ctx, group);
}

/// Loads what is not known of the group's files in one store read. Whatever does not fit is loaded
/// by the reads themselves.
void FileStoreImpl::load_group(const OpContext& ctx,
                               const std::vector<FileStore::ReadItem*>& group) {
  const meta::Freshness fresh = meta.freshness(ctx);
  const uint64_t mark = meta.mark();
  std::vector<FileStore::ReadItem*> wanted;
  meta::ReadRequest request;
  std::set<meta::Ino> seen_inodes;
  for (FileStore::ReadItem* item : group) {
    OpenInode::State& state = *item->inode->state_;
    const uint64_t first = item->offset / kChunkSize;
    {
      std::lock_guard lock(state.mutex);
      const FileSnapshot* known = state.current.get();
      if (known != nullptr && state.is_current(*known, fresh) && known->covers(first, first)) {
        continue;
      }
    }
    if (!seen_inodes.insert(item->inode->ino()).second) continue;
    wanted.push_back(item);
    request.inodes.push_back(item->inode->ino());
    request.keys.push_back(meta::inline_key(item->inode->ino()));
    meta::Range range;
    range.table = meta::Table::kExtent;
    range.a = item->inode->ino();
    range.after = meta::extent_key(range.a, first, 0);
    range.limit = kRecordsOfOneFile;
    request.ranges.push_back(std::move(range));
  }
  if (wanted.size() < 2) return;
  Result<meta::ReadResult> seen = meta.store().read(ctx, request);
  if (!seen.ok()) return;  // each read meets and tells it
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!seen->homes[i]) continue;
    meta::FileData data;
    data.attr = seen->homes[i]->attr;
    data.is_inline = (data.attr.flags & meta::kFlagInline) != 0;
    if (data.is_inline) {
      if (!seen->records[i]) continue;
      data.inline_data = std::get<meta::InlineRecord>(std::move(*seen->records[i]));
    }
    const uint64_t first = wanted[i]->offset / kChunkSize;
    uint64_t last = first + kLoadChunks - 1;
    for (meta::Record& record : seen->pages[i].records) {
      auto& extents = std::get<meta::ExtentRecord>(record);
      if (extents.chunk <= last) data.extents.push_back(std::move(extents));
    }
    if (seen->pages[i].more && !data.extents.empty()) {
      // The page may end within its last chunk.
      if (data.extents.size() == seen->pages[i].records.size()) {
        if (data.extents.back().chunk == first) continue;
        last = data.extents.back().chunk - 1;
        while (data.extents.back().chunk > last) data.extents.pop_back();
      }
    }
    auto snapshot = make_snapshot(std::move(data), first, last, mark);
    if (snapshot.ok()) wanted[i]->inode->state_->adopt(std::move(*snapshot));
  }
}

void FileStoreImpl::read_group(const OpContext& ctx, std::vector<FileStore::ReadItem*>& group) {
  const auto guard = meta.enter_epoch();  // before any list is read
  load_group(ctx, group);
  std::vector<SliceRead> reads;
  std::vector<FileStore::ReadItem*> planned;
  for (FileStore::ReadItem* item : group) {
    OpenInode& inode = *item->inode;
    if (!inode.dirty() && !item->out.empty()) {
      const uint64_t first = item->offset / kChunkSize;
      const uint64_t last = (item->offset + item->out.size() - 1) / kChunkSize;
      Result<SnapshotPtr> snapshot = inode.state_->validated(ctx, inode.ino(), first, last);
      if (!snapshot.ok()) {
        item->result = std::move(snapshot).error();
        continue;
      }
      const uint64_t length = (*snapshot)->attr.length;
      const uint64_t n =
          item->offset < length ? std::min<uint64_t>(item->out.size(), length - item->offset) : 0;
      plan_reads(**snapshot, item->offset, item->out.first(n), reads);
      item->result = size_t{n};
      planned.push_back(item);
      continue;
    }
    item->result = inode.read(ctx, item->offset, item->out, nullptr);
  }
  if (reads.empty() || blocks.read(ctx, reads).ok()) return;
  // One of them met a compaction, or a fault: each for itself knows what to do.
  for (FileStore::ReadItem* item : planned) {
    item->result = item->inode->read(ctx, item->offset, item->out, nullptr);
  }
}

// ---- copying

Result<uint64_t> FileStore::copy_range(const OpContext& ctx, OpenInode& from, uint64_t from_offset,
                                       OpenInode& to, uint64_t to_offset, uint64_t length,
                                       uint32_t clear_mode) {
  if (from.dirty()) SKERRY_TRY(from.flush(ctx, Durability::kVisible));
  if (to.dirty()) SKERRY_TRY(to.flush(ctx, Durability::kVisible));
  SKERRY_ASSIGN(
      SnapshotPtr source,
      from.state_->validated(ctx, from.ino(), from_offset / kChunkSize, from_offset / kChunkSize));
  if (from_offset >= source->attr.length) return uint64_t{0};
  length = std::min(length, source->attr.length - from_offset);
  if (length == 0) return uint64_t{0};
  if (to_offset > meta::kMaxFileSize || length > meta::kMaxFileSize - to_offset) {
    return Error(EFBIG, "a copy past the largest file size of 2^57 bytes");
  }
  if (from.ino() == to.ino() && from_offset < to_offset + length &&
      to_offset < from_offset + length) {
    return Error(EINVAL, "the ranges overlap");
  }
  auto copy_by_value = [&](uint64_t done, uint64_t bytes) -> Result<uint64_t> {
    std::vector<std::byte> buffer(bytes);
    SKERRY_ASSIGN(size_t n, from.read(ctx, from_offset + done, buffer, nullptr));
    SKERRY_TRY(to.write(ctx, to_offset + done, ByteView(buffer).first(n), false, clear_mode));
    // The bytes are taken, as by write(2): an error of this flush is told by the next one.
    (void)to.flush(ctx, Durability::kVisible).ok();
    return uint64_t{n};
  };
  uint64_t done = 0;
  while (done < length) {
    Result<uint64_t> copied = uint64_t{0};
    bool by_value = source->is_inline;
    if (!by_value) {
      const uint64_t step = std::min(length - done, kCopyStepBytes);
      Result<meta::DataWritten> written =
          meta::copy_extents(to.bound_context(ctx), impl_->meta, from.ino(), from_offset + done,
                             to.ino(), to_offset + done, step, clear_mode);
      if (written.ok()) {
        to.state_->invalidate_at(written->version);
        std::lock_guard lock(to.state_->mutex);
        to.state_->unsynced = true;
        copied = step;
      } else if (written.error().code() == EAGAIN) {
        by_value = true;  // the target's data is inline: a few bytes more and it is not
      } else {
        to.state_->invalidate();
        copied = std::move(written).error();
      }
    }
    if (by_value) copied = copy_by_value(done, std::min(length - done, kCopyByValueBytes));
    if (!copied.ok()) {
      if (done > 0) return done;
      return copied;
    }
    if (*copied == 0) break;  // truncated meanwhile
    done += *copied;
  }
  return done;
}

}  // namespace skerry::data
