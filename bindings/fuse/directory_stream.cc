#include "directory_stream.h"

#include <algorithm>
#include <functional>

namespace skerry::fuse {
namespace {

uint32_t hash_of(std::string_view name) {
  const size_t hash = std::hash<std::string_view>{}(name);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

}  // namespace

DirectoryStream::~DirectoryStream() {
  close_listing();
  skerry_close(file_, nullptr);
}

void DirectoryStream::close_listing() {
  skerry_closedir(listing_);
  listing_ = nullptr;
  page_size_ = page_next_ = 0;
  at_end_ = false;
}

void DirectoryStream::rewind() {
  close_listing();
  hashes_.clear();
  bookmarks_.clear();
  last_name_.clear();
}

uint64_t DirectoryStream::number_of(std::string_view name) {
  const uint32_t hash = hash_of(name);
  if (hashes_.empty() || name > last_name_) {
    if (hashes_.size() % kGroup == 0) bookmarks_.push_back(last_name_);
    hashes_.push_back(hash);
    last_name_ = name;
    return hashes_.size() - 1;
  }
  // Names are listed in order, so the group is the one whose bookmark lies before the name.
  const auto after = std::lower_bound(bookmarks_.begin(), bookmarks_.end(), name);
  const size_t group = static_cast<size_t>(after - bookmarks_.begin()) - 1;
  const size_t end = std::min(hashes_.size(), (group + 1) * kGroup);
  for (size_t number = std::max<size_t>(group * kGroup, resume_); number < end; ++number) {
    if (hashes_[number] != hash) continue;
    resume_ = number + 1;
    return number;
  }
  return kNotShown;
}

int DirectoryStream::next_page(const skerry_context* context) {
  page_size_ = page_next_ = 0;
  page_begin_ = position_;
  const int count = skerry_readdir(listing_, context, page_.data(), kPage);
  if (count < 0) {
    close_listing();
    return count;
  }
  at_end_ = count == 0;
  page_size_ = static_cast<size_t>(count);
  for (size_t i = 0; i < page_size_; ++i) {
    numbers_[i] = number_of({page_[i].name, page_[i].name_length});
  }
  return 0;
}

int DirectoryStream::list_from(const skerry_context* context, uint64_t number,
                               bool with_attributes) {
  close_listing();
  // A position past all that was given out was never given out: there is nothing behind it.
  const size_t known = std::min<uint64_t>(number, hashes_.size());
  const bool to_last = known == hashes_.size();
  const std::string after = to_last              ? last_name_
                            : bookmarks_.empty() ? std::string()
                                                 : bookmarks_[known / kGroup];
  resume_ = known;
  position_ = page_begin_ = number;
  with_attributes_ = with_attributes;
  return skerry_fdopendir(file_, context, with_attributes ? 1 : 0, after.c_str(), &listing_);
}

int DirectoryStream::find(const skerry_context* context, uint64_t number, bool with_attributes,
                          Entry* found) {
  *found = {};
  if (listing_ == nullptr || with_attributes != with_attributes_ || number < page_begin_ ||
      number > position_) {
    if (const int rc = list_from(context, number, with_attributes); rc < 0) return rc;
  } else if (number < position_) {
    page_next_ = 0;  // the kernel had room for less than it was given
  }
  for (;;) {
    for (; page_next_ < page_size_; ++page_next_) {
      const uint64_t candidate = numbers_[page_next_];
      if (candidate == kNotShown || candidate < number) continue;
      *found = {&page_[page_next_++], candidate};
      position_ = candidate + 1;
      return 0;
    }
    if (at_end_) return 0;
    if (const int rc = next_page(context); rc < 0) return rc;
  }
}

}  // namespace skerry::fuse
