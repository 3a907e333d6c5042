#include "object/decorators/framed_store.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "object/crypto/aes_gcm.h"

namespace skerry {
namespace {

/// What is fetched at once stays in the processor's second cache until it is unpacked.
constexpr uint64_t kStepBytes = 256u << 10;

/// Of several headers fetched together; a longer one is fetched alone, whatever it says of itself.
constexpr size_t kMostHeaderBytes = 64u << 10;

std::string named(std::string_view key) { return "object " + std::string(key); }

/// The store said EINVAL: it has less than it should.
Status as_damage(Status got, const char* what) {
  if (got.ok() || got.error().code() != EINVAL) return got;
  return Error(EBADMSG, what);
}

constexpr char kNoHeader[] = "it is too short to have a header, as one stored in plain may be";
constexpr char kCut[] = "it ends before its header says";

Error past_end(std::string_view key) {
  return Error(EINVAL, named(key) + " is shorter than the range asked for");
}

Error no_parts() { return Error(ENOTSUP, "framed objects are not put in parts"); }

/// Consecutive bytes of pieces.
class Gather {
 public:
  explicit Gather(const std::vector<ByteView>& pieces) : pieces_(pieces) {}
  void next(MutableBytes out) {
    while (!out.empty()) {
      const ByteView piece = pieces_[at_].subspan(offset_);
      const size_t n = std::min(piece.size(), out.size());
      if (n != 0) std::memcpy(out.data(), piece.data(), n);
      out = out.subspan(n);
      offset_ += n;
      if (offset_ == pieces_[at_].size()) {
        ++at_;
        offset_ = 0;
      }
    }
  }

 private:
  const std::vector<ByteView>& pieces_;
  size_t at_ = 0;
  size_t offset_ = 0;
};

std::array<std::byte, 9> frame_context(FrameMethod method, uint64_t plain_bytes) {
  std::array<std::byte, 9> context{};
  context[0] = static_cast<std::byte>(method);
  std::memcpy(context.data() + 1, &plain_bytes, sizeof plain_bytes);
  return context;
}

/// Memory that nobody clears before it is written.
class Buffer {
 public:
  explicit Buffer(size_t size) : memory_(new std::byte[size]), size_(size) {}
  MutableBytes bytes() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> memory_;
  size_t size_;
};

}  // namespace

/// The latest headers, by the objects' keys. Thread-safe.
class FramedObjectStore::Headers {
 public:
  explicit Headers(uint64_t most_bytes) : most_bytes_(most_bytes) {}

  KnownPtr find(std::string_view key) {
    std::lock_guard lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    latest_.splice(latest_.begin(), latest_, found->second);
    return found->second->known;
  }
  void keep(std::string_view key, KnownPtr known) {
    std::lock_guard lock(mutex_);
    drop(key);
    latest_.push_front({std::string(key), std::move(known)});
    by_key_[latest_.front().key] = latest_.begin();
    bytes_ += charge(latest_.front());
    while (bytes_ > most_bytes_) drop(std::string(latest_.back().key));
  }
  void forget(std::string_view key) {
    std::lock_guard lock(mutex_);
    drop(key);
  }

 private:
  struct Entry {
    std::string key;
    KnownPtr known;
  };
  static uint64_t charge(const Entry& entry) {
    constexpr uint64_t kOverhead = 256;
    return kOverhead + entry.key.size() +
           entry.known->header.frames.size() * sizeof(FrameHeader::Frame);
  }
  void drop(std::string_view key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return;
    const auto entry = found->second;
    bytes_ -= charge(*entry);
    by_key_.erase(found);
    latest_.erase(entry);
  }

  const uint64_t most_bytes_;
  std::mutex mutex_;  // guards what follows
  std::list<Entry> latest_;
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // keys of entries
  uint64_t bytes_ = 0;
};

/// Takes the stored bytes of consecutive frames as they come and leaves the bytes wanted of them
/// where `place` says. Used by one thread.
class FramedObjectStore::Unpacker {
 public:
  /// Where the next `n` bytes go; told when they are there.
  using Place = std::function<MutableBytes(uint64_t n)>;
  using Placed = std::function<Status(MutableBytes)>;

