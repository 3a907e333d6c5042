// Encryption and compression of a volume, as users see them.
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>

#include "support.h"

namespace fs = std::filesystem;

namespace {

constexpr char kKey[] = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
constexpr char kOther[] = "00112233445566778899aabbccddeeff102132435465768798a9babbdcedfe0f";
constexpr char kMarker[] = "the quick brown fox jumps over the lazy dog; ";

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void store(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

bool says(const std::string& word) {
  return std::string(skerry_last_error()).find(word) != std::string::npos;
}

std::string text_of(size_t size) {
  std::string text;
  while (text.size() < size) text += kMarker;
  text.resize(size);
  return text;
}

std::string info(skerry_volume* volume) {
  std::string text(1 << 16, '\0');
  const int64_t length = skerry_volume_info(volume, nullptr, text.data(), text.size());
  OK(length);
  text.resize(static_cast<size_t>(length));
  return text;
}

int configure(const std::string& url, std::vector<const char*> options) {
  options.push_back(nullptr);
  return skerry_configure(url.c_str(), options.data());
}

int rotate(const std::string& url, std::vector<const char*> options) {
  options.push_back(nullptr);
  return skerry_rotate_key(url.c_str(), options.data());
}

/// Keys in all the places that they may come from, and all that is logged.
struct Keys {
  TempFolder folder;
  std::string file = "encryption_key=file:" + folder.path() + "/key";
  std::string raw = "encryption_key=file:" + folder.path() + "/raw";
  std::string command = "encryption_key=command:cat " + folder.path() + "/key";
  std::string environment = "encryption_key=env:SKERRY_TEST_KEY";
  std::string other = "encryption_key=file:" + folder.path() + "/other";
  std::string new_other = "new_" + other;
  std::string log;
  std::mutex mutex;

  Keys() {
    store(folder.path() + "/key", std::string(kKey) + "\n");
    store(folder.path() + "/other", kOther);
    std::string bytes;
    for (size_t i = 0; i < 64; i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(std::string(kKey).substr(i, 2), nullptr, 16)));
    }
    store(folder.path() + "/raw", bytes);
    setenv("SKERRY_TEST_KEY", kKey, 1);
    OK(skerry_set_log(
        [](void* self, int, const char* message) {
          auto* keys = static_cast<Keys*>(self);
          std::lock_guard lock(keys->mutex);
          keys->log += message;
        },
        this, 3));
  }
  ~Keys() {
    skerry_set_log(nullptr, nullptr, 0);
    unsetenv("SKERRY_TEST_KEY");
  }
};

/// Neither key, in hexadecimal or raw.
bool shows_a_key(const std::string& text, const Keys& keys) {
  return text.find(kKey) != std::string::npos || text.find(kOther) != std::string::npos ||
         text.find(slurp(keys.folder.path() + "/raw")) != std::string::npos;
}

bool on_s3() { return std::getenv("SKERRY_TEST_S3") != nullptr; }

}  // namespace

