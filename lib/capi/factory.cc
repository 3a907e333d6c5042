#include "capi/factory.h"

#include <sys/stat.h>

#include <cstring>
#include <utility>

#include "base/log.h"
#include "meta/stores/postgres/postgres_store.h"
#include "meta/stores/sqlite/sqlite_store.h"
#include "object/claim.h"
#include "object/decorators/hedge_store.h"
#include "object/decorators/limit_store.h"
#include "object/decorators/retry_store.h"
#include "object/local/local_store.h"
#include "object/s3/s3_store.h"

namespace skerry::capi {
namespace {

/// Of what is meant to be a URL of a server, with a slip in its scheme perhaps: without the
/// password and without parameters.
std::string without_password(std::string_view url) {
  const size_t at = url.rfind('@');
  if (at == std::string_view::npos) return std::string(url);
  const size_t slashes = url.find("//");
  const size_t user = slashes < at ? slashes + 2 : 0;
  const size_t colon = url.find(':', user);
  std::string shown(url.substr(0, std::min(colon, at)));
  return shown += url.substr(at, url.find('?', at) - at);
}

/// The path of "<scheme>:///path".
Result<std::string> path_of(std::string_view url, std::string_view scheme, const char* example) {
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos || colon == 0) {
    return Error(EINVAL, "\"" + without_password(url) + "\" is not a URL; write " + example);
  }
  if (url.substr(0, colon) != scheme) {
    return Error(ENOTSUP, "the scheme \"" + std::string(url.substr(0, colon)) +
                              "\" is not supported; write " + example);
  }
  std::string_view path = url.substr(colon + 3);
  if (path.empty() || path.front() != '/' ||
      path.find_first_not_of('/') == std::string_view::npos) {
    return Error(EINVAL,
                 "\"" + without_secrets(url) + "\" names no absolute path; write " + example);
  }
  return std::string(path);
}

Result<std::string> database_path(std::string_view url) {
  return path_of(url, "sqlite",
                 "sqlite:///abs/path/vol.db or postgres://user@host/database?schema=name");
}

bool is_postgres(std::string_view url) {
  return url.starts_with("postgres://") || url.starts_with("postgresql://");
}

bool is_s3(std::string_view url) { return url.starts_with("s3:"); }

Result<std::string> data_path(std::string_view url) {
  return path_of(url, "file", "file:///abs/dir or s3://bucket/prefix");
}

HttpOptions http_options(const RequestOptions& options) {
  HttpOptions http;
  http.max_connections = options.limits.max_requests;
  http.connect_timeout_ns = options.connect_timeout_ns;
  http.first_byte_timeout_ns = options.first_byte_timeout_ns;
  http.stall_timeout_ns = options.stall_timeout_ns;
  http.request_timeout_ns = options.request_timeout_ns;
  return http;
}

/// A request that fails in passing is made again, a read that is late is asked for twice, and each
/// attempt waits for its turn.
std::unique_ptr<ObjectStore> with_retries(std::shared_ptr<ObjectStore> store,
                                          const RequestOptions& options) {
  auto limited = std::make_shared<LimitObjectStore>(std::move(store), options.limits);
  return std::make_unique<RetryObjectStore>(
      std::make_shared<HedgeObjectStore>(std::move(limited), system_clock(), options.hedge),
      system_random(), RetryOptions{.max_attempts = 8, .budget = options.retry_budget});
}

/// A folder that is not there, say on a file system that is not mounted, must not be made anew:
/// the volume would look as if its data were lost.
Status check_folder(const std::string& path) {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0) {
    const int code = errno;
    return Error(code == ENOENT ? EIO : code,
                 "the data folder " + path + " cannot be reached: " + strerrordesc_np(code));
  }
  if (!S_ISDIR(found.st_mode)) return Error(EIO, "the data folder " + path + " is no folder");
  return {};
}

}  // namespace

Result<std::unique_ptr<meta::Store>> open_metadata(std::string_view url, Clock& clock,
                                                   bool notify) {
  if (is_postgres(url)) {
    meta::PostgresOptions options;
    options.notify = notify;
    return meta::PostgresStore::open(std::string(url), options, clock);
  }
  SKERRY_ASSIGN(std::string path, database_path(url));
  return meta::SqliteStore::open(path, {}, clock);
}

Result<std::unique_ptr<meta::Store>> create_metadata(std::string_view url, Clock& clock) {
  if (is_postgres(url)) return meta::PostgresStore::create(std::string(url), {}, clock);
  SKERRY_ASSIGN(std::string path, database_path(url));
  return meta::SqliteStore::create(path, {}, clock);
}

Result<std::unique_ptr<ObjectStore>> open_objects(std::string_view url, DataFolder folder,
                                                  Clock& clock, const RequestOptions& options) {
  if (is_s3(url)) {
    SKERRY_ASSIGN(std::unique_ptr<S3ObjectStore> store,
                  S3ObjectStore::open(url, clock, http_options(options)));
    return with_retries(std::move(store), options);
  }
  SKERRY_ASSIGN(std::string path, data_path(url));
  if (folder == DataFolder::kMustExist) SKERRY_TRY(check_folder(path));
  SKERRY_ASSIGN(std::shared_ptr<ObjectStore> store, LocalObjectStore::open(path, clock));
  return std::unique_ptr<ObjectStore>(
      std::make_unique<RetryObjectStore>(std::move(store), system_random()));
}

Status claim_objects(const OpContext& ctx, std::string_view url, const std::string& uuid,
                     Clock& clock) {
  if (!is_s3(url)) {
    SKERRY_TRY(open_objects(url, DataFolder::kMake, clock));
    return {};
  }
  SKERRY_ASSIGN(std::shared_ptr<S3ObjectStore> bucket, S3ObjectStore::open(url, clock));
  SKERRY_TRY(bucket->make_bucket_if_absent(ctx));
  const std::unique_ptr<ObjectStore> objects = with_retries(bucket, {});
  return claim_prefix(ctx, *objects, uuid, system_random(), [&](const StoreCheck& check) {
    log_message(LogLevel::kWarning, objects->describe() + ": " + check.name + ": " + check.advice);
  });
}

Status check_storage_url(std::string_view url) {
  if (is_s3(url)) {
    SKERRY_TRY(s3::parse_location(url, [](const char*) -> const char* { return nullptr; }));
    return {};
  }
  SKERRY_ASSIGN(std::string path, data_path(url));
  return {};
}

Result<std::string> default_storage(std::string_view metadata_url) {
  if (is_postgres(metadata_url)) {
    return Error(EINVAL,
                 "a volume in PostgreSQL has no default place for its data; say where it goes with "
                 "storage (skerry format --storage file:///abs/dir), a folder that every client "
                 "reaches under the same path");
  }
  SKERRY_ASSIGN(std::string path, database_path(metadata_url));
  return "file://" + path + ".data";
}

std::string without_secrets(std::string_view metadata_url) {
  const bool path = metadata_url.starts_with("sqlite:///") || metadata_url.starts_with("file:///");
  if (!path && !is_postgres(metadata_url)) return without_password(metadata_url);
  return meta::PostgresStore::without_secrets(std::string(metadata_url));
}

}  // namespace skerry::capi