  Unpacker(const FramedObjectStore& store, const Known& known, uint64_t offset, uint64_t length,
           Place place, Placed placed)
      : store_(store),
        known_(known),
        begin_(offset),
        end_(offset + length),
        frame_(offset / known.header.frame_bytes),
        place_(std::move(place)),
        placed_(std::move(placed)) {
    const FrameHeader& header = known.header;
    const uint64_t last = (end_ - 1) / header.frame_bytes;
    stored_begin_ = header.offset_of(frame_);
    stored_end_ = header.offset_of(last + 1);
  }
  /// What to fetch.
  uint64_t stored_begin() const { return stored_begin_; }
  uint64_t stored_bytes() const { return stored_end_ - stored_begin_; }

  Status take(MutableBytes stored) {
    while (!stored.empty()) {
      const uint64_t whole = known_.header.frames[frame_].bytes + known_.header.tag_bytes();
      if (pending_.empty() && stored.size() >= whole) {
        SKERRY_TRY(unpack(stored.first(whole)));
        stored = stored.subspan(whole);
        continue;
      }
      const uint64_t n = std::min<uint64_t>(whole - pending_.size(), stored.size());
      pending_.insert(pending_.end(), stored.begin(), stored.begin() + static_cast<ptrdiff_t>(n));
      stored = stored.subspan(n);
      if (pending_.size() < whole) continue;
      SKERRY_TRY(unpack(pending_));
      pending_.clear();
    }
    return {};
  }

 private:
  /// `sealed`: one whole frame, which may be changed.
  Status unpack(MutableBytes sealed) {
    const FrameHeader& header = known_.header;
    const uint64_t number = frame_++;
    const uint64_t plain_begin = number * header.frame_bytes;
    const uint64_t plain_bytes = header.plain_bytes_of(number);
    const uint64_t from = std::max(begin_, plain_begin);
    const uint64_t to = std::min(end_, plain_begin + plain_bytes);
    const MutableBytes out = place_(to - from);
    Status unpacked;
    if (out.size() == plain_bytes) {
      unpacked = unpack_to(number, sealed, out);
    } else {
      scratch_.resize(plain_bytes);
      unpacked = unpack_to(number, sealed, scratch_);
      std::memcpy(out.data(), scratch_.data() + (from - plain_begin), out.size());
    }
    if (!unpacked.ok()) {
      return std::move(unpacked).error().with_context("frame " + std::to_string(number));
    }
    return placed_(out);
  }

  Status unpack_to(uint64_t number, MutableBytes sealed, MutableBytes out) {
    const FrameHeader::Frame& frame = known_.header.frames[number];
    const MutableBytes body = sealed.first(frame.bytes);
    const bool stored = frame.method == FrameMethod::kStored;
    if (known_.secret.has_value()) {
      if (!cipher_.has_value()) {
        SKERRY_ASSIGN(cipher_, AesGcm::make(*known_.secret, AesGcm::Direction::kOpen));
      }
      SKERRY_TRY(cipher_->open(frame_nonce(number), frame_context(frame.method, out.size()), body,
                               stored ? out : body, sealed.subspan(frame.bytes)));
    } else if (stored) {
      std::memcpy(out.data(), body.data(), out.size());
    }
    if (stored) return {};
    return store_.compressor_.decompress(frame.method, body, out);
  }

