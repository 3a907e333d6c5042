// The typed records that make a volume's metadata, and the keys that order them.
//
// A store keeps each table ordered by its key, compares names as raw bytes and gives every record
// with a `version` an optimistic lock: whoever changes a record adds one. An inode's attributes
// live in exactly one place, its *home*:
//   entry   files with one name, directories, symlinks, devices: attributes in the dentry's row;
//   inode   files with several names: their entries hold kind and ino alone (linked = true);
//   orphan  files without a name that some client may have open, until reclaim deletes them.
// Ids of inodes and objects are below 2^63, are taken from counters and are never used twice, so a
// stale record is told from its successor by (ino, version).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"

namespace skerry::meta {

using Ino = uint64_t;
using ObjectId = uint64_t;
using ClientId = uint64_t;

inline constexpr Ino kRootIno = 1;
inline constexpr uint64_t kChunkSize = uint64_t{64} << 20;
inline constexpr uint64_t kMaxFileSize = (uint64_t{1} << 57);  // largest length of a file, bytes
inline constexpr size_t kMaxNameBytes = 255;
inline constexpr size_t kMaxSymlinkBytes = 4095;
inline constexpr size_t kMaxPathBytes = 4096;
inline constexpr size_t kMaxXattrNameBytes = 255;
inline constexpr size_t kMaxXattrValueBytes = 65536;
inline constexpr uint32_t kMaxLinks = 0x7fffffff;

enum class FileType : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharDevice = 6,
  kBlockDevice = 7,
};

/// Bits of Attributes::flags.
inline constexpr uint32_t kFlagInline =
    1;  // the data is in the `inline` table, there are no extents
inline constexpr uint32_t kFlagAccessAcl = 2;    // there is an access ACL: see acl.h
inline constexpr uint32_t kFlagDefaultAcl = 4;   // directories: new files inherit an ACL
inline constexpr uint32_t kFlagXattrs = 8;       // there may be xattrs that are no ACLs
inline constexpr uint32_t kFlagCapability = 16;  // one of them is security.capability
inline constexpr uint32_t kFlagImmutable = 32;   // chattr(1) +i
inline constexpr uint32_t kFlagAppendOnly = 64;  // chattr(1) +a
inline constexpr uint32_t kInodeFlags = kFlagImmutable | kFlagAppendOnly;

/// The xattr that lends a program its file's capabilities: capabilities(7). Not known by who writes
/// to the file any more than set-user-ID, and lost as that is, even if root writes.
inline constexpr char kCapabilityXattr[] = "security.capability";

struct Attributes {
  Ino ino = 0;
  FileType type = FileType::kRegular;
  uint32_t mode = 0;  // permission bits 07777 only
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 1;   // directories: stored 2, reads with `join` add the subdirectories
  uint32_t flags = 0;   // kFlag...
  uint32_t shards = 0;  // directories: how many dirstat records it has
  uint64_t rdev = 0;
  uint64_t length = 0;  // bytes; symlinks: of the target
  TimeNs atime_ns = 0;
  TimeNs mtime_ns = 0;
  TimeNs ctime_ns = 0;
  TimeNs btime_ns = 0;
  uint64_t version = 1;  // of the record that holds these attributes: +1 with every change

  bool is_dir() const { return type == FileType::kDirectory; }
  friend bool operator==(const Attributes&, const Attributes&) = default;
};

enum class Table : uint8_t {
  kVolume,
  kEntry,
  kInode,
  kOrphan,
  kLink,
  kDirStat,
  kExtent,
  kObject,
  kInline,
  kSymlink,
  kXattr,
  kClient,
  kPin,
  kGarbage,
  kUsage,
  kLock,
  kLocked,
};

/// A record's place. Fields that a table does not use are 0 or empty.
///   volume (name) · entry (a=parent, name) · inode, orphan, inline, symlink (a=ino)
///   link (a=ino, b=parent, name) · dirstat (a=ino, b=shard) · extent (a=ino, b=chunk, c=seq)
///   object (a=id) · xattr (a=ino, name) · client (a=id) · pin (a=client, b=ino)
///   garbage (a=epoch, b=object) · usage (a=scope, b=client) · lock (a=client, b=ino)
///   locked (a=ino)
struct Key {
  Table table = Table::kVolume;
  uint64_t a = 0;
  uint64_t b = 0;
  uint64_t c = 0;
  std::string name;
  friend auto operator<=>(const Key&, const Key&) = default;
  friend bool operator==(const Key&, const Key&) = default;
};

/// Settings, counters and serials of the volume, by name.
struct VolumeRecord {
  std::string name;
  std::string value;    // settings: text
  uint64_t number = 0;  // counters, epoch, serials
  uint64_t version = 1;
  friend bool operator==(const VolumeRecord&, const VolumeRecord&) = default;
};

