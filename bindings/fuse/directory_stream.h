// DirectoryStream: one open directory as the kernel reads it, by positions.
//
// Skerry lists by name and resumes after a name; the kernel, and telldir(3), want a number. An
// entry gets the next number when it is listed first and keeps it until the stream is rewound, so
// that a position means the same however many entries come and go. Remembered are a hash of each
// name and every 128th name: going back lists on from such a name and finds the numbers again. An
// entry that was added behind the place that was read so far is not shown before a rewind (POSIX
// leaves it open), one that was removed leaves a gap.
#ifndef SKERRY_BINDINGS_FUSE_DIRECTORY_STREAM_H_
#define SKERRY_BINDINGS_FUSE_DIRECTORY_STREAM_H_

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "skerry/skerry.h"

namespace skerry::fuse {

/// The owner holds mutex() while it calls anything else.
class DirectoryStream {
 public:
  DirectoryStream(skerry_file* opened, uint64_t inode) : file_(opened), ino_(inode) {}
  ~DirectoryStream();
  DirectoryStream(const DirectoryStream&) = delete;
  DirectoryStream& operator=(const DirectoryStream&) = delete;

  std::mutex& mutex() { return mutex_; }
  skerry_file* file() const { return file_; }
  uint64_t ino() const { return ino_; }

  struct Entry {
    const skerry_dirent* entry = nullptr;  // null at the end; valid until the next call
    uint64_t number = 0;
  };
  /// The first entry whose number is at least `number`. 0 or a negative errno.
  int find(const skerry_context* context, uint64_t number, bool with_attributes, Entry* found);
  /// Forgets all numbers.
  void rewind();

 private:
  static constexpr size_t kGroup = 128;
  static constexpr size_t kPage = 256;
  static constexpr uint64_t kNotShown = UINT64_MAX;

  int list_from(const skerry_context* context, uint64_t number, bool with_attributes);
  int next_page(const skerry_context* context);
  uint64_t number_of(std::string_view name);
  void close_listing();

  skerry_file* const file_;
  const uint64_t ino_;
  std::mutex mutex_;

  std::vector<uint32_t> hashes_;        // by number
  std::vector<std::string> bookmarks_;  // the name before numbers 0, 128, 256 ...; the first is ""
  std::string last_name_;               // of the highest number

  skerry_dir* listing_ = nullptr;
  bool with_attributes_ = false;
  bool at_end_ = false;
  uint64_t resume_ = 0;  // numbers below are not looked for in what is listed next
  std::array<skerry_dirent, kPage> page_;
  std::array<uint64_t, kPage> numbers_;
  size_t page_size_ = 0;
  size_t page_next_ = 0;
  uint64_t page_begin_ = 0;  // the page shows all there is from this number on
  uint64_t position_ = 0;    // all below was given out
};

}  // namespace skerry::fuse

#endif  // SKERRY_BINDINGS_FUSE_DIRECTORY_STREAM_H_
