#include "vfs/volume.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "meta/session.h"
#include "vfs/background.h"
#include "vfs/settings.h"

namespace skerry::vfs {
namespace {

constexpr TimeNs kHeartbeatDue = 5'000'000'000;
constexpr TimeNs kDiskTimeout = 10'000'000'000;  // of the disk cache's folder
constexpr TimeNs kHeartbeatTimeout = 10'000'000'000;

uint64_t next_serial() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::unique_ptr<Executor> make_executor(const char* name, unsigned threads) {
  return threads == 0 ? make_inline_executor() : make_thread_pool(name, threads);
}

void keep_first(Status status, Status* first) {
  if (first->ok() && !status.ok()) *first = std::move(status);
}

}  // namespace

void WriterTable::add(const std::shared_ptr<data::OpenInode>& inode) {
  std::lock_guard lock(mutex_);
  Writers& writers = writers_[inode->ino()];
  writers.inode = inode;
  writers.handles++;
  count_.store(writers_.size(), std::memory_order_release);
}

void WriterTable::remove(meta::Ino ino) {
  std::shared_ptr<data::OpenInode> last;  // destroyed after the lock is released
  std::lock_guard lock(mutex_);
  auto found = writers_.find(ino);
  if (found == writers_.end() || --found->second.handles > 0) return;
  last = std::move(found->second.inode);
  writers_.erase(found);
  count_.store(writers_.size(), std::memory_order_release);
}

std::shared_ptr<data::OpenInode> WriterTable::dirty(meta::Ino ino) {
  if (count_.load(std::memory_order_acquire) == 0) return nullptr;
  std::lock_guard lock(mutex_);
  auto found = writers_.find(ino);
  if (found == writers_.end() || !found->second.inode->dirty()) return nullptr;
  return found->second.inode;
}

Volume::Volume(Parts parts, const VolumeOptions& options)
    : parts_(std::move(parts)),
      options_(options),
      serial_(next_serial()),
      executor_(make_executor("skerry-io", options.io_threads)),
      queue_executor_(make_executor("skerry-queue", options.io_threads)) {}

Status Volume::prepare(const VolumeOptions& options) {
  if (options.cache_directory.empty()) return {};
  data::CacheFolderOptions folder;
  folder.directory = options.cache_directory;
  const TimeNs timeout_ns = std::min(options.timeout_ns, kDiskTimeout);
  Status prepared = data::DiskCache::prepare(
      folder,
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::nanoseconds(timeout_ns)));
  if (!prepared.ok()) return std::move(prepared).error().with_context("option cache_dir");
  return {};
}

Result<std::unique_ptr<Volume>> Volume::open(const OpContext& ctx, Parts parts,
                                             const VolumeOptions& options) {
  std::unique_ptr<Volume> volume(new Volume(std::move(parts), options));
  const Parts& given = volume->parts_;

  meta::MetaOptions meta_options;
  meta_options.read_only = options.read_only;
  meta_options.durable = options.durable || given.format.durable_metadata;
  meta_options.cache_entries = options.metadata_cache;
  meta_options.consistency = options.consistency;
  meta_options.lease_ns = options.lease_ns;
  meta_options.host = host_name();
  meta_options.pid = static_cast<uint64_t>(getpid());
  volume->counted_store_ = std::make_shared<meta::CountingStore>(given.store);
  SKERRY_ASSIGN(volume->meta_, meta::Meta::open(ctx, volume->counted_store_, given.format,
                                                meta_options, *given.clock, *given.random));

  if (!options.read_only) volume->access_times_.start(options.atime, *given.clock);

  volume->counting_ = std::make_shared<CountingObjectStore>(given.objects);
  volume->objects_ = decorate(volume->counting_, given.format, given.keys);
  data::BlockStoreOptions block_options;
  block_options.cache_bytes = options.cache_bytes;
  block_options.block_bytes = given.format.block_bytes;
  if (!options.cache_directory.empty()) {
    if (!data::valid_volume_name(given.format.uuid)) {
      return Error(EINVAL, "the volume's uuid \"" + given.format.uuid +
                               "\" can name no files; open it without cache_dir");
    }
    data::CacheFolderOptions& folder = block_options.disk_cache.emplace().folder;
    folder.directory = options.cache_directory;
    folder.volume = given.format.uuid;
    folder.size_bytes = options.cache_directory_bytes;
  }
  volume->blocks_ = std::make_unique<data::BlockStore>(*volume->meta_, *volume->objects_,
                                                       *volume->executor_, block_options);
  data::FileStoreOptions file_options;
  file_options.write_buffer_bytes = options.write_buffer_bytes;
  file_options.readahead_bytes = options.readahead_bytes;
  volume->files_ = std::make_unique<data::FileStore>(*volume->meta_, *volume->blocks_,
                                                     *volume->executor_, file_options);
  volume->last_heartbeat_ns_.store(given.clock->monotonic_ns(), std::memory_order_relaxed);
  if (options.background) {
    auto background = Background::start(*volume);
    if (!background.ok()) {
      Status closed = volume->close(ctx);
      if (!closed.ok()) log_message(LogLevel::kWarning, closed.error().message());
      return std::move(background).error();
    }
    volume->background_ = std::move(background).value();
  }
  return volume;
}

