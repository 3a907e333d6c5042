#include <algorithm>
#include <cstdio>

#include "data/block_format.h"
#include "meta/ops.h"
#include "meta/session.h"
#include "model/acl_model.h"
#include "model/client.h"
#include "model/simulation.h"
#include "vfs/maintenance.h"

namespace skerry::model {

namespace {

class FinalCheck {
 public:
  FinalCheck(World& world, Client& client) : world_(world), client_(client) {}

  void run() {
    settle();
    if (!world_.failed()) check_records();
    if (!world_.failed()) check_objects();
    if (!world_.failed()) check_tree(meta::kRootIno, "");
    if (!world_.failed() && seen_.size() != world_.names.inodes().size()) {
      for (const auto& [ino, inode] : world_.names.inodes()) {
        if (!seen_.contains(ino)) return world_.fail("inode " + std::to_string(ino) + " is left");
      }
    }
  }

 private:
  /// Sessions of crashed clients expire, what they left is reclaimed.
  void settle() {
    auto remove = [this](const OpContext& ctx, const std::vector<meta::ObjectId>& ids) {
      return client_.volume().blocks().remove_objects(ctx, ids);
    };
    for (int round = 0, idle = 0; idle < 4; ++round) {
      if (round == 200) return world_.fail("reclaim does not come to an end");
      world_.scheduler.advance(40 * kSecond);
      const OpContext ctx = client_.context();
      Status beat = meta::heartbeat(ctx, client_.volume().meta());
      if (!beat.ok()) return world_.fail("last heartbeat: " + beat.error().message());
      auto step = meta::reclaim_step(ctx, client_.volume().meta(), remove);
      if (!step.ok()) return world_.fail("last reclaim: " + step.error().message());
      const bool quiet = step->elected && step->inodes + step->objects + step->stale_sessions +
                                                  step->pending_inodes + step->pending_objects ==
                                              0;
      idle = quiet ? idle + 1 : 0;
    }
    vfs::GcResult collected;
    Status gc = vfs::collect_garbage(client_.context(), client_.volume(), false, &collected, {});
    if (!gc.ok()) return world_.fail("last gc: " + gc.error().message());
  }

  void check_records() {
    std::string problems;
    auto result = vfs::check(client_.context(), client_.volume(), true,
                             [&](const char* kind, const char* detail) {
                               problems += std::string("\n  ") + kind + ": " + detail;
                             },
                             {});
    if (!result.ok()) return world_.fail("fsck failed: " + result.error().message());
    if (result->problems != 0) return world_.fail("fsck:" + problems);
    if (result->meta.surplus_objects != 0) return world_.fail("fsck: references are left");
    if (result->meta.orphans != 0) return world_.fail("fsck: orphans are left");
  }

