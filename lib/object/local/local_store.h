// LocalObjectStore: objects as files below a directory of a local or network file system.
//
//   <root>/chunks/00/12/345   the object "chunks/00/12/345"
//   <root>/.tmp/              objects being written, renamed into place when whole
//   <root>/.uploads/<id>/     multipart uploads under way: "key" and one file a part
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "object/local/descriptor_cache.h"
#include "object/local/file_handle.h"
#include "object/object_store.h"

namespace skerry {

/// Any number of instances, in any number of processes, may use one root. A crash at any point
/// leaves each object whole or absent; what it leaves in .tmp and .uploads is removed by a later
/// open(). Thread-safe; without threads or process-wide state, so a forked child opens its own.
class LocalObjectStore final : public ObjectStore {
 public:
  struct Options {
    bool sync = true;            // false: a power cut may lose what put() reported as stored
    size_t max_open_files = 64;  // descriptors kept open for reading; 0: none
    TimeNs stale_temp_ns = TimeNs{3600} * 1'000'000'000;
    TimeNs stale_upload_ns = TimeNs{7} * 86400 * 1'000'000'000;
    Random* random = nullptr;  // null: system_random()
  };

  /// Makes `root` where it is missing. `clock` tells how old leftovers are; it and
  /// options.random outlive the store.
  static Result<std::unique_ptr<ObjectStore>> open(const std::string& root, Clock& clock,
                                                   Options options);
  static Result<std::unique_ptr<ObjectStore>> open(const std::string& root, Clock& clock) {
    return open(root, clock, Options());
  }

  std::string describe() const override { return "file://" + root_; }
  ObjectCapabilities capabilities() const override;
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
  Status get_in_steps(const OpContext& ctx, std::string_view key, uint64_t offset, uint64_t length,
                      uint64_t step, MutableBytes buffer, const Take& take) override;
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
  class TempFile;

  LocalObjectStore(std::string root, FileHandle root_handle, Clock& clock, Options options);

  /// "put k: No space left on device (file:///srv/data)". The errno is that of a file call.
  Error error(const char* what, std::string_view name, int code) const;

  Result<TempFile> create_temp();
  Status finish(TempFile& temp);  // flushes and closes
  Status publish(TempFile& temp, std::string_view key, bool if_absent);
  int move_into_place(const TempFile& temp, const std::string& key, bool if_absent) const;
  Status make_directory(std::string_view directory);
  bool is_durable(const std::string& directory);
  Status sync_directory(std::string_view directory) const;
  /// Returns an errno or 0; the caller syncs the directory.
  int unlink_object(const std::string& key);

  Result<std::shared_ptr<FileHandle>> open_object(std::string_view key, uint64_t* size_bytes);

  struct UploadRecord {
    std::string directory;
    bool if_absent = false;
  };
  /// ENOENT where no such upload of `key` is under way.
  Result<UploadRecord> find_upload(std::string_view key, std::string_view upload_id) const;
  Status append_part(const OpContext& ctx, const UploadRecord& upload, const UploadedPart& part,
                     TempFile& out) const;
  void remove_upload(const std::string& directory) const;
  void remove_leftovers() const;

  const std::string root_;
  const FileHandle root_handle_;
  Clock& clock_;
  const Options options_;
  Random& random_;
  std::atomic<uint64_t> next_temp_{0};
  DescriptorCache readers_;

  std::mutex directories_mutex_;
  /// Directories whose own entry this instance has made durable, all the way up.
  std::unordered_set<std::string> durable_directories_;
};

}  // namespace skerry