  const FramedObjectStore& store_;
  const Known& known_;
  const uint64_t begin_;
  const uint64_t end_;
  uint64_t frame_;
  uint64_t stored_begin_ = 0;
  uint64_t stored_end_ = 0;
  const Place place_;
  const Placed placed_;
  std::optional<AesGcm> cipher_;
  std::vector<std::byte> pending_;
  std::vector<std::byte> scratch_;
};

struct FramedObjectStore::Packed {
  KnownPtr known;
  std::string header;
  Buffer frames;
  uint64_t frames_bytes = 0;
};

FramedObjectStore::FramedObjectStore(std::shared_ptr<ObjectStore> base,
                                     std::function<StoredAs(std::string_view)> stored_as,
                                     FramedOptions options)
    : base_(std::move(base)),
      stored_as_(std::move(stored_as)),
      options_(std::move(options)),
      compressor_(options_.compression),
      headers_(std::make_unique<Headers>(options_.header_cache_bytes)) {}

FramedObjectStore::~FramedObjectStore() = default;

ObjectCapabilities FramedObjectStore::capabilities() const {
  ObjectCapabilities capabilities = base_->capabilities();
  capabilities.multipart = false;
  capabilities.min_part_bytes = 0;
  // A frame may become longer by its tag and its entry in the header.
  const uint64_t longest = FrameHeader::kSealBytes + sizeof(uint32_t);
  const uint64_t most = capabilities.max_put_bytes == 0
                            ? UINT64_MAX
                            : (capabilities.max_put_bytes - FrameHeader::kUnitBytes * 2) /
                                  (options_.frame_bytes + longest) * options_.frame_bytes;
  capabilities.max_put_bytes = std::min(most, max_framed_bytes(options_.frame_bytes));
  return capabilities;
}

// ---- putting

Result<FramedObjectStore::Packed> FramedObjectStore::pack(std::string_view key, StoredAs as,
                                                          const std::vector<ByteView>& pieces,
                                                          uint64_t plain_bytes) {
  auto known = std::make_shared<Known>();
  FrameHeader& header = known->header;
  header.encrypted = as == StoredAs::kEncrypted;
  header.frame_bytes = options_.frame_bytes;
  header.plain_bytes = plain_bytes;
  if (header.encrypted) {
    header.data_key = options_.keys->current;
    SKERRY_TRY(fill_random(header.salt));
    SKERRY_ASSIGN(known->secret, object_secret(*options_.keys, header.data_key, key, header.salt));
  }
  const uint64_t count = FrameHeader::frame_count(plain_bytes, header.frame_bytes);
  header.frames.resize(count);
  Packed packed{nullptr, {}, Buffer(plain_bytes + count * header.tag_bytes()), 0};
  const bool compresses = compressor_.method() != FrameMethod::kStored;
  const Buffer plain(compresses ? std::min<uint64_t>(header.frame_bytes, plain_bytes) : 0);
  std::optional<AesGcm> cipher;
  if (header.encrypted) {
    SKERRY_ASSIGN(cipher, AesGcm::make(*known->secret, AesGcm::Direction::kSeal));
  }
  Gather gather(pieces);
  for (uint64_t i = 0; i < count; ++i) {
    FrameHeader::Frame& frame = header.frames[i];
    const uint64_t n = header.plain_bytes_of(i);
    const MutableBytes out = packed.frames.bytes().subspan(packed.frames_bytes);
    frame.bytes = static_cast<uint32_t>(n);
    if (compresses) {
      gather.next(plain.bytes().first(n));
      const size_t shorter = compressor_.compress(plain.bytes().first(n), out.first(n));
      if (shorter != 0) {
        frame = {compressor_.method(), static_cast<uint32_t>(shorter)};
      } else {
        std::memcpy(out.data(), plain.bytes().data(), n);
      }
    } else {
      gather.next(out.first(n));
    }
    if (header.encrypted) {
      SKERRY_TRY(cipher->seal(frame_nonce(i), frame_context(frame.method, n),
                              out.first(frame.bytes), out.first(frame.bytes),
                              out.subspan(frame.bytes, FrameHeader::kSealBytes)));
    }
    packed.frames_bytes += frame.bytes + header.tag_bytes();
  }
  packed.header = encode_frame_header(header);
  SKERRY_TRY(seal_frame_header(&packed.header, known->secret ? &*known->secret : nullptr));
  packed.known = std::move(known);
  return packed;
}

Status FramedObjectStore::put(const OpContext& ctx, std::string_view key,
                              const std::vector<ByteView>& pieces, const PutOptions& options) {
  const StoredAs as = stored_as_(key);
  if (as == StoredAs::kPlain) return base_->put(ctx, key, pieces, options);
  SKERRY_TRY(ctx.check());
  uint64_t plain_bytes = 0;
  for (ByteView piece : pieces) plain_bytes += piece.size();
  if (plain_bytes > max_framed_bytes(options_.frame_bytes)) {
    return Error(EINVAL, named(key) + " is too large for one put");
  }
  if (as == StoredAs::kEncrypted && options_.keys == nullptr) {
    return Error(EACCES, named(key) + " is to be encrypted, and there is no key");
  }
  SKERRY_ASSIGN(const Packed packed, pack(key, as, pieces, plain_bytes));
  headers_->forget(key);
  SKERRY_TRY(base_->put(ctx, key,
                        {as_bytes(packed.header), packed.frames.bytes().first(packed.frames_bytes)},
                        options));
  headers_->keep(key, packed.known);
  return {};
}

// ---- getting

Result<FramedObjectStore::KnownPtr> FramedObjectStore::understand(std::string_view key,
                                                                  ByteView bytes) const {
  auto known = std::make_shared<Known>();
  SKERRY_ASSIGN(known->header, decode_frame_header(bytes));
  const FrameHeader& header = known->header;
  if (header.encrypted != (stored_as_(key) == StoredAs::kEncrypted)) {
    return Error(EBADMSG, header.encrypted ? "it is encrypted, and should not be"
                                           : "it is not encrypted, and should be");
  }
  if (header.encrypted) {
    if (options_.keys == nullptr) return Error(EACCES, "it is encrypted, and there is no key");
    SKERRY_ASSIGN(known->secret, object_secret(*options_.keys, header.data_key, key, header.salt));
  }
  SKERRY_TRY(check_frame_header(bytes, known->secret ? &*known->secret : nullptr));
  return KnownPtr(std::move(known));
}

Result<FramedObjectStore::KnownPtr> FramedObjectStore::load(const OpContext& ctx,
                                                            std::string_view key, bool* cached) {
  KnownPtr known = headers_->find(key);
  *cached = known != nullptr;
  if (*cached) return known;
  std::vector<std::byte> bytes(FrameHeader::kUnitBytes);
  SKERRY_TRY(as_damage(base_->get(ctx, key, 0, bytes), kNoHeader));
  SKERRY_ASSIGN(const size_t size, frame_header_size(bytes));
  if (size > bytes.size()) {
    bytes.resize(size);
    SKERRY_TRY(as_damage(base_->get(ctx, key, FrameHeader::kUnitBytes,
                                    MutableBytes(bytes).subspan(FrameHeader::kUnitBytes)),
                         kCut));
  }
  SKERRY_ASSIGN(known, understand(key, bytes));
  headers_->keep(key, known);
  return known;
}

Status FramedObjectStore::read(const OpContext& ctx, std::string_view key, const KnownPtr& known,
                               uint64_t offset, MutableBytes out) {
  const uint64_t plain_bytes = known->header.plain_bytes;
  if (offset > plain_bytes || out.size() > plain_bytes - offset) return past_end(key);
  if (out.empty()) return {};
  uint64_t placed = 0;
  Unpacker unpacker(
      *this, *known, offset, out.size(),
      [&](uint64_t n) { return out.subspan(std::exchange(placed, placed + n), n); },
      [](MutableBytes) { return Status(); });
  const uint64_t stored = unpacker.stored_bytes();
  const Buffer buffer(std::min(stored, kStepBytes));
  if (stored <= kStepBytes) {
    SKERRY_TRY(as_damage(base_->get(ctx, key, unpacker.stored_begin(), buffer.bytes()), kCut));
    return unpacker.take(buffer.bytes());
  }
  return as_damage(
      base_->get_in_steps(ctx, key, unpacker.stored_begin(), stored, kStepBytes, buffer.bytes(),
                          [&](MutableBytes range) { return unpacker.take(range); }),
      kCut);
}

Status FramedObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                              MutableBytes out) {
  if (stored_as_(key) == StoredAs::kPlain) return base_->get(ctx, key, offset, out);
  for (;;) {
    bool cached = false;
    auto known = load(ctx, key, &cached);
    Status got = known.ok() ? read(ctx, key, *known, offset, out) : Status(known.error());
    if (got.ok() || got.error().code() != EBADMSG) return got;
    // A header that is remembered may be that of an object put anew by somebody else.
    headers_->forget(key);
    if (!cached) return std::move(got).error().with_context(named(key));
  }
}

