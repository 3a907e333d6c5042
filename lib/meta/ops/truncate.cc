#include <algorithm>
#include <map>
#include <span>

#include "base/crc32c.h"
#include "meta/attribute_changes.h"
#include "meta/ops/common.h"
#include "meta/ops/overlay.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;

namespace {

// More extent records than this are not dropped in one commit.
constexpr size_t kMaxRecords = 4096;

/// References that extents which go away leave: one mutation an object.
void drop_references(const std::map<ObjectId, int64_t>& gone, Change* change) {
  for (const auto& [object, count] : gone) change->add(AddObjectReferences{object, -count});
}

/// What a truncation to `length` meets from there on, chunk by chunk.
struct Beyond {
  FileData data;
  bool complete = true;          // data.extents holds all records; else only `chunks` is whole
  std::vector<uint64_t> chunks;  // ascending; those that have records
};

/// Reads the extents from `first_chunk` on, keeping at most kMaxRecords records. False if the file
/// changed between two pages.
Result<bool> load_beyond(const OpContext& ctx, Meta& meta, Ino ino, uint64_t first_chunk,
                         Beyond* beyond) {
  *beyond = {};
  Range range;
  range.table = Table::kExtent;
  range.a = ino;
  range.limit = kMaxRecords;
  range.after = extent_key(ino, first_chunk, 0);
  for (bool first = true;; first = false) {
    SKERRY_TRY(ctx.check());
    ReadRequest request;
    request.inodes.push_back(ino);
    request.ranges.push_back(range);
    if (first) request.keys.push_back(inline_key(ino));
    SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
    if (!seen.homes[0]) return Error(ESTALE, "the inode does not exist any more");
    FileData& data = beyond->data;
    if (first) {
      data.attr = seen.homes[0]->attr;
      data.is_inline = (data.attr.flags & kFlagInline) != 0;
      if (seen.records[0]) data.inline_data = std::get<InlineRecord>(std::move(*seen.records[0]));
    } else if (seen.homes[0]->attr.version != data.attr.version) {
      return false;
    }
    for (Record& record : seen.pages[0].records) {
      auto& extent = std::get<ExtentRecord>(record);
      if (beyond->chunks.empty() || beyond->chunks.back() != extent.chunk) {
        beyond->chunks.push_back(extent.chunk);
      }
      range.after = extent_key(ino, extent.chunk, extent.seq);
      if (beyond->data.extents.size() < kMaxRecords) {
        data.extents.push_back(std::move(extent));
      } else {
        beyond->complete = false;
      }
    }
    if (!seen.pages[0].more || seen.pages[0].records.empty()) return true;
    beyond->complete = false;
  }
}

class Truncation {
 public:
  Truncation(Meta& meta, uint64_t length, uint32_t clear_mode)
      : meta_(meta), length_(length), clear_mode_(clear_mode) {}

  /// The commit for a file as `beyond` shows it.
  void build(const Beyond& beyond, Change* change) {
    const Attributes& attr = beyond.data.attr;
    const TimeNs now = meta_.now_ns();
    change->expect(ExpectAttributes{attr.ino, attr.version});
    Patch patch;
    patch.ino = attr.ino;
    patch.length = length_;
    patch.mtime_ns = patch.ctime_ns = now;
    patch.clear_mode = clear_mode_;
    patch.clear_flags = kFlagCapability;
    patch.usage_client = meta_.usage_client();
    after_ = attr;
    after_.length = length_;
    after_.mtime_ns = after_.ctime_ns = now;
    after_.mode = mode_without(attr.mode, clear_mode_);
    after_.flags &= ~kFlagCapability;
    after_.version += 1;
    if (beyond.data.is_inline) cut_inline(beyond.data.inline_data, &patch, change);
    change->add(std::move(patch));
    if (length_ >= attr.length) return;
    if (beyond.complete) {
      drop_extents(beyond.data, change);
    } else {
      hide_extents(beyond, change);
    }
  }

  const Attributes& after() const { return after_; }
  /// The version at which extents were hidden under zeros; 0 if none were left over.
  uint64_t hidden_at() const { return hidden_ ? after_.version : 0; }

 private:
  uint64_t cut_chunk() const { return length_ / kChunkSize; }
  uint64_t cut_offset() const { return length_ % kChunkSize; }

  /// Inline bytes may end before the length (the rest are zeros), so growing changes nothing.
  void cut_inline(const InlineRecord& data, Patch* patch, Change* change) {
    if (data.bytes.size() <= length_) return;
    if (length_ == 0) {
      change->remove(inline_key(after_.ino));
      patch->clear_flags |= kFlagInline;
      after_.flags &= ~kFlagInline;
      return;
    }
    InlineRecord cut{after_.ino, 0, data.bytes.substr(0, length_)};
    cut.crc = crc32c(0, as_bytes(cut.bytes));
    change->put(std::move(cut));
  }

