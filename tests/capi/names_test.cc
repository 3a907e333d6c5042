// Paths and the calls that make, move and remove names.
#include <algorithm>

#include "support.h"

namespace {

void make_tree(Client& client) {
  OK(skerry_mkdirs(client, nullptr, "/a/b/c", 0755));
  client.write("/a/b/c/f", "f");
  OK(skerry_symlink(client, nullptr, "b/c", "/a/link"));
  OK(skerry_symlink(client, nullptr, "/a/b/c/f", "/a/file-link"));
  OK(skerry_symlink(client, nullptr, "nowhere", "/a/dangling"));
}

}  // namespace

TEST_CASE("path: resolution", "[capi][path]") {
  TestVolume test;
  Client& v = test.client;
  make_tree(v);
  struct skerry_stat st {};
  const uint64_t ino = v.stat("/a/b/c/f").ino;
  for (const char* path : {"/a/b/c/f", "a/b/c/f", "//a///b/c/./f", "/a/b/../b/c/f", "/../a/b/c/f",
                           "/a/link/f", "/a/file-link", "/a/b/c/../../link/../c/f"}) {
    INFO(path);
    OK(skerry_stat(v, nullptr, path, &st));
    CHECK(st.ino == ino);
  }
  for (const char* path : {"/", "//", ".", "..", "/a/..", "/./", "/a/b/../.."}) {
    INFO(path);
    OK(skerry_stat(v, nullptr, path, &st));
    CHECK(st.ino == v.stat("/").ino);
  }
  FAILS(skerry_stat(v, nullptr, "", &st), ENOENT);
  FAILS(skerry_stat(v, nullptr, "/a/none", &st), ENOENT);
  FAILS(skerry_stat(v, nullptr, "/a/none/x", &st), ENOENT);
  FAILS(skerry_stat(v, nullptr, "/a/b/c/f/x", &st), ENOTDIR);
  FAILS(skerry_stat(v, nullptr, "/a/b/c/f/", &st), ENOTDIR);
  FAILS(skerry_stat(v, nullptr, "/a/b/c/f/.", &st), ENOTDIR);
  FAILS(skerry_stat(v, nullptr, "/a/b/c/f/..", &st), ENOTDIR);
  FAILS(skerry_stat(v, nullptr, "/a/none/..", &st), ENOENT);
  FAILS(skerry_stat(v, nullptr, "/a/dangling", &st), ENOENT);
  FAILS(skerry_lstat(v, nullptr, "/a/file-link/", &st), ENOTDIR);
  OK(skerry_lstat(v, nullptr, "/a/link", &st));
  CHECK((st.mode & S_IFMT) == S_IFLNK);
  CHECK(st.size == 3);
  OK(skerry_lstat(v, nullptr, "/a/link/", &st));
  CHECK((st.mode & S_IFMT) == S_IFDIR);
}

TEST_CASE("path: limits", "[capi][path]") {
  TestVolume test;
  Client& v = test.client;
  struct skerry_stat st {};
  const std::string longest(255, 'n');
  OK(skerry_mkdir(v, nullptr, ("/" + longest).c_str(), 0755));
  FAILS(skerry_mkdir(v, nullptr, ("/" + longest + "x").c_str(), 0755), ENAMETOOLONG);
  FAILS(skerry_stat(v, nullptr, ("/" + longest + "x/y").c_str(), &st), ENAMETOOLONG);
  std::string path;
  while (path.size() < 4000) path += "/.";
  OK(skerry_stat(v, nullptr, path.c_str(), &st));
  path.resize(4095, '/');
  OK(skerry_stat(v, nullptr, path.c_str(), &st));
  path += "/";
  FAILS(skerry_stat(v, nullptr, path.c_str(), &st), ENAMETOOLONG);
  FAILS(skerry_symlink(v, nullptr, std::string(4096, 'x').c_str(), "/l"), ENAMETOOLONG);
  FAILS(skerry_symlink(v, nullptr, "", "/l"), ENOENT);
  OK(skerry_symlink(v, nullptr, std::string(4095, 'x').c_str(), "/l"));
  FAILS(skerry_stat(v, nullptr, "/l", &st), ENAMETOOLONG);
}

