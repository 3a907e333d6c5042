#include "data/file_store.h"

#include <atomic>
#include <thread>

#include "file_fixture.h"

using namespace skerry;
using namespace skerry::data;
using meta::Durability;
using meta::kChunkSize;

TEST_CASE("file: a small file lives in the metadata", "[file]") {
  FileVolume volume;
  auto a = volume.open(), b = volume.open();
  auto inode = a->files->open(a->create("f"));
  CHECK(a->read(*inode, 0, 10).empty());
  a->write(*inode, 0, as_bytes("hello"));
  CHECK(inode->dirty());
  CHECK(a->length(*inode) == 5);
  CHECK(text_of(a->read(*inode, 1, 10)) == "ello");
  a->flush(*inode);
  CHECK_FALSE(inode->dirty());
  a->write(*inode, 8, as_bytes("there"));
  a->flush(*inode);
  CHECK(a->objects.counters().puts == 0);
  auto other = b->files->open(inode->ino());
  CHECK(text_of(b->read(*other, 0, 100)) == std::string("hello\0\0\0there", 13));
  volume.check(*b);
}

TEST_CASE("file: an inline file that grows moves to objects", "[file]") {
  FileVolume volume;
  auto a = volume.open(), b = volume.open();
  auto inode = a->files->open(a->create("f"));
  Bytes model = random_bytes(3000, 1);
  a->write(*inode, 0, model);
  a->flush(*inode);
  const Bytes more = random_bytes(9000, 2);
  a->write(*inode, 2000, more);
  a->flush(*inode);
  model.resize(2000);
  model.insert(model.end(), more.begin(), more.end());
  CHECK(a->read(*inode, 0, 20000) == model);
  auto other = b->files->open(inode->ino());
  CHECK(b->read(*other, 0, 20000) == model);
  volume.check(*b);
}

TEST_CASE("file: sparse files read as zeros and cost nothing", "[file]") {
  FileVolume volume;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  a->write(*inode, uint64_t{1} << 40, as_bytes("end"));
  a->flush(*inode);
  CHECK(a->length(*inode) == (uint64_t{1} << 40) + 3);
  CHECK(a->read(*inode, 5 * kChunkSize - 10, 20) == Bytes(20));
  CHECK(text_of(a->read(*inode, uint64_t{1} << 40, 20)) == "end");
  CHECK(*inode->seek(a->ctx, 0, true) == uint64_t{1} << 40);
  CHECK(*inode->seek(a->ctx, 0, false) == 0);
  CHECK(inode->seek(a->ctx, (uint64_t{1} << 40) + 3, true).error().code() == ENXIO);
  // Zeroing a hole of a terabyte adds no records but for where there is data.
  REQUIRE(inode->zero_range(a->ctx, 0, uint64_t{1} << 40, false).ok());
  meta::ReadRequest request;
  request.ranges.push_back({meta::Table::kExtent, 1, inode->ino()});
  auto records = a->meta().store().read(a->ctx, request);
  CHECK(records->pages[0].records.size() == 1);
}

TEST_CASE("file: a smaller file costs less memory than a block", "[file][memory]") {
  FileVolume volume;
  auto a = volume.open();
  std::vector<std::shared_ptr<OpenInode>> inodes;
  for (int i = 0; i < 100; ++i) {
    inodes.push_back(a->files->open(a->create("f" + std::to_string(i))));
    a->write(*inodes.back(), 0, random_bytes(100, i));
  }
  CHECK(a->files->buffered_bytes() <= 100 * 1024);
  REQUIRE(a->files->flush_all(a->ctx, Durability::kDurable).ok());
  CHECK(a->files->buffered_bytes() == 0);
}

TEST_CASE("file: what another client commits is seen", "[file][coherence]") {
  FileVolume volume;
  auto a = volume.open(), b = volume.open();
  auto mine = a->files->open(a->create("f"));
  auto theirs = b->files->open(mine->ino());
  for (int round = 0; round < 10; ++round) {
    const Bytes data = random_bytes(20000, round);
    a->write(*mine, 100 * round, data);
    a->flush(*mine);
    CHECK(b->read(*theirs, 100 * round, 20000) == data);
    REQUIRE(theirs->truncate(b->ctx, 100 * round + 50, 0).ok());
    CHECK(a->read(*mine, 100 * round, 20000) == Bytes(data.begin(), data.begin() + 50));
  }
  volume.check(*a);
}

