#include "object/decorators/framed_store.h"

#include <catch2/catch.hpp>
#include <random>

#include "object/decorators/counting_store.h"
#include "object/memory/memory_store.h"
#include "support/fake_clock.h"

using namespace skerry;

namespace {

constexpr uint32_t kFrame = FrameHeader::kMinFrameBytes;

std::shared_ptr<const KeyRing> ring_of(const std::string& volume, uint32_t id = 1) {
  auto ring = std::make_shared<KeyRing>();
  ring->volume = volume;
  ring->current = id;
  ring->data_keys[id] = SecretKey::random().value();
  return ring;
}

/// Keys that begin with "plain" are in plain.
struct Framed {
  FakeClock clock;
  std::shared_ptr<MemoryObjectStore> memory = std::make_shared<MemoryObjectStore>(clock);
  std::shared_ptr<CountingObjectStore> counting = std::make_shared<CountingObjectStore>(memory);
  std::shared_ptr<const KeyRing> keys = ring_of("volume");
  OpContext ctx;

  Framed() { ctx.clock = &clock; }

  /// A client of its own: it remembers no header of another's.
  std::unique_ptr<FramedObjectStore> client(bool encrypted, const char* compression = "none") {
    return client_with(encrypted ? keys : nullptr, compression);
  }
  std::unique_ptr<FramedObjectStore> client_with(std::shared_ptr<const KeyRing> with,
                                                 const char* compression = "none") {
    FramedOptions options;
    options.frame_bytes = kFrame;
    options.compression = Compression::parse(compression).value();
    const StoredAs framed = with != nullptr ? StoredAs::kEncrypted : StoredAs::kFramed;
    options.keys = std::move(with);
    return std::make_unique<FramedObjectStore>(
        counting,
        [framed](std::string_view key) {
          return key.starts_with("plain") ? StoredAs::kPlain : framed;
        },
        std::move(options));
  }
  void put(ObjectStore& store, const std::string& key, const std::string& data) {
    REQUIRE(store.put(ctx, key, {as_bytes(data)}).ok());
  }
  std::string stored(const std::string& key) {
    std::string data(memory->head(ctx, key)->size_bytes, '\0');
    REQUIRE(memory->get(ctx, key, 0, std::as_writable_bytes(std::span(data))).ok());
    return data;
  }
  Result<std::string> read(ObjectStore& store, const std::string& key, size_t size,
                           uint64_t offset = 0) {
    std::string data(size, '\0');
    SKERRY_TRY(store.get(ctx, key, offset, std::as_writable_bytes(std::span(data))));
    return data;
  }
  int code(ObjectStore& store, const std::string& key, size_t size) {
    auto got = read(store, key, size);
    return got.ok() ? 0 : got.error().code();
  }
};

/// Compresses to about a half.
std::string sample(size_t size, uint64_t seed = 1) {
  std::mt19937_64 rng(seed);
  std::string data(size, '\0');
  for (char& c : data) c = static_cast<char>('a' + rng() % 16);
  return data;
}

struct Kind {
  bool encrypted;
  const char* compression;
};
Kind any_kind() {
  return GENERATE(Kind{true, "none"}, Kind{true, "zstd"}, Kind{true, "lz4"}, Kind{false, "none"},
                  Kind{false, "lz4"}, Kind{false, "zstd:5"});
}

}  // namespace

TEST_CASE("framed store: any range of what was put is read", "[object][framed]") {
  const Kind kind = any_kind();
  CAPTURE(kind.encrypted, kind.compression);
  Framed f;
  const size_t size =
      GENERATE(0, 1, 100, kFrame - 1, kFrame, kFrame + 1, 3 * kFrame, 80 * kFrame + 9);
  const std::string data = sample(size);
  auto writer = f.client(kind.encrypted, kind.compression);
  f.put(*writer, "k", data);
  auto reader = f.client(kind.encrypted);
  REQUIRE(reader->head(f.ctx, "k")->size_bytes == size);
  std::mt19937_64 rng(size);
  for (int i = 0; i < 30; ++i) {
    const size_t offset = rng() % (size + 1), length = rng() % (size - offset + 1);
    REQUIRE(f.read(i % 2 == 0 ? *reader : *writer, "k", length, offset).value() ==
            data.substr(offset, length));
  }
  CHECK(f.read(*reader, "k", size + 1).error().code() == EINVAL);
  CHECK(f.read(*reader, "k", 0, size + 1).error().code() == EINVAL);
}

