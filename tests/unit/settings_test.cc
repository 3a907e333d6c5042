// What the format record says of keys and layouts, and changes of it, with a crash at each point.
#include "vfs/settings.h"

#include <cstdlib>

#include "fault/call_faults.h"
#include "support/test_volume.h"

namespace skerry::vfs {
namespace {

constexpr char kOldKey[] = "SKERRY_TEST_OLD_KEY";
constexpr char kNewKey[] = "SKERRY_TEST_NEW_KEY";

KeySource in_environment(const char* name) { return {KeySource::Kind::kEnvironment, name}; }

struct Settings {
  meta::TestVolume volume;
  FakeRandom random{1000};  // not that of a client: request ids come from it

  Settings() {
    for (const char* name : {kOldKey, kNewKey}) {
      setenv(name, to_hex(SecretKey::random()->bytes()).c_str(), 1);
    }
  }
  ~Settings() {
    unsetenv(kOldKey);
    unsetenv(kNewKey);
  }
  meta::VolumeFormat format() {
    auto read = meta::read_format(volume.ctx, volume.admin);
    REQUIRE(read.ok());
    return *read;
  }
  Status change(const SettingsOptions& options) {
    return change_settings(volume.ctx, volume.admin, options, volume.server, random);
  }
  Status encrypt() {
    SettingsOptions options;
    options.encryption_key = in_environment(kOldKey);
    return change(options);
  }
  RotationOptions rotation() {
    RotationOptions options;
    options.encryption_key = in_environment(kOldKey);
    options.new_encryption_key = in_environment(kNewKey);
    return options;
  }
  /// The data keys as the volume's key in `name` gives them; null where it does not.
  std::shared_ptr<const KeyRing> keys(const char* name) {
    auto ring = unlock(volume.ctx, format(), in_environment(name));
    if (!ring.ok()) CHECK(ring.error().code() == EKEYREJECTED);
    return ring.ok() ? *ring : nullptr;
  }
};

}  // namespace

TEST_CASE("settings: encryption begins with the objects to come", "[vfs][settings]") {
  Settings s;
  s.volume.take(meta::kVolumeNextObject);
  s.volume.take(meta::kVolumeNextObject);
  REQUIRE(s.encrypt().ok());
  const meta::VolumeFormat format = s.format();
  CHECK(format.layouts == std::vector<meta::ObjectLayout>{{3, true}});
  CHECK(format.incompatible == std::vector<std::string>{"framed-objects", "encryption"});
  CHECK(format.encryption->key_source == "env");
  REQUIRE(s.keys(kOldKey) != nullptr);
  CHECK(s.keys(kOldKey)->current == 1);
  CHECK(s.keys(kNewKey) == nullptr);
  Status again = s.encrypt();
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code() == EEXIST);
}

TEST_CASE("settings: compression first, then encryption", "[vfs][settings]") {
  Settings s;
  SettingsOptions options;
  options.compression = Compression::parse("lz4").value();
  s.volume.take(meta::kVolumeNextObject);
  REQUIRE(s.change(options).ok());
  CHECK(s.format().layouts == std::vector<meta::ObjectLayout>{{2, false}});
  s.volume.take(meta::kVolumeNextObject);
  REQUIRE(s.encrypt().ok());
  CHECK(s.format().layouts == std::vector<meta::ObjectLayout>{{2, false}, {3, true}});
  CHECK(s.format().compression == "lz4");
}

TEST_CASE("settings: the layout changes only while nobody has the volume open", "[vfs][settings]") {
  Settings s;
  auto client = s.volume.open();
  Status refused = s.encrypt();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == EBUSY);
  CHECK(refused.error().message().find("open elsewhere") != std::string::npos);
  REQUIRE(client->meta->close(client->ctx).ok());
  REQUIRE(s.encrypt().ok());

  // Once it is encrypted, how new data is compressed and which key wraps the data keys are no
  // matter of other clients.
  s.volume.format = s.format();
  client = s.volume.open();
  SettingsOptions options;
  options.compression = Compression::parse("zstd").value();
  CHECK(s.change(options).ok());
  CHECK(rotate_key(s.volume.ctx, s.volume.admin, s.rotation(), s.volume.server, s.random).ok());
  CHECK(reopen_session(client->ctx, *client->meta).ok());
  RotationOptions data_key;
  data_key.encryption_key = in_environment(kNewKey);
  data_key.new_data_key = true;
  Status added = rotate_key(s.volume.ctx, s.volume.admin, data_key, s.volume.server, s.random);
  REQUIRE_FALSE(added.ok());
  CHECK(added.error().code() == EBUSY);
}

