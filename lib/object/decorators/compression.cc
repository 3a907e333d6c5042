#include "object/decorators/compression.h"

#include <lz4.h>
#include <zstd.h>

#include <charconv>
#include <new>
#include <utility>

namespace skerry {
namespace {

/// What is saved must be worth the time of unpacking it.
size_t room(size_t plain_bytes) { return plain_bytes - plain_bytes / 16; }

const char* chars(ByteView bytes) { return reinterpret_cast<const char*>(bytes.data()); }
char* chars(MutableBytes bytes) { return reinterpret_cast<char*>(bytes.data()); }

void free_writer(ZSTD_CCtx* context) { ZSTD_freeCCtx(context); }
void free_reader(ZSTD_DCtx* context) { ZSTD_freeDCtx(context); }

}  // namespace

/// As many contexts as calls ever ran at once.
template <typename Context, void (*kFree)(Context*)>
class Compressor::Pool {
 public:
  struct Return {
    Pool* pool;
    void operator()(Context* context) const {
      std::lock_guard lock(pool->mutex_);
      pool->idle_.push_back(Owned(context));
    }
  };
  using Loan = std::unique_ptr<Context, Return>;

  template <typename Make>
  Loan borrow(Make make) {
    {
      std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        Loan loan(idle_.back().release(), Return{this});
        idle_.pop_back();
        return loan;
      }
    }
    Context* made = make();
    if (made == nullptr) throw std::bad_alloc();
    return Loan(made, Return{this});
  }

 private:
  struct Free {
    void operator()(Context* context) const { kFree(context); }
  };
  using Owned = std::unique_ptr<Context, Free>;
  std::mutex mutex_;
  std::vector<Owned> idle_;  // guarded by mutex_
};

struct Compressor::Pools {
  Pool<ZSTD_CCtx, free_writer> writers;
  Pool<ZSTD_DCtx, free_reader> readers;
};

Result<Compression> Compression::parse(std::string_view text) {
  Compression compression;
  if (text == "none") return compression;
  if (text == "lz4") {
    compression.method = FrameMethod::kLz4;
    return compression;
  }
  constexpr std::string_view kZstd = "zstd";
  if (text.starts_with(kZstd)) {
    compression.method = FrameMethod::kZstd;
    compression.level = kDefaultZstdLevel;
    std::string_view rest = text.substr(kZstd.size());
    if (rest.empty()) return compression;
    if (rest.front() == ':') {
      rest.remove_prefix(1);
      const auto [end, error] =
          std::from_chars(rest.data(), rest.data() + rest.size(), compression.level);
      if (error == std::errc() && end == rest.data() + rest.size() && compression.level >= 1 &&
          compression.level <= kMaxZstdLevel) {
        return compression;
      }
    }
  }
  return Error(EINVAL, "\"" + std::string(text) +
                           "\" is none of none, lz4, zstd and zstd:LEVEL, LEVEL from 1 to 19");
}

std::string Compression::text() const {
  if (method == FrameMethod::kStored) return "none";
  if (method == FrameMethod::kLz4) return "lz4";
  return level == kDefaultZstdLevel ? "zstd" : "zstd:" + std::to_string(level);
}

Compressor::Compressor(Compression compression)
    : compression_(compression), pools_(std::make_unique<Pools>()) {}

Compressor::~Compressor() = default;

size_t Compressor::compress(ByteView in, MutableBytes out) {
  const size_t most = room(in.size());
  if (compression_.method == FrameMethod::kLz4) {
    const int n = LZ4_compress_default(chars(in), chars(out), static_cast<int>(in.size()),
                                       static_cast<int>(most));
    return n > 0 && static_cast<size_t>(n) < in.size() ? static_cast<size_t>(n) : 0;
  }
  if (compression_.method == FrameMethod::kZstd) {
    const auto context = pools_->writers.borrow(ZSTD_createCCtx);
    const size_t n = ZSTD_compressCCtx(context.get(), out.data(), most, in.data(), in.size(),
                                       compression_.level);
    return ZSTD_isError(n) == 0 && n < in.size() ? n : 0;
  }
  return 0;
}

Status Compressor::decompress(FrameMethod method, ByteView in, MutableBytes out) {
  bool whole = false;
  if (method == FrameMethod::kLz4) {
    whole = LZ4_decompress_safe(chars(in), chars(out), static_cast<int>(in.size()),
                                static_cast<int>(out.size())) == static_cast<int>(out.size());
  } else if (method == FrameMethod::kZstd) {
    const auto context = pools_->readers.borrow(ZSTD_createDCtx);
    whole = ZSTD_decompressDCtx(context.get(), out.data(), out.size(), in.data(), in.size()) ==
            out.size();
  }
  if (whole) return {};
  return Error(EBADMSG, "it cannot be decompressed");
}

}  // namespace skerry