TEST_CASE("encryption: data and keys are nowhere in the clear", "[capi][encryption]") {
  Keys keys;
  TestVolume test({keys.file}, {keys.file, "inline=0"});
  const std::string data = text_of(700'000);
  test.client.write("/f", data);
  for (const std::string& source : {keys.file, keys.raw, keys.command, keys.environment}) {
    INFO(source);
    Client client(test.url, {source});
    CHECK((client.read("/f") == data));
    client.write("/g", data);
    const std::string text = info(client);
    CHECK(text.find("AES-256-GCM") != std::string::npos);
    CHECK_FALSE(shows_a_key(text, keys));
  }
  OK(test.client.close());
  for (const auto& entry : fs::recursive_directory_iterator(test.folder.path())) {
    if (!entry.is_regular_file()) continue;
    const std::string content = slurp(entry.path());
    INFO(entry.path());
    CHECK_FALSE(shows_a_key(content, keys));
    CHECK(content.find(std::string(kMarker)) == std::string::npos);
  }
  CHECK_FALSE(shows_a_key(keys.log, keys));
}

TEST_CASE("encryption: without the key nothing opens, and the sentence says what is wanted",
          "[capi][encryption]") {
  Keys keys;
  TestVolume test({keys.file}, {keys.file});
  skerry_volume* volume = nullptr;
  const std::string key_id = [&] {
    const std::string text = info(test.client);
    return text.substr(text.find("\"key_id\": \"") + 11, 16);
  }();
  FAILS(open_volume(test.url, {}, &volume), ENOKEY);
  CHECK(says(key_id));
  CHECK(says("encryption_key=file:/path"));
  FAILS(open_volume(test.url, {keys.other}, &volume), EKEYREJECTED);
  CHECK(says(key_id));
  CHECK(says(keys.folder.path() + "/other"));
  FAILS(open_volume(test.url, {"encryption_key=file:/nonexistent/key"}, &volume), ENOENT);
  CHECK(says("/nonexistent/key"));
  FAILS(open_volume(test.url, {"encryption_key=env:SKERRY_UNSET"}, &volume), ENOENT);
  CHECK(says("SKERRY_UNSET"));
  FAILS(open_volume(test.url, {"encryption_key=command:exit 3"}, &volume), EACCES);
  FAILS(open_volume(test.url, {std::string("encryption_key=") + kKey}, &volume), EINVAL);
  CHECK_FALSE(says(kKey));
  store(keys.folder.path() + "/passphrase", "correct horse battery staple");
  FAILS(
      open_volume(test.url, {"encryption_key=file:" + keys.folder.path() + "/passphrase"}, &volume),
      EINVAL);
  CHECK(says("passphrase"));
  CHECK_FALSE(says("horse"));
  TestVolume plain;
  FAILS(open_volume(plain.url, {keys.file}, &volume), EINVAL);
  CHECK(says("not encrypted"));
}

TEST_CASE("encryption: what an object store's owner changes is an error, never data",
          "[capi][encryption]") {
  if (on_s3()) return;
  Keys keys;
  const bool compressed = GENERATE(false, true);
  Options format = {keys.file, "inline=0"};
  if (compressed) format.push_back("compression=zstd");
  TestVolume test({keys.file}, format);
  const std::string data = pattern(100'000);
  test.client.write("/f", data);
  auto files = objects(test);
  REQUIRE(files.size() == 1);
  const std::string good = slurp(files[0]);
  auto refuses = [&](const std::string& bad) {
    store(files[0], bad);
    Client client(test.url, {keys.file});
    std::string out(data.size(), '\0');
    const int64_t n = skerry_read_file(client, nullptr, "/f", out.data(), out.size());
    return n == -EIO && says("chunks/");
  };
  for (size_t at : {size_t{0}, size_t{5}, size_t{12}, size_t{40}, size_t{60}, size_t{300},
                    good.size() / 2, good.size() - 1}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    CAPTURE(at);
    CHECK(refuses(bad));
  }
  for (size_t size : {size_t{0}, size_t{100}, size_t{256}, good.size() / 2, good.size() - 1}) {
    CAPTURE(size);
    CHECK(refuses(good.substr(0, size)));
  }
  TestVolume plain({}, {"inline=0"});
  plain.client.write("/f", data);
  CHECK(refuses(slurp(objects(plain)[0])));
  store(files[0], good);
  Client client(test.url, {keys.file});
  CHECK((client.read("/f") == data));
}

TEST_CASE("encryption: a volume that was in plain is encrypted from now on", "[capi][encryption]") {
  Keys keys;
  TestVolume test({}, {"inline=0"});
  const std::string old_data = pattern(300'000, 1), new_data = pattern(300'000, 2);
  test.client.write("/old", old_data);
  FAILS(configure(test.url, {keys.file.c_str()}), EBUSY);
  CHECK(says("open elsewhere"));
  OK(test.client.close());
  OK(configure(test.url, {keys.file.c_str(), "compression=lz4"}));
  FAILS(configure(test.url, {keys.file.c_str()}), EEXIST);
  skerry_volume* volume = nullptr;
  FAILS(open_volume(test.url, {}, &volume), ENOKEY);
  Client client(test.url, {keys.file});
  CHECK((client.read("/old") == old_data));
  client.write("/new", new_data);
  Client second(test.url, {keys.file});
  CHECK((second.read("/new") == new_data));
  CHECK((second.read("/old") == old_data));
  skerry_fsck_options check = {sizeof check, 1};
  skerry_fsck_result found = {};
  OK(skerry_fsck(second, nullptr, &check, &found, nullptr, nullptr, nullptr));
  CHECK(found.problems == 0);
  CHECK(found.checked_bytes == old_data.size() + new_data.size());
  OK(skerry_unlink(client, nullptr, "/new"));
  OK(skerry_unlink(client, nullptr, "/old"));
  OK(second.close());
  skerry_gc_result collected = {};
  OK(skerry_gc(client, nullptr, nullptr, &collected, nullptr, nullptr));
  CHECK(collected.reclaimed_objects == 2);
  CHECK(collected.leaked_objects == 0);
}

TEST_CASE("encryption: the volume's key is rotated under clients that go on",
          "[capi][encryption]") {
  Keys keys;
  TestVolume test({keys.file}, {keys.file, "inline=0"});
  const std::string data = pattern(300'000);
  test.client.write("/before", data);
  OK(rotate(test.url, {keys.file.c_str(), keys.new_other.c_str()}));
  skerry_volume* volume = nullptr;
  FAILS(open_volume(test.url, {keys.file}, &volume), EKEYREJECTED);
  Client with_new(test.url, {keys.other});
  CHECK((with_new.read("/before") == data));
  test.client.write("/after", data);
  CHECK((with_new.read("/after") == data));
  FAILS(rotate(test.url, {keys.file.c_str(), keys.new_other.c_str()}), EKEYREJECTED);
  FAILS(rotate(test.url, {keys.other.c_str()}), EINVAL);
  FAILS(rotate(test.url, {keys.other.c_str(), "new_data_key=1"}), EBUSY);
  OK(test.client.close());
  OK(with_new.close());
  OK(rotate(test.url, {keys.other.c_str(), "new_data_key=1"}));
  Client last(test.url, {keys.other});
  last.write("/last", data);
  CHECK((last.read("/before") == data));
  CHECK(info(last).find("\"data_keys\": 2") != std::string::npos);
  CHECK_FALSE(shows_a_key(keys.log, keys));
}

#if SKERRY_TEST_FORKS_WITH_THREADS
TEST_CASE("encryption: a forked child finds the key again", "[capi][encryption]") {
  Keys keys;
  TestVolume test({keys.file}, {keys.file, "inline=0"});
  const std::string data = pattern(100'000);
  test.client.write("/f", data);
  CHECK(in_child([&] {
          std::string out(data.size(), '\0');
          const int64_t n = skerry_read_file(test.client, nullptr, "/f", out.data(), out.size());
          return n == static_cast<int64_t>(data.size()) && out == data ? 0 : 1;
        }) == 0);
}
#endif

TEST_CASE("compression: it is chosen, changed and ended for new data", "[capi][compression]") {
  TestVolume test({}, {"inline=0", "compression=zstd:3"});
  const std::string data = text_of(5'000'000);
  test.client.write("/zstd", data);
  CHECK(test.client.counter("object_put_bytes") < data.size() / 20);
  CHECK(info(test.client).find("\"compression\": \"zstd:3\"") != std::string::npos);
  OK(configure(test.url, {"compression=lz4"}));
  Client second(test.url);
  second.write("/lz4", data);
  OK(configure(test.url, {"compression=none"}));
  Client third(test.url);
  third.write("/none", data);
  CHECK(third.counter("object_put_bytes") >= data.size());
  for (const char* name : {"/zstd", "/lz4", "/none"}) {
    CHECK((test.client.read(name) == data));
    Client fresh(test.url);
    CHECK((fresh.read(name) == data));
  }
  FAILS(configure(test.url, {"compression=gzip"}), EINVAL);
  FAILS(configure(test.url, {}), EINVAL);
  FAILS(skerry_configure(nullptr, nullptr), EINVAL);
  FAILS(skerry_rotate_key(nullptr, nullptr), EINVAL);
}

TEST_CASE("compression: small files that share objects, ranges and appends",
          "[capi][compression]") {
  Keys keys;
  const bool encrypted = GENERATE(false, true);
  Options open, format = {"inline=0", "compression=zstd"};
  if (encrypted) {
    open.push_back(keys.file);
    format.push_back(keys.file);
  }
  TestVolume test(open, format);
  std::vector<std::string> names, contents;
  for (unsigned i = 0; i < 60; i++) {
    names.push_back("/" + std::to_string(i));
    contents.push_back(i % 2 == 0 ? text_of(1000 + i * 917) : pattern(500 + i * 611, i));
  }
  std::vector<skerry_write_request> writes;
  for (size_t i = 0; i < names.size(); i++) {
    writes.push_back({names[i].c_str(), contents[i].data(), contents[i].size(), 0644, 0});
  }
  OK(skerry_write_batch(test.client, nullptr, writes.data(), writes.size()));
  Client reader(test.url, open);
  std::string part(400, '\0');
  for (size_t i = 0; i < names.size(); i++) {
    skerry_file* file = reader.open(names[i], O_RDONLY);
    const size_t offset = contents[i].size() / 3;
    const int64_t n = skerry_pread(file, nullptr, part.data(), part.size(), offset);
    OK(n);
    CHECK(part.substr(0, static_cast<size_t>(n)) ==
          contents[i].substr(offset, static_cast<size_t>(n)));
    OK(skerry_close(file, nullptr));
  }
  for (size_t i = 0; i < names.size(); i++) CHECK((reader.read(names[i]) == contents[i]));
}
