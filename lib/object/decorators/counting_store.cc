#include "object/decorators/counting_store.h"

namespace skerry {
namespace {

void add(std::atomic<uint64_t>& counter, uint64_t n) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

uint64_t value(const std::atomic<uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

/// That something is absent, or there already, is an answer.
bool is_failure(const Error& error) { return error.code() != ENOENT && error.code() != EEXIST; }

}  // namespace

ObjectCounters CountingObjectStore::counters() const {
  return {value(puts_),  value(gets_),      value(heads_),     value(deletes_),
          value(lists_), value(put_bytes_), value(get_bytes_), value(errors_)};
}

template <typename Call>
auto CountingObjectStore::counted(Counter& counter, Call call) -> decltype(call()) {
  add(counter, 1);
  auto result = call();
  if (!result.ok() && is_failure(result.error())) add(errors_, 1);
  return result;
}

Status CountingObjectStore::put(const OpContext& ctx, std::string_view key,
                                const std::vector<ByteView>& pieces, const PutOptions& options) {
  Status status = counted(puts_, [&] { return base_->put(ctx, key, pieces, options); });
  if (status.ok())
    for (ByteView piece : pieces) add(put_bytes_, piece.size());
  return status;
}

Status CountingObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                                MutableBytes out) {
  Status status = counted(gets_, [&] { return base_->get(ctx, key, offset, out); });
  if (status.ok()) add(get_bytes_, out.size());
  return status;
}

Status CountingObjectStore::get_in_steps(const OpContext& ctx, std::string_view key,
                                         uint64_t offset, uint64_t length, uint64_t step,
                                         MutableBytes buffer, const Take& take) {
  Status status = counted(
      gets_, [&] { return base_->get_in_steps(ctx, key, offset, length, step, buffer, take); });
  if (status.ok()) add(get_bytes_, length);
  return status;
}

void CountingObjectStore::get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                                   const RangeDone& done) {
  add(gets_, ranges.size());
  base_->get_many(ctx, ranges, [&](size_t i) {
    const Status& result = ranges[i].result;
    if (result.ok()) {
      add(get_bytes_, ranges[i].out.size());
    } else if (is_failure(result.error())) {
      add(errors_, 1);
    }
    done(i);
  });
}

Result<ObjectInfo> CountingObjectStore::head(const OpContext& ctx, std::string_view key) {
  return counted(heads_, [&] { return base_->head(ctx, key); });
}

Status CountingObjectStore::remove(const OpContext& ctx, std::string_view key) {
  return counted(deletes_, [&] { return base_->remove(ctx, key); });
}

Result<std::vector<DeleteOutcome>> CountingObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  return counted(deletes_, [&] { return base_->remove_batch(ctx, keys); });
}

Result<ObjectPage> CountingObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                             std::string_view start_after, uint32_t limit) {
  return counted(lists_, [&] { return base_->list(ctx, prefix, start_after, limit); });
}

Result<std::string> CountingObjectStore::start_upload(const OpContext& ctx, std::string_view key,
                                                      const PutOptions& options) {
  return counted(puts_, [&] { return base_->start_upload(ctx, key, options); });
}

Result<UploadedPart> CountingObjectStore::put_part(const OpContext& ctx, std::string_view key,
                                                   std::string_view upload_id, uint32_t number,
                                                   ByteView data) {
  auto part = counted(puts_, [&] { return base_->put_part(ctx, key, upload_id, number, data); });
  if (part.ok()) add(put_bytes_, data.size());
  return part;
}

Status CountingObjectStore::complete_upload(const OpContext& ctx, std::string_view key,
                                            std::string_view upload_id,
                                            const std::vector<UploadedPart>& parts) {
  return counted(puts_, [&] { return base_->complete_upload(ctx, key, upload_id, parts); });
}

Status CountingObjectStore::abort_upload(const OpContext& ctx, std::string_view key,
                                         std::string_view upload_id) {
  return counted(deletes_, [&] { return base_->abort_upload(ctx, key, upload_id); });
}

}  // namespace skerry
