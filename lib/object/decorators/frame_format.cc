#include "object/decorators/frame_format.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "object/crypto/aes_gcm.h"

namespace skerry {
namespace {

constexpr std::string_view kMagic = "SKFR";
constexpr uint8_t kVersion = 1;
constexpr uint8_t kEncrypted = 1;
constexpr unsigned kMethodShift = 30;
constexpr uint64_t kHeaderNumber = UINT64_MAX;
constexpr size_t kMaxUnits = UINT16_MAX;

Error malformed(const char* why) { return Error(EBADMSG, std::string("its header ") + why); }

std::string without_seal(ByteView header) {
  std::string text(as_string_view(header));
  std::memset(text.data() + FrameHeader::kSealOffset, 0, FrameHeader::kSealBytes);
  return text;
}

std::array<std::byte, FrameHeader::kSealBytes> checksum_seal(ByteView header) {
  std::array<std::byte, FrameHeader::kSealBytes> seal{};
  const uint32_t crc = crc32c(0, header);
  std::memcpy(seal.data(), &crc, sizeof crc);
  return seal;
}

Result<FrameHeader::Frame> decode_entry(uint32_t entry, uint64_t plain_bytes) {
  FrameHeader::Frame frame;
  const uint32_t method = entry >> kMethodShift;
  if (method > static_cast<uint32_t>(FrameMethod::kZstd)) return malformed("names no compression");
  frame.method = static_cast<FrameMethod>(method);
  frame.bytes = entry & ((1u << kMethodShift) - 1);
  const bool fits = frame.method == FrameMethod::kStored
                        ? frame.bytes == plain_bytes
                        : frame.bytes > 0 && frame.bytes < plain_bytes;
  if (!fits) return malformed("tells of a frame that cannot be");
  return frame;
}

}  // namespace

uint64_t FrameHeader::plain_bytes_of(uint64_t i) const {
  return std::min<uint64_t>(frame_bytes, plain_bytes - i * frame_bytes);
}

uint64_t FrameHeader::offset_of(uint64_t i) const {
  uint64_t offset = header_bytes() + i * tag_bytes();
  for (uint64_t before = 0; before < i; ++before) offset += frames[before].bytes;
  return offset;
}

uint64_t max_framed_bytes(uint32_t frame_bytes) {
  return (kMaxUnits * FrameHeader::kUnitBytes - FrameHeader::kFixedBytes) / 4 * frame_bytes;
}

std::string encode_frame_header(const FrameHeader& header) {
  std::string text;
  text.reserve(header.header_bytes());
  text.append(kMagic);
  Encoder encoder(&text);
  encoder.fixed<uint8_t>(kVersion);
  encoder.fixed<uint8_t>(header.encrypted ? kEncrypted : 0);
  encoder.fixed(static_cast<uint16_t>(header.header_bytes() / FrameHeader::kUnitBytes));
  encoder.fixed(header.data_key);
  encoder.fixed(header.frame_bytes);
  encoder.fixed(header.plain_bytes);
  text.append(as_string_view(header.salt));
  text.append(FrameHeader::kSealBytes, '\0');
  for (const FrameHeader::Frame& frame : header.frames) {
    encoder.fixed(static_cast<uint32_t>(frame.method) << kMethodShift | frame.bytes);
  }
  text.resize(header.header_bytes(), '\0');
  return text;
}

Result<size_t> frame_header_size(ByteView begin) {
  if (begin.size() < FrameHeader::kUnitBytes ||
      as_string_view(begin.first(kMagic.size())) != kMagic) {
    return Error(EBADMSG, "it has no header, as objects stored in plain have none");
  }
  if (std::to_integer<uint8_t>(begin[4]) != kVersion) return malformed("has another version");
  uint16_t units = 0;
  std::memcpy(&units, begin.data() + 6, sizeof units);
  if (units == 0) return malformed("is empty");
  return units * FrameHeader::kUnitBytes;
}

Result<FrameHeader> decode_frame_header(ByteView bytes) {
  SKERRY_ASSIGN(const size_t size, frame_header_size(bytes));
  if (size != bytes.size()) return malformed("has another length");
  FrameHeader header;
  Decoder decoder(as_string_view(bytes).substr(5));
  const auto flags = decoder.fixed<uint8_t>();
  if ((flags & ~kEncrypted) != 0) return malformed("has flags that are not known");
  header.encrypted = (flags & kEncrypted) != 0;
  decoder.fixed<uint16_t>();
  header.data_key = decoder.fixed<uint32_t>();
  header.frame_bytes = decoder.fixed<uint32_t>();
  header.plain_bytes = decoder.fixed<uint64_t>();
  if (header.encrypted != (header.data_key != 0)) return malformed("names no data key, or one");
  if (header.frame_bytes < FrameHeader::kMinFrameBytes ||
      header.frame_bytes > FrameHeader::kMaxFrameBytes) {
    return malformed("tells of frames that are too small or too large");
  }
  const uint64_t count = FrameHeader::frame_count(header.plain_bytes, header.frame_bytes);
  if (header.plain_bytes > max_framed_bytes(header.frame_bytes) ||
      FrameHeader::header_bytes(count) != size) {
    return malformed("does not fit the object's length");
  }
  std::memcpy(header.salt.data(), bytes.data() + FrameHeader::kSaltOffset, header.salt.size());
  header.frames.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t entry = 0;
    std::memcpy(&entry, bytes.data() + FrameHeader::kFixedBytes + 4 * i, sizeof entry);
    SKERRY_ASSIGN(FrameHeader::Frame frame, decode_entry(entry, header.plain_bytes_of(i)));
    header.frames.push_back(frame);
  }
  const ByteView rest = bytes.subspan(FrameHeader::kFixedBytes + 4 * count);
  if (std::any_of(rest.begin(), rest.end(), [](std::byte b) { return b != std::byte{0}; })) {
    return malformed("goes on after its end");
  }
  return header;
}

