// How often a call waits for the database: what its connections carry is counted, not what the
// library says of itself. README has the same table.
#include <fcntl.h>
#include <skerry/skerry.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/postgres_server.h"

using namespace skerry;

namespace {

constexpr int kFiles = 9;

void ok(int64_t result) {
  INFO(skerry_last_error());
  REQUIRE(result >= 0);
}

class Client {
 public:
  Client(const std::string& url, const std::string& consistency) {
    const std::string mode = "consistency=" + consistency;
    // Nothing but the calls: no heartbeat, no notification. The lease outlives the test.
    const char* options[] = {mode.c_str(), "lease=60m", "notify=0", "background=0", nullptr};
    ok(skerry_volume_open(url.c_str(), options, &volume_));
  }
  ~Client() { skerry_volume_close(volume_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  operator skerry_volume*() const { return volume_; }  // NOLINT: stands for it in every call

  skerry_file* open(const std::string& path, int flags) const {
    skerry_file* file = nullptr;
    ok(skerry_open(volume_, nullptr, path.c_str(), flags, 0644, &file));
    return file;
  }
  void write(const std::string& path) const {
    skerry_file* file = open(path, O_WRONLY | O_CREAT);
    ok(skerry_pwrite(file, nullptr, "small", 5, 0));
    ok(skerry_close(file, nullptr));
  }

 private:
  skerry_volume* volume_ = nullptr;
};

/// A volume with the directory /d, which the measured client knows, and files in it which it does
/// not know.
class World {
 public:
  explicit World(const std::string& consistency) {
    char folder[] = "/tmp/skerry-trips-XXXXXX";
    REQUIRE(mkdtemp(folder) != nullptr);
    folder_ = folder;
    const std::string storage = "storage=file://" + folder_;
    const char* options[] = {storage.c_str(), nullptr};
    ok(skerry_format(postgres_url(schema_).c_str(), options));
    {
      const Client other(postgres_url(schema_), "strict");
      ok(skerry_mkdir(other, nullptr, "/d", 0755));
      for (int i = 0; i < kFiles; ++i) other.write(path("f", i));
    }
    client = std::make_unique<Client>(proxy_.url(schema_), consistency);
    // Takes a batch of numbers for inodes and opens the connection.
    ok(skerry_mkdir(*client, nullptr, "/mine", 0755));
    struct skerry_stat st {};
    ok(skerry_stat(*client, nullptr, "/d", &st));
  }
  ~World() {
    client.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string url() const { return postgres_url(schema_); }
  static std::string path(const char* prefix, int i) {
    return std::string("/d/") + prefix + std::to_string(i);
  }

  /// For each of the files.
  void check(const char* what, int expected, const std::function<void(int)>& call) const {
    for (int i = 0; i < kFiles; ++i) {
      INFO(what << ", file " << i);
      const uint64_t before = proxy_.round_trips();
      call(i);
      CHECK(proxy_.round_trips() - before == static_cast<uint64_t>(expected));
    }
  }

 private:
  const std::string schema_ = fresh_schema();
  std::string folder_;
  PostgresProxy proxy_;

 public:
  std::unique_ptr<Client> client;
};

struct Expected {
  const char* consistency;
  int stat, stat_known, open_read_close, create, write_close, list, rename, rename_known,
      rename_over, unlink, unlink_known, mkdir, rmdir;
};

}  // namespace

TEST_CASE("postgres: round trips of each operation, parents known", "[meta][postgres]") {
  const auto expected = GENERATE(Expected{"strict", 1, 1, 2, 2, 2, 2, 2, 2, 3, 2, 2, 2, 2},
                                 Expected{"close-to-open", 1, 0, 2, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1},
                                 Expected{"leased", 1, 0, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1});
  CAPTURE(expected.consistency);
  const World world(expected.consistency);
  const Client& client = *world.client;
  const auto path = [](const char* prefix, int i) { return World::path(prefix, i); };
  struct skerry_stat st {};
  const auto stat = [&](int i) { ok(skerry_stat(client, nullptr, path("f", i).c_str(), &st)); };
  world.check("stat", expected.stat, stat);
  world.check("stat, known", expected.stat_known, stat);
  world.check("list", expected.list, [&](int) {
    skerry_dir* dir = nullptr;
    ok(skerry_opendir(client, nullptr, "/d", 0, nullptr, &dir));
    std::vector<skerry_dirent> entries(64);
    CHECK(skerry_readdir(dir, nullptr, entries.data(), 64) >= kFiles);
    skerry_closedir(dir);
  });
  world.check("open, read, close", expected.open_read_close, [&](int i) {
    char bytes[16];
    skerry_file* file = client.open(path("f", i), O_RDONLY);
    ok(skerry_pread(file, nullptr, bytes, sizeof bytes, 0));
    ok(skerry_close(file, nullptr));
  });
  std::vector<skerry_file*> files;
  world.check("create", expected.create, [&](int i) {
    files.push_back(client.open(path("n", i), O_WRONLY | O_CREAT | O_EXCL));
  });
  world.check("write, close", expected.write_close, [&](int i) {
    skerry_file* file = files[static_cast<size_t>(i)];
    ok(skerry_pwrite(file, nullptr, "small", 5, 0));
    ok(skerry_close(file, nullptr));
  });
  // That the new name is free is known as well.
  for (int i = 0; i < kFiles; ++i) skerry_stat(client, nullptr, path("r", i).c_str(), &st);
  world.check("rename, known", expected.rename_known, [&](int i) {
    ok(skerry_rename(client, nullptr, path("n", i).c_str(), path("r", i).c_str()));
  });
  world.check("unlink, known", expected.unlink_known,
              [&](int i) { ok(skerry_unlink(client, nullptr, path("f", i).c_str())); });
  world.check("mkdir", expected.mkdir,
              [&](int i) { ok(skerry_mkdir(client, nullptr, path("d", i).c_str(), 0755)); });
  world.check("rmdir", expected.rmdir,
              [&](int i) { ok(skerry_rmdir(client, nullptr, path("d", i).c_str())); });

  const World unknown(expected.consistency);
  unknown.check("rename", expected.rename, [&](int i) {
    ok(skerry_rename(*unknown.client, nullptr, path("f", i).c_str(), path("r", i).c_str()));
  });
  const World over(expected.consistency);
  {
    const Client other(over.url(), "strict");
    for (int i = 0; i < kFiles; ++i) other.write(path("r", i));
  }
  over.check("rename over a file", expected.rename_over, [&](int i) {
    ok(skerry_rename(*over.client, nullptr, path("f", i).c_str(), path("r", i).c_str()));
  });
  const World unknown_too(expected.consistency);
  unknown_too.check("unlink", expected.unlink, [&](int i) {
    ok(skerry_unlink(*unknown_too.client, nullptr, path("f", i).c_str()));
  });
}
