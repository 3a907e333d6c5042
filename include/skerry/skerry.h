/**
 * @file skerry.h
 * @brief The C ABI of Skerry: POSIX files in a volume whose metadata lives in a database and whose
 * data lives in an object store, inside your process.
 *
 * Conventions, true of every function unless it says otherwise:
 *  - **Results.** 0 or a count on success, a negative errno on failure. After a failure
 *    skerry_last_error() on the same thread returns a sentence naming the path, the cause and what
 *    to do. Every call may return -ENOMEM, -EIO, -ETIMEDOUT (deadline), -ECANCELED (cancelled),
 *    -EINVAL (null or malformed argument) besides those named.
 *  - **Threads.** Any function may be called from any thread at any time, on the same objects too,
 *    except that an object must not be used after or while it is closed or released.
 *  - **Memory.** Inputs are borrowed for the call only. What the library returns is released by the
 *    function named for it. Opaque objects are owned by the caller.
 *  - **fork().** An open volume and its files may be used in a forked child; the child builds its
 *    own threads and connections at first use. Data written but not flushed stays the parent's.
 *  - **Guest.** The library never prints, exits, installs signal handlers or changes the process's
 *    environment, locale or working directory. It starts no thread before it needs one.
 *  - **Semantics** are those of POSIX.1-2017 for the call of the same name, with Linux's errno
 *    where it differs (EISDIR from unlink, ENOTSUP = EOPNOTSUPP).
 *  - **Paths** are bytes, NUL-terminated, at most 4,095 bytes; components at most 255 bytes.
 *    Relative paths count from the directory given, else from the root. ".." of the root is the
 *    root.
 *  - **Since** version 0.1 where nothing else is said. Structs that begin with `struct_size` must
 *    have it set to sizeof by the caller and grow only at their end; zero means default.
 */
#ifndef SKERRY_SKERRY_H_
#define SKERRY_SKERRY_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SKERRY_API __attribute__((visibility("default")))
#else
#define SKERRY_API
#endif

#define SKERRY_VERSION_MAJOR 0
#define SKERRY_VERSION_MINOR 1
#define SKERRY_VERSION_PATCH 0

/** An opened volume. */
typedef struct skerry_volume skerry_volume;
/** An open file or directory. */
typedef struct skerry_file skerry_file;
/** A position in a directory's listing. */
typedef struct skerry_dir skerry_dir;
/** A completion queue. */
typedef struct skerry_queue skerry_queue;
/** A flag that stops calls in flight. */
typedef struct skerry_cancel skerry_cancel;

/** Who asks, and for how long. NULL wherever it is taken: the volume's defaults, which are the
 * effective user, group and groups of the process when the volume was opened, umask 0 and the
 * volume's `timeout`. The credentials decide permissions and owners; nothing else is consulted. */
typedef struct skerry_context {
  uint32_t struct_size;   /**< sizeof(struct skerry_context) */
  uint32_t uid;           /**< user; 0 passes every permission check, as root does */
  uint32_t gid;           /**< group of new files (unless the directory has S_ISGID) */
  uint32_t umask;         /**< cleared from the mode of new files */
  const uint32_t* groups; /**< supplementary groups, `group_count` of them */
  uint32_t group_count;   /**< at most 65,536 */
  uint32_t timeout_ms;    /**< of this call; 0: the volume's default */
  skerry_cancel* cancel;  /**< may be NULL; must outlive the call */
} skerry_context;

/** Seconds and nanoseconds since the Unix epoch. */
typedef struct skerry_timespec {
  int64_t sec;
  int32_t nsec;     /**< 0 to 999,999,999, or SKERRY_UTIME_... where a call says so */
  int32_t reserved; /**< 0 */
} skerry_timespec;

#define SKERRY_UTIME_NOW ((int32_t)0x3fffffff)  /**< set to the current time */
#define SKERRY_UTIME_OMIT ((int32_t)0x3ffffffe) /**< leave alone */

/** The file has neither extended attributes nor ACLs: nobody needs to ask for them. */
#define SKERRY_ATTR_NO_XATTRS 0x1u
#define SKERRY_ATTR_IMMUTABLE 0x10u /**< nobody changes it: FS_IMMUTABLE_FL of chattr(1) +i */
#define SKERRY_ATTR_APPEND 0x20u    /**< it only grows: FS_APPEND_FL of chattr(1) +a */

/** Attributes of a file: what stat(2) and statx(2) tell. */
struct skerry_stat {
  uint64_t ino;     /**< inode number; never used twice in a volume */
  uint64_t version; /**< changes with every change of data or attributes */
  uint32_t mode;    /**< type and permissions, as st_mode */
  uint32_t nlink;   /**< names; directories: 2 + subdirectories */
  uint32_t uid;
  uint32_t gid;
  uint64_t rdev;       /**< devices: as given to skerry_mknod */
  uint64_t size;       /**< bytes; symlinks: of the target */
  uint64_t blocks;     /**< of 512 bytes: size rounded up (holes are counted) */
  uint32_t blksize;    /**< preferred size of reads and writes, bytes */
  uint32_t attributes; /**< SKERRY_ATTR_..., as stx_attributes of statx(2) */
  skerry_timespec atime;
  skerry_timespec mtime;
  skerry_timespec ctime;
  skerry_timespec btime; /**< creation */
};

struct skerry_statvfs {
  uint64_t total_bytes; /**< 1 PiB where no capacity is set */
  uint64_t used_bytes;  /**< sum of the lengths of all files */
  uint64_t total_inodes;
  uint64_t used_inodes;
  uint32_t block_bytes; /**< largest block of data */
  uint32_t name_max;    /**< 255 */
};

struct skerry_iovec {
  void* base;
  size_t length;
};

/* ---------------------------------------------------------------- library */

/** "0.1.0". Never fails; static. */
SKERRY_API const char* skerry_version(void);

/** The sentence about the last failed call on this thread; "" if there was none. Valid until the
 * next Skerry call on this thread. */
SKERRY_API const char* skerry_last_error(void);

/** Receives log lines. Called from any thread, also the library's; must not call Skerry.
 * level: 0 error, 1 warning, 2 information, 3 debug. */
