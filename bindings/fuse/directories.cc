// Requests on open directories.
#include <fcntl.h>

#include <cstring>
#include <memory>
#include <vector>

#include "file_system.h"

namespace skerry::fuse {
namespace {

DirectoryStream& stream_of(const fuse_file_info* fi) {
  return *reinterpret_cast<DirectoryStream*>(fi->fh);
}

void opendir(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.open(req, node, fi);
  const uint64_t ino = fs.ino_of(node);
  skerry_file* file = nullptr;
  const int64_t result =
      fs.run(req, Op::kOpendir, {.ino = ino}, As::kCaller, [&](const skerry_context* context) {
        return skerry_inode_open(fs.volume, context, ino, O_RDONLY | O_DIRECTORY, &file);
      });
  if (result < 0) return FileSystem::reply_status(req, result);
  auto stream = std::make_unique<DirectoryStream>(file, ino);
  fi->fh = reinterpret_cast<uint64_t>(stream.get());
  if (fuse_reply_open(req, fi) == 0) stream.release();
}

/// What a reply is filled into. Positions are those after an entry: 1 follows ".", 2 follows "..",
/// n + 3 the entry with the number n.
class Page {
 public:
  Page(fuse_req_t req, FileSystem& fs, size_t size, bool plus)
      : req_(req), fs_(fs), bytes_(size), plus_(plus) {}

  /// False if there is no room left.
  bool add(const char* name, uint64_t ino, uint32_t type, const struct skerry_stat* stat,
           uint64_t next) {
    char* at = bytes_.data() + used_;
    const size_t room = bytes_.size() - used_;
    size_t length = 0;
    if (plus_) {
      fuse_entry_param entry = {};
      if (stat != nullptr) entry = fs_.entry_of(*stat);
      if (stat == nullptr) {  // "." and "..", which the kernel does not look up
        entry.attr.st_ino = ino;
        entry.attr.st_mode = type;
      }
      length = fuse_add_direntry_plus(req_, at, room, name, &entry, static_cast<off_t>(next));
    } else {
      struct stat attributes = {};
      attributes.st_ino = ino;
      attributes.st_mode = type;
      length = fuse_add_direntry(req_, at, room, name, &attributes, static_cast<off_t>(next));
    }
    if (length > room) return false;
    used_ += length;
    return true;
  }
  const char* data() const { return bytes_.data(); }
  size_t size() const { return used_; }

 private:
  fuse_req_t req_;
  FileSystem& fs_;
  std::vector<char> bytes_;
  size_t used_ = 0;
  const bool plus_;
};

int64_t fill(FileSystem& fs, DirectoryStream& stream, const skerry_context* context,
             uint64_t position, bool plus, Page* page) {
  std::lock_guard lock(stream.mutex());
  if (position == 0) {
    stream.rewind();
    if (!page->add(".", stream.ino(), S_IFDIR, nullptr, 1)) return 0;
    position = 1;
  }
  if (position == 1) {
    struct skerry_stat parent = {};
    parent.ino = stream.ino();
    if (stream.ino() != fs.root) {
      // A removed directory has no parent; it lists as empty.
      (void)skerry_inode_lookup(fs.volume, context, stream.ino(), "..", &parent);
    }
    if (!page->add("..", parent.ino, S_IFDIR, nullptr, 2)) return 0;
    position = 2;
  }
  for (uint64_t number = position - 2;;) {
    DirectoryStream::Entry found;
    if (const int rc = stream.find(context, number, plus, &found); rc < 0) {
      return page->size() > 0 ? 0 : rc;
    }
    if (found.entry == nullptr) return 0;
    const skerry_dirent& entry = *found.entry;
    number = found.number + 1;
    if (stream.ino() == fs.root && std::strcmp(entry.name, VirtualFiles::kName) == 0) continue;
    if (!page->add(entry.name, entry.ino, entry.type, plus ? &entry.stat : nullptr, number + 2)) {
      return 0;
    }
  }
}

void list(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* fi,
          bool plus) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.readdir(req, size, offset, plus);
  DirectoryStream& stream = stream_of(fi);
  Page page(req, fs, size, plus);
  const int64_t result =
      fs.run(req, plus ? Op::kReaddirplus : Op::kReaddir,
             {.ino = stream.ino(), .offset = static_cast<uint64_t>(offset)}, As::kRoot,
             [&](const skerry_context* context) {
               return fill(fs, stream, context, static_cast<uint64_t>(offset), plus, &page);
             });
  if (result < 0) return FileSystem::reply_status(req, result);
  fuse_reply_buf(req, page.data(), page.size());
}

void readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* fi) {
  list(req, node, size, offset, fi, false);
}

void readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* fi) {
  list(req, node, size, offset, fi, true);
}

void releasedir(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return fs.virtual_files.release(req, node, fi);
  const std::unique_ptr<DirectoryStream> stream(&stream_of(fi));
  FileSystem::reply_status(req, fs.run(req, Op::kReleasedir, {.ino = stream->ino()}, As::kRoot,
                                       [](const skerry_context*) { return 0; }));
}

void fsyncdir(fuse_req_t req, fuse_ino_t node, int, fuse_file_info* fi) {
  FileSystem& fs = FileSystem::of(req);
  if (VirtualFiles::owns(node)) return FileSystem::reply_status(req, 0);
  DirectoryStream& stream = stream_of(fi);
  const int64_t result =
      fs.run(req, Op::kFsyncdir, {.ino = stream.ino()}, As::kFile,
             [&](const skerry_context* context) { return skerry_fsync(stream.file(), context); });
  FileSystem::reply_status(req, result);
}

}  // namespace

void add_directory_operations(fuse_lowlevel_ops* table) {
  table->opendir = opendir;
  table->readdir = readdir;
  table->readdirplus = readdirplus;
  table->releasedir = releasedir;
  table->fsyncdir = fsyncdir;
}

}  // namespace skerry::fuse