  void drop_extents(const FileData& data, Change* change) {
    std::map<ObjectId, int64_t> gone;
    auto it = data.extents.begin();
    while (it != data.extents.end()) {
      auto end = std::find_if(it, data.extents.end(),
                              [&](const ExtentRecord& r) { return r.chunk != it->chunk; });
      const std::span<const ExtentRecord> records(it, end);
      if (keeps_data(records)) {
        if (!resolve_overlay(records, cut_offset()).empty()) {
          add_zeros({{0, kChunkSize - cut_offset()}}, change);
        }
      } else {
        change->add(DeleteRange{Table::kExtent, data.attr.ino, it->chunk, {}});
        for (const ExtentRecord& record : records) {
          for (const Extent& extent : record.extents) {
            if (extent.object != 0) ++gone[extent.object];
          }
        }
      }
      it = end;
    }
    drop_references(gone, change);
  }

  /// True for the chunk the new end lies in, if it has an extent before that.
  bool keeps_data(std::span<const ExtentRecord> records) const {
    if (records[0].chunk != cut_chunk() || cut_offset() == 0) return false;
    for (const ExtentRecord& record : records) {
      for (const Extent& extent : record.extents) {
        if (extent.chunk_offset < cut_offset()) return true;
      }
    }
    return false;
  }

  void hide_extents(const Beyond& beyond, Change* change) {
    std::vector<std::pair<uint64_t, uint64_t>> pieces;  // from length_, bytes
    for (uint64_t chunk : beyond.chunks) {
      const uint64_t begin = std::max(chunk * kChunkSize, length_);
      pieces.emplace_back(begin - length_, (chunk + 1) * kChunkSize - begin);
    }
    add_zeros(pieces, change);
    hidden_ = true;
  }

  /// A zero extent for each piece (positions from the new length on), in one write. It gives the
  /// file a second new version.
  void add_zeros(const std::vector<std::pair<uint64_t, uint64_t>>& pieces, Change* change) {
    WriteData zeros;
    zeros.ino = after_.ino;
    zeros.extend = false;
    zeros.offset = length_;
    for (const auto& [offset, bytes] : pieces) {
      Extent extent;
      extent.chunk_offset = offset;
      extent.length = bytes;
      zeros.pieces.push_back(extent);
      zeros.length = offset + bytes;
    }
    zeros.mtime_ns = after_.mtime_ns;
    change->add(std::move(zeros));
    after_.version += 1;
  }

  Meta& meta_;
  const uint64_t length_;
  const uint32_t clear_mode_;
  Attributes after_;
  bool hidden_ = false;
};

/// Frees what lies under the zeros of `hidden_at` in the chunks wholly beyond the new end. What a
/// crash or a conflicting compaction leaves is hidden, and a later compaction drops it.
Status drop_hidden(const OpContext& ctx, Meta& meta, Ino ino, uint64_t first_chunk,
                   const std::vector<uint64_t>& chunks, uint64_t hidden_at) {
  for (uint64_t chunk : chunks) {
    if (chunk < first_chunk) continue;
    Result<FileData> data = load_file(ctx, meta, ino, chunk, chunk);
    if (!data.ok()) {
      if (data.error().code() == ESTALE) return {};  // removed meanwhile, extents and all
      return std::move(data).error();
    }
    std::erase_if(data->extents, [&](const ExtentRecord& r) { return r.seq > hidden_at; });
    if (data->extents.empty()) continue;
    SKERRY_TRY(replace_chunk(ctx, meta, ino, chunk, data->extents, {}));
  }
  return {};
}

}  // namespace

Result<Attributes> truncate(const OpContext& ctx, Meta& meta, Ino ino, uint64_t length,
                            uint32_t clear_mode, bool only_grow) {
  if (length > kMaxFileSize) return Error(EFBIG, "a file of more than 2^57 bytes");
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    Beyond beyond;
    SKERRY_ASSIGN(bool whole, load_beyond(ctx, meta, ino, length / kChunkSize, &beyond));
    if (!whole) continue;
    const Attributes& attr = beyond.data.attr;
    if (attr.is_dir()) return Error(EISDIR);
    if (attr.type != FileType::kRegular) return Error(EINVAL, "not a regular file");
    if (only_grow && attr.length >= length) return attr;
    Truncation truncation(meta, length, clear_mode);
    Change change(meta);
    truncation.build(beyond, &change);
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (!result.applied) continue;
    meta.cache().forget_attributes(ino);
    if (truncation.hidden_at() != 0) {
      const uint64_t first = (length + kChunkSize - 1) / kChunkSize;
      SKERRY_TRY(drop_hidden(ctx, meta, ino, first, beyond.chunks, truncation.hidden_at()));
      // Each freed chunk gave the file another version.
      return get_attributes(ctx, meta, ino);
    }
    return truncation.after();
  }
}

}  // namespace skerry::meta
