#include "support/test_volume.h"

namespace skerry::meta {

namespace {

constexpr TimeNs kHour = 3600 * kSecond;

ClientRecord record_of(TestVolume& volume, ClientId id) {
  auto record = volume.get(client_key(id));
  REQUIRE(record.has_value());
  return std::get<ClientRecord>(*record);
}

}  // namespace

TEST_CASE("heartbeat: publishes the epoch and the server's time", "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  volume.server.advance_ns(5 * kSecond);
  volume.advance_epoch();
  client->beat();
  const ClientRecord record = record_of(volume, client->id());
  CHECK(record.epoch_seen == volume.epoch());
  CHECK(record.heartbeat_ns == volume.server.now_ns());
  CHECK(client->meta->current_epoch() == volume.epoch());
}

TEST_CASE("heartbeat: pins open orphans once the epoch moved and drops them after close",
          "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  const Ino open = volume.add_file("open", {});
  const Ino closed = volume.add_file("closed", {});
  client->meta->note_open(open);
  volume.unlink("open");
  volume.unlink("closed");
  client->beat();
  CHECK(volume.count(Table::kPin) == 0);  // nothing can be deleted before the epoch moves
  volume.advance_epoch();
  client->beat();
  CHECK(volume.has(pin_key(client->id(), open)));
  CHECK_FALSE(volume.has(pin_key(client->id(), closed)));
  client->meta->note_closed(open);
  client->beat();
  CHECK(volume.count(Table::kPin) == 0);
}

TEST_CASE("heartbeat: never publishes an epoch without the pins that belong to it",
          "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  std::vector<Mutation> orphans;
  for (Ino ino = 100; ino < 3600; ++ino) {
    Attributes attr = TestVolume::attributes(ino, FileType::kRegular, 0);
    orphans.push_back(Put{OrphanRecord{attr, 0}});
    client->meta->note_open(ino);
  }
  volume.commit(std::move(orphans));
  volume.advance_epoch();
  const uint64_t before = record_of(volume, client->id()).epoch_seen;
  int commits = 0;
  client->store->on_commit = [&](const CommitRequest&) -> Status {
    CHECK(record_of(volume, client->id()).epoch_seen == before);
    ++commits;
    return {};
  };
  client->beat();
  CHECK(commits > 1);
  CHECK(volume.count(Table::kPin) == 3500);
  CHECK(record_of(volume, client->id()).epoch_seen == before + 1);
}

TEST_CASE("heartbeat: a guard bounds what is published until it is left", "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  client->beat();
  const uint64_t entered = volume.epoch();
  {
    auto guard = client->meta->enter_epoch();
    volume.advance_epoch();
    client->beat();
    CHECK(record_of(volume, client->id()).epoch_seen == entered);
    auto later = client->meta->enter_epoch();
    volume.advance_epoch();
    client->beat();
    CHECK(record_of(volume, client->id()).epoch_seen == entered);
  }
  client->beat();
  CHECK(record_of(volume, client->id()).epoch_seen == entered + 2);
}

TEST_CASE("heartbeat: current_epoch is raised even where the publication's answer is lost",
          "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  volume.advance_epoch();
  client->store->on_commit = [](const CommitRequest&) -> Status { return Error(EIO, "lost"); };
  CHECK_FALSE(heartbeat(client->ctx, *client->meta).ok());
  CHECK(client->meta->current_epoch() == volume.epoch());
}

TEST_CASE("heartbeat: after removal it is ESTALE and the record does not come back",
          "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  const ClientId old = client->id();
  volume.commit({Delete{client_key(old)}});
  auto beat = heartbeat(client->ctx, *client->meta);
  REQUIRE_FALSE(beat.ok());
  CHECK(beat.error().code() == ESTALE);
  CHECK_FALSE(volume.has(client_key(old)));

  REQUIRE(reopen_session(client->ctx, *client->meta).ok());
  CHECK(client->id() != old);
  client->beat();
  CHECK_FALSE(volume.has(client_key(old)));
}

TEST_CASE("heartbeat: a removal between its read and its commit is noticed", "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  const ClientId old = client->id();
  client->store->on_commit = [&](const CommitRequest&) -> Status {
    client->store->on_commit = nullptr;
    volume.commit({Delete{client_key(old)}});
    return {};
  };
  auto beat = heartbeat(client->ctx, *client->meta);
  REQUIRE_FALSE(beat.ok());
  CHECK(beat.error().code() == ESTALE);
  CHECK_FALSE(volume.has(client_key(old)));
}

TEST_CASE("heartbeat: a session reopened between its read and its commit is not mixed up",
          "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  const ClientId old = client->id();
  int reads = 0;
  client->store->on_read = [&](const ReadRequest&) -> Status {
    if (++reads != 2) return {};
    volume.commit({Delete{client_key(old)}});
    return reopen_session(client->ctx, *client->meta);
  };
  auto beat = heartbeat(client->ctx, *client->meta);
  REQUIRE_FALSE(beat.ok());
  CHECK(beat.error().code() == ESTALE);
  CHECK_FALSE(volume.has(client_key(old)));
  client->beat();
}

TEST_CASE("reopen: ids of objects start above what the old session had", "[meta][session]") {
  TestVolume volume;
  auto client = volume.open();
  auto before = client->meta->next_object(client->ctx);
  REQUIRE(before.ok());
  volume.commit({Delete{client_key(client->id())}});
  REQUIRE(reopen_session(client->ctx, *client->meta).ok());
  auto after = client->meta->next_object(client->ctx);
  REQUIRE(after.ok());
  CHECK(*after > *before + 1);
  CHECK(record_of(volume, client->id()).first_object <= *after);
}

TEST_CASE(
    "sessions: staleness goes by the server's clock alone (reclaim that trusts client clocks)",
    "[meta][session][pain-8]") {
  TestVolume volume;
  auto ahead = volume.open();
  auto behind = volume.open();
  auto dead = volume.open();
  const Ino ino = volume.add_file("f", {});
  dead->meta->note_open(ino);
  volume.unlink("f");
  volume.advance_epoch();
  dead->beat();
  ahead->clock.jump_ns(kHour);
  behind->clock.jump_ns(-kHour);
  volume.server.advance_ns(59 * kSecond);
  ahead->beat();
  behind->beat();
  TestObjects objects;
  CHECK(reclaim(*ahead, objects).stale_sessions == 0);

  volume.server.advance_ns(2 * kSecond);
  ahead->clock.advance_ns(30 * kSecond);
  auto list = sessions(behind->ctx, *behind->meta);
  REQUIRE(list.ok());
  REQUIRE(list->size() == 3);
  CHECK_FALSE((*list)[0].stale);
  CHECK_FALSE((*list)[1].stale);
  CHECK((*list)[2].stale);
  CHECK((*list)[2].pins == 1);

  CHECK(reclaim(*ahead, objects).stale_sessions == 1);
  CHECK(volume.count(Table::kPin) == 0);
  CHECK(heartbeat(dead->ctx, *dead->meta).error().code() == ESTALE);
  ahead->beat();
  behind->beat();
}

TEST_CASE("sessions: a server's clock set forward ends no live session", "[meta][session]") {
  TestVolume volume;
  TestObjects objects;
  auto watcher = volume.open();
  auto live = volume.open();
  auto dead = volume.open();
  reclaim(*watcher, objects);
  volume.server.jump_ns(kHour);
  CHECK(reclaim(*watcher, objects).stale_sessions == 0);
  CHECK(volume.has(client_key(dead->id())));  // it may be live, for all that can be seen
  for (int i = 0; i < 7; ++i) {
    volume.server.advance_ns(5 * kSecond);
    watcher->clock.advance_ns(5 * kSecond);
    live->beat();
    watcher->beat();
    reclaim(*watcher, objects);
  }
  CHECK(volume.has(client_key(live->id())));
  CHECK_FALSE(volume.has(client_key(dead->id())));
}

TEST_CASE("sessions: a server's clock set back lets no dead session live on", "[meta][session]") {
  TestVolume volume;
  TestObjects objects;
  auto watcher = volume.open();
  auto live = volume.open();
  auto dead = volume.open();
  reclaim(*watcher, objects);
  volume.server.jump_ns(-kHour);
  for (int i = 0; i < 13; ++i) {
    live->beat();
    watcher->beat();
    CHECK(reclaim(*watcher, objects).stale_sessions == (i == 12 ? 1 : 0));
    volume.server.advance_ns(5 * kSecond);
    watcher->clock.advance_ns(5 * kSecond);
  }
  CHECK(volume.has(client_key(live->id())));
  CHECK_FALSE(volume.has(client_key(dead->id())));
}

TEST_CASE("sessions: a watcher that was stopped between its look and its decision ends none",
          "[meta][session]") {
  TestVolume volume;
  auto watcher = volume.open();
  auto live = volume.open();
  volume.watch(*watcher);
  bool stopped = false;
  watcher->store->on_read = [&](const ReadRequest&) -> Status {
    if (!std::exchange(stopped, true)) watcher->clock.advance_ns(kHour);
    return {};
  };
  auto removed = remove_stale_session(watcher->ctx, *watcher->meta, live->id());
  REQUIRE(removed.ok());
  CHECK_FALSE(*removed);
}

TEST_CASE("sessions: usage of a removed client is kept exactly", "[meta][session][pain-15]") {
  TestVolume volume;
  auto live = volume.open();
  auto dead = volume.open();
  const ClientId gone = dead->id();
  volume.commit({AddUsage{0, 0, -500, -3}, AddUsage{0, gone, 500, 3}});
  volume.watch(*live);
  volume.server.advance_ns(100 * kSecond);
  live->beat();

  TestObjects objects;
  SECTION("in one step") { reclaim(*live, objects); }
  SECTION("a crash between the removal and the folding") {
    int commits = 0;
    live->store->on_commit = [&](const CommitRequest&) -> Status {
      if (++commits > 2) return Error(EIO, "crashed");
      return {};
    };
    CHECK_FALSE(reclaim_step(live->ctx, *live->meta, objects.remover()).ok());
    CHECK_FALSE(volume.has(client_key(gone)));
    CHECK(volume.has(usage_key(0, gone)));
    require_healthy(*live);
    live->store->on_commit = nullptr;
    reclaim(*live, objects);
  }
  CHECK_FALSE(volume.has(usage_key(0, gone)));
  require_healthy(*live);
}

}  // namespace skerry::meta
