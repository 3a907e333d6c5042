// Calls by inode number, as a kernel makes them.
#include <algorithm>

#include "support.h"

namespace {

uint64_t make_directory(Client& v, const char* name, uint64_t parent = SKERRY_ROOT_INO) {
  struct skerry_stat st {};
  OK(skerry_inode_mkdir(v, nullptr, parent, name, 0755, &st));
  return st.ino;
}

uint64_t make_file(Client& v, uint64_t dir, const char* name, uint32_t mode = 0644) {
  struct skerry_stat st {};
  OK(skerry_inode_mknod(v, nullptr, dir, name, S_IFREG | mode, 0, &st));
  return st.ino;
}

uint64_t token_of(skerry_file* file) {
  uint64_t token = 0;
  OK(skerry_data_token(file, nullptr, &token));
  return token;
}

}  // namespace

TEST_CASE("inode: look-up, creation, removal", "[capi][inode]") {
  TestVolume test;
  Client& v = test.client;
  struct skerry_stat st {};
  const uint64_t dir = make_directory(v, "d");
  const uint64_t ino = make_file(v, dir, "f");
  OK(skerry_inode_lookup(v, nullptr, dir, "f", &st));
  CHECK(st.ino == ino);
  OK(skerry_inode_lookup(v, nullptr, dir, "..", &st));
  CHECK(st.ino == SKERRY_ROOT_INO);
  OK(skerry_inode_lookup(v, nullptr, dir, ".", &st));
  CHECK(st.ino == dir);
  OK(skerry_inode_lookup(v, nullptr, SKERRY_ROOT_INO, "..", nullptr));
  FAILS(skerry_inode_lookup(v, nullptr, dir, "none", &st), ENOENT);
  FAILS(skerry_inode_lookup(v, nullptr, ino, "x", &st), ENOTDIR);
  FAILS(skerry_inode_lookup(v, nullptr, dir, "a/b", &st), EINVAL);
  FAILS(skerry_inode_lookup(v, nullptr, dir, std::string(256, 'n').c_str(), &st), ENAMETOOLONG);
  FAILS(skerry_inode_lookup(v, nullptr, 1 << 30, "x", &st), ESTALE);
  FAILS(skerry_inode_mkdir(v, nullptr, dir, "f", 0755, &st), EEXIST);

  OK(skerry_inode_symlink(v, nullptr, "f", dir, "s", &st));
  char target[8] = {};
  CHECK(skerry_inode_readlink(v, nullptr, st.ino, target, sizeof target) == 1);
  FAILS(skerry_inode_readlink(v, nullptr, ino, target, sizeof target), EINVAL);
  skerry_file* file = nullptr;
  FAILS(skerry_inode_open(v, nullptr, st.ino, O_RDONLY, &file), ELOOP);
  FAILS(skerry_inode_create(v, nullptr, dir, "s", O_RDWR, 0644, &st, &file), ESTALE);

  OK(skerry_inode_link(v, nullptr, ino, dir, "g", &st));
  CHECK(st.nlink == 2);
  OK(skerry_inode_rename(v, nullptr, dir, "g", SKERRY_ROOT_INO, "h", 0));
  CHECK(v.list("/") == std::vector<std::string>{"d", "h"});
  FAILS(skerry_inode_unlink(v, nullptr, dir, "f", SKERRY_AT_REMOVEDIR), ENOTDIR);
  FAILS(skerry_inode_unlink(v, nullptr, SKERRY_ROOT_INO, "d", 0), EISDIR);
  FAILS(skerry_inode_unlink(v, nullptr, SKERRY_ROOT_INO, "d", SKERRY_AT_REMOVEDIR), ENOTEMPTY);
  OK(skerry_inode_unlink(v, nullptr, dir, "f", 0));
  OK(skerry_inode_unlink(v, nullptr, dir, "s", 0));
  OK(skerry_inode_unlink(v, nullptr, SKERRY_ROOT_INO, "d", SKERRY_AT_REMOVEDIR));
}

