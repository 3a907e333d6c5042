#include "mover.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

namespace skerry::cli {
namespace {

constexpr uint64_t kSmallFileBytes = 1 << 20;
constexpr size_t kStreamBytes = 4 << 20;
constexpr size_t kThreads = 8;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int close() {
    const int rc = fd_ < 0 ? 0 : ::close(fd_);
    fd_ = -1;
    return rc;
  }

 private:
  int fd_;
};

// An open file of the volume; close() reports, the destructor only frees.
class VolumeFile {
 public:
  explicit VolumeFile(const Session& session) : session_(session) {}
  ~VolumeFile() { close(); }
  VolumeFile(const VolumeFile&) = delete;
  VolumeFile& operator=(const VolumeFile&) = delete;

  int open(const std::string& path, int flags, uint32_t mode) {
    return skerry_open(session_.volume(), session_.exact_context(), path.c_str(), flags, mode,
                       &file_);
  }
  int close() {
    const int rc = file_ == nullptr ? 0 : skerry_close(file_, session_.exact_context());
    file_ = nullptr;
    return rc;
  }
  skerry_file* get() const { return file_; }

 private:
  const Session& session_;
  skerry_file* file_ = nullptr;
};

void fail_volume(CopyItem& item, const std::string& path, int64_t rc) {
  if (rc == -ECANCELED) {
    item.cancelled = true;
  } else {
    item.error = sentence_about(path);
  }
}

// For the entries of a batch, whose own errors the library gives as numbers; its sentence is that
// of the last one that failed.
template <typename Request, typename Path>
void fail_entries(const std::vector<CopyItem*>& items, const std::vector<Request>& requests,
                  const Path& path_of) {
  bool last = true;
  for (size_t i = items.size(); i-- > 0;) {
    CopyItem& item = *items[i];
    const int64_t rc = requests[i].result;
    if (rc >= 0) continue;
    if (last || rc == -ECANCELED) {
      fail_volume(item, path_of(item), rc);
    } else {
      item.error = ":" + path_of(item) + ": " + std::strerror(static_cast<int>(-rc));
    }
    last = false;
  }
}

void fail_local(CopyItem& item, const std::string& path, int error) {
  if (interrupted()) {
    item.cancelled = true;
  } else {
    item.error = path + ": " + std::strerror(error);
  }
}

int open_source(const std::string& path) {
  // O_NONBLOCK: what was a file may have become a fifo.
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

int open_destination(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

// Reads until `length` bytes or the end. Returns the count or -1 with errno.
ssize_t read_full(int fd, char* buffer, size_t length) {
  size_t done = 0;
  while (done < length) {
    const ssize_t n = ::read(fd, buffer + done, length - done);
    if (n < 0 && errno == EINTR && !interrupted()) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

bool write_full(int fd, const char* buffer, size_t length) {
  while (length > 0) {
    const ssize_t n = ::write(fd, buffer, length);
    if (n < 0 && errno == EINTR && !interrupted()) continue;
    if (n < 0) return false;
    buffer += n;
    length -= static_cast<size_t>(n);
  }
  return true;
}

// The next stretch of data at or after `offset`, as [first, last). False at the end; where the side
// cannot tell, everything is data. `seek` is lseek-like and returns a negative errno.
template <typename Seek>
bool next_data(const Seek& seek, uint64_t offset, uint64_t size, uint64_t* first, uint64_t* last) {
  if (offset >= size) return false;
  *first = offset;
  *last = size;
  const int64_t data = seek(offset, SEEK_DATA);
  if (data == -ENXIO) return false;
  if (data < 0) return true;
  *first = static_cast<uint64_t>(data);
  if (*first >= size) return false;
  const int64_t hole = seek(*first, SEEK_HOLE);
  if (hole > data) *last = std::min(size, static_cast<uint64_t>(hole));
  return true;
}

class Uploader : public Mover {
 public:
  explicit Uploader(const Session& session) : session_(session) {}

  bool is_small(const Attributes& attributes) const override {
    return attributes.size <= kSmallFileBytes && attributes.stored >= attributes.size;
  }
  bool sets_mode() const override { return true; }

  void copy_group(const std::vector<CopyItem*>& items) override {
    std::vector<std::string> contents(items.size());
    std::vector<CopyItem*> read;
    std::vector<skerry_write_request> requests;
    for (size_t i = 0; i < items.size() && !interrupted(); ++i) {
      if (!read_local(*items[i], &contents[i])) continue;
      read.push_back(items[i]);
      requests.push_back({items[i]->to.c_str(), contents[i].data(), contents[i].size(),
                          items[i]->attributes.mode & 07777, -ECANCELED});
    }
    const int64_t rc = skerry_write_batch(session_.volume(), session_.exact_context(),
                                          requests.data(), requests.size());
    if (rc < 0) {
      for (CopyItem* item : read) fail_volume(*item, item->to, rc);
    } else {
      fail_entries(read, requests, [](const CopyItem& item) { return item.to; });
    }
    if (!interrupted()) return;
    for (CopyItem* item : items) item->cancelled = true;
  }

  void copy_one(CopyItem& item, const std::function<void(uint64_t)>& moved) override {
    Descriptor source(open_source(item.from));
    if (source.get() < 0) return fail_local(item, item.from, errno);
    VolumeFile file(session_);
    int64_t rc = file.open(item.to, O_WRONLY | O_CREAT | O_TRUNC, item.attributes.mode & 07777);
    if (rc < 0) return fail_volume(item, item.to, rc);
    std::vector<char> buffer(kStreamBytes);
    const auto seek = [&](uint64_t offset, int whence) -> int64_t {
      const off_t at = ::lseek(source.get(), static_cast<off_t>(offset), whence);
      return at < 0 ? -errno : at;
    };
    const uint64_t size = item.attributes.size;
    uint64_t offset = 0, last = 0, written_to = 0;
    bool shrank = false;
    while (next_data(seek, offset, size, &offset, &last)) {
      if (::lseek(source.get(), static_cast<off_t>(offset), SEEK_SET) < 0) {
        return fail_local(item, item.from, errno);
      }
      while (offset < last) {
        const ssize_t n = read_full(source.get(), buffer.data(),
                                    std::min<uint64_t>(buffer.size(), last - offset));
        if (n < 0) return fail_local(item, item.from, errno);
        if (n == 0) break;
        rc = skerry_pwrite(file.get(), session_.exact_context(), buffer.data(),
                           static_cast<size_t>(n), offset);
        if (rc < 0) return fail_volume(item, item.to, rc);
        offset += static_cast<uint64_t>(n);
        written_to = offset;
        moved(static_cast<uint64_t>(n));
      }
      shrank = offset < last;
      if (shrank) break;
    }
    if (written_to < size && !shrank) {
      rc = skerry_ftruncate(file.get(), session_.exact_context(), size);
      if (rc < 0) return fail_volume(item, item.to, rc);
    }
    rc = file.close();
    if (rc < 0) fail_volume(item, item.to, rc);
  }

 private:
  bool read_local(CopyItem& item, std::string* out) const {
    Descriptor source(open_source(item.from));
    if (source.get() < 0) {
      fail_local(item, item.from, errno);
      return false;
    }
    out->resize(item.attributes.size);
    const ssize_t n = read_full(source.get(), out->data(), out->size());
    if (n < 0) {
      fail_local(item, item.from, errno);
      return false;
    }
    out->resize(static_cast<size_t>(n));
    return true;
  }

  const Session& session_;
};

class Downloader : public Mover {
 public:
  explicit Downloader(const Session& session) : session_(session) {}

  bool is_small(const Attributes& attributes) const override {
    return attributes.size <= kSmallFileBytes;
  }
  bool sets_mode() const override { return false; }

  void copy_group(const std::vector<CopyItem*>& items) override {
    std::vector<std::string> contents(items.size());
    std::vector<skerry_read_request> requests;
    for (size_t i = 0; i < items.size(); ++i) {
      contents[i].resize(items[i]->attributes.size);
      requests.push_back(
          {nullptr, items[i]->from.c_str(), 0, contents[i].size(), contents[i].data(), -ECANCELED});
    }
    const int64_t rc = skerry_read_batch(session_.volume(), session_.exact_context(),
                                         requests.data(), requests.size());
    if (rc < 0) {
      for (CopyItem* item : items) fail_volume(*item, item->from, rc);
      return;
    }
    fail_entries(items, requests, [](const CopyItem& item) { return item.from; });
    for (size_t i = 0; i < items.size(); ++i) {
      if (requests[i].result < 0) continue;
      contents[i].resize(static_cast<size_t>(requests[i].result));
      write_local(*items[i], contents[i]);
    }
  }

  void copy_one(CopyItem& item, const std::function<void(uint64_t)>& moved) override {
    VolumeFile file(session_);
    int64_t rc = file.open(item.from, O_RDONLY, 0);
    if (rc < 0) return fail_volume(item, item.from, rc);
    Descriptor destination(open_destination(item.to));
    if (destination.get() < 0) return fail_local(item, item.to, errno);
    std::vector<char> buffer(kStreamBytes);
    const auto seek = [&](uint64_t offset, int whence) {
      return skerry_seek_data(file.get(), session_.exact_context(), offset, whence);
    };
    const uint64_t size = item.attributes.size;
    uint64_t offset = 0, last = 0, written_to = 0;
    bool shrank = false;
    while (next_data(seek, offset, size, &offset, &last)) {
      if (::lseek(destination.get(), static_cast<off_t>(offset), SEEK_SET) < 0) {
        return fail_local(item, item.to, errno);
      }
      while (offset < last) {
        rc = skerry_pread(file.get(), session_.exact_context(), buffer.data(),
                          std::min<uint64_t>(buffer.size(), last - offset), offset);
        if (rc < 0) return fail_volume(item, item.from, rc);
        if (rc == 0) break;
        if (!write_full(destination.get(), buffer.data(), static_cast<size_t>(rc))) {
          return fail_local(item, item.to, errno);
        }
        offset += static_cast<uint64_t>(rc);
        written_to = offset;
        moved(static_cast<uint64_t>(rc));
      }
      shrank = offset < last;
      if (shrank) break;
    }
    if (written_to < size && !shrank &&
        ::ftruncate(destination.get(), static_cast<off_t>(size)) < 0) {
      return fail_local(item, item.to, errno);
    }
    if (destination.close() < 0) fail_local(item, item.to, errno);
  }

 private:
  static void write_local(CopyItem& item, const std::string& content) {
    Descriptor destination(open_destination(item.to));
    if (destination.get() < 0 || !write_full(destination.get(), content.data(), content.size()) ||
        destination.close() < 0) {
      fail_local(item, item.to, errno);
    }
  }

  const Session& session_;
};

// Shares the stored data: what is copied is the list of extents.
class InsideMover : public Mover {
 public:
  explicit InsideMover(const Session& session) : session_(session) {}

  bool is_small(const Attributes& attributes) const override {
    return attributes.size <= kSmallFileBytes;
  }
  bool sets_mode() const override { return true; }

  void copy_group(const std::vector<CopyItem*>& items) override {
    parallel_for(items.size(), kThreads, [&](size_t i) { copy_one(*items[i], [](uint64_t) {}); });
  }

  void copy_one(CopyItem& item, const std::function<void(uint64_t)>& moved) override {
    VolumeFile from(session_), to(session_);
    int64_t rc = from.open(item.from, O_RDONLY, 0);
    if (rc < 0) return fail_volume(item, item.from, rc);
    rc = to.open(item.to, O_WRONLY | O_CREAT | O_TRUNC, item.attributes.mode & 07777);
    if (rc < 0) return fail_volume(item, item.to, rc);
    uint64_t offset = 0;
    do {
      rc = skerry_copy_file_range(from.get(), offset, to.get(), offset, 1ULL << 30,
                                  session_.exact_context());
      if (rc < 0) return fail_volume(item, item.to, rc);
      offset += static_cast<uint64_t>(rc);
      moved(static_cast<uint64_t>(rc));
    } while (rc > 0);
    rc = to.close();
    if (rc < 0) fail_volume(item, item.to, rc);
  }

 private:
  const Session& session_;
};

}  // namespace

std::unique_ptr<Mover> make_uploader(const Session& session) {
  return std::make_unique<Uploader>(session);
}
std::unique_ptr<Mover> make_downloader(const Session& session) {
  return std::make_unique<Downloader>(session);
}
std::unique_ptr<Mover> make_inside_mover(const Session& session) {
  return std::make_unique<InsideMover>(session);
}

void upload_descriptor(const Session& session, int descriptor, CopyItem& item) {
  VolumeFile file(session);
  int64_t rc = file.open(item.to, O_WRONLY | O_CREAT | O_TRUNC, 0666 & ~session.context()->umask);
  if (rc < 0) return fail_volume(item, item.to, rc);
  std::vector<char> buffer(kStreamBytes);
  uint64_t offset = 0;
  while (true) {
    const ssize_t n = read_full(descriptor, buffer.data(), buffer.size());
    if (n < 0) return fail_local(item, "standard input", errno);
    if (n == 0) break;
    rc =
        skerry_pwrite(file.get(), session.context(), buffer.data(), static_cast<size_t>(n), offset);
    if (rc < 0) return fail_volume(item, item.to, rc);
    offset += static_cast<uint64_t>(n);
  }
  rc = file.close();
  if (rc < 0) fail_volume(item, item.to, rc);
}

void download_descriptor(const Session& session, int descriptor, CopyItem& item) {
  VolumeFile file(session);
  int64_t rc = file.open(item.from, O_RDONLY, 0);
  if (rc < 0) return fail_volume(item, item.from, rc);
  std::vector<char> buffer(kStreamBytes);
  uint64_t offset = 0;
  while ((rc = skerry_pread(file.get(), session.context(), buffer.data(), buffer.size(), offset)) >
         0) {
    if (!write_full(descriptor, buffer.data(), static_cast<size_t>(rc))) {
      return fail_local(item, "standard output", errno);
    }
    offset += static_cast<uint64_t>(rc);
  }
  if (rc < 0) fail_volume(item, item.from, rc);
}

void parallel_for(size_t count, size_t threads, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next = 0;
  const auto loop = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < std::min(threads, count); ++i) helpers.emplace_back(loop);
  loop();
}

}  // namespace skerry::cli