typedef void (*skerry_log_function)(void* context, int level, const char* message);
/** Installs the log sink of the process (NULL: none, the default) up to max_level. */
SKERRY_API int skerry_set_log(skerry_log_function function, void* context, int max_level);

SKERRY_API skerry_cancel* skerry_cancel_create(void);
/** Calls that carry this flag return -ECANCELED at their next step. Async-signal-safe. */
SKERRY_API void skerry_cancel_fire(skerry_cancel* cancel);
SKERRY_API void skerry_cancel_free(skerry_cancel* cancel);

/* ---------------------------------------------------------------- volumes */

/** Creates a volume. `url` names its metadata: "sqlite:///abs/path/vol.db", or a PostgreSQL URI
 * ("postgres://user@host/database", or "postgresql:", with all that libpq's URIs may say) and in it
 * "schema=NAME" (default: skerry): the schema, in that database, that is the volume's alone.
 * `options` is a NULL-terminated array of "key=value" strings, or NULL:
 *   storage=URL      where data lives: "file:///abs/dir" (default: the folder "<db>.data" beside
 *                    the SQLite database; with PostgreSQL it must be said)
 *   block_size=SIZE  largest object, 64K to 16M (default 4M)
 *   inline=SIZE      files up to this length live in the metadata, 0 to 64K (default 4K)
 *   durable=0|1      1: every namespace call is durable when it returns (default 0: fsync, close of
 *                    a written file and sync are)
 *   session_expiry=DURATION  clients not heard of for so long are given up, and their locks with
 *                    them (default 60s, 5s to a day; suffixes ms, s, m)
 *   compression=none|lz4|zstd|zstd:LEVEL
 *                    of data (default none; LEVEL 1 to 19, without it 1). What does not become
 *                    shorter is stored as it is.
 *   encryption_key=SOURCE
 *                    encrypts data with AES-256-GCM; SOURCE says where the volume's key is, which
 *                    every later open must be told as well. README.md, "Encryption", says what is
 *                    protected and what is not.
 * SIZE takes K, M, G, T suffixes (powers of 1,024).
 * SOURCE is file:/path, env:NAME (an environment variable) or command:COMMAND (what /bin/sh prints
 * of it). The key is 32 random bytes (not from env), their 64 hexadecimal digits or their base64;
 * passphrases are not keys. It is stored nowhere and shown nowhere.
 * In S3 the prefix becomes the volume's alone, and the store is tried first: putting, getting,
 * ranges, listing, deleting, conditional puts. What it lacks is logged as warnings
 * (skerry_set_log()); one that does not give back what was put is refused.
 * @return 0; -EEXIST (a volume is there already, or the prefix holds another volume's data;
 * nothing was changed), -EINVAL (bad URL or option, or what SOURCE gives is no key), -EIO (the
 * object store will not do), -EACCES, -ENOENT (folder, database or key missing), -ENOTSUP (unknown
 * scheme). */
SKERRY_API int skerry_format(const char* url, const char* const* options);

/** Changes how a volume stores data from now on; what is stored stays as it is and readable.
 * `options`, at least one of the first two:
 *   compression=...      as in skerry_format; clients that have the volume open go on with what
 *                        they found
 *   encryption_key=SOURCE  encrypts from now on a volume that was not encrypted
 *   timeout=DURATION     of the call (default 60s)
 * Where data is encrypted or compressed for the first time no client may have the volume open.
 * @return 0; -EBUSY (a client has it open: the sentence names it), -EEXIST (encrypted already),
 * else as skerry_volume_open. */
SKERRY_API int skerry_configure(const char* url, const char* const* options);

/** Gives an encrypted volume another key, in one step and without rewriting data: the keys that
 * data is encrypted with are wrapped anew. Clients that have the volume open go on; who opens it
 * from then on needs the new key. If the answer is lost, one of the two keys opens the volume.
 * `options`:
 *   encryption_key=SOURCE      the volume's key as it is (must be given)
 *   new_encryption_key=SOURCE  the one to come; where it is left out the key stays
 *   new_data_key=0|1           1: what is stored from now on is encrypted with a new data key; no
 *                              client may have the volume open
 *   timeout=DURATION           of the call (default 60s)
 * @return 0; -EKEYREJECTED (another key), -ENOKEY (none given), -EINVAL (not encrypted, nothing to
 * change, or the same key), -EBUSY, else as skerry_volume_open. */
SKERRY_API int skerry_rotate_key(const char* url, const char* const* options);

/** Opens a volume. `options` as for skerry_format; keys:
 *   encryption_key=SOURCE  where the key of an encrypted volume is, as in skerry_format
 *   cache_size=SIZE      memory for data read (default 256M, shared by all files of the volume)
 *   cache_dir=DIR        a folder on the host's disk, an absolute path, that keeps what was read
 *                        and written for this and other processes, volumes and runs, so that it is
 *                        not fetched again (default empty: none). Made, for its owner alone, where
 *                        there is none. Every byte read from it is checked; what is wrong with it
 *                        or its disk later is no error, only slower: see the counters
 *                        disk_cache_... An encrypted volume's data lies there in plain.
 *   cache_dir_size=SIZE  what the folder may hold, of all that use it (default 10G, at least 256M);
 *                        what was not read for longest goes first. A tenth of the disk, 1G at most,
 *                        is left free.
 *   write_buffer=SIZE    memory for data written and not yet stored (default 64M)
 *   readahead=SIZE       largest readahead of a sequential reader (default 16M, 0: none)
 *   io_threads=N         threads for object requests (default 8; started on first use)
 *   timeout=DURATION     default deadline of a call (default 60s; suffixes ms, s, m)
 *   read_only=0|1        refuse every change with EROFS
 *   durable=0|1          as in skerry_format, for this client
 *   background=0|1       1 (default): heartbeat, reclaim and compaction on a thread of their own
 *   metadata_cache=N     entries kept (default 262144)
 *   atime=MODE           noatime (default): reading does not change access times. relatime: it does
 *                        where the time was not later than the last change, or is a day old.
 *                        strictatime: always. Times are noted in memory and committed a second
 *                        or so later, by skerry_sync and by skerry_volume_close; a process that is
 *                        killed loses them.
 *   consistency=MODE     what this client may be told of others' changes, on PostgreSQL (on SQLite
 *                        every answer is current, at no cost): strict, close-to-open (default) or
 *                        leased; see README.md, "Consistency". An own change is always seen.
 *   lease=DURATION       how old an answer may be that need not be current (default 1s, up to 1h),
 *                        counted back from when the call began
 *   notify=0|1           1 (default): clients tell each other of changes (LISTEN and NOTIFY), so
 *                        that such answers are seldom older than some tens of milliseconds
 *   max_requests=N       to S3, in flight (default 256); fewer while it answers 503 or 429
 *   request_limit=N      to S3, begun in a second (default 0: any)
 *   upload_limit=SIZE, download_limit=SIZE
 *                        bytes of objects a second, to and from S3, on the average (default 0: any)
 *   hedge=PERCENT        of reads from S3 that may be asked for a second time once they are later
 *                        than 95 % of the last ones of their size (default 5, 0: none)
 *   retry_budget=N       of requests to S3 that are made again (default 500, 0: without one): each
 *                        takes 5, after a time-out 10, and each success gives back
 *   connect_timeout=DURATION, first_byte_timeout=DURATION, stall_timeout=DURATION
 *                        of a request to S3: until it has a connection, is answered, and between
 *                        two bytes (default 10s, 30s, 20s)
 *   request_timeout=DURATION
 *                        of a request to S3 as a whole (default: none but the call's)
 * @return 0; -ENOENT (no volume there), -EINVAL, -ENOTSUP (newer format or unknown scheme),
 * -ENOKEY (it is encrypted and no key is given), -EKEYREJECTED (another key), -EACCES, -EIO,
 * -ENOTDIR (cache_dir), or another error of making cache_dir; -ETIMEDOUT where its disk does not
 * answer. */
