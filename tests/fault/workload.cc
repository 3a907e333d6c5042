#include "fault/workload.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <utility>

#include "data/file_store.h"
#include "meta/ops.h"
#include "vfs/batch.h"
#include "vfs/maintenance.h"

namespace skerry {
namespace {

constexpr int kTries = 64;

std::string child_of(const std::string& directory, const std::string& name) {
  return directory == "/" ? "/" + name : directory + "/" + name;
}

Result<std::vector<meta::ListedEntry>> list(const OpContext& ctx, vfs::Volume& volume,
                                            const std::string& directory) {
  SKERRY_ASSIGN(vfs::Listing listing, vfs::open_listing(ctx, volume, directory, "", true));
  std::vector<meta::ListedEntry> all;
  for (;;) {
    SKERRY_ASSIGN(vfs::Listing::Entries page, listing.next(ctx, volume, 7));
    if (page.count == 0) return all;
    all.insert(all.end(), page.begin, page.begin + page.count);
  }
}

Result<std::string> read_whole(const OpContext& ctx, vfs::Volume& volume, const std::string& path) {
  SKERRY_ASSIGN(meta::Attributes attr, vfs::stat(ctx, volume, nullptr, path, {}));
  std::string bytes(attr.length, '\0');
  SKERRY_ASSIGN(uint64_t length,
                vfs::read_file(ctx, volume, path, std::as_writable_bytes(std::span<char>(bytes))));
  if (length != bytes.size()) return Error(EIO, "the length changed while nobody wrote");
  return bytes;
}

Status read_below(const OpContext& ctx, vfs::Volume& volume, const std::string& directory,
                  Tree* tree) {
  SKERRY_ASSIGN(std::vector<meta::ListedEntry> entries, list(ctx, volume, directory));
  for (const meta::ListedEntry& entry : entries) {
    const std::string path = child_of(directory, entry.name);
    if (entry.attr.is_dir()) {
      tree->directories.insert(path);
      SKERRY_TRY(read_below(ctx, volume, path, tree));
    } else if (entry.attr.type == meta::FileType::kSymlink) {
      SKERRY_ASSIGN(tree->links[path], vfs::readlink(ctx, volume, nullptr, path));
    } else {
      SKERRY_ASSIGN(tree->files[path], read_whole(ctx, volume, path));
    }
  }
  return {};
}

}  // namespace

std::string pattern_bytes(size_t length, unsigned seed) {
  std::string bytes(length, '\0');
  FakeRandom random(seed + 1);
  for (size_t at = 0; at < length; at += 8) {
    const uint64_t word = random.next();
    std::copy_n(reinterpret_cast<const char*>(&word), std::min<size_t>(8, length - at),
                bytes.begin() + static_cast<ptrdiff_t>(at));
  }
  return bytes;
}

OpContext fault_context(Clock& clock) {
  OpContext ctx;
  ctx.clock = &clock;
  return ctx;
}

Result<Tree> read_tree(const OpContext& ctx, vfs::Volume& volume) {
  Tree tree;
  SKERRY_TRY(read_below(ctx, volume, "/", &tree));
  return tree;
}

void Workload::step(const std::string& what, const std::function<Status()>& body,
                    const std::set<int>& done) {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    Status status = body();
    if (status.ok()) return;
    const Error& error = status.error();
    INFO(what << ", try " << attempt << ": " << error.message());
    REQUIRE(faulty_());  // nothing fails by itself
    if (attempt > 0 && done.contains(error.code())) return;
    REQUIRE(codes_.contains(error.code()));
    REQUIRE_FALSE(error.message().empty());
    if (attempt == 0) ++failures_;
  }
  FAIL(what << " fails although the store is back");
}

std::unique_ptr<vfs::Handle> Workload::open_file(const std::string& path, int flags) {
  std::unique_ptr<vfs::Handle> handle;
  step("open " + path, [&]() -> Status {
    SKERRY_ASSIGN(handle, vfs::open_file(ctx_, *volume_, nullptr, path, flags, 0644));
    return {};
  });
  return handle;
}

