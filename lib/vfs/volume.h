// Volume: everything one opened volume consists of, put together. The calls over it are free
// functions in namespace.h, batch.h and maintenance.h, and the methods of Handle.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/clock.h"
#include "base/result.h"
#include "data/block_store.h"
#include "data/file_store.h"
#include "io/executor.h"
#include "io/op_context.h"
#include "meta/counting_store.h"
#include "meta/meta.h"
#include "object/crypto/key_ring.h"
#include "object/decorators/counting_store.h"
#include "object/object_store.h"
#include "vfs/access_times.h"
#include "vfs/locks.h"
#include "vfs/options.h"

namespace skerry::vfs {

class Background;

/// Which inodes this client may have written and not committed: the ones with a writable handle.
/// stat() asks it so that a file's length is right before its data is flushed.
class WriterTable {
 public:
  void add(const std::shared_ptr<data::OpenInode>& inode);
  void remove(meta::Ino ino);
  /// The inode if it has uncommitted writes, else null. A relaxed load while nobody writes.
  std::shared_ptr<data::OpenInode> dirty(meta::Ino ino);

 private:
  struct Writers {
    std::shared_ptr<data::OpenInode> inode;  // shared with the handles that write
    size_t handles = 0;
  };
  std::atomic<size_t> count_{0};
  std::mutex mutex_;
  std::unordered_map<meta::Ino, Writers> writers_;  // guarded by mutex_
};

/// Thread-safe. Belongs to the process that opened it: a forked child must not touch it.
class Volume {
 public:
  struct Parts {
    std::shared_ptr<meta::Store> store;
    std::shared_ptr<ObjectStore> objects;  // with the retries it needs
    meta::VolumeFormat format;
    std::shared_ptr<const KeyRing> keys;  // null where the format has no encryption
    Credentials credentials;              // of calls that name none
    Clock* clock = nullptr;
    Random* random = nullptr;
  };
  /// What is done once, where a program opens the volume, and not again in its forked children: the
  /// folder of the disk cache is made. An error that names it where it can not be used.
  static Status prepare(const VolumeOptions& options);
  /// Registers a session and, unless options.background is off, starts the background thread.
  static Result<std::unique_ptr<Volume>> open(const OpContext& ctx, Parts parts,
                                              const VolumeOptions& options);
  /// Flushes everything, ends the session, stops the threads. Every step is tried; the first error
  /// is returned. All handles must be gone. Idempotent.
  Status close(const OpContext& ctx);
  ~Volume();
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  meta::Meta& meta() { return *meta_; }
  data::BlockStore& blocks() { return *blocks_; }
  data::FileStore& files() { return *files_; }
  AccessTimes& access_times() { return access_times_; }
  Executor& executor() { return *executor_; }
  /// Where requests of completion queues run: apart from executor(), because they wait for tasks
  /// there. Started at first use.
  Executor& queue_executor() { return *queue_executor_; }
  CountingObjectStore& counted_objects() { return *counting_; }
  meta::CountingStore& counted_store() { return *counted_store_; }
  ObjectStore& objects() { return *objects_; }
  Clock& clock() const { return *parts_.clock; }
  WriterTable& writers() { return writers_; }
  LockTable& locks() { return locks_; }
  const meta::VolumeFormat& format() const { return parts_.format; }
  const VolumeOptions& options() const { return options_; }
  const Credentials& default_credentials() const { return parts_.credentials; }
  /// Differs between all volumes that a process ever opens.
  uint64_t serial() const { return serial_; }
  /// Differs between all handles of this volume. Not 0.
  uint64_t next_handle() { return handles_.fetch_add(1, std::memory_order_relaxed) + 1; }

  /// A context for work of the volume's own, as root.
  OpContext own_context(TimeNs timeout_ns) const;
  /// EROFS if the volume was opened read-only.
  Status check_writable() const;
  /// Makes a heartbeat where the background thread, which otherwise does, is switched off and one
  /// is due. Called by calls that change something.
  void heartbeat_if_due();
  /// After a heartbeat said ESTALE: a new session. What the old one had locked is lost.
  Status renew_session(const OpContext& ctx);
  /// A call met ESTALE: the session may be gone; the background thread looks at once.
  void suspect_session();
  /// Everything written and every change made here is durable when it returns.
  Status sync(const OpContext& ctx);

 private:
  Volume(Parts parts, const VolumeOptions& options);

  const Parts parts_;
  const VolumeOptions options_;
  const uint64_t serial_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Executor> queue_executor_;
  std::shared_ptr<meta::CountingStore> counted_store_;  // shared with meta_
  std::unique_ptr<meta::Meta> meta_;
  std::shared_ptr<CountingObjectStore> counting_;
  std::shared_ptr<ObjectStore> objects_;  // counting_, as the volume has its objects in it
  std::unique_ptr<data::BlockStore> blocks_;
  std::unique_ptr<data::FileStore> files_;
  WriterTable writers_;
  AccessTimes access_times_;
  LockTable locks_{*this};  // holds open inodes: goes before files_
  std::unique_ptr<Background> background_;
  std::atomic<uint64_t> handles_{0};
  std::atomic<TimeNs> last_heartbeat_ns_{0};  // where there is no background thread
  bool closed_ = false;
};

}  // namespace skerry::vfs
