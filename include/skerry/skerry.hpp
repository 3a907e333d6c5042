/**
 * @file skerry.hpp
 * @brief Owning C++17 handles over skerry.h, and nothing more: each method is the C function of the
 * same name, which documents it. Failures are thrown as skerry::Error. Objects are movable, not
 * copyable, and must be destroyed before the Volume they came from.
 */
#ifndef SKERRY_SKERRY_HPP_
#define SKERRY_SKERRY_HPP_

#include <skerry/skerry.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace skerry {

/// A failed call. Its message is what skerry_last_error() said.
class Error : public std::exception {
 public:
  /// `result` is what the call returned: a negative errno. To be made on the thread of the call.
  explicit Error(std::int64_t result)
      : code_(static_cast<int>(-result)), message_(skerry_last_error()) {}
  /// A positive errno.
  int code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  int code_;
  std::string message_;
};

/// Throws Error if `result` is negative, else returns it.
template <typename Integer>
Integer check(Integer result) {
  if (result < 0) throw Error(result);
  return result;
}

/// An open file or directory (skerry_open, skerry_close).
class File {
 public:
  File() = default;
  /// Takes ownership.
  explicit File(skerry_file* file) noexcept : file_(file) {}

  std::size_t pread(void* buffer, std::size_t length, std::uint64_t offset,
                    const skerry_context* context = nullptr) const {
    return static_cast<std::size_t>(check(skerry_pread(get(), context, buffer, length, offset)));
  }
  std::size_t pwrite(const void* buffer, std::size_t length, std::uint64_t offset,
                     const skerry_context* context = nullptr) const {
    return static_cast<std::size_t>(check(skerry_pwrite(get(), context, buffer, length, offset)));
  }
  void fsync(const skerry_context* context = nullptr) const { check(skerry_fsync(get(), context)); }
  void ftruncate(std::uint64_t length, const skerry_context* context = nullptr) const {
    check(skerry_ftruncate(get(), context, length));
  }
  struct skerry_stat fstat(const skerry_context* context = nullptr) const {
    struct skerry_stat out {};
    check(skerry_fstat(get(), context, &out));
    return out;
  }
  /// operation: SKERRY_LOCK_SH or SKERRY_LOCK_EX, and SKERRY_LOCK_UN. Waits for the lock.
  void flock(int operation, const skerry_context* context = nullptr) const {
    check(skerry_flock(get(), context, operation));
  }
  /// False where another holds it.
  bool try_flock(int operation, const skerry_context* context = nullptr) const {
    const int result = skerry_flock(get(), context, operation | SKERRY_LOCK_NB);
    if (result == -EAGAIN) return false;
    check(result);
    return true;
  }
  /// Closes now and throws what closing reports; the destructor drops it. Close what you wrote.
  void close(const skerry_context* context = nullptr) {
    check(skerry_close(file_.release(), context));
  }

  skerry_file* get() const noexcept { return file_.get(); }
  explicit operator bool() const noexcept { return file_ != nullptr; }

 private:
  struct Close {
    void operator()(skerry_file* file) const noexcept { skerry_close(file, nullptr); }
  };
  std::unique_ptr<skerry_file, Close> file_;
};

/// A listing (skerry_opendir, skerry_closedir).
class Directory {
 public:
  struct Entry {
    std::string name;
    std::uint32_t type;
    std::uint64_t ino;
    struct skerry_stat stat;
  };
  Directory() = default;
  /// Takes ownership.
  explicit Directory(skerry_dir* dir) noexcept : dir_(dir) {}

  /// The next entry; false at the end.
  bool next(Entry* entry, const skerry_context* context = nullptr) {
    if (used_ == count_) {
      entries_.resize(kPage);
      count_ =
          static_cast<std::size_t>(check(skerry_readdir(get(), context, entries_.data(), kPage)));
      used_ = 0;
      if (count_ == 0) return false;
    }
    const skerry_dirent& from = entries_[used_++];
    entry->name.assign(from.name, from.name_length);
    entry->type = from.type;
    entry->ino = from.ino;
    entry->stat = from.stat;
    return true;
  }
  skerry_dir* get() const noexcept { return dir_.get(); }

 private:
  static constexpr std::uint32_t kPage = 256;
  struct Close {
    void operator()(skerry_dir* dir) const noexcept { skerry_closedir(dir); }
  };
  std::unique_ptr<skerry_dir, Close> dir_;
  std::vector<skerry_dirent> entries_;
  std::size_t count_ = 0;
  std::size_t used_ = 0;
};

