#include "meta/stores/sqlite/schema.h"

namespace skerry::meta::sqlite {

// Names and other byte strings are BLOBs: compared with memcmp, never by a collation. Times are
// nanoseconds since 1970. A key that is one number is the rowid; other tables are stored by their
// key (WITHOUT ROWID), so a directory's entries lie side by side in name order.
const char kSchemaSql[] = R"sql(
CREATE TABLE volume(
  name BLOB PRIMARY KEY, value BLOB NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entry(
  parent INTEGER NOT NULL, name BLOB NOT NULL,
  linked INTEGER NOT NULL,   -- 1: the attributes are in table inode
  ino INTEGER NOT NULL,
  type INTEGER NOT NULL,     -- 1 file, 2 directory, 3 symlink, 4 fifo, 5 socket, 6 char, 7 block
  mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, nlink INTEGER NOT NULL,
  flags INTEGER NOT NULL, shards INTEGER NOT NULL, rdev INTEGER NOT NULL,
  length INTEGER NOT NULL,
  atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, btime INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY(parent, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX entry_ino ON entry(ino) WHERE linked=0;

CREATE TABLE inode(
  ino INTEGER PRIMARY KEY,
  type INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
  nlink INTEGER NOT NULL, flags INTEGER NOT NULL, shards INTEGER NOT NULL, rdev INTEGER NOT NULL,
  length INTEGER NOT NULL,
  atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, btime INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;

CREATE TABLE orphan(
  ino INTEGER PRIMARY KEY,
  type INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
  nlink INTEGER NOT NULL, flags INTEGER NOT NULL, shards INTEGER NOT NULL, rdev INTEGER NOT NULL,
  length INTEGER NOT NULL,
  atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, btime INTEGER NOT NULL,
  version INTEGER NOT NULL,
  epoch INTEGER NOT NULL
) STRICT;

CREATE TABLE link(
  ino INTEGER NOT NULL, parent INTEGER NOT NULL, name BLOB NOT NULL,
  PRIMARY KEY(ino, parent, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE dirstat(
  ino INTEGER NOT NULL, shard INTEGER NOT NULL,
  mtime INTEGER NOT NULL, subdirs INTEGER NOT NULL, entries INTEGER NOT NULL,
  PRIMARY KEY(ino, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE extent(
  ino INTEGER NOT NULL, chunk INTEGER NOT NULL, seq INTEGER NOT NULL, extents BLOB NOT NULL,
  PRIMARY KEY(ino, chunk, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE object(
  id INTEGER PRIMARY KEY, refs INTEGER NOT NULL, version INTEGER NOT NULL
) STRICT;
CREATE TABLE inline(ino INTEGER PRIMARY KEY, crc INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE symlink(ino INTEGER PRIMARY KEY, target BLOB NOT NULL) STRICT;

CREATE TABLE xattr(
  ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(ino, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE client(
  id INTEGER PRIMARY KEY, heartbeat INTEGER NOT NULL, epoch_seen INTEGER NOT NULL,
  first_object INTEGER NOT NULL, host BLOB NOT NULL, pid INTEGER NOT NULL, software BLOB NOT NULL
) STRICT;

CREATE TABLE pin(
  client INTEGER NOT NULL, ino INTEGER NOT NULL,
  PRIMARY KEY(client, ino)
) STRICT, WITHOUT ROWID;

CREATE TABLE garbage(
  epoch INTEGER NOT NULL, object INTEGER NOT NULL,
  PRIMARY KEY(epoch, object)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage(
  scope INTEGER NOT NULL, client INTEGER NOT NULL, bytes INTEGER NOT NULL, inodes INTEGER NOT NULL,
  PRIMARY KEY(scope, client)
) STRICT, WITHOUT ROWID;

-- What a client has locked of a file, and which clients to ask about a file.
CREATE TABLE lock(
  client INTEGER NOT NULL, ino INTEGER NOT NULL, locks BLOB NOT NULL,
  PRIMARY KEY(client, ino)
) STRICT, WITHOUT ROWID;
CREATE TABLE locked(
  ino INTEGER PRIMARY KEY, version INTEGER NOT NULL, clients BLOB NOT NULL
) STRICT;

-- Answers of commits whose sender asked for them to be kept; the oldest go.
CREATE TABLE request(
  number INTEGER PRIMARY KEY, high INTEGER NOT NULL, low INTEGER NOT NULL, outcomes BLOB NOT NULL,
  UNIQUE(high, low)
) STRICT;

PRAGMA application_id=1397445209;
PRAGMA user_version=1;
)sql";

static_assert(kApplicationId == 1397445209 && kSchemaVersion == 1);

}  // namespace skerry::meta::sqlite
