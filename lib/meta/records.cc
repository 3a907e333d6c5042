#include "meta/records.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "base/bytes.h"

namespace skerry::meta {

Key volume_key(std::string name) { return {Table::kVolume, 0, 0, 0, std::move(name)}; }
Key entry_key(Ino parent, std::string_view name) {
  return {Table::kEntry, parent, 0, 0, std::string(name)};
}
Key inode_key(Ino ino) { return {Table::kInode, ino, 0, 0, {}}; }
Key orphan_key(Ino ino) { return {Table::kOrphan, ino, 0, 0, {}}; }
Key link_key(Ino ino, Ino parent, std::string_view name) {
  return {Table::kLink, ino, parent, 0, std::string(name)};
}
Key dirstat_key(Ino ino, uint64_t shard) { return {Table::kDirStat, ino, shard, 0, {}}; }
Key extent_key(Ino ino, uint64_t chunk, uint64_t seq) {
  return {Table::kExtent, ino, chunk, seq, {}};
}
Key object_key(ObjectId id) { return {Table::kObject, id, 0, 0, {}}; }
Key inline_key(Ino ino) { return {Table::kInline, ino, 0, 0, {}}; }
Key symlink_key(Ino ino) { return {Table::kSymlink, ino, 0, 0, {}}; }
Key xattr_key(Ino ino, std::string_view name) {
  return {Table::kXattr, ino, 0, 0, std::string(name)};
}
Key client_key(ClientId id) { return {Table::kClient, id, 0, 0, {}}; }
Key pin_key(ClientId client, Ino ino) { return {Table::kPin, client, ino, 0, {}}; }
Key garbage_key(uint64_t epoch, ObjectId object) { return {Table::kGarbage, epoch, object, 0, {}}; }
Key usage_key(uint64_t scope, ClientId client) { return {Table::kUsage, scope, client, 0, {}}; }
Key lock_key(ClientId client, Ino ino) { return {Table::kLock, client, ino, 0, {}}; }
Key locked_key(Ino ino) { return {Table::kLocked, ino, 0, 0, {}}; }

namespace {

struct KeyOf {
  Key operator()(const VolumeRecord& r) const { return volume_key(r.name); }
  Key operator()(const EntryRecord& r) const { return entry_key(r.parent, r.name); }
  Key operator()(const InodeRecord& r) const { return inode_key(r.attr.ino); }
  Key operator()(const OrphanRecord& r) const { return orphan_key(r.attr.ino); }
  Key operator()(const LinkRecord& r) const { return link_key(r.ino, r.parent, r.name); }
  Key operator()(const DirStatRecord& r) const { return dirstat_key(r.ino, r.shard); }
  Key operator()(const ExtentRecord& r) const { return extent_key(r.ino, r.chunk, r.seq); }
  Key operator()(const ObjectRecord& r) const { return object_key(r.id); }
  Key operator()(const InlineRecord& r) const { return inline_key(r.ino); }
  Key operator()(const SymlinkRecord& r) const { return symlink_key(r.ino); }
  Key operator()(const XattrRecord& r) const { return xattr_key(r.ino, r.name); }
  Key operator()(const ClientRecord& r) const { return client_key(r.id); }
  Key operator()(const PinRecord& r) const { return pin_key(r.client, r.ino); }
  Key operator()(const GarbageRecord& r) const { return garbage_key(r.epoch, r.object); }
  Key operator()(const UsageRecord& r) const { return usage_key(r.scope, r.client); }
  Key operator()(const LockRecord& r) const { return lock_key(r.client, r.ino); }
  Key operator()(const LockedRecord& r) const { return locked_key(r.ino); }
};

// An encoded list: the format byte, a varint count, then for each extent six varints and the
// 4-byte CRC.
constexpr uint8_t kExtentsFormat = 1;
constexpr size_t kMinEncodedExtent = 6 + 4;

}  // namespace

Key key_of(const Record& record) { return std::visit(KeyOf{}, record); }

std::string encode_extents(const std::vector<Extent>& extents) {
  std::string out;
  out.reserve(2 + extents.size() * 28);
  Encoder encoder(&out);
  encoder.fixed(kExtentsFormat);
  encoder.varint(extents.size());
  for (const Extent& e : extents) {
    encoder.varint(e.chunk_offset);
    encoder.varint(e.length);
    encoder.varint(e.object);
    encoder.varint(e.object_offset);
    encoder.varint(e.slice_length);
    encoder.varint(e.slice_skip);
    encoder.fixed(e.crc);
  }
  return out;
}

bool decode_extents(std::string_view encoded, std::vector<Extent>* extents) {
  extents->clear();
  Decoder decoder(encoded);
  if (decoder.fixed<uint8_t>() != kExtentsFormat) return false;
  uint64_t count = decoder.varint();
  // A count that the remaining bytes cannot hold must not become an allocation.
  if (!decoder.ok() || count > decoder.remaining() / kMinEncodedExtent) return false;
  extents->reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    Extent e;
    e.chunk_offset = decoder.varint();
    e.length = decoder.varint();
    e.object = decoder.varint();
    e.object_offset = decoder.varint();
    e.slice_length = decoder.varint();
    e.slice_skip = decoder.varint();
    e.crc = decoder.fixed<uint32_t>();
    if (e.chunk_offset > kChunkSize || e.length > kChunkSize - e.chunk_offset) break;
    extents->push_back(e);
  }
  if (decoder.ok() && decoder.at_end() && extents->size() == count) return true;
  extents->clear();
  return false;
}

std::vector<ExtentRecord> place_extents(Ino ino, uint64_t seq, uint64_t base,
                                        const std::vector<Extent>& pieces,
                                        std::vector<ObjectId>* extra_references) {
  std::map<uint64_t, ExtentRecord> by_chunk;
  for (const Extent& piece : pieces) {
    uint64_t position = base + piece.chunk_offset;
    uint64_t done = 0;
    while (done < piece.length) {
      const uint64_t chunk = position / kChunkSize;
      Extent part = piece;
      part.chunk_offset = position % kChunkSize;
      part.length = std::min(piece.length - done, kChunkSize - part.chunk_offset);
      part.slice_skip = piece.slice_skip + done;
      ExtentRecord& record = by_chunk[chunk];
      record.extents.push_back(part);
      if (done > 0 && piece.object != 0) extra_references->push_back(piece.object);
      done += part.length;
      position += part.length;
    }
  }
  std::vector<ExtentRecord> records;
  records.reserve(by_chunk.size());
  for (auto& [chunk, record] : by_chunk) {
    record.ino = ino;
    record.chunk = chunk;
    record.seq = seq;
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace skerry::meta
