#include "object/decorators/fault_store.h"

#include <utility>

namespace skerry {
namespace {

using Decision = ObjectFaults::Decision;

Error injected(const char* op, std::string_view key, const Decision& decision) {
  return Error(decision.error, "injected fault: " + std::string(op) + " " + std::string(key))
      .set_retryable(decision.retryable);
}

/// What becomes of a read that was made.
Status spoilt(const Decision& decision, std::string_view key, MutableBytes out, Status got) {
  if (!got.ok()) return got;
  if (decision.kind == Decision::kFailAfter) return injected("get", key, decision);
  if (decision.kind == Decision::kCorruptRead && !out.empty()) out[out.size() / 2] ^= std::byte{4};
  return {};
}

}  // namespace

template <typename Call>
auto FaultObjectStore::run(const char* op, std::string_view key, bool changes, Call call)
    -> decltype(call()) {
  Decision decision = faults_.before(op, key);
  if (decision.kind == Decision::kFailBefore) return injected(op, key, decision);
  auto result = call();
  if (decision.kind != Decision::kFailAfter || !result.ok()) return result;
  return injected(op, key, decision).set_maybe_applied(changes);
}

Status FaultObjectStore::put(const OpContext& ctx, std::string_view key,
                             const std::vector<ByteView>& pieces, const PutOptions& options) {
  return run("put", key, true, [&] { return base_->put(ctx, key, pieces, options); });
}

Status FaultObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                             MutableBytes out) {
  Decision decision = faults_.before("get", key);
  if (decision.kind == Decision::kFailBefore) return injected("get", key, decision);
  return spoilt(decision, key, out, base_->get(ctx, key, offset, out));
}

/// A decision for each range, as of one get(); those that fail before are not asked for.
void FaultObjectStore::get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                                const RangeDone& done) {
  std::vector<Decision> decisions;
  std::vector<ObjectRange> passed;
  std::vector<size_t> where;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const Decision decision = faults_.before("get", ranges[i].key);
    if (decision.kind == Decision::kFailBefore) {
      ranges[i].result = injected("get", ranges[i].key, decision);
      done(i);
      continue;
    }
    decisions.push_back(decision);
    passed.push_back({ranges[i].key, ranges[i].offset, ranges[i].out, {}});
    where.push_back(i);
  }
  base_->get_many(ctx, passed, [&](size_t p) {
    ranges[where[p]].result =
        spoilt(decisions[p], passed[p].key, passed[p].out, std::move(passed[p].result));
    done(where[p]);
  });
}

Result<ObjectInfo> FaultObjectStore::head(const OpContext& ctx, std::string_view key) {
  return run("head", key, false, [&] { return base_->head(ctx, key); });
}

Status FaultObjectStore::remove(const OpContext& ctx, std::string_view key) {
  return run("remove", key, true, [&] { return base_->remove(ctx, key); });
}

Result<std::vector<DeleteOutcome>> FaultObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  std::string_view first = keys.empty() ? std::string_view() : keys.front();
  return run("remove_batch", first, true, [&] { return base_->remove_batch(ctx, keys); });
}

Result<ObjectPage> FaultObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                          std::string_view start_after, uint32_t limit) {
  return run("list", prefix, false, [&] { return base_->list(ctx, prefix, start_after, limit); });
}

Result<std::string> FaultObjectStore::start_upload(const OpContext& ctx, std::string_view key,
                                                   const PutOptions& options) {
  return run("start_upload", key, true, [&] { return base_->start_upload(ctx, key, options); });
}

Result<UploadedPart> FaultObjectStore::put_part(const OpContext& ctx, std::string_view key,
                                                std::string_view upload_id, uint32_t number,
                                                ByteView data) {
  return run("put_part", key, true,
             [&] { return base_->put_part(ctx, key, upload_id, number, data); });
}

Status FaultObjectStore::complete_upload(const OpContext& ctx, std::string_view key,
                                         std::string_view upload_id,
                                         const std::vector<UploadedPart>& parts) {
  return run("complete_upload", key, true,
             [&] { return base_->complete_upload(ctx, key, upload_id, parts); });
}

Status FaultObjectStore::abort_upload(const OpContext& ctx, std::string_view key,
                                      std::string_view upload_id) {
  return run("abort_upload", key, true, [&] { return base_->abort_upload(ctx, key, upload_id); });
}

}  // namespace skerry
