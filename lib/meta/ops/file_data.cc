#include <algorithm>
#include <map>

#include "base/crc32c.h"
#include "meta/attribute_changes.h"
#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::attributes_of;
using internal::Source;

namespace {

constexpr uint32_t kFirstPage = 1024;
constexpr uint32_t kLargestPage = 1 << 18;

Range extent_range(Ino ino, uint64_t first_chunk, uint64_t last_chunk, uint32_t limit) {
  Range range;
  range.table = Table::kExtent;
  range.a = ino;
  range.limit = limit;
  if (first_chunk == last_chunk) {
    range.prefix_fields = 2;
    range.b = first_chunk;
  } else {
    range.after = extent_key(ino, first_chunk, 0);  // no extent has seq 0
  }
  return range;
}

/// Takes a page's records up to last_chunk; true if the next page may hold more of them.
bool take_page(RangePage& page, uint64_t last_chunk, FileData* data, Range* range) {
  for (Record& record : page.records) {
    auto& extent = std::get<ExtentRecord>(record);
    if (extent.chunk > last_chunk) return false;
    range->after = extent_key(extent.ino, extent.chunk, extent.seq);
    data->extents.push_back(std::move(extent));
  }
  return page.more && !page.records.empty();
}

/// One attempt: false if the file changed between two pages.
Result<bool> load_once(const OpContext& ctx, Meta& meta, Ino ino, uint64_t first_chunk,
                       uint64_t last_chunk, uint32_t limit, FileData* data) {
  *data = {};
  Range range = extent_range(ino, first_chunk, last_chunk, limit);
  const MetadataCache::Ticket ticket = meta.ticket();
  for (bool first = true;; first = false) {
    SKERRY_TRY(ctx.check());
    ReadRequest request;
    request.inodes.push_back(ino);
    request.ranges.push_back(range);
    if (first) request.keys.push_back(inline_key(ino));
    SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
    if (!seen.homes[0]) return Error(ESTALE, "the inode does not exist any more");
    const Attributes& attr = seen.homes[0]->attr;
    if (first) {
      data->attr = attr;
      // Who has read the data is not told of less by a stat afterwards.
      if (!meta.exact() && !attr.is_dir()) {
        meta.cache().insert_attributes(ticket, internal::cached_home(*seen.homes[0], ticket));
      }
      data->is_inline = (attr.flags & kFlagInline) != 0;
      if (data->is_inline) {
        if (!seen.records[0]) return Error(EIO, "the inline data of a file is missing");
        data->inline_data = std::get<InlineRecord>(std::move(*seen.records[0]));
      }
    } else if (attr.version != data->attr.version) {
      return false;
    }
    if (!take_page(seen.pages[0], last_chunk, data, &range)) return true;
  }
}

}  // namespace

Result<FileData> load_file(const OpContext& ctx, Meta& meta, Ino ino, uint64_t first_chunk,
                           uint64_t last_chunk) {
  uint32_t limit = kFirstPage;
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    FileData data;
    SKERRY_ASSIGN(bool whole, load_once(ctx, meta, ino, first_chunk, last_chunk, limit, &data));
    if (whole) return data;
    // Fewer pages the next time, so that a busy file is caught between two changes.
    limit = std::min(limit * 4, kLargestPage);
  }
}

namespace {

/// The commit of several files' writes, less those that were found to be impossible.
class WriteBatch {
 public:
  WriteBatch(Meta& meta, const std::vector<DataWrite>& writes,
             const std::vector<std::pair<ObjectId, int64_t>>& new_references, ClientId session,
             std::optional<CommitRequest>* lost)
      : meta_(meta),
        writes_(writes),
        session_(session),
        lost_(lost),
        now_(meta.now_ns()),
        results_(writes.size()) {
    for (const auto& [object, delta] : new_references) references_[object] += delta;
    for (size_t i = 0; i < writes.size(); ++i) pending_.push_back(i);
  }

