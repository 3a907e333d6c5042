#include "object/crypto/aes_gcm.h"

#include <openssl/evp.h>

#include <climits>

namespace skerry {
namespace {

EVP_CIPHER_CTX* cipher(void* context) { return static_cast<EVP_CIPHER_CTX*>(context); }

const unsigned char* in_bytes(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

unsigned char* out_bytes(MutableBytes bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

Error failed() { return Error(EIO, "OpenSSL's AES-256-GCM fails"); }

/// Starts a message with its nonce and hands all its bytes through.
bool pass(EVP_CIPHER_CTX* context, int seals, ByteView nonce, ByteView also, ByteView in,
          MutableBytes out) {
  int n = 0;
  if (nonce.size() != AesGcm::kNonceBytes || in.size() > INT_MAX || also.size() > INT_MAX ||
      EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, in_bytes(nonce), seals) != 1) {
    return false;
  }
  if (!also.empty() &&
      EVP_CipherUpdate(context, nullptr, &n, in_bytes(also), static_cast<int>(also.size())) != 1) {
    return false;
  }
  return in.empty() || EVP_CipherUpdate(context, out_bytes(out), &n, in_bytes(in),
                                        static_cast<int>(in.size())) == 1;
}

}  // namespace

void AesGcm::Free::operator()(void* context) const { EVP_CIPHER_CTX_free(cipher(context)); }

Result<AesGcm> AesGcm::make(const SecretKey& key, Direction direction) {
  Context context(EVP_CIPHER_CTX_new());
  if (context == nullptr) return Error(ENOMEM, "OpenSSL has no memory");
  if (EVP_CipherInit_ex(cipher(context.get()), EVP_aes_256_gcm(), nullptr, in_bytes(key.bytes()),
                        nullptr, direction == Direction::kSeal ? 1 : 0) != 1) {
    return failed();
  }
  return AesGcm(std::move(context));
}

Status AesGcm::seal(ByteView nonce, ByteView also_authenticated, ByteView in, MutableBytes out,
                    MutableBytes tag) {
  EVP_CIPHER_CTX* context = cipher(context_.get());
  int n = 0;
  unsigned char none[kTagBytes];
  if (!pass(context, 1, nonce, also_authenticated, in, out) ||
      EVP_CipherFinal_ex(context, none, &n) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()) != 1) {
    return failed();
  }
  return {};
}

Status AesGcm::open(ByteView nonce, ByteView also_authenticated, ByteView in, MutableBytes out,
                    ByteView tag) {
  EVP_CIPHER_CTX* context = cipher(context_.get());
  int n = 0;
  unsigned char none[kTagBytes];
  if (tag.size() != kTagBytes || !pass(context, 0, nonce, also_authenticated, in, out) ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes,
                          const_cast<std::byte*>(tag.data())) != 1) {
    return failed();
  }
  if (EVP_CipherFinal_ex(context, none, &n) != 1) return Error(EBADMSG, "it is not authentic");
  return {};
}

}  // namespace skerry
