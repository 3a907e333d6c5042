// FramedObjectStore: objects compressed, encrypted or both, over any object store.
//
// One decorator does both, because what makes ranged reads of either work is the same: frames that
// are unpacked by themselves, and a header that says where they are (frame_format.h). Two would
// ask for two headers, one after the other.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "object/crypto/key_ring.h"
#include "object/decorators/compression.h"
#include "object/decorators/frame_format.h"
#include "object/object_store.h"

namespace skerry {

/// How an object lies in the store below.
enum class StoredAs { kPlain, kFramed, kEncrypted };

struct FramedOptions {
  uint32_t frame_bytes = 128u << 10;    // of what is put
  Compression compression;              // of what is put
  std::shared_ptr<const KeyRing> keys;  // null where nothing is encrypted; shared with who opened
  uint64_t header_cache_bytes = 4u << 20;
};

/// Sizes, ranges and contents are those before compression and encryption, but for the sizes of
/// list(), which are those that the store keeps (a listing does not read headers). Objects in plain
/// are passed through. Whether a key's object is in plain is for `stored_as` to know, never for the
/// object to tell: one in plain, or without encryption, in the place of another is EBADMSG, as is
/// all that was changed, cut or moved.
///
/// A key is meant to be put once: a get beside a second put of its key may be EBADMSG.
///
/// The first read of an object that was not put here asks for its header before its frames: a
/// request of 256 bytes more. Headers are remembered.
///
/// No multipart: a header tells the lengths of all frames and is first in the object, so the parts
/// would have to be held in memory, and nothing above puts in parts.
class FramedObjectStore final : public ObjectStore {
 public:
  /// `base` may be shared with other clients of one bucket. `stored_as` is asked by many threads,
  /// and answers the same for a key for ever.
  FramedObjectStore(std::shared_ptr<ObjectStore> base,
                    std::function<StoredAs(std::string_view)> stored_as, FramedOptions options);
  ~FramedObjectStore() override;

  std::string describe() const override { return base_->describe(); }
  ObjectCapabilities capabilities() const override;
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
  Status get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset, uint64_t length,
                      uint64_t step, MutableBytes buffer, const Take& take) override;
  void get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                const RangeDone& done) override;
  Result<ObjectInfo> head(const OpContext& ctx, std::string_view key) override;
  Status remove(const OpContext& ctx, std::string_view key) override;
  Result<std::vector<DeleteOutcome>> remove_batch(const OpContext& ctx,
                                                  const std::vector<std::string>& keys) override;
  Result<ObjectPage> list(const OpContext& ctx, std::string_view prefix,
                          std::string_view start_after, uint32_t limit) override;
  Result<std::string> start_upload(const OpContext& ctx, std::string_view key,
                                   const PutOptions& options = {}) override;
  Result<UploadedPart> put_part(const OpContext& ctx, std::string_view key,
                                std::string_view upload_id, uint32_t number,
                                ByteView data) override;
  Status complete_upload(const OpContext& ctx, std::string_view key, std::string_view upload_id,
                         const std::vector<UploadedPart>& parts) override;
  Status abort_upload(const OpContext& ctx, std::string_view key,
                      std::string_view upload_id) override;

 private:
  /// A header that was checked.
  struct Known {
    FrameHeader header;
    std::optional<SecretKey> secret;  // of the object, where encrypted
  };
  using KnownPtr = std::shared_ptr<const Known>;  // shared by the cache and the reads under way
  class Unpacker;
  class Headers;
  class ReadTogether;
  struct Packed;

  Result<Packed> pack(std::string_view key, StoredAs as, const std::vector<ByteView>& pieces,
                      uint64_t plain_bytes);
  Result<KnownPtr> understand(std::string_view key, ByteView header) const;
  /// From the cache, or else the store.
  Result<KnownPtr> load(const OpContext& ctx, std::string_view key, bool* cached);
  Status read(const OpContext& ctx, std::string_view key, const KnownPtr& known, uint64_t offset,
              MutableBytes out);

  const std::shared_ptr<ObjectStore> base_;
  const std::function<StoredAs(std::string_view)> stored_as_;
  const FramedOptions options_;
  mutable Compressor compressor_;
  const std::unique_ptr<Headers> headers_;
};

}  // namespace skerry
