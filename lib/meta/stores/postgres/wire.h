// Values in PostgreSQL's binary format: parameters of statements and columns of their results.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "meta/records.h"
#include "meta/stores/postgres/layout.h"

namespace skerry::meta::postgres {

struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, ClearResult>;

/// Record fields are below 2^63; a bound above that is as good as the largest.
inline int64_t clamped(uint64_t v) { return v < INT64_MAX ? static_cast<int64_t>(v) : INT64_MAX; }

/// The parameters of one statement.
class Parameters {
 public:
  Parameters& number(int64_t v);
  Parameters& number(uint64_t v) { return number(static_cast<int64_t>(v)); }
  Parameters& bytes(std::string_view v);
  Parameters& numbers(const std::vector<int64_t>& v);
  Parameters& byte_strings(const std::vector<std::string>& v);

  Parameters& append(const Parameters& more);

  size_t size() const { return ends_.size(); }
  std::string_view at(size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(data_).substr(begin, ends_[i] - begin);
  }

 private:
  Parameters& end() {
    ends_.push_back(data_.size());
    return *this;
  }

  std::string data_;  // one value behind the other
  std::vector<size_t> ends_;
};

/// The fields of a key, in the order of its table's columns.
Parameters key_parameters(const Key& key);

// Columns of a result in binary format. A value of another kind than asked for is a zero.
int64_t column_number(const PGresult* result, int row, int column);
inline uint64_t column_u64(const PGresult* result, int row, int column) {
  return static_cast<uint64_t>(column_number(result, row, column));
}
std::string column_bytes(const PGresult* result, int row, int column);
/// False if it is no array of bigint without nulls.
bool column_numbers(const PGresult* result, int row, int column, std::vector<int64_t>* numbers);

/// The attributes in columns from `column` on, as attribute_columns() orders them.
Attributes column_attributes(const PGresult* result, int row, int column);
/// The same of an array; false if it has not as many numbers.
bool attributes_of(const std::vector<int64_t>& numbers, Attributes* attr);
/// The record in the columns of its table. False if it is malformed.
bool column_record(const PGresult* result, int row, Table table, Record* record);

}  // namespace skerry::meta::postgres
