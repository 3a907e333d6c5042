#include "vfs/batch.h"

#include <fcntl.h>

#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "data/parallel.h"
#include "vfs/confirm.h"
#include "vfs/path_walk.h"

namespace skerry::vfs {
namespace {

using meta::FileType;

constexpr size_t kNamesPerRead = 512;    // of one metadata round trip
constexpr size_t kCreatesPerPiece = 16;  // of the work of one thread
constexpr size_t kReadsPerRound = 1024;  // of one FileStore::read_many

/// The part of a path before its last component; paths of one batch often share it.
std::string_view parent_part(std::string_view path) {
  size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash + 1);
}

/// Resolves the parents of many paths, each distinct one once a batch.
class Parents {
 public:
  Parents(const OpContext& ctx, Volume& volume) : ctx_(ctx), volume_(volume) {}

  /// The directory of a plain path "dir/name"; nullopt where only a full walk will do: a trailing
  /// slash, "." or ".." in the last place, an over-long or empty path.
  std::optional<Result<meta::Ino>> find(std::string_view path) {
    std::string_view parent = parent_part(path);
    std::string_view name = path.substr(parent.size());
    if (path.size() >= meta::kMaxPathBytes || name.size() > meta::kMaxNameBytes || name.empty() ||
        name == "." || name == "..") {
      return std::nullopt;
    }
    if (parent.find_first_not_of('/') == std::string_view::npos) {
      return Result<meta::Ino>(meta::kRootIno);
    }
    if (has_last_ && parent == last_) return last_result_;
    PathWalk walk(ctx_, volume_.meta(), meta::kRootIno);
    auto attr = walk.resolve(parent, true);
    last_ = parent;
    has_last_ = true;
    if (attr.ok()) {
      last_result_ = attr->ino;
    } else {
      last_result_ = attr.error();
    }
    return last_result_;
  }

