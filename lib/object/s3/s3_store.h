// S3ObjectStore: objects in Amazon S3 or what speaks its REST API ("Amazon S3 API Reference").
//
// Requests are signed (signature.h), sent over kept connections by one thread (io/http_client.h),
// and held to what was asked for: an answer of another length or range is an error and never data.
// What a put sends carries a CRC-32C, which the server compares with what it stores. Errors name
// the operation, the key, the status, and S3's code and request id. Only what concerns the request
// itself is done again here: the clock is set by the server's where that says it is wrong, region
// and endpoint where the server names others (redirect.h), and keys that have expired are fetched
// anew; and what the server says that it lacks is done without. For the rest see RetryObjectStore.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "io/http_client.h"
#include "object/object_store.h"
#include "object/s3/credentials_provider.h"
#include "object/s3/location.h"
#include "object/s3/problem.h"

namespace skerry {

class S3ObjectStore final : public ObjectStore {
 public:
  /// Reads the environment and fetches the first keys; asks the store nothing. EINVAL and EACCES
  /// say what to do.
  static Result<std::unique_ptr<S3ObjectStore>> open(std::string_view url, Clock& clock,
                                                     HttpOptions http = {});

  S3ObjectStore(s3::Location location, std::shared_ptr<s3::CredentialsProvider> credentials,
                Clock& clock, HttpOptions http = {});
  S3ObjectStore(s3::Location location, s3::Credentials credentials, Clock& clock,
                HttpOptions http = {});

  /// CreateBucket, unless the bucket is there.
  Status make_bucket_if_absent(const OpContext& ctx);

  std::string describe() const override { return location()->describe(); }
  ObjectCapabilities capabilities() const override;
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
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

  // What S3 has and few others.

  /// EEXIST: the object there has another etag, and stays. ENOENT: there is none, where the server
  /// tells. A server that does not know the condition passes it over, or says ENOTSUP.
  Status remove_if_same(const OpContext& ctx, std::string_view key, std::string_view etag);
  /// The server makes `to` a copy of `from`, both in this prefix; in parts where that is larger
  /// than one copy may be.
  Status copy(const OpContext& ctx, std::string_view from, std::string_view to);
  enum class Restore { kBegun, kUnderWay, kDone };
  /// Has an archived object made readable for some days. `tier`: Standard, Bulk or Expedited.
  Result<Restore> restore(const OpContext& ctx, std::string_view key, uint32_t days,
                          std::string_view tier = "Standard");

 private:
  using LocationPtr = std::shared_ptr<const s3::Location>;
  struct Call;

  LocationPtr location() const;
  TimeNs clock_offset() const;
  static Result<Call> get_call(const s3::Location& location, std::string_view key, uint64_t offset,
                               MutableBytes out);
  static Status check_range(const s3::Location& location, const Call& call, uint64_t offset,
                            const HttpAnswer& answer);
  HttpHeaders copy_source(const s3::Location& at, std::string_view from) const;
  Status copy_in_parts(const OpContext& ctx, std::string_view from, std::string_view to,
                       uint64_t size_bytes);
  /// send(), of what the server answers with 200 before it is done: an error may be in the body.
  Result<std::string> send_slow(const OpContext& ctx, const Call& call);
  Result<HttpAnswer> send(const OpContext& ctx, const Call& call);
  HttpRequest request_of(const Call& call, const s3::Location& location,
                         const s3::Credentials& credentials, TimeNs offset_ns) const;
  bool renew(const OpContext& ctx, const Call& call, const HttpAnswer& answer,
             const s3::Problem& problem, const s3::Credentials& used);
  Status remove_together(const OpContext& ctx, const s3::Location& at,
                         std::vector<DeleteOutcome>* outcomes, std::vector<size_t>* alone);
  LocationPtr learn(const Call& call, const HttpAnswer& answer, const s3::Problem& problem,
                    const LocationPtr& used, TimeNs used_offset_ns);
  bool learn_clock(const Call& call, const HttpAnswer& answer, const s3::Problem& problem,
                   TimeNs used_offset_ns);

  const std::shared_ptr<s3::CredentialsProvider> credentials_;
  Clock& clock_;
  HttpClient http_;
  /// What some servers lack: true until this one has said so, and then it is done without.
  struct Abilities {
    std::atomic<bool> conditional_put{true};
    std::atomic<bool> checksum{true};  // x-amz-checksum-crc32c; without it Content-MD5 is sent
    std::atomic<bool> batch_delete{true};
    std::atomic<bool> list_v2{true};
  } can_;

  mutable std::mutex mutex_;  // guards what follows, which a server may correct
  LocationPtr location_;
  TimeNs clock_offset_ns_ = 0;
};

}  // namespace skerry