/// close() frees its handle whatever it says, so after an error the whole is written once more.
void Workload::write(const std::string& path, const std::string& bytes, size_t piece, bool sync) {
  auto handle = open_file(path, O_RDWR | O_CREAT);
  auto write_all = [&](bool each) -> Status {
    for (size_t at = 0; at < bytes.size(); at += piece) {
      const ByteView part = as_bytes(std::string_view(bytes).substr(at, piece));
      if (each) {
        step("write " + path, [&] { return handle->write(ctx_, at, part); });
      } else {
        SKERRY_TRY(handle->write(ctx_, at, part));
      }
    }
    return {};
  };
  REQUIRE(write_all(true).ok());
  if (sync) step("fsync " + path, [&] { return handle->sync(ctx_); });
  step("close " + path, [&]() -> Status {
    if (handle == nullptr) {
      SKERRY_ASSIGN(handle, vfs::open_file(ctx_, *volume_, nullptr, path, O_RDWR, 0));
      SKERRY_TRY(write_all(false));
    }
    Status flushed = handle->flush(ctx_);
    handle.reset();
    return flushed;
  });
  std::string& now = tree_.files[path];
  now = bytes + (now.size() > bytes.size() ? now.substr(bytes.size()) : "");
}

/// A failed fsync keeps what was appended, and the next one stores it once.
void Workload::append(const std::string& path, const std::string& bytes) {
  auto handle = open_file(path, O_WRONLY | O_APPEND);
  step("append " + path, [&] { return handle->write(ctx_, 0, as_bytes(bytes)); });
  step("fsync " + path, [&] { return handle->sync(ctx_); });
  step("close " + path, [&] { return handle->flush(ctx_); });
  tree_.files[path] += bytes;
}

void Workload::write_batch(const std::map<std::string, std::string>& files) {
  std::vector<vfs::WriteRequest> requests;
  for (const auto& [path, bytes] : files) {
    requests.push_back({path, as_bytes(bytes), 0644, {}});
  }
  step("batch write", [&]() -> Status {
    vfs::write_many(ctx_, *volume_, requests);
    for (auto& request : requests) SKERRY_TRY(request.result);
    return {};
  });
  for (const auto& [path, bytes] : files) tree_.files[path] = bytes;
}

void Workload::mkdir(const std::string& path) {
  step("mkdir " + path, [&] { return vfs::mkdir(ctx_, *volume_, nullptr, path, 0755); }, {EEXIST});
  tree_.directories.insert(path);
}

void Workload::unlink(const std::string& path) {
  step("unlink " + path, [&] { return vfs::unlink(ctx_, *volume_, nullptr, path); }, {ENOENT});
  tree_.files.erase(path);
}

void Workload::rename(const std::string& from, const std::string& to) {
  step("rename " + from, [&] { return vfs::rename(ctx_, *volume_, nullptr, from, nullptr, to, 0); },
       {ENOENT});
  auto moved = tree_.files.extract(from);
  tree_.files.erase(to);
  moved.key() = to;
  tree_.files.insert(std::move(moved));
}

void Workload::truncate(const std::string& path, size_t length) {
  step("truncate " + path, [&] { return vfs::truncate(ctx_, *volume_, path, length); });
  tree_.files[path].resize(length);
}

void Workload::check_file(const std::string& path) {
  step("read " + path, [&]() -> Status {
    SKERRY_ASSIGN(std::string bytes, read_whole(ctx_, *volume_, path));
    const bool same = bytes == tree_.files[path];
    REQUIRE(same);
    return {};
  });
}