Status FramedObjectStore::get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset,
                                       uint64_t length, uint64_t step, MutableBytes buffer,
                                       const Take& take) {
  if (stored_as_(key) == StoredAs::kPlain) {
    return base_->get_in_steps(ctx, key, offset, length, step, buffer, take);
  }
  bool cached = false;
  auto known = load(ctx, key, &cached);
  const bool aligned = known.ok() && length > step && offset % (*known)->header.frame_bytes == 0 &&
                       step % (*known)->header.frame_bytes == 0;
  // An error of the header is get()'s to tell.
  if (!aligned) return ObjectStore::get_in_steps(ctx, key, offset, length, step, buffer, take);
  const uint64_t plain_bytes = (*known)->header.plain_bytes;
  if (offset > plain_bytes || length > plain_bytes - offset) return past_end(key);
  uint64_t unpacked = 0, taken = 0;
  Unpacker unpacker(
      *this, **known, offset, length,
      [&](uint64_t n) { return buffer.subspan(std::exchange(unpacked, unpacked + n) - taken, n); },
      [&](MutableBytes) -> Status {
        if (unpacked - taken < step && unpacked < length) return {};
        const MutableBytes full = buffer.first(unpacked - taken);
        taken = unpacked;
        return take(full);
      });
  const Buffer stored(kStepBytes);
  Status own;  // of unpacking, or of `take`
  Status got = base_->get_in_steps(ctx, key, unpacker.stored_begin(), unpacker.stored_bytes(),
                                   kStepBytes, stored.bytes(), [&](MutableBytes range) -> Status {
                                     own = unpacker.take(range);
                                     return own;
                                   });
  got = own.ok() ? as_damage(std::move(got), kCut) : std::move(own);
  if (got.ok() || got.error().code() != EBADMSG) return got;
  headers_->forget(key);
  return std::move(got).error().with_context(named(key));
}