SKERRY_API int skerry_volume_open(const char* url, const char* const* options,
                                  skerry_volume** volume);

/** Flushes and closes every file still open, ends the session and frees the volume; its threads
 * are gone when it returns. Files, directories and queues of the volume must not be used any more
 * (freeing them stays allowed). NULL is allowed. Frees also when it returns the first error. */
SKERRY_API int skerry_volume_close(skerry_volume* volume);

/** Makes everything written and every change made through this volume durable, as sync(2). */
SKERRY_API int skerry_sync(skerry_volume* volume, const skerry_context* context);

SKERRY_API int skerry_statvfs(skerry_volume* volume, const skerry_context* context,
                              struct skerry_statvfs* out);

/** Writes JSON (format, storage, uuid, features, compression, encryption, sessions, usage) with a
 * final NUL into `buffer`.
 * @return the length without NUL; if that is >= capacity the text was cut: call again larger. */
SKERRY_API int64_t skerry_volume_info(skerry_volume* volume, const skerry_context* context,
                                      char* buffer, size_t capacity);

/** A counter: name is static ("object_get_bytes"). */
struct skerry_counter {
  const char* name;
  uint64_t value;
};
/** Fills up to `capacity` counters of this volume in this process, monotonic since it was opened
 * unless the name ends in "_now". @return how many there are. */
SKERRY_API int skerry_counters(skerry_volume* volume, struct skerry_counter* counters,
                               size_t capacity);

/* ---------------------------------------------------------------- names
 * Every call has a form relative to an open directory: `at` is a skerry_file opened on a
 * directory, NULL for the root. `flags` where taken: SKERRY_AT_... */

#define SKERRY_AT_SYMLINK_NOFOLLOW 0x100 /**< act on a symlink itself */
#define SKERRY_AT_REMOVEDIR 0x200        /**< skerry_unlinkat: rmdir */
#define SKERRY_AT_SYMLINK_FOLLOW 0x400   /**< skerry_linkat: follow a symlink */
#define SKERRY_AT_EMPTY_PATH 0x1000      /**< an empty path means `at` itself */
#define SKERRY_AT_EACCESS 0x800          /**< accepted by skerry_faccessat; changes nothing */

SKERRY_API int skerry_stat(skerry_volume* volume, const skerry_context* context, const char* path,
                           struct skerry_stat* out);
SKERRY_API int skerry_lstat(skerry_volume* volume, const skerry_context* context, const char* path,
                            struct skerry_stat* out);
SKERRY_API int skerry_fstatat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                              const char* path, struct skerry_stat* out, int flags);
/** mode: F_OK (0) or R_OK 4 | W_OK 2 | X_OK 1; by the context's credentials. */
SKERRY_API int skerry_access(skerry_volume* volume, const skerry_context* context, const char* path,
                             int mode);
SKERRY_API int skerry_faccessat(skerry_volume* volume, const skerry_context* context,
                                skerry_file* at, const char* path, int mode, int flags);

SKERRY_API int skerry_mkdir(skerry_volume* volume, const skerry_context* context, const char* path,
                            uint32_t mode);
SKERRY_API int skerry_mkdirat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                              const char* path, uint32_t mode);
/** Like mkdir -p: existing directories are fine. */
SKERRY_API int skerry_mkdirs(skerry_volume* volume, const skerry_context* context, const char* path,
                             uint32_t mode);
/** mode: type (S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK) and permissions. */
SKERRY_API int skerry_mknod(skerry_volume* volume, const skerry_context* context, const char* path,
                            uint32_t mode, uint64_t rdev);
SKERRY_API int skerry_mknodat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                              const char* path, uint32_t mode, uint64_t rdev);
SKERRY_API int skerry_unlink(skerry_volume* volume, const skerry_context* context,
                             const char* path);
SKERRY_API int skerry_rmdir(skerry_volume* volume, const skerry_context* context, const char* path);
SKERRY_API int skerry_unlinkat(skerry_volume* volume, const skerry_context* context,
                               skerry_file* at, const char* path, int flags);
SKERRY_API int skerry_symlink(skerry_volume* volume, const skerry_context* context,
                              const char* target, const char* path);
SKERRY_API int skerry_symlinkat(skerry_volume* volume, const skerry_context* context,
                                const char* target, skerry_file* at, const char* path);
/** Copies up to capacity bytes, no NUL. @return bytes copied, as readlink(2). */
SKERRY_API int64_t skerry_readlink(skerry_volume* volume, const skerry_context* context,
                                   const char* path, char* buffer, size_t capacity);
