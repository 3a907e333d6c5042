#include <atomic>
#include <thread>

#include "data/file_store.h"
#include "file_fixture.h"

using namespace skerry;
using namespace skerry::data;
using meta::Durability;

namespace {

/// Many commits of a few bytes each.
Bytes fragment(FileClient& client, OpenInode& inode, size_t length, int writes, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes model(length);
  client.write(inode, 0, model = random_bytes(length, seed));
  client.flush(inode);
  for (int i = 0; i < writes; ++i) {
    const Bytes data = random_bytes(1 + random() % 3000, random());
    const uint64_t at = random() % (length - data.size());
    client.write(inode, at, data);
    client.flush(inode);
    std::copy(data.begin(), data.end(), model.begin() + at);
  }
  return model;
}

size_t records(FileClient& client, meta::Ino ino) {
  meta::ReadRequest request;
  request.ranges.push_back({meta::Table::kExtent, 1, ino});
  return client.meta().store().read(client.ctx, request)->pages[0].records.size();
}

}  // namespace

TEST_CASE("compaction: rewrites many pieces as few, and reads the same", "[compaction]") {
  FileVolume volume;
  volume.file_options.compact_extents = 16;
  auto a = volume.open(), b = volume.open();
  auto inode = a->files->open(a->create("f"));
  const Bytes model = fragment(*a, *inode, 300'000, 60, 1);
  auto other = b->files->open(inode->ino());
  CHECK(b->read(*other, 0, 300'000) == model);
  CHECK(records(*a, inode->ino()) == 61);
  SECTION("when asked") { CHECK(*inode->compact(a->ctx, true) == 1); }
  SECTION("in the background") { a->files->background_step(a->ctx); }
  CHECK(records(*a, inode->ino()) == 1);
  CHECK(a->read(*inode, 0, 300'000) == model);
  CHECK(b->read(*other, 0, 300'000) == model);
  CHECK(*inode->compact(a->ctx, false) == 0);
  volume.check(*a);
  volume.reclaim({a.get(), b.get()});
  CHECK(volume.bucket->object_count() == 1);
  CHECK(b->read(*other, 0, 300'000) == model);
}

TEST_CASE("compaction: large blocks stay as they are", "[compaction]") {
  FileVolume volume;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  Bytes model = random_bytes(16 << 20, 1);
  a->write(*inode, 0, model);
  a->flush(*inode);
  for (int i = 0; i < 20; ++i) {
    const Bytes data = random_bytes(1000, i);
    a->write(*inode, model.size(), data);
    a->flush(*inode);
    model.insert(model.end(), data.begin(), data.end());
  }
  const uint64_t before = a->objects.counters().put_bytes;
  CHECK(*inode->compact(a->ctx, false) == 1);
  CHECK(a->objects.counters().put_bytes - before < 30'000);
  CHECK(a->read(*inode, 0, 17 << 20) == model);
  volume.check(*a);
}

TEST_CASE("compaction: a chunk of zeros becomes empty", "[compaction]") {
  FileVolume volume;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  fragment(*a, *inode, 100'000, 10, 1);
  REQUIRE(inode->zero_range(a->ctx, 0, 100'000, false).ok());
  CHECK(*inode->compact(a->ctx, false) == 1);
  CHECK(records(*a, inode->ino()) == 0);
  CHECK(a->read(*inode, 0, 100'000) == Bytes(100'000));
  volume.reclaim({a.get()});
  CHECK(volume.bucket->object_count() == 0);
}

TEST_CASE("compaction: a failure leaves the file and no objects", "[compaction][fault]") {
  FileVolume volume;
  volume.block_options.cache_writes = false;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  const Bytes model = fragment(*a, *inode, 300'000, 30, 1);
  const uint64_t objects = volume.bucket->object_count();
  SECTION("the new block is refused") {
    a->faults.fail("put", ENOSPC);
    CHECK(inode->compact(a->ctx, false).error().code() == ENOSPC);
  }
  SECTION("the commit is refused") {
    a->client->store->on_commit = [](const meta::CommitRequest& request) -> Status {
      for (const auto& expectation : request.expectations) {
        if (std::holds_alternative<meta::ExpectExtentPrefix>(expectation)) {
          return Error(EIO, "refused");
        }
      }
      return {};
    };
    CHECK(inode->compact(a->ctx, false).error().code() == EIO);
    a->client->store->on_commit = nullptr;
  }
  CHECK(volume.bucket->object_count() == objects);
  a->faults.hook = nullptr;
  CHECK(a->read(*inode, 0, 300'000) == model);
  volume.check(*a);
}

// SCENARIOS 4; LESSONS 3 and 4: never EIO, never zeros, while chunks are rewritten and the old
// blocks deleted under a reader, and another client overwrites.
TEST_CASE("compaction: lessons 3 and 4: readers see old or new bytes", "[compaction][scenario]") {
  FileVolume volume;
  volume.block_options.block_bytes = 64 << 10;
  volume.block_options.cache_bytes = 32 << 10;  // nearly every read is a cold one
  auto reader = volume.open(2), writer = volume.open(2), compactor = volume.open(2);
  constexpr size_t kPages = 32, kPage = 4096;
  auto written = writer->files->open(writer->create("f"));
  writer->write(*written, 0, Bytes(kPages * kPage, std::byte{1}));
  writer->flush(*written);
  std::atomic<bool> stop{false};
  std::string trouble;
  std::thread reading([&] {
    auto inode = reader->files->open(written->ino());
    std::mt19937_64 random(1);
    Bytes out(kPage);
    while (!stop && trouble.empty()) {
      auto n = inode->read(reader->ctx, random() % kPages * kPage, out, nullptr);
      if (!n.ok()) {
        trouble = n.error().message();
      } else if (*n != kPage || out[0] == std::byte{0} ||
                 !std::all_of(out.begin(), out.end(), [&](std::byte b) { return b == out[0]; })) {
        trouble = "bytes that nobody wrote";
      }
    }
  });
  std::thread compacting([&] {
    auto inode = compactor->files->open(written->ino());
    while (!stop) {
      if (!inode->compact(compactor->ctx, false).ok()) std::terminate();
      std::this_thread::yield();
    }
  });
  std::mt19937_64 random(2);
  for (int i = 0; i < 150; ++i) {
    writer->write(*written, random() % kPages * kPage,
                  Bytes(kPage, static_cast<std::byte>(i % 250 + 2)));
    writer->flush(*written);
    if (i % 10 == 9) volume.reclaim({writer.get(), reader.get(), compactor.get()});
  }
  stop = true;
  reading.join();
  compacting.join();
  CHECK(trouble == "");
  volume.check(*writer);
}

// A block that is gone although the list names it is an error that says so.
TEST_CASE("compaction: lessons 4: a lost block is EIO, not zeros", "[compaction][fault]") {
  FileVolume volume;
  auto a = volume.open(), b = volume.open();
  auto inode = a->files->open(a->create("f"));
  a->write(*inode, 0, random_bytes(100'000, 1));
  a->flush(*inode);
  auto page = volume.bucket->list(a->ctx, "", "", 10);
  for (const auto& object : page->objects) REQUIRE(volume.bucket->remove(a->ctx, object.key).ok());
  auto other = b->files->open(inode->ino());
  Bytes out(100);
  auto n = other->read(b->ctx, 0, out, nullptr);
  REQUIRE_FALSE(n.ok());
  CHECK(n.error().code() == EIO);
  CHECK(n.error().message().find("missing") != std::string::npos);
}
