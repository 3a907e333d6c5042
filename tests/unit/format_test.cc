#include "support/test_volume.h"

namespace skerry::meta {

TEST_CASE("format: a volume's settings survive encoding", "[meta][format]") {
  VolumeFormat format;
  format.uuid = "a-uuid";
  format.storage = "file:///srv/data";
  format.block_bytes = 1u << 20;
  format.inline_bytes = 0;
  format.durable_metadata = true;
  format.session_expiry_ns = 5'000'000'000;
  format.compatible = {"later-hint"};
  format.read_only_compatible = {"later-index"};
  auto decoded = decode_format(encode_format(format));
  REQUIRE(decoded.ok());
  CHECK(decoded->uuid == format.uuid);
  CHECK(decoded->storage == format.storage);
  CHECK(decoded->block_bytes == format.block_bytes);
  CHECK(decoded->inline_bytes == 0);
  CHECK(decoded->durable_metadata);
  CHECK(decoded->session_expiry_ns == 5'000'000'000);
  CHECK(decoded->compatible == format.compatible);
  CHECK(format_requires_read_only(*decoded));
}

TEST_CASE("format: fields of the future are ignored, missing lists are empty", "[meta][format]") {
  auto decoded =
      decode_format(R"({"format_version":1,"uuid":"u","storage":"memory:","block_bytes":4194304,)"
                    R"("inline_bytes":4096,"new_setting":{"a":[1]}})");
  REQUIRE(decoded.ok());
  CHECK_FALSE(decoded->durable_metadata);
  CHECK(decoded->session_expiry_ns == 60'000'000'000);
  CHECK_FALSE(format_requires_read_only(*decoded));
}

TEST_CASE("format: malformed records are errors that say why", "[meta][format]") {
  for (
      const char* text :
      {"", "{", "[]", "{}", "null", R"({"format_version":"1"})", R"({"format_version":1})",
       R"({"format_version":1,"uuid":1,"storage":"","block_bytes":4194304,"inline_bytes":0})",
       R"({"format_version":1,"uuid":"u","storage":"","block_bytes":1,"inline_bytes":0})",
       R"({"format_version":1,"uuid":"u","storage":"","block_bytes":-1,"inline_bytes":0})",
       R"({"format_version":1,"uuid":"u","storage":"","block_bytes":4096,"inline_bytes":9999999})",
       R"({"format_version":1,"uuid":"u","storage":"","block_bytes":4096,"inline_bytes":0,"session_expiry_ms":4999})",
       R"({"format_version":1,"uuid":"u","storage":"","block_bytes":4096,"inline_bytes":0,"session_expiry_ms":86400001})",
       R"({"format_version":1,"uuid":"u","storage":"","block_bytes":4096,"inline_bytes":0,"session_expiry_ms":-1})",
       "\xff\xfe"}) {
    CAPTURE(text);
    auto decoded = decode_format(text);
    REQUIRE_FALSE(decoded.ok());
    CHECK(decoded.error().code() == EINVAL);
    CHECK(decoded.error().message().find("malformed") != std::string::npos);
  }
  auto later = decode_format(R"({"format_version":2})");
  REQUIRE_FALSE(later.ok());
  CHECK(later.error().code() == ENOTSUP);
}

TEST_CASE("format: an empty store holds no volume, a formatted one is not formatted again",
          "[meta][format]") {
  FakeClock clock;
  OpContext ctx;
  ctx.clock = &clock;
  MemoryStore empty(std::make_shared<MemoryDatabase>(clock));
  auto missing = read_format(ctx, empty);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().code() == ENOENT);

  TestVolume volume;
  auto again = format_volume(volume.ctx, volume.admin, volume.format, volume.server);
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code() == EEXIST);
  auto client = volume.open();
  require_healthy(*client);
}

TEST_CASE("format: an unknown incompatible flag is refused by name", "[meta][format]") {
  TestVolume volume;
  VolumeFormat later = volume.format;
  later.incompatible = {"sharded-extents"};
  volume.commit({Put{VolumeRecord{kVolumeFormat, encode_format(later), 0, 2}}});
  auto refused = read_format(volume.ctx, volume.admin);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == ENOTSUP);
  CHECK(refused.error().message().find("sharded-extents") != std::string::npos);
}

TEST_CASE("format: what could not be opened again is not written", "[meta][format]") {
  FakeClock clock;
  OpContext ctx;
  ctx.clock = &clock;
  MemoryStore store(std::make_shared<MemoryDatabase>(clock));
  VolumeFormat format;
  format.uuid = "u";
  format.storage = "file:///\xff";
  CHECK_FALSE(format_volume(ctx, store, format, clock).ok());
  format.storage = "file:///srv";
  format.block_bytes = 7;
  CHECK_FALSE(format_volume(ctx, store, format, clock).ok());
  CHECK(read_format(ctx, store).error().code() == ENOENT);
}

}  // namespace skerry::meta