SKERRY_API int64_t skerry_readlinkat(skerry_volume* volume, const skerry_context* context,
                                     skerry_file* at, const char* path, char* buffer,
                                     size_t capacity);
SKERRY_API int skerry_link(skerry_volume* volume, const skerry_context* context, const char* from,
                           const char* to);
/** With SKERRY_AT_EMPTY_PATH and from "" the file `from_at` itself gets a name (O_TMPFILE). */
SKERRY_API int skerry_linkat(skerry_volume* volume, const skerry_context* context,
                             skerry_file* from_at, const char* from, skerry_file* to_at,
                             const char* to, int flags);

#define SKERRY_RENAME_NOREPLACE 1u /**< -EEXIST instead of replacing, as renameat2(2) */
#define SKERRY_RENAME_EXCHANGE 2u  /**< swap two names atomically */
SKERRY_API int skerry_rename(skerry_volume* volume, const skerry_context* context, const char* from,
                             const char* to);
SKERRY_API int skerry_renameat2(skerry_volume* volume, const skerry_context* context,
                                skerry_file* from_at, const char* from, skerry_file* to_at,
                                const char* to, unsigned flags);

SKERRY_API int skerry_chmod(skerry_volume* volume, const skerry_context* context, const char* path,
                            uint32_t mode);
SKERRY_API int skerry_fchmodat(skerry_volume* volume, const skerry_context* context,
                               skerry_file* at, const char* path, uint32_t mode, int flags);
/** uid or gid UINT32_MAX: leave alone. */
SKERRY_API int skerry_chown(skerry_volume* volume, const skerry_context* context, const char* path,
                            uint32_t uid, uint32_t gid);
SKERRY_API int skerry_lchown(skerry_volume* volume, const skerry_context* context, const char* path,
                             uint32_t uid, uint32_t gid);
SKERRY_API int skerry_fchownat(skerry_volume* volume, const skerry_context* context,
                               skerry_file* at, const char* path, uint32_t uid, uint32_t gid,
                               int flags);
/** Sets the inode flags of a file or directory to `flags`, SKERRY_ATTR_IMMUTABLE and
 * SKERRY_ATTR_APPEND, which have the values of FS_IMMUTABLE_FL and FS_APPEND_FL; root alone changes
 * them (-EPERM). skerry_stat.attributes tells them. What they forbid, also to root, is -EPERM as
 * chattr(1) says: an immutable file is not opened for writing, nor changed, linked, renamed or
 * removed, and nothing is added to or removed from an immutable directory; an append-only file is
 * written with O_APPEND alone and from an append-only directory nothing is removed. Who has a file
 * open goes on writing to it. -ENOTSUP for other flags and other types of file. */
SKERRY_API int skerry_setflags(skerry_volume* volume, const skerry_context* context,
                               const char* path, uint32_t flags);
SKERRY_API int skerry_fsetflags(skerry_file* file, const skerry_context* context, uint32_t flags);
/** times: {access, modification}, NULL for now; SKERRY_UTIME_NOW and _OMIT in nsec. */
SKERRY_API int skerry_utimens(skerry_volume* volume, const skerry_context* context,
                              const char* path, const skerry_timespec times[2]);
SKERRY_API int skerry_utimensat(skerry_volume* volume, const skerry_context* context,
                                skerry_file* at, const char* path, const skerry_timespec times[2],
                                int flags);
SKERRY_API int skerry_truncate(skerry_volume* volume, const skerry_context* context,
                               const char* path, uint64_t length);

#define SKERRY_XATTR_CREATE 1  /**< -EEXIST if present */
#define SKERRY_XATTR_REPLACE 2 /**< -ENODATA if absent */
/** Names: "user.", "trusted.", "security." + at most 255 bytes in all; values to 64 KiB. And the
 * ACLs of acl(5), "system.posix_acl_access" and "system.posix_acl_default", in Linux's binary form:
 * they decide permissions, are inherited, and follow the mode and change it. -EINVAL for a
 * malformed one; an access ACL that says no more than the mode is not kept. flags may add
 * SKERRY_AT_SYMLINK_NOFOLLOW. */
SKERRY_API int skerry_setxattr(skerry_volume* volume, const skerry_context* context,
                               const char* path, const char* name, const void* value, size_t size,
                               int flags);
/** capacity 0 asks for the size; too small: -ERANGE. @return the value's size. */
SKERRY_API int64_t skerry_getxattr(skerry_volume* volume, const skerry_context* context,
                                   const char* path, const char* name, void* value, size_t capacity,
                                   int flags);
/** Names, each with its NUL, as listxattr(2). */
SKERRY_API int64_t skerry_listxattr(skerry_volume* volume, const skerry_context* context,
                                    const char* path, char* list, size_t capacity, int flags);
SKERRY_API int skerry_removexattr(skerry_volume* volume, const skerry_context* context,
                                  const char* path, const char* name, int flags);
SKERRY_API int skerry_fsetxattr(skerry_file* file, const skerry_context* context, const char* name,
                                const void* value, size_t size, int flags);
SKERRY_API int64_t skerry_fgetxattr(skerry_file* file, const skerry_context* context,
                                    const char* name, void* value, size_t capacity);
SKERRY_API int64_t skerry_flistxattr(skerry_file* file, const skerry_context* context, char* list,
                                     size_t capacity);
SKERRY_API int skerry_fremovexattr(skerry_file* file, const skerry_context* context,
                                   const char* name);

/* ---------------------------------------------------------------- directories */

struct skerry_dirent {
  const char* name; /**< bytes with a final NUL; valid until the next call on the skerry_dir */
  uint32_t name_length;
  uint32_t type; /**< S_IFMT bits of the mode */
  uint64_t ino;
  struct skerry_stat stat; /**< filled if the listing was opened with attributes, else zeros */
};

/** Starts a listing in byte order of names, without "." and "..". `after`: begin with the first
 * name greater than it (NULL: from the start), so a listing can be resumed in another process.
 * Entries that stay are seen exactly once however many others come and go meanwhile. */
SKERRY_API int skerry_opendir(skerry_volume* volume, const skerry_context* context,
                              const char* path, int with_attributes, const char* after,
                              skerry_dir** dir);
SKERRY_API int skerry_fdopendir(skerry_file* file, const skerry_context* context,
                                int with_attributes, const char* after, skerry_dir** dir);
