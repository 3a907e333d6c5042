#include "object/crypto/key_ring.h"

#include <array>

#include "object/crypto/aes_gcm.h"

namespace skerry {
namespace {

constexpr size_t kSealedBytes = AesGcm::kNonceBytes + SecretKey::kBytes + AesGcm::kTagBytes;
constexpr size_t kIdBytes = 8;

/// The data key's use, volume and id: what is wrapped for one does not unwrap for another.
std::string purpose(std::string_view volume, uint32_t id) {
  return "skerry data key\n" + std::string(volume) + "\n" + std::to_string(id);
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<std::string> key_id(const SecretKey& volume_key) {
  SKERRY_ASSIGN(const SecretKey derived, derive_key(volume_key, "skerry key id"));
  return to_hex(derived.bytes().first(kIdBytes));
}

Result<std::string> wrap_data_key(const SecretKey& volume_key, std::string_view volume, uint32_t id,
                                  const SecretKey& data_key) {
  std::array<std::byte, kSealedBytes> sealed;
  const MutableBytes all(sealed);
  const MutableBytes nonce = all.first(AesGcm::kNonceBytes);
  SKERRY_TRY(fill_random(nonce));
  SKERRY_ASSIGN(AesGcm cipher, AesGcm::make(volume_key, AesGcm::Direction::kSeal));
  SKERRY_TRY(cipher.seal(nonce, as_bytes(purpose(volume, id)), data_key.bytes(),
                         all.subspan(AesGcm::kNonceBytes, SecretKey::kBytes),
                         all.last(AesGcm::kTagBytes)));
  return to_hex(sealed);
}

Result<SecretKey> unwrap_data_key(const SecretKey& volume_key, std::string_view volume, uint32_t id,
                                  std::string_view wrapped) {
  std::array<std::byte, kSealedBytes> sealed;
  if (!from_hex(wrapped, sealed)) return Error(EBADMSG, "a wrapped data key is malformed");
  const ByteView all(sealed);
  SecretKey data_key;
  SKERRY_ASSIGN(AesGcm cipher, AesGcm::make(volume_key, AesGcm::Direction::kOpen));
  Status opened = cipher.open(all.first(AesGcm::kNonceBytes), as_bytes(purpose(volume, id)),
                              all.subspan(AesGcm::kNonceBytes, SecretKey::kBytes), data_key.bytes(),
                              all.last(AesGcm::kTagBytes));
  if (!opened.ok()) {
    return std::move(opened).error().with_context("data key " + std::to_string(id));
  }
  return data_key;
}

std::string to_hex(ByteView bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (std::byte b : bytes) {
    text += kDigits[std::to_integer<unsigned>(b) >> 4];
    text += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

bool from_hex(std::string_view text, MutableBytes out) {
  if (text.size() != 2 * out.size()) return false;
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::byte>(high << 4 | low);
  }
  return true;
}

}  // namespace skerry