TEST_CASE("framed store: a range costs its frames, a header once", "[object][framed]") {
  Framed f;
  const std::string data = sample(40 * kFrame);
  f.put(*f.client(true), "k", data);
  auto reader = f.client(true);
  const ObjectCounters before = f.counting->counters();
  REQUIRE(f.read(*reader, "k", 100, 5 * kFrame + 7).ok());
  ObjectCounters after = f.counting->counters();
  CHECK(after.gets - before.gets == 2);
  CHECK(after.get_bytes - before.get_bytes ==
        FrameHeader::kUnitBytes + kFrame + FrameHeader::kSealBytes);
  REQUIRE(f.read(*reader, "k", 100, 9 * kFrame).ok());
  CHECK(f.counting->counters().gets - after.gets == 1);
}

namespace {

/// A store that has many ranges under way at once.
class TogetherStore final : public ObjectStore {
 public:
  explicit TogetherStore(std::shared_ptr<ObjectStore> base) : base_(std::move(base)) {}
  ObjectCapabilities capabilities() const override {
    ObjectCapabilities capabilities = base_->capabilities();
    capabilities.gets_together = true;
    return capabilities;
  }
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override {
    ++alone;
    return base_->get(ctx, key, offset, out);
  }
  void get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                const RangeDone& done) override {
    ++rounds;
    base_->get_many(ctx, ranges, done);
  }
  std::string describe() const override { return base_->describe(); }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options) override {
    return base_->put(ctx, key, pieces, options);
  }
  Result<ObjectInfo> head(const OpContext& ctx, std::string_view key) override {
    return base_->head(ctx, key);
  }
  Status remove(const OpContext& ctx, std::string_view key) override {
    return base_->remove(ctx, key);
  }
  Result<std::vector<DeleteOutcome>> remove_batch(const OpContext& ctx,
                                                  const std::vector<std::string>& keys) override {
    return base_->remove_batch(ctx, keys);
  }
  Result<ObjectPage> list(const OpContext& ctx, std::string_view prefix,
                          std::string_view start_after, uint32_t limit) override {
    return base_->list(ctx, prefix, start_after, limit);
  }
  Result<std::string> start_upload(const OpContext&, std::string_view, const PutOptions&) override {
    return Error(ENOTSUP);
  }
  Result<UploadedPart> put_part(const OpContext&, std::string_view, std::string_view, uint32_t,
                                ByteView) override {
    return Error(ENOTSUP);
  }
  Status complete_upload(const OpContext&, std::string_view, std::string_view,
                         const std::vector<UploadedPart>&) override {
    return Error(ENOTSUP);
  }
  Status abort_upload(const OpContext&, std::string_view, std::string_view) override {
    return Error(ENOTSUP);
  }

  int rounds = 0, alone = 0;

 private:
  const std::shared_ptr<ObjectStore> base_;
};

}  // namespace

