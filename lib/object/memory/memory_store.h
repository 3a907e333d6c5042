// MemoryObjectStore: the whole interface over a map, for tests, the simulator and scratch volumes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "object/object_store.h"

namespace skerry {

/// Gone with the instance; several clients share a "bucket" by sharing the instance.
/// Upload ids count up, so that a simulation repeats itself exactly. Thread-safe.
class MemoryObjectStore final : public ObjectStore {
 public:
  /// `clock` gives objects their modification time and outlives the store. `gets_together`: as
  /// capabilities() tells it, for callers that go another way then.
  explicit MemoryObjectStore(Clock& clock, bool gets_together = false)
      : clock_(clock), gets_together_(gets_together) {}

  std::string describe() const override { return "memory://"; }
  ObjectCapabilities capabilities() const override;
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
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

  uint64_t object_count() const;
  uint64_t size_bytes() const;

 private:
  struct Object {
    std::shared_ptr<const std::string> data;  // shared with reads that copy outside the lock
    TimeNs modified_ns = 0;
    std::string etag;
    std::string storage_class;
  };
  struct Upload {
    std::string key;
    PutOptions options;
    std::map<uint32_t, std::shared_ptr<const std::string>> parts;
  };

  static ObjectInfo info_of(const std::string& key, const Object& object);
  Status store(std::string_view key, std::string data, const PutOptions& options);
  /// Null where no such upload of `key` is under way. The caller holds mutex_.
  Upload* find_upload(std::string_view key, std::string_view upload_id);

  Clock& clock_;
  const bool gets_together_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, Object, std::less<>> objects_;
  std::map<std::string, Upload, std::less<>> uploads_;
  uint64_t next_upload_ = 1;
  uint64_t size_bytes_ = 0;
};

}  // namespace skerry
