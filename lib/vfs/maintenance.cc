#include "vfs/maintenance.h"

#include <algorithm>
#include <array>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <utility>

#include "data/block_format.h"
#include "data/parallel.h"
#include "meta/session_watch.h"
#include "vfs/namespace.h"

namespace skerry::vfs {
namespace {

using meta::ObjectId;

constexpr uint32_t kListPage = 1000;
constexpr size_t kWindowObjects = 1 << 20;  // compared with the metadata at once
constexpr size_t kMaxLeaked = 4 << 20;      // found in one run; the next run finds the rest
constexpr size_t kDeleteBatch = 1000;
constexpr int kReclaimSteps = 100'000;
constexpr int kIdleReclaimSteps = 4;           // an epoch passes in two; more changes nothing
constexpr size_t kSlicesRemembered = 1 << 20;  // of a data check
constexpr size_t kSlicesAtOnce = 32;
constexpr uint64_t kCapacityBytes = uint64_t{1} << 50;
constexpr uint64_t kCapacityInodes = uint64_t{1} << 40;

Status proceed(const Progress& progress, const char* what, uint64_t done, uint64_t total) {
  if (progress && !progress(what, done, total)) return Error(ECANCELED, "stopped by the caller");
  return {};
}

struct Listed {
  ObjectId id;
  uint64_t size_bytes;
};

/// Every object of the volume in the store, page by page.
Status list_objects(const OpContext& ctx, Volume& volume,
                    const std::function<Status(const std::vector<ObjectInfo>&)>& visit) {
  std::string after;
  for (bool more = true; more;) {
    SKERRY_ASSIGN(ObjectPage page,
                  volume.objects().list(ctx, data::kObjectPrefix, after, kListPage));
    more = page.more && !page.objects.empty();
    if (more) after = page.objects.back().key;
    SKERRY_TRY(visit(page.objects));
  }
  return {};
}

std::string place_of(meta::Ino ino, uint64_t chunk, ObjectId object) {
  return "inode " + std::to_string(ino) + ", chunk " + std::to_string(chunk) + ", object " +
         data::object_key(object);
}

/// Finds the objects that no metadata names, window by window. Nothing is deleted here.
class LeakScan {
 public:
  LeakScan(const OpContext& ctx, Volume& volume, GcResult* result, const Progress& progress)
      : ctx_(ctx), volume_(volume), result_(result), progress_(progress) {}

  Status run() {
    // First of all: what is uploaded from now on has ids that are not below.
    SKERRY_ASSIGN(floor_, meta::uncommitted_floor(ctx_, volume_.meta()));
    SKERRY_TRY(list_objects(ctx_, volume_, [&](const std::vector<ObjectInfo>& page) -> Status {
      for (const ObjectInfo& object : page) take(object);
      if (window_.size() >= kWindowObjects) SKERRY_TRY(compare());
      return proceed(progress_, "scan", result_->scanned_objects, 0);
    }));
    return compare();
  }

  const std::vector<Listed>& leaked() const { return leaked_; }
  ObjectId floor() const { return floor_; }

 private:
  void take(const ObjectInfo& object) {
    result_->scanned_objects++;
    result_->scanned_bytes += object.size_bytes;
    ObjectId id = data::object_id_of_key(object.key);
    if (id == 0 || id >= floor_) return;  // not ours, or perhaps about to be committed
    window_.push_back({id, object.size_bytes});
  }

  Status compare() {
    if (window_.empty()) return {};
    std::sort(window_.begin(), window_.end(),
              [](const Listed& a, const Listed& b) { return a.id < b.id; });
    std::vector<bool> live(window_.size());
    auto mark = [&](ObjectId id) {
      auto found = std::lower_bound(window_.begin(), window_.end(), id,
                                    [](const Listed& a, ObjectId b) { return a.id < b; });
      if (found != window_.end() && found->id == id) {
        live[static_cast<size_t>(found - window_.begin())] = true;
      }
    };
    // Twice: a reference that is moved by a copy while the first pass runs may slip past it, and
    // is where the second one looks.
    for (int pass = 0; pass < 2; pass++) {
      SKERRY_TRY(
          meta::for_each_object(ctx_, volume_.meta(), window_.front().id, window_.back().id, mark));
      if (std::find(live.begin(), live.end(), false) == live.end()) break;
    }
    for (size_t i = 0; i < window_.size(); i++) {
      if (live[i]) continue;
      result_->leaked_objects++;
      result_->leaked_bytes += window_[i].size_bytes;
      if (leaked_.size() < kMaxLeaked) leaked_.push_back(window_[i]);
    }
    window_.clear();
    return {};
  }