void Workload::check_names(const std::string& directory) {
  step("readdir " + directory, [&]() -> Status {
    SKERRY_ASSIGN(std::vector<meta::ListedEntry> entries, list(ctx_, *volume_, directory));
    std::set<std::string> names;
    for (const auto& entry : entries) names.insert(child_of(directory, entry.name));
    REQUIRE(names.size() == entries.size());
    std::set<std::string> expected;
    auto add = [&](const std::string& path) {
      const size_t slash = path.rfind('/');
      if (path.substr(0, std::max<size_t>(slash, 1)) == directory) expected.insert(path);
    };
    for (const auto& path : tree_.directories) add(path);
    for (const auto& [path, bytes] : tree_.files) add(path);
    for (const auto& [path, target] : tree_.links) add(path);
    REQUIRE(names == expected);
    return {};
  });
}

void Workload::write_files() {
  mkdir("/d");
  mkdir("/d/sub");
  write("/d/small", pattern_bytes(1000, 1), 1000, true);
  write("/d/closed", pattern_bytes(3000, 2), 700, false);
  write("/d/middle", pattern_bytes(unit_ / 10, 3), unit_, true);
  write("/d/large", pattern_bytes(9 * unit_, 4), unit_, true);
  std::map<std::string, std::string> batch;
  for (unsigned i = 0; i < 4; ++i) {
    batch["/d/packed" + std::to_string(i)] = pattern_bytes(unit_ / 10, 10 + i);
    batch["/d/tiny" + std::to_string(i)] = pattern_bytes(300, 20 + i);
  }
  write_batch(batch);
  check_names("/d");
}

void Workload::change_files() {
  append("/d/small", pattern_bytes(500, 30));          // stays inline
  append("/d/closed", pattern_bytes(20 << 10, 31));    // leaves the metadata
  append("/d/middle", pattern_bytes(unit_ / 10, 32));  // an extent more
  std::string overwritten = pattern_bytes(9 * unit_, 4);
  overwritten.replace(4 * unit_ - 100, unit_ / 3, pattern_bytes(unit_ / 3, 33));
  write("/d/large", overwritten, 3 * unit_, true);
  check_file("/d/large");
  truncate("/d/large", 5 * unit_ + 123);
  truncate("/d/packed1", unit_ / 20);
  truncate("/d/tiny1", 10);
  truncate("/d/tiny2", 20 << 10);
  write_batch({{"/d/packed2", pattern_bytes(unit_ / 11, 40)}, {"/d/tiny0", "replaced"}});
  step("copy", [&]() -> Status {
    SKERRY_ASSIGN(auto from, vfs::open_file(ctx_, *volume_, nullptr, "/d/middle", O_RDONLY, 0));
    SKERRY_ASSIGN(auto to,
                  vfs::open_file(ctx_, *volume_, nullptr, "/d/copy", O_RDWR | O_CREAT, 0644));
    const uint64_t length = tree_.files["/d/middle"].size();
    for (uint64_t done = 0; done < length;) {
      SKERRY_ASSIGN(uint64_t n, vfs::Handle::copy_range(ctx_, *from, done, *to, done, length));
      if (n == 0) return Error(EPROTO, "the copy ends early");
      done += n;
    }
    return to->sync(ctx_);
  });
  tree_.files["/d/copy"] = tree_.files["/d/middle"];
  step("compact", [&]() -> Status {
    SKERRY_TRY(vfs::compact(ctx_, *volume_, "/d/large"));
    return {};
  });
  check_file("/d/large");
}