// SCENARIOS 1; LESSONS 7: appends of two clients never overwrite each other.
TEST_CASE("file: appends of several clients are whole and all present", "[file][append]") {
  const size_t size = GENERATE(60, 3000, 150000);
  FileVolume volume;
  std::vector<std::unique_ptr<FileClient>> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(volume.open(2));
  const meta::Ino ino = clients[0]->create("log");
  const int rounds = size > 100000 ? 8 : 30;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int c = 0; c < 3; ++c) {
    threads.emplace_back([&, c] {
      auto inode = clients[c]->files->open(ino);
      for (int i = 0; i < rounds; ++i) {
        const Bytes record(size, static_cast<std::byte>(c * rounds + i + 1));
        if (!inode->write(clients[c]->ctx, 0, record, true, 0).ok()) ++failures;
        if (i % 3 != 1 && !inode->flush(clients[c]->ctx, Durability::kVisible).ok()) ++failures;
      }
      if (!inode->flush(clients[c]->ctx, Durability::kVisible).ok()) ++failures;
    });
  }
  for (auto& thread : threads) thread.join();
  REQUIRE(failures == 0);
  auto inode = clients[1]->files->open(ino);
  const Bytes all = clients[1]->read(*inode, 0, size * rounds * 3 + 1);
  REQUIRE(all.size() == size * rounds * 3);
  std::vector<int> seen(3 * rounds + 1);
  for (size_t at = 0; at < all.size(); at += size) {
    const std::byte value = all[at];
    REQUIRE(std::all_of(all.begin() + at, all.begin() + at + size,
                        [&](std::byte b) { return b == value; }));
    ++seen[static_cast<size_t>(value)];
  }
  for (int i = 1; i <= 3 * rounds; ++i) CHECK(seen[i] == 1);
  volume.check(*clients[0]);
}

// SCENARIOS 3: a file unlinked by another client stays readable while it is open.
TEST_CASE("file: unlinked elsewhere while open here, and reclaimed", "[file][scenario]") {
  FileVolume volume;
  volume.block_options.cache_bytes = 64 << 10;
  auto a = volume.open(), b = volume.open();
  auto inode = a->files->open(a->create("f"));
  const Bytes data = random_bytes(1 << 20, 1);
  a->write(*inode, 0, data);
  a->flush(*inode);
  REQUIRE(meta::unlink(b->ctx, b->meta(), meta::kRootIno, "f").ok());
  volume.reclaim({b.get(), a.get()});
  CHECK(a->read(*inode, 0, 1 << 20) == data);
  a->write(*inode, 1 << 20, as_bytes("more"));
  a->flush(*inode);
  CHECK(text_of(a->read(*inode, 1 << 20, 10)) == "more");
  const meta::Ino ino = inode->ino();
  inode.reset();
  volume.reclaim({b.get(), a.get()});
  CHECK(volume.bucket->object_count() == 0);
  auto again = a->files->open(ino);
  Bytes out(10);
  CHECK(again->read(a->ctx, 0, out, nullptr).error().code() == ESTALE);
}

// SCENARIOS 5.
TEST_CASE("file: copy_range takes unflushed bytes, refuses overlap, stops at the end",
          "[file][scenario]") {
  FileVolume volume;
  auto a = volume.open();
  auto from = a->files->open(a->create("from"));
  auto to = a->files->open(a->create("to"));
  Bytes data = random_bytes(300000, 1);
  a->write(*from, 0, data);
  a->write(*to, 0, as_bytes("inline target"));
  CHECK(*a->files->copy_range(a->ctx, *from, 1000, *to, 5, 1 << 20) == 299000);
  Bytes expected = bytes_of("inlin");
  expected.insert(expected.end(), data.begin() + 1000, data.end());
  CHECK(a->read(*to, 0, 1 << 20) == expected);
  CHECK(*a->files->copy_range(a->ctx, *from, 300000, *to, 0, 10) == 0);
  CHECK(a->files->copy_range(a->ctx, *from, 0, *from, 100, 200).error().code() == EINVAL);
  CHECK(*a->files->copy_range(a->ctx, *from, 0, *from, 300000, 1000) == 1000);
  data.insert(data.end(), data.begin(), data.begin() + 1000);
  CHECK(a->read(*from, 0, 1 << 20) == data);
  auto small = a->files->open(a->create("small"));
  a->write(*small, 0, as_bytes("small"));
  CHECK(*a->files->copy_range(a->ctx, *small, 0, *to, 2, 100) == 5);
  CHECK(text_of(a->read(*to, 0, 8)).substr(0, 7) == "insmall");
  volume.check(*a);
}