/** Fills up to `count` entries. @return how many; 0 at the end. One thread at a time a dir. */
SKERRY_API int skerry_readdir(skerry_dir* dir, const skerry_context* context,
                              struct skerry_dirent* entries, uint32_t count);
SKERRY_API void skerry_closedir(skerry_dir* dir);

/* ---------------------------------------------------------------- files */

/** flags: O_RDONLY, O_WRONLY, O_RDWR and O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY,
 * O_NOFOLLOW, O_TMPFILE, O_PATH, O_SYNC, O_DSYNC with Linux's values from <fcntl.h>, and O_NOATIME
 * (-EPERM unless the caller is the owner or root). O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_LARGEFILE,
 * O_DIRECT are accepted and change nothing. */
SKERRY_API int skerry_open(skerry_volume* volume, const skerry_context* context, const char* path,
                           int flags, uint32_t mode, skerry_file** file);
SKERRY_API int skerry_openat(skerry_volume* volume, const skerry_context* context, skerry_file* at,
                             const char* path, int flags, uint32_t mode, skerry_file** file);
/** Flushes what was written through it, durably, reports errors of earlier writes not yet
 * reported, and frees the file in any case. NULL is allowed. */
SKERRY_API int skerry_close(skerry_file* file, const skerry_context* context);

/** @return bytes read; short only at the end of the file. */
SKERRY_API int64_t skerry_pread(skerry_file* file, const skerry_context* context, void* buffer,
                                size_t length, uint64_t offset);
/** With O_APPEND the offset is ignored: bytes go to the end the file has when they are stored,
 * whole, also among several clients. @return `length`, or an error with nothing written. */
SKERRY_API int64_t skerry_pwrite(skerry_file* file, const skerry_context* context,
                                 const void* buffer, size_t length, uint64_t offset);
SKERRY_API int64_t skerry_preadv(skerry_file* file, const skerry_context* context,
                                 const struct skerry_iovec* pieces, uint32_t count,
                                 uint64_t offset);
SKERRY_API int64_t skerry_pwritev(skerry_file* file, const skerry_context* context,
                                  const struct skerry_iovec* pieces, uint32_t count,
                                  uint64_t offset);

/** Bytes of the file in the library's memory, immutable while held. */
typedef struct skerry_view {
  const void* data;
  size_t length;
  void* owner; /**< the library's */
} skerry_view;
/** Gives up to `length` bytes from `offset` without copying: at least one byte unless at the end
 * of the file, fewer than asked where the data is not contiguous in memory (call again for the
 * rest). Release every view; it stays valid until then, also when its file and its volume have been
 * closed. @return view->length. */
SKERRY_API int64_t skerry_read_view(skerry_file* file, const skerry_context* context,
                                    uint64_t offset, size_t length, skerry_view* view);
SKERRY_API void skerry_view_release(skerry_view* view);

/** Data and what is needed to reach it are durable, and other clients see them, when it returns 0.
 * Reports the error of an earlier write that failed in the background, once a file handle. */
SKERRY_API int skerry_fsync(skerry_file* file, const skerry_context* context);
/** As close would: stored and seen by others, errors reported; the file stays open. */
SKERRY_API int skerry_flush(skerry_file* file, const skerry_context* context);
SKERRY_API int skerry_fstat(skerry_file* file, const skerry_context* context,
                            struct skerry_stat* out);
SKERRY_API int skerry_ftruncate(skerry_file* file, const skerry_context* context, uint64_t length);
SKERRY_API int skerry_fchmod(skerry_file* file, const skerry_context* context, uint32_t mode);
SKERRY_API int skerry_fchown(skerry_file* file, const skerry_context* context, uint32_t uid,
                             uint32_t gid);
SKERRY_API int skerry_futimens(skerry_file* file, const skerry_context* context,
                               const skerry_timespec times[2]);

#define SKERRY_FALLOC_KEEP_SIZE 1u
#define SKERRY_FALLOC_PUNCH_HOLE 2u /**< with KEEP_SIZE, as fallocate(2) */
#define SKERRY_FALLOC_ZERO_RANGE 16u
/** Mode 0 extends the file (space is not reserved). Other modes of fallocate(2): -ENOTSUP. */
SKERRY_API int skerry_fallocate(skerry_file* file, const skerry_context* context, uint32_t mode,
                                uint64_t offset, uint64_t length);
/** Shares stored data instead of copying it, within one volume, as copy_file_range(2): bytes
 * copied, 0 at the end of `from`; -EINVAL where the ranges overlap in one file. */
SKERRY_API int64_t skerry_copy_file_range(skerry_file* from, uint64_t from_offset, skerry_file* to,
                                          uint64_t to_offset, uint64_t length,
                                          const skerry_context* context);
/** whence: SEEK_DATA (3) or SEEK_HOLE (4), as lseek(2). @return the position; -ENXIO. */
SKERRY_API int64_t skerry_seek_data(skerry_file* file, const skerry_context* context,
                                    uint64_t offset, int whence);

/* ---------------------------------------------------------------- locks
 * Advisory locks of regular files, between all clients of the volume. The two kinds do not see each
 * other, as on Linux. A lock is held in the metadata by this volume object's session:
 *  - Before a lock is taken and before it is given up, what was written is stored and seen by
 *    others; who holds a lock reads what earlier holders wrote.
 *  - A program that ends without closing the volume loses its locks when its session expires
 *    (`session_expiry`), a closed volume at once. A forked child has none of its parent's locks.
 *  - If the session is lost while locks are held (the program was stopped, or cut off from the
 *    metadata, for longer than that), others may hold them by now. What was written to such files
 *    and not stored is dropped, never stored later; every file handle that was open on them
 *    answers -EIO to reading, writing, locking and fsync until it is closed.
 * Waiting ends with the lock, with `cancel` of the context (-ECANCELED), or with its timeout_ms
 * (-ETIMEDOUT); with timeout_ms 0 or without a context there is no deadline. An unlock wakes those
 * who wait, in other clients as soon as they see the commit. */

