#include "object/memory/memory_store.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/crc32c.h"

namespace skerry {
namespace {

std::string etag_of(const std::string& data) {
  char text[32];
  int n = std::snprintf(text, sizeof text, "%08x-%llx", crc32c(0, as_bytes(data)),
                        static_cast<unsigned long long>(data.size()));
  return {text, static_cast<size_t>(n)};
}

Error no_such_key(std::string_view key) { return Error(ENOENT, "no object " + std::string(key)); }

Error no_such_upload(std::string_view key, std::string_view upload_id) {
  return Error(ENOENT, "no upload " + std::string(upload_id) + " of " + std::string(key));
}

}  // namespace

ObjectCapabilities MemoryObjectStore::capabilities() const {
  ObjectCapabilities c;
  c.conditional_put = true;
  c.multipart = true;
  c.storage_class = true;
  c.max_put_bytes = UINT64_MAX;
  c.gets_together = gets_together_;
  return c;
}

ObjectInfo MemoryObjectStore::info_of(const std::string& key, const Object& object) {
  return {key, object.data->size(), object.modified_ns, object.etag, object.storage_class};
}

Status MemoryObjectStore::store(std::string_view key, std::string data, const PutOptions& options) {
  if (key.empty()) return Error(EINVAL, "an object key must not be empty");
  Object object;
  object.etag = etag_of(data);
  object.storage_class = options.storage_class;
  object.modified_ns = clock_.now_ns();
  object.data = std::make_shared<const std::string>(std::move(data));

  std::lock_guard lock(mutex_);
  auto it = objects_.find(key);
  if (it != objects_.end()) {
    if (options.if_absent) return Error(EEXIST, "object " + std::string(key) + " exists");
    size_bytes_ -= it->second.data->size();
  } else {
    it = objects_.try_emplace(std::string(key)).first;
  }
  size_bytes_ += object.data->size();
  it->second = std::move(object);
  return {};
}

Status MemoryObjectStore::put(const OpContext& ctx, std::string_view key,
                              const std::vector<ByteView>& pieces, const PutOptions& options) {
  SKERRY_TRY(ctx.check());
  size_t size = 0;
  for (ByteView piece : pieces) size += piece.size();
  std::string data;
  data.reserve(size);
  for (ByteView piece : pieces) data.append(as_string_view(piece));
  return store(key, std::move(data), options);
}

Status MemoryObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                              MutableBytes out) {
  SKERRY_TRY(ctx.check());
  std::shared_ptr<const std::string> data;
  {
    std::lock_guard lock(mutex_);
    auto it = objects_.find(key);
    if (it == objects_.end()) return no_such_key(key);
    data = it->second.data;
  }
  if (offset > data->size() || out.size() > data->size() - offset)
    return Error(EINVAL, "object " + std::string(key) + " has " + std::to_string(data->size()) +
                             " bytes, asked for " + std::to_string(out.size()) + " at " +
                             std::to_string(offset));
  if (!out.empty()) std::memcpy(out.data(), data->data() + offset, out.size());
  return {};
}

Result<ObjectInfo> MemoryObjectStore::head(const OpContext& ctx, std::string_view key) {
  SKERRY_TRY(ctx.check());
  std::lock_guard lock(mutex_);
  auto it = objects_.find(key);
  if (it == objects_.end()) return no_such_key(key);
  return info_of(it->first, it->second);
}

Status MemoryObjectStore::remove(const OpContext& ctx, std::string_view key) {
  SKERRY_TRY(ctx.check());
  std::lock_guard lock(mutex_);
  auto it = objects_.find(key);
  if (it == objects_.end()) return {};
  size_bytes_ -= it->second.data->size();
  objects_.erase(it);
  return {};
}

Result<std::vector<DeleteOutcome>> MemoryObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  SKERRY_TRY(ctx.check());
  if (keys.size() > capabilities().max_batch_delete)
    return Error(EINVAL, "too many keys in one batch delete");
  std::vector<DeleteOutcome> outcomes;
  outcomes.reserve(keys.size());
  for (const auto& key : keys) {
    Status removed = remove(ctx, key);
    outcomes.push_back({key, removed.ok() ? 0 : removed.error().code()});
  }
  return outcomes;
}