/// Requests of one get_many() that are under way together: the headers that are not known first.
class FramedObjectStore::ReadTogether {
 public:
  ReadTogether(FramedObjectStore& store, const OpContext& ctx, std::span<ObjectRange> ranges,
               const RangeDone& done)
      : store_(store), ctx_(ctx), ranges_(ranges), done_(done) {}

  void run() {
    find_headers();
    std::vector<ObjectRange> fetched;
    std::vector<Part> parts;
    for (size_t i = 0; i < ranges_.size(); ++i) plan(i, &fetched, &parts);
    store_.base_->get_many(ctx_, fetched, [&](size_t r) { take(fetched[r], parts[r]); });
    // Whatever has gone wrong with a remembered or an unusual header is told, or mended, by get().
    for (size_t i : alone_) {
      ObjectRange& range = ranges_[i];
      range.result = store_.get(ctx_, range.key, range.offset, range.out);
      done_(i);
    }
  }

 private:
  struct Part {
    size_t index;
    KnownPtr known;  // null: in plain
    std::unique_ptr<Buffer> stored;
  };

  void find_headers() {
    std::vector<ObjectRange> begins;
    std::vector<std::vector<std::byte>> headers;
    for (const ObjectRange& range : ranges_) {
      if (store_.stored_as_(range.key) == StoredAs::kPlain || known_.contains(range.key)) continue;
      KnownPtr& known = known_[range.key];
      known = store_.headers_->find(range.key);
      if (known != nullptr) continue;
      headers.emplace_back(FrameHeader::kUnitBytes);
      begins.push_back({range.key, 0, headers.back(), {}});
    }
    if (begins.empty()) return;
    std::vector<size_t> longer;  // headers of large objects, which their first bytes tell
    store_.base_->get_many(ctx_, begins, [&](size_t h) {
      if (!begins[h].result.ok()) return;
      const Result<size_t> size = frame_header_size(headers[h]);
      if (!size.ok() || *size > kMostHeaderBytes) return;
      if (*size == headers[h].size()) return remember(begins[h].key, headers[h]);
      headers[h].resize(*size);
      longer.push_back(h);
    });
    std::vector<ObjectRange> rests;
    for (size_t h : longer) {
      rests.push_back({begins[h].key,
                       FrameHeader::kUnitBytes,
                       MutableBytes(headers[h]).subspan(FrameHeader::kUnitBytes),
                       {}});
    }
    if (rests.empty()) return;
    store_.base_->get_many(ctx_, rests, [&](size_t r) {
      if (rests[r].result.ok()) remember(rests[r].key, headers[longer[r]]);
    });
  }

  void remember(const std::string& key, ByteView header) {
    auto known = store_.understand(key, header);
    if (!known.ok()) return;
    store_.headers_->keep(key, *known);
    known_[key] = *known;
  }

