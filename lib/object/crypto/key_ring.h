// KeyRing: the data keys of a volume, and how they are wrapped by the volume's key.
//
// Data is encrypted with data keys, random ones, which the volume's metadata keeps wrapped: sealed
// with AES-256-GCM by the volume's key, which is the user's and kept nowhere. A new volume's key
// wraps the same data keys anew, so no data is rewritten.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"
#include "object/crypto/secret_key.h"

namespace skerry {

/// Of one volume.
struct KeyRing {
  std::string volume;    // its UUID: nothing sealed for one volume opens in another
  uint32_t current = 0;  // the data key that new objects are encrypted with
  std::map<uint32_t, SecretKey> data_keys;  // by id, from 1
};

/// Names a volume's key without telling of it: 16 hexadecimal digits. The keys have 256 random
/// bits, so nothing can be tried against this.
Result<std::string> key_id(const SecretKey& volume_key);

/// Hexadecimal: nonce, sealed key, tag.
Result<std::string> wrap_data_key(const SecretKey& volume_key, std::string_view volume, uint32_t id,
                                  const SecretKey& data_key);
/// EBADMSG where it was not wrapped by this key, for this volume and under this id.
Result<SecretKey> unwrap_data_key(const SecretKey& volume_key, std::string_view volume, uint32_t id,
                                  std::string_view wrapped);

std::string to_hex(ByteView bytes);
/// False where `text` is not exactly the digits of out.size() bytes.
bool from_hex(std::string_view text, MutableBytes out);

}  // namespace skerry
