// How a framed object lies in the store: a header, then frames, each a fixed piece of the object's
// bytes that was compressed, or encrypted, or both (compressed first) by itself.
//
//   header   fixed part of 56 bytes, little-endian, then an entry of four bytes for each frame,
//            then zeros up to a multiple of 256 bytes:
//              0  magic "SKFR"      4  version 1        5  flags: 1 encrypted
//              6  header bytes/256  8  data key id     12  plain bytes of a frame
//             16  plain bytes      24  salt, 16 bytes  40  seal, 16 bytes
//            entry: the stored bytes of the frame in 30 bits, how it is compressed in the upper two
//   frames   one behind the other; an encrypted one is followed by its tag of 16 bytes
//
// The seal of an encrypted object is the GCM tag over the header, in which the seal is zeros; of
// another it is the header's CRC-32C and zeros.
//
// Encryption is AES-256-GCM. Each object has a key of its own: HMAC-SHA-256 of the data key over
// the volume's UUID, the object's key and the salt, which is random for every put. So the nonce
// need not be random: it is the frame's number, and for the header 2^64 - 1. A frame of another
// place, object, put or volume does not open, nor does the header; and the header says how many
// frames there are and how long each is, so nothing can be left out at the end either.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "object/crypto/key_ring.h"

namespace skerry {

enum class FrameMethod : uint8_t { kStored = 0, kLz4 = 1, kZstd = 2 };

struct FrameHeader {
  static constexpr size_t kUnitBytes = 256;  // no framed object is shorter
  static constexpr size_t kFixedBytes = 56;
  static constexpr size_t kSaltOffset = 24;
  static constexpr size_t kSealOffset = 40;
  static constexpr size_t kSealBytes = 16;
  static constexpr uint32_t kMinFrameBytes = 4096;
  static constexpr uint32_t kMaxFrameBytes = 4u << 20;

  struct Frame {
    FrameMethod method = FrameMethod::kStored;
    uint32_t bytes = 0;  // in the store, without the tag
    friend bool operator==(const Frame&, const Frame&) = default;
  };

  bool encrypted = false;
  uint32_t data_key = 0;
  uint32_t frame_bytes = 0;
  uint64_t plain_bytes = 0;
  std::array<std::byte, 16> salt{};
  std::vector<Frame> frames;

  static uint64_t frame_count(uint64_t plain_bytes, uint32_t frame_bytes) {
    return plain_bytes / frame_bytes + (plain_bytes % frame_bytes != 0 ? 1 : 0);
  }
  static uint64_t header_bytes(uint64_t frames) {
    return (kFixedBytes + 4 * frames + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
  }
  uint64_t header_bytes() const { return header_bytes(frames.size()); }
  uint64_t tag_bytes() const { return encrypted ? kSealBytes : 0; }
  /// Of frame `i`: whole but for the last.
  uint64_t plain_bytes_of(uint64_t i) const;
  /// Where frame `i` begins in the store; of frames.size(): where the object ends.
  uint64_t offset_of(uint64_t i) const;
};

/// Of objects of at most this many plain bytes a header can tell.
uint64_t max_framed_bytes(uint32_t frame_bytes);

/// With the seal as zeros.
std::string encode_frame_header(const FrameHeader& header);
/// How long a header is that begins with these kUnitBytes. EBADMSG where they begin none.
Result<size_t> frame_header_size(ByteView begin);
/// Of exactly a header's bytes, whose seal is yet to be checked. EBADMSG where it is malformed;
/// what it returns is consistent, so that nothing larger than the object's plain bytes comes of it.
Result<FrameHeader> decode_frame_header(ByteView bytes);

/// Seals an encoded header in place. `object` is the object's own key, null where not encrypted.
Status seal_frame_header(std::string* header, const SecretKey* object);
/// EBADMSG where the seal does not fit.
Status check_frame_header(ByteView header, const SecretKey* object);

/// The key of one object.
Result<SecretKey> object_secret(const KeyRing& keys, uint32_t data_key, std::string_view key,
                                const std::array<std::byte, 16>& salt);
/// The nonce of frame `number`.
std::array<std::byte, 12> frame_nonce(uint64_t number);

}  // namespace skerry
