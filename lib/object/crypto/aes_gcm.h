// AesGcm: AES-256 in Galois/Counter Mode (NIST SP 800-38D), by OpenSSL.
#pragma once

#include <cstddef>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "object/crypto/secret_key.h"

namespace skerry {

/// One key, set up once for many messages. The caller never gives one nonce to two messages. Used
/// by one thread at a time.
class AesGcm {
 public:
  static constexpr size_t kNonceBytes = 12;
  static constexpr size_t kTagBytes = 16;

  enum class Direction { kSeal, kOpen };
  static Result<AesGcm> make(const SecretKey& key, Direction direction);

  /// `out` is as long as `in`, and may be the same memory. `tag` gets kTagBytes.
  Status seal(ByteView nonce, ByteView also_authenticated, ByteView in, MutableBytes out,
              MutableBytes tag);
  /// EBADMSG where anything differs from what was sealed; `out` then holds nothing of use.
  Status open(ByteView nonce, ByteView also_authenticated, ByteView in, MutableBytes out,
              ByteView tag);

 private:
  struct Free {
    void operator()(void* context) const;
  };
  using Context = std::unique_ptr<void, Free>;
  explicit AesGcm(Context context) : context_(std::move(context)) {}

  Context context_;  // an EVP_CIPHER_CTX
};

}  // namespace skerry