TEST_CASE("file: bytes that copy_range took are there although they can not be stored yet",
          "[file][fault]") {
  FileVolume volume;
  auto a = volume.open();
  auto from = a->files->open(a->create("from"));
  auto to = a->files->open(a->create("to"));
  a->write(*from, 0, as_bytes("inline source"));
  a->flush(*from);
  const Bytes data = random_bytes(100000, 2);
  a->write(*to, 0, data);
  a->flush(*to);
  a->faults.fail("put", EIO);
  CHECK(*a->files->copy_range(a->ctx, *from, 7, *to, 99998, 100) == 6);
  CHECK(a->length(*to) == 100004);
  CHECK(to->flush(a->ctx, meta::Durability::kVisible).error().code() == EIO);
  a->faults.hook = nullptr;
  a->flush(*to);
  CHECK(text_of(a->read(*to, 99998, 100)) == "source");
  auto other = volume.open();
  CHECK(text_of(other->read(*other->files->open(to->ino()), 99998, 100)) == "source");
  volume.check(*a);
}

TEST_CASE("file: views of cached blocks, inline data and holes", "[file][view]") {
  FileVolume volume;
  auto a = volume.open();
  auto inode = a->files->open(a->create("f"));
  a->write(*inode, 0, as_bytes("tiny"));
  auto view = inode->view(a->ctx, 1, 100);
  CHECK(as_string_view(view->data()) == "iny");
  CHECK(inode->view(a->ctx, 4, 100)->data().empty());
  const Bytes data = random_bytes(100000, 3);
  a->write(*inode, 200000, data);
  CHECK(as_string_view(inode->view(a->ctx, 2, 2)->data()) == "ny");
  view = inode->view(a->ctx, 100000, 1000);
  CHECK(view->data().size() == 1000);
  CHECK(std::all_of(view->data().begin(), view->data().end(),
                    [](std::byte b) { return b == std::byte{0}; }));
  auto b = volume.open();
  auto other = b->files->open(inode->ino());
  for (uint64_t at = 200000; at < 300000;) {
    auto piece = other->view(b->ctx, at, 300000 - at);
    REQUIRE(piece.ok());
    REQUIRE_FALSE(piece->data().empty());
    CHECK(std::equal(piece->data().begin(), piece->data().end(), data.begin() + (at - 200000)));
    at += piece->data().size();
  }
}

TEST_CASE("file: write_files and read_many", "[file][batch]") {
  FileVolume volume;
  auto a = volume.open(2), b = volume.open(2);
  std::vector<meta::Ino> inos;
  std::vector<Bytes> contents;
  for (int i = 0; i < 300; ++i) {
    inos.push_back(a->create("f" + std::to_string(i)));
    contents.push_back(random_bytes(i % 3 == 0 ? i : i * 200, i));
  }
  std::vector<ByteView> views(contents.begin(), contents.end());
  for (const Status& status : a->files->write_files(a->ctx, inos, views)) CHECK(status.ok());
  CHECK(a->objects.counters().puts < 15);
  std::vector<FileStore::ReadItem> items;
  std::vector<Bytes> outs(300, Bytes(70000));
  for (int i = 0; i < 300; ++i) items.push_back({b->files->peek(inos[i]), 0, outs[i]});
  int reads = 0;
  b->client->store->on_read = [&](const meta::ReadRequest&) { return ++reads, Status(); };
  b->files->read_many(b->ctx, items);
  CHECK(reads < 10);
  for (int i = 0; i < 300; ++i) {
    REQUIRE(items[i].result.ok());
    outs[i].resize(*items[i].result);
    CHECK(outs[i] == contents[i]);
  }
  reads = 0;
  for (int i = 0; i < 300; ++i) {
    CHECK(b->read(*b->files->peek(inos[i]), 0, 70000) == contents[i]);
  }
  CHECK(reads == 0);
  // Replacing what is there.
  for (const Status& status : b->files->write_files(b->ctx, inos, views)) CHECK(status.ok());
  CHECK(a->read(*a->files->peek(inos[7]), 0, 70000) == contents[7]);
  volume.check(*a);
}