TEST_CASE("path: at most 40 links", "[capi][path]") {
  TestVolume test;
  Client& v = test.client;
  struct skerry_stat st {};
  v.write("/l0", "target");
  for (int i = 1; i <= 41; i++) {
    OK(skerry_symlink(v, nullptr, ("l" + std::to_string(i - 1)).c_str(),
                      ("/l" + std::to_string(i)).c_str()));
  }
  OK(skerry_stat(v, nullptr, "/l40", &st));
  FAILS(skerry_stat(v, nullptr, "/l41", &st), ELOOP);
  OK(skerry_symlink(v, nullptr, "loop", "/loop"));
  FAILS(skerry_stat(v, nullptr, "/loop", &st), ELOOP);
  FAILS(skerry_stat(v, nullptr, "/loop/x", &st), ELOOP);
  FAILS(skerry_mkdir(v, nullptr, "/loop", 0755), EEXIST);
  skerry_file* file = nullptr;
  FAILS(skerry_open(v, nullptr, "/loop", O_CREAT | O_RDWR, 0644, &file), ELOOP);
}

TEST_CASE("path: search permission on every component", "[capi][path][permissions]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mkdirs(v, nullptr, "/open/closed/open", 0755));
  v.write("/open/closed/open/f", "f");
  OK(skerry_chmod(v, nullptr, "/open/closed", 0700));
  skerry_context user = context_of(1000, 1000);
  struct skerry_stat st {};
  OK(skerry_stat(v, &user, "/open/closed", &st));
  for (const char* path : {"/open/closed/open", "/open/closed/open/f", "/open/closed/none",
                           "/open/closed/.", "/open/closed/.."}) {
    INFO(path);
    FAILS(skerry_stat(v, &user, path, &st), EACCES);
  }
  // A group that may.
  OK(skerry_chown(v, nullptr, "/open/closed", 0, 77));
  OK(skerry_chmod(v, nullptr, "/open/closed", 0710));
  FAILS(skerry_stat(v, &user, "/open/closed/open", &st), EACCES);
  const uint32_t groups[] = {5, 77};
  user.groups = groups;
  user.group_count = 2;
  OK(skerry_stat(v, &user, "/open/closed/open", &st));
}

TEST_CASE("names: errors of Linux for odd last components", "[capi][names]") {
  TestVolume test;
  Client& v = test.client;
  make_tree(v);
  FAILS(skerry_mkdir(v, nullptr, "/", 0755), EEXIST);
  FAILS(skerry_mkdir(v, nullptr, "/a/.", 0755), EEXIST);
  FAILS(skerry_mkdir(v, nullptr, "/a/..", 0755), EEXIST);
  OK(skerry_mkdir(v, nullptr, "/a/new/", 0755));
  FAILS(skerry_rmdir(v, nullptr, "/"), EBUSY);
  FAILS(skerry_rmdir(v, nullptr, "/a/."), EINVAL);
  FAILS(skerry_rmdir(v, nullptr, "/a/.."), ENOTEMPTY);
  FAILS(skerry_rmdir(v, nullptr, "/a"), ENOTEMPTY);
  FAILS(skerry_rmdir(v, nullptr, "/a/link"), ENOTDIR);
  FAILS(skerry_rmdir(v, nullptr, "/a/b/c/f"), ENOTDIR);
  OK(skerry_rmdir(v, nullptr, "/a/new/"));
  FAILS(skerry_unlink(v, nullptr, "/a"), EISDIR);
  FAILS(skerry_unlink(v, nullptr, "/a/"), EISDIR);
  FAILS(skerry_unlink(v, nullptr, "/"), EISDIR);
  FAILS(skerry_unlink(v, nullptr, "/a/b/c/f/"), ENOTDIR);
  FAILS(skerry_unlink(v, nullptr, "/a/none"), ENOENT);
  FAILS(skerry_symlink(v, nullptr, "x", "/a/new/"), ENOENT);
  FAILS(skerry_symlink(v, nullptr, "x", "/a/link"), EEXIST);
  FAILS(skerry_link(v, nullptr, "/a", "/hard"), EPERM);
  FAILS(skerry_link(v, nullptr, "/none", "/hard"), ENOENT);
  FAILS(skerry_link(v, nullptr, "/a/b/c/f", "/a/link"), EEXIST);
  FAILS(skerry_rename(v, nullptr, "/a/.", "/z"), EBUSY);
  FAILS(skerry_rename(v, nullptr, "/a", "/"), EBUSY);
  FAILS(skerry_rename(v, nullptr, "/a", "/a/b/inside"), EINVAL);
  FAILS(skerry_rename(v, nullptr, "/a/b/c/f", "/a/g/"), ENOTDIR);
  FAILS(skerry_rename(v, nullptr, "/a/none", "/a/g"), ENOENT);
  OK(skerry_unlink(v, nullptr, "/a/link"));  // the link, not its target
  CHECK(v.read("/a/b/c/f") == "f");
}