Status Volume::close(const OpContext& ctx) {
  if (closed_) return {};
  closed_ = true;
  Status first;
  background_.reset();
  if (files_ != nullptr) keep_first(files_->flush_all(ctx, meta::Durability::kDurable), &first);
  if (meta_ != nullptr) {
    // Nobody relies on them, so they are no reason for close to fail.
    Status noted = access_times_.commit(ctx, *meta_);
    if (!noted.ok()) log_message(LogLevel::kWarning, "access times: " + noted.error().message());
  }
  queue_executor_.reset();
  locks_.close();
  files_.reset();
  blocks_.reset();
  executor_.reset();  // nothing is left to submit to it
  if (meta_ != nullptr) keep_first(meta_->close(ctx), &first);
  return first;
}

Volume::~Volume() {
  OpContext ctx = own_context(options_.timeout_ns);
  Status closed = close(ctx);
  if (!closed.ok()) log_message(LogLevel::kWarning, "close: " + closed.error().message());
}

OpContext Volume::own_context(TimeNs timeout_ns) const {
  OpContext ctx;
  ctx.clock = parts_.clock;
  ctx.began_ns = parts_.clock->monotonic_ns();
  ctx.deadline_ns = ctx.began_ns + timeout_ns;
  return ctx;
}

Status Volume::check_writable() const {
  if (options_.read_only) return Error(EROFS, "the volume is open read-only");
  return {};
}

void Volume::heartbeat_if_due() {
  if (options_.background || options_.read_only) return;
  TimeNs now = parts_.clock->monotonic_ns();
  TimeNs last = last_heartbeat_ns_.load(std::memory_order_relaxed);
  if (now - last < std::min(kHeartbeatDue, format().session_expiry_ns / 5)) return;
  if (!last_heartbeat_ns_.compare_exchange_strong(last, now)) return;
  OpContext ctx = own_context(kHeartbeatTimeout);
  Status beat = meta::heartbeat(ctx, *meta_);
  if (!beat.ok() && beat.error().code() == ESTALE) beat = renew_session(ctx);
  locks_.settle(ctx);
  if (!beat.ok()) log_message(LogLevel::kWarning, "heartbeat: " + beat.error().message());
}

Status Volume::renew_session(const OpContext& ctx) {
  Status renewed = meta::reopen_session(ctx, *meta_);
  locks_.drop_lost();
  return renewed;
}

void Volume::suspect_session() {
  if (background_ != nullptr) {
    background_->wake();
  } else {
    last_heartbeat_ns_.store(INT64_MIN / 2, std::memory_order_relaxed);  // due
  }
}

Status Volume::sync(const OpContext& ctx) {
  if (options_.read_only) return {};
  Status flushed = files_->flush_all(ctx, meta::Durability::kDurable);
  keep_first(access_times_.commit(ctx, *meta_), &flushed);
  // Also what was committed before and only visible: the flush may have had nothing to commit.
  keep_first(parts_.store->sync(ctx), &flushed);
  return flushed;
}

}  // namespace skerry::vfs