void Workload::change_names() {
  rename("/d/small", "/d/sub/moved");
  rename("/d/packed0", "/d/packed3");  // replaces
  step("link",
       [&] {
         return vfs::link(ctx_, *volume_, nullptr, "/d/middle", nullptr, "/d/sub/twin", {false});
       },
       {EEXIST});
  tree_.files["/d/sub/twin"] = tree_.files["/d/middle"];
  step("symlink", [&] { return vfs::symlink(ctx_, *volume_, "sub/moved", nullptr, "/d/soft"); },
       {EEXIST});
  tree_.links["/d/soft"] = "sub/moved";
  mkdir("/d/from");
  step("rename a directory",
       [&] { return vfs::rename(ctx_, *volume_, nullptr, "/d/from", nullptr, "/d/sub/to", 0); },
       {ENOENT});
  tree_.directories.erase("/d/from");
  tree_.directories.insert("/d/sub/to");
  unlink("/d/packed1");
  unlink("/d/tiny3");
  mkdir("/gone");
  mkdir("/gone/below");
  write_batch({{"/gone/a", pattern_bytes(9000, 50)}, {"/gone/below/b", "b"}});
  step("remove a tree", [&] { return vfs::remove_tree(ctx_, *volume_, "/gone", {}); }, {ENOENT});
  for (const char* path : {"/gone", "/gone/below"}) tree_.directories.erase(path);
  for (const char* path : {"/gone/a", "/gone/below/b"}) tree_.files.erase(path);
  mkdir("/empty");
  step("rmdir", [&] { return vfs::rmdir(ctx_, *volume_, nullptr, "/empty"); }, {ENOENT});
  tree_.directories.erase("/empty");
  check_names("/d/sub");
  check_names("/");
}

void Workload::attributes() {
  step("setxattr", [&]() -> Status {
    SKERRY_ASSIGN(meta::Attributes attr, vfs::find(ctx_, *volume_, nullptr, "/d/copy", {}));
    return meta::set_xattr(ctx_, volume_->meta(), attr.ino, "user.k", "value",
                           meta::XattrMode::kSet);
  });
  step("getxattr", [&]() -> Status {
    SKERRY_ASSIGN(meta::Attributes attr, vfs::find(ctx_, *volume_, nullptr, "/d/copy", {}));
    SKERRY_ASSIGN(std::string value, meta::get_xattr(ctx_, volume_->meta(), attr.ino, "user.k"));
    REQUIRE(value == "value");
    return {};
  });
  step("removexattr",
       [&]() -> Status {
         SKERRY_ASSIGN(meta::Attributes attr, vfs::find(ctx_, *volume_, nullptr, "/d/copy", {}));
         return meta::remove_xattr(ctx_, volume_->meta(), attr.ino, "user.k");
       },
       {ENODATA});
  step("chmod", [&]() -> Status {
    SKERRY_ASSIGN(meta::Attributes attr, vfs::find(ctx_, *volume_, nullptr, "/d/copy", {}));
    meta::SetAttributes set;
    set.mode = 0600;
    return vfs::set_attributes(ctx_, *volume_, attr.ino, set);
  });
}

void Workload::unlinked_while_open() {
  const std::string bytes = pattern_bytes(30 << 10, 60);
  write("/d/nameless", bytes, bytes.size(), true);
  auto handle = open_file("/d/nameless", O_RDWR);
  unlink("/d/nameless");
  step("garbage collection", [&]() -> Status {
    vfs::GcResult result;
    return vfs::collect_garbage(ctx_, *volume_, false, &result, {});
  });
  std::string back(bytes.size(), '\0');
  step("read without a name", [&]() -> Status {
    SKERRY_ASSIGN(size_t n, handle->read(ctx_, 0, std::as_writable_bytes(std::span<char>(back))));
    REQUIRE(n == bytes.size());
    return {};
  });
  const bool same = back == bytes;
  REQUIRE(same);
}

void Workload::run() {
  step("open the volume", [&]() -> Status {
    SKERRY_ASSIGN(volume_, open_(ctx_));
    return {};
  });
  write_files();
  change_files();
  change_names();
  attributes();
  unlinked_while_open();
  step("sync", [&] { return volume_->sync(ctx_); });
  Status closed = volume_->close(ctx_);
  if (!closed.ok()) {
    INFO("close: " << closed.error().message());
    REQUIRE(faulty_());
    REQUIRE(codes_.contains(closed.error().code()));
    ++failures_;
  }
  volume_.reset();
}

}  // namespace skerry
