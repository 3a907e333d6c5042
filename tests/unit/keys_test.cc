#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "object/crypto/aes_gcm.h"
#include "object/crypto/key_ring.h"
#include "object/crypto/key_source.h"

using namespace skerry;

namespace {

constexpr char kHex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
constexpr char kBase64[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

std::string raw_key() {
  std::string raw;
  for (int i = 0; i < 32; ++i) raw.push_back(static_cast<char>(i));
  return raw;
}

struct Place {
  std::string path = "/tmp/skerry-key-XXXXXX";
  OpContext ctx;
  Place() {
    const int file = mkstemp(path.data());
    REQUIRE(file >= 0);
    close(file);
    ctx.clock = &system_clock();
  }
  ~Place() { std::filesystem::remove(path); }
  Result<SecretKey> from_file(const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    return load_key(ctx, KeySource::parse("file:" + path).value());
  }
};

}  // namespace

TEST_CASE("keys: AES-256-GCM agrees with the test vectors of its designers", "[object][keys]") {
  // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16.
  SecretKey key;
  REQUIRE(
      from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key.bytes()));
  std::array<std::byte, 12> nonce;
  REQUIRE(from_hex("cafebabefacedbaddecaf888", nonce));
  std::array<std::byte, 60> text;
  REQUIRE(
      from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
               "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
               text));
  std::array<std::byte, 20> also;
  REQUIRE(from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", also));
  std::array<std::byte, 60> sealed, opened;
  std::array<std::byte, 16> tag;
  auto seal = AesGcm::make(key, AesGcm::Direction::kSeal);
  REQUIRE(seal.ok());
  REQUIRE(seal->seal(nonce, also, text, sealed, tag).ok());
  CHECK(to_hex(sealed) ==
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662");
  CHECK(to_hex(tag) == "76fc6ece0f4e1768cddf8853bb2d551b");
  auto open = AesGcm::make(key, AesGcm::Direction::kOpen);
  REQUIRE(open->open(nonce, also, sealed, opened, tag).ok());
  CHECK(opened == text);
  tag[3] ^= std::byte{1};
  CHECK(open->open(nonce, also, sealed, opened, tag).error().code() == EBADMSG);
}

TEST_CASE("keys: the forms of a key in a file", "[object][keys]") {
  Place place;
  for (const std::string& content :
       {raw_key(), std::string(kHex), std::string(kHex) + "\n", " " + std::string(kHex) + "\r\n",
        std::string(kBase64), std::string(kBase64) + "\n",
        std::string(kBase64).substr(0, sizeof kBase64 - 2)}) {
    auto key = place.from_file(content);
    CAPTURE(content);
    REQUIRE(key.ok());
    CHECK(to_hex(key->bytes()) == kHex);
  }
}

TEST_CASE("keys: what is no key is not shown", "[object][keys]") {
  Place place;
  for (const std::string& content :
       {std::string(), std::string("hunter2"), std::string("a passphrase of 32 characters!!!"),
        raw_key() + "x", raw_key().substr(1), std::string(kHex) + "0",
        "g" + std::string(kHex).substr(1), std::string(5000, 'a')}) {
    auto key = place.from_file(content);
    REQUIRE_FALSE(key.ok());
    CHECK(key.error().code() == EINVAL);
    CHECK(key.error().message() ==
          "the encryption key in the file " + place.path +
              " is not one: a key is 32 random bytes, their 64 hexadecimal digits or their base64, "
              "and a passphrase is none; make one with \"openssl rand -hex 32\"");
  }
}

TEST_CASE("keys: from the environment and from a command", "[object][keys]") {
  Place place;
  auto load = [&](const std::string& source) {
    return load_key(place.ctx, KeySource::parse(source).value());
  };
  setenv("SKERRY_TEST_KEY", kHex, 1);
  CHECK(to_hex(load("env:SKERRY_TEST_KEY")->bytes()) == kHex);
  setenv("SKERRY_TEST_KEY", "0123456789abcdef0123456789abcdef", 1);
  CHECK(load("env:SKERRY_TEST_KEY").error().code() == EINVAL);
  unsetenv("SKERRY_TEST_KEY");
  auto unset = load("env:SKERRY_TEST_KEY");
  CHECK(unset.error().code() == ENOENT);
  CHECK(unset.error().message() ==
        "the encryption key in the environment variable SKERRY_TEST_KEY: it is not set");
  CHECK(to_hex(load(std::string("command:echo ") + kHex)->bytes()) == kHex);
  auto failed = load("command:echo 5ecret; exit 3");
  CHECK(failed.error().code() == EACCES);
  CHECK(failed.error().message() == "the encryption key in the command: it ended with status 3");
  CHECK(load("file:/nonexistent/key").error().code() == ENOENT);
}

TEST_CASE("keys: a source that may be the key itself is not repeated", "[object][keys]") {
  for (const char* text : {kHex, "", "file:", "env:", "command:", "FILE:/x", "/path"}) {
    auto source = KeySource::parse(text);
    REQUIRE_FALSE(source.ok());
    CHECK(source.error().code() == EINVAL);
    CHECK(source.error().message().find("0001020304") == std::string::npos);
  }
  CHECK(KeySource::parse("command:secret-tool token=5ecret")->describe() == "the command");
}

TEST_CASE("keys: a data key unwraps with its key, volume and id alone", "[object][keys]") {
  const SecretKey volume_key = SecretKey::random().value(), other = SecretKey::random().value();
  const SecretKey data_key = SecretKey::random().value();
  const std::string wrapped = wrap_data_key(volume_key, "v", 1, data_key).value();
  CHECK(wrapped.find(to_hex(data_key.bytes())) == std::string::npos);
  CHECK(wrap_data_key(volume_key, "v", 1, data_key).value() != wrapped);
  CHECK(unwrap_data_key(volume_key, "v", 1, wrapped).value() == data_key);
  CHECK(unwrap_data_key(other, "v", 1, wrapped).error().code() == EBADMSG);
  CHECK(unwrap_data_key(volume_key, "w", 1, wrapped).error().code() == EBADMSG);
  CHECK(unwrap_data_key(volume_key, "v", 2, wrapped).error().code() == EBADMSG);
  for (size_t at = 0; at < wrapped.size(); ++at) {
    std::string bad = wrapped;
    bad[at] = bad[at] == '0' ? '1' : '0';
    CHECK_FALSE(unwrap_data_key(volume_key, "v", 1, bad).ok());
    CHECK_FALSE(unwrap_data_key(volume_key, "v", 1, wrapped.substr(0, at)).ok());
  }
  CHECK(key_id(volume_key).value().size() == 16);
  CHECK(key_id(volume_key).value() == key_id(volume_key).value());
  CHECK(key_id(volume_key).value() != key_id(other).value());
}
