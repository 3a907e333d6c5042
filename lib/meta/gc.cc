// What a collector of unknown objects must know: which objects the metadata names, and below which
// id an unnamed one cannot be on its way into the metadata.

#include <algorithm>

#include "meta/session.h"
#include "meta/table_scan.h"

namespace skerry::meta {

// The tables are scanned in the order in which an object's name can move: from extents to the
// object table when it becomes shared, from both to garbage when nothing refers to it. So an object
// that leaves one table behind the scan's back is met in a later one, or reclaim has deleted it.
// Within the extent table a name can move as well: a clone may put it where the scan has been, and
// the removal of the source take it from where the scan has yet to come. While both refer to it,
// the object table names it, and most clones go to younger inodes, which lie ahead of the scan; but
// a clone onto an older inode followed by the removal of its source, both during one scan, can hide
// a live object from that scan. A collector therefore deletes only what two scans, the second begun
// after the first ended, have not named.
Status for_each_object(const OpContext& ctx, Meta& meta, ObjectId first, ObjectId last,
                       const std::function<void(ObjectId)>& visit) {
  Store& store = meta.store();
  auto name = [&](ObjectId id) {
    if (id != 0 && id >= first && id <= last) visit(id);
  };
  SKERRY_TRY(scan_table<ExtentRecord>(ctx, store, whole_table(Table::kExtent),
                                      [&](ExtentRecord& record) -> Status {
                                        for (const Extent& e : record.extents) name(e.object);
                                        return {};
                                      }));
  Range shared = whole_table(Table::kObject);
  if (first > 0) shared.after = object_key(first - 1);
  shared.max_a = last;
  SKERRY_TRY(scan_table<ObjectRecord>(ctx, store, shared, [&](ObjectRecord& record) -> Status {
    name(record.id);
    return {};
  }));
  return scan_table<GarbageRecord>(ctx, store, whole_table(Table::kGarbage),
                                   [&](GarbageRecord& record) -> Status {
                                     name(record.object);
                                     return {};
                                   });
}

// Let S be the snapshot of the first read below. A client whose record is in S, or is met on a
// later page, bounds the floor itself. A client whose record is missed registers after S, and takes
// object ids only under its session, that is after its record is there: from the counter as it is
// then, at least what it was in S. Its ids are at or above the floor. A client that is gone by the
// time its page is read commits nothing any more: its session is refused. And what a client
// committed before it went, a scan that begins later finds.
//
// Stale clients count until they are removed: only the removal stops their commits.
Result<ObjectId> uncommitted_floor(const OpContext& ctx, Meta& meta) {
  Store& store = meta.store();
  ReadRequest request;
  request.keys.push_back(volume_key(kVolumeNextObject));
  SKERRY_ASSIGN(ReadResult read, store.read(ctx, request));
  SKERRY_ASSIGN(VolumeRecord next, take_volume_record(read.records.at(0), kVolumeNextObject));
  ObjectId floor = next.number;
  SKERRY_TRY(scan_table<ClientRecord>(ctx, store, whole_table(Table::kClient),
                                      [&](ClientRecord& client) -> Status {
                                        floor = std::min(floor, client.first_object);
                                        return {};
                                      }));
  return floor;
}

}  // namespace skerry::meta
