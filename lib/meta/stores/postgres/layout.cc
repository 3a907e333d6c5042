#include "meta/stores/postgres/layout.h"

#include <array>

namespace skerry::meta::postgres {

namespace {

constexpr Kind kN = Kind::kNumber, kS = Kind::kSmall, kB = Kind::kBytes;

std::vector<Column> attributes_without_ino() {
  return {{"type", kS},  {"mode", kS},   {"uid", kN},   {"gid", kN},    {"nlink", kS},
          {"flags", kS}, {"shards", kS}, {"rdev", kN},  {"length", kN}, {"atime", kN},
          {"mtime", kN}, {"ctime", kN},  {"btime", kN}, {"version", kN}};
}

std::vector<Column> operator+(std::vector<Column> left, const std::vector<Column>& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

std::array<TableLayout, kTables> make_layouts() {
  const std::vector<Column> attributes = attributes_without_ino();
  return {{
      {"volume", {{"name", kB}}, {{"value", kB}, {"number", kN}, {"version", kN}}, true},
      {"entry",
       {{"parent", kN}, {"name", kB}},
       std::vector<Column>{{"linked", Kind::kBool}, {"ino", kN}} + attributes,
       true},
      {"inode", {{"ino", kN}}, attributes, true},
      {"orphan", {{"ino", kN}}, attributes + std::vector<Column>{{"epoch", kN}}, true},
      {"link", {{"ino", kN}, {"parent", kN}, {"name", kB}}, {}, false},
      {"dirstat",
       {{"ino", kN}, {"shard", kN}},
       {{"mtime", kN}, {"subdirs", kN}, {"entries", kN}},
       false},
      {"extent", {{"ino", kN}, {"chunk", kN}, {"seq", kN}}, {{"extents", Kind::kNumbers}}, false},
      {"object", {{"id", kN}}, {{"refs", kN}, {"version", kN}}, true},
      {"inline", {{"ino", kN}}, {{"crc", kN}, {"bytes", kB}}, false},
      {"symlink", {{"ino", kN}}, {{"target", kB}}, false},
      {"xattr", {{"ino", kN}, {"name", kB}}, {{"value", kB}}, false},
      {"client",
       {{"id", kN}},
       {{"heartbeat", kN},
        {"epoch_seen", kN},
        {"first_object", kN},
        {"host", kB},
        {"pid", kN},
        {"software", kB}},
       false},
      {"pin", {{"client", kN}, {"ino", kN}}, {}, false},
      {"garbage", {{"epoch", kN}, {"object", kN}}, {}, false},
      {"usage", {{"scope", kN}, {"client", kN}}, {{"bytes", kN}, {"inodes", kN}}, false},
      {"lock", {{"client", kN}, {"ino", kN}}, {{"locks", kB}}, false},
      {"locked", {{"ino", kN}}, {{"version", kN}, {"clients", Kind::kNumbers}}, true},
  }};
}

}  // namespace

std::vector<Column> TableLayout::columns() const { return key + values; }

const char* TableLayout::field(unsigned position) const {
  if (position >= key.size() || key[position].kind != Kind::kNumber) return nullptr;
  return key[position].name;
}

bool TableLayout::has_name() const { return key.back().kind == Kind::kBytes; }

const TableLayout& layout_of(Table table) {
  static const std::array<TableLayout, kTables> layouts = make_layouts();
  return layouts[static_cast<size_t>(table)];
}

const std::vector<Column>& attribute_columns() {
  static const std::vector<Column> columns =
      std::vector<Column>{{"ino", kN}} + attributes_without_ino();
  return columns;
}

std::string joined(const std::vector<std::string>& parts, const char* separator) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

const std::string& movable_condition() {
  static const std::string condition =
      " AND NOT t.linked AND t.type=1 AND t.flags & " + std::to_string(kInodeFlags) + " = 0";
  return condition;
}

std::vector<std::string> orphan_values(const std::string& row, const std::string& ctime,
                                       bool named) {
  std::vector<std::string> values;
  for (const Column& column : attribute_columns()) {
    const std::string_view name = column.name;
    std::string value = name == "ctime" ? ctime : row + "." + column.name;
    if (name == "nlink") value += "-1";
    if (name == "version") value += "+1";
    if (named) value += std::string(" AS ") + column.name;
    values.push_back(std::move(value));
  }
  return values;
}

std::string column_list(const std::vector<Column>& columns, const std::string& prefix) {
  std::vector<std::string> names;
  for (const Column& column : columns) {
    names.push_back(prefix.empty() ? column.name : prefix + "." + column.name);
  }
  return joined(names, ",");
}

std::string quoted(std::string_view identifier) {
  std::string out = "\"";
  for (char c : identifier) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

std::string in_schema(std::string_view text, const std::string& schema) {
  const std::string name = quoted(schema);
  std::string out;
  for (char c : text) {
    if (c == '@') {
      out += name;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace skerry::meta::postgres
