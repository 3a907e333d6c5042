// Garbage collection of a volume that cannot be read whole.

#include <skerry/skerry.h>
#include <sqlite3.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "conformance/store_fixture.h"
#include "fault/workload.h"

namespace fs = std::filesystem;

namespace skerry {
namespace {

void change(const std::string& database, const char* sql) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(database.c_str(), &db) == SQLITE_OK);
  CHECK(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
}

size_t count_files(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    count += entry.is_regular_file();
  return count;
}

skerry_volume* open(const std::string& url) {
  const char* const options[] = {"background=0", nullptr};
  skerry_volume* volume = nullptr;
  REQUIRE(skerry_volume_open(url.c_str(), options, &volume) == 0);
  return volume;
}

}  // namespace

TEST_CASE("lesson 1: gc that cannot read all metadata deletes nothing", "[fault][gc][lessons]") {
  meta::TestDirectory folder;
  const std::string database = folder.file("v.db");
  const std::string url = "sqlite://" + database;
  const std::string objects = folder.file("v.db.data/chunks");
  REQUIRE(skerry_format(url.c_str(), nullptr) == 0);
  const std::string bytes = pattern_bytes(50'000, 1);
  skerry_volume* volume = open(url);
  for (const char* path : {"/a", "/b", "/c"}) {
    REQUIRE(skerry_write_file(volume, nullptr, path, bytes.data(), bytes.size(), 0644) == 0);
  }
  REQUIRE(skerry_volume_close(volume) == 0);
  fs::copy_file(objects + "/000/000/1", objects + "/000/000/900");  // a leak, of an id of the past
  const size_t before = count_files(objects);

  change(database, "CREATE TABLE kept AS SELECT * FROM extent; UPDATE extent SET extents=x'ff'");
  volume = open(url);
  skerry_gc_result result{};
  CHECK(skerry_gc(volume, nullptr, nullptr, &result, nullptr, nullptr) == -EIO);
  CHECK(std::string(skerry_last_error()).find("nothing was deleted") != std::string::npos);
  CHECK(result.deleted_objects == 0);
  CHECK(count_files(objects) == before);
  REQUIRE(skerry_volume_close(volume) == 0);

  change(database, "DELETE FROM extent; INSERT INTO extent SELECT * FROM kept; DROP TABLE kept");
  volume = open(url);
  REQUIRE(skerry_gc(volume, nullptr, nullptr, &result, nullptr, nullptr) == 0);
  CHECK(result.deleted_objects == 1);
  for (const char* path : {"/a", "/b", "/c"}) {
    std::string back(bytes.size(), '\0');
    CHECK(skerry_read_file(volume, nullptr, path, back.data(), back.size()) == 50'000);
    const bool same = back == bytes;
    CHECK(same);
  }
  REQUIRE(skerry_volume_close(volume) == 0);
}

}  // namespace skerry