  const OpContext& ctx_;
  Volume& volume_;
  GcResult* const result_;
  const Progress& progress_;
  ObjectId floor_ = 0;
  std::vector<Listed> window_;
  std::vector<Listed> leaked_;
};

Status delete_leaked(const OpContext& ctx, Volume& volume, const std::vector<Listed>& leaked,
                     GcResult* result, const Progress& progress) {
  std::vector<ObjectId> batch;
  for (size_t i = 0; i < leaked.size(); i++) {
    batch.push_back(leaked[i].id);
    if (batch.size() < kDeleteBatch && i + 1 < leaked.size()) continue;
    SKERRY_TRY(volume.blocks().remove_objects(ctx, batch));
    result->deleted_objects += batch.size();
    batch.clear();
    SKERRY_TRY(proceed(progress, "delete", result->deleted_objects, leaked.size()));
  }
  return {};
}

/// Those who are expired by the server's clock are given the time of some heartbeats: see
/// meta/session_watch.h. False where the caller has not so much time.
Result<bool> watch_suspects(const OpContext& ctx, Volume& volume, const Progress& progress) {
  constexpr TimeNs kSlice = 250'000'000;
  TimeNs left = meta::SessionWatch::watch_ns(volume.format().session_expiry_ns);
  if (ctx.deadline_ns - left < volume.clock().monotonic_ns()) return false;
  for (; left > 0; left -= kSlice) {
    volume.clock().sleep_ns(std::min(left, kSlice));
    SKERRY_TRY(ctx.check());
    SKERRY_TRY(proceed(progress, "wait for silent clients", 0, 0));
  }
  return true;
}

/// Until a few steps in a row find nothing that may be deleted now.
Status reclaim_all(const OpContext& ctx, Volume& volume, GcResult* result,
                   const Progress& progress) {
  auto remove = [&](const OpContext& c, const std::vector<ObjectId>& ids) {
    return volume.blocks().remove_objects(c, ids);
  };
  int idle = 0;
  bool watched = false;
  for (int i = 0; i < kReclaimSteps && idle < kIdleReclaimSteps; i++) {
    SKERRY_TRY(meta::heartbeat(ctx, volume.meta()));
    SKERRY_ASSIGN(meta::ReclaimResult step, meta::reclaim_step(ctx, volume.meta(), remove));
    result->stale_sessions += step.stale_sessions;
    result->reclaimed_inodes += step.inodes;
    result->reclaimed_objects += step.objects;
    result->pending_objects = step.pending_objects;
    if (!step.elected) return {};  // another client reclaims just now
    if (step.suspected_sessions > 0 && !std::exchange(watched, true)) {
      SKERRY_ASSIGN(const bool waited, watch_suspects(ctx, volume, progress));
      if (waited) continue;
    }
    idle = step.inodes + step.objects == 0 ? idle + 1 : 0;
    SKERRY_TRY(proceed(progress, "reclaim", result->reclaimed_objects, 0));
  }
  return {};
}

/// Verifies the slices that fsck comes by, each once (as far as memory for that is set aside),
/// many at a time.
class DataCheck {
 public:
  DataCheck(const OpContext& ctx, Volume& volume, FsckResult* result, const ReportProblem& report)
      : ctx_(ctx), volume_(volume), result_(result), report_(report) {}