TEST_CASE("framed store: ranges asked for together are under way together", "[object][framed]") {
  Framed f;
  std::vector<std::string> contents;
  const auto writer = f.client(true);
  for (size_t i = 0; i < 4; ++i) {  // of one header's unit, and of several
    contents.push_back(sample(i % 2 == 0 ? 10'000 : 100 * kFrame + 17, i));
    f.put(*writer, "o" + std::to_string(i), contents.back());
  }
  auto together = std::make_shared<TogetherStore>(f.counting);
  FramedOptions options;
  options.frame_bytes = kFrame;
  options.keys = f.keys;
  FramedObjectStore reader(
      together, [](std::string_view) { return StoredAs::kEncrypted; }, options);
  std::vector<std::string> got(contents.size());
  auto read_all = [&] {
    std::vector<ObjectRange> ranges;
    for (size_t i = 0; i < got.size(); ++i) {
      got[i].assign(contents[i].size() - 100, '\0');
      ranges.push_back(
          {"o" + std::to_string(i), 100, std::as_writable_bytes(std::span(got[i])), {}});
    }
    reader.get_many(f.ctx, ranges, [&](size_t i) { CHECK(ranges[i].result.ok()); });
    for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == contents[i].substr(100));
  };
  read_all();
  CHECK(together->rounds == 3);  // headers, the rest of long ones, what was asked for
  read_all();
  CHECK(together->rounds == 4);
  CHECK(together->alone == 0);
}

TEST_CASE("framed store: nothing of the data is in an encrypted object", "[object][framed]") {
  Framed f;
  const std::string secret = "the quick brown fox";
  std::string data;
  while (data.size() < 3 * kFrame) data += secret;
  f.put(*f.client(true), "a", data);
  f.put(*f.client(true), "b", data);
  CHECK(f.stored("a").find("quick") == std::string::npos);
  const size_t header = FrameHeader::kUnitBytes;
  CHECK(f.stored("a").substr(header) != f.stored("b").substr(header));
  f.put(*f.client(true), "a", data);  // again: another salt, so another key
  CHECK(f.stored("a").substr(header, 64) != f.stored("b").substr(header, 64));
}

TEST_CASE("framed store: compression makes objects shorter, and only where it does",
          "[object][framed]") {
  Framed f;
  const bool encrypted = GENERATE(false, true);
  const char* compression = GENERATE("lz4", "zstd");
  auto store = f.client(encrypted, compression);
  f.put(*store, "text", sample(64 * kFrame));
  std::string zeros(64 * kFrame, '\0');
  f.put(*store, "zeros", zeros);
  CHECK(f.stored("zeros").size() < zeros.size() / 30);
  if (std::string(compression) == "zstd") CHECK(f.stored("text").size() < 64 * kFrame * 6 / 10);
  std::string noise(64 * kFrame, '\0');
  std::mt19937_64 rng(3);
  for (char& c : noise) c = static_cast<char>(rng());
  f.put(*store, "noise", noise);
  const uint64_t tags = encrypted ? 64 * FrameHeader::kSealBytes : 0;
  CHECK(f.stored("noise").size() == FrameHeader::header_bytes(64) + noise.size() + tags);
  CHECK(f.read(*store, "noise", noise.size()).value() == noise);
}

TEST_CASE("framed store: a changed byte is found, wherever it is", "[object][framed]") {
  const Kind kind = any_kind();
  CAPTURE(kind.encrypted, kind.compression);
  Framed f;
  const std::string data = sample(2 * kFrame + 300);
  f.put(*f.client(kind.encrypted, kind.compression), "k", data);
  const std::string good = f.stored("k");
  std::mt19937_64 rng(7);
  const size_t header = FrameHeader::kUnitBytes;
  for (size_t at = 0; at < good.size(); at += at < header + 64 || at + 64 > good.size() ? 1 : 37) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << rng() % 8));
    f.put(*f.memory, "k", bad);
    auto got = f.read(*f.client(kind.encrypted), "k", data.size());
    CAPTURE(at);
    if (got.ok()) {
      // Without encryption frames have no checksum: the layer above has.
      REQUIRE_FALSE(kind.encrypted);
      REQUIRE(at >= header);
    } else {
      REQUIRE(got.error().code() == EBADMSG);
      REQUIRE(got.error().message().find("object k") != std::string::npos);
    }
  }
}

TEST_CASE("framed store: an object that was cut is found, wherever it was", "[object][framed]") {
  const Kind kind = any_kind();
  CAPTURE(kind.encrypted, kind.compression);
  Framed f;
  const std::string data = sample(2 * kFrame + 100);
  f.put(*f.client(kind.encrypted, kind.compression), "k", data);
  const std::string good = f.stored("k");
  for (size_t size = 0; size < good.size(); ++size) {
    f.put(*f.memory, "k", good.substr(0, size));
    auto reader = f.client(kind.encrypted);
    CAPTURE(size);
    REQUIRE(f.code(*reader, "k", data.size()) == EBADMSG);
    auto head = reader->head(f.ctx, "k");
    REQUIRE_FALSE(head.ok());
    REQUIRE(head.error().code() == EBADMSG);
  }
  f.put(*f.memory, "k", good + "x");
  CHECK(f.client(kind.encrypted)->head(f.ctx, "k").error().code() == EBADMSG);
}

TEST_CASE("framed store: frames and objects do not change places", "[object][framed]") {
  Framed f;
  auto writer = f.client(true);
  const std::string a = sample(3 * kFrame, 1), b = sample(3 * kFrame, 2);
  f.put(*writer, "a", a);
  f.put(*writer, "b", b);
  const std::string good = f.stored("a"), other = f.stored("b");
  const size_t header = FrameHeader::kUnitBytes, frame = kFrame + FrameHeader::kSealBytes;
  auto refuses = [&](const std::string& stored) {
    f.put(*f.memory, "a", stored);
    return f.code(*f.client(true), "a", a.size()) == EBADMSG;
  };
  SECTION("two frames of one object") {
    CHECK(refuses(good.substr(0, header) + good.substr(header + frame, frame) +
                  good.substr(header, frame) + good.substr(header + 2 * frame)));
  }
  SECTION("a frame twice") {
    CHECK(refuses(good.substr(0, header + frame) + good.substr(header, frame) +
                  good.substr(header + 2 * frame)));
  }
  SECTION("a frame of another object") {
    CHECK(refuses(good.substr(0, header) + other.substr(header, frame) +
                  good.substr(header + frame)));
  }
  SECTION("another object") { CHECK(refuses(other)); }
  SECTION("the header of another put of the same object") {
    f.put(*writer, "a", a);
    CHECK(refuses(f.stored("a").substr(0, header) + good.substr(header)));
  }
  SECTION("an object of another volume with the same data key") {
    auto elsewhere = std::make_shared<KeyRing>(*f.keys);
    elsewhere->volume = "another";
    f.put(*f.client_with(elsewhere), "a", a);
    CHECK(f.code(*f.client(true), "a", a.size()) == EBADMSG);
  }
  SECTION("an object in plain, framed or not") {
    CHECK(refuses(a));
    f.put(*f.client(false), "a", a);
    auto got = f.read(*f.client(true), "a", a.size());
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().code() == EBADMSG);
    CHECK(got.error().message() == "object a: it is not encrypted, and should be");
  }
  SECTION("nor is an encrypted one taken for one that is not") {
    CHECK(f.code(*f.client(false), "a", a.size()) == EBADMSG);
  }
  f.put(*f.memory, "a", good);
  CHECK(f.read(*f.client(true), "a", a.size()).value() == a);
}