/// An opened volume (skerry_volume_open, skerry_volume_close).
class Volume {
 public:
  Volume() = default;
  /// Takes ownership.
  explicit Volume(skerry_volume* volume) noexcept : volume_(volume) {}

  static void format(const std::string& url, const std::vector<std::string>& options = {}) {
    check(skerry_format(url.c_str(), pointers(options).data()));
  }
  static void configure(const std::string& url, const std::vector<std::string>& options) {
    check(skerry_configure(url.c_str(), pointers(options).data()));
  }
  static void rotate_key(const std::string& url, const std::vector<std::string>& options) {
    check(skerry_rotate_key(url.c_str(), pointers(options).data()));
  }
  static Volume open(const std::string& url, const std::vector<std::string>& options = {}) {
    skerry_volume* volume = nullptr;
    check(skerry_volume_open(url.c_str(), pointers(options).data(), &volume));
    return Volume(volume);
  }

  File open_file(const std::string& path, int flags, std::uint32_t mode = 0666,
                 const skerry_context* context = nullptr) const {
    skerry_file* file = nullptr;
    check(skerry_open(get(), context, path.c_str(), flags, mode, &file));
    return File(file);
  }
  Directory open_directory(const std::string& path, bool with_attributes = false,
                           const skerry_context* context = nullptr) const {
    skerry_dir* dir = nullptr;
    check(skerry_opendir(get(), context, path.c_str(), with_attributes ? 1 : 0, nullptr, &dir));
    return Directory(dir);
  }
  struct skerry_stat stat(const std::string& path, const skerry_context* context = nullptr) const {
    struct skerry_stat out {};
    check(skerry_stat(get(), context, path.c_str(), &out));
    return out;
  }
  void mkdir(const std::string& path, std::uint32_t mode = 0777,
             const skerry_context* context = nullptr) const {
    check(skerry_mkdir(get(), context, path.c_str(), mode));
  }
  void mkdirs(const std::string& path, std::uint32_t mode = 0777,
              const skerry_context* context = nullptr) const {
    check(skerry_mkdirs(get(), context, path.c_str(), mode));
  }
  void unlink(const std::string& path, const skerry_context* context = nullptr) const {
    check(skerry_unlink(get(), context, path.c_str()));
  }
  void rmdir(const std::string& path, const skerry_context* context = nullptr) const {
    check(skerry_rmdir(get(), context, path.c_str()));
  }
  void rename(const std::string& from, const std::string& to,
              const skerry_context* context = nullptr) const {
    check(skerry_rename(get(), context, from.c_str(), to.c_str()));
  }
  /// The whole file; one that grows or shrinks meanwhile is read as long as it was at first.
  std::string read_file(const std::string& path, const skerry_context* context = nullptr) const {
    std::string bytes(static_cast<std::size_t>(stat(path, context).size), '\0');
    const auto size = static_cast<std::size_t>(
        check(skerry_read_file(get(), context, path.c_str(), bytes.data(), bytes.size())));
    if (size < bytes.size()) bytes.resize(size);
    return bytes;
  }
  void write_file(const std::string& path, const std::string& bytes, std::uint32_t mode = 0666,
                  const skerry_context* context = nullptr) const {
    check(skerry_write_file(get(), context, path.c_str(), bytes.data(), bytes.size(), mode));
  }
  void sync(const skerry_context* context = nullptr) const { check(skerry_sync(get(), context)); }
  /// Closes now and throws what closing reports; the destructor drops it.
  void close() { check(skerry_volume_close(volume_.release())); }

  skerry_volume* get() const noexcept { return volume_.get(); }
  explicit operator bool() const noexcept { return volume_ != nullptr; }

 private:
  static std::vector<const char*> pointers(const std::vector<std::string>& options) {
    std::vector<const char*> pointers;
    for (const std::string& option : options) pointers.push_back(option.c_str());
    pointers.push_back(nullptr);
    return pointers;
  }
  struct Close {
    void operator()(skerry_volume* volume) const noexcept { skerry_volume_close(volume); }
  };
  std::unique_ptr<skerry_volume, Close> volume_;
};

}  // namespace skerry

#endif  // SKERRY_SKERRY_HPP_