TEST_CASE("inode: a removed directory is stale, and nothing enters it", "[capi][inode]") {
  TestVolume test;
  Client& v = test.client;
  Client other(test.url);
  struct skerry_stat st {};
  const uint64_t dir = make_directory(v, "d");
  const uint64_t ino = make_file(v, SKERRY_ROOT_INO, "f");
  OK(skerry_rmdir(other, nullptr, "/d"));
  FAILS(skerry_inode_stat(v, nullptr, dir, &st), ESTALE);
  FAILS(skerry_inode_lookup(v, nullptr, dir, "x", &st), ESTALE);
  FAILS(skerry_inode_mkdir(v, nullptr, dir, "x", 0755, &st), ESTALE);
  FAILS(skerry_inode_mknod(v, nullptr, dir, "x", S_IFREG, 0, &st), ESTALE);
  FAILS(skerry_inode_link(v, nullptr, ino, dir, "x", &st), ESTALE);
  FAILS(skerry_inode_rename(v, nullptr, SKERRY_ROOT_INO, "f", dir, "x", 0), ESTALE);
  FAILS(skerry_inode_rename(v, nullptr, dir, "x", SKERRY_ROOT_INO, "y", 0), ESTALE);
  FAILS(skerry_inode_rename(v, nullptr, SKERRY_ROOT_INO, "none", SKERRY_ROOT_INO, "y", 0), ENOENT);
  FAILS(skerry_inode_unlink(v, nullptr, dir, "x", 0), ESTALE);
  skerry_file* file = nullptr;
  FAILS(skerry_inode_create(v, nullptr, dir, "x", O_RDWR, 0644, &st, &file), ESTALE);
  FAILS(skerry_inode_open(v, nullptr, dir, O_RDONLY | O_DIRECTORY, &file), ESTALE);
}

TEST_CASE("inode: a replaced file is stale to who has its number", "[capi][inode]") {
  TestVolume test;
  Client& v = test.client;
  Client other(test.url);
  v.write("/f", "old");
  const uint64_t ino = v.stat("/f").ino;
  skerry_file* held = nullptr;
  OK(skerry_inode_open(v, nullptr, ino, O_RDONLY, &held));
  other.write("/g", "new");
  OK(skerry_rename(other, nullptr, "/g", "/f"));
  // Who has it open may open it once more, as /proc/self/fd does.
  skerry_file* again = nullptr;
  OK(skerry_inode_open(v, nullptr, ino, O_RDONLY, &again));
  CHECK(read_all(again) == "old");
  OK(skerry_close(again, nullptr));
  OK(skerry_close(held, nullptr));
  FAILS(skerry_inode_open(v, nullptr, ino, O_RDONLY, &again), ESTALE);
  CHECK(again == nullptr);
}

TEST_CASE("inode: who is told that a file is stale is not led to it again", "[capi][inode]") {
  TestVolume test({"consistency=close-to-open", "lease=60m", "notify=0"});
  Client& v = test.client;
  Client other(test.url);
  v.write("/f", "old");
  struct skerry_stat st {};
  OK(skerry_inode_lookup(v, nullptr, SKERRY_ROOT_INO, "f", &st));
  const uint64_t old = st.ino;
  other.write("/g", "new");
  OK(skerry_rename(other, nullptr, "/g", "/f"));
  // A name may be as old as the lease; a file that is opened may not.
  skerry_file* file = nullptr;
  FAILS(skerry_inode_open(v, nullptr, old, O_RDONLY, &file), ESTALE);
  OK(skerry_inode_lookup(v, nullptr, SKERRY_ROOT_INO, "f", &st));
  CHECK(st.ino != old);
  OK(skerry_inode_open(v, nullptr, st.ino, O_RDONLY, &file));
  CHECK(read_all(file) == "new");
  OK(skerry_close(file, nullptr));
}

TEST_CASE("inode: create opens what is there unless told not to", "[capi][inode]") {
  TestVolume test;
  Client& v = test.client;
  struct skerry_stat st {};
  skerry_file* file = nullptr;
  OK(skerry_inode_create(v, nullptr, SKERRY_ROOT_INO, "f", O_WRONLY, 0400, &st, &file));
  CHECK(skerry_pwrite(file, nullptr, "abc", 3, 0) == 3);
  OK(skerry_inode_stat(v, nullptr, st.ino, &st));
  CHECK(st.size == 3);  // not flushed yet
  OK(skerry_close(file, nullptr));
  FAILS(skerry_inode_create(v, nullptr, SKERRY_ROOT_INO, "f", O_RDWR | O_EXCL, 0400, &st, &file),
        EEXIST);
  OK(skerry_inode_create(v, nullptr, SKERRY_ROOT_INO, "f", O_RDWR | O_TRUNC, 0400, &st, &file));
  CHECK(st.size == 0);
  OK(skerry_close(file, nullptr));
  make_directory(v, "d");
  FAILS(skerry_inode_create(v, nullptr, SKERRY_ROOT_INO, "d", O_RDWR, 0400, &st, &file), EISDIR);
  const skerry_context stranger = context_of(1000, 1000);
  FAILS(skerry_inode_create(v, &stranger, SKERRY_ROOT_INO, "x", O_RDWR, 0600, &st, &file), EACCES);
  FAILS(skerry_inode_create(v, &stranger, SKERRY_ROOT_INO, "f", O_RDWR, 0600, &st, &file), EACCES);
}