  void plan(size_t i, std::vector<ObjectRange>* fetched, std::vector<Part>* parts) {
    ObjectRange& range = ranges_[i];
    if (store_.stored_as_(range.key) == StoredAs::kPlain) {
      fetched->push_back({range.key, range.offset, range.out, {}});
      parts->push_back({i, nullptr, nullptr});
      return;
    }
    const KnownPtr& known = known_[range.key];
    const bool within = known != nullptr && range.offset <= known->header.plain_bytes &&
                        range.out.size() <= known->header.plain_bytes - range.offset;
    if (!within || range.out.empty()) {
      alone_.push_back(i);
      return;
    }
    const Unpacker unpacker = unpacker_of(range, *known, nullptr);
    auto stored = std::make_unique<Buffer>(unpacker.stored_bytes());
    fetched->push_back({range.key, unpacker.stored_begin(), stored->bytes(), {}});
    parts->push_back({i, known, std::move(stored)});
  }

  Unpacker unpacker_of(const ObjectRange& range, const Known& known, uint64_t* placed) {
    return Unpacker(
        store_, known, range.offset, range.out.size(),
        [out = range.out, placed](uint64_t n) {
          return out.subspan(std::exchange(*placed, *placed + n), n);
        },
        [](MutableBytes) { return Status(); });
  }

  void take(ObjectRange& fetched, const Part& part) {
    ObjectRange& range = ranges_[part.index];
    range.result = std::move(fetched.result);
    if (part.known != nullptr) {
      range.result = as_damage(std::move(range.result), kCut);
      if (range.result.ok()) {
        uint64_t placed = 0;
        range.result = unpacker_of(range, *part.known, &placed).take(part.stored->bytes());
      }
      if (!range.result.ok() && range.result.error().code() == EBADMSG) {
        store_.headers_->forget(range.key);
        alone_.push_back(part.index);
        return;
      }
    }
    done_(part.index);
  }

  FramedObjectStore& store_;
  const OpContext& ctx_;
  const std::span<ObjectRange> ranges_;
  const RangeDone& done_;
  std::unordered_map<std::string, KnownPtr> known_;
  std::vector<size_t> alone_;
};

void FramedObjectStore::get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                                 const RangeDone& done) {
  if (!base_->capabilities().gets_together) return ObjectStore::get_many(ctx, ranges, done);
  ReadTogether(*this, ctx, ranges, done).run();
}

// ---- the rest

Result<ObjectInfo> FramedObjectStore::head(const OpContext& ctx, std::string_view key) {
  SKERRY_ASSIGN(ObjectInfo info, base_->head(ctx, key));
  if (stored_as_(key) == StoredAs::kPlain) return info;
  for (;;) {
    bool cached = false;
    auto known = load(ctx, key, &cached);
    Status fits = known.ok() ? Status() : Status(known.error());
    if (known.ok()) {
      const FrameHeader& header = (*known)->header;
      if (info.size_bytes == header.offset_of(header.frames.size())) {
        info.size_bytes = header.plain_bytes;
        return info;
      }
      fits = Error(EBADMSG, "it has not the length that its header says");
    }
    if (fits.error().code() != EBADMSG) return std::move(fits).error();
    headers_->forget(key);
    if (!cached) return std::move(fits).error().with_context(named(key));
  }
}

Status FramedObjectStore::remove(const OpContext& ctx, std::string_view key) {
  headers_->forget(key);
  return base_->remove(ctx, key);
}

Result<std::vector<DeleteOutcome>> FramedObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) headers_->forget(key);
  return base_->remove_batch(ctx, keys);
}

Result<ObjectPage> FramedObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                           std::string_view start_after, uint32_t limit) {
  return base_->list(ctx, prefix, start_after, limit);
}

Result<std::string> FramedObjectStore::start_upload(const OpContext&, std::string_view,
                                                    const PutOptions&) {
  return no_parts();
}

Result<UploadedPart> FramedObjectStore::put_part(const OpContext&, std::string_view,
                                                 std::string_view, uint32_t, ByteView) {
  return no_parts();
}

Status FramedObjectStore::complete_upload(const OpContext&, std::string_view, std::string_view,
                                          const std::vector<UploadedPart>&) {
  return no_parts();
}

Status FramedObjectStore::abort_upload(const OpContext&, std::string_view, std::string_view) {
  return no_parts();
}

}  // namespace skerry