  void take(meta::Ino ino, uint64_t chunk, const meta::Extent& extent) {
    if (extent.object == 0) return;
    if (seen_.size() == kSlicesRemembered) seen_.clear();
    if (!seen_.emplace(extent.object, extent.object_offset).second) return;
    waiting_.push_back({ino, chunk, extent, Status()});
    if (waiting_.size() == kSlicesAtOnce) verify();
  }

  /// Verifies what was taken. The error that kept the check from going on, if any.
  Status finish() {
    verify();
    return first_;
  }

 private:
  struct Slice {
    meta::Ino ino;
    uint64_t chunk;
    meta::Extent extent;
    Status verified;
  };

  void verify() {
    data::run_parallel(volume_.executor(), waiting_.size(), [&](size_t i) {
      try {
        waiting_[i].verified = volume_.blocks().verify(ctx_, waiting_[i].extent);
      } catch (const std::bad_alloc&) {
        waiting_[i].verified = Error(ENOMEM);
      }
    });
    for (Slice& slice : waiting_) count(slice);
    waiting_.clear();
  }

  void count(Slice& slice) {
    if (slice.verified.ok()) {
      result_->checked_bytes += slice.extent.slice_length;
      return;
    }
    const Error& error = slice.verified.error();
    if (error.code() == ECANCELED || error.code() == ETIMEDOUT || error.code() == ENOMEM) {
      if (first_.ok()) first_ = error;
      return;
    }
    result_->problems++;
    std::string detail =
        place_of(slice.ino, slice.chunk, slice.extent.object) + ": " + error.message();
    if (report_) report_(error.code() == ENOENT ? "missing-object" : "bad-data", detail.c_str());
  }

  const OpContext& ctx_;
  Volume& volume_;
  FsckResult* const result_;
  const ReportProblem& report_;
  std::set<std::pair<ObjectId, uint64_t>> seen_;
  std::vector<Slice> waiting_;
  Status first_;
};

/// Which objects there are: a bit for each id, in pages for where there are any.
class ObjectInventory {
 public:
  explicit ObjectInventory(Volume& volume) : volume_(volume) {}

  Status load(const OpContext& ctx) {
    return list_objects(ctx, volume_, [&](const std::vector<ObjectInfo>& page) -> Status {
      for (const ObjectInfo& object : page) add(data::object_id_of_key(object.key));
      return {};
    });
  }

  /// Asks the store where the list has nothing, since it may be stored since. What was asked for is
  /// remembered either way, so each missing object is met once.
  Result<bool> is_missing(const OpContext& ctx, ObjectId id) {
    if (has(id)) return false;
    add(id);
    auto head = volume_.objects().head(ctx, data::object_key(id));
    // One that is damaged is there; what is in it is for a check of the data to tell.
    if (head.ok() || head.error().code() == EBADMSG) return false;
    if (head.error().code() == ENOENT) return true;
    return std::move(head).error();
  }

 private:
  static constexpr uint64_t kPageBits = 1 << 15;
  using Page = std::array<uint64_t, kPageBits / 64>;

  void add(ObjectId id) { pages_[id / kPageBits][id % kPageBits / 64] |= uint64_t{1} << id % 64; }
  bool has(ObjectId id) const {
    auto page = pages_.find(id / kPageBits);
    return page != pages_.end() && (page->second[id % kPageBits / 64] >> id % 64 & 1) != 0;
  }