Result<ObjectPage> MemoryObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                           std::string_view start_after, uint32_t limit) {
  SKERRY_TRY(ctx.check());
  ObjectPage page;
  if (limit == 0) return page;
  std::lock_guard lock(mutex_);
  auto it = start_after < prefix ? objects_.lower_bound(prefix) : objects_.upper_bound(start_after);
  for (; it != objects_.end() && it->first.starts_with(prefix); ++it) {
    if (page.objects.size() == limit) {
      page.more = true;
      break;
    }
    page.objects.push_back(info_of(it->first, it->second));
  }
  return page;
}

MemoryObjectStore::Upload* MemoryObjectStore::find_upload(std::string_view key,
                                                          std::string_view upload_id) {
  auto it = uploads_.find(upload_id);
  return it == uploads_.end() || it->second.key != key ? nullptr : &it->second;
}

Result<std::string> MemoryObjectStore::start_upload(const OpContext& ctx, std::string_view key,
                                                    const PutOptions& options) {
  SKERRY_TRY(ctx.check());
  if (key.empty()) return Error(EINVAL, "an object key must not be empty");
  std::lock_guard lock(mutex_);
  std::string id = "upload-" + std::to_string(next_upload_++);
  uploads_[id] = Upload{std::string(key), options, {}};
  return id;
}

Result<UploadedPart> MemoryObjectStore::put_part(const OpContext& ctx, std::string_view key,
                                                 std::string_view upload_id, uint32_t number,
                                                 ByteView data) {
  SKERRY_TRY(ctx.check());
  if (number == 0) return Error(EINVAL, "parts are numbered from 1");
  auto part = std::make_shared<const std::string>(as_string_view(data));
  std::string etag = etag_of(*part);
  std::lock_guard lock(mutex_);
  Upload* upload = find_upload(key, upload_id);
  if (upload == nullptr) return no_such_upload(key, upload_id);
  upload->parts[number] = std::move(part);
  return UploadedPart{number, std::move(etag)};
}

Status MemoryObjectStore::complete_upload(const OpContext& ctx, std::string_view key,
                                          std::string_view upload_id,
                                          const std::vector<UploadedPart>& parts) {
  SKERRY_TRY(ctx.check());
  std::vector<std::shared_ptr<const std::string>> pieces;
  PutOptions options;
  {
    std::lock_guard lock(mutex_);
    Upload* upload = find_upload(key, upload_id);
    if (upload == nullptr) return no_such_upload(key, upload_id);
    options = upload->options;
    if (parts.empty()) return Error(EINVAL, "an upload needs a part");
    uint32_t last = 0;
    for (const auto& part : parts) {
      auto it = upload->parts.find(part.number);
      if (part.number <= last || it == upload->parts.end() || etag_of(*it->second) != part.etag)
        return Error(EINVAL, "part " + std::to_string(part.number) + " of " + std::string(key) +
                                 " is missing, out of order or has another etag");
      last = part.number;
      pieces.push_back(it->second);
    }
  }
  std::string data;
  for (const auto& piece : pieces) data += *piece;
  SKERRY_TRY(store(key, std::move(data), options));
  std::lock_guard lock(mutex_);
  uploads_.erase(std::string(upload_id));
  return {};
}

Status MemoryObjectStore::abort_upload(const OpContext& ctx, std::string_view key,
                                       std::string_view upload_id) {
  SKERRY_TRY(ctx.check());
  std::lock_guard lock(mutex_);
  if (find_upload(key, upload_id) == nullptr) return no_such_upload(key, upload_id);
  uploads_.erase(std::string(upload_id));
  return {};
}

uint64_t MemoryObjectStore::object_count() const {
  std::lock_guard lock(mutex_);
  return objects_.size();
}

uint64_t MemoryObjectStore::size_bytes() const {
  std::lock_guard lock(mutex_);
  return size_bytes_;
}

}  // namespace skerry