struct EntryRecord {
  Ino parent = 0;
  std::string name;
  bool linked = false;   // attributes are in the inode table; `attr` then holds ino, type and the
                         // entry's own version unless the read joined them (see Store::read)
  uint64_t version = 1;  // of the entry row; equals attr.version when !linked
  Attributes attr;
  friend bool operator==(const EntryRecord&, const EntryRecord&) = default;
};

struct InodeRecord {
  Attributes attr;
  friend bool operator==(const InodeRecord&, const InodeRecord&) = default;
};

struct OrphanRecord {
  Attributes attr;
  uint64_t epoch = 0;  // set by the store to the volume's epoch when the record is put
  friend bool operator==(const OrphanRecord&, const OrphanRecord&) = default;
};

struct LinkRecord {
  Ino ino = 0;
  Ino parent = 0;
  std::string name;
  friend bool operator==(const LinkRecord&, const LinkRecord&) = default;
};

/// What changes in a directory when its children do: deltas, so that creators never meet.
struct DirStatRecord {
  Ino ino = 0;
  uint64_t shard = 0;
  TimeNs mtime_ns = 0;  // also the change time; merged by max
  int64_t subdirs = 0;
  int64_t entries = 0;
  friend bool operator==(const DirStatRecord&, const DirStatRecord&) = default;
};

/// A piece of a file stored in one object, or zeros.
struct Extent {
  uint64_t chunk_offset = 0;   // where it lies in its chunk
  uint64_t length = 0;         // bytes of the file it covers; never leaves the chunk
  ObjectId object = 0;         // 0: zeros
  uint64_t object_offset = 0;  // where the stored slice begins in the object (framed bytes)
  uint64_t slice_length = 0;   // the stored slice's length before framing
  uint64_t slice_skip = 0;     // this extent begins so far into the slice
  uint32_t crc = 0;            // CRC32C of the whole stored slice's bytes
  friend bool operator==(const Extent&, const Extent&) = default;
};

/// What one commit added to one chunk. Later seq overlays earlier; within a record, later extents
/// overlay earlier ones.
struct ExtentRecord {
  Ino ino = 0;
  uint64_t chunk = 0;
  uint64_t seq = 0;  // the file's version, given by the commit
  std::vector<Extent> extents;
  friend bool operator==(const ExtentRecord&, const ExtentRecord&) = default;
};

/// How many extents refer to an object. Absent: one. Each change of the count gives the record a
/// version that no earlier one had, even if it was absent in between: the server's time, or one
/// more than before.
struct ObjectRecord {
  ObjectId id = 0;
  int64_t references = 1;
  uint64_t version = 0;
  friend bool operator==(const ObjectRecord&, const ObjectRecord&) = default;
};

struct InlineRecord {
  Ino ino = 0;
  uint32_t crc = 0;  // CRC32C of bytes
  std::string bytes;
  friend bool operator==(const InlineRecord&, const InlineRecord&) = default;
};

struct SymlinkRecord {
  Ino ino = 0;
  std::string target;
  friend bool operator==(const SymlinkRecord&, const SymlinkRecord&) = default;
};

struct XattrRecord {
  Ino ino = 0;
  std::string name;
  std::string value;
  friend bool operator==(const XattrRecord&, const XattrRecord&) = default;
};

/// A client's session.
struct ClientRecord {
  ClientId id = 0;
  TimeNs heartbeat_ns = 0;    // server time; set by the store when put
  uint64_t epoch_seen = 0;    // every list of extents it still uses is at least this new
  ObjectId first_object = 0;  // it never uploads objects with a smaller id
  std::string host;
  uint64_t pid = 0;
  std::string software;  // version of the client
  friend bool operator==(const ClientRecord&, const ClientRecord&) = default;
};

/// `client` has `ino` open although it has no name: reclaim leaves it.
struct PinRecord {
  ClientId client = 0;
  Ino ino = 0;
  friend bool operator==(const PinRecord&, const PinRecord&) = default;
};

/// An object nothing refers to; deleted when every client has passed `epoch`.
struct GarbageRecord {
  uint64_t epoch = 0;  // kCurrentEpoch in a Put: the store fills in the volume's epoch
  ObjectId object = 0;
  friend bool operator==(const GarbageRecord&, const GarbageRecord&) = default;
};
inline constexpr uint64_t kCurrentEpoch = INT64_MAX;

/// Exact use of the volume, in parts that one client each changes; their sum is what counts. On
/// some stores a client has several, so that its own commits do not wait for each other.
struct UsageRecord {
  uint64_t scope = 0;   // 0: the volume
  ClientId client = 0;  // usage_part()
  int64_t bytes = 0;    // lengths of regular files
  int64_t inodes = 0;
  friend bool operator==(const UsageRecord&, const UsageRecord&) = default;
};
inline constexpr unsigned kUsagePartShift = 48;
constexpr ClientId usage_part(ClientId client, uint64_t part) {
  return client | part << kUsagePartShift;
}
constexpr ClientId usage_owner(ClientId part) {
  return part & ((ClientId{1} << kUsagePartShift) - 1);
}