TEST_CASE("names: mkdirs", "[capi][names]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mkdirs(v, nullptr, "/x/y//z/", 0750));
  CHECK(v.stat("/x/y/z").mode == (S_IFDIR | 0750));
  OK(skerry_mkdirs(v, nullptr, "/x/y/z", 0700));
  OK(skerry_mkdirs(v, nullptr, "/", 0700));
  v.write("/file", "");
  FAILS(skerry_mkdirs(v, nullptr, "/file", 0700), EEXIST);
  FAILS(skerry_mkdirs(v, nullptr, "/file/below", 0700), ENOTDIR);
  skerry_context user = context_of(1000, 1000);
  FAILS(skerry_mkdirs(v, &user, "/x/y/z/new", 0700), EACCES);
}

TEST_CASE("names: special files", "[capi][names]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mknod(v, nullptr, "/fifo", S_IFIFO | 0644, 0));
  OK(skerry_mknod(v, nullptr, "/sock", S_IFSOCK | 0600, 0));
  OK(skerry_mknod(v, nullptr, "/null", S_IFCHR | 0666, 0x103));
  OK(skerry_mknod(v, nullptr, "/plain", 0640, 0));
  CHECK(v.stat("/fifo").mode == (S_IFIFO | 0644));
  CHECK(v.stat("/null").rdev == 0x103);
  CHECK(v.stat("/plain").mode == (S_IFREG | 0640));
  FAILS(skerry_mknod(v, nullptr, "/dir", S_IFDIR | 0755, 0), EPERM);
  FAILS(skerry_mknod(v, nullptr, "/bad", S_IFLNK | 0777, 0), EINVAL);
  skerry_context user = context_of(1000, 1000);
  OK(skerry_chmod(v, nullptr, "/", 0777));
  FAILS(skerry_mknod(v, &user, "/zero", S_IFCHR | 0666, 0x105), EPERM);
  skerry_file* file = nullptr;
  FAILS(skerry_open(v, nullptr, "/fifo", O_RDONLY, 0, &file), ENXIO);
  FAILS(skerry_open(v, nullptr, "/null", O_RDWR, 0, &file), ENXIO);
  OK(skerry_open(v, nullptr, "/fifo", O_PATH, 0, &file));
  OK(skerry_close(file, nullptr));
}

TEST_CASE("names: readlink cuts without a NUL", "[capi][names]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_symlink(v, nullptr, "target", "/l"));
  char buffer[8] = "zzzzzzz";
  CHECK(skerry_readlink(v, nullptr, "/l", buffer, 3) == 3);
  CHECK(std::string(buffer) == "tarzzzz");
  CHECK(skerry_readlink(v, nullptr, "/l", buffer, sizeof buffer) == 6);
  FAILS(skerry_readlink(v, nullptr, "/l", buffer, 0), EINVAL);
  FAILS(skerry_readlink(v, nullptr, "/", buffer, 8), EINVAL);
}

