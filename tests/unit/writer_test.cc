#include <chrono>
#include <thread>

#include "data/file_store.h"
#include "file_fixture.h"

using namespace skerry;
using namespace skerry::data;
using meta::Durability;

namespace {

uint64_t extent_count(FileClient& client, meta::Ino ino) {
  meta::ReadRequest request;
  request.ranges.push_back({meta::Table::kExtent, 1, ino});
  auto result = client.meta().store().read(client.ctx, request);
  REQUIRE(result.ok());
  uint64_t count = 0;
  for (const auto& record : result->pages[0].records) {
    count += std::get<meta::ExtentRecord>(record).extents.size();
  }
  return count;
}

}  // namespace

TEST_CASE("writer: adjacent and overlapping writes become one slice", "[writer]") {
  FileVolume volume;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  Bytes model = random_bytes(64 * 4096, 1);
  // Backwards, so that no write continues another.
  for (int i = 63; i >= 0; --i) {
    a->write(*inode, i * 4096, ByteView(model).subspan(i * 4096, 4096));
  }
  const Bytes over = random_bytes(10000, 2);
  a->write(*inode, 5000, over);
  std::copy(over.begin(), over.end(), model.begin() + 5000);
  CHECK(a->read(*inode, 0, model.size()) == model);
  a->flush(*inode);
  CHECK(extent_count(*a, inode->ino()) == 1);
  CHECK(a->objects.counters().puts == 1);
  CHECK(a->read(*inode, 0, model.size()) == model);
}

TEST_CASE("writer: full blocks are stored before the flush", "[writer]") {
  FileVolume volume;
  volume.block_options.block_bytes = 1 << 20;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  const Bytes data = random_bytes((5 << 20) + 100, 1);
  for (size_t at = 0; at < data.size(); at += 100000) {
    a->write(*inode, at, ByteView(data).subspan(at, std::min<size_t>(100000, data.size() - at)));
  }
  CHECK(a->objects.counters().puts == 5);
  CHECK(a->files->buffered_bytes() < 4096);
  CHECK(a->read(*inode, 0, data.size()) == data);
  a->flush(*inode);
  CHECK(a->objects.counters().puts == 6);
  CHECK(a->read(*inode, 0, data.size()) == data);
}

TEST_CASE("writer: overwriting stored blocks leaves no objects behind", "[writer]") {
  FileVolume volume;
  volume.block_options.block_bytes = 64 << 10;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  Bytes model;
  for (int round = 0; round < 4; ++round) {
    model = random_bytes(256 << 10, round);
    a->write(*inode, 0, model);
  }
  // The middle of a stored block: its object is then shown twice.
  const Bytes middle = random_bytes(1000, 9);
  a->write(*inode, 70000, middle);
  std::copy(middle.begin(), middle.end(), model.begin() + 70000);
  CHECK(a->read(*inode, 0, model.size()) == model);
  a->flush(*inode);
  CHECK(a->read(*inode, 0, model.size()) == model);
  volume.check(*a);
  volume.reclaim({a.get()});
  CHECK(volume.bucket->object_count() == 5);
  REQUIRE(inode->truncate(a->ctx, 0, 0).ok());
  volume.reclaim({a.get()});
  CHECK(volume.bucket->object_count() == 0);
}

TEST_CASE("writer: appending to a large file writes what is appended", "[writer]") {
  FileVolume volume;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  REQUIRE(inode->truncate(a->ctx, uint64_t{2} << 30, 0).ok());
  const uint64_t before = a->objects.counters().put_bytes;
  const Bytes data = random_bytes(1 << 20, 1);
  SECTION("by position") { a->write(*inode, uint64_t{2} << 30, data); }
  SECTION("by O_APPEND") { a->append(*inode, data); }
  a->flush(*inode);
  CHECK(a->objects.counters().put_bytes - before <= (1 << 20) + (4 << 20));
  CHECK(a->read(*inode, uint64_t{2} << 30, data.size()) == data);
  CHECK(a->length(*inode) == (uint64_t{2} << 30) + data.size());
}