TEST_CASE("inode: a file without a name", "[capi][inode]") {
  TestVolume test;
  Client& v = test.client;
  struct skerry_stat st {};
  const uint64_t dir = make_directory(v, "d");
  skerry_context owner = context_of(1000, 1000);
  owner.umask = 027;
  skerry_file* file = nullptr;
  FAILS(skerry_inode_tmpfile(v, &owner, dir, O_RDWR, 0666, &st, &file), EACCES);
  OK(skerry_chown(v, nullptr, "/d", 1000, 1000));
  FAILS(skerry_inode_tmpfile(v, &owner, dir, O_RDONLY, 0666, &st, &file), EINVAL);
  FAILS(skerry_inode_tmpfile(v, &owner, dir, O_RDWR | O_CREAT, 0666, &st, &file), EINVAL);
  FAILS(skerry_inode_tmpfile(v, &owner, 1 << 30, O_RDWR, 0666, &st, &file), ESTALE);

  OK(skerry_inode_tmpfile(v, &owner, dir, O_RDWR, 0666, &st, &file));
  CHECK(st.nlink == 0);
  CHECK(st.mode == (S_IFREG | 0640));
  CHECK(st.uid == 1000);
  CHECK(v.list("/d").empty());
  const uint64_t ino = st.ino;
  CHECK(skerry_pwrite(file, nullptr, "abc", 3, 0) == 3);
  OK(skerry_inode_link(v, &owner, ino, dir, "f", &st));
  CHECK(st.ino == ino);
  CHECK(st.nlink == 1);
  CHECK(st.size == 3);
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/d/f") == "abc");

  FAILS(skerry_inode_tmpfile(v, &owner, ino, O_RDWR, 0600, &st, &file), ENOTDIR);
  CHECK(file == nullptr);
}

TEST_CASE("inode: attributes", "[capi][inode]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "0123456789");
  const uint64_t ino = v.stat("/f").ino;
  struct skerry_stat st {};
  struct skerry_setattr set {};
  FAILS(skerry_inode_setattr(v, nullptr, ino, &set, &st), EINVAL);  // no struct_size
  set.struct_size = sizeof set;
  set.valid = 128;
  FAILS(skerry_inode_setattr(v, nullptr, ino, &set, &st), EINVAL);
  set.valid = SKERRY_SET_MODE | SKERRY_SET_UID | SKERRY_SET_GID | SKERRY_SET_SIZE |
              SKERRY_SET_ATIME | SKERRY_SET_MTIME;
  set.mode = 0640;
  set.uid = 1000;
  set.gid = 2000;
  set.size = 4;
  set.atime = {5, 6, 0};
  set.mtime = {7, 8, 0};
  OK(skerry_inode_setattr(v, nullptr, ino, &set, &st));
  CHECK((st.mode & 07777) == 0640);
  CHECK(st.uid == 1000);
  CHECK(st.gid == 2000);
  CHECK(st.size == 4);
  CHECK(st.atime.sec == 5);
  CHECK(st.mtime.nsec == 8);
  CHECK(v.read("/f") == "0123");
  const skerry_context stranger = context_of(1001, 1001);
  FAILS(skerry_inode_setattr(v, &stranger, ino, &set, &st), EACCES);
  set.valid = SKERRY_SET_MODE;
  FAILS(skerry_inode_setattr(v, &stranger, ino, &set, &st), EPERM);
  FAILS(skerry_inode_access(v, &stranger, ino, 4), EACCES);
  OK(skerry_inode_access(v, nullptr, ino, 6));
  set.valid = SKERRY_SET_SIZE;
  FAILS(skerry_inode_setattr(v, nullptr, SKERRY_ROOT_INO, &set, &st), EISDIR);

  OK(skerry_inode_setxattr(v, nullptr, ino, "user.a", "1", 1, 0));
  FAILS(skerry_inode_setxattr(v, nullptr, ino, "user.a", "1", 1, SKERRY_XATTR_CREATE), EEXIST);
  char value[16];
  CHECK(skerry_inode_getxattr(v, nullptr, ino, "user.a", value, sizeof value) == 1);
  CHECK(skerry_inode_listxattr(v, nullptr, ino, value, sizeof value) == 7);
  OK(skerry_inode_removexattr(v, nullptr, ino, "user.a"));
  FAILS(skerry_inode_getxattr(v, nullptr, ino, "user.a", value, sizeof value), ENODATA);
}