TEST_CASE("names: rename replaces, refuses, exchanges", "[capi][names][rename]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/one", "1");
  v.write("/two", "2");
  FAILS(skerry_renameat2(v, nullptr, nullptr, "/one", nullptr, "/two", SKERRY_RENAME_NOREPLACE),
        EEXIST);
  FAILS(skerry_renameat2(v, nullptr, nullptr, "/one", nullptr, "/none", SKERRY_RENAME_EXCHANGE),
        ENOENT);
  FAILS(skerry_renameat2(v, nullptr, nullptr, "/one", nullptr, "/two", 3), EINVAL);
  FAILS(skerry_renameat2(v, nullptr, nullptr, "/one", nullptr, "/two", 64), EINVAL);
  OK(skerry_renameat2(v, nullptr, nullptr, "/one", nullptr, "/two", SKERRY_RENAME_EXCHANGE));
  CHECK(v.read("/one") == "2");
  CHECK(v.read("/two") == "1");
  OK(skerry_rename(v, nullptr, "/one", "/two"));
  CHECK(v.read("/two") == "2");
  CHECK(v.list("/") == std::vector<std::string>{"two"});
  OK(skerry_mkdirs(v, nullptr, "/full/x", 0755));
  OK(skerry_mkdir(v, nullptr, "/dir", 0755));
  FAILS(skerry_rename(v, nullptr, "/dir", "/full"), ENOTEMPTY);
  FAILS(skerry_rename(v, nullptr, "/two", "/dir"), EISDIR);
  FAILS(skerry_rename(v, nullptr, "/dir", "/two"), ENOTDIR);
  OK(skerry_rename(v, nullptr, "/full/x", "/dir"));
  // A link's twin: both names stay.
  OK(skerry_link(v, nullptr, "/two", "/twin"));
  OK(skerry_rename(v, nullptr, "/two", "/twin"));
  CHECK(v.stat("/two").nlink == 2);
  CHECK(v.stat("/two").ino == v.stat("/twin").ino);
}

TEST_CASE("at: relative to an open directory", "[capi][at]") {
  TestVolume test;
  Client& v = test.client;
  make_tree(v);
  skerry_file* b = v.open("/a/b", O_RDONLY | O_DIRECTORY);
  struct skerry_stat st {};
  OK(skerry_fstatat(v, nullptr, b, "c/f", &st, 0));
  CHECK(st.ino == v.stat("/a/b/c/f").ino);
  OK(skerry_fstatat(v, nullptr, b, "../file-link", &st, SKERRY_AT_SYMLINK_NOFOLLOW));
  CHECK((st.mode & S_IFMT) == S_IFLNK);
  OK(skerry_fstatat(v, nullptr, b, "/a", &st, 0));
  CHECK(st.ino == v.stat("/a").ino);
  FAILS(skerry_fstatat(v, nullptr, b, "", &st, 0), ENOENT);
  OK(skerry_fstatat(v, nullptr, b, "", &st, SKERRY_AT_EMPTY_PATH));
  CHECK(st.ino == v.stat("/a/b").ino);
  OK(skerry_mkdirat(v, nullptr, b, "made", 0755));
  OK(skerry_mknodat(v, nullptr, b, "made/node", S_IFIFO | 0600, 0));
  OK(skerry_symlinkat(v, nullptr, "node", b, "made/link"));
  char target[16];
  CHECK(skerry_readlinkat(v, nullptr, b, "made/link", target, sizeof target) == 4);
  OK(skerry_linkat(v, nullptr, b, "c/f", b, "made/f", 0));
  OK(skerry_renameat2(v, nullptr, b, "made/f", nullptr, "/top", 0));
  CHECK(v.read("/top") == "f");
  OK(skerry_faccessat(v, nullptr, b, "c/f", 4, SKERRY_AT_EACCESS));
  OK(skerry_fchmodat(v, nullptr, b, "c/f", 0600, 0));
  OK(skerry_fchownat(v, nullptr, b, "c/f", 5, 6, 0));
  skerry_file* file = nullptr;
  OK(skerry_openat(v, nullptr, b, "c/f", O_RDONLY, 0, &file));
  FAILS(skerry_fstatat(v, nullptr, file, "x", &st, 0), ENOTDIR);
  OK(skerry_fstatat(v, nullptr, file, "", &st, SKERRY_AT_EMPTY_PATH));
  CHECK(st.uid == 5);
  OK(skerry_close(file, nullptr));
  OK(skerry_unlinkat(v, nullptr, b, "made/link", 0));
  OK(skerry_unlinkat(v, nullptr, b, "made/node", 0));
  OK(skerry_unlinkat(v, nullptr, b, "made", SKERRY_AT_REMOVEDIR));
  // What is open stays where it is when it is renamed, and is empty for ever when removed.
  OK(skerry_rename(v, nullptr, "/a/b", "/moved"));
  OK(skerry_fstatat(v, nullptr, b, "c/f", &st, 0));
  OK(skerry_remove_tree(v, nullptr, "/moved", nullptr, nullptr, nullptr));
  FAILS(skerry_fstatat(v, nullptr, b, "c", &st, 0), ENOENT);
  FAILS(skerry_mkdirat(v, nullptr, b, "late", 0755), ENOENT);
  OK(skerry_fstat(b, nullptr, &st));
  CHECK(st.nlink == 0);
  OK(skerry_close(b, nullptr));
}

