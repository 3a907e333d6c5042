#include "object/crypto/secret_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

namespace skerry {

SecretKey::~SecretKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

Result<SecretKey> SecretKey::random() {
  SecretKey key;
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(key.bytes_.data()), kBytes) != 1) {
    return Error(EIO, "OpenSSL has no random bytes for a key");
  }
  return key;
}

void wipe(MutableBytes bytes) {
  if (!bytes.empty()) OPENSSL_cleanse(bytes.data(), bytes.size());
}

Result<SecretKey> derive_key(const SecretKey& key, std::string_view text) {
  SecretKey derived;
  unsigned length = 0;
  if (HMAC(EVP_sha256(), key.bytes().data(), SecretKey::kBytes,
           reinterpret_cast<const unsigned char*>(text.data()), text.size(),
           reinterpret_cast<unsigned char*>(derived.bytes().data()), &length) == nullptr ||
      length != SecretKey::kBytes) {
    return Error(ENOMEM, "OpenSSL cannot derive a key");
  }
  return derived;
}

Status fill_random(MutableBytes out) {
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) != 1) {
    return Error(EIO, "OpenSSL has no random bytes");
  }
  return {};
}

}  // namespace skerry
