// The operations of the file system on metadata, each in its own file lib/meta/ops/<name>.cc.
// `dir` is a directory's inode; the caller has resolved the path to it and the operation checks
// everything else: that it is a directory, permissions on it, the name, the limits, sticky bit,
// set-group-ID inheritance, and, atomically at commit, that it still exists.
#pragma once

#include <functional>

#include "meta/meta.h"

namespace skerry::meta {

// ---- access.cc: permission checks (path_resolution(7), open(2), chmod(2), chown(2), unlink(2)).
enum Access : unsigned { kExecute = 1, kWrite = 2, kRead = 4 };
/// Immutable files are written by nobody (EPERM). Otherwise by the mode, or the access ACL where
/// the file has one: that is read from the store once for each of the file's versions. EACCES;
/// ESTALE where an ACL had to be read of an inode that is gone.
Status check_access(const OpContext& ctx, Meta& meta, const Attributes& attr, unsigned access);
/// For removing or renaming `child` out of `dir`: write and search on dir, the sticky bit, and that
/// neither's inode flags forbid it.
Status check_delete(const OpContext& ctx, Meta& meta, const Attributes& dir,
                    const Attributes& child);
/// EINVAL (empty, NUL or '/' inside), ENAMETOOLONG; "." and ".." are EINVAL here.
Status check_name(std::string_view name);

// ---- lookup.cc
/// The child's attributes, joined. ENOENT, ENOTDIR; EACCES without search permission on dir.
/// Served by the cache while it is current: then no allocation and no store call. Without `exact` a
/// directory's times and link count may be old, which a walk through it does not care about.
/// `rest`: the path that the caller will follow from there; where the store is far, what it names
/// is read in the same round trip and cached.
Result<Attributes> lookup(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                          bool exact = true, std::string_view rest = {});
/// ESTALE if the inode does not exist any more (not even as an orphan). `mark`: where given, gets
/// the mark of the attributes (freshness.h).
Result<Attributes> get_attributes(const OpContext& ctx, Meta& meta, Ino ino, bool exact = true,
                                  uint64_t* mark = nullptr);
/// Many at once, one round trip: result[i] belongs to (dir, names[i]).
Result<std::vector<Result<Attributes>>> lookup_many(
    const OpContext& ctx, Meta& meta, const std::vector<std::pair<Ino, std::string>>& names);
/// Directory that holds `dir` (root: itself) and, where asked, the name `dir` has there.
Result<Ino> parent_of(const OpContext& ctx, Meta& meta, Ino dir, std::string* name = nullptr);

// ---- create.cc
struct CreateArgs {
  FileType type = FileType::kRegular;
  uint32_t mode = 0;        // before umask; 07777
  uint64_t rdev = 0;        // devices
  std::string_view target;  // symlinks: 1 to 4,095 bytes, else ENAMETOOLONG / ENOENT if empty
  bool exclusive = true;    // false: an existing entry is returned, *created = false
};
struct Created {
  Attributes attr;
  bool created = true;
};
Result<Created> create(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                       const CreateArgs& args);
/// O_TMPFILE: a regular file without a name, pinned by being open here. Needs write on dir.
Result<Attributes> create_orphan(const OpContext& ctx, Meta& meta, Ino dir, uint32_t mode);

// ---- unlink.cc, rmdir.cc, rename.cc, link.cc, readlink.cc
/// `removed` (may be null) gets the attributes the file has after the removal.
Status unlink(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
              Attributes* removed = nullptr);
Status rmdir(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name);
inline constexpr unsigned kRenameNoReplace = 1;  // as RENAME_NOREPLACE
inline constexpr unsigned kRenameExchange = 2;   // as RENAME_EXCHANGE
Status rename(const OpContext& ctx, Meta& meta, Ino from_dir, std::string_view from, Ino to_dir,
              std::string_view to, unsigned flags);
/// `named`: the caller found the file by a name, so ESTALE where it has none any more (linkat(2)
/// gives a nameless file a name only where it is meant by its descriptor): the name is to be looked
/// up again.
Result<Attributes> link(const OpContext& ctx, Meta& meta, Ino ino, Ino dir, std::string_view name,
                        bool named = false);
Result<std::string> readlink(const OpContext& ctx, Meta& meta, Ino ino);

// ---- set_attributes.cc
struct SetAttributes {
  std::optional<uint32_t> mode, uid, gid;
  std::optional<TimeNs> atime_ns, mtime_ns;
  bool atime_now = false, mtime_now = false;  // UTIME_NOW: needs only write permission
  std::optional<uint32_t> inode_flags;        // of kInodeFlags; root alone changes them
};
Result<Attributes> set_attributes(const OpContext& ctx, Meta& meta, Ino ino,
                                  const SetAttributes& set);

// ---- access_times.cc
enum class AtimeMode : uint8_t { kNone, kRelative, kStrict };  // mount(8): noatime and so on
/// A read of `ino`, whose access time was `known_ns` before.
struct AccessTime {
  Ino ino = 0;
  TimeNs known_ns = 0;
  TimeNs read_ns = 0;
};
/// True if a read at `read_ns` changes the access time of a file with these attributes.
bool needs_access_time(const Attributes& attr, TimeNs read_ns, AtimeMode mode);
/// Commits reads, few times, where the mode says so and nobody has set another access time since.
/// Nothing else of the files changes, neither their change time nor their version. At best effort:
/// of a file that others change at the same time it may be left out.
Status set_access_times(const OpContext& ctx, Meta& meta, const std::vector<AccessTime>& reads,
                        AtimeMode mode);

// ---- list.cc
struct ListedEntry {
  std::string name;
  Attributes attr;  // only ino and type unless attributes were asked for
};
struct ListPage {
  std::vector<ListedEntry> entries;
  bool more = false;  // continue with after = entries.back().name
};
/// Children of `dir` with names greater than `after` in byte order; needs read permission (checked
/// when `check` is set: an opened directory stays readable).
Result<ListPage> list(const OpContext& ctx, Meta& meta, Ino dir, std::string_view after,
                      uint32_t limit, bool with_attributes, bool check = true);

// ---- xattr.cc (xattr(7); user.* needs file permissions, trusted.* root, security.* root to set;
// system.posix_acl_access and _default are the ACLs: see acl.h, and ops/acl.cc)
enum class XattrMode { kSet, kCreate, kReplace };
Status set_xattr(const OpContext& ctx, Meta& meta, Ino ino, std::string_view name,
                 std::string_view value, XattrMode mode);
Result<std::string> get_xattr(const OpContext& ctx, Meta& meta, Ino ino, std::string_view name);
Result<std::vector<std::string>> list_xattrs(const OpContext& ctx, Meta& meta, Ino ino);
Status remove_xattr(const OpContext& ctx, Meta& meta, Ino ino, std::string_view name);

// ---- file_data.cc: what the data layer asks for. No permission checks: the handle was checked.
struct FileData {
  Attributes attr;
  bool is_inline = false;
  InlineRecord inline_data;           // if is_inline
  std::vector<ExtentRecord> extents;  // of the chunks asked for, in (chunk, seq) order
};
/// Attributes and the extents of chunks [first, last] in one snapshot (all pages).
Result<FileData> load_file(const OpContext& ctx, Meta& meta, Ino ino, uint64_t first_chunk,
                           uint64_t last_chunk);
struct DataWritten {
  uint64_t version = 0;        // the file's, after
  uint64_t length_before = 0;  // append: where the data went
};
/// One file's flush. Several in one commit: write_many. ESTALE: the inode is gone; EAGAIN: the file
/// turned inline or was inline (reload and decide again); EFBIG.
struct DataWrite {
  Ino ino = 0;
  bool append = false;
  bool extend = true;
  uint64_t offset = 0;
  uint64_t length = 0;
  std::vector<Extent> pieces;
  /// Set when the file was inline: the write replaces the inline record, whose bytes `pieces` must
  /// include, provided the file is still at this version.
  std::optional<uint64_t> replace_inline_version;
  uint32_t clear_mode = 0;  // see clear_mode_of()
  TimeNs mtime_ns = 0;      // 0: now
};
/// One commit for all; result[i] is the outcome of writes[i] (each file's success is its own).
/// `session`, `lost`: as Meta::commit; the one under which the objects of the pieces got their ids.
Result<std::vector<Result<DataWritten>>> write_data(
    const OpContext& ctx, Meta& meta, const std::vector<DataWrite>& writes, Durability durability,
    const std::vector<std::pair<ObjectId, int64_t>>& new_references = {}, ClientId session = 0,
    std::optional<CommitRequest>* lost = nullptr);
/// Replaces a small file's whole contents in the metadata; EAGAIN unless the file is at `version`
/// and has no extents (is empty or inline).
Result<DataWritten> write_inline(const OpContext& ctx, Meta& meta, Ino ino, uint64_t version,
                                 std::string_view bytes, uint32_t clear_mode, Durability durability,
                                 std::optional<CommitRequest>* lost = nullptr);
/// ftruncate(2): drops extents beyond (their objects become garbage), zero-fills when growing
/// later. EFBIG above kMaxFileSize. Returns the attributes after.
/// `only_grow`: a file that is (or meanwhile became) as long is left as it is.
Result<Attributes> truncate(const OpContext& ctx, Meta& meta, Ino ino, uint64_t length,
                            uint32_t clear_mode, bool only_grow = false);
/// Shares `length` bytes of extents from one place to another (the caller has flushed both files
/// and clipped to EOF): copy_file_range(2) without copying. EINVAL where the ranges overlap in one
/// file. EAGAIN as for write_data. Counts references. EXDEV is never returned.
Result<DataWritten> copy_extents(const OpContext& ctx, Meta& meta, Ino from, uint64_t from_offset,
                                 Ino to, uint64_t to_offset, uint64_t length,
                                 uint32_t clear_mode = 0);
/// Replaces what a compaction read: extent records of (ino, chunk) with seq <= last_seq, `count` of
/// them, by one record `replacement` at last_seq; objects no longer referred to become garbage.
/// False: something else changed meanwhile; nothing was done.
Result<bool> replace_chunk(const OpContext& ctx, Meta& meta, Ino ino, uint64_t chunk,
                           const std::vector<ExtentRecord>& read,
                           const std::vector<Extent>& replacement, ClientId session = 0);

// ---- lock.cc: locks between clients (fcntl(2), flock(2)). A client holds a list of ranges of a
// file for all of its owners (lock_list.h), under one session, and replaces it as a whole, with
// what its owners wait for behind. It makes one such call at a time for a file. ENOTCONN: the
// session is gone, and all its locks with it.
struct LockHolder {
  ClientId client = 0;
  FileLock lock;
};
/// Makes `held` what `session` holds of the file, if no other client's lock excludes `wanted`, the
/// part of `held` that is new; else answers with the lock that does. A holder whose session has
/// expired is removed first. ESTALE: the inode is gone; ENOLCK: more than kMaxLocksOfFile ranges.
Result<std::optional<LockHolder>> take_locks(const OpContext& ctx, Meta& meta, ClientId session,
                                             Ino ino, const std::vector<FileLock>& held,
                                             const FileLock& wanted);
/// Makes `held` what `session` holds, where that is no more than before.
Status drop_locks(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                  const std::vector<FileLock>& held);
/// After a call whose answer was lost: `held` is what `session` held before it, or less. When this
/// returns, the lost commit has no effect and can have none any more.
Status settle_locks(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                    const std::vector<FileLock>& held);
/// The first lock of another client that excludes `wanted`.
Result<std::optional<LockHolder>> find_lock(const OpContext& ctx, Meta& meta, ClientId session,
                                            Ino ino, const FileLock& wanted);
/// Makes `held`, of which nothing but what is waited for has changed, what is noted of `session`.
Status note_waits(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                  const std::vector<FileLock>& held);
/// Some of the files that a client holds locks of, at most `limit`.
Result<std::vector<Ino>> locked_by(const OpContext& ctx, Meta& meta, ClientId client,
                                   uint32_t limit);
/// Drops from the file's record of holders the clients that are gone.
Status tidy_locked(const OpContext& ctx, Meta& meta, Ino ino);

// ---- lock_waits.cc
/// Whether an owner of `session` that waits for `wanted` of `ino`, and has noted it, waits for
/// itself: for an owner that has noted that he waits for another ... who waits for the first. All
/// in one snapshot: nobody in such a circle will ever go on by himself. The last of a circle to
/// note his wait finds it, if it is not of more than some hundred waits; others may as well.
Result<bool> waits_for_itself(const OpContext& ctx, Meta& meta, ClientId session, Ino ino,
                              const FileLock& wanted);

// ---- remove_tree.cc
struct RemoveProgress {
  uint64_t entries = 0;
};
/// rm -r: depth first in batches, permission-checked, bounded memory however large a directory.
/// `progress` (may be empty) is called after each batch; false stops with ECANCELED.
Status remove_tree(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                   const std::function<bool(const RemoveProgress&)>& progress);

// ---- statfs.cc
struct VolumeUsage {
  uint64_t bytes = 0;
  uint64_t inodes = 0;
};
Result<VolumeUsage> usage(const OpContext& ctx, Meta& meta);

}  // namespace skerry::meta
