#include <random>

#include "base/crc32c.h"
#include "meta/ops/overlay.h"
#include "ops_fixture.h"

namespace skerry::meta {

namespace {

/// The byte that `object` holds at `position` of its slice.
uint8_t byte_of(ObjectId object, uint64_t position) {
  return static_cast<uint8_t>(object * 131 + position * 7 + 1);
}

/// Content of [begin, begin + length) as a reader puts it together.
std::string content(OpsFixture& f, Ino ino, uint64_t begin, uint64_t length) {
  const uint64_t first = begin / kChunkSize, last = (begin + length) / kChunkSize;
  auto data = load_file(f.root, f.meta, ino, first, last);
  REQUIRE(code(data) == 0);
  REQUIRE(begin + length <= data->attr.length);
  std::string bytes(length, '\0');
  if (data->is_inline) {
    CHECK(data->extents.empty());
    CHECK(crc32c(0, as_bytes(data->inline_data.bytes)) == data->inline_data.crc);
    for (uint64_t i = begin; i < std::min(begin + length, data->inline_data.bytes.size()); ++i) {
      bytes[i - begin] = data->inline_data.bytes[i];
    }
    return bytes;
  }
  for (uint64_t chunk = first; chunk <= last; ++chunk) {
    std::vector<ExtentRecord> records;
    for (const auto& record : data->extents) {
      if (record.chunk == chunk) records.push_back(record);
    }
    for (const Extent& e : resolve_overlay(records)) {
      for (uint64_t i = 0; i < e.length; ++i) {
        const uint64_t at = chunk * kChunkSize + e.chunk_offset + i;
        if (at < begin || at >= begin + length) continue;
        bytes[at - begin] = static_cast<char>(byte_of(e.object, e.slice_skip + i));
      }
    }
  }
  return bytes;
}

std::string object_bytes(ObjectId object, uint64_t length) {
  std::string bytes;
  for (uint64_t i = 0; i < length; ++i) bytes += static_cast<char>(byte_of(object, i));
  return bytes;
}

DataWrite one_write(Ino ino, uint64_t offset, uint64_t length, ObjectId object) {
  DataWrite write;
  write.ino = ino;
  write.offset = offset;
  write.length = length;
  write.pieces = {TestVolume::extent(object, 0, length)};
  return write;
}

}  // namespace

TEST_CASE("write_data: one file's failure is its own", "[meta][data]") {
  OpsFixture f;
  const Ino a = f.file(kRootIno, "a"), b = f.file(kRootIno, "b"), c = f.file(kRootIno, "c");
  REQUIRE(code(write_inline(f.root, f.meta, b, 1, "tiny", 0, Durability::kVisible)) == 0);
  const ObjectId pack = *f.meta.next_object(f.root);
  // The pack is shared by all of them: four references, of which two come to nothing.
  const std::vector<DataWrite> writes = {one_write(a, 0, 10, pack), one_write(b, 0, 10, pack),
                                         one_write(777777, 0, 10, pack), one_write(c, 5, 10, pack)};
  auto results = write_data(f.root, f.meta, writes, Durability::kVisible, {{pack, 3}});
  REQUIRE(code(results) == 0);
  CHECK(code(results->at(0)) == 0);
  CHECK(code(results->at(1)) == EAGAIN);
  CHECK(code(results->at(2)) == ESTALE);
  CHECK(code(results->at(3)) == 0);
  CHECK(f.stat(c).length == 15);
  CHECK(f.stat(c) == f.stat_fresh(c));
  CHECK(std::get<ObjectRecord>(*f.volume.get(object_key(pack))).references == 2);
  f.require_consistent();
}

TEST_CASE("write_data: limits of the file's size", "[meta][data]") {
  OpsFixture f;
  const Ino a = f.file(kRootIno, "a"), b = f.file(kRootIno, "b");
  REQUIRE(code(truncate(f.root, f.meta, a, kMaxFileSize, 0)) == 0);
  CHECK(code(truncate(f.root, f.meta, a, kMaxFileSize + 1, 0)) == EFBIG);
  DataWrite append = one_write(a, 0, 1, 5);
  append.append = true;
  DataWrite good = one_write(b, 0, 1, 6);
  good.append = true;
  auto results = write_data(f.root, f.meta,
                            {append, good, one_write(b, kMaxFileSize, 1, 7), one_write(b, 0, 1, 8)},
                            Durability::kVisible);
  REQUIRE(code(results) == 0);
  CHECK(code(results->at(0)) == EFBIG);
  CHECK(code(results->at(1)) == 0);
  CHECK(code(results->at(2)) == EFBIG);
  CHECK(code(results->at(3)) == 0);
  CHECK(f.stat(b).length == 1);
}

TEST_CASE("write_data: leaving inline takes the bytes along", "[meta][data]") {
  OpsFixture f;
  const Ino a = f.file(kRootIno, "a");
  auto tiny = write_inline(f.root, f.meta, a, 1, "tiny", 0, Durability::kVisible);
  REQUIRE(code(tiny) == 0);
  CHECK(f.stat(a).flags == kFlagInline);
  CHECK(f.stat(a) == f.stat_fresh(a));
  CHECK(code(write_inline(f.root, f.meta, a, 1, "x", 0, Durability::kVisible)) == EAGAIN);
  CHECK(code(write_inline(f.root, f.meta, 4444, 1, "x", 0, Durability::kVisible)) == ESTALE);
  DataWrite big = one_write(a, 0, 5000, *f.meta.next_object(f.root));
  big.replace_inline_version = tiny->version - 1;
  CHECK(code(write_data(f.root, f.meta, {big}, Durability::kVisible)->at(0)) == EAGAIN);
  big.replace_inline_version = tiny->version;
  auto done = write_data(f.root, f.meta, {big}, Durability::kVisible);
  REQUIRE(code(done->at(0)) == 0);
  CHECK(f.stat(a).flags == 0);
  CHECK(f.stat(a) == f.stat_fresh(a));
  CHECK_FALSE(f.volume.has(inline_key(a)));
  CHECK(code(write_inline(f.root, f.meta, a, done->at(0)->version, "x", 0, Durability::kVisible)) ==
        EAGAIN);
  f.require_consistent();
}

TEST_CASE("truncate: inline files are cut and grow in place", "[meta][truncate]") {
  OpsFixture f;
  const Ino a = f.file(kRootIno, "a");
  REQUIRE(code(write_inline(f.root, f.meta, a, 1, "abcdef", 0, Durability::kVisible)) == 0);
  REQUIRE(code(truncate(f.root, f.meta, a, 3, 0)) == 0);
  REQUIRE(code(truncate(f.root, f.meta, a, 10000, 0)) == 0);
  CHECK(content(f, a, 0, 5) == std::string("abc\0\0", 5));
  auto empty = truncate(f.root, f.meta, a, 0, 0);
  REQUIRE(code(empty) == 0);
  CHECK(empty->flags == 0);
  CHECK(*empty == f.stat_fresh(a));
  CHECK_FALSE(f.volume.has(inline_key(a)));
  f.require_consistent();
}

TEST_CASE("truncate: what was cut off never comes back", "[meta][truncate]") {
  OpsFixture f;
  const VolumeUsage start = f.used();
  const Ino a = f.file(kRootIno, "a");
  const ObjectId first = f.write(a, 0, 1000);
  f.write(a, kChunkSize - 500, 1000);
  const ObjectId last = f.write(a, 3 * kChunkSize, 10);
  CHECK(f.used().bytes == start.bytes + 3 * kChunkSize + 10);
  auto cut = truncate(f.root, f.meta, a, 600, 0);
  REQUIRE(code(cut) == 0);
  CHECK(*cut == f.stat_fresh(a));
  CHECK(cut->length == 600);
  CHECK(f.used().bytes == start.bytes + 600);
  CHECK(f.volume.has(garbage_key(f.volume.epoch(), last)));
  REQUIRE(code(truncate(f.root, f.meta, a, 4 * kChunkSize, 0)) == 0);
  CHECK(content(f, a, 0, 1000) == object_bytes(first, 600) + std::string(400, '\0'));
  CHECK(content(f, a, kChunkSize - 600, 1200) == std::string(1200, '\0'));
  CHECK(content(f, a, 3 * kChunkSize, 20) == std::string(20, '\0'));
  REQUIRE(code(truncate(f.root, f.meta, a, 0, 0)) == 0);
  CHECK(f.volume.count(Table::kExtent) == 0);
  CHECK(f.volume.count(Table::kGarbage) == 3);
  const Ino dir = f.mkdir(kRootIno, "d");
  CHECK(code(truncate(f.root, f.meta, dir, 0, 0)) == EISDIR);
  f.require_consistent();
}

TEST_CASE("truncate: more extents than one commit drops", "[meta][truncate]") {
  OpsFixture f;
  const Ino a = f.file(kRootIno, "a");
  for (uint64_t i = 0; i < 5000; ++i) f.write(a, (i % 7) * kChunkSize / 2 + i * 16, 8);
  const std::string head = content(f, a, 0, 10000);
  REQUIRE(code(truncate(f.root, f.meta, a, 10000, 04000)) == 0);
  CHECK(f.stat(a) == f.stat_fresh(a));
  CHECK(content(f, a, 0, 10000) == head);
  // Only the chunk with the new end keeps records.
  CHECK(load_file(f.root, f.meta, a, 1, 100)->extents.empty());
  REQUIRE(code(truncate(f.root, f.meta, a, 4 * kChunkSize, 0)) == 0);
  CHECK(content(f, a, 10000, 90000) == std::string(90000, '\0'));
  f.require_consistent();
}

TEST_CASE("copy_extents: shares what is there, holes included", "[meta][copy]") {
  OpsFixture f;
  const Ino a = f.file(kRootIno, "a"), b = f.file(kRootIno, "b");
  f.write(a, 0, 1000);
  f.write(a, 500, 100);
  f.write(a, 2000, 1000);
  f.write(a, kChunkSize - 100, 200);
  f.write(b, 0, 5000);
  const uint64_t to = 2 * kChunkSize - 1500;
  auto done = copy_extents(f.root, f.meta, a, 100, b, to, 2600);
  REQUIRE(code(done) == 0);
  CHECK(done->length_before == 5000);
  CHECK(content(f, b, to, 2600) == content(f, a, 100, 2600));
  REQUIRE(code(copy_extents(f.root, f.meta, a, kChunkSize - 200, b, 1000, 300)) == 0);
  CHECK(content(f, b, 1000, 300) == content(f, a, kChunkSize - 200, 300));
  CHECK(code(copy_extents(f.root, f.meta, a, 0, a, 50, 100)) == EINVAL);
  REQUIRE(code(copy_extents(f.root, f.meta, a, 0, a, 1000, 1000)) == 0);
  CHECK(content(f, a, 0, 1000) == content(f, a, 1000, 1000));
  f.require_consistent();
  // The source goes; what is shared stays.
  const std::string before = content(f, b, to, 2600);
  REQUIRE(code(truncate(f.root, f.meta, a, 0, 0)) == 0);
  CHECK(content(f, b, to, 2600) == before);
  f.require_consistent();
  const Ino tiny = f.file(kRootIno, "tiny");
  REQUIRE(code(write_inline(f.root, f.meta, tiny, 1, "x", 0, Durability::kVisible)) == 0);
  CHECK(code(copy_extents(f.root, f.meta, tiny, 0, b, 0, 1)) == EAGAIN);
  CHECK(code(copy_extents(f.root, f.meta, b, 0, tiny, 0, 1)) == EAGAIN);
  CHECK(code(copy_extents(f.root, f.meta, b, 0, 55555, 0, 1)) == ESTALE);
}

TEST_CASE("replace_chunk: concurrent changes win", "[meta][compaction]") {
  OpsFixture f;
  const Ino a = f.file(kRootIno, "a");
  for (int i = 0; i < 5; ++i) f.write(a, i * 10, 20);
  auto read = load_file(f.root, f.meta, a, 0, 0);
  REQUIRE(code(read) == 0);
  const ObjectId late = f.write(a, 30, 10);  // after the read: stays on top
  const ObjectId compacted = *f.meta.next_object(f.root);
  const std::vector<Extent> replacement = {TestVolume::extent(compacted, 0, 60)};
  REQUIRE(*replace_chunk(f.root, f.meta, a, 0, read->extents, replacement));
  CHECK_FALSE(*replace_chunk(f.root, f.meta, a, 0, read->extents, replacement));
  CHECK(content(f, a, 30, 10) == object_bytes(late, 10));
  CHECK(content(f, a, 0, 10) == object_bytes(compacted, 10));
  CHECK(f.stat(a) == f.stat_fresh(a));
  CHECK(f.volume.count(Table::kGarbage) == 5);
  f.require_consistent();

  // A lone record looks the same to a count; it must not be replaced twice.
  const Ino b = f.file(kRootIno, "b");
  f.write(b, 0, 20);
  auto lone = load_file(f.root, f.meta, b, 0, 0);
  const ObjectId x = *f.meta.next_object(f.root), y = *f.meta.next_object(f.root);
  CHECK(*replace_chunk(f.root, f.meta, b, 0, lone->extents, {TestVolume::extent(x, 0, 20)}));
  CHECK_FALSE(*replace_chunk(f.root, f.meta, b, 0, lone->extents, {TestVolume::extent(y, 0, 20)}));
  f.require_consistent();
}

TEST_CASE("random writes, truncates, copies and compactions equal a byte array",
          "[meta][data][model]") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  OpsFixture f;
  const Ino files[] = {f.file(kRootIno, "a"), f.file(kRootIno, "b")};
  std::string model[2];
  const uint64_t base = kChunkSize - 300;  // so that everything happens around a chunk's end
  for (Ino ino : files) REQUIRE(code(truncate(f.root, f.meta, ino, base, 0)) == 0);
  for (int step = 0; step < 400; ++step) {
    const size_t which = random() % 2;
    const Ino ino = files[which];
    std::string& bytes = model[which];
    const uint64_t offset = random() % 600, length = random() % 200 + 1;
    switch (random() % 5) {
      case 0:
      case 1: {
        const ObjectId object = f.write(ino, base + offset, length);
        if (bytes.size() < offset + length) bytes.resize(offset + length);
        bytes.replace(offset, length, object_bytes(object, length));
        break;
      }
      case 2:
        REQUIRE(code(truncate(f.root, f.meta, ino, base + offset, 0)) == 0);
        bytes.resize(offset);
        break;
      case 3: {
        const std::string& source = model[1 - which];
        if (source.size() < length) break;
        const uint64_t from = random() % (source.size() - length + 1);
        REQUIRE(code(copy_extents(f.root, f.meta, files[1 - which], base + from, ino, base + offset,
                                  length)) == 0);
        if (bytes.size() < offset + length) bytes.resize(offset + length);
        bytes.replace(offset, length, source.substr(from, length));
        break;
      }
      default: {
        const uint64_t chunk = random() % 2;
        auto read = load_file(f.root, f.meta, ino, chunk, chunk);
        if (read->extents.empty()) break;
        REQUIRE(*replace_chunk(f.root, f.meta, ino, chunk, read->extents,
                               resolve_overlay(read->extents)));
        break;
      }
    }
    REQUIRE(content(f, ino, base, bytes.size()) == bytes);
  }
  f.require_consistent();
}

}  // namespace skerry::meta