 private:
  const OpContext& ctx_;
  Volume& volume_;
  std::string_view last_;
  bool has_last_ = false;
  Result<meta::Ino> last_result_ = meta::Ino{0};
};

using AttributeResults = std::vector<Result<meta::Attributes>>;

/// Looks the names up in rounds; results[where[i]] gets the answer of names[i].
void look_up(const OpContext& ctx, Volume& volume,
             const std::vector<std::pair<meta::Ino, std::string>>& names,
             const std::vector<size_t>& where, AttributeResults& results) {
  for (size_t begin = 0; begin < names.size(); begin += kNamesPerRead) {
    size_t end = std::min(names.size(), begin + kNamesPerRead);
    std::vector<std::pair<meta::Ino, std::string>> part(
        names.begin() + static_cast<ptrdiff_t>(begin), names.begin() + static_cast<ptrdiff_t>(end));
    auto found = meta::lookup_many(ctx, volume.meta(), part);
    for (size_t i = begin; i < end; i++) {
      if (found.ok()) {
        results[where[i]] = std::move((*found)[i - begin]);
      } else {
        results[where[i]] = found.error();
      }
    }
  }
}

/// The attributes of what each path leads to, without unflushed writes.
AttributeResults find_many(const OpContext& ctx, Volume& volume,
                           const std::vector<std::string_view>& paths, bool follow) {
  AttributeResults results(paths.size(), Error(EIO, "not tried"));
  Parents parents(ctx, volume);
  std::vector<std::pair<meta::Ino, std::string>> names;
  std::vector<size_t> where;
  std::vector<size_t> alone;
  for (size_t i = 0; i < paths.size(); i++) {
    auto parent = parents.find(paths[i]);
    if (!parent) {
      alone.push_back(i);
    } else if (!parent->ok()) {
      results[i] = parent->error();
    } else {
      names.emplace_back(**parent, std::string(paths[i].substr(parent_part(paths[i]).size())));
      where.push_back(i);
    }
  }
  look_up(ctx, volume, names, where, results);
  for (size_t i : where) {
    if (results[i].ok() && results[i]->type == FileType::kSymlink && follow) alone.push_back(i);
  }
  for (size_t i : alone) results[i] = find(ctx, volume, nullptr, paths[i], Lookup{follow, false});
  return results;
}

Status may_read(const OpContext& ctx, Volume& volume, const meta::Attributes& attr) {
  if (attr.is_dir()) return Error(EISDIR, "a directory has no data");
  SKERRY_TRY(meta::check_access(ctx, volume.meta(), attr, meta::kRead));
  if (attr.type != FileType::kRegular) return Error(ENXIO, "not a regular file");
  return {};
}

/// The file that a whole-file write goes to, made if it is absent.
Result<meta::Ino> target_of(const OpContext& ctx, Volume& volume, Parents& parents,
                            const WriteRequest& request) {
  const std::string_view path = request.path;
  auto parent = parents.find(path);
  meta::Created found;
  bool known = false;
  if (parent) {
    if (!parent->ok()) return parent->error();
    meta::CreateArgs args;
    args.mode = request.mode & 07777;
    args.exclusive = false;
    SKERRY_ASSIGN(found, create_or_find(ctx, volume.meta(), **parent,
                                        path.substr(parent_part(path).size()), args));
    known = found.created || found.attr.type == FileType::kRegular;
    if (found.created) return found.attr.ino;
  }
  // Cutting the file drops the set-id bits, which replacing its contents would keep.
  const bool cut = known && (found.attr.mode & 06000) != 0 && !ctx.credentials.is_root();
  if (!known || cut) {
    // Links, odd paths, and what is no regular file: open(2) knows what to do.
    const int flags = O_WRONLY | O_CREAT | (cut ? O_TRUNC : 0);
    SKERRY_ASSIGN(std::unique_ptr<Handle> handle,
                  open_file(ctx, volume, nullptr, path, flags, request.mode));
    return handle->ino();
  }
  SKERRY_TRY(meta::check_access(ctx, volume.meta(), found.attr, meta::kWrite));
  if ((found.attr.flags & meta::kFlagAppendOnly) != 0) {
    return Error(EPERM, "the file is append-only");
  }
  return found.attr.ino;
}

/// target_of() for many; 0 where it failed, which the request then tells. Several at once, because
/// the store commits together what arrives together.
std::vector<meta::Ino> find_targets(const OpContext& ctx, Volume& volume,
                                    std::vector<WriteRequest>& requests) {
  std::vector<meta::Ino> target(requests.size(), 0);
  auto find = [&](const OpContext& by, Parents& parents, size_t i) -> Status {
    if (requests[i].data.size() > meta::kMaxFileSize) {
      return Error(EFBIG, "a file holds at most 2^57 bytes");
    }
    SKERRY_ASSIGN(target[i], target_of(by, volume, parents, requests[i]));
    return {};
  };
  const size_t pieces = (requests.size() + kCreatesPerPiece - 1) / kCreatesPerPiece;
  data::run_parallel(volume.executor(), pieces, [&](size_t piece) {
    bool aged = false;
    OpContext by = ctx;
    by.aged = &aged;
    Parents parents(by, volume);
    const size_t end = std::min(requests.size(), (piece + 1) * kCreatesPerPiece);
    for (size_t i = piece * kCreatesPerPiece; i < end; i++) {
      try {
        requests[i].result = find(by, parents, i);
        const Status& result = requests[i].result;
        if (result.ok() || !aged || !is_about_files(result.error())) continue;
        const NotBefore now(ctx, volume.meta().now_not_before());  // as confirmed() does
        Parents again(*now, volume);
        requests[i].result = find(*now, again, i);
      } catch (const std::bad_alloc&) {
        requests[i].result = Error(ENOMEM);
      }
    }
  });
  return target;
}

/// One flush for all that was stored, names included; its error is that of each.
void make_durable(const OpContext& ctx, Volume& volume, std::vector<Status>& stored) {
  if (std::none_of(stored.begin(), stored.end(), [](const Status& s) { return s.ok(); })) return;
  const Status synced = volume.meta().store().sync(ctx);
  if (synced.ok()) return;
  for (Status& status : stored) {
    if (status.ok()) status = synced;
  }
}

}  // namespace

AttributeResults stat_many(const OpContext& ctx, Volume& volume,
                           const std::vector<std::string_view>& paths, bool follow) {
  AttributeResults results = find_many(ctx, volume, paths, follow);
  for (auto& result : results) {
    if (!result.ok() || result->type != FileType::kRegular) continue;
    if (auto dirty = volume.writers().dirty(result->ino)) result = dirty->attributes(ctx);
  }
  return results;
}

std::vector<Result<std::unique_ptr<Handle>>> open_many(const OpContext& ctx, Volume& volume,
                                                       const std::vector<std::string_view>& paths,
                                                       int flags) {
  std::vector<Result<std::unique_ptr<Handle>>> results;
  results.reserve(paths.size());
  const bool plain =
      (flags & O_CREAT) == 0 && (flags & O_TMPFILE) != O_TMPFILE && check_open_flags(flags).ok();
  if (!plain) {
    for (std::string_view path : paths) {
      results.push_back(open_file(ctx, volume, nullptr, path, flags, 0666));
    }
    return results;
  }
  meta::Meta& meta = volume.meta();
  const NotBefore open(
      ctx, (flags & O_TRUNC) != 0 ? meta.current_not_before(ctx) : meta.open_not_before(ctx));
  AttributeResults found = find_many(*open, volume, paths, (flags & O_NOFOLLOW) == 0);
  for (auto& attr : found) {
    if (attr.ok()) {
      results.push_back(open_found(*open, volume, *attr, flags));
    } else {
      results.push_back(std::move(attr).error());
    }
  }
  return results;
}

