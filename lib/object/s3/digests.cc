#include "object/s3/digests.h"

#include <openssl/evp.h>

#include <memory>

#include "base/crc32c.h"

namespace skerry::s3 {

std::string base64(ByteView bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(length));
  return out;
}

std::string crc32c_text(const std::vector<ByteView>& pieces) {
  uint32_t crc = 0;
  for (ByteView piece : pieces) crc = crc32c(crc, piece);
  const uint32_t big_endian = __builtin_bswap32(crc);
  return base64(std::as_bytes(std::span(&big_endian, 1)));
}

std::string md5_text(const std::vector<ByteView>& pieces) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> md5(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(md5.get(), EVP_md5(), nullptr);
  for (ByteView piece : pieces) EVP_DigestUpdate(md5.get(), piece.data(), piece.size());
  std::byte digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(md5.get(), reinterpret_cast<unsigned char*>(digest), &length);
  return base64({digest, length});
}

}  // namespace skerry::s3
