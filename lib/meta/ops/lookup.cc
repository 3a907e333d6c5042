#include <unordered_map>

#include "meta/ops/common.h"

namespace skerry::meta {

using internal::attributes_of;
using internal::check_directory;
using internal::look;
using internal::Source;
using internal::View;
using internal::Wanted;

namespace {

/// True if the cache alone can answer: with *error, or 0 and *found. Allocates nothing.
bool cached_lookup(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name, bool exact,
                   int* error, CachedAttributes* found) {
  MetadataCache& cache = meta.cache();
  const Freshness fresh = meta.freshness(ctx);
  *error = 0;
  if (!cache.find_attributes(dir, fresh, false, found)) return false;
  if (!found->attr.is_dir()) {
    *error = ENOTDIR;
    return true;
  }
  if (!ctx.credentials.is_root()) {
    if (Status allowed = check_access(ctx, meta, found->attr, kExecute); !allowed.ok()) {
      *error = allowed.error().code();
      return *error == EACCES;  // else an ACL could not be read, which is told with its cause
    }
  }
  CachedEntry entry;
  if (!cache.find_entry(dir, name, fresh, &entry)) return false;
  if (entry.ino == 0) {
    *error = ENOENT;
    return true;
  }
  return cache.find_attributes(entry.ino, fresh, exact, found);
}

Result<Attributes> answer(const OpContext& ctx, Meta& meta,
                          const std::optional<CachedAttributes>& dir,
                          const std::optional<EntryRecord>& entry) {
  SKERRY_TRY(check_directory(ctx, meta, dir));
  if (!entry) return Error(ENOENT);
  return entry->attr;
}

// More components than this are looked up in several round trips.
constexpr size_t kMaxAhead = 64;

/// `name`, and the plain names that a walk along `rest` will ask for below it.
std::vector<std::string> names_ahead(std::string_view name, std::string_view rest) {
  std::vector<std::string> names = {std::string(name)};
  while (names.size() < kMaxAhead) {
    const size_t begin = rest.find_first_not_of('/');
    if (begin == std::string_view::npos) break;
    rest.remove_prefix(begin);
    const std::string_view next = rest.substr(0, rest.find('/'));
    if (!check_name(next).ok()) break;
    names.emplace_back(next);
    rest.remove_prefix(next.size());
  }
  return names;
}

/// Reads the whole way at once. The entry of names[0], and the directory where `directory` lacks
/// it.
Result<std::optional<EntryRecord>> read_ahead(const OpContext& ctx, Meta& meta, Ino dir,
                                              const std::vector<std::string>& names,
                                              std::optional<CachedAttributes>* directory) {
  const MetadataCache::Ticket ticket = meta.ticket();
  std::optional<AttributeHome> start;
  SKERRY_ASSIGN(std::vector<EntryRecord> way,
                meta.store().resolve(ctx, dir, names, directory->has_value() ? nullptr : &start));
  if (start) {
    *directory = internal::cached_home(*start, ticket);
    meta.cache().insert_attributes(ticket, **directory);
  }
  Ino parent = dir;
  for (size_t i = 0; i < way.size(); ++i) {
    internal::remember_entry(meta, ticket, parent, names[i], way[i], i + 1 < names.size());
    parent = way[i].attr.ino;
  }
  if (way.size() < names.size() && (way.empty() || way.back().attr.is_dir())) {
    internal::remember_entry(meta, ticket, parent, names[way.size()], std::nullopt);
  }
  if (way.empty()) return std::optional<EntryRecord>();
  return std::optional<EntryRecord>(std::move(way.front()));
}

}  // namespace

Result<Attributes> lookup(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                          bool exact, std::string_view rest) {
  // What is no name is never in the cache, so a hit needs no check of it.
  int error = 0;
  CachedAttributes known;
  if (cached_lookup(ctx, meta, dir, name, exact, &error, &known)) {
    if (error != 0) return Error(error);
    return known.attr;
  }
  SKERRY_TRY(check_name(name));
  // Not through the view's cached entry: it may carry stale directory times.
  MetadataCache& cache = meta.cache();
  const bool have_dir = cache.find_attributes(dir, meta.freshness(ctx), false, &known);
  if (!rest.empty() && !meta.exact()) {
    std::optional<CachedAttributes> directory;
    if (have_dir) directory = known;
    SKERRY_ASSIGN(std::optional<EntryRecord> entry,
                  read_ahead(ctx, meta, dir, names_ahead(name, rest), &directory));
    return answer(ctx, meta, directory, entry);
  }
  const MetadataCache::Ticket ticket = meta.ticket();
  ReadRequest request;
  request.join = true;
  request.keys.push_back(entry_key(dir, name));
  if (!have_dir) request.inodes.push_back(dir);
  SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
  std::optional<CachedAttributes> directory;
  if (have_dir) {
    directory = known;
  } else if (seen.homes[0]) {
    directory = internal::cached_home(*seen.homes[0], ticket);
    cache.insert_attributes(ticket, *directory);
  }
  std::optional<EntryRecord> entry;
  if (seen.records[0]) entry = std::get<EntryRecord>(std::move(*seen.records[0]));
  internal::remember_entry(meta, ticket, dir, name, entry);
  return answer(ctx, meta, directory, entry);
}

Result<Attributes> get_attributes(const OpContext& ctx, Meta& meta, Ino ino, bool exact,
                                  uint64_t* mark) {
  CachedAttributes found;
  if (!meta.cache().find_attributes(ino, meta.freshness(ctx), exact, &found)) {
    SKERRY_ASSIGN(found, attributes_of(ctx, meta, ino, Source::kCacheOrStore, exact));
  }
  if (mark != nullptr) *mark = found.mark;
  return found.attr;
}

Result<std::vector<Result<Attributes>>> lookup_many(
    const OpContext& ctx, Meta& meta, const std::vector<std::pair<Ino, std::string>>& names) {
  std::vector<std::optional<Result<Attributes>>> answers(names.size());
  std::vector<size_t> missing;
  ReadRequest request;
  request.join = true;
  std::unordered_map<Ino, size_t> directory_index;
  const MetadataCache::Ticket ticket = meta.ticket();
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& [dir, name] = names[i];
    if (Status valid = check_name(name); !valid.ok()) {
      answers[i] = std::move(valid).error();
      continue;
    }
    int error = 0;
    CachedAttributes found;
    if (cached_lookup(ctx, meta, dir, name, true, &error, &found)) {
      answers[i] = error != 0 ? Result<Attributes>(Error(error)) : Result<Attributes>(found.attr);
      continue;
    }
    missing.push_back(i);
    request.keys.push_back(entry_key(dir, name));
    if (directory_index.emplace(dir, directory_index.size()).second) request.inodes.push_back(dir);
  }
  if (!missing.empty()) {
    SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
    std::vector<std::optional<CachedAttributes>> dirs;
    for (const auto& home : seen.homes) {
      auto& dir = dirs.emplace_back();
      if (!home) continue;
      dir = internal::cached_home(*home, ticket);
      meta.cache().insert_attributes(ticket, *dir);
    }
    for (size_t m = 0; m < missing.size(); ++m) {
      const auto& [dir, name] = names[missing[m]];
      std::optional<EntryRecord> entry;
      if (seen.records[m]) entry = std::get<EntryRecord>(std::move(*seen.records[m]));
      internal::remember_entry(meta, ticket, dir, name, entry);
      answers[missing[m]] = answer(ctx, meta, dirs[directory_index.at(dir)], entry);
    }
  }
  std::vector<Result<Attributes>> results;
  results.reserve(answers.size());
  for (auto& each : answers) results.push_back(*std::move(each));
  return results;
}

Result<Ino> parent_of(const OpContext& ctx, Meta& meta, Ino dir, std::string* name) {
  if (dir == kRootIno) {
    if (name != nullptr) name->clear();
    return kRootIno;
  }
  MetadataCache& cache = meta.cache();
  const MetadataCache::Ticket ticket = meta.ticket();
  CachedAttributes found;
  if (name == nullptr && cache.find_attributes(dir, meta.freshness(ctx), false, &found)) {
    if (!found.attr.is_dir()) return Error(ENOTDIR);
    if (found.parent != 0) return found.parent;
  }
  ReadRequest request;
  request.join = true;
  request.inodes.push_back(dir);
  SKERRY_ASSIGN(ReadResult seen, meta.store().read(ctx, request));
  if (!seen.homes[0]) return Error(ESTALE, "the directory does not exist any more");
  AttributeHome& home = *seen.homes[0];
  if (!home.attr.is_dir()) return Error(ENOTDIR);
  cache.insert_attributes(ticket, {home.attr, home.parent});
  if (name != nullptr) *name = std::move(home.name);
  return home.parent;
}

}  // namespace skerry::meta