TEST_CASE("settings: a client that opens meanwhile and a change of the layout exclude each other",
          "[vfs][settings]") {
  SECTION("the client registers with what it read before the change") {
    Settings s;
    auto client = std::make_unique<meta::TestClient>(s.volume.database, 7);
    client->store->on_commit = [&](const meta::CommitRequest& request) -> Status {
      if (request.expectations.empty()) return {};
      client->store->on_commit = nullptr;
      REQUIRE(s.encrypt().ok());
      return {};
    };
    auto opened = meta::Meta::open(client->ctx, client->store, s.volume.format, {}, client->clock,
                                   client->random);
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code() == ESTALE);
    CHECK(s.volume.count(meta::Table::kClient) == 0);
  }
  SECTION("the change is committed after the client has registered") {
    Settings s;
    auto store = std::make_shared<meta::HookedStore>(s.volume.database);
    std::unique_ptr<meta::TestClient> client;
    store->on_commit = [&](const meta::CommitRequest&) -> Status {
      store->on_commit = nullptr;
      client = s.volume.open();
      return {};
    };
    SettingsOptions options;
    options.encryption_key = in_environment(kOldKey);
    Status changed = change_settings(s.volume.ctx, *store, options, s.volume.server, s.random);
    REQUIRE_FALSE(changed.ok());
    CHECK(changed.error().code() == EBUSY);
    CHECK_FALSE(s.format().encrypted());
  }
  SECTION("a client that was given up does not come back") {
    Settings s;
    auto client = s.volume.open();
    s.volume.commit({meta::Delete{meta::client_key(client->id())}});
    REQUIRE(s.encrypt().ok());
    Status back = reopen_session(client->ctx, *client->meta);
    REQUIRE_FALSE(back.ok());
    CHECK(back.error().code() == ESTALE);
  }
}

TEST_CASE("settings: rotation wraps the same data keys with the new key", "[vfs][settings]") {
  Settings s;
  REQUIRE(s.encrypt().ok());
  const auto before = s.keys(kOldKey);
  RotationOptions options = s.rotation();
  SECTION("the key alone") {}
  SECTION("and a new data key") { options.new_data_key = true; }
  REQUIRE(rotate_key(s.volume.ctx, s.volume.admin, options, s.volume.server, s.random).ok());
  CHECK(s.keys(kOldKey) == nullptr);
  const auto after = s.keys(kNewKey);
  REQUIRE(after != nullptr);
  CHECK(after->data_keys.at(1) == before->data_keys.at(1));
  CHECK(after->data_keys.size() == (options.new_data_key ? 2 : 1));
  CHECK(after->current == after->data_keys.size());
  Status again = rotate_key(s.volume.ctx, s.volume.admin, options, s.volume.server, s.random);
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code() == EKEYREJECTED);
}

TEST_CASE("settings: a rotation that fails anywhere leaves one of the keys valid",
          "[vfs][settings]") {
  const bool lost_answer = GENERATE(false, true);
  const bool new_data_key = GENERATE(false, true);
  for (uint64_t n = 0;; ++n) {
    REQUIRE(n < 100);
    CAPTURE(lost_answer, new_data_key, n);
    Settings s;
    REQUIRE(s.encrypt().ok());
    const SecretKey data_key = s.keys(kOldKey)->data_keys.at(1);
    // The process dies there: no call after it is made.
    CallFaults faults({.n = n, .calls = UINT64_MAX / 2, .lost_answer = lost_answer});
    meta::FaultStore store(std::make_shared<meta::MemoryStore>(s.volume.database), faults);
    RotationOptions options = s.rotation();
    options.new_data_key = new_data_key;
    Status rotated = rotate_key(s.volume.ctx, store, options, s.volume.server, s.random);
    const auto by_old = s.keys(kOldKey), by_new = s.keys(kNewKey);
    REQUIRE((by_old == nullptr) != (by_new == nullptr));
    REQUIRE((by_old != nullptr ? by_old : by_new)->data_keys.at(1) == data_key);
    if (by_new != nullptr) REQUIRE(by_new->data_keys.size() == (new_data_key ? 2 : 1));
    if (rotated.ok()) {
      REQUIRE(by_new != nullptr);
      if (!faults.fired()) break;
    }
  }
}