TEST_CASE("inode: a read-only volume", "[capi][inode]") {
  TestVolume test;
  test.client.write("/f", "x");
  Client v(test.url, {"read_only=1"});
  struct skerry_stat st {};
  skerry_file* file = nullptr;
  FAILS(skerry_inode_mkdir(v, nullptr, SKERRY_ROOT_INO, "f", 0755, &st), EEXIST);
  FAILS(skerry_inode_mkdir(v, nullptr, SKERRY_ROOT_INO, "d", 0755, &st), EROFS);
  FAILS(skerry_inode_create(v, nullptr, SKERRY_ROOT_INO, "g", O_RDWR, 0644, &st, &file), EROFS);
  OK(skerry_inode_create(v, nullptr, SKERRY_ROOT_INO, "f", O_RDONLY, 0644, &st, &file));
  OK(skerry_close(file, nullptr));
  FAILS(skerry_inode_unlink(v, nullptr, SKERRY_ROOT_INO, "f", 0), EROFS);
}

TEST_CASE("data token: own changes keep it, others' do not", "[capi][inode]") {
  TestVolume test;
  Client& v = test.client;
  Client other(test.url);
  const size_t size = GENERATE(100, 100'000);  // in the metadata, in objects
  v.write("/f", pattern(size));
  skerry_file* file = v.open("/f", O_RDWR);
  uint64_t first = token_of(file);
  CHECK(token_of(file) == first);

  // Own: data and attributes; also across closing and opening.
  CHECK(skerry_pwrite(file, nullptr, "own", 3, 10) == 3);
  CHECK(token_of(file) == first);
  OK(skerry_fsync(file, nullptr));
  CHECK(token_of(file) == first);
  OK(skerry_fchmod(file, nullptr, 0600));
  CHECK(token_of(file) == first);
  OK(skerry_ftruncate(file, nullptr, size / 2));
  first = token_of(file);  // a cut may take two steps, which one answer does not tell
  OK(skerry_fallocate(file, nullptr, SKERRY_FALLOC_PUNCH_HOLE | SKERRY_FALLOC_KEEP_SIZE, 0, 5));
  CHECK(token_of(file) == first);
  OK(skerry_close(file, nullptr));
  file = v.open("/f", O_RDWR);
  CHECK(token_of(file) == first);

  // Another client's change, also one that leaves length and times as they were.
  struct skerry_stat before = other.stat("/f");
  other.write("/f", pattern(before.size, 7));
  const skerry_timespec times[2] = {before.atime, before.mtime};
  OK(skerry_utimens(other, nullptr, "/f", times));
  const uint64_t second = token_of(file);
  CHECK(second != first);
  CHECK(token_of(file) == second);

  // Another's in between two own ones.
  CHECK(skerry_pwrite(file, nullptr, "own", 3, 10) == 3);
  OK(skerry_fsync(file, nullptr));
  CHECK(token_of(file) == second);
  skerry_file* theirs = other.open("/f", O_RDWR);
  CHECK(skerry_pwrite(theirs, nullptr, "theirs", 6, 0) == 6);
  OK(skerry_close(theirs, nullptr));
  CHECK(skerry_pwrite(file, nullptr, "own", 3, 20) == 3);
  OK(skerry_fsync(file, nullptr));
  CHECK(token_of(file) != second);
  OK(skerry_close(file, nullptr));

  skerry_file* dir = v.open("/", O_RDONLY | O_DIRECTORY);
  uint64_t token = 0;
  FAILS(skerry_data_token(dir, nullptr, &token), EBADF);
  OK(skerry_close(dir, nullptr));
}