#define SKERRY_LOCK_SH 1 /**< as in <sys/file.h> */
#define SKERRY_LOCK_EX 2
#define SKERRY_LOCK_NB 4
#define SKERRY_LOCK_UN 8
/** As flock(2). The lock belongs to this skerry_file and goes when it is closed. Converting is not
 * atomic where it has to wait: the old lock is given up first.
 * @return 0; -EAGAIN (EWOULDBLOCK) with SKERRY_LOCK_NB; -EBADF (O_PATH), -EINVAL (no regular file),
 * -ENOLCK (the volume is open without a session), -EIO (session lost). */
SKERRY_API int skerry_flock(skerry_file* file, const skerry_context* context, int operation);

#define SKERRY_F_RDLCK 0 /**< as in <fcntl.h> */
#define SKERRY_F_WRLCK 1
#define SKERRY_F_UNLCK 2
/** A range of bytes, as struct flock of fcntl(2). */
struct skerry_lock {
  uint32_t struct_size; /**< sizeof(struct skerry_lock) */
  uint32_t type;        /**< SKERRY_F_... */
  uint64_t start;       /**< first byte */
  uint64_t length;      /**< bytes; 0: to the end of the file, however far it grows */
  /** Who holds it. 0: this volume object, as a process is the owner in fcntl(2). Another number is
   * an owner of its own among those of this volume object, for servers that lock for others. */
  uint64_t owner;
  uint32_t pid; /**< told to those who ask with skerry_getlk */
  uint32_t reserved;
};
/** As fcntl(2) with F_SETLK, or with F_SETLKW if `wait` is not 0: ranges of one owner split, join
 * and change their type. Closing any skerry_file of the file gives up what owner 0 holds of it, and
 * what other owners took through that skerry_file and through no other.
 * @return 0; -EAGAIN (held by another, no waiting); -EDEADLK: owners wait for each other (told at
 * once where all are of this volume object; through other clients after a second or more); -EBADF
 * (the access mode does not allow the type), -EINVAL, -EOVERFLOW (range), -ENOLCK (more than 16,384
 * ranges of one file, or no session), -EIO (session lost). */
SKERRY_API int skerry_setlk(skerry_file* file, const skerry_context* context,
                            const struct skerry_lock* lock, int wait);
/** What a close by that owner does to its locks: gives up all that it holds of the file. Where what
 * was written under them can not be stored, or the metadata can not be reached, the library tries
 * again by itself, and nobody else gets the locks before. */
SKERRY_API int skerry_release_owner(skerry_file* file, const skerry_context* context,
                                    uint64_t owner);
/** As fcntl(2) with F_GETLK: `lock` becomes the first lock that keeps it from being taken, or only
 * its type SKERRY_F_UNLCK if nothing does. The owner is one of the client's that holds it. */
SKERRY_API int skerry_getlk(skerry_file* file, const skerry_context* context,
                            struct skerry_lock* lock);

/* ---------------------------------------------------------------- by inode number
 * For kernels and file servers (FUSE, NFS), which walk names themselves and hold files by number.
 * `ino` names a file, `dir` a directory by skerry_stat.ino; such a number is never used twice, so
 * nothing else belongs to a file handle. `name` is one component, at most 255 bytes. Symbolic links
 * are never followed. Permissions are those of the path call of the same name, on the file and its
 * directory; the directories above are the caller's affair. Every call: -ESTALE where the inode
 * given does not exist any more (the caller looks its name up again), -ENOTDIR where `dir` is none,
 * -EACCES, -EPERM, -EROFS. A number keeps nothing alive: a file without a name stays as long as
 * some client has it open. `out`, where taken, may be NULL. */

#define SKERRY_ROOT_INO 1u /**< of the volume's root directory */

/** Also "." and "..". -ENOENT, -ENAMETOOLONG. */
SKERRY_API int skerry_inode_lookup(skerry_volume* volume, const skerry_context* context,
                                   uint64_t dir, const char* name, struct skerry_stat* out);
SKERRY_API int skerry_inode_stat(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                                 struct skerry_stat* out);
/** As skerry_access. */
SKERRY_API int skerry_inode_access(skerry_volume* volume, const skerry_context* context,
                                   uint64_t ino, int mode);

#define SKERRY_SET_MODE 1u
#define SKERRY_SET_UID 2u
#define SKERRY_SET_GID 4u
#define SKERRY_SET_SIZE 8u
#define SKERRY_SET_ATIME 16u
#define SKERRY_SET_MTIME 32u
#define SKERRY_SET_FLAGS 64u /**< inode flags, see skerry_setflags */
/** Attributes to set: those that `valid` names, SKERRY_SET_... */
struct skerry_setattr {
  uint32_t struct_size;
  uint32_t valid;
  uint32_t mode; /**< permission bits, 07777 */
  uint32_t uid;
  uint32_t gid;
  uint32_t flags;        /**< inode flags */
  uint64_t size;         /**< bytes, as truncate(2) */
  skerry_timespec atime; /**< SKERRY_UTIME_NOW and _OMIT in nsec */
  skerry_timespec mtime;
};
/** The size first, then the rest in one step; `out`: the attributes after. A symbolic link's mode
 * can not be set (-ENOTSUP). */
SKERRY_API int skerry_inode_setattr(skerry_volume* volume, const skerry_context* context,
                                    uint64_t ino, const struct skerry_setattr* set,
                                    struct skerry_stat* out);

/** flags as skerry_open, without O_CREAT and O_TMPFILE; -ELOOP for a symbolic link. A file that has
 * no name left is -ESTALE unless this volume object has it open already. */
SKERRY_API int skerry_inode_open(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                                 int flags, skerry_file** file);
/** Creates a regular file, or without O_EXCL opens the one that is there, as O_CREAT does. `out`:
 * its attributes as it was opened. -ESTALE where `name` is a symbolic link. */
SKERRY_API int skerry_inode_create(skerry_volume* volume, const skerry_context* context,
                                   uint64_t dir, const char* name, int flags, uint32_t mode,
                                   struct skerry_stat* out, skerry_file** file);
/** Creates a regular file without a name, with the owner, mode and ACLs that one in `dir` would
 * get: skerry_open with O_TMPFILE, which `flags` need not say. It goes when it is closed, unless
 * skerry_inode_link has given it a name. */
SKERRY_API int skerry_inode_tmpfile(skerry_volume* volume, const skerry_context* context,
                                    uint64_t dir, int flags, uint32_t mode, struct skerry_stat* out,
                                    skerry_file** file);
