// Extended attributes' flags, capabilities and inode flags, on the operations.
#include "meta/attribute_changes.h"
#include "ops_fixture.h"
#include "support/acl_text.h"

namespace skerry::meta {

using enum FileType;

namespace {

struct FlagsFixture : OpsFixture {
  int reads = 0;
  void count_reads() {
    reads = 0;
    client->store->on_read = [this](const ReadRequest&) {
      ++reads;
      return Status();
    };
  }
  int set(Ino ino, const SetAttributes& wanted) { return set(root, ino, wanted); }
  int set(const OpContext& ctx, Ino ino, const SetAttributes& wanted) {
    return code(set_attributes(ctx, meta, ino, wanted));
  }
  void flag(Ino ino, uint32_t flags) {
    SetAttributes wanted;
    wanted.inode_flags = flags;
    REQUIRE(set(ino, wanted) == 0);
  }
  void give_capability(Ino ino) {
    REQUIRE(code(set_xattr(root, meta, ino, kCapabilityXattr, "cap", XattrMode::kSet)) == 0);
    REQUIRE((stat_fresh(ino).flags & kFlagCapability) != 0);
    REQUIRE(volume.has(xattr_key(ino, kCapabilityXattr)));
  }
  /// Gone with the commit that has just been made, here and in the store.
  bool capability_gone(Ino ino) {
    return !volume.has(xattr_key(ino, kCapabilityXattr)) &&
           (stat_fresh(ino).flags & kFlagCapability) == 0 &&
           (stat(ino).flags & kFlagCapability) == 0 &&
           code(get_xattr(root, meta, ino, kCapabilityXattr)) == ENODATA;
  }
};

SetAttributes mode_to(uint32_t mode) {
  SetAttributes set;
  set.mode = mode;
  return set;
}

}  // namespace

TEST_CASE("xattr: a file without any costs no read", "[meta][xattr]") {
  FlagsFixture f;
  const Ino file = f.file(kRootIno, "f");
  f.count_reads();
  CHECK(code(get_xattr(f.root, f.meta, file, "user.a")) == ENODATA);
  CHECK(code(remove_xattr(f.root, f.meta, file, "user.a")) == ENODATA);
  CHECK(list_xattrs(f.root, f.meta, file)->empty());
  CHECK(f.reads == 0);
  REQUIRE(code(set_xattr(f.root, f.meta, file, "user.a", "1", XattrMode::kSet)) == 0);
  CHECK((f.stat_fresh(file).flags & kFlagXattrs) != 0);
  CHECK(*get_xattr(f.root, f.meta, file, "user.a") == "1");
  CHECK(list_xattrs(f.root, f.meta, file)->size() == 1);
  // Another client learns of it with the attributes.
  auto other = f.volume.open();
  CHECK(*get_xattr(other->ctx, *other->meta, file, "user.a") == "1");
  f.require_consistent();
}

TEST_CASE("xattr: a volume made before the flags is always asked", "[meta][xattr]") {
  FlagsFixture f;
  const Ino file = f.file(kRootIno, "f");
  f.volume.commit({Put{XattrRecord{file, "user.old", "1"}}});  // as software of then did
  CHECK(code(get_xattr(f.root, f.meta, file, "user.old")) == ENODATA);
  auto checked = fsck(f.root, f.meta, {});
  REQUIRE(checked.ok());
  CHECK(checked->problem_count == 1);

  f.volume.format.read_only_compatible.clear();
  auto old = f.volume.open();
  CHECK(*get_xattr(old->ctx, *old->meta, file, "user.old") == "1");
  CHECK(list_xattrs(old->ctx, *old->meta, file)->size() == 1);
  checked = fsck(old->ctx, *old->meta, {});
  REQUIRE(checked.ok());
  CHECK(checked->problem_count == 0);
  CHECK(code(remove_xattr(old->ctx, *old->meta, file, "user.old")) == 0);
}

TEST_CASE("capabilities go with whatever changes the file", "[meta][xattr][capability]") {
  FlagsFixture f;
  const Ino file = f.file(kRootIno, "f", 0755);
  // Even if it is root who writes.
  f.give_capability(file);
  f.write(file, 0, 100);
  CHECK(f.capability_gone(file));
  f.give_capability(file);
  REQUIRE(code(truncate(f.root, f.meta, file, 10, 0)) == 0);
  CHECK(f.capability_gone(file));
  f.give_capability(file);
  REQUIRE(code(truncate(f.root, f.meta, file, 0, 0)) == 0);
  CHECK(f.capability_gone(file));
  f.give_capability(file);
  REQUIRE(code(write_inline(f.root, f.meta, file, f.stat(file).version, "abc", 0,
                            Durability::kVisible)) == 0);
  CHECK(f.capability_gone(file));
  f.give_capability(file);
  SetAttributes chown;
  chown.uid = 5;
  REQUIRE(f.set(file, chown) == 0);
  CHECK(f.capability_gone(file));
  f.give_capability(file);
  REQUIRE(f.set(file, mode_to(0700)) == 0);
  CHECK_FALSE(f.capability_gone(file));  // chmod(2) leaves them
  REQUIRE(code(remove_xattr(f.root, f.meta, file, kCapabilityXattr)) == 0);
  CHECK(f.capability_gone(file));

  const Ino source = f.file(kRootIno, "source"), target = f.file(kRootIno, "target");
  f.write(source, 0, 100);
  f.give_capability(target);
  REQUIRE(code(copy_extents(f.root, f.meta, source, 0, target, 0, 100)) == 0);
  CHECK(f.capability_gone(target));
  // Other attributes stay.
  REQUIRE(code(set_xattr(f.root, f.meta, target, "user.a", "1", XattrMode::kSet)) == 0);
  f.give_capability(target);
  f.write(target, 0, 10);
  CHECK(f.capability_gone(target));
  CHECK(*get_xattr(f.root, f.meta, target, "user.a") == "1");
  f.require_consistent();
}

TEST_CASE("set-group-ID without group execution outlives a member's write", "[meta]") {
  CHECK(mode_without(06755, 06000) == 0755);
  CHECK(mode_without(06745, 06000) == 02745);
  CHECK(mode_without(02666, 06000) == 02666);
  CHECK(mode_without(02676, 06000) == 0676);
  CHECK(mode_without(06777, 0) == 06777);
  const Credentials root{0, 0, {}, 0}, member{5, 6, {7, 8}, 0};
  CHECK(clear_mode_of(root, 9) == 0);
  CHECK(clear_mode_of(member, 6) == 06000);
  CHECK(clear_mode_of(member, 8) == 06000);
  CHECK(mode_without(06745, clear_mode_of(member, 9)) == 0745);
  CHECK(mode_without(06755, clear_mode_of(member, 9)) == 0755);
  CHECK(mode_without(01666, clear_mode_of(member, 9)) == 01666);
  FlagsFixture f;
  auto other = f.volume.open();
  const Ino file = f.file(kRootIno, "f");
  REQUIRE(f.set(file, mode_to(06745)) == 0);
  REQUIRE(code(truncate(f.root, f.meta, file, 10, 06000)) == 0);
  CHECK(f.stat(file).mode == 02745);
  CHECK(f.stat_fresh(file).mode == 02745);
  // What the mode is when the write is committed counts, not what the writer knew.
  f.client->store->on_commit = [&](const CommitRequest&) {
    f.client->store->on_commit = nullptr;
    REQUIRE(code(set_attributes(other->ctx, *other->meta, file, mode_to(06755))) == 0);
    return Status();
  };
  DataWrite write;
  write.ino = file;
  write.length = 10;
  write.pieces = {TestVolume::extent(*f.meta.next_object(f.root), 0, 10)};
  write.clear_mode = 06000;
  f.meta.next_object(f.root).ok();
  auto written = write_data(f.root, f.meta, {write}, Durability::kVisible);
  REQUIRE(code(written) == 0);
  REQUIRE(code(written->at(0)) == 0);
  CHECK(f.stat_fresh(file).mode == 0755);
  CHECK(f.stat(file).mode == 0755);
}

TEST_CASE("inode flags: root alone sets them, on files and directories", "[meta][flags]") {
  FlagsFixture f;
  const OpContext owner = f.user(1, 1), other = f.user(2, 2);
  const Ino open = f.mkdir(kRootIno, "open", 0777);
  const Ino file = f.make(owner, open, "f", kRegular).ino;
  const Ino symlink = f.make(owner, open, "s", kSymlink).ino;
  SetAttributes wanted;
  wanted.inode_flags = kFlagAppendOnly;
  CHECK(f.set(owner, file, wanted) == EPERM);
  CHECK(f.set(f.root, symlink, wanted) == EOPNOTSUPP);
  CHECK(f.set(f.root, file, wanted) == 0);
  CHECK(f.stat_fresh(file).flags == kFlagAppendOnly);
  CHECK(f.set(owner, file, wanted) == 0);  // changes nothing
  CHECK(f.set(other, file, wanted) == EPERM);
  wanted.inode_flags = 0;
  CHECK(f.set(owner, file, wanted) == EPERM);
  wanted.inode_flags = kFlagInline;
  CHECK(f.set(f.root, file, wanted) == EOPNOTSUPP);
  wanted.inode_flags = 0;
  CHECK(f.set(f.root, file, wanted) == 0);
  CHECK(f.stat_fresh(file).flags == 0);
}

TEST_CASE("inode flags: what an immutable file refuses, to root too", "[meta][flags]") {
  FlagsFixture f;
  const Ino dir = f.mkdir(kRootIno, "d"), file = f.file(dir, "f"), other = f.file(dir, "o");
  REQUIRE(code(set_xattr(f.root, f.meta, file, "user.a", "1", XattrMode::kSet)) == 0);
  const uint32_t flags = GENERATE(kFlagImmutable, kFlagAppendOnly);
  const bool append = flags == kFlagAppendOnly;
  f.flag(file, flags);
  CHECK(code(check_access(f.root, f.meta, f.stat(file), kWrite)) == (append ? 0 : EPERM));
  CHECK(code(check_access(f.root, f.meta, f.stat(file), kRead)) == 0);
  CHECK(code(unlink(f.root, f.meta, dir, "f")) == EPERM);
  CHECK(code(rename(f.root, f.meta, dir, "f", dir, "g", 0)) == EPERM);
  CHECK(code(rename(f.root, f.meta, dir, "o", dir, "f", 0)) == EPERM);
  CHECK(code(rename(f.root, f.meta, dir, "o", dir, "f", kRenameExchange)) == EPERM);
  CHECK(code(link(f.root, f.meta, file, dir, "g")) == EPERM);
  CHECK(code(remove_tree(f.root, f.meta, kRootIno, "d", {})) == EPERM);
  CHECK(f.set(file, mode_to(0600)) == EPERM);
  SetAttributes set;
  set.uid = 1;
  CHECK(f.set(file, set) == EPERM);
  set = {};
  set.mtime_ns = 5;
  CHECK(f.set(file, set) == EPERM);
  set = {};
  set.mtime_now = true;
  CHECK(f.set(file, set) == EPERM);
  set.atime_now = true;
  CHECK(f.set(file, set) == (append ? 0 : EPERM));
  CHECK(code(set_xattr(f.root, f.meta, file, "user.a", "2", XattrMode::kSet)) == EPERM);
  CHECK(code(set_xattr(f.root, f.meta, file, "system.posix_acl_access", acl("u::rw,g::r,o::r"),
                       XattrMode::kSet)) == EPERM);
  CHECK(code(remove_xattr(f.root, f.meta, file, "user.a")) == EPERM);
  CHECK(*get_xattr(f.root, f.meta, file, "user.a") == "1");
  f.flag(file, 0);
  CHECK(code(rename(f.root, f.meta, dir, "o", dir, "f", 0)) == 0);
  CHECK(f.lookup_code(dir, "f") == 0);
  CHECK(lookup(f.root, f.meta, dir, "f")->ino == other);
  f.require_consistent();
}

TEST_CASE("inode flags: directories", "[meta][flags]") {
  FlagsFixture f;
  const Ino dir = f.mkdir(kRootIno, "d"), file = f.file(dir, "f");
  const Ino tree = f.mkdir(dir, "tree");
  f.file(tree, "below");
  f.file(kRootIno, "o");
  f.flag(dir, kFlagImmutable);
  CHECK(code(create(f.root, f.meta, dir, "g", CreateArgs{})) == EPERM);
  CHECK(code(create(f.root, f.meta, dir, "f", CreateArgs{})) == EEXIST);
  CHECK(code(create_orphan(f.root, f.meta, dir, 0600)) == EPERM);
  CHECK(code(link(f.root, f.meta, file, dir, "g")) == EPERM);
  CHECK(code(rename(f.root, f.meta, kRootIno, "o", dir, "o", 0)) == EPERM);
  CHECK(code(unlink(f.root, f.meta, dir, "f")) == EPERM);
  CHECK(code(rmdir(f.root, f.meta, dir, "tree")) == EPERM);
  CHECK(code(rmdir(f.root, f.meta, kRootIno, "d")) == EPERM);
  CHECK(code(rename(f.root, f.meta, kRootIno, "d", kRootIno, "e", 0)) == EPERM);
  CHECK(code(remove_tree(f.root, f.meta, dir, "tree", {})) == EPERM);
  f.write(file, 0, 10);  // what is in it is not it
  f.flag(dir, kFlagAppendOnly);
  CHECK(code(create(f.root, f.meta, dir, "g", CreateArgs{})) == 0);
  CHECK(code(link(f.root, f.meta, file, dir, "h")) == 0);
  CHECK(code(rename(f.root, f.meta, kRootIno, "o", dir, "o", 0)) == 0);
  CHECK(code(unlink(f.root, f.meta, dir, "g")) == EPERM);
  CHECK(code(rename(f.root, f.meta, dir, "o", kRootIno, "o", 0)) == EPERM);
  CHECK(code(rename(f.root, f.meta, dir, "o", dir, "p", 0)) == EPERM);
  CHECK(code(rmdir(f.root, f.meta, dir, "tree")) == EPERM);
  f.flag(dir, 0);
  CHECK(code(remove_tree(f.root, f.meta, kRootIno, "d", {})) == 0);
  f.require_consistent();
}

TEST_CASE("inode flags: set by another client meanwhile, they still hold", "[meta][flags]") {
  FlagsFixture f;
  auto other = f.volume.open();
  const Ino dir = f.mkdir(kRootIno, "d"), file = f.file(dir, "f");
  SetAttributes wanted;
  wanted.inode_flags = kFlagImmutable;
  f.client->store->on_commit = [&](const CommitRequest&) {
    f.client->store->on_commit = nullptr;
    REQUIRE(code(set_attributes(other->ctx, *other->meta, file, wanted)) == 0);
    return Status();
  };
  CHECK(code(unlink(f.root, f.meta, dir, "f")) == EPERM);
  CHECK(f.stat_fresh(file).nlink == 1);
}

}  // namespace skerry::meta