  Result<std::vector<Result<DataWritten>>> run(const OpContext& ctx, Durability durability) {
    drop_oversized();
    // Each round but for a race drops a write, which bounds them.
    for (size_t rounds = writes_.size() + kSpareRounds; !pending_.empty(); --rounds) {
      SKERRY_TRY(ctx.check());
      if (rounds == 0) return Error(EBUSY, "gave up after too many conflicting changes");
      Result<CommitResult> result = commit(ctx, durability);
      if (!result.ok()) {
        if (result.error().code() != EFBIG) return std::move(result).error();
        SKERRY_TRY(drop_oversized_appends(ctx));
      } else if (result->applied) {
        finish(*result);
      } else {
        SKERRY_TRY(drop_conflicting(ctx, *result));
      }
    }
    std::vector<Result<DataWritten>> results;
    results.reserve(results_.size());
    for (auto& result : results_) results.push_back(*std::move(result));
    return results;
  }

 private:
  static constexpr size_t kSpareRounds = 8;

  TimeNs mtime_of(const DataWrite& write) const {
    return write.mtime_ns == 0 ? now_ : write.mtime_ns;
  }

  void drop_oversized() {
    for (size_t i = 0; i < writes_.size(); ++i) {
      const DataWrite& write = writes_[i];
      const uint64_t offset = write.append ? 0 : write.offset;
      if (offset <= kMaxFileSize && write.length <= kMaxFileSize - offset) continue;
      drop(i, Error(EFBIG, "a write past 2^57 bytes"));
    }
  }

  /// Where an append goes is known at commit alone; the store refused one of them.
  Status drop_oversized_appends(const OpContext& ctx) {
    const std::vector<size_t> candidates = pending_;
    ReadRequest request;
    for (size_t i : candidates) request.inodes.push_back(writes_[i].ino);
    SKERRY_ASSIGN(ReadResult seen, meta_.store().read(ctx, request));
    for (size_t c = 0; c < candidates.size(); ++c) {
      const DataWrite& write = writes_[candidates[c]];
      if (!seen.homes[c] || !write.append) continue;
      if (write.length > kMaxFileSize - std::min(kMaxFileSize, seen.homes[c]->attr.length)) {
        drop(candidates[c], Error(EFBIG, "an append past 2^57 bytes"));
      }
    }
    return {};
  }

  /// The inode is gone, or its data is inline, or the inline data is not what was read.
  Status drop_conflicting(const OpContext& ctx, const CommitResult& result) {
    const size_t failed = result.failed_expectation >= 0
                              ? expectation_owner_[static_cast<size_t>(result.failed_expectation)]
                              : mutation_owner_.at(static_cast<size_t>(result.failed_mutation));
    ReadRequest request;
    request.inodes.push_back(writes_[failed].ino);
    SKERRY_ASSIGN(ReadResult seen, meta_.store().read(ctx, request));
    if (seen.homes[0]) {
      drop(failed, Error(EAGAIN, "the file changed between metadata and object data"));
    } else {
      drop(failed, Error(ESTALE, "the inode does not exist any more"));
    }
    return {};
  }

  /// The pieces of a dropped write refer to nothing. An object of which every piece was dropped has
  /// no extent at all and needs no count.
  void drop(size_t index, Error why) {
    for (const Extent& piece : writes_[index].pieces) {
      auto it = references_.find(piece.object);
      if (it != references_.end() && it->second > 0) --it->second;
    }
    results_[index] = Result<DataWritten>(std::move(why));
    std::erase(pending_, index);
  }

  Result<CommitResult> commit(const OpContext& ctx, Durability durability) {
    if (meta_.options().read_only) return Error(EROFS, "the volume is open for reading only");
    std::vector<Expectation> expectations;
    std::vector<Mutation> mutations;
    expectation_owner_.clear();
    mutation_owner_.clear();
    const ClientId usage_client = meta_.usage_client();
    for (size_t i : pending_) {
      const DataWrite& write = writes_[i];
      if (write.replace_inline_version) {
        expectations.emplace_back(ExpectAttributes{write.ino, *write.replace_inline_version});
        expectation_owner_.push_back(i);
      }
      WriteData data;
      data.ino = write.ino;
      data.append = write.append;
      data.replace_inline = write.replace_inline_version.has_value();
      data.extend = write.extend;
      data.offset = write.offset;
      data.length = write.length;
      data.pieces = write.pieces;
      data.mtime_ns = mtime_of(write);
      data.clear_mode = write.clear_mode;
      data.usage_client = usage_client;
      mutations.push_back(std::move(data));
      mutation_owner_.push_back(i);
    }
    for (const auto& [object, delta] : references_) {
      if (delta != 0) mutations.push_back(AddObjectReferences{object, delta});
    }
    return meta_.commit(ctx, std::move(expectations), std::move(mutations), durability, session_,
                        lost_);
  }

