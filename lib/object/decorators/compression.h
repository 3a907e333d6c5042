// Compression of frames, with lz4 and zstd.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "object/decorators/frame_format.h"

namespace skerry {

struct Compression {
  static constexpr int kDefaultZstdLevel = 1;
  static constexpr int kMaxZstdLevel = 19;

  FrameMethod method = FrameMethod::kStored;
  int level = 0;  // zstd's; 0 for the others

  /// "none", "lz4", "zstd" or "zstd:LEVEL". EINVAL for anything else.
  static Result<Compression> parse(std::string_view text);
  std::string text() const;
};

/// Keeps the working memory of the calls that run at once. Thread-safe.
class Compressor {
 public:
  explicit Compressor(Compression compression);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  FrameMethod method() const { return compression_.method; }
  /// How many bytes of `out` were written: 0 where `in` does not become at least a sixteenth
  /// shorter. `out` is as long as `in`.
  size_t compress(ByteView in, MutableBytes out);
  /// EBADMSG where `in` is not what exactly out.size() bytes were compressed to. Never writes more.
  Status decompress(FrameMethod method, ByteView in, MutableBytes out);

 private:
  template <typename Context, void (*kFree)(Context*)>
  class Pool;
  struct Pools;

  const Compression compression_;
  const std::unique_ptr<Pools> pools_;
};

}  // namespace skerry
