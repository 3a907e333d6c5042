// ObjectStore: immutable named byte strings, as S3 and its kin keep them.
//
// Everything above this interface assumes only what an S3-compatible store promises: a PUT is
// atomic and visible whole or not at all; keys are independent; LIST is in key order and paged;
// DELETE of an absent key succeeds. The semantics follow the Amazon S3 API reference
// (PutObject, GetObject, ListObjectsV2, DeleteObjects, multipart upload, conditional writes).
//
// All calls block, are thread-safe, obey the deadline and cancel token of their OpContext, and
// return errors: ENOENT (no such key), EEXIST (conditional put lost), EINVAL (bad range), EIO,
// ENOSPC, EACCES, ETIMEDOUT, EBADMSG (damaged). An error of put() may leave it (maybe_applied).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "io/op_context.h"

namespace skerry {

struct ObjectInfo {
  std::string key;
  uint64_t size_bytes = 0;
  TimeNs modified_ns = 0;
  std::string etag;           // opaque; empty where the store has none
  std::string storage_class;  // empty: the store's default
};

struct ObjectPage {
  std::vector<ObjectInfo> objects;  // ascending by key bytes
  bool more = false;                // continue with start_after = objects.back().key
};

struct PutOptions {
  bool if_absent = false;     // fail with EEXIST if the key exists (If-None-Match: *)
  std::string storage_class;  // ignored where unsupported
};

/// What a store can do beyond the mandatory; callers check instead of trying.
struct ObjectCapabilities {
  bool conditional_put = false;
  bool multipart = false;
  bool storage_class = false;
  uint64_t max_put_bytes = 0;   // of one put()
  uint64_t min_part_bytes = 0;  // of every part but the last
  uint32_t max_batch_delete = 1000;
  bool ranged_get = true;
  bool gets_together = false;  // get_many() has its ranges under way at once
};

/// One range of get_many().
struct ObjectRange {
  std::string key;
  uint64_t offset = 0;
  MutableBytes out;
  Status result;
};

struct DeleteOutcome {
  std::string key;
  int error = 0;  // 0, or a positive errno: this key may still exist
};

struct UploadedPart {
  uint32_t number = 0;  // from 1
  std::string etag;
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  /// For messages: "file:///srv/data", never with secrets.
  virtual std::string describe() const = 0;
  virtual ObjectCapabilities capabilities() const = 0;

  /// Stores the concatenation of `pieces` under `key`. Durable when it returns.
  virtual Status put(const OpContext& ctx, std::string_view key,
                     const std::vector<ByteView>& pieces, const PutOptions& options = {}) = 0;

  /// Reads exactly out.size() bytes from `offset`, or fails: EINVAL where the object is shorter.
  virtual Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
                     MutableBytes out) = 0;

  /// As one get() of `length` bytes, handed to `take` in order and in ranges of `step` bytes, but
  /// for the last, as they arrive: then each is still in the processor's cache. A range is valid
  /// during its call and may be changed there. `buffer`: memory to use, of at least `step` bytes.
  /// After an error, what was taken before it is right nevertheless. An error of `take` ends the
  /// call. The default gets all at once where the buffer has room for it.
  using Take = std::function<Status(MutableBytes)>;
  virtual Status get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset,
                              uint64_t length, uint64_t step, MutableBytes buffer,
                              const Take& take);

  /// As one get() for each range, which `result` tells. `done` is called with the index of each,
  /// once, when its result is known, in any order, by the calling thread, which the others need not
  /// wait for: what is done with one range goes on while the rest arrive. With gets_together one
  /// thread has all of them under way; the default gets one after the other.
  using RangeDone = std::function<void(size_t)>;
  virtual void get_many(const OpContext& ctx, std::span<ObjectRange> ranges, const RangeDone& done);

  virtual Result<ObjectInfo> head(const OpContext& ctx, std::string_view key) = 0;

  /// Success also where the key is absent.
  virtual Status remove(const OpContext& ctx, std::string_view key) = 0;

  /// One outcome a key, in order. The call itself fails only if no outcome is known.
  virtual Result<std::vector<DeleteOutcome>> remove_batch(const OpContext& ctx,
                                                          const std::vector<std::string>& keys) = 0;

  /// Keys with `prefix`, greater than `start_after`, at most `limit` of them.
  virtual Result<ObjectPage> list(const OpContext& ctx, std::string_view prefix,
                                  std::string_view start_after, uint32_t limit) = 0;

  // Multipart: parts become visible together at complete, or never. ENOTSUP without the capability.
  virtual Result<std::string> start_upload(const OpContext& ctx, std::string_view key,
                                           const PutOptions& options = {}) = 0;
  virtual Result<UploadedPart> put_part(const OpContext& ctx, std::string_view key,
                                        std::string_view upload_id, uint32_t number,
                                        ByteView data) = 0;
  virtual Status complete_upload(const OpContext& ctx, std::string_view key,
                                 std::string_view upload_id,
                                 const std::vector<UploadedPart>& parts) = 0;
  virtual Status abort_upload(const OpContext& ctx, std::string_view key,
                              std::string_view upload_id) = 0;
};

}  // namespace skerry
