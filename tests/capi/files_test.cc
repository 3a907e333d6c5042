// Open files.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "support.h"

TEST_CASE("open: flags and their errors", "[capi][open]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  OK(skerry_mkdir(v, nullptr, "/d", 0755));
  OK(skerry_symlink(v, nullptr, "f", "/l"));
  OK(skerry_symlink(v, nullptr, "made", "/to-be-made"));
  skerry_file* file = nullptr;
  auto open = [&](const char* path, int flags, const skerry_context* context = nullptr) {
    return skerry_open(v, context, path, flags, 0644, &file);
  };
  FAILS(open("/none", O_RDONLY), ENOENT);
  FAILS(open("/d", O_RDWR), EISDIR);
  FAILS(open("/d", O_RDONLY | O_CREAT), EISDIR);
  FAILS(open("/f", O_RDONLY | O_DIRECTORY), ENOTDIR);
  FAILS(open("/l", O_RDONLY | O_NOFOLLOW), ELOOP);
  FAILS(open("/f", O_RDWR | O_CREAT | O_EXCL), EEXIST);
  FAILS(open("/l", O_RDWR | O_CREAT | O_EXCL), EEXIST);
  FAILS(open("/to-be-made", O_RDWR | O_CREAT | O_EXCL), EEXIST);
  FAILS(open("/new/", O_RDWR | O_CREAT), EISDIR);
  FAILS(open("/f", O_ACCMODE), EINVAL);
  FAILS(open("/new", O_RDWR | O_CREAT | O_DIRECTORY), EINVAL);
  FAILS(open("/d", O_TMPFILE | O_RDONLY), EINVAL);
  FAILS(open("/f", O_TMPFILE | O_RDWR), ENOTDIR);
  CHECK(file == nullptr);
  OK(open("/to-be-made", O_RDWR | O_CREAT));
  OK(skerry_close(file, nullptr));
  CHECK(v.stat("/made").size == 0);
  OK(open("/f", O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOATIME | O_LARGEFILE | O_DIRECT));
  OK(skerry_close(file, nullptr));

  skerry_context user = context_of(1000, 1000);
  OK(skerry_chmod(v, nullptr, "/f", 0644));
  FAILS(open("/f", O_WRONLY, &user), EACCES);
  FAILS(open("/f", O_RDONLY | O_TRUNC, &user), EACCES);
  FAILS(open("/new", O_WRONLY | O_CREAT, &user), EACCES);
  OK(open("/f", O_RDONLY | O_CREAT, &user));
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/f") == "data");
}

TEST_CASE("open: rights are those of the moment of opening", "[capi][open]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_chmod(v, nullptr, "/", 0777));
  skerry_context user = context_of(1000, 1000);
  skerry_file* file = nullptr;
  OK(skerry_open(v, &user, "/f", O_RDWR | O_CREAT | O_EXCL, 0000, &file));
  OK(skerry_pwrite(file, &user, "mine", 4, 0));
  OK(skerry_chown(v, nullptr, "/f", 0, 0));
  char buffer[4];
  CHECK(skerry_pread(file, &user, buffer, 4, 0) == 4);
  OK(skerry_close(file, &user));
  FAILS(skerry_open(v, &user, "/f", O_RDONLY, 0, &file), EACCES);
}

TEST_CASE("open: the access mode holds", "[capi][open]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  char buffer[8];
  skerry_file* file = v.open("/f", O_RDONLY);
  FAILS(skerry_pwrite(file, nullptr, "x", 1, 0), EBADF);
  FAILS(skerry_ftruncate(file, nullptr, 0), EINVAL);
  OK(skerry_close(file, nullptr));
  file = v.open("/f", O_WRONLY);
  FAILS(skerry_pread(file, nullptr, buffer, 1, 0), EBADF);
  OK(skerry_close(file, nullptr));
  file = v.open("/f", O_PATH);
  FAILS(skerry_pread(file, nullptr, buffer, 1, 0), EBADF);
  FAILS(skerry_pwrite(file, nullptr, "x", 1, 0), EBADF);
  FAILS(skerry_fsync(file, nullptr), EBADF);
  CHECK_THAT(skerry_last_error(), Catch::StartsWith("skerry_fsync \"/"));
  FAILS(skerry_fchmod(file, nullptr, 0600), EBADF);
  struct skerry_stat st {};
  OK(skerry_fstat(file, nullptr, &st));
  CHECK(st.size == 4);
  OK(skerry_close(file, nullptr));
  file = v.open("/", O_RDONLY);
  FAILS(skerry_pread(file, nullptr, buffer, 1, 0), EISDIR);
  OK(skerry_fsync(file, nullptr));
  OK(skerry_close(file, nullptr));
}