TEST_CASE("settings: two rotations at once are one after the other", "[vfs][settings]") {
  Settings s;
  REQUIRE(s.encrypt().ok());
  auto store = std::make_shared<meta::HookedStore>(s.volume.database);
  store->on_commit = [&](const meta::CommitRequest&) -> Status {
    store->on_commit = nullptr;
    return rotate_key(s.volume.ctx, s.volume.admin, s.rotation(), s.volume.server, s.random);
  };
  RotationOptions options;
  options.encryption_key = in_environment(kOldKey);
  options.new_data_key = true;
  Status late = rotate_key(s.volume.ctx, *store, options, s.volume.server, s.random);
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().code() == EKEYREJECTED);
  CHECK(s.keys(kNewKey)->data_keys.size() == 1);
}

TEST_CASE("settings: what is asked for in vain", "[vfs][settings]") {
  Settings s;
  auto rotate = [&](const RotationOptions& options) {
    return rotate_key(s.volume.ctx, s.volume.admin, options, s.volume.server, s.random);
  };
  CHECK(s.change({}).error().code() == EINVAL);
  CHECK(rotate({}).error().code() == EINVAL);
  CHECK(rotate(s.rotation()).error().message() == "the volume is not encrypted");
  auto unneeded = unlock(s.volume.ctx, s.format(), in_environment(kOldKey));
  CHECK(unneeded.error().code() == EINVAL);
  REQUIRE(s.encrypt().ok());
  RotationOptions options = s.rotation();
  options.encryption_key.reset();
  CHECK(rotate(options).error().code() == ENOKEY);
  options.encryption_key = options.new_encryption_key = in_environment(kOldKey);
  CHECK(rotate(options).error().code() == EINVAL);
  auto none = unlock(s.volume.ctx, s.format(), std::nullopt);
  CHECK(none.error().code() == ENOKEY);
  CHECK(none.error().message().find(s.format().encryption->key_id) != std::string::npos);
  auto wrong = unlock(s.volume.ctx, s.format(), in_environment(kNewKey));
  CHECK(wrong.error().code() == EKEYREJECTED);
  CHECK(wrong.error().message().find(kNewKey) != std::string::npos);
}

TEST_CASE("settings: a format record that contradicts itself is refused", "[vfs][settings]") {
  Settings s;
  REQUIRE(s.encrypt().ok());
  const meta::VolumeFormat good = s.format();
  REQUIRE(meta::decode_format(meta::encode_format(good)).ok());
  const auto refused = [&](auto change) {
    meta::VolumeFormat format = good;
    change(format);
    return !meta::decode_format(meta::encode_format(format)).ok();
  };
  CHECK(refused([](meta::VolumeFormat& f) { f.encryption.reset(); }));
  CHECK(refused([](meta::VolumeFormat& f) { f.layouts.clear(); }));
  CHECK(refused([](meta::VolumeFormat& f) { f.layouts[0].encrypted = false; }));
  CHECK(refused([](meta::VolumeFormat& f) { f.layouts.push_back({9, false}); }));
  CHECK(refused([](meta::VolumeFormat& f) { f.layouts.insert(f.layouts.begin(), {9, false}); }));
  CHECK(refused([](meta::VolumeFormat& f) { f.incompatible.pop_back(); }));
  CHECK(refused([](meta::VolumeFormat& f) { f.encryption->data_key = 2; }));
  CHECK(refused([](meta::VolumeFormat& f) { f.encryption->data_keys.clear(); }));
  CHECK(refused([](meta::VolumeFormat& f) { f.encryption->data_keys[0].id = 0; }));
}

}  // namespace skerry::vfs
