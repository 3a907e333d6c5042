// What the tests of metadata operations share: a volume, its clients, and short calls as a user.
#pragma once

#include <string>

#include "meta/metadata_cache.h"
#include "meta/ops.h"
#include "support/results.h"
#include "support/test_volume.h"

namespace skerry::meta {

struct OpsFixture {
  TestVolume volume;
  std::unique_ptr<TestClient> client = volume.open();
  Meta& meta = *client->meta;
  OpContext root = client->ctx;

  OpContext user(uint32_t uid, uint32_t gid, std::vector<uint32_t> groups = {},
                 uint32_t umask = 0) const {
    OpContext ctx = root;
    ctx.credentials = {uid, gid, std::move(groups), umask};
    return ctx;
  }
  Attributes make(const OpContext& ctx, Ino dir, const std::string& name, FileType type,
                  uint32_t mode = 0755) {
    CreateArgs args;
    args.type = type;
    args.mode = mode;
    if (type == FileType::kSymlink) args.target = "target";
    auto created = create(ctx, meta, dir, name, args);
    REQUIRE(code(created) == 0);
    return created->attr;
  }
  Ino mkdir(Ino dir, const std::string& name, uint32_t mode = 0755) {
    return make(root, dir, name, FileType::kDirectory, mode).ino;
  }
  Ino file(Ino dir, const std::string& name, uint32_t mode = 0644) {
    return make(root, dir, name, FileType::kRegular, mode).ino;
  }
  /// Writes one object's worth of data at `offset`.
  ObjectId write(Ino ino, uint64_t offset, uint64_t length) {
    auto object = meta.next_object(root);
    REQUIRE(object.ok());
    DataWrite write;
    write.ino = ino;
    write.offset = offset;
    write.length = length;
    write.pieces = {TestVolume::extent(*object, 0, length)};
    auto written = write_data(root, meta, {write}, Durability::kVisible);
    REQUIRE(code(written) == 0);
    REQUIRE(code(written->at(0)) == 0);
    return *object;
  }
  Attributes stat(Ino ino) {
    auto attr = get_attributes(root, meta, ino);
    REQUIRE(code(attr) == 0);
    return *attr;
  }
  /// The attributes as another client reads them: without this one's cache.
  Attributes stat_fresh(Ino ino) {
    ReadRequest request;
    request.inodes.push_back(ino);
    request.join = true;
    auto seen = volume.admin.read(root, request);
    REQUIRE(seen.ok());
    REQUIRE(seen->homes[0].has_value());
    return seen->homes[0]->attr;
  }
  int lookup_code(Ino dir, const std::string& name) { return code(lookup(root, meta, dir, name)); }
  VolumeUsage used() {
    auto usage_now = usage(root, meta);
    REQUIRE(usage_now.ok());
    return *usage_now;
  }
  void require_consistent() { require_healthy(*client); }
};

}  // namespace skerry::meta
