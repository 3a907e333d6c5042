#include "meta/stores/postgres/wire.h"

#include <bit>
#include <cstring>

#include "meta/stores/plain_rows.h"

namespace skerry::meta::postgres {

namespace {

constexpr int32_t kOidBytea = 17, kOidBigint = 20;

template <typename T>
T swapped(T v) {  // network order, on the little-endian machines that base/bytes.h asks for
  if constexpr (sizeof v == 8) return static_cast<T>(__builtin_bswap64(static_cast<uint64_t>(v)));
  if constexpr (sizeof v == 4) return static_cast<T>(__builtin_bswap32(static_cast<uint32_t>(v)));
  if constexpr (sizeof v == 2) return static_cast<T>(__builtin_bswap16(static_cast<uint16_t>(v)));
  return v;
}

template <typename T>
void add_value(std::string* out, T v) {
  v = swapped(v);
  out->append(reinterpret_cast<const char*>(&v), sizeof v);
}

template <typename T>
T load(const char* data) {
  T v;
  std::memcpy(&v, data, sizeof v);
  return swapped(v);
}

// array_recv(): dimensions, flags, type of the elements, then for each dimension its length and
// lower bound, then the elements, each after its length.
void add_array_header(std::string* out, int32_t type, size_t count) {
  add_value<int32_t>(out, count == 0 ? 0 : 1);
  add_value<int32_t>(out, 0);
  add_value<int32_t>(out, type);
  if (count == 0) return;
  add_value(out, static_cast<int32_t>(count));
  add_value<int32_t>(out, 1);
}

std::vector<Extent> extents_of(const std::vector<int64_t>& numbers) {
  std::vector<Extent> extents;
  for (size_t i = 0; i + 7 <= numbers.size(); i += 7) {
    auto u = [&](size_t k) { return static_cast<uint64_t>(numbers[i + k]); };
    extents.push_back({u(0), u(1), u(2), u(3), u(4), u(5), static_cast<uint32_t>(u(6))});
  }
  return extents;
}

}  // namespace

Parameters& Parameters::number(int64_t v) {
  add_value(&data_, v);
  return end();
}

Parameters& Parameters::bytes(std::string_view v) {
  data_ += v;
  return end();
}

Parameters& Parameters::numbers(const std::vector<int64_t>& v) {
  add_array_header(&data_, kOidBigint, v.size());
  data_.reserve(data_.size() + 12 * v.size());
  for (int64_t number : v) {
    add_value<int32_t>(&data_, sizeof number);
    add_value(&data_, number);
  }
  return end();
}

Parameters& Parameters::byte_strings(const std::vector<std::string>& v) {
  add_array_header(&data_, kOidBytea, v.size());
  for (const std::string& each : v) {
    add_value(&data_, static_cast<int32_t>(each.size()));
    data_ += each;
  }
  return end();
}

Parameters& Parameters::append(const Parameters& more) {
  for (size_t i = 0; i < more.size(); ++i) bytes(more.at(i));
  return *this;
}

Parameters key_parameters(const Key& key) {
  const uint64_t fields[] = {key.a, key.b, key.c};
  Parameters parameters;
  size_t next = 0;
  for (const Column& column : layout_of(key.table).key) {
    if (column.kind == Kind::kBytes) {
      parameters.bytes(key.name);
    } else {
      parameters.number(fields[next++]);
    }
  }
  return parameters;
}

int64_t column_number(const PGresult* result, int row, int column) {
  const char* data = PQgetvalue(result, row, column);
  switch (PQgetisnull(result, row, column) != 0 ? 0 : PQgetlength(result, row, column)) {
    case 8:
      return load<int64_t>(data);
    case 4:
      return load<int32_t>(data);
    case 2:
      return load<int16_t>(data);
    case 1:  // boolean
      return *data;
    default:
      return 0;
  }
}

std::string column_bytes(const PGresult* result, int row, int column) {
  return {PQgetvalue(result, row, column), static_cast<size_t>(PQgetlength(result, row, column))};
}

bool column_numbers(const PGresult* result, int row, int column, std::vector<int64_t>* numbers) {
  const char* data = PQgetvalue(result, row, column);
  const auto length = static_cast<size_t>(PQgetlength(result, row, column));
  numbers->clear();
  if (length < 12 || load<int32_t>(data + 8) != kOidBigint) return false;
  if (load<int32_t>(data) == 0) return true;
  if (load<int32_t>(data) != 1 || length < 20) return false;
  const auto count = static_cast<size_t>(load<int32_t>(data + 12));
  if (count != (length - 20) / 12 || (length - 20) % 12 != 0) return false;
  numbers->reserve(count);
  for (const char* at = data + 20; at != data + length; at += 12) {
    if (load<int32_t>(at) != 8) return false;
    numbers->push_back(load<int64_t>(at + 4));
  }
  return true;
}

namespace {

constexpr size_t kAttributes = 15;

/// `number(i)` is the i-th of attribute_columns().
template <typename Number>
Attributes attributes_from(Number number) {
  auto u64 = [&](int i) { return static_cast<uint64_t>(number(i)); };
  auto u32 = [&](int i) { return static_cast<uint32_t>(number(i)); };
  Attributes attr;
  attr.ino = u64(0);
  attr.type = static_cast<FileType>(u32(1));
  attr.mode = u32(2);
  attr.uid = u32(3);
  attr.gid = u32(4);
  attr.nlink = u32(5);
  attr.flags = u32(6);
  attr.shards = u32(7);
  attr.rdev = u64(8);
  attr.length = u64(9);
  attr.atime_ns = number(10);
  attr.mtime_ns = number(11);
  attr.ctime_ns = number(12);
  attr.btime_ns = number(13);
  attr.version = u64(14);
  return attr;
}

}  // namespace

Attributes column_attributes(const PGresult* r, int row, int first) {
  return attributes_from([&](int i) { return column_number(r, row, first + i); });
}

bool attributes_of(const std::vector<int64_t>& numbers, Attributes* attr) {
  if (numbers.size() != kAttributes) return false;
  *attr = attributes_from([&](int i) { return numbers[static_cast<size_t>(i)]; });
  return true;
}

bool column_record(const PGresult* r, int row, Table table, Record* out) {
  auto u = [&](int i) { return column_u64(r, row, i); };
  auto n = [&](int i) { return column_number(r, row, i); };
  auto bytes = [&](int i) { return column_bytes(r, row, i); };
  std::vector<int64_t> numbers;
  switch (table) {
    case Table::kEntry: {
      EntryRecord entry{u(0), bytes(1), u(2) != 0, 1, column_attributes(r, row, 3)};
      entry.version = entry.attr.version;
      *out = std::move(entry);
      return true;
    }
    case Table::kInode:
      *out = InodeRecord{column_attributes(r, row, 0)};
      return true;
    case Table::kOrphan:
      *out = OrphanRecord{column_attributes(r, row, 0),
                          u(static_cast<int>(attribute_columns().size()))};
      return true;
    case Table::kExtent: {
      const bool whole = column_numbers(r, row, 3, &numbers) && numbers.size() % 7 == 0;
      ExtentRecord record{u(0), u(1), u(2), extents_of(numbers)};
      for (const Extent& e : record.extents) {
        if (e.chunk_offset > kChunkSize || e.length > kChunkSize - e.chunk_offset) return false;
      }
      *out = std::move(record);
      return whole;
    }
    case Table::kLock: {
      LockRecord record{u(0), u(1), {}};
      const bool whole = decode_locks(bytes(2), &record.locks);
      *out = std::move(record);
      return whole;
    }
    case Table::kLocked: {
      LockedRecord record{u(0), u(1), {}};
      const bool whole = column_numbers(r, row, 2, &numbers);
      for (int64_t client : numbers) record.clients.push_back(static_cast<uint64_t>(client));
      *out = std::move(record);
      return whole;
    }
    default:
      return read_plain_row(table, u, n, bytes, out);
  }
}

}  // namespace skerry::meta::postgres
