// What reading does to access times.
#include <cstring>

#include "support.h"

namespace {

constexpr int64_t kSecond = 1'000'000'000;
int64_t atime_of(Client& v, const char* path) {
  const struct skerry_stat stat = v.stat(path);
  return stat.atime.sec * kSecond + stat.atime.nsec;
}

void set_times(Client& v, const char* path, int64_t atime, int64_t mtime) {
  const skerry_timespec times[2] = {{atime, 0, 0}, {mtime, 0, 0}};
  OK(skerry_utimens(v, nullptr, path, times));
}

void read_some(Client& v, const char* path, int flags = O_RDONLY) {
  skerry_file* file = v.open(path, flags);
  char byte;
  CHECK(skerry_pread(file, nullptr, &byte, 1, 0) == 1);
  OK(skerry_close(file, nullptr));
}

}  // namespace

TEST_CASE("access times: by mode", "[capi][atime]") {
  const char* mode = GENERATE("", "noatime", "relatime", "strictatime");
  const std::string option = std::string("atime=") + mode;
  TestVolume test;
  {
    Client& v = test.client;
    v.write("/f", "data");
    OK(skerry_symlink(v, nullptr, "f", "/l"));
    OK(skerry_mkdir(v, nullptr, "/d", 0755));
  }
  Client v(test.url, *mode == 0 ? Options{} : Options{option});
  const bool strict = std::strcmp(mode, "strictatime") == 0;
  const bool relative = std::strcmp(mode, "relatime") == 0;
  CAPTURE(mode);
  set_times(v, "/f", 1'000'000, 2'000'000);
  const uint64_t version = v.stat("/f").version;
  const auto ctime = v.stat("/f").ctime;
  // O_NOATIME leaves none; only the owner and root may ask for it.
  read_some(v, "/f", O_RDONLY | O_NOATIME);
  CHECK(atime_of(v, "/f") == 1'000'000 * kSecond);
  skerry_context user = context_of(1000, 1000);
  skerry_file* file = nullptr;
  FAILS(skerry_open(v, &user, "/f", O_RDONLY | O_NOATIME, 0, &file), EPERM);

  read_some(v, "/f");
  const bool noted = atime_of(v, "/f") != 1'000'000 * kSecond;
  CHECK(noted == (strict || relative));
  // Committed: others see it, and nothing else has changed.
  OK(skerry_sync(v, nullptr));
  CHECK(atime_of(test.client, "/f") == atime_of(v, "/f"));
  CHECK(v.stat("/f").version == version);
  CHECK(test.client.stat("/f").version == version);
  CHECK(v.stat("/f").ctime.sec == ctime.sec);
  CHECK(v.stat("/f").ctime.nsec == ctime.nsec);
  CHECK(v.stat("/f").mtime.sec == 2'000'000);
  // A second read: relatime finds a time that is later than the changes.
  const int64_t first = atime_of(v, "/f");
  read_some(v, "/f");
  CHECK((atime_of(v, "/f") > first) == strict);
  // A time that is set is not overtaken by reads before.
  read_some(v, "/f");
  set_times(v, "/f", 3'000'000, 2'000'000);
  CHECK(atime_of(v, "/f") == 3'000'000 * kSecond);
  OK(skerry_sync(v, nullptr));
  CHECK(atime_of(test.client, "/f") == 3'000'000 * kSecond);
  read_some(v, "/f");
  CHECK((atime_of(v, "/f") != 3'000'000 * kSecond) == (strict || relative));

  // Directories and symbolic links.
  set_times(v, "/d", 1'000'000, 2'000'000);
  skerry_dir* dir = nullptr;
  OK(skerry_opendir(v, nullptr, "/d", 0, nullptr, &dir));
  skerry_closedir(dir);
  CHECK((atime_of(v, "/d") != 1'000'000 * kSecond) == (strict || relative));
  const skerry_timespec times[2] = {{1'000'000, 0, 0}, {1'000'000, 0, 0}};
  OK(skerry_utimensat(v, nullptr, nullptr, "/l", times, SKERRY_AT_SYMLINK_NOFOLLOW));
  char target[8];
  CHECK(skerry_readlink(v, nullptr, "/l", target, sizeof target) == 1);
  struct skerry_stat link;
  OK(skerry_lstat(v, nullptr, "/l", &link));
  CHECK((link.atime.sec != 1'000'000) == (strict || relative));
}

TEST_CASE("access times: they leave the kernel's pages alone", "[capi][atime]") {
  TestVolume test;
  Client& writer = test.client;
  writer.write("/f", "data");
  Client reader(test.url, {"atime=strictatime"});
  skerry_file* file = reader.open("/f", O_RDONLY);
  skerry_file* there = writer.open("/f", O_RDONLY);
  uint64_t before = 0, after = 0, there_before = 0, there_after = 0;
  OK(skerry_data_token(file, nullptr, &before));
  OK(skerry_data_token(there, nullptr, &there_before));
  char byte;
  CHECK(skerry_pread(file, nullptr, &byte, 1, 0) == 1);
  OK(skerry_sync(reader, nullptr));
  CHECK(atime_of(writer, "/f") > 0);
  OK(skerry_data_token(file, nullptr, &after));
  OK(skerry_data_token(there, nullptr, &there_after));
  CHECK(after == before);
  CHECK(there_after == there_before);
  OK(skerry_close(file, nullptr));
  OK(skerry_close(there, nullptr));
}

TEST_CASE("access times: an unknown mode is refused", "[capi][atime]") {
  TestVolume test;
  skerry_volume* volume = nullptr;
  FAILS(open_volume(test.url, {"atime=sometimes"}, &volume), EINVAL);
}