SKERRY_API int skerry_inode_mkdir(skerry_volume* volume, const skerry_context* context,
                                  uint64_t dir, const char* name, uint32_t mode,
                                  struct skerry_stat* out);
/** As skerry_mknod. */
SKERRY_API int skerry_inode_mknod(skerry_volume* volume, const skerry_context* context,
                                  uint64_t dir, const char* name, uint32_t mode, uint64_t rdev,
                                  struct skerry_stat* out);
SKERRY_API int skerry_inode_symlink(skerry_volume* volume, const skerry_context* context,
                                    const char* target, uint64_t dir, const char* name,
                                    struct skerry_stat* out);
/** As skerry_readlink. */
SKERRY_API int64_t skerry_inode_readlink(skerry_volume* volume, const skerry_context* context,
                                         uint64_t ino, char* buffer, size_t capacity);
/** A file without a name (O_TMPFILE) gets one; whether it may is the caller's to know. */
SKERRY_API int skerry_inode_link(skerry_volume* volume, const skerry_context* context, uint64_t ino,
                                 uint64_t dir, const char* name, struct skerry_stat* out);
/** flags: 0, or SKERRY_AT_REMOVEDIR for rmdir. */
SKERRY_API int skerry_inode_unlink(skerry_volume* volume, const skerry_context* context,
                                   uint64_t dir, const char* name, int flags);
/** flags: SKERRY_RENAME_... */
SKERRY_API int skerry_inode_rename(skerry_volume* volume, const skerry_context* context,
                                   uint64_t from_dir, const char* from, uint64_t to_dir,
                                   const char* to, unsigned flags);

/** As skerry_setxattr and its kin. */
SKERRY_API int skerry_inode_setxattr(skerry_volume* volume, const skerry_context* context,
                                     uint64_t ino, const char* name, const void* value, size_t size,
                                     int flags);
SKERRY_API int64_t skerry_inode_getxattr(skerry_volume* volume, const skerry_context* context,
                                         uint64_t ino, const char* name, void* value,
                                         size_t capacity);
SKERRY_API int64_t skerry_inode_listxattr(skerry_volume* volume, const skerry_context* context,
                                          uint64_t ino, char* list, size_t capacity);
SKERRY_API int skerry_inode_removexattr(skerry_volume* volume, const skerry_context* context,
                                        uint64_t ino, const char* name);

/** For callers that keep a file's bytes themselves, as a kernel's page cache does: a number that is
 * the same at two times only if whatever changed the file in between went through this volume
 * object. Bytes kept since the first time, own writes applied, are then still the file's. It may
 * change where the bytes did not. Costs what skerry_fstat does. */
SKERRY_API int skerry_data_token(skerry_file* file, const skerry_context* context, uint64_t* token);

/* ---------------------------------------------------------------- whole files, many at once */

/** Reads a whole file by path. Copies min(capacity, size) bytes. @return the file's size. */
SKERRY_API int64_t skerry_read_file(skerry_volume* volume, const skerry_context* context,
                                    const char* path, void* buffer, size_t capacity);
/** Creates or replaces a file's contents; durable when it returns. */
SKERRY_API int skerry_write_file(skerry_volume* volume, const skerry_context* context,
                                 const char* path, const void* data, size_t length, uint32_t mode);

/** results[i]: 0 or a negative errno for paths[i]. @return how many succeeded. */
SKERRY_API int64_t skerry_stat_batch(skerry_volume* volume, const skerry_context* context,
                                     const char* const* paths, size_t count, int flags,
                                     struct skerry_stat* stats, int* results);
SKERRY_API int64_t skerry_open_batch(skerry_volume* volume, const skerry_context* context,
                                     const char* const* paths, size_t count, int flags,
                                     skerry_file** files, int* results);

/** One read of a batch: from `file`, or where that is NULL from `path`. */
struct skerry_read_request {
  skerry_file* file;
  const char* path;
  uint64_t offset;
  size_t length;
  void* buffer;
  int64_t result; /**< out: bytes read or a negative errno */
};
/** Requests go out together; neighbouring ranges of one object are fetched at once.
 * skerry_last_error() tells of the last that failed. @return how many succeeded. */
SKERRY_API int64_t skerry_read_batch(skerry_volume* volume, const skerry_context* context,
                                     struct skerry_read_request* requests, size_t count);

/** One file of a batch write. */
struct skerry_write_request {
  const char* path;
  const void* data;
  size_t length;
  uint32_t mode;
  int32_t result; /**< out: 0 or a negative errno */
};
/** Creates or replaces many files; small ones share objects. Durable when it returns.
 * skerry_last_error() tells of the last that failed. @return how many succeeded. */
SKERRY_API int64_t skerry_write_batch(skerry_volume* volume, const skerry_context* context,
                                      struct skerry_write_request* requests, size_t count);

/* ---------------------------------------------------------------- completion queue */

enum skerry_operation {
  SKERRY_OP_PREAD = 1, /**< file, buffer, length, offset */
  SKERRY_OP_PWRITE,    /**< file, buffer, length, offset */
  SKERRY_OP_FSYNC,     /**< file */
  SKERRY_OP_CLOSE,     /**< file */
  SKERRY_OP_OPEN,      /**< path, flags, mode; the file comes in the completion */
  SKERRY_OP_STAT,      /**< path, buffer = struct skerry_stat*, flags */
  SKERRY_OP_READ_FILE, /**< path, buffer, length */
};
struct skerry_request {
  uint32_t struct_size;
  uint32_t operation; /**< enum skerry_operation */
  skerry_file* file;
  const char* path; /**< copied at submit */
  void* buffer;     /**< must live until the completion was taken */
  size_t length;
  uint64_t offset;
  int32_t flags;
  uint32_t mode;
  uint64_t user_data; /**< returned with the completion; names the request to cancel */
  uint32_t timeout_ms;
  uint32_t reserved;
};
struct skerry_completion {
  uint64_t user_data;
  int64_t result;    /**< as the call of that name */
  skerry_file* file; /**< SKERRY_OP_OPEN */
};
/** depth: most requests in flight, 1 to 65,536. */
SKERRY_API int skerry_queue_create(skerry_volume* volume, uint32_t depth, skerry_queue** queue);
/** Cancels what is in flight, waits for it, frees. Completions not taken are dropped. */
SKERRY_API void skerry_queue_free(skerry_queue* queue);
/** An eventfd, readable while completions wait. Owned by the queue: poll it, do not close it. */
SKERRY_API int skerry_queue_fd(skerry_queue* queue);
/** Takes requests in order until the queue is full. @return how many were taken; -EAGAIN if full.*/
SKERRY_API int skerry_submit(skerry_queue* queue, const skerry_context* context,
                             const struct skerry_request* requests, uint32_t count);
