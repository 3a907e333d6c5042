// SecretKey: 32 bytes that are wiped from memory when they go.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace skerry {

class SecretKey {
 public:
  static constexpr size_t kBytes = 32;

  SecretKey() = default;
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();

  /// From OpenSSL's generator for secrets, which is never a simulated one. EIO where it fails.
  static Result<SecretKey> random();
  ByteView bytes() const { return bytes_; }
  MutableBytes bytes() { return bytes_; }
  friend bool operator==(const SecretKey&, const SecretKey&) = default;

 private:
  std::array<std::byte, kBytes> bytes_{};
};

/// Overwrites what a secret was read into.
void wipe(MutableBytes bytes);
/// HMAC-SHA-256 (RFC 2104): a key for a purpose that `text` names. ENOMEM where OpenSSL has none.
Result<SecretKey> derive_key(const SecretKey& key, std::string_view text);
/// For salts and nonces. EIO where the generator fails.
Status fill_random(MutableBytes out);

}  // namespace skerry