TEST_CASE("directories: listing", "[capi][directories]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mkdir(v, nullptr, "/d", 0755));
  std::vector<skerry_write_request> writes(1500);
  std::vector<std::string> paths(writes.size());
  for (size_t i = 0; i < writes.size(); i++) {
    paths[i] = "/d/f" + std::to_string(10000 + i);
    writes[i] = {paths[i].c_str(), "xy", 2, 0644, -1};
  }
  CHECK(skerry_write_batch(v, nullptr, writes.data(), writes.size()) == 1500);
  CHECK(v.list("/d").size() == 1500);
  CHECK(v.list("/").size() == 1);
  // With attributes, from the middle, while names around the position come and go.
  skerry_dir* dir = nullptr;
  OK(skerry_opendir(v, nullptr, "/d", 1, "f10999", &dir));
  std::vector<skerry_dirent> entries(100);
  std::vector<std::string> seen;
  for (int count = 1; count > 0;) {
    count = skerry_readdir(dir, nullptr, entries.data(), 100);
    OK(count);
    for (int i = 0; i < count; i++) {
      CHECK(entries[i].stat.size == 2);
      CHECK(entries[i].type == S_IFREG);
      CHECK(entries[i].stat.ino == entries[i].ino);
      seen.emplace_back(entries[i].name);
    }
    if (count > 0) {
      OK(skerry_unlink(v, nullptr, ("/d/" + seen.back()).c_str()));
      v.write("/d/a-new" + std::to_string(seen.size()), "");
    }
  }
  CHECK(seen.size() == 500);
  CHECK(seen.front() == "f11000");
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  skerry_closedir(dir);
  FAILS(skerry_opendir(v, nullptr, "/d/f10000", 0, nullptr, &dir), ENOTDIR);
  FAILS(skerry_opendir(v, nullptr, "/none", 0, nullptr, &dir), ENOENT);
  OK(skerry_chmod(v, nullptr, "/d", 0711));
  skerry_context user = context_of(1000, 1000);
  FAILS(skerry_opendir(v, &user, "/d", 0, nullptr, &dir), EACCES);
  skerry_file* file = v.open("/d", O_RDONLY);
  OK(skerry_fdopendir(file, nullptr, 0, nullptr, &dir));
  OK(skerry_close(file, nullptr));
  CHECK(skerry_readdir(dir, nullptr, entries.data(), 1) == 1);
  skerry_closedir(dir);
}
