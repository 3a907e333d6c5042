#include "ops_fixture.h"

namespace skerry::meta {

using enum FileType;

TEST_CASE("create: attributes follow umask, group and set-group-ID", "[meta][create]") {
  OpsFixture f;
  const OpContext user = f.user(1000, 100, {200}, 022);
  const Ino open = f.mkdir(kRootIno, "open", 0777);
  Attributes plain = f.make(user, open, "a", kRegular, 06777);
  CHECK(plain.mode == 06755);
  CHECK(plain.uid == 1000);
  CHECK(plain.gid == 100);
  CHECK(plain.nlink == 1);
  CHECK(f.make(user, open, "d", kDirectory, 06777).mode == 0755);
  CHECK(f.make(user, open, "s", kSymlink).length == 6);

  SetAttributes set;
  set.gid = 300;
  REQUIRE(code(set_attributes(f.root, f.meta, open, set)) == 0);
  set = {};
  set.mode = 02777;
  REQUIRE(code(set_attributes(f.root, f.meta, open, set)) == 0);
  Attributes inherited = f.make(user, open, "b", kRegular, 02775);
  CHECK(inherited.gid == 300);
  CHECK((inherited.mode & 02000) == 0);  // not a member
  Attributes dir = f.make(user, open, "e", kDirectory, 0777);
  CHECK(dir.gid == 300);
  CHECK(dir.mode == 02755);
  CHECK(f.stat(open).nlink == 4);
  f.require_consistent();
}

TEST_CASE("create: errors and their order", "[meta][create]") {
  OpsFixture f;
  const OpContext user = f.user(1000, 100);
  const Ino dir = f.mkdir(kRootIno, "d", 0755);
  const Ino closed = f.mkdir(kRootIno, "closed", 0700);
  const Ino file = f.file(dir, "file");
  CreateArgs args;
  CHECK(code(create(user, f.meta, dir, "file", args)) == EEXIST);  // not EACCES
  CHECK(code(create(user, f.meta, dir, "new", args)) == EACCES);
  CHECK(code(create(user, f.meta, closed, "new", args)) == EACCES);
  CHECK(code(create(f.root, f.meta, file, "x", args)) == ENOTDIR);
  CHECK(code(create(f.root, f.meta, 12345, "x", args)) == ENOENT);
  for (const char* bad : {"", ".", "..", "a/b"}) {
    CHECK(code(create(f.root, f.meta, dir, bad, args)) == EINVAL);
  }
  CHECK(code(create(f.root, f.meta, dir, std::string(256, 'x'), args)) == ENAMETOOLONG);
  CHECK(code(create(f.root, f.meta, dir, std::string(255, 'x'), args)) == 0);
  args.type = kSymlink;
  CHECK(code(create(f.root, f.meta, dir, "l", args)) == ENOENT);
  const std::string target(4096, 't');
  args.target = target;
  CHECK(code(create(f.root, f.meta, dir, "l", args)) == ENAMETOOLONG);
  args.target = std::string_view(target).substr(1);
  auto link = create(f.root, f.meta, dir, "l", args);
  REQUIRE(code(link) == 0);
  CHECK(*readlink(f.root, f.meta, link->attr.ino) == args.target);
  CHECK(code(readlink(f.root, f.meta, file)) == EINVAL);
  const Ino world = f.mkdir(kRootIno, "world", 0777);
  args = {};
  args.type = kBlockDevice;
  CHECK(code(create(user, f.meta, world, "dev", args)) == EPERM);
  args.type = kFifo;
  CHECK(code(create(user, f.meta, world, "fifo", args)) == 0);
  f.require_consistent();
}

TEST_CASE("create: not exclusive returns what is there", "[meta][create]") {
  OpsFixture f;
  auto other = f.volume.open();
  CreateArgs args;
  args.exclusive = false;
  auto first = create(f.root, f.meta, kRootIno, "a", args);
  auto second = create(f.root, f.meta, kRootIno, "a", args);
  auto third = create(other->ctx, *other->meta, kRootIno, "a", args);
  REQUIRE(code(third) == 0);
  CHECK(first->created);
  CHECK_FALSE(second->created);
  CHECK_FALSE(third->created);
  CHECK(third->attr.ino == first->attr.ino);
}

TEST_CASE("create: one commit and no read in a known directory", "[meta][create]") {
  OpsFixture f;
  const Ino dir = f.mkdir(kRootIno, "d");
  f.file(dir, "warm");
  int reads = 0, commits = 0;
  f.client->store->on_read = [&](const ReadRequest&) { return ++reads, Status(); };
  f.client->store->on_commit = [&](const CommitRequest&) { return ++commits, Status(); };
  for (int i = 0; i < 10; ++i) f.file(dir, "f" + std::to_string(i));
  CHECK(reads == 0);
  CHECK(commits == 10);
  for (int i = 0; i < 10; ++i) CHECK(f.lookup_code(dir, "f" + std::to_string(i)) == 0);
  CHECK(reads == 0);
  for (int i = 0; i < 10; ++i)
    CHECK(code(unlink(f.root, f.meta, dir, "f" + std::to_string(i))) == 0);
  CHECK(reads == 0);
  CHECK(commits == 20);
  CHECK(f.lookup_code(dir, "f1") == ENOENT);
  CHECK(reads == 0);
}

TEST_CASE("cache: a directory's times are current after its children changed", "[meta][cache]") {
  OpsFixture f;
  const Ino dir = f.mkdir(kRootIno, "d");
  const Attributes before = f.stat(dir);
  f.client->clock.advance_ns(5);
  f.mkdir(dir, "sub");
  const Attributes after = f.stat(dir);
  CHECK(after.nlink == 3);
  CHECK(after.mtime_ns == before.mtime_ns + 5);
  CHECK(lookup(f.root, f.meta, kRootIno, "d")->nlink == 3);
}

TEST_CASE("utimes: a directory's time can be set back", "[meta][attributes]") {
  OpsFixture f;
  const Ino dir = f.mkdir(kRootIno, "d");
  f.file(dir, "x");
  SetAttributes set;
  set.mtime_ns = -5;
  REQUIRE(code(set_attributes(f.root, f.meta, dir, set)) == 0);
  CHECK(f.stat(dir).mtime_ns == -5);
  CHECK(f.stat_fresh(dir).mtime_ns == -5);
  CHECK(f.stat_fresh(dir).ctime_ns == f.client->clock.now_ns());
  f.client->clock.advance_ns(7);
  f.file(dir, "y");
  CHECK(f.stat(dir).mtime_ns == f.client->clock.now_ns());
}

TEST_CASE("unlink: regular files become orphans, others go at once", "[meta][unlink]") {
  OpsFixture f;
  const VolumeUsage start = f.used();
  const Ino dir = f.mkdir(kRootIno, "d");
  const Ino file = f.file(dir, "file");
  f.write(file, 0, 1000);
  CHECK(f.used().bytes == start.bytes + 1000);
  const Ino symlink = f.make(f.root, dir, "sym", kSymlink).ino;
  const Ino fifo = f.make(f.root, dir, "fifo", kFifo).ino;
  REQUIRE(code(set_xattr(f.root, f.meta, fifo, "trusted.x", "1", XattrMode::kSet)) == 0);
  Attributes removed;
  REQUIRE(code(unlink(f.root, f.meta, dir, "file", &removed)) == 0);
  CHECK(removed.nlink == 0);
  CHECK(f.stat(file).nlink == 0);
  CHECK(f.stat(file).version == removed.version);
  CHECK(code(unlink(f.root, f.meta, dir, "sym")) == 0);
  CHECK(code(unlink(f.root, f.meta, dir, "fifo")) == 0);
  CHECK_FALSE(f.volume.has(symlink_key(symlink)));
  CHECK_FALSE(f.volume.has(xattr_key(fifo, "trusted.x")));
  CHECK(code(get_attributes(f.root, f.meta, fifo)) == ESTALE);
  // Writing to what has no name counts nothing.
  f.write(file, 1000, 500);
  CHECK(f.stat(file).length == 1500);
  CHECK(f.used().bytes == start.bytes);
  CHECK(f.used().inodes == start.inodes + 1);
  CHECK(code(unlink(f.root, f.meta, kRootIno, "d")) == EISDIR);
  CHECK(code(unlink(f.root, f.meta, dir, "file")) == ENOENT);
  f.require_consistent();
}

TEST_CASE("unlink: sticky directories", "[meta][unlink]") {
  OpsFixture f;
  const OpContext alice = f.user(1, 1), bob = f.user(2, 2);
  const Ino tmp = f.mkdir(kRootIno, "tmp", 01777);
  CHECK(f.stat(tmp).mode == 01777);
  f.make(alice, tmp, "a", kRegular);
  f.make(alice, tmp, "d", kDirectory);
  CHECK(code(unlink(bob, f.meta, tmp, "a")) == EPERM);
  CHECK(code(rmdir(bob, f.meta, tmp, "d")) == EPERM);
  CHECK(code(rename(bob, f.meta, tmp, "a", tmp, "b", 0)) == EPERM);
  f.make(bob, tmp, "b", kRegular);
  CHECK(code(rename(bob, f.meta, tmp, "b", tmp, "a", 0)) == EPERM);
  CHECK(code(rename(bob, f.meta, tmp, "b", tmp, "a", kRenameExchange)) == EPERM);
  CHECK(code(unlink(alice, f.meta, tmp, "a")) == 0);
}

TEST_CASE("rmdir: only what is an empty directory", "[meta][rmdir]") {
  OpsFixture f;
  const VolumeUsage start = f.used();
  const Ino dir = f.mkdir(kRootIno, "d");
  f.file(dir, "x");
  CHECK(code(rmdir(f.root, f.meta, kRootIno, "d")) == ENOTEMPTY);
  CHECK(code(rmdir(f.root, f.meta, dir, "x")) == ENOTDIR);
  CHECK(code(rmdir(f.root, f.meta, dir, "y")) == ENOENT);
  REQUIRE(code(set_xattr(f.root, f.meta, dir, "user.a", "b", XattrMode::kSet)) == 0);
  REQUIRE(code(unlink(f.root, f.meta, dir, "x")) == 0);
  REQUIRE(code(rmdir(f.root, f.meta, kRootIno, "d")) == 0);
  CHECK(f.stat(kRootIno).nlink == 2);
  CHECK(code(get_attributes(f.root, f.meta, dir)) == ESTALE);
  CHECK(code(list(f.root, f.meta, dir, "", 10, true)) == ENOENT);
  CHECK(f.used().inodes == start.inodes);
  f.require_consistent();
}

TEST_CASE("link: attributes move to the inode and names are counted", "[meta][link]") {
  OpsFixture f;
  const VolumeUsage start = f.used();
  const Ino dir = f.mkdir(kRootIno, "d");
  const Ino file = f.file(dir, "a");
  f.write(file, 0, 10);
  auto linked = link(f.root, f.meta, file, kRootIno, "b");
  REQUIRE(code(linked) == 0);
  CHECK(linked->nlink == 2);
  CHECK(lookup(f.root, f.meta, dir, "a")->nlink == 2);
  REQUIRE(code(link(f.root, f.meta, file, kRootIno, "c")) == 0);
  CHECK(f.used().bytes == start.bytes + 10);
  CHECK(f.used().inodes == start.inodes + 2);
  f.write(file, 10, 10);
  CHECK(f.stat(file).length == 20);
  f.require_consistent();

  CHECK(code(link(f.root, f.meta, file, kRootIno, "b")) == EEXIST);
  CHECK(code(link(f.root, f.meta, dir, kRootIno, "e")) == EPERM);
  CHECK(code(link(f.root, f.meta, 999999, kRootIno, "e")) == ESTALE);
  CHECK(code(link(f.user(5, 5), f.meta, file, kRootIno, "e")) == EACCES);

  Attributes removed;
  REQUIRE(code(unlink(f.root, f.meta, dir, "a", &removed)) == 0);
  CHECK(removed.nlink == 2);
  f.require_consistent();
  REQUIRE(code(unlink(f.root, f.meta, kRootIno, "b")) == 0);
  CHECK(lookup(f.root, f.meta, kRootIno, "c")->nlink == 1);
  f.require_consistent();
  REQUIRE(code(link(f.root, f.meta, file, kRootIno, "again")) == 0);
  REQUIRE(code(unlink(f.root, f.meta, kRootIno, "c")) == 0);
  REQUIRE(code(rename(f.root, f.meta, kRootIno, "again", dir, "moved", 0)) == 0);
  f.require_consistent();
  REQUIRE(code(unlink(f.root, f.meta, dir, "moved", &removed)) == 0);
  CHECK(removed.nlink == 0);
  CHECK(f.stat(file).length == 20);
  CHECK(f.used().bytes == start.bytes);
  f.require_consistent();
}

TEST_CASE("link: a file without a name gets one", "[meta][link]") {
  OpsFixture f;
  const VolumeUsage start = f.used();
  auto temporary = create_orphan(f.root, f.meta, kRootIno, 0600);
  REQUIRE(code(temporary) == 0);
  CHECK(temporary->nlink == 0);
  f.write(temporary->ino, 0, 77);
  CHECK(f.used().inodes == start.inodes);
  auto named = link(f.root, f.meta, temporary->ino, kRootIno, "named");
  REQUIRE(code(named) == 0);
  CHECK(named->nlink == 1);
  CHECK(f.used().bytes == start.bytes + 77);
  CHECK(f.used().inodes == start.inodes + 1);
  CHECK(lookup(f.root, f.meta, kRootIno, "named")->length == 77);
  f.require_consistent();
}

TEST_CASE("chmod, chown, utimes: who may do what", "[meta][attributes]") {
  OpsFixture f;
  const OpContext owner = f.user(1, 10, {20}), other = f.user(2, 30);
  const Ino dir = f.mkdir(kRootIno, "d", 0777);
  const Ino file = f.make(owner, dir, "f", kRegular, 0666).ino;
  auto change = [&](const OpContext& ctx, auto fill) {
    SetAttributes set;
    fill(set);
    return code(set_attributes(ctx, f.meta, file, set));
  };
  CHECK(change(other, [](auto& s) { s.mode = 0600; }) == EPERM);
  CHECK(change(owner, [](auto& s) { s.uid = 2; }) == EPERM);
  CHECK(change(owner, [](auto& s) { s.uid = 1; }) == 0);
  CHECK(change(owner, [](auto& s) { s.gid = 30; }) == EPERM);
  CHECK(change(owner, [](auto& s) { s.gid = 20; }) == 0);
  CHECK(change(other, [](auto& s) { s.mtime_ns = 1; }) == EPERM);
  CHECK(change(other, [](auto& s) { s.mtime_now = s.atime_now = true; }) == 0);
  CHECK(change(owner, [](auto& s) { s.mode = 0600; }) == 0);
  CHECK(change(other, [](auto& s) { s.mtime_now = s.atime_now = true; }) == EACCES);
  CHECK(change(owner, [](auto& s) { s.atime_ns = 3, s.mtime_ns = 4; }) == 0);
  CHECK(f.stat(file).atime_ns == 3);
  CHECK(f.stat(file).mtime_ns == 4);
  CHECK(f.stat(file).ctime_ns == f.client->clock.now_ns());

  CHECK(change(owner, [](auto& s) { s.mode = 06755; }) == 0);
  CHECK(f.stat(file).mode == 06755);
  CHECK(change(owner, [](auto& s) { s.gid = 10; }) == 0);
  CHECK(f.stat(file).mode == 0755);
  CHECK(change(f.root, [](auto& s) { s.gid = 99; }) == 0);
  CHECK(change(owner, [](auto& s) { s.mode = 02755; }) == 0);
  CHECK(f.stat(file).mode == 0755);  // the owner is not in the file's group
  CHECK(f.stat(file) == f.stat_fresh(file));
  CHECK(code(set_attributes(f.root, f.meta, 424242, SetAttributes{0600u, {}, {}, {}, {}})) ==
        ESTALE);
}

TEST_CASE("xattr: namespaces, modes and limits", "[meta][xattr]") {
  OpsFixture f;
  const OpContext user = f.user(1, 1);
  const Ino file = f.make(f.root, kRootIno, "f", kRegular, 0644).ino;
  const Ino symlink = f.make(f.root, kRootIno, "s", kSymlink).ino;
  auto set = [&](const OpContext& ctx, Ino ino, const std::string& name, const std::string& value,
                 XattrMode mode = XattrMode::kSet) {
    return code(set_xattr(ctx, f.meta, ino, name, value, mode));
  };
  CHECK(set(f.root, file, "user.a", "1", XattrMode::kReplace) == ENODATA);
  CHECK(set(f.root, file, "user.a", "1", XattrMode::kCreate) == 0);
  CHECK(set(f.root, file, "user.a", "2", XattrMode::kCreate) == EEXIST);
  CHECK(set(f.root, file, "user.a", "3", XattrMode::kReplace) == 0);
  CHECK(*get_xattr(f.root, f.meta, file, "user.a") == "3");
  CHECK(set(user, file, "user.b", "") == EACCES);
  CHECK(set(user, file, "trusted.b", "") == EPERM);
  CHECK(set(f.root, file, "trusted.b", "t") == 0);
  CHECK(set(f.root, file, "system.posix_acl_access", "t") == EINVAL);
  CHECK(set(f.root, file, "system.other", "t") == EOPNOTSUPP);
  CHECK(set(f.root, file, "other.a", "t") == EOPNOTSUPP);
  CHECK(set(f.root, file, "user.", "t") == EINVAL);
  CHECK(set(f.root, file, "", "t") == ERANGE);
  CHECK(set(f.root, file, "user." + std::string(251, 'x'), "t") == ERANGE);
  CHECK(set(f.root, file, "user.big", std::string(65537, 'x')) == E2BIG);
  CHECK(set(f.root, file, "user.big", std::string(65536, 'x')) == 0);
  CHECK(set(f.root, symlink, "user.a", "1") == EPERM);
  CHECK(code(get_xattr(f.root, f.meta, symlink, "user.a")) == ENODATA);
  CHECK(code(get_xattr(user, f.meta, file, "trusted.b")) == ENODATA);
  CHECK(list_xattrs(f.root, f.meta, file)->size() == 3);
  CHECK(list_xattrs(user, f.meta, file)->size() == 2);
  CHECK(code(remove_xattr(f.root, f.meta, file, "user.a")) == 0);
  CHECK(code(remove_xattr(f.root, f.meta, file, "user.a")) == ENODATA);
  CHECK(code(get_xattr(f.root, f.meta, file, "user.a")) == ENODATA);
}

TEST_CASE("lookup: permissions, batches and parents", "[meta][lookup]") {
  OpsFixture f;
  const Ino a = f.mkdir(kRootIno, "a"), b = f.mkdir(a, "b", 0700);
  const Ino c = f.file(b, "c");
  const OpContext user = f.user(1, 1);
  CHECK(code(lookup(user, f.meta, b, "c")) == EACCES);
  CHECK(code(lookup(f.root, f.meta, c, "x")) == ENOTDIR);
  CHECK(code(lookup(f.root, f.meta, b, "x")) == ENOENT);
  auto other = f.volume.open();
  auto many =
      lookup_many(other->ctx, *other->meta,
                  {{kRootIno, "a"}, {a, "b"}, {b, "nothing"}, {b, "c"}, {c, "x"}, {9999, "x"}});
  REQUIRE(code(many) == 0);
  CHECK(many->at(0)->ino == a);
  CHECK(many->at(1)->ino == b);
  CHECK(code(many->at(2)) == ENOENT);
  CHECK(many->at(3)->ino == c);
  CHECK(code(many->at(4)) == ENOTDIR);
  CHECK(code(many->at(5)) == ENOENT);
  std::string name;
  CHECK(*parent_of(f.root, f.meta, b, &name) == a);
  CHECK(name == "b");
  CHECK(*parent_of(f.root, f.meta, b) == a);
  CHECK(*parent_of(f.root, f.meta, kRootIno) == kRootIno);
  REQUIRE(code(rename(f.root, f.meta, a, "b", kRootIno, "b", 0)) == 0);
  CHECK(*parent_of(f.root, f.meta, b) == kRootIno);
  CHECK(code(parent_of(f.root, f.meta, c)) == ENOTDIR);
}

TEST_CASE("a read-only client changes nothing", "[meta]") {
  OpsFixture f;
  const Ino file = f.file(kRootIno, "f");
  TestClient reader(f.volume.database, 77);
  MetaOptions options;
  options.read_only = true;
  auto meta =
      Meta::open(reader.ctx, reader.store, f.volume.format, options, reader.clock, reader.random);
  REQUIRE(code(meta) == 0);
  CHECK(code(unlink(f.root, **meta, kRootIno, "f")) == EROFS);
  CHECK(code(truncate(f.root, **meta, file, 5, 0)) == EROFS);
  CHECK(code(lookup(f.root, **meta, kRootIno, "f")) == 0);
}

TEST_CASE("close: the session's use is folded and nothing is left of it", "[meta]") {
  OpsFixture f;
  auto other = f.volume.open();
  const ClientId id = other->id();
  REQUIRE(code(create(other->ctx, *other->meta, kRootIno, "x", CreateArgs{})) == 0);
  const VolumeUsage before = f.used();
  REQUIRE(code(other->meta->close(other->ctx)) == 0);
  REQUIRE(code(other->meta->close(other->ctx)) == 0);
  CHECK_FALSE(f.volume.has(client_key(id)));
  CHECK_FALSE(f.volume.has(usage_key(0, id)));
  CHECK(f.used().inodes == before.inodes);
  f.require_consistent();
}

}  // namespace skerry::meta