TEST_CASE("file: reading in sequence fetches ahead", "[file][readahead]") {
  FileVolume volume;
  auto a = volume.open(), b = volume.open();
  auto inode = a->files->open(a->create("f"));
  const Bytes data = random_bytes(9 << 20, 1);
  a->write(*inode, 0, data);
  a->flush(*inode);
  auto other = b->files->open(inode->ino());
  ReadaheadState state;
  Bytes out(64 << 10);
  for (uint64_t at = 0; at < data.size(); at += out.size()) {
    auto n = other->read(b->ctx, at, out, &state);
    REQUIRE(n.ok());
    REQUIRE(std::equal(out.begin(), out.begin() + *n, data.begin() + at));
  }
  CHECK(b->objects.counters().gets < 30);
  CHECK(b->objects.counters().get_bytes < (10u << 20));
}

namespace {

/// Random operations of several clients, one after the other, against a byte vector.
class RandomFile {
 public:
  RandomFile(uint64_t seed, unsigned client_count, unsigned threads) : random_(seed) {
    volume_.block_options.block_bytes = 64 << 10;
    volume_.block_options.cache_bytes = 1 << 20;
    volume_.file_options.write_buffer_bytes = 512 << 10;
    volume_.file_options.compact_extents = 8;
    for (unsigned i = 0; i < client_count; ++i) clients_.push_back(volume_.open(threads));
    for (int f = 0; f < 2; ++f) {
      inos_.push_back(clients_[0]->create("f" + std::to_string(f)));
      models_.emplace_back();
    }
    for (auto& client : clients_) {
      handles_.emplace_back();
      for (meta::Ino ino : inos_) handles_.back().push_back(client->files->open(ino));
    }
  }

  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      INFO("step " << step);
      one_step();
    }
    for (size_t f = 0; f < 2; ++f) {
      settle(f, clients_.size());
      for (size_t c = 0; c < clients_.size(); ++c) check(c, f, 0, models_[f].size() + 100);
    }
    volume_.check(*clients_[0]);
  }

 private:
  uint64_t pick(uint64_t n) { return random_() % n; }
  uint64_t position() {
    const uint64_t small = pick(400'000);
    return pick(8) == 0 ? pick(5000) : small;
  }

  /// Strict sequencing: others' writes are committed before this client acts on the file.
  void settle(size_t f, size_t client) {
    for (size_t c = 0; c < clients_.size(); ++c) {
      if (c != client && handles_[c][f]->dirty()) clients_[c]->flush(*handles_[c][f]);
    }
  }
  void check(size_t c, size_t f, uint64_t offset, size_t length) {
    const Bytes& model = models_[f];
    const Bytes got = clients_[c]->read(*handles_[c][f], offset, length);
    const uint64_t begin = std::min<uint64_t>(offset, model.size());
    const uint64_t end = std::min<uint64_t>(offset + length, model.size());
    REQUIRE(got.size() == end - begin);
    const auto different = std::mismatch(got.begin(), got.end(), model.begin() + begin);
    if (different.first != got.end()) {
      FAIL("client " << c << " file " << f << " differs at "
                     << offset + (different.first - got.begin()) << " of read " << offset << "+"
                     << length);
    }
  }

  void one_step() {
    const size_t c = pick(clients_.size()), f = pick(2);
    FileClient& client = *clients_[c];
    OpenInode& inode = *handles_[c][f];
    Bytes& model = models_[f];
    settle(f, c);
    const uint64_t offset = position();
    const uint64_t length = 1 + (pick(4) == 0 ? pick(150'000) : pick(3000));
    switch (const uint64_t op = pick(16); op) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4: {
        const Bytes data = random_bytes(length, random_());
        client.write(inode, offset, data);
        if (model.size() < offset + length) model.resize(offset + length);
        std::copy(data.begin(), data.end(), model.begin() + offset);
        break;
      }
      case 5:
      case 6: {
        const Bytes data = random_bytes(length, random_());
        client.append(inode, data);
        model.insert(model.end(), data.begin(), data.end());
        break;
      }
      case 7: {
        const uint64_t to = pick(3) == 0 ? pick(6000) : pick(500'000);
        REQUIRE(inode.truncate(client.ctx, to, 0).ok());
        model.resize(to);
        break;
      }
      case 8: {
        const bool extend = pick(2) == 0;
        REQUIRE(inode.zero_range(client.ctx, offset, length, extend).ok());
        if (extend && model.size() < offset + length) model.resize(offset + length);
        for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, model.size()); ++i) {
          model[i] = std::byte{0};
        }
        break;
      }
      case 9: {
        settle(1 - f, c);
        const Bytes from = models_[1 - f];
        auto n = client.files->copy_range(client.ctx, *handles_[c][1 - f], offset, inode,
                                          offset / 3, length);
        if (!n.ok()) FAIL(n.error().message());
        const uint64_t expected =
            offset >= from.size() ? 0 : std::min<uint64_t>(length, from.size() - offset);
        REQUIRE(*n == expected);
        if (expected > 0) {
          if (model.size() < offset / 3 + expected) model.resize(offset / 3 + expected);
          std::copy_n(from.begin() + offset, expected, model.begin() + offset / 3);
        }
        break;
      }
      case 10:
        client.flush(inode, pick(2) == 0 ? Durability::kDurable : Durability::kVisible);
        break;
      case 11:
        if (pick(2) == 0) {
          REQUIRE(inode.compact(client.ctx, pick(2) == 0).ok());
        } else {
          client.client->clock.advance_ns(6'000'000'000);
          client.files->background_step(client.ctx);
        }
        break;
      case 12:
        client.flush(inode);
        handles_[c][f] = client.files->open(inos_[f]);
        break;
      case 13: {
        std::vector<FileClient*> all;
        for (auto& each : clients_) all.push_back(each.get());
        volume_.reclaim(all);
        break;
      }
      default:
        CHECK(client.length(inode) == model.size());
        check(c, f, offset, length);
    }
    REQUIRE(client.files->buffered_bytes() <= 512 << 10);
  }

  FileVolume volume_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<FileClient>> clients_;
  std::vector<std::vector<std::shared_ptr<OpenInode>>> handles_;
  std::vector<meta::Ino> inos_;
  std::vector<Bytes> models_;
};

}  // namespace

