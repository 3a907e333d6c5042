// Access control lists: acl(5), on the operations.
#include <atomic>
#include <thread>

#include "meta/acl.h"
#include "ops_fixture.h"
#include "support/acl_text.h"

namespace skerry::meta {

using enum FileType;

namespace {

constexpr char kAccess[] = "system.posix_acl_access";
constexpr char kDefault[] = "system.posix_acl_default";

struct AclFixture : OpsFixture {
  int set(const OpContext& ctx, Ino ino, const char* name, std::string_view text) {
    return code(set_xattr(ctx, meta, ino, name, acl(text), XattrMode::kSet));
  }
  void give(Ino ino, const char* name, std::string_view text) {
    REQUIRE(set(root, ino, name, text) == 0);
  }
  std::string get(Ino ino, const char* name) {
    auto got = get_xattr(root, meta, ino, name);
    return got.ok() ? acl_text(*got) : strerrorname_np(got.error().code());
  }
  int may(const OpContext& ctx, Ino ino, unsigned access) {
    return code(check_access(ctx, meta, stat(ino), access));
  }
  void chmod(Ino ino, uint32_t mode) {
    SetAttributes set;
    set.mode = mode;
    REQUIRE(code(set_attributes(root, meta, ino, set)) == 0);
  }
  void chown(Ino ino, uint32_t uid, uint32_t gid) {
    SetAttributes set;
    set.uid = uid;
    set.gid = gid;
    REQUIRE(code(set_attributes(root, meta, ino, set)) == 0);
  }
  int reads = 0;
  void count_reads() {
    reads = 0;
    client->store->on_read = [this](const ReadRequest&) {
      ++reads;
      return Status();
    };
  }
};

}  // namespace

TEST_CASE("acl: malformed ones are refused", "[meta][acl]") {
  AclFixture f;
  const Ino file = f.file(kRootIno, "f"), dir = f.mkdir(kRootIno, "d");
  for (const char* bad : {
           "u::rwx,g::r",                              // no others
           "g::r,o::r",                                // no owner
           "u::rwx,o::r",                              // no owning group
           "u::rwx,u:1:r,g::r,o::r",                   // no mask
           "u::rwx,g::r,g:1:r,o::r",                   // no mask
           "u::rwx,u:1:r,u:1:w,g::r,m::r,o::r",        // a user twice
           "u::rwx,g::r,g:1:r,g:2:r,g:1:r,m::r,o::r",  // a group twice
           "u::rwx,u::rwx,g::r,o::r",                  // the owner twice
           "u::rwx,g::r,m::r,m::r,o::r",               // the mask twice
           "g::r,u::rwx,o::r",                         // out of order
           "u::rwx,g::r,u:1:r,m::r,o::r",              // out of order
           "u::rwx,g::r,o::r,m::r",                    // out of order
           "u::rwx,u:4294967295:r,g::r,m::r,o::r",     // nobody at all
       }) {
    CAPTURE(bad);
    CHECK(f.set(f.root, file, kAccess, bad) == EINVAL);
    CHECK(f.set(f.root, dir, kDefault, bad) == EINVAL);
  }
  const std::string good = acl("u::rw,u:5:r,g::r,m::r,o::r");
  auto set = [&](const std::string& value) {
    return code(set_xattr(f.root, f.meta, file, kAccess, value, XattrMode::kSet));
  };
  for (size_t cut = 1; cut < 4; ++cut) CHECK(set(good.substr(0, cut)) == EINVAL);
  for (size_t cut = 5; cut < good.size(); ++cut) CHECK(set(good.substr(0, cut)) == EINVAL);
  std::string changed = good;
  changed[0] = 1;
  CHECK(set(changed) == EOPNOTSUPP);
  changed = good;
  changed[4] = 0x40;  // a tag that does not exist
  CHECK(set(changed) == EINVAL);
  changed = good;
  changed[6] = 8;  // a permission that does not exist
  CHECK(set(changed) == EINVAL);
  CHECK(f.stat(file).version == 1);
  CHECK(set(good) == 0);
  CHECK(f.get(file, kAccess) == "u::rw,u:5:r,g::r,m::r,o::r");
  f.require_consistent();
}

TEST_CASE("acl: who may set one, and on what", "[meta][acl]") {
  AclFixture f;
  const OpContext owner = f.user(1000, 1000), other = f.user(1001, 1001);
  const Ino dir = f.mkdir(kRootIno, "open", 0777);
  const Ino file = f.make(owner, dir, "f", kRegular, 0666).ino;
  const Ino symlink = f.make(owner, dir, "l", kSymlink).ino;
  const Ino fifo = f.make(owner, dir, "p", kFifo, 0600).ino;
  const char* text = "u::rw,u:5:r,g::r,m::r,o::-";
  CHECK(f.set(other, file, kAccess, text) == EPERM);
  CHECK(f.set(owner, file, kAccess, text) == 0);
  CHECK(f.set(owner, fifo, kAccess, text) == 0);
  CHECK(f.set(owner, file, kDefault, text) == EACCES);
  CHECK(f.set(owner, symlink, kAccess, text) == EOPNOTSUPP);
  CHECK(f.get(symlink, kAccess) == "EOPNOTSUPP");
  CHECK(f.get(file, kDefault) == "ENODATA");
  // Anybody may look at it.
  CHECK(code(get_xattr(other, f.meta, file, kAccess)) == 0);
  CHECK(code(remove_xattr(other, f.meta, file, kAccess)) == EPERM);
  CHECK(code(remove_xattr(owner, f.meta, file, kAccess)) == 0);
  CHECK(f.get(file, kAccess) == "ENODATA");
  CHECK(f.stat(file).mode == 0640);  // as the mask left it
  CHECK(code(remove_xattr(owner, f.meta, file, kAccess)) == 0);
  CHECK(code(remove_xattr(owner, f.meta, file, kDefault)) == 0);
  CHECK(f.volume.count(Table::kXattr) == 1);  // the fifo's
  f.require_consistent();
}

TEST_CASE("acl: it and the mode are one", "[meta][acl]") {
  AclFixture f;
  const Ino file = f.file(kRootIno, "f", 0640);
  // What the mode can say, the mode says.
  f.give(file, kAccess, "u::rwx,g::rx,o::x");
  CHECK(f.stat(file).mode == 0751);
  CHECK((f.stat(file).flags & kFlagAccessAcl) == 0);
  CHECK_FALSE(f.volume.has(xattr_key(file, kAccess)));
  CHECK(f.get(file, kAccess) == "ENODATA");

  f.give(file, kAccess, "u::rw,u:7:rwx,g::r,m::rw,o::-");
  CHECK(f.stat(file).mode == 0660);
  CHECK(f.stat_fresh(file).mode == 0660);
  CHECK((f.stat(file).flags & kFlagAccessAcl) != 0);
  // chmod(2) changes owner, mask and others.
  const uint64_t version = f.stat(file).version;
  f.chmod(file, 0415);
  CHECK(f.stat(file).version == version + 1);
  CHECK(f.get(file, kAccess) == "u::r,u:7:rwx,g::r,m::x,o::rx");
  CHECK(f.may(f.user(7, 9), file, kExecute) == 0);
  CHECK(f.may(f.user(7, 9), file, kRead) == EACCES);
  f.chmod(file, 0470);
  CHECK(f.get(file, kAccess) == "u::r,u:7:rwx,g::r,m::rwx,o::-");
  CHECK(f.may(f.user(7, 9), file, kRead | kWrite | kExecute) == 0);
  CHECK(list_xattrs(f.root, f.meta, file)->size() == 1);
  CHECK(list_xattrs(f.root, f.meta, file)->at(0) == kAccess);

  // A mask alone is more than the mode can say: the group keeps what it had.
  f.give(file, kAccess, "u::rw,g::rw,m::r,o::-");
  CHECK(f.stat(file).mode == 0640);
  CHECK(f.get(file, kAccess) == "u::rw,g::rw,m::r,o::-");
  // A value without entries is none.
  CHECK(code(set_xattr(f.root, f.meta, file, kAccess, acl(""), XattrMode::kSet)) == 0);
  CHECK(f.get(file, kAccess) == "ENODATA");
  CHECK(f.stat(file).mode == 0640);
  f.require_consistent();
}

TEST_CASE("acl: set-group-ID does not outlive a change by who is not in the group",
          "[meta][acl]") {  // CVE-2016-7097
  AclFixture f;
  const Ino file = f.file(kRootIno, "f");
  f.chown(file, 1000, 50);
  f.chmod(file, 02755);
  const char* text = "u::rwx,u:5:r,g::rx,m::rx,o::rx";
  REQUIRE(f.set(f.user(1000, 1000, {50}), file, kAccess, text) == 0);
  CHECK(f.stat(file).mode == 02755);
  REQUIRE(f.set(f.root, file, kAccess, text) == 0);
  CHECK(f.stat(file).mode == 02755);
  REQUIRE(f.set(f.user(1000, 1000), file, kAccess, "u::rwx,g::rx,o::rx") == 0);
  CHECK(f.stat(file).mode == 0755);
}

TEST_CASE("acl: the check", "[meta][acl]") {
  AclFixture f;
  const Ino file = f.file(kRootIno, "f");
  f.chown(file, 1000, 50);
  f.give(file, kAccess, "u::r,u:1:rwx,u:2:-,g::r,g:60:w,g:61:rw,m::rw,o::rx");
  auto may = [&](uint32_t uid, std::vector<uint32_t> groups, unsigned access) {
    return f.may(f.user(uid, 9999, std::move(groups)), file, access);
  };
  // The owner: never by other entries, not even if they grant more.
  CHECK(may(1000, {61}, kRead) == 0);
  CHECK(may(1000, {61}, kWrite) == EACCES);
  // A named user, masked; his groups and the others do not matter.
  CHECK(may(1, {}, kRead | kWrite) == 0);
  CHECK(may(1, {}, kExecute) == EACCES);
  CHECK(may(2, {50, 60, 61}, kRead) == EACCES);
  CHECK(may(2, {}, kExecute) == EACCES);
  // Groups: one of them must grant all that is asked for.
  CHECK(may(3, {50}, kRead) == 0);
  CHECK(may(3, {50}, kWrite) == EACCES);
  CHECK(may(3, {60}, kWrite) == 0);
  CHECK(may(3, {50, 60}, kRead) == 0);
  CHECK(may(3, {50, 60}, kWrite) == 0);
  CHECK(may(3, {50, 60}, kRead | kWrite) == EACCES);
  CHECK(may(3, {61}, kRead | kWrite) == 0);
  // Who is in one of the groups is not one of the others.
  CHECK(may(3, {50}, kExecute) == EACCES);
  CHECK(may(3, {60}, kRead) == EACCES);
  CHECK(may(4, {}, kRead | kExecute) == 0);
  CHECK(may(4, {}, kWrite) == EACCES);
  // An empty mask takes the group class everything.
  f.chmod(file, 0404);
  CHECK(may(1, {}, kRead) == EACCES);
  CHECK(may(3, {61}, kRead) == EACCES);
  CHECK(may(4, {}, kRead) == 0);
  // Root as ever: nobody may run it.
  CHECK(f.may(f.root, file, kRead | kWrite) == 0);
  CHECK(f.may(f.root, file, kExecute) == EACCES);
}

TEST_CASE("acl: operations go by it", "[meta][acl]") {
  AclFixture f;
  const OpContext user = f.user(5, 5);
  const Ino dir = f.mkdir(kRootIno, "d", 0700);
  const Ino file = f.file(dir, "f", 0600);
  CHECK(code(lookup(user, f.meta, dir, "f")) == EACCES);
  CHECK(code(unlink(user, f.meta, dir, "f")) == EACCES);
  f.give(dir, kAccess, "u::rwx,u:5:x,g::-,m::rwx,o::-");
  CHECK(code(lookup(user, f.meta, dir, "f")) == 0);
  CHECK(code(list(user, f.meta, dir, "", 10, false)) == EACCES);
  CHECK(code(create(user, f.meta, dir, "g", CreateArgs{})) == EACCES);
  f.give(dir, kAccess, "u::rwx,u:5:rwx,g::-,m::rwx,o::-");
  CHECK(code(list(user, f.meta, dir, "", 10, false)) == 0);
  CHECK(code(create(user, f.meta, dir, "g", CreateArgs{})) == 0);
  CHECK(code(create_orphan(user, f.meta, dir, 0600)) == 0);
  CHECK(code(link(user, f.meta, file, dir, "h")) == 0);
  CHECK(code(rename(user, f.meta, dir, "h", dir, "i", 0)) == 0);
  SetAttributes touch;
  touch.atime_now = touch.mtime_now = true;
  CHECK(code(set_attributes(user, f.meta, file, touch)) == EACCES);
  CHECK(code(set_xattr(user, f.meta, file, "user.a", "", XattrMode::kSet)) == EACCES);
  f.give(file, kAccess, "u::rw,u:5:rw,g::-,m::rw,o::-");
  CHECK(code(set_attributes(user, f.meta, file, touch)) == 0);
  CHECK(code(set_xattr(user, f.meta, file, "user.a", "1", XattrMode::kSet)) == 0);
  CHECK(code(get_xattr(user, f.meta, file, "user.a")) == 0);
  // The sticky bit is about owners, which an ACL does not make.
  f.chmod(dir, 01770);
  CHECK(code(unlink(user, f.meta, dir, "i")) == EPERM);
  CHECK(code(unlink(user, f.meta, dir, "g")) == 0);
  // With its inode the ACL goes.
  const Ino sub = f.mkdir(dir, "sub");
  f.give(sub, kDefault, "u::rwx,g::-,o::-");
  REQUIRE(code(remove_tree(f.root, f.meta, kRootIno, "d", {})) == 0);
  CHECK_FALSE(f.volume.has(xattr_key(sub, kDefault)));
  CHECK_FALSE(f.volume.has(xattr_key(dir, kAccess)));
  f.require_consistent();
}

TEST_CASE("acl: files inherit their directory's default", "[meta][acl]") {
  AclFixture f;
  const OpContext user = f.user(5, 5, {}, 077);
  const Ino dir = f.mkdir(kRootIno, "d", 0777);
  f.give(dir, kDefault, "u::rwx,u:7:rwx,g::rx,m::rwx,o::r");
  CHECK(f.stat(dir).mode == 0777);

  // The umask does not count; what was asked for does.
  const Ino file = f.make(user, dir, "f", kRegular, 0664).ino;
  CHECK(f.stat(file).mode == 0664);
  CHECK(f.get(file, kAccess) == "u::rw,u:7:rwx,g::rx,m::rw,o::r");
  CHECK(f.get(file, kDefault) == "ENODATA");
  const Ino narrow = f.make(user, dir, "n", kRegular, 0600).ino;
  CHECK(f.stat(narrow).mode == 0600);
  CHECK(f.get(narrow, kAccess) == "u::rw,u:7:rwx,g::rx,m::-,o::-");
  CHECK(f.may(f.user(7, 7), narrow, kRead) == EACCES);
  CHECK(f.may(f.user(7, 7), file, kRead | kWrite) == 0);

  const Ino sub = f.make(user, dir, "sub", kDirectory, 0755).ino;
  CHECK(f.stat(sub).mode == 0754);
  CHECK(f.get(sub, kAccess) == "u::rwx,u:7:rwx,g::rx,m::rx,o::r");
  CHECK(f.get(sub, kDefault) == "u::rwx,u:7:rwx,g::rx,m::rwx,o::r");
  const Ino deep = f.make(user, sub, "deep", kFifo, 0666).ino;
  CHECK(f.get(deep, kAccess) == "u::rw,u:7:rwx,g::rx,m::rw,o::r");

  // Symbolic links have none.
  const Ino symlink = f.make(user, dir, "l", kSymlink).ino;
  CHECK(f.stat(symlink).flags == 0);
  CHECK(f.stat(symlink).mode == 0777);

  auto orphan = create_orphan(user, f.meta, dir, 0660);
  REQUIRE(code(orphan) == 0);
  CHECK(orphan->mode == 0660);
  CHECK(f.get(orphan->ino, kAccess) == "u::rw,u:7:rwx,g::rx,m::rw,o::-");
  REQUIRE(code(link(f.root, f.meta, orphan->ino, dir, "o")) == 0);
  CHECK(f.get(orphan->ino, kAccess) == "u::rw,u:7:rwx,g::rx,m::rw,o::-");

  // A default that a mode can say: no ACL for files, itself for directories.
  f.give(dir, kDefault, "u::rwx,g::rx,o::-");
  const Ino plain = f.make(user, dir, "p", kRegular, 0666).ino;
  CHECK(f.stat(plain).mode == 0640);
  CHECK(f.get(plain, kAccess) == "ENODATA");
  const Ino other = f.make(user, dir, "other", kDirectory, 0777).ino;
  CHECK(f.stat(other).mode == 0750);
  CHECK(f.get(other, kAccess) == "ENODATA");
  CHECK(f.get(other, kDefault) == "u::rwx,g::rx,o::-");
  REQUIRE(code(remove_xattr(f.root, f.meta, dir, kDefault)) == 0);
  CHECK(f.make(user, dir, "late", kRegular, 0666).mode == 0600);
  f.require_consistent();
}

TEST_CASE("acl: a default set meanwhile by another client is inherited", "[meta][acl]") {
  AclFixture f;
  auto other = f.volume.open();
  const Ino dir = f.mkdir(kRootIno, "d");
  f.give(dir, kDefault, "u::rwx,u:7:r,g::rx,m::rx,o::r");
  f.make(f.root, dir, "before", kRegular);
  bool once = true;
  f.client->store->on_commit = [&](const CommitRequest&) {
    if (!once) return Status();
    once = false;
    REQUIRE(code(set_xattr(other->ctx, *other->meta, dir, kDefault, acl("u::rwx,g::-,o::-"),
                           XattrMode::kSet)) == 0);
    return Status();
  };
  const Attributes made = f.make(f.root, dir, "f", kRegular, 0666);
  CHECK(made.mode == 0600);
  CHECK(f.get(made.ino, kAccess) == "ENODATA");
  once = true;
  auto orphan = create_orphan(f.root, f.meta, dir, 0666);
  REQUIRE(code(orphan) == 0);
  CHECK(orphan->mode == 0600);
  f.require_consistent();
}

TEST_CASE("acl: reads of the store", "[meta][acl]") {
  AclFixture f;
  const OpContext user = f.user(5, 5);
  const Ino dir = f.mkdir(kRootIno, "d", 0700), sub = f.mkdir(dir, "sub", 0700);
  f.file(sub, "f");
  f.give(dir, kAccess, "u::rwx,u:5:x,g::-,m::x,o::-");
  f.give(sub, kAccess, "u::rwx,u:5:x,g::-,m::x,o::-");
  auto walk = [&](TestClient& client) {
    OpContext ctx = user;
    ctx.clock = &client.clock;
    CHECK(code(lookup(ctx, *client.meta, kRootIno, "d", false)) == 0);
    CHECK(code(lookup(ctx, *client.meta, dir, "sub", false)) == 0);
    CHECK(code(lookup(ctx, *client.meta, sub, "f", false)) == 0);
  };
  walk(*f.client);
  f.count_reads();
  walk(*f.client);
  CHECK(f.reads == 0);  // warm
  // What children do to a directory does not make its ACL unknown; chmod does, once.
  f.file(sub, "g");
  f.reads = 0;
  walk(*f.client);
  CHECK(f.reads == 0);
  f.chmod(sub, 0710);
  f.reads = 0;
  walk(*f.client);
  CHECK(f.reads == 1);
  walk(*f.client);
  CHECK(f.reads == 1);

  auto other = f.volume.open();
  int reads = 0;
  other->store->on_read = [&](const ReadRequest&) {
    ++reads;
    return Status();
  };
  walk(*other);
  CHECK(reads == 3 + 2);  // names, and two ACLs
  walk(*other);
  CHECK(reads == 3 + 2);

  // Where there is none, nothing is asked for one.
  const Ino plain = f.mkdir(kRootIno, "plain");
  f.file(plain, "f");
  f.reads = 0;
  CHECK(code(lookup(user, f.meta, plain, "f")) == 0);
  CHECK(f.get(plain, kAccess) == "ENODATA");
  CHECK(f.get(plain, kDefault) == "ENODATA");
  CHECK(f.reads == 0);
}

TEST_CASE("acl: what another client changed counts at once", "[meta][acl]") {
  AclFixture f;
  auto other = f.volume.open();
  const OpContext user = f.user(5, 5);
  const Ino dir = f.mkdir(kRootIno, "d", 0700);
  f.file(dir, "f");
  auto set = [&](const char* text) {
    REQUIRE(code(set_xattr(other->ctx, *other->meta, dir, kAccess, acl(text), XattrMode::kSet)) ==
            0);
  };
  set("u::rwx,u:5:x,g::-,m::x,o::-");
  CHECK(code(lookup(user, f.meta, dir, "f")) == 0);
  set("u::rwx,u:5:-,g::-,m::x,o::-");
  CHECK(code(lookup(user, f.meta, dir, "f")) == EACCES);
  set("u::rwx,u:5:x,g::-,m::x,o::-");
  CHECK(code(lookup(user, f.meta, dir, "f")) == 0);
  SetAttributes chmod;
  chmod.mode = 0700;
  REQUIRE(code(set_attributes(other->ctx, *other->meta, dir, chmod)) == 0);
  CHECK(code(lookup(user, f.meta, dir, "f")) == EACCES);
}

TEST_CASE("acl: concurrent chmod and setfacl do not lose each other", "[meta][acl][race]") {
  AclFixture f;
  auto other = f.volume.open();
  const Ino file = f.file(kRootIno, "f", 0600);
  constexpr int kRounds = 200;
  std::atomic<int> failures{0};
  // One sets ACLs that keep the mode's bits as the other last set them or as it is about to; the
  // version counts every change, so none was applied on top of a state it had not seen.
  std::thread setter([&] {
    for (int i = 0; i < kRounds; ++i) {
      const std::string text = "u::rw,u:" + std::to_string(i + 1) + ":rwx,g::r,m::rw,o::-";
      if (code(set_xattr(other->ctx, *other->meta, file, kAccess, acl(text), XattrMode::kSet))) {
        ++failures;
      }
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    SetAttributes chmod;
    chmod.mode = 0600 | static_cast<uint32_t>(i % 8) << 3;
    if (code(set_attributes(f.root, f.meta, file, chmod)) != 0) ++failures;
  }
  setter.join();
  CHECK(failures == 0);
  CHECK(f.stat_fresh(file).version == 1 + 2 * kRounds);
  const Attributes now = f.stat_fresh(file);
  auto read_back = get_xattr(f.root, f.meta, file, kAccess);
  REQUIRE(code(read_back) == 0);
  auto parsed = Acl::parse(*read_back);
  REQUIRE(code(parsed) == 0);
  CHECK(parsed->mode_bits() == now.mode);
  CHECK(parsed->entries().at(1).id == kRounds);
  f.require_consistent();
}

}  // namespace skerry::meta
