#include "model/data_oracle.h"

#include <algorithm>
#include <cstring>

namespace skerry::model {

namespace {

struct Cell {
  uint64_t tag;
  uint32_t index;
  uint32_t check;
};
static_assert(sizeof(Cell) == kCell);

uint32_t check_of(uint64_t tag, uint32_t index) {
  uint64_t h = (tag ^ (uint64_t{index} << 32)) * 0x9e3779b97f4a7c15u;
  return static_cast<uint32_t>(h >> 32) | 1;
}

Cell cell_at(std::string_view bytes, size_t position) {
  Cell cell;
  std::memcpy(&cell, bytes.data() + position, kCell);
  return cell;
}

bool is_zero(const Cell& cell) { return cell.tag == 0 && cell.index == 0 && cell.check == 0; }

std::string text_of(const Cell& cell) {
  if (is_zero(cell)) return "zeros";
  if (cell.check != check_of(cell.tag, cell.index)) return "bytes nobody wrote";
  return "cell " + std::to_string(cell.index) + " of write " + std::to_string(cell.tag);
}

}  // namespace

std::string tagged_bytes(uint64_t tag, size_t size) {
  std::string bytes(size, '\0');
  for (size_t at = 0; at + kCell <= size; at += kCell) {
    const auto index = static_cast<uint32_t>(at / kCell);
    const Cell cell{tag, index, check_of(tag, index)};
    std::memcpy(bytes.data() + at, &cell, kCell);
  }
  return bytes;
}

void DataOracle::created(Ino ino) {
  File& file = files_[ino];
  Change zeros;
  zeros.kind = Kind::kTruncate;
  zeros.client = -1;
  zeros.values.push_back({0, UINT64_MAX, {Value{}}});
  zeros.begin = zeros.ack = zeros.sure = tick();
  file.changes.emplace(file.next_id++, zeros);
}

bool DataOracle::append_only(Ino ino) const {
  auto it = files_.find(ino);
  return it != files_.end() && it->second.append_only;
}

uint64_t DataOracle::begin(Ino ino, Change change) {
  File& file = files_[ino];
  if (change.begin == 0) change.begin = tick();
  if (file.append_only && change.kind != Kind::kAppend) file.cut = true;
  if (!file.append_only && change.kind == Kind::kAppend) file.append_only = file.cut = true;
  if (change.values.empty() && change.kind != Kind::kAppend) {
    change.values.push_back({change.offset, change.end(), {Value{}}});
  }
  file.changes.emplace(file.next_id, std::move(change));
  return file.next_id++;
}

void DataOracle::acknowledged(Ino ino, uint64_t id, bool visible) {
  auto it = files_[ino].changes.find(id);
  if (it == files_[ino].changes.end()) return;
  it->second.ack = tick();
  if (visible) it->second.sure = it->second.ack;
}

void DataOracle::failed(Ino ino, uint64_t id) { files_[ino].changes.erase(id); }

void DataOracle::set_values(Ino ino, uint64_t id, uint64_t length, std::vector<ValueRange> values,
                            bool open_end) {
  auto it = files_[ino].changes.find(id);
  if (it == files_[ino].changes.end()) return;
  it->second.length = length;
  it->second.values = std::move(values);
  it->second.open_end = open_end;
}

void DataOracle::settled(Ino ino, int client, uint64_t handle, Moment began) {
  const Moment now = tick();
  for (auto& [id, change] : files_[ino].changes) {
    if (change.client != client || change.lost) continue;
    if (handle != 0 && change.handle != handle) continue;
    if (change.ack < began && change.sure == kNever) change.sure = now;
  }
}

void DataOracle::all_settled(int client, Moment began) {
  for (auto& [ino, file] : files_) settled(ino, client, 0, began);
}

void DataOracle::dropped(int client, std::optional<Ino> ino) {
  for (auto& [number, file] : files_) {
    if (ino && *ino != number) continue;
    for (auto& [id, change] : file.changes) {
      if (change.client == client && change.sure == kNever) change.lost = true;
    }
  }
}

bool DataOracle::surely_before(const Change& a, const Change& b) {
  if (a.sure < b.begin) return true;
  return a.client == b.client && a.ack < b.begin;
}

bool DataOracle::surely_visible(const Change& change, int client, Since began) {
  if (change.client != client) return change.sure < began.others;
  return change.sure < began.own || (change.ack < began.own && !change.lost);
}

void DataOracle::prune(File& file) {
  for (auto it = file.changes.begin(); it != file.changes.end();) {
    const Change& old = it->second;
    const bool covered = std::any_of(file.changes.begin(), file.changes.end(), [&](const auto& e) {
      const Change& other = e.second;
      if (other.sure >= oldest_check_ || !surely_before(old, other)) return false;
      if (old.kind == Kind::kTruncate) {
        return other.kind == Kind::kTruncate && other.offset <= old.offset;
      }
      if (other.kind == Kind::kZerosKeepSize) return false;
      return other.offset <= old.offset && other.end() >= old.end();
    });
    it = covered ? file.changes.erase(it) : std::next(it);
  }
}

std::optional<std::string> DataOracle::check_size(Ino ino, int client, Since began, uint64_t size) {
  auto found = files_.find(ino);
  if (found == files_.end() || found->second.append_only) return std::nullopt;
  const File& file = found->second;
  auto end_of = [](const Change& c) {
    return c.kind == Kind::kTruncate ? c.offset : c.offset + c.length;
  };
  uint64_t least = 0;
  bool possible = false;
  for (const auto& [id, change] : file.changes) {
    if (change.kind == Kind::kZerosKeepSize) continue;
    const uint64_t end = end_of(change);
    bool maybe_cut = false, surely_cut = false;
    for (const auto& [other_id, other] : file.changes) {
      if (other_id == id || other.kind != Kind::kTruncate || other.offset >= end) continue;
      if (!surely_before(other, change)) maybe_cut = true;
      if (surely_before(change, other) && surely_visible(other, client, began)) surely_cut = true;
    }
    if (surely_visible(change, client, began) && !maybe_cut) least = std::max(least, end);
    // What of a write did not fit into the buffer is committed before the rest of it.
    const bool maybe_part =
        change.open_end || (change.kind == Kind::kBytes && !surely_visible(change, client, began));
    const bool ends_here = maybe_part ? size > change.offset && size <= end : size == end;
    if (ends_here && !surely_cut) possible = true;
  }
  if (size < least) {
    return "the size " + std::to_string(size) + " is less than the " + std::to_string(least) +
           " bytes that were acknowledged";
  }
  if (!possible) {
    return "the size " + std::to_string(size) + " is not the end of any write or truncation";
  }
  return std::nullopt;
}

std::vector<ValueRange> DataOracle::possible(Ino ino, int client, Since began, uint64_t offset,
                                             uint64_t length) {
  File& file = files_[ino];
  prune(file);
  const uint64_t end = offset + length;
  std::vector<const Change*> near;
  std::set<uint64_t> cuts{offset, end};
  auto cut = [&](uint64_t at) {
    if (at > offset && at < end) cuts.insert(at);
  };
  for (const auto& [id, change] : file.changes) {
    if (change.offset >= end || change.end() <= offset) continue;
    near.push_back(&change);
    for (const ValueRange& range : change.values) {
      cut(range.begin);
      cut(range.end);
    }
  }
  std::vector<ValueRange> result;
  for (auto at = cuts.begin(); std::next(at) != cuts.end(); ++at) {
    ValueRange piece{*at, *std::next(at), {}};
    for (const Change* change : near) {
      const ValueRange* mine = nullptr;
      for (const ValueRange& range : change->values) {
        if (range.begin <= piece.begin && range.end >= piece.end) mine = &range;
      }
      if (mine == nullptr) continue;
      const bool hidden = std::any_of(near.begin(), near.end(), [&](const Change* other) {
        if (other == change || other->offset > piece.begin || other->end() < piece.end)
          return false;
        return surely_before(*change, *other) && surely_visible(*other, client, began);
      });
      if (hidden) continue;
      piece.values.insert(piece.values.end(), mine->values.begin(), mine->values.end());
    }
    std::sort(piece.values.begin(), piece.values.end());
    piece.values.erase(std::unique(piece.values.begin(), piece.values.end()), piece.values.end());
    result.push_back(std::move(piece));
  }
  return result;
}

std::string DataOracle::describe(const File& file, uint64_t position) const {
  std::string text;
  for (const auto& [id, change] : file.changes) {
    if (change.offset > position || change.end() <= position) continue;
    const bool cut = change.kind == Kind::kTruncate;
    text += "\n    " + std::string(cut ? "truncate" : "change") + " by client " +
            std::to_string(change.client) + " at " + std::to_string(change.offset) + "+" +
            std::to_string(change.length) + " begin " + std::to_string(change.begin) + " ack " +
            (change.ack == kNever ? "-" : std::to_string(change.ack)) + " sure " +
            (change.sure == kNever ? "-" : std::to_string(change.sure)) +
            (change.lost ? " lost" : "") + " values";
    for (const ValueRange& range : change.values) {
      if (range.begin > position || range.end <= position) continue;
      for (const Value& v : range.values) {
        text += v.tag == 0 ? " zeros" : " write " + std::to_string(v.tag);
      }
    }
  }
  return text;
}

std::optional<std::string> DataOracle::check_read(Ino ino, int client, Since began, uint64_t offset,
                                                  size_t wanted, std::string_view bytes) {
  File& file = files_[ino];
  if (file.append_only) {
    if (offset != 0) return std::nullopt;
    return check_records(file, client, began, bytes.size() < wanted ? bytes : std::string_view());
  }
  if (bytes.size() < wanted && !bytes.empty()) {
    if (auto problem = check_size(ino, client, began, offset + bytes.size())) return problem;
  }
  if (bytes.size() % kCell != 0) return "read " + std::to_string(bytes.size()) + " bytes: torn";
  for (const ValueRange& range : possible(ino, client, began, offset, bytes.size())) {
    for (uint64_t at = range.begin; at < range.end; at += kCell) {
      const Cell cell = cell_at(bytes, at - offset);
      const bool allowed =
          std::any_of(range.values.begin(), range.values.end(), [&](const Value& value) {
            if (value.tag == 0) return is_zero(cell);
            const auto index = static_cast<uint32_t>((static_cast<int64_t>(at) - value.base) /
                                                     static_cast<int64_t>(kCell));
            return cell.tag == value.tag && cell.index == index &&
                   cell.check == check_of(value.tag, index);
          });
      if (allowed) continue;
      return "inode " + std::to_string(ino) + " position " + std::to_string(at) + ": read " +
             text_of(cell) + " between " + std::to_string(began.others) + " and " +
             std::to_string(now_) + " by client " + std::to_string(client) +
             "; changes there:" + describe(file, at);
    }
  }
  return std::nullopt;
}

std::optional<std::string> DataOracle::check_records(const File& file, int client, Since began,
                                                     std::string_view bytes) {
  std::map<uint64_t, const Change*> records;
  for (const auto& [id, change] : file.changes) {
    if (change.kind == Kind::kAppend) records[change.tag] = &change;
  }
  std::set<uint64_t> seen;
  for (size_t at = 0; at + kCell <= bytes.size() && !file.cut;) {
    const Cell first = cell_at(bytes, at);
    auto it = records.find(first.tag);
    if (it == records.end()) {
      return "position " + std::to_string(at) + " of an appended file: " + text_of(first);
    }
    if (!seen.insert(first.tag).second) {
      return "the record of write " + std::to_string(first.tag) + " is there twice";
    }
    const size_t length = it->second->length;
    if (at + length > bytes.size() || bytes.substr(at, length) != tagged_bytes(first.tag, length)) {
      return "the record of write " + std::to_string(first.tag) + " at " + std::to_string(at) +
             " is torn";
    }
    at += length;
  }
  if (file.cut || bytes.data() == nullptr) return std::nullopt;
  for (const auto& [tag, change] : records) {
    if (surely_visible(*change, client, began) && !seen.contains(tag)) {
      return "the record of write " + std::to_string(tag) + " was acknowledged and is missing";
    }
  }
  return std::nullopt;
}

}  // namespace skerry::model