// LESSONS 13: memory stays within the bound, whatever is written and to how many files.
TEST_CASE("writer: lessons 13: back-pressure keeps the bound", "[writer][memory]") {
  const unsigned threads = GENERATE(0, 3);
  FileVolume volume;
  volume.block_options.block_bytes = 256 << 10;
  volume.file_options.write_buffer_bytes = 1 << 20;
  auto a = volume.open(threads);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> most{0};
  std::thread watcher([&] {
    while (!stop) {
      most = std::max<uint64_t>(most, a->files->buffered_bytes());
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> writers;
  std::vector<std::shared_ptr<OpenInode>> inodes;
  for (int i = 0; i < 3; ++i) inodes.push_back(a->files->open(a->create("f" + std::to_string(i))));
  std::atomic<int> failures{0};
  std::vector<Bytes> data;
  for (int w = 0; w < 3; ++w) data.push_back(random_bytes(6 << 20, w));
  for (int w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      const size_t step = w == 0 ? 1000 : w == 1 ? 300000 : 5 << 20;
      for (size_t at = 0; at < data[w].size(); at += step) {
        const ByteView part = ByteView(data[w]).subspan(at, std::min(step, data[w].size() - at));
        if (!inodes[w]->write(a->ctx, at, part, w == 2, 0).ok()) ++failures;
      }
    });
  }
  for (auto& writer : writers) writer.join();
  stop = true;
  watcher.join();
  CHECK(failures == 0);
  CHECK(most <= 1 << 20);
  REQUIRE(a->files->flush_all(a->ctx, Durability::kDurable).ok());
  CHECK(a->files->buffered_bytes() == 0);
  for (int w = 0; w < 3; ++w) CHECK(a->read(*inodes[w], 0, 7 << 20) == data[w]);
  volume.check(*a);
}

// SCENARIOS 6; LESSONS 4 and 16: what could not be stored is told, kept, and stored later.
TEST_CASE("writer: lessons 16: data survives a store that fails and recovers", "[writer][fault]") {
  const int error = GENERATE(EIO, ENOSPC, ETIMEDOUT);
  const unsigned threads = GENERATE(0, 2);
  FileVolume volume;
  volume.block_options.block_bytes = 64 << 10;
  volume.file_options.write_buffer_bytes = 1 << 20;
  auto a = volume.open(threads);
  auto inode = a->files->open(a->create("f"));
  const Bytes data = random_bytes(500'000, 1);
  a->faults.fail("put", error);
  a->write(*inode, 0, data);
  CHECK(inode->flush(a->ctx, Durability::kDurable).error().code() == error);
  CHECK(inode->flush(a->ctx, Durability::kDurable).error().code() == error);
  CHECK(inode->dirty());
  CHECK(a->length(*inode) == 500'000);
  // The buffer fills up: then write itself fails, and takes nothing.
  Status full;
  uint64_t taken = 500'000;
  for (; full.ok() && taken < (4 << 20); taken += 10000) {
    full = inode->write(a->ctx, taken, Bytes(10000), false, 0);
  }
  REQUIRE_FALSE(full.ok());
  CHECK(full.error().code() == error);
  CHECK(a->length(*inode) == taken - 10000);
  uint64_t seen = 0;
  CHECK(inode->take_error(&seen).ok());
  a->faults.hook = nullptr;
  CHECK(a->read(*inode, 0, 500'000) == data);
  a->flush(*inode, Durability::kDurable);
  CHECK_FALSE(inode->dirty());
  auto b = volume.open();
  auto other = b->files->open(inode->ino());
  CHECK(b->read(*other, 0, 500'000) == data);
  CHECK(b->length(*other) == taken - 10000);
  volume.check(*b);
}

TEST_CASE("writer: a file that is gone drops its data and tells every handle once",
          "[writer][fault]") {
  FileVolume volume;
  auto a = volume.open(), b = volume.open();
  auto inode = a->files->peek(a->create("f"));  // not noted as open: nothing pins it
  uint64_t first = inode->drop_count(), second = inode->drop_count();
  a->write(*inode, 0, random_bytes(100'000, 1));
  REQUIRE(meta::unlink(b->ctx, b->meta(), meta::kRootIno, "f").ok());
  volume.reclaim({b.get(), a.get()});
  CHECK(inode->flush(a->ctx, Durability::kDurable).error().code() == ESTALE);
  CHECK_FALSE(inode->dirty());
  CHECK(a->files->buffered_bytes() == 0);
  CHECK(inode->take_error(&first).error().code() == ESTALE);
  CHECK(inode->take_error(&first).ok());
  CHECK(inode->take_error(&second).error().code() == ESTALE);
  CHECK(inode->flush(a->ctx, Durability::kDurable).ok());
  volume.reclaim({b.get(), a.get()});
  CHECK(volume.bucket->object_count() == 0);
}

// Whatever call of the object store fails, acknowledged data is there or was told to be missing.
TEST_CASE("writer: the n-th object call fails", "[writer][fault]") {
  using Kind = ObjectFaults::Decision::Kind;
  const Kind kind = GENERATE(Kind::kFailBefore, Kind::kFailAfter);
  for (uint64_t n = 0; n < 200; ++n) {
    INFO("call " << n << " kind " << kind);
    FileVolume volume;
    volume.block_options.block_bytes = 64 << 10;
    volume.block_options.cache_writes = false;
    auto a = volume.open();
    FailNthCall nth(n, {kind, EIO, false});
    a->faults.hook = [&](std::string_view op, std::string_view key) {
      return nth.before(std::string(op).c_str(), key);
    };
    auto inode = a->files->open(a->create("f"));
    Bytes model;
    for (int i = 0; i < 6; ++i) {
      const Bytes data = random_bytes(30'000 + 20'000 * i, i);
      const bool append = i % 2 == 0;
      const uint64_t at = append ? model.size() : 10'000 * i;
      Status written = inode->write(a->ctx, at, data, append, 0);
      if (!written.ok()) written = inode->write(a->ctx, at, data, append, 0);
      REQUIRE(written.ok());
      if (model.size() < at + data.size()) model.resize(at + data.size());
      std::copy(data.begin(), data.end(), model.begin() + at);
      if (!inode->flush(a->ctx, Durability::kVisible).ok()) a->flush(*inode);
      if (i == 4) {
        auto compacted = inode->compact(a->ctx, false);
        if (!compacted.ok()) REQUIRE(inode->compact(a->ctx, false).ok());
      }
    }
    a->faults.hook = nullptr;
    CHECK(a->read(*inode, 0, 1 << 20) == model);
    auto b = volume.open();
    auto other = b->files->open(inode->ino());
    CHECK(b->read(*other, 0, 1 << 20) == model);
    volume.check(*b);
    if (!nth.fired()) return;
  }
  FAIL("never ran without a fault");
}

namespace {

/// A volume with a file whose last write was committed, or not, and nobody was told.
struct LostWrite {
  LostWrite(size_t size, bool applied) {
    a->append(*inode, before);
    a->flush(*inode);
    written = random_bytes(size, 2);
    a->append(*inode, written);
    // The answers of this commit and of all its repetitions are lost.
    a->client->store->on_commit = [this, applied](const meta::CommitRequest& request) -> Status {
      bool data_commit = false;
      for (const auto& mutation : request.mutations) {
        data_commit |= std::holds_alternative<meta::WriteData>(mutation) ||
                       std::holds_alternative<meta::Patch>(mutation);
      }
      if (!data_commit || (lost && lost->request != request.request)) return {};
      if (!lost && applied) REQUIRE(behind.commit(a->ctx, request)->applied);
      lost = request;
      return Error(ETIMEDOUT, "no answer").set_retryable().set_maybe_applied();
    };
    CHECK_FALSE(inode->flush(a->ctx, Durability::kVisible).ok());
    REQUIRE(lost);
    a->client->store->on_commit = nullptr;
  }

  FileVolume volume;
  std::unique_ptr<FileClient> a = volume.open();
  std::shared_ptr<OpenInode> inode = a->files->open(a->create("f"));
  const Bytes before = random_bytes(50, 1);
  Bytes written;
  meta::MemoryStore behind{volume.volume.database};
  std::optional<meta::CommitRequest> lost;
};

}  // namespace

TEST_CASE("writer: a commit whose answer was lost is not made twice", "[writer][fault]") {
  const size_t size = GENERATE(100, 200'000);
  const bool applied = GENERATE(true, false);
  LostWrite w(size, applied);
  Bytes model = w.before;
  SECTION("the next flush settles it") {}
  SECTION("the flushes after it fail as well, in each call they make") {
    for (int nth = 0; nth < 8; ++nth) {
      int left = nth;
      auto fail = [&left](const auto&) -> Status {
        return left-- == 0 ? Status(Error(EIO, "planted")) : Status();
      };
      w.a->client->store->on_commit = fail;
      w.a->client->store->on_read = fail;
      (void)w.inode->flush(w.a->ctx, Durability::kVisible).ok();
    }
    w.a->client->store->on_commit = nullptr;
    w.a->client->store->on_read = nullptr;
  }
  SECTION("it arrives once more later") {
    w.a->flush(*w.inode);
    (void)w.behind.commit(w.a->ctx, *w.lost).ok();
  }
  w.a->flush(*w.inode);
  model.insert(model.end(), w.written.begin(), w.written.end());
  CHECK(w.a->read(*w.inode, 0, 1 << 20) == model);
  auto b = w.volume.open();
  CHECK(b->read(*b->files->open(w.inode->ino()), 0, 1 << 20) == model);
  w.volume.check(*b);
}

TEST_CASE("writer: a commit whose answer was lost is settled though others cut the file since",
          "[writer][fault]") {
  const size_t size = GENERATE(100, 200'000);
  const bool applied = GENERATE(true, false);
  LostWrite w(size, applied);
  auto b = w.volume.open();
  auto theirs = b->files->open(w.inode->ino());
  REQUIRE(theirs->truncate(b->ctx, 0, 0).ok());
  w.a->flush(*w.inode);
  // What was applied was cut off; what was not is appended now.
  const Bytes model = applied ? Bytes() : w.written;
  CHECK(w.a->read(*w.inode, 0, 1 << 20) == model);
  CHECK(b->read(*b->files->open(w.inode->ino()), 0, 1 << 20) == model);
  w.volume.check(*b);
}

TEST_CASE("writer: what is dropped in doubt keeps its objects", "[writer][fault]") {
  const size_t size = 200'000;
  const bool applied = GENERATE(true, false);
  LostWrite w(size, applied);
  w.inode->lose(Error(EIO, "dropped"));
  Bytes model = w.before;
  if (applied) model.insert(model.end(), w.written.begin(), w.written.end());
  auto b = w.volume.open();
  CHECK(b->read(*b->files->open(w.inode->ino()), 0, 1 << 20) == model);
  // Whether a count is too high, only a scan can tell.
  REQUIRE(meta::repair_references(b->ctx, b->meta(), UINT64_MAX).ok());
  w.volume.check(*b);
  CHECK(b->read(*b->files->open(w.inode->ino()), 0, 1 << 20) == model);
}

TEST_CASE("writer: dropped data that no handle was told of is told by a flush of all",
          "[writer][fault]") {
  FileVolume volume;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  const bool told = GENERATE(true, false);
  uint64_t seen = inode->drop_count();
  a->append(*inode, Bytes(1000, std::byte{1}));
  inode->lose(Error(EIO, "dropped"));
  if (told) CHECK(inode->take_error(&seen).error().code() == EIO);
  const Status all = a->files->flush_all(a->ctx, Durability::kDurable);
  CHECK(all.ok() == told);
  CHECK(a->files->flush_all(a->ctx, Durability::kDurable).ok());
  // Each handle hears of it nevertheless.
  CHECK(inode->take_error(&seen).ok() == told);
}

TEST_CASE("writer: a deadline ends the wait for room", "[writer]") {
  FileVolume volume;
  volume.file_options.write_buffer_bytes = 256 << 10;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  CancelToken cancel;
  a->faults.hook = [&](std::string_view op, std::string_view) {
    if (op == "put") cancel.cancel();
    return op == "put" ? HookedObjectFaults::Decision{HookedObjectFaults::Decision::kFailBefore}
                       : HookedObjectFaults::Decision();
  };
  OpContext ctx = a->ctx;
  ctx.cancel = &cancel;
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = inode->write(ctx, i * 10000, Bytes(10000), false, 0);
  }
  CHECK_FALSE(status.ok());
  a->faults.hook = nullptr;
  a->flush(*inode);
}

TEST_CASE("writer: every byte of an append is one record, however large", "[writer][append]") {
  FileVolume volume;
  volume.block_options.block_bytes = 64 << 10;
  volume.file_options.write_buffer_bytes = 256 << 10;
  auto a = volume.open(2), b = volume.open(2);
  auto mine = a->files->open(a->create("f"));
  auto theirs = b->files->open(mine->ino());
  const size_t size = 2 << 20;
  std::thread other([&] {
    for (int i = 0; i < 20; ++i) {
      if (!theirs->write(b->ctx, 0, Bytes(1000, std::byte{7}), true, 0).ok() ||
          !theirs->flush(b->ctx, Durability::kVisible).ok()) {
        std::terminate();
      }
    }
  });
  a->append(*mine, Bytes(size, std::byte{9}));
  a->flush(*mine);
  other.join();
  const Bytes all = a->read(*mine, 0, size + 30000);
  REQUIRE(all.size() == size + 20000);
  const auto begin = std::find(all.begin(), all.end(), std::byte{9});
  const auto end = std::find_if(begin, all.end(), [](std::byte x) { return x != std::byte{9}; });
  CHECK(end - begin == static_cast<ptrdiff_t>(size));
  volume.check(*a);
}