enum class LockKind : uint8_t {
  kRecord = 1,  // fcntl(2): byte ranges
  kFlock = 2,   // flock(2): always the whole range; the two kinds do not see each other
};
inline constexpr uint64_t kLastLockByte = INT64_MAX;  // "to the end of the file, however it grows"

/// One range that one owner holds.
struct FileLock {
  LockKind kind = LockKind::kRecord;
  bool exclusive = false;
  uint64_t owner = 0;  // told apart within its client alone
  uint64_t first = 0;  // bytes of the file, both ends included
  uint64_t last = kLastLockByte;
  uint64_t pid = 0;  // for F_GETLK
  /// Nobody holds it: its owner has waited for it for a while, and lets others know (EDEADLK).
  bool waiting = false;
  friend bool operator==(const FileLock&, const FileLock&) = default;
};

/// What `client` has locked of `ino`, and waits for; written by that client alone. Keyed by the
/// client first, so that the commit which removes a session removes its locks, whichever and
/// however many they are.
struct LockRecord {
  ClientId client = 0;
  Ino ino = 0;
  std::vector<FileLock> locks;
  friend bool operator==(const LockRecord&, const LockRecord&) = default;
};

/// Which clients may hold locks of `ino`: where to look for conflicts. Every commit that takes a
/// lock expects the version that it decided on and sets a new one, so of two that would conflict
/// one finds out, on every store. A version is a random number and never comes back, though the
/// record may go and come again. Clients that are listed and hold nothing do no harm.
struct LockedRecord {
  Ino ino = 0;
  uint64_t version = 0;
  std::vector<ClientId> clients;  // ascending
  friend bool operator==(const LockedRecord&, const LockedRecord&) = default;
};

using Record =
    std::variant<VolumeRecord, EntryRecord, InodeRecord, OrphanRecord, LinkRecord, DirStatRecord,
                 ExtentRecord, ObjectRecord, InlineRecord, SymlinkRecord, XattrRecord, ClientRecord,
                 PinRecord, GarbageRecord, UsageRecord, LockRecord, LockedRecord>;

// Keys, by table. (records.cc)
Key volume_key(std::string name);
Key entry_key(Ino parent, std::string_view name);
Key inode_key(Ino ino);
Key orphan_key(Ino ino);
Key link_key(Ino ino, Ino parent, std::string_view name);
Key dirstat_key(Ino ino, uint64_t shard);
Key extent_key(Ino ino, uint64_t chunk, uint64_t seq);
Key object_key(ObjectId id);
Key inline_key(Ino ino);
Key symlink_key(Ino ino);
Key xattr_key(Ino ino, std::string_view name);
Key client_key(ClientId id);
Key pin_key(ClientId client, Ino ino);
Key garbage_key(uint64_t epoch, ObjectId object);
Key usage_key(uint64_t scope, ClientId client);
Key lock_key(ClientId client, Ino ino);
Key locked_key(Ino ino);
/// The key under which a record is stored.
Key key_of(const Record& record);

// Names of volume records.
inline constexpr char kVolumeEpoch[] = "epoch";  // number
inline constexpr char kVolumeRenameSerial[] = "rename_serial";
inline constexpr char kVolumeNextIno[] = "next_ino";
inline constexpr char kVolumeNextObject[] = "next_object";
inline constexpr char kVolumeNextClient[] = "next_client";
inline constexpr char kVolumeReclaimer[] = "reclaimer";  // number: client id; value: lease end
inline constexpr char kVolumeFormat[] = "format";        // value: settings as JSON

/// Binary form of a list of extents, as stores keep it in one column. Self-describing: a leading
/// format byte, then a count; see records.cc.
std::string encode_extents(const std::vector<Extent>& extents);
/// False on malformed input (never crashes on any bytes).
bool decode_extents(std::string_view encoded, std::vector<Extent>* extents);

/// The same for the lists of the lock records; see lock_list.cc.
std::string encode_locks(const std::vector<FileLock>& locks);
bool decode_locks(std::string_view encoded, std::vector<FileLock>* locks);
std::string encode_clients(const std::vector<ClientId>& clients);
bool decode_clients(std::string_view encoded, std::vector<ClientId>* clients);

/// Lays pieces whose positions are relative to `base` (piece.chunk_offset counts from base) out
/// over chunks, cutting a piece where it crosses a chunk's end. Objects cut in two gain a
/// reference: `*extra_references` lists them, one entry for each extra extent.
std::vector<ExtentRecord> place_extents(Ino ino, uint64_t seq, uint64_t base,
                                        const std::vector<Extent>& pieces,
                                        std::vector<ObjectId>* extra_references);

}  // namespace skerry::meta