  void check_objects() {
    std::set<meta::ObjectId> known;
    const OpContext ctx = client_.context();
    Status scanned = meta::for_each_object(ctx, client_.volume().meta(), 1, INT64_MAX,
                                           [&](meta::ObjectId id) { known.insert(id); });
    if (!scanned.ok()) return world_.fail("scan: " + scanned.error().message());
    auto page = world_.objects->list(ctx, "", "", 100'000);
    for (const ObjectInfo& object : page->objects) {
      const meta::ObjectId id = data::object_id_of_key(object.key);
      if (known.erase(id) == 0) return world_.fail("object " + object.key + " is leaked");
    }
    if (!known.empty()) {
      return world_.fail("object " + std::to_string(*known.begin()) + " is named and missing");
    }
  }

  void check_tree(Ino dir, const std::string& path) {
    const ModelInode* model = world_.names.find(dir);
    seen_.insert(dir);
    const OpContext ctx = client_.context();
    auto page = meta::list(ctx, client_.volume().meta(), dir, "", 1000, true);
    if (!page.ok()) return world_.fail("list " + path + ": " + page.error().message());
    if (page->entries.size() != model->children.size()) {
      return world_.fail("directory " + path + "/ has " + std::to_string(page->entries.size()) +
                         " entries instead of " + std::to_string(model->children.size()));
    }
    for (const auto& entry : page->entries) {
      const std::string name = path + "/" + entry.name;
      const Ino ino = world_.names.child(dir, entry.name);
      const ModelInode* inode = world_.names.find(ino);
      if (inode == nullptr) return world_.fail(name + " should not exist");
      ModelInode stored;
      stored.type = entry.attr.type;
      stored.mode = entry.attr.mode;
      stored.uid = entry.attr.uid;
      stored.gid = entry.attr.gid;
      stored.nlink = entry.attr.nlink;
      if (stat_detail(entry.attr.ino, stored) != stat_detail(ino, *inode)) {
        return world_.fail(name + " is " + stat_detail(entry.attr.ino, stored) + " and should be " +
                           stat_detail(ino, *inode));
      }
      check_xattrs(ino, *inode, name);
      if (inode->is_dir()) {
        check_tree(ino, name);
      } else if (inode->type == FileType::kRegular && seen_.insert(ino).second) {
        check_content(name, ino, entry.attr.length);
      } else if (inode->type == FileType::kSymlink) {
        seen_.insert(ino);
        auto target = meta::readlink(ctx, client_.volume().meta(), ino);
        if (!target.ok() || *target != inode->target) world_.fail(name + " has another target");
      }
      if (world_.failed()) return;
    }
  }

  void check_xattrs(Ino ino, const ModelInode& inode, const std::string& name) {
    const OpContext ctx = client_.context();
    auto names = meta::list_xattrs(ctx, client_.volume().meta(), ino);
    if (!names.ok()) return world_.fail(name + ": " + names.error().message());
    if (names->size() != inode.xattrs.size()) return world_.fail(name + ": other attributes");
    for (const auto& [xattr, value] : inode.xattrs) {
      auto got = meta::get_xattr(ctx, client_.volume().meta(), ino, xattr);
      if (!got.ok() || *got != shown_xattr(inode, xattr))
        return world_.fail(name + ": attribute " + xattr);
    }
  }

  void check_content(const std::string& name, Ino ino, uint64_t length) {
    const Moment began = world_.data.tick();
    world_.data.set_oldest_check(began);
    const int number = client_.self().number;
    if (auto problem = world_.data.check_size(ino, number, began, length)) {
      return world_.fail(name + ": " + *problem);
    }
    const OpContext ctx = client_.context();
    auto handle = vfs::open_file(ctx, client_.volume(), nullptr, name, O_RDONLY, 0);
    if (!handle.ok()) return world_.fail("open " + name + ": " + handle.error().message());
    const bool records = world_.data.append_only(ino);
    // All that is ever written lies in the first MiB or near the first chunk's end.
    constexpr uint64_t kMiB = 1u << 20;
    for (uint64_t offset : {uint64_t{0}, meta::kChunkSize - kMiB / 2}) {
      if (offset != 0 && (records || offset >= length)) continue;
      std::string bytes(records ? length + kCell : kMiB, '\0');
      const size_t wanted = bytes.size();
      auto got =
          (*handle)->read(ctx, offset, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
      if (!got.ok()) return world_.fail("read " + name + ": " + got.error().message());
      if (*got != std::min<uint64_t>(length - offset, wanted)) {
        return world_.fail(name + ": a read stops before the end");
      }
      bytes.resize(*got);
      world_.data.tick();
      auto problem = world_.data.check_read(ino, number, began, offset, wanted, bytes);
      if (problem) return world_.fail("the last content of " + name + ": " + *problem);
    }
  }

  World& world_;
  Client& client_;
  std::set<Ino> seen_;
};

}  // namespace

void check_final_state(World& world, const VolumeShape& shape) {
  world.quiet = true;
  world.trace("everyone has left");
  Client last(world, shape, -1);
  if (!last.open_volume()) return;
  FinalCheck(world, last).run();
  if (!world.failed()) {
    Status closed = last.volume().close(last.context());
    if (!closed.ok()) world.fail("last close: " + closed.error().message());
  }
  if (!world.failed()) {
    OpContext ctx;
    ctx.clock = &world.server_clock;
    meta::ReadRequest request;
    for (meta::Table table :
         {meta::Table::kClient, meta::Table::kPin, meta::Table::kGarbage, meta::Table::kOrphan}) {
      meta::Range range;
      range.table = table;
      range.prefix_fields = 0;
      request.ranges.push_back(range);
    }
    auto left = world.inspector.read(ctx, request);
    for (const auto& page : left->pages) {
      if (!page.records.empty()) world.fail("records are left behind: clients, pins, garbage");
    }
  }
  last.close_volume();
}

}  // namespace skerry::model