TEST_CASE("file: written bytes are read back, at every size", "[capi][files]") {
  TestVolume test({}, {"block_size=64K"});
  Client& v = test.client;
  for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{4097}, size_t{65536},
                      size_t{65537}, size_t{1'000'003}}) {
    INFO(size);
    const std::string bytes = pattern(size, static_cast<unsigned>(size));
    const std::string path = "/f" + std::to_string(size);
    skerry_file* file = v.open(path, O_RDWR | O_CREAT);
    for (size_t at = 0; at < size; at += 7000) {
      size_t n = std::min<size_t>(7000, size - at);
      CHECK(skerry_pwrite(file, nullptr, bytes.data() + at, n, at) == static_cast<int64_t>(n));
    }
    CHECK(v.stat(path).size == size);  // before it is flushed
    CHECK(read_all(file) == bytes);
    OK(skerry_close(file, nullptr));
    CHECK(v.read(path) == bytes);
    char past[4];
    file = v.open(path, O_RDONLY);
    CHECK(skerry_pread(file, nullptr, past, 4, size) == 0);
    CHECK(skerry_pread(file, nullptr, past, 4, size + 1'000'000'000) == 0);
    FAILS(skerry_pread(file, nullptr, past, 4, UINT64_MAX), EINVAL);
    OK(skerry_close(file, nullptr));
  }
}

TEST_CASE("file: holes, truncation, appending", "[capi][files]") {
  TestVolume test;
  Client& v = test.client;
  skerry_file* file = v.open("/f", O_RDWR | O_CREAT);
  OK(skerry_pwrite(file, nullptr, "end", 3, 100'000'000));
  std::string bytes(10, 'x');
  CHECK(skerry_pread(file, nullptr, bytes.data(), 10, 50'000'000) == 10);
  CHECK(bytes == std::string(10, '\0'));
  OK(skerry_ftruncate(file, nullptr, 5));
  OK(skerry_ftruncate(file, nullptr, 8));
  CHECK(read_all(file) == std::string(8, '\0'));
  FAILS(skerry_ftruncate(file, nullptr, UINT64_MAX), EINVAL);
  FAILS(skerry_ftruncate(file, nullptr, uint64_t{1} << 60), EFBIG);
  FAILS(skerry_pwrite(file, nullptr, "x", 1, uint64_t{1} << 57), EFBIG);
  OK(skerry_close(file, nullptr));
  OK(skerry_truncate(v, nullptr, "/f", 0));
  FAILS(skerry_truncate(v, nullptr, "/", 0), EISDIR);
  FAILS(skerry_truncate(v, nullptr, "/none", 0), ENOENT);
  file = v.open("/f", O_RDWR | O_APPEND);
  OK(skerry_pwrite(file, nullptr, "one ", 4, 999));
  OK(skerry_pwrite(file, nullptr, "two", 3, 0));
  CHECK(read_all(file) == "one two");
  OK(skerry_close(file, nullptr));
  file = v.open("/f", O_WRONLY | O_TRUNC);
  CHECK(v.stat("/f").size == 0);
  OK(skerry_close(file, nullptr));
}

TEST_CASE("file: vectors", "[capi][files]") {
  TestVolume test;
  Client& v = test.client;
  skerry_file* file = v.open("/f", O_RDWR | O_CREAT);
  char a[] = "first ", b[] = "second", c[1] = {'!'};
  skerry_iovec out[] = {{a, 6}, {nullptr, 0}, {b, 6}, {c, 1}};
  CHECK(skerry_pwritev(file, nullptr, out, 4, 2) == 13);
  char x[5], y[20];
  skerry_iovec in[] = {{x, 5}, {y, 20}};
  CHECK(skerry_preadv(file, nullptr, in, 2, 0) == 15);
  CHECK(std::string(x, 5) == std::string("\0\0fir", 5));
  CHECK(std::string(y, 10) == "st second!");
  FAILS(skerry_preadv(file, nullptr, nullptr, 2, 0), EINVAL);
  FAILS(skerry_preadv(file, nullptr, in, 5000, 0), EINVAL);
  skerry_iovec bad[] = {{nullptr, 5}};
  FAILS(skerry_pwritev(file, nullptr, bad, 1, 0), EINVAL);
  CHECK(skerry_pwritev(file, nullptr, nullptr, 0, 0) == 0);
  OK(skerry_close(file, nullptr));
}

TEST_CASE("file: views", "[capi][files]") {
  TestVolume test;
  Client& v = test.client;
  for (size_t size : {size_t{100}, size_t{300'000}}) {
    const std::string bytes = pattern(size);
    v.write("/f", bytes);
    skerry_file* file = v.open("/f", O_RDONLY);
    std::string seen;
    skerry_view view{};
    for (;;) {
      int64_t got = skerry_read_view(file, nullptr, seen.size(), 1 << 20, &view);
      OK(got);
      if (got == 0) break;
      seen.append(static_cast<const char*>(view.data), view.length);
      skerry_view_release(&view);
      CHECK(view.owner == nullptr);
    }
    CHECK(seen == bytes);
    OK(skerry_close(file, nullptr));
  }
}

TEST_CASE("file: allocate, punch, zero, seek", "[capi][files]") {
  TestVolume test;
  Client& v = test.client;
  const std::string bytes = pattern(300'000);
  v.write("/f", bytes);
  skerry_file* file = v.open("/f", O_RDWR);
  OK(skerry_fallocate(file, nullptr, 0, 0, 400'000));
  CHECK(v.stat("/f").size == 400'000);
  OK(skerry_fallocate(file, nullptr, SKERRY_FALLOC_KEEP_SIZE, 0, 900'000));
  CHECK(v.stat("/f").size == 400'000);
  FAILS(skerry_fallocate(file, nullptr, SKERRY_FALLOC_PUNCH_HOLE, 0, 10), ENOTSUP);
  FAILS(skerry_fallocate(file, nullptr, 8, 0, 10), ENOTSUP);
  FAILS(skerry_fallocate(file, nullptr, 0, 0, 0), EINVAL);
  OK(skerry_fallocate(file, nullptr, SKERRY_FALLOC_PUNCH_HOLE | SKERRY_FALLOC_KEEP_SIZE, 1000,
                      65536));
  OK(skerry_fallocate(file, nullptr, SKERRY_FALLOC_ZERO_RANGE, 399'990, 20));
  std::string want = bytes;
  want.replace(1000, 65536, 65536, '\0');
  want.resize(400'010, '\0');
  CHECK(read_all(file) == want);
  CHECK(skerry_seek_data(file, nullptr, 0, SEEK_DATA) == 0);
  CHECK(skerry_seek_data(file, nullptr, 0, SEEK_HOLE) <= 400'010);
  FAILS(skerry_seek_data(file, nullptr, 400'010, SEEK_HOLE), ENXIO);
  FAILS(skerry_seek_data(file, nullptr, 0, SEEK_SET), EINVAL);
  OK(skerry_close(file, nullptr));
}

TEST_CASE("file: copy_file_range sees unflushed bytes", "[capi][files][scenarios]") {
  TestVolume test;
  Client& v = test.client;
  const std::string bytes = pattern(200'000);
  skerry_file* from = v.open("/from", O_RDWR | O_CREAT);
  skerry_file* to = v.open("/to", O_RDWR | O_CREAT);
  OK(skerry_pwrite(from, nullptr, bytes.data(), bytes.size(), 0));
  CHECK(skerry_copy_file_range(from, 1000, to, 5000, 1'000'000, nullptr) == 199'000);
  std::string want(204'000, '\0');
  want.replace(5000, 199'000, bytes, 1000, std::string::npos);
  CHECK(read_all(to) == want);
  CHECK(skerry_copy_file_range(from, 200'000, to, 0, 10, nullptr) == 0);
  FAILS(skerry_copy_file_range(from, 0, from, 100, 1000, nullptr), EINVAL);
  CHECK(skerry_copy_file_range(from, 0, from, 200'000, 1000, nullptr) == 1000);
  skerry_file* reader = v.open("/to", O_RDONLY);
  FAILS(skerry_copy_file_range(from, 0, reader, 0, 10, nullptr), EBADF);
  for (skerry_file* file : {from, to, reader}) OK(skerry_close(file, nullptr));
}

TEST_CASE("file: works without a name until it is closed", "[capi][files][scenarios]") {
  TestVolume test;
  Client& v = test.client;
  skerry_file* file = v.open("/f", O_RDWR | O_CREAT);
  OK(skerry_pwrite(file, nullptr, "before", 6, 0));
  OK(skerry_unlink(v, nullptr, "/f"));
  OK(skerry_pwrite(file, nullptr, " after", 6, 6));
  OK(skerry_fsync(file, nullptr));
  OK(skerry_gc(v, nullptr, nullptr, nullptr, nullptr, nullptr));
  CHECK(read_all(file) == "before after");
  struct skerry_stat st {};
  OK(skerry_fstat(file, nullptr, &st));
  CHECK(st.nlink == 0);
  OK(skerry_close(file, nullptr));
}

TEST_CASE("file: O_TMPFILE gets a name by linkat", "[capi][files]") {
  TestVolume test;
  Client& v = test.client;
  skerry_file* file = v.open("/", O_TMPFILE | O_RDWR, 0600);
  OK(skerry_pwrite(file, nullptr, "now", 3, 0));
  CHECK(v.list("/").empty());
  OK(skerry_linkat(v, nullptr, file, "", nullptr, "/named", SKERRY_AT_EMPTY_PATH));
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/named") == "now");
  CHECK(v.stat("/named").nlink == 1);
  file = v.open("/", O_TMPFILE | O_RDWR | O_EXCL, 0600);
  FAILS(skerry_linkat(v, nullptr, file, "", nullptr, "/never", SKERRY_AT_EMPTY_PATH), ENOENT);
  OK(skerry_close(file, nullptr));
}