  void finish(const CommitResult& result) {
    for (size_t m = 0; m < pending_.size(); ++m) {
      const DataWrite& write = writes_[pending_[m]];
      const MutationOutcome& outcome = result.outcomes[m];
      results_[pending_[m]] = DataWritten{outcome.version, outcome.number};
      meta_.cache().update_attributes(write.ino, outcome.version, [&](Attributes* attr) {
        const uint64_t offset = write.append ? outcome.number : write.offset;
        if (write.extend) attr->length = std::max(attr->length, offset + write.length);
        attr->mtime_ns = std::max(attr->mtime_ns, mtime_of(write));
        attr->ctime_ns = std::max(attr->ctime_ns, mtime_of(write));
        attr->mode = mode_without(attr->mode, write.clear_mode);
        attr->flags &= ~(kFlagInline | kFlagCapability);
      });
    }
    pending_.clear();
  }

  Meta& meta_;
  const std::vector<DataWrite>& writes_;
  const ClientId session_;
  std::optional<CommitRequest>* const lost_;
  const TimeNs now_;
  std::vector<std::optional<Result<DataWritten>>> results_;
  std::map<ObjectId, int64_t> references_;
  std::vector<size_t> pending_;            // indexes of writes_
  std::vector<size_t> expectation_owner_;  // of the last commit: indexes of writes_
  std::vector<size_t> mutation_owner_;
};

}  // namespace

Result<std::vector<Result<DataWritten>>> write_data(
    const OpContext& ctx, Meta& meta, const std::vector<DataWrite>& writes, Durability durability,
    const std::vector<std::pair<ObjectId, int64_t>>& new_references, ClientId session,
    std::optional<CommitRequest>* lost) {
  return WriteBatch(meta, writes, new_references, session, lost).run(ctx, durability);
}

Result<DataWritten> write_inline(const OpContext& ctx, Meta& meta, Ino ino, uint64_t version,
                                 std::string_view bytes, uint32_t clear_mode, Durability durability,
                                 std::optional<CommitRequest>* lost) {
  if (bytes.size() > meta.format().inline_bytes) {
    return Error(EINVAL, "more bytes than the volume keeps in its metadata");
  }
  if (meta.options().read_only) return Error(EROFS, "the volume is open for reading only");
  const TimeNs now = meta.now_ns();
  Patch patch;
  patch.ino = ino;
  patch.length = bytes.size();
  patch.max_mtime_ns = patch.max_ctime_ns = now;
  patch.clear_mode = clear_mode;
  patch.clear_flags = kFlagCapability;
  patch.usage_client = meta.usage_client();
  std::vector<Mutation> mutations;
  if (bytes.empty()) {
    patch.clear_flags |= kFlagInline;
    mutations.push_back(Delete{inline_key(ino)});
  } else {
    patch.set_flags = kFlagInline;
    mutations.push_back(Put{InlineRecord{ino, crc32c(0, as_bytes(bytes)), std::string(bytes)}});
  }
  mutations.push_back(patch);
  SKERRY_ASSIGN(CommitResult result,
                meta.commit(ctx, {ExpectAttributes{ino, version}, ExpectEmpty{Table::kExtent, ino}},
                            std::move(mutations), durability, 0, lost));
  if (!result.applied) {
    SKERRY_TRY(attributes_of(ctx, meta, ino, Source::kStore, false));
    return Error(EAGAIN, "the file changed or has data in objects");
  }
  const MutationOutcome outcome = result.outcomes.back();
  meta.cache().update_attributes(ino, outcome.version, [&](Attributes* attr) {
    attr->length = bytes.size();
    attr->mtime_ns = std::max(attr->mtime_ns, now);
    attr->ctime_ns = std::max(attr->ctime_ns, now);
    attr->mode = mode_without(attr->mode, clear_mode);
    attr->flags &= ~(kFlagInline | kFlagCapability);
    if (!bytes.empty()) attr->flags |= kFlagInline;
  });
  return DataWritten{outcome.version, outcome.number};
}

}  // namespace skerry::meta
