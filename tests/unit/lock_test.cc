// Locks: how ranges change, and what clients do to each other.
#include "meta/lock_list.h"
#include "ops_fixture.h"

namespace skerry::meta {

namespace {

FileLock range(uint64_t first, uint64_t last, bool exclusive, uint64_t owner = 1) {
  FileLock lock;
  lock.exclusive = exclusive;
  lock.owner = owner;
  lock.first = first;
  lock.last = last;
  return lock;
}

/// "1r0-9 1w10-19": owner, type, range.
std::string text_of(const std::vector<FileLock>& held) {
  std::string text;
  for (const FileLock& lock : held) {
    if (!text.empty()) text += ' ';
    text += (lock.kind == LockKind::kFlock ? "f" : "") + std::to_string(lock.owner) +
            (lock.exclusive ? "w" : "r") + std::to_string(lock.first) + "-" +
            (lock.last == kLastLockByte ? "" : std::to_string(lock.last));
  }
  return text;
}

struct LockFixture : OpsFixture {
  std::unique_ptr<TestClient> other = volume.open();
  Ino ino = file(kRootIno, "f");

  std::optional<LockHolder> take(TestClient& by, const FileLock& lock) {
    return take(by, lock, {lock});
  }
  std::optional<LockHolder> take(TestClient& by, const FileLock& lock,
                                 const std::vector<FileLock>& held) {
    auto taken = take_locks(by.ctx, *by.meta, by.id(), ino, held, lock);
    REQUIRE(code(taken) == 0);
    return *taken;
  }
  void drop(TestClient& by, const std::vector<FileLock>& held = {}) {
    REQUIRE(code(drop_locks(by.ctx, *by.meta, by.id(), ino, held)) == 0);
  }
};

}  // namespace

TEST_CASE("locks: an owner's ranges join, split and change their type", "[meta][lock]") {
  std::vector<FileLock> held;
  set_range(&held, range(10, 19, false));
  set_range(&held, range(30, 39, false));
  CHECK(text_of(held) == "1r10-19 1r30-39");
  set_range(&held, range(20, 29, false));  // touches both
  CHECK(text_of(held) == "1r10-39");
  set_range(&held, range(15, 24, true));  // upgrade in the middle
  CHECK(text_of(held) == "1r10-14 1w15-24 1r25-39");
  set_range(&held, range(12, 17, false));  // downgrade across a border
  CHECK(text_of(held) == "1r10-17 1w18-24 1r25-39");
  clear_range(&held, range(20, 30, false));
  CHECK(text_of(held) == "1r10-17 1w18-19 1r31-39");
  set_range(&held, range(0, kLastLockByte, true));
  CHECK(text_of(held) == "1w0-");
  clear_range(&held, range(100, 100, false));
  CHECK(text_of(held) == "1w0-99 1w101-");
  clear_range(&held, range(0, kLastLockByte, false));
  CHECK(held.empty());
  clear_range(&held, range(5, 6, false));
  CHECK(held.empty());
}

TEST_CASE("locks: the ends of the file", "[meta][lock]") {
  std::vector<FileLock> held;
  set_range(&held, range(kLastLockByte, kLastLockByte, true));
  set_range(&held, range(0, 0, true));
  CHECK(held.size() == 2);
  set_range(&held, range(1, kLastLockByte - 1, true));
  CHECK(text_of(held) == "1w0-");
  clear_range(&held, range(0, 0, true));
  clear_range(&held, range(kLastLockByte, kLastLockByte, true));
  REQUIRE(held.size() == 1);
  CHECK(held[0].first == 1);
  CHECK(held[0].last == kLastLockByte - 1);
}

TEST_CASE("locks: owners and kinds are kept apart", "[meta][lock]") {
  std::vector<FileLock> held;
  set_range(&held, range(0, 9, false, 1));
  set_range(&held, range(5, 14, false, 2));
  FileLock flock = range(0, kLastLockByte, true, 1);
  flock.kind = LockKind::kFlock;
  set_range(&held, flock);
  CHECK(text_of(held) == "1r0-9 2r5-14 f1w0-");
  CHECK(find_conflict(held, range(0, 4, true, 1), true) == nullptr);
  CHECK(find_conflict(held, range(0, 5, true, 1), true)->owner == 2);
  CHECK(find_conflict(held, range(0, 5, true, 1), false)->owner == 1);  // another client's owner 1
  CHECK(find_conflict(held, range(0, 20, false, 3), true) == nullptr);
  flock.owner = 2;
  flock.exclusive = false;
  CHECK(find_conflict(held, flock, true)->kind == LockKind::kFlock);
  clear_range(&held, range(0, kLastLockByte, false, 1));
  CHECK(text_of(held) == "2r5-14 f1w0-");
}

TEST_CASE("locks: lists survive their binary form, damaged forms are refused", "[meta][lock]") {
  std::vector<FileLock> held;
  set_range(&held, range(0, 9, false, UINT64_MAX));
  set_range(&held, range(100, kLastLockByte, true, 7));
  held[0].pid = 4711;
  held.push_back(range(3, 5, true, 9));
  held.back().waiting = true;
  const std::string encoded = encode_locks(held);
  std::vector<FileLock> decoded;
  REQUIRE(decode_locks(encoded, &decoded));
  CHECK(decoded == held);
  for (size_t length = 0; length < encoded.size(); ++length) {
    CHECK_FALSE(decode_locks(std::string_view(encoded).substr(0, length), &decoded));
  }
  CHECK_FALSE(decode_locks(encoded + "x", &decoded));
  const std::vector<ClientId> clients = {1, 300, uint64_t{1} << 62};
  std::vector<ClientId> read;
  REQUIRE(decode_clients(encode_clients(clients), &read));
  CHECK(read == clients);
  CHECK_FALSE(decode_clients("", &read));
}

TEST_CASE("locks: two clients exclude each other by type and range", "[meta][lock]") {
  LockFixture f;
  CHECK_FALSE(f.take(*f.client, range(0, 9, true)));
  auto holder = f.take(*f.other, range(9, 20, false));
  REQUIRE(holder);
  CHECK(holder->client == f.client->id());
  CHECK(holder->lock == range(0, 9, true));
  CHECK_FALSE(f.take(*f.other, range(10, 20, true)));
  f.require_consistent();
  auto found = find_lock(f.client->ctx, f.meta, f.client->id(), f.ino, range(0, 99, false));
  REQUIRE(code(found) == 0);
  REQUIRE(*found);
  CHECK((*found)->lock.first == 10);
  f.drop(*f.other);
  CHECK_FALSE(f.take(*f.client, range(0, 99, true)));
  f.drop(*f.client);
  CHECK(f.volume.count(Table::kLock) == 0);
  CHECK(f.volume.count(Table::kLocked) == 0);
}

TEST_CASE("locks: readers share, a writer waits for the last of them", "[meta][lock]") {
  LockFixture f;
  CHECK_FALSE(f.take(*f.client, range(0, 9, false)));
  CHECK_FALSE(f.take(*f.other, range(0, 9, false)));
  CHECK(f.take(*f.other, range(0, 9, true)));
  f.drop(*f.client);
  CHECK_FALSE(f.take(*f.other, range(0, 9, true)));
  f.require_consistent();
}

TEST_CASE("locks: of two that decide at once one finds out", "[meta][lock]") {
  LockFixture f;
  // While the first is about to commit, the other takes the lock.
  f.client->store->on_commit = [&](const CommitRequest&) -> Status {
    f.client->store->on_commit = nullptr;
    CHECK_FALSE(f.take(*f.other, range(0, 9, true)));
    return {};
  };
  CHECK(f.take(*f.client, range(5, 5, true)));
  // The same after the record of holders was there already, and gone in between.
  f.drop(*f.other);
  CHECK_FALSE(f.take(*f.client, range(100, 100, true)));
  f.client->store->on_commit = [&](const CommitRequest&) -> Status {
    f.client->store->on_commit = nullptr;
    CHECK_FALSE(f.take(*f.other, range(0, 9, true)));
    return {};
  };
  CHECK(f.take(*f.client, range(5, 5, true), {range(5, 5, true), range(100, 100, true)}));
  f.require_consistent();
}

TEST_CASE("locks: a lost answer is settled, a late commit has no effect", "[meta][lock]") {
  LockFixture f;
  std::optional<CommitRequest> late;
  f.client->store->on_commit = [&](const CommitRequest& request) -> Status {
    late = request;
    return Error(EIO, "lost").set_maybe_applied();
  };
  auto taken = take_locks(f.client->ctx, f.meta, f.client->id(), f.ino, {range(0, 9, true)},
                          range(0, 9, true));
  REQUIRE_FALSE(taken.ok());
  CHECK(taken.error().maybe_applied());
  f.client->store->on_commit = nullptr;
  REQUIRE(code(settle_locks(f.client->ctx, f.meta, f.client->id(), f.ino, {})) == 0);
  auto arrived = f.volume.admin.commit(f.volume.ctx, *late);
  REQUIRE(arrived.ok());
  CHECK_FALSE(arrived->applied);
  CHECK_FALSE(f.take(*f.other, range(0, 9, true)));
  f.require_consistent();
}

TEST_CASE("locks: go with the session, however it ends", "[meta][lock]") {
  LockFixture f;
  SECTION("closed") {
    CHECK_FALSE(f.take(*f.other, range(0, 9, true)));
    REQUIRE(code(f.other->meta->close(f.other->ctx)) == 0);
    CHECK(f.volume.count(Table::kLock) == 0);
    CHECK_FALSE(f.take(*f.client, range(0, 9, true)));
  }
  SECTION("expired, and found so by who wants the lock") {
    CHECK_FALSE(f.take(*f.other, range(0, 9, false)));
    f.volume.server.advance_ns(59 * kSecond);
    f.client->beat();
    CHECK(f.take(*f.client, range(0, 9, true)));
    f.volume.server.advance_ns(2 * kSecond);
    f.client->clock.advance_ns(30 * kSecond);
    f.client->beat();
    CHECK_FALSE(f.take(*f.client, range(0, 9, true)));
    CHECK_FALSE(f.volume.has(client_key(f.other->id())));
    auto refused = take_locks(f.other->ctx, *f.other->meta, f.other->id(), f.ino,
                              {range(20, 29, true)}, range(20, 29, true));
    CHECK(code(refused) == ENOTCONN);
    CHECK(code(drop_locks(f.other->ctx, *f.other->meta, f.other->id(), f.ino, {})) == ENOTCONN);
  }
  SECTION("expired, and removed by reclaim") {
    CHECK_FALSE(f.take(*f.other, range(0, 9, false)));
    f.volume.watch(*f.client);
    f.volume.server.advance_ns(61 * kSecond);
    f.client->beat();
    TestObjects objects;
    CHECK(reclaim(*f.client, objects).stale_sessions == 1);
    CHECK(f.volume.count(Table::kLock) == 0);
    CHECK(f.volume.count(Table::kLocked) == 0);
  }
  f.require_consistent();
}

TEST_CASE("locks: of a file that is removed", "[meta][lock]") {
  LockFixture f;
  f.other->meta->note_open(f.ino);
  CHECK_FALSE(f.take(*f.other, range(0, 9, true)));
  REQUIRE(code(unlink(f.root, f.meta, kRootIno, "f")) == 0);
  CHECK(f.take(*f.client, range(0, 9, true)));  // without a name it is still a file
  f.require_consistent();
  f.drop(*f.other);
  f.other->meta->note_closed(f.ino);
  TestObjects objects;
  reclaim_rounds({f.client.get(), f.other.get()}, objects, 6);
  CHECK(f.volume.count(Table::kOrphan) == 0);
  auto taken = take_locks(f.client->ctx, f.meta, f.client->id(), f.ino, {range(0, 9, true)},
                          range(0, 9, true));
  CHECK(code(taken) == ESTALE);
  CHECK(f.volume.count(Table::kLocked) == 0);
  f.require_consistent();
}

TEST_CASE("locks: a circle of waits through several clients is found", "[meta][lock]") {
  LockFixture f;
  auto third = f.volume.open();
  const std::array<TestClient*, 3> clients = {f.client.get(), f.other.get(), third.get()};
  const std::array<Ino, 3> files = {f.ino, f.file(kRootIno, "g"), f.file(kRootIno, "h")};
  // Each holds one file, as owner 7, and waits for the next one.
  const FileLock lock = range(0, 9, true, 7);
  auto note = [&](size_t i, FileLock waits) {
    waits.waiting = true;
    TestClient& by = *clients[i];
    REQUIRE(code(note_waits(by.ctx, *by.meta, by.id(), files[(i + 1) % 3], {waits})) == 0);
  };
  auto circle = [&](size_t i) {
    TestClient& by = *clients[i];
    auto found = waits_for_itself(by.ctx, *by.meta, by.id(), files[(i + 1) % 3], lock);
    REQUIRE(code(found) == 0);
    return *found;
  };
  for (size_t i = 0; i < 3; ++i) {
    TestClient& by = *clients[i];
    auto taken = take_locks(by.ctx, *by.meta, by.id(), files[i], {lock}, lock);
    REQUIRE(code(taken) == 0);
    REQUIRE_FALSE(*taken);
  }
  note(0, lock);
  CHECK_FALSE(circle(0));
  note(1, lock);
  CHECK_FALSE(circle(1));
  SECTION("whoever is last finds it, and so may the others") {
    note(2, lock);
    for (size_t i = 0; i < 3; ++i) CHECK(circle(i));
    f.require_consistent();
  }
  SECTION("not without the last wait being noted, even by who asks") { CHECK_FALSE(circle(2)); }
  SECTION("a wait for what nobody holds leads nowhere") {
    note(2, range(10, 19, true, 7));
    CHECK_FALSE(circle(0));
  }
  SECTION("another owner of a client is no member") {
    note(2, range(0, 9, true, 8));
    CHECK_FALSE(circle(0));
  }
  SECTION("readers do not wait for each other") {
    const FileLock shared = range(0, 9, false, 7);
    TestClient& by = *clients[0];
    REQUIRE(code(take_locks(by.ctx, *by.meta, by.id(), files[0], {shared}, shared)) == 0);
    note(2, shared);
    CHECK_FALSE(circle(0));
  }
  SECTION("a wait that ended is none") {
    note(2, lock);
    TestClient& by = *clients[1];
    REQUIRE(code(note_waits(by.ctx, *by.meta, by.id(), files[2], {})) == 0);
    CHECK_FALSE(circle(0));
  }
  SECTION("with a session goes what it waited for") {
    note(2, lock);
    std::vector<Mutation> mutations;
    add_session_removal(clients[1]->id(), &mutations);
    f.volume.commit(std::move(mutations));
    CHECK_FALSE(circle(0));
  }
  SECTION("a session that is given up soon keeps nobody waiting for ever") {
    note(2, lock);
    f.volume.server.advance_ns(f.meta.format().session_expiry_ns + kSecond);
    CHECK_FALSE(circle(0));
  }
  SECTION("what was never there at one time is no circle") {
    note(2, lock);
    // Between the look and the look at all of it the last one gives up.
    int reads = 0;
    clients[0]->store->on_read = [&](const ReadRequest& request) {
      ++reads;
      if (request.keys.size() == 9) {
        clients[0]->store->on_read = nullptr;
        TestClient& by = *clients[2];
        REQUIRE(code(note_waits(by.ctx, *by.meta, by.id(), files[0], {})) == 0);
      }
      return Status();
    };
    CHECK_FALSE(circle(0));
    CHECK(reads > 3);
  }
}

TEST_CASE("locks: what is waited for excludes nobody and does not outlive the lock",
          "[meta][lock]") {
  LockFixture f;
  FileLock waits = range(0, 9, true, 7);
  waits.waiting = true;
  TestClient& by = *f.client;
  REQUIRE(code(note_waits(by.ctx, *by.meta, by.id(), f.ino, {waits})) == 0);
  f.require_consistent();
  CHECK_FALSE(f.take(*f.other, range(0, 9, true)));
  // Beside what is held it stays until the list goes without it.
  CHECK_FALSE(f.take(by, range(20, 29, true), {range(20, 29, true), waits}));
  f.drop(by, {waits});
  f.require_consistent();
  CHECK_FALSE(f.take(*f.other, range(0, 99, true)));
  f.drop(*f.other);
  f.drop(by);
  CHECK_FALSE(f.volume.has(lock_key(by.id(), f.ino)));
  CHECK_FALSE(f.volume.has(locked_key(f.ino)));
}

TEST_CASE("locks: too many ranges are refused", "[meta][lock]") {
  LockFixture f;
  std::vector<FileLock> many;
  for (uint64_t i = 0; i <= kMaxLocksOfFile; ++i) many.push_back(range(2 * i, 2 * i, true));
  CHECK(code(take_locks(f.client->ctx, f.meta, f.client->id(), f.ino, many, many[0])) == ENOLCK);
}

TEST_CASE("locks: fsck tells what cannot be", "[meta][lock]") {
  LockFixture f;
  f.volume.commit({Put{LockRecord{999, f.ino, {range(0, 9, true)}}},
                   Put{LockRecord{f.client->id(), 12345, {range(0, 9, true)}}},
                   Put{LockedRecord{54321, 1, {f.client->id()}}}});
  auto result = fsck(f.client->ctx, f.meta, {});
  REQUIRE(code(result) == 0);
  std::string all;
  for (const auto& problem : result->problems) all += problem.kind + ": " + problem.detail + "\n";
  CAPTURE(all);
  CHECK(all.find("client 999 holds locks of inode " + std::to_string(f.ino) +
                 " and has no session") != std::string::npos);
  CHECK(all.find("inode 12345, which does not exist") != std::string::npos);
  CHECK(all.find("is not among its holders") != std::string::npos);
  CHECK(all.find("inode 54321 is listed as locked") != std::string::npos);
}

}  // namespace skerry::meta
