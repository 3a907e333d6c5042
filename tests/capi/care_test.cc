// Care of a volume: gc, fsck, remove_tree, compact.
#include <filesystem>
#include <fstream>

#include "support.h"

namespace fs = std::filesystem;

namespace {

skerry_fsck_result fsck(skerry_volume* volume, bool data,
                        std::vector<std::string>* kinds = nullptr) {
  skerry_fsck_options options{sizeof options, data ? 1 : 0};
  skerry_fsck_result result{};
  auto problem = [](void* context, const char* kind, const char* detail) {
    UNSCOPED_INFO(kind << ": " << detail);
    if (context != nullptr) static_cast<std::vector<std::string>*>(context)->emplace_back(kind);
  };
  OK(skerry_fsck(volume, nullptr, &options, &result, problem, nullptr, kinds));
  return result;
}

}  // namespace

TEST_CASE("fsck: a healthy volume", "[capi][care]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mkdirs(v, nullptr, "/a/b", 0755));
  v.write("/a/big", pattern(6 << 20));
  v.write("/a/small", "small");
  OK(skerry_symlink(v, nullptr, "small", "/a/link"));
  OK(skerry_link(v, nullptr, "/a/big", "/a/b/hard"));
  OK(skerry_mknod(v, nullptr, "/a/fifo", S_IFIFO | 0600, 0));
  skerry_fsck_result result = fsck(v, true);
  CHECK(result.problems == 0);
  CHECK(result.directories == 3);
  CHECK(result.symlinks == 1);
  CHECK(result.others == 1);
  CHECK(result.checked_bytes == 6 << 20);
}