/** Waits for at least `min` completions or timeout_ms (UINT32_MAX: for ever), takes up to `max`.
 * @return how many. */
SKERRY_API int skerry_wait(skerry_queue* queue, struct skerry_completion* completions, uint32_t max,
                           uint32_t min, uint32_t timeout_ms);
/** Asks the requests with this user_data to stop; each still completes, with -ECANCELED if it was
 * in time. @return how many were found in flight. */
SKERRY_API int skerry_queue_cancel(skerry_queue* queue, uint64_t user_data);

/* ---------------------------------------------------------------- care of a volume */

/** Called on the caller's thread now and then; return non-zero to stop (-ECANCELED). `what` is a
 * static word, `total` 0 where unknown. */
typedef int (*skerry_progress)(void* context, const char* what, uint64_t done, uint64_t total);

struct skerry_gc_options {
  uint32_t struct_size;
  int32_t dry_run; /**< 1: count, delete nothing */
};
struct skerry_gc_result {
  uint64_t scanned_objects, scanned_bytes;
  uint64_t leaked_objects, leaked_bytes; /**< no metadata refers to them */
  uint64_t deleted_objects;              /**< of the leaked */
  uint64_t reclaimed_inodes;             /**< unlinked files deleted */
  uint64_t reclaimed_objects;            /**< garbage deleted */
  uint64_t pending_objects;              /**< garbage that some client may still read */
  uint64_t stale_sessions;               /**< removed */
};
/** Deletes what nothing refers to. On any error while scanning it deletes nothing (-EIO). */
SKERRY_API int skerry_gc(skerry_volume* volume, const skerry_context* context,
                         const struct skerry_gc_options* options, struct skerry_gc_result* result,
                         skerry_progress progress, void* progress_context);

struct skerry_fsck_options {
  uint32_t struct_size;
  int32_t check_data; /**< 1: read every block and verify its checksums */
};
struct skerry_fsck_result {
  uint64_t directories, files, symlinks, others, orphans, extents;
  uint64_t checked_bytes;
  uint64_t problems;
  /** Objects with references that nothing uses: a client died, or a write failed for good, between
   * the commits of several files that share the object. No damage: skerry_gc() frees them. */
  uint64_t surplus_objects;
};
/** Called on the caller's thread for each problem: a kind ("missing-object") and a sentence. */
typedef void (*skerry_problem)(void* context, const char* kind, const char* detail);
/** Checks the metadata's invariants and that every object they name is in the store; changes
 * nothing. On a volume that others are changing a report may be a change seen half: only what comes
 * again is damage. @return 0 also when problems were found. */
SKERRY_API int skerry_fsck(skerry_volume* volume, const skerry_context* context,
                           const struct skerry_fsck_options* options,
                           struct skerry_fsck_result* result, skerry_problem problem,
                           skerry_progress progress, void* callback_context);

/** rm -r, in batches on the metadata. `removed` (may be NULL): entries removed so far, also after
 * an error. */
SKERRY_API int skerry_remove_tree(skerry_volume* volume, const skerry_context* context,
                                  const char* path, uint64_t* removed, skerry_progress progress,
                                  void* progress_context);
/** Rewrites the fragmented chunks of a file. @return chunks rewritten. */
SKERRY_API int64_t skerry_compact(skerry_volume* volume, const skerry_context* context,
                                  const char* path);

/* ---------------------------------------------------------------- object stores */

#define SKERRY_STORE_FINE 0  /**< it does what Skerry asks of a store */
#define SKERRY_STORE_LACKS 1 /**< it says that it has no such thing; Skerry does without */
#define SKERRY_STORE_WRONG 2 /**< it does something else */

/** What one check of skerry_probe_store() found. The strings are valid during the call only. */
struct skerry_store_check {
  uint32_t struct_size;
  int32_t verdict;    /**< SKERRY_STORE_... */
  const char* name;   /**< "ranges", "conditional put", ... */
  const char* advice; /**< what it did and what that means for a volume; "" where it is fine */
};

/** One measurement: `callers` threads that each wait for one request at a time. */
struct skerry_store_rate {
  uint32_t struct_size;
  uint32_t callers;
  const char* operation; /**< "put" or "get"; static */
  uint64_t object_bytes; /**< of each object */
  uint64_t requests;     /**< that were made, for 5 s at most */
  uint64_t elapsed_ns;   /**< of all of them together */
  uint64_t median_ns;    /**< of one */
  uint64_t p99_ns;       /**< of one */
};

typedef void (*skerry_store_check_function)(void* context, const struct skerry_store_check* check);
typedef void (*skerry_store_rate_function)(void* context, const struct skerry_store_rate* rate);

/** Tries whether an object store does what Skerry asks of one, and measures puts and gets of 4 MiB
 * and 128 KiB, by 1 and by 16 callers. `url` as the option `storage` of skerry_format(); the folder
 * or bucket must be there. Works below a prefix of its own, "skerry-objbench-<digits>/", and
 * removes what it put there, also when it fails or is cancelled. The functions are called on the
 * caller's thread as results come; each may be NULL. Without `rate` nothing is measured. `cancel`
 * may be NULL.
 * @return how many checks were SKERRY_STORE_WRONG; -ECANCELED (`cancel`, or `progress` was not 0),
 * -EACCES, or what else keeps the store from being used, or what was put from being removed. */
SKERRY_API int skerry_probe_store(const char* url, skerry_cancel* cancel,
                                  skerry_store_check_function check,
                                  skerry_store_rate_function rate, skerry_progress progress,
                                  void* context);

#ifdef __cplusplus
}
#endif

#endif /* SKERRY_SKERRY_H_ */