Result<uint64_t> read_file(const OpContext& caller, Volume& volume, std::string_view path,
                           MutableBytes out) {
  const NotBefore open(caller, volume.meta().open_not_before(caller));
  const OpContext& ctx = *open;
  SKERRY_ASSIGN(meta::Attributes attr, stat(ctx, volume, nullptr, path, Lookup{}));
  SKERRY_TRY(may_read(ctx, volume, attr));
  volume.access_times().note(attr);
  const size_t wanted = static_cast<size_t>(std::min<uint64_t>(out.size(), attr.length));
  if (wanted == 0) return attr.length;
  SKERRY_ASSIGN(size_t got,
                volume.files().peek(attr.ino)->read(ctx, 0, out.first(wanted), nullptr));
  return got < wanted ? uint64_t{got} : attr.length;  // shorter: it was cut meanwhile
}

void read_many(const OpContext& ctx, Volume& volume, std::vector<ReadRequest>& requests) {
  std::vector<std::string_view> paths;
  std::vector<size_t> path_requests;
  for (size_t i = 0; i < requests.size(); i++) {
    if (requests[i].file != nullptr) continue;
    paths.push_back(requests[i].path);
    path_requests.push_back(i);
  }
  // Paths are opened; what is open already is as current as it was then.
  const NotBefore open(ctx, volume.meta().open_not_before(ctx));
  TimeNs not_before_ns = paths.empty() ? 0 : open->not_before_ns;
  AttributeResults found = find_many(*open, volume, paths, true);

  std::vector<std::shared_ptr<data::OpenInode>> inodes(requests.size());
  for (size_t p = 0; p < path_requests.size(); p++) {
    ReadRequest& request = requests[path_requests[p]];
    Status allowed = found[p].ok() ? may_read(ctx, volume, *found[p]) : Status(found[p].error());
    if (allowed.ok()) {
      volume.access_times().note(*found[p]);
      inodes[path_requests[p]] = volume.files().peek(found[p]->ino);
    } else {
      request.result = std::move(allowed).error();
    }
  }
  std::vector<data::FileStore::ReadItem> items;
  std::vector<size_t> where;
  auto flush_round = [&] {
    const NotBefore since(ctx, not_before_ns);
    volume.files().read_many(*since, items);
    for (size_t i = 0; i < items.size(); i++) {
      requests[where[i]].result = std::move(items[i].result);
    }
    items.clear();
    where.clear();
  };
  for (size_t i = 0; i < requests.size(); i++) {
    ReadRequest& request = requests[i];
    if (request.file != nullptr) {
      Status allowed = request.file->check_readable();
      if (!allowed.ok()) {
        request.result = std::move(allowed).error();
        continue;
      }
      request.file->note_read();
      not_before_ns = std::max(not_before_ns, request.file->opened_ns());
      inodes[i] = request.file->inode();
    }
    if (inodes[i] == nullptr) continue;
    if (request.offset > kMaxOffset || request.out.size() > kMaxOffset) {
      request.result = Error(EINVAL, "an offset or length above 2^63");
      continue;
    }
    if (request.out.empty()) continue;
    data::FileStore::ReadItem item;
    item.inode = inodes[i];
    item.offset = request.offset;
    item.out = request.out;
    items.push_back(std::move(item));
    where.push_back(i);
    if (items.size() == kReadsPerRound) flush_round();
  }
  if (!items.empty()) flush_round();
}

void write_many(const OpContext& ctx, Volume& volume, std::vector<WriteRequest>& requests) {
  Status writable = volume.check_writable();
  if (!writable.ok()) {
    for (WriteRequest& request : requests) request.result = writable;
    return;
  }
  volume.heartbeat_if_due();
  std::vector<meta::Ino> target = find_targets(ctx, volume, requests);
  std::unordered_map<meta::Ino, size_t> last_of;  // the request that decides a file's contents
  for (size_t i = 0; i < requests.size(); i++) {
    if (target[i] != 0) last_of[target[i]] = i;
  }
  std::vector<meta::Ino> files;
  std::vector<ByteView> contents;
  std::vector<size_t> where;
  for (size_t i = 0; i < requests.size(); i++) {
    if (target[i] == 0 || last_of[target[i]] != i) continue;
    files.push_back(target[i]);
    contents.push_back(requests[i].data);
    where.push_back(i);
  }
  // How long a file was that is replaced is not to be a guess.
  const NotBefore now(ctx, volume.meta().current_not_before(ctx));
  std::vector<Status> stored = volume.files().write_files(*now, files, contents);
  make_durable(ctx, volume, stored);
  for (size_t i = 0; i < stored.size(); i++) requests[where[i]].result = std::move(stored[i]);
  for (size_t i = 0; i < requests.size(); i++) {
    if (target[i] == 0) continue;
    size_t last = last_of[target[i]];
    if (last != i) requests[i].result = requests[last].result;
  }
}

}  // namespace skerry::vfs