TEST_CASE("fsck: tells flipped bits and missing objects, and reading them is EIO", "[capi][care]") {
  TestVolume test({"cache_size=0", "readahead=0"}, {"inline=0"});
  test.client.write("/f", pattern(100'000));
  OK(test.client.close());
  REQUIRE(objects(test).size() == 1);
  const fs::path object = objects(test)[0];
  {
    std::fstream file(object, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(50'000);
    char c = static_cast<char>(file.get() ^ 1);
    file.seekp(50'000);
    file.put(c);
  }
  std::vector<std::string> kinds;
  {
    Client reader(test.url);
    CHECK(fsck(reader, false).problems == 0);
    CHECK(fsck(reader, true, &kinds).problems == 1);
    CHECK(kinds == std::vector<std::string>{"bad-data"});
    std::string bytes(100'000, '\0');
    FAILS(skerry_read_file(reader, nullptr, "/f", bytes.data(), bytes.size()), EIO);
    CHECK(reader.counter("checksum_errors") > 0);
  }
  fs::remove(object);
  kinds.clear();
  Client reader(test.url);
  CHECK(fsck(reader, true, &kinds).problems == 1);
  CHECK(fsck(reader, false, &kinds).problems == 1);  // seen without reading any data
  CHECK(kinds == std::vector<std::string>{"missing-object", "missing-object"});
}

TEST_CASE("gc: deletes what nothing refers to and nothing else", "[capi][care][gc]") {
  TestVolume test({"background=0"}, {"inline=0"});
  Client& v = test.client;
  for (int i = 0; i < 20; i++) v.write("/f" + std::to_string(i), pattern(3000 + i));
  const std::string big = pattern(9 << 20);
  v.write("/big", big);
  OK(v.close());
  Client client(test.url, {"background=0"});
  const size_t live = objects(test).size();
  // As a client leaves it that died between the upload and the commit: an id of the past that no
  // record names. Ids begin at 1 and go up; a removed file's object frees one.
  OK(skerry_unlink(client, nullptr, "/big"));
  skerry_gc_result result{};
  OK(skerry_gc(client, nullptr, nullptr, &result, nullptr, nullptr));
  CHECK(result.leaked_objects == 0);
  CHECK(result.reclaimed_objects >= 3);
  CHECK(objects(test).size() < live);
  const fs::path survivor = objects(test)[0];
  std::string name = survivor.filename().string();
  CHECK(fsck(client, true).problems == 0);
  for (int i = 0; i < 20; i++) {
    CHECK(client.read("/f" + std::to_string(i)) == pattern(3000 + i));
  }
}

TEST_CASE("gc: leaked objects are counted, then deleted", "[capi][care][gc]") {
  TestVolume test({"background=0"}, {"inline=0"});
  Client& v = test.client;
  v.write("/f", pattern(100'000));
  v.write("/keep", pattern(100'000, 2));
  REQUIRE(objects(test).size() == 2);
  // Put back what a removal deleted: exactly what an interrupted delete or commit leaves.
  const auto before = objects(test);
  const std::string aside = test.folder.path() + "/aside";
  fs::create_directory(aside);
  for (const auto& object : before) fs::copy(object, aside + "/" + object.filename().string());
  OK(skerry_unlink(v, nullptr, "/f"));
  OK(v.close());
  Client client(test.url, {"background=0"});
  skerry_gc_result result{};
  OK(skerry_gc(client, nullptr, nullptr, &result, nullptr, nullptr));
  CHECK(result.reclaimed_objects == 1);
  REQUIRE(objects(test).size() == 1);
  for (const auto& object : before) {
    if (!fs::exists(object)) fs::copy(aside + "/" + object.filename().string(), object);
  }
  skerry_gc_options dry{sizeof dry, 1};
  OK(skerry_gc(client, nullptr, &dry, &result, nullptr, nullptr));
  CHECK(result.scanned_objects == 2);
  CHECK(result.leaked_objects == 1);
  CHECK(result.leaked_bytes > 100'000);
  CHECK(result.deleted_objects == 0);
  CHECK(objects(test).size() == 2);
  OK(skerry_gc(client, nullptr, nullptr, &result, nullptr, nullptr));
  CHECK(result.deleted_objects == 1);
  CHECK(objects(test).size() == 1);
  CHECK(client.read("/keep") == pattern(100'000, 2));
  // Stopped by the caller: nothing happens.
  auto stop = [](void*, const char*, uint64_t, uint64_t) { return 1; };
  FAILS(skerry_gc(client, nullptr, nullptr, &result, stop, nullptr), ECANCELED);
}

TEST_CASE("remove_tree: all of it, with progress", "[capi][care]") {
  TestVolume test;
  Client& v = test.client;
  for (int i = 0; i < 5; i++) {
    OK(skerry_mkdirs(v, nullptr, ("/t/d" + std::to_string(i) + "/deep").c_str(), 0755));
    for (int j = 0; j < 20; j++) {
      v.write("/t/d" + std::to_string(i) + "/f" + std::to_string(j), "x");
    }
  }
  v.write("/outside", "stays");
  OK(skerry_symlink(v, nullptr, "/outside", "/t/link"));
  uint64_t removed = 0;
  OK(skerry_remove_tree(v, nullptr, "/t", &removed, nullptr, nullptr));
  CHECK(removed == 5 + 5 + 100 + 1 + 1);
  CHECK(v.list("/") == std::vector<std::string>{"outside"});
  FAILS(skerry_remove_tree(v, nullptr, "/t", &removed, nullptr, nullptr), ENOENT);
  FAILS(skerry_remove_tree(v, nullptr, "/", &removed, nullptr, nullptr), EINVAL);
  CHECK(fsck(v, true).problems == 0);
}

TEST_CASE("compact: fewer pieces, the same bytes", "[capi][care]") {
  TestVolume test({}, {"inline=0"});
  Client& v = test.client;
  std::string bytes = pattern(200'000);
  v.write("/f", bytes);
  skerry_file* file = v.open("/f", O_RDWR);
  for (int i = 0; i < 50; i++) {
    const std::string piece = pattern(1000, static_cast<unsigned>(i + 5));
    const size_t at = static_cast<size_t>(i) * 3000;
    bytes.replace(at, piece.size(), piece);
    OK(skerry_pwrite(file, nullptr, piece.data(), piece.size(), at));
    OK(skerry_fsync(file, nullptr));
  }
  const uint64_t before = fsck(v, false).extents;
  CHECK(skerry_compact(v, nullptr, "/f") == 1);
  CHECK(fsck(v, true).problems == 0);
  CHECK(fsck(v, false).extents < before);
  CHECK(read_all(file) == bytes);
  OK(skerry_close(file, nullptr));
  Client other(test.url);
  CHECK(other.read("/f") == bytes);
}