TEST_CASE("file: random operations agree with a byte vector", "[file][model]") {
  const unsigned clients = GENERATE(1, 2, 3);
  const unsigned threads = GENERATE(0, 2);
  const char* given = std::getenv("SKERRY_TEST_SEED");
  const uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1000 * clients;
  for (uint64_t seed = first; seed < first + (given != nullptr ? 1 : 8); ++seed) {
    INFO("SKERRY_TEST_SEED=" << seed << " clients " << clients << " threads " << threads);
    RandomFile(seed, clients, threads).run(300);
  }
}

TEST_CASE("file: readers without locks while a writer goes on", "[file][concurrency]") {
  FileVolume volume;
  volume.block_options.block_bytes = 64 << 10;
  auto a = volume.open(2);
  auto inode = a->files->open(a->create("f"));
  // Every page is one value; a reader sees old or new, never a mixture or zeros.
  constexpr size_t kPages = 64, kPage = 4096;
  a->write(*inode, 0, Bytes(kPages * kPage, std::byte{1}));
  a->flush(*inode);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937_64 random(r);
      Bytes out(kPage);
      while (!stop) {
        auto n = inode->read(a->ctx, random() % kPages * kPage, out, nullptr);
        if (!n.ok() || *n != kPage || out[0] == std::byte{0} ||
            !std::all_of(out.begin(), out.end(), [&](std::byte b) { return b == out[0]; })) {
          ++wrong;
        }
      }
    });
  }
  std::mt19937_64 random(7);
  for (int i = 0; i < 300; ++i) {
    a->write(*inode, random() % kPages * kPage, Bytes(kPage, static_cast<std::byte>(i % 250 + 2)));
    if (i % 4 == 3) a->flush(*inode);
    if (i % 100 == 99) REQUIRE(inode->compact(a->ctx, false).ok());
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  CHECK(wrong == 0);
  volume.check(*a);
}