TEST_CASE("framed store: what a client remembers of an object does not outlast it",
          "[object][framed]") {
  Framed f;
  auto one = f.client(true), two = f.client(true);
  f.put(*one, "k", sample(100, 1));
  f.put(*two, "k", sample(200, 2));
  CHECK(f.read(*one, "k", 100).value() == sample(200, 2).substr(0, 100));
  REQUIRE(two->remove(f.ctx, "k").ok());
  CHECK(f.code(*one, "k", 100) == ENOENT);
}

TEST_CASE("framed store: objects in plain stay as they are, beside framed ones",
          "[object][framed]") {
  Framed f;
  auto store = f.client(true, "zstd");
  const std::string data = sample(5000);
  f.put(*store, "plain/1", data);
  CHECK(f.stored("plain/1") == data);
  CHECK(store->head(f.ctx, "plain/1")->size_bytes == data.size());
  CHECK(f.read(*store, "plain/1", 100, 50).value() == data.substr(50, 100));
  f.put(*store, "framed", data);
  CHECK(store->remove_batch(f.ctx, {"plain/1", "framed"}).ok());
  CHECK(f.memory->object_count() == 0);
}

TEST_CASE("framed store: each data key opens what it sealed", "[object][framed]") {
  Framed f;
  const std::string data = sample(100);
  f.put(*f.client(true), "old", data);
  auto both = std::make_shared<KeyRing>(*f.keys);
  both->data_keys[2] = SecretKey::random().value();
  both->current = 2;
  auto client = f.client_with(both);
  f.put(*client, "new", data);
  CHECK(f.read(*client, "old", 100).value() == data);
  CHECK(f.read(*client, "new", 100).value() == data);
  auto got = f.read(*f.client(true), "new", 100);
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().message() == "object new: it names data key 2, which the volume does not have");
}

TEST_CASE("framed store: what a header says takes no more memory than is asked for",
          "[object][framed]") {
  Framed f;
  // A frame that says it unpacks to less than it does, with its checksum right.
  const std::string bomb(kFrame, '\0');
  f.put(*f.client(false, "zstd"), "k", bomb);
  std::string stored = f.stored("k");
  FrameHeader header = decode_frame_header(as_bytes(stored).first(FrameHeader::kUnitBytes)).value();
  header.plain_bytes = 100;
  std::string lies = encode_frame_header(header);
  REQUIRE(seal_frame_header(&lies, nullptr).ok());
  f.put(*f.memory, "k", lies + stored.substr(FrameHeader::kUnitBytes));
  CHECK(f.code(*f.client(false), "k", 100) == EBADMSG);
  header.plain_bytes = UINT64_MAX / 2;
  lies = encode_frame_header(header);
  REQUIRE(seal_frame_header(&lies, nullptr).ok());
  f.put(*f.memory, "k", lies + stored.substr(FrameHeader::kUnitBytes));
  CHECK(f.code(*f.client(false), "k", 100) == EBADMSG);
}

TEST_CASE("compression: its names", "[object][framed]") {
  for (const char* text : {"none", "lz4", "zstd", "zstd:3", "zstd:19"}) {
    CHECK(Compression::parse(text)->text() == text);
  }
  CHECK(Compression::parse("zstd:1")->text() == "zstd");
  for (const char* text : {"", "gzip", "lz4:1", "zstd:", "zstd:0", "zstd:20", "zstd:3x", "zstd3"}) {
    CHECK_FALSE(Compression::parse(text).ok());
  }
}