  Volume& volume_;
  std::unordered_map<uint64_t, Page> pages_;
};

nlohmann::json session_json(const meta::SessionInfo& session) {
  return {{"id", session.client.id},
          {"host", session.client.host},
          {"pid", session.client.pid},
          {"software", session.client.software},
          {"stale", session.stale},
          {"pins", session.pins},
          {"locked_files", session.locked_files},
          {"epoch", session.client.epoch_seen},
          {"heartbeat_ns", session.client.heartbeat_ns}};
}

/// Nothing of it is secret.
nlohmann::json encryption_json(const meta::VolumeFormat& format) {
  if (!format.encrypted()) return nlohmann::json::object();
  const meta::EncryptionFormat& encryption = *format.encryption;
  const auto from = std::find_if(format.layouts.begin(), format.layouts.end(),
                                 [](const meta::ObjectLayout& l) { return l.encrypted; });
  return {{"cipher", "AES-256-GCM"},
          {"key_id", encryption.key_id},
          {"key_source", encryption.key_source},
          {"data_key", encryption.data_key},
          {"data_keys", encryption.data_keys.size()},
          {"from_object", from->from}};
}

}  // namespace

Status collect_garbage(const OpContext& ctx, Volume& volume, bool dry_run, GcResult* result,
                       const Progress& progress) {
  if (!dry_run) SKERRY_TRY(volume.check_writable());
  LeakScan scan(ctx, volume, result, progress);
  Status scanned = scan.run();
  if (!scanned.ok()) {
    const int code = scanned.error().code();
    const bool stopped = code == ECANCELED || code == ETIMEDOUT || code == ENOMEM;
    return Error(stopped ? code : EIO,
                 "nothing was deleted, because the scan failed: " + scanned.error().message());
  }
  if (dry_run) return {};
  SKERRY_TRY(delete_leaked(ctx, volume, scan.leaked(), result, progress));
  SKERRY_TRY(meta::repair_references(ctx, volume.meta(), scan.floor()));
  return reclaim_all(ctx, volume, result, progress);
}

Result<FsckResult> check(const OpContext& ctx, Volume& volume, bool check_data,
                         const ReportProblem& report, const Progress& progress) {
  SKERRY_TRY(volume.options().read_only
                 ? Status()
                 : volume.files().flush_all(ctx, meta::Durability::kVisible));
  // Stopping is a matter of this call alone, so it gets a flag of its own.
  CancelToken stop;
  OpContext own = ctx;
  if (progress) own.cancel = &stop;
  FsckResult result;
  DataCheck data(own, volume, &result, report);
  // What is removed meanwhile must not look as if it were missing.
  const meta::Meta::EpochGuard guard = volume.meta().enter_epoch();
  ObjectInventory inventory(volume);
  if (!check_data) SKERRY_TRY(inventory.load(ctx));
  Status asked;
  uint64_t extents = 0;
  auto visit = [&](meta::Ino ino, uint64_t chunk, const meta::Extent& extent) {
    if (stop.cancelled()) return;
    if (extents++ % 64 == 0 && progress &&
        (!progress("extents", extents, 0) || !ctx.check().ok())) {
      stop.cancel();
      return;
    }
    if (check_data) return data.take(ino, chunk, extent);
    if (extent.object == 0 || !asked.ok()) return;
    auto missing = inventory.is_missing(own, extent.object);
    if (!missing.ok()) {
      asked = std::move(missing).error();
    } else if (*missing) {
      result.problems++;
      if (report) {
        report("missing-object",
               (place_of(ino, chunk, extent.object) + " is not in the store").c_str());
      }
    }
  };
  auto checked = meta::fsck(own, volume.meta(), visit);
  if (stop.cancelled()) {
    SKERRY_TRY(ctx.check());
    return Error(ECANCELED, "stopped by the caller");
  }
  SKERRY_ASSIGN(result.meta, std::move(checked));
  SKERRY_TRY(std::move(asked));
  SKERRY_TRY(data.finish());
  result.problems += result.meta.problem_count;
  if (report) {
    for (const meta::FsckProblem& problem : result.meta.problems) {
      report(problem.kind.c_str(), problem.detail.c_str());
    }
  }
  return result;
}

Result<uint64_t> compact(const OpContext& ctx, Volume& volume, std::string_view path) {
  SKERRY_ASSIGN(meta::Attributes attr, find(ctx, volume, nullptr, path, Lookup{}));
  if (attr.is_dir()) return Error(EISDIR, "a directory has no data");
  if (attr.type != meta::FileType::kRegular) return Error(EINVAL, "not a regular file");
  SKERRY_TRY(volume.check_writable());
  SKERRY_TRY(meta::check_access(ctx, volume.meta(), attr, meta::kWrite));
  volume.heartbeat_if_due();
  return volume.files().peek(attr.ino)->compact(ctx, false);
}

Result<std::string> describe(const OpContext& ctx, Volume& volume) {
  SKERRY_ASSIGN(std::vector<meta::SessionInfo> sessions, meta::sessions(ctx, volume.meta()));
  SKERRY_ASSIGN(Usage used, usage(ctx, volume));
  const meta::VolumeFormat& format = volume.format();
  try {
    nlohmann::json json = {
        {"uuid", format.uuid},
        {"metadata", volume.meta().store().describe()},
        {"storage", format.storage},
        {"format",
         {{"version", format.format_version},
          {"block_bytes", format.block_bytes},
          {"inline_bytes", format.inline_bytes},
          {"durable_metadata", format.durable_metadata},
          {"session_expiry_ms", format.session_expiry_ns / 1'000'000}}},
        {"compression", format.compression},
        {"encryption", encryption_json(format)},
        {"features",
         {{"compatible", format.compatible},
          {"read_only_compatible", format.read_only_compatible},
          {"incompatible", format.incompatible}}},
        {"usage", {{"bytes", used.used_bytes}, {"inodes", used.used_inodes}}},
        {"client", volume.meta().client()},
        {"sessions", nlohmann::json::array()},
    };
    for (const meta::SessionInfo& session : sessions) {
      json["sessions"].push_back(session_json(session));
    }
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  } catch (const nlohmann::json::exception& e) {
    return Error(EIO, e.what());
  }
}

Result<Usage> usage(const OpContext& ctx, Volume& volume) {
  SKERRY_ASSIGN(meta::VolumeUsage used, meta::usage(ctx, volume.meta()));
  Usage usage;
  usage.used_bytes = used.bytes;
  usage.used_inodes = used.inodes;
  usage.total_bytes = std::max(kCapacityBytes, used.bytes);
  usage.total_inodes = std::max(kCapacityInodes, used.inodes);
  return usage;
}

std::vector<Counter> counters(Volume& volume) {
  const ObjectCounters objects = volume.counted_objects().counters();
  const data::BlockCounters blocks = volume.blocks().counters();
  const meta::StoreCounters store = volume.counted_store().counters();
  return {
      {"metadata_reads", store.reads},
      {"metadata_commits", store.commits},
      {"metadata_conflicts", store.conflicts},
      {"metadata_errors", store.errors},
      {"object_puts", objects.puts},
      {"object_gets", objects.gets},
      {"object_heads", objects.heads},
      {"object_deletes", objects.deletes},
      {"object_lists", objects.lists},
      {"object_put_bytes", objects.put_bytes},
      {"object_get_bytes", objects.get_bytes},
      {"object_errors", objects.errors},
      {"cache_hits", blocks.cache_hits},
      {"cache_misses", blocks.cache_misses},
      {"cache_hit_bytes", blocks.cache_hit_bytes},
      {"cache_evictions", volume.blocks().cache().evictions()},
      {"cache_used_bytes_now", volume.blocks().cache().used_bytes()},
      {"disk_cache_hits", blocks.disk.hits},
      {"disk_cache_misses", blocks.disk.misses},
      {"disk_cache_read_bytes", blocks.disk.read_bytes},
      {"disk_cache_filled_bytes", blocks.disk.filled_bytes},
      {"disk_cache_evictions", blocks.disk.evictions},
      {"disk_cache_bad_files", blocks.disk.bad},
      {"disk_cache_dropped", blocks.disk.dropped},
      {"disk_cache_errors", blocks.disk.errors},
      {"disk_cache_stops", blocks.disk.stopped},
      {"read_bytes_wanted", blocks.bytes_wanted},
      {"read_bytes_fetched", blocks.bytes_fetched},
      {"checksum_errors", blocks.checksum_errors},
      {"slices_stored", blocks.slices_stored},
      {"packs_stored", blocks.packs_stored},
      {"packed_slices", blocks.packed_slices},
      {"write_buffered_bytes_now", volume.files().buffered_bytes()},
  };
}

}  // namespace skerry::vfs