Status seal_frame_header(std::string* header, const SecretKey* object) {
  const std::string plain = without_seal(as_bytes(*header));
  const MutableBytes seal = std::as_writable_bytes(std::span(*header))
                                .subspan(FrameHeader::kSealOffset, FrameHeader::kSealBytes);
  if (object == nullptr) {
    const auto checksum = checksum_seal(as_bytes(plain));
    std::copy(checksum.begin(), checksum.end(), seal.begin());
    return {};
  }
  SKERRY_ASSIGN(AesGcm cipher, AesGcm::make(*object, AesGcm::Direction::kSeal));
  return cipher.seal(frame_nonce(kHeaderNumber), as_bytes(plain), {}, {}, seal);
}

Status check_frame_header(ByteView header, const SecretKey* object) {
  const std::string plain = without_seal(header);
  const ByteView seal = header.subspan(FrameHeader::kSealOffset, FrameHeader::kSealBytes);
  if (object == nullptr) {
    const auto checksum = checksum_seal(as_bytes(plain));
    if (std::equal(checksum.begin(), checksum.end(), seal.begin())) return {};
    return malformed("fails its checksum");
  }
  SKERRY_ASSIGN(AesGcm cipher, AesGcm::make(*object, AesGcm::Direction::kOpen));
  Status opened = cipher.open(frame_nonce(kHeaderNumber), as_bytes(plain), {}, {}, seal);
  if (opened.ok() || opened.error().code() != EBADMSG) return opened;
  return malformed("is not authentic");
}

Result<SecretKey> object_secret(const KeyRing& keys, uint32_t data_key, std::string_view key,
                                const std::array<std::byte, 16>& salt) {
  const auto found = keys.data_keys.find(data_key);
  if (found == keys.data_keys.end()) {
    return Error(EBADMSG, "it names data key " + std::to_string(data_key) +
                              ", which the volume does not have");
  }
  std::string text = "skerry object\n" + keys.volume + "\n";
  text.append(key).push_back('\n');
  text.append(as_string_view(salt));
  return derive_key(found->second, text);
}

std::array<std::byte, 12> frame_nonce(uint64_t number) {
  std::array<std::byte, 12> nonce{};
  std::memcpy(nonce.data(), &number, sizeof number);
  return nonce;
}

}  // namespace skerry
