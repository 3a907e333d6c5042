#include "vfs/path_walk.h"

#include <utility>

namespace skerry::vfs {
namespace {

constexpr unsigned kMaxLinks = 40;  // as Linux, path_resolution(7)

/// A directory on the way, or the one the walk starts in, was removed: to the path it is absent.
Error absent(Error error) {
  if (error.code() != ESTALE) return error;
  return Error(ENOENT, "a directory on the way was removed");
}

LastKind kind_of(std::string_view component) {
  if (component == ".") return LastKind::kDot;
  if (component == "..") return LastKind::kDotDot;
  return LastKind::kName;
}

}  // namespace

Result<meta::Attributes> PathWalk::directory_attributes(bool exact) {
  auto attr = meta::get_attributes(ctx_, meta_, dir_, exact);
  if (!attr.ok()) return absent(std::move(attr).error());
  if (!attr->is_dir()) return Error(ENOTDIR, "not a directory");
  return attr;
}

Status PathWalk::search_permission() {
  SKERRY_ASSIGN(meta::Attributes attr, directory_attributes(false));
  Status allowed = meta::check_access(ctx_, meta_, attr, meta::kExecute);
  if (!allowed.ok()) return absent(std::move(allowed).error());
  return allowed;
}

Result<meta::Attributes> PathWalk::lookup(std::string_view name, bool exact,
                                          std::string_view rest) {
  if (name.size() > meta::kMaxNameBytes) {
    SKERRY_TRY(search_permission());
    return Error(ENAMETOOLONG, "a name is longer than 255 bytes");
  }
  auto attr = meta::lookup(ctx_, meta_, dir_, name, exact, rest);
  if (!attr.ok()) return absent(std::move(attr).error());
  return attr;
}

Status PathWalk::to_parent(std::string_view path) {
  if (path.empty()) return Error(ENOENT, "the path is empty");
  if (path.size() >= meta::kMaxPathBytes) {
    return Error(ENAMETOOLONG, "the path is longer than 4,095 bytes");
  }
  return go(path);
}

Status PathWalk::go(std::string_view rest) {
  if (rest.front() == '/') dir_ = meta::kRootIno;
  for (;;) {
    size_t begin = rest.find_first_not_of('/');
    if (begin == std::string_view::npos) {
      kind_ = LastKind::kRoot;
      name_ = {};
      return {};
    }
    rest.remove_prefix(begin);
    size_t end = rest.find('/');
    std::string_view component = rest.substr(0, end);
    size_t next = end == std::string_view::npos ? end : rest.find_first_not_of('/', end);
    if (next == std::string_view::npos) {
      // A link's target may end here while a slash stood behind the link itself.
      trailing_slash_ = end != std::string_view::npos;
      kind_ = kind_of(component);
      name_ = component;
      return {};
    }
    rest.remove_prefix(next);
    switch (kind_of(component)) {
      case LastKind::kDot:
        SKERRY_TRY(search_permission());
        continue;
      case LastKind::kDotDot: {
        SKERRY_TRY(search_permission());
        auto parent = meta::parent_of(ctx_, meta_, dir_);
        if (!parent.ok()) return absent(std::move(parent).error());
        dir_ = *parent;
        continue;
      }
      default:
        break;
    }
    SKERRY_ASSIGN(meta::Attributes attr, lookup(component, false, rest));
    if (attr.type == meta::FileType::kSymlink) {
      SKERRY_ASSIGN(std::string target, link_target(attr.ino));
      target += '/';
      target += rest;
      expanded_ = std::move(target);
      rest = expanded_;
      if (rest.front() == '/') dir_ = meta::kRootIno;
      continue;
    }
    if (!attr.is_dir()) return Error(ENOTDIR, "a component on the way is not a directory");
    dir_ = attr.ino;
  }
}

Result<std::string> PathWalk::link_target(meta::Ino link) {
  if (++links_ > kMaxLinks) return Error(ELOOP, "more than 40 symbolic links");
  auto target = meta::readlink(ctx_, meta_, link);
  if (!target.ok()) return absent(std::move(target).error());
  if (target->empty()) return Error(ENOENT, "a symbolic link is empty");
  return target;
}

Result<meta::Attributes> PathWalk::last() {
  switch (kind_) {
    case LastKind::kName:
      return lookup(name_, true);
    case LastKind::kRoot:
      return directory_attributes(true);
    case LastKind::kDot: {
      SKERRY_TRY(search_permission());
      return directory_attributes(true);
    }
    case LastKind::kDotDot:
      break;
  }
  SKERRY_TRY(search_permission());
  auto parent = meta::parent_of(ctx_, meta_, dir_);
  if (!parent.ok()) return absent(std::move(parent).error());
  auto attr = meta::get_attributes(ctx_, meta_, *parent);
  if (!attr.ok()) return absent(std::move(attr).error());
  return attr;
}

Status PathWalk::through_link(meta::Ino link) {
  SKERRY_ASSIGN(std::string target, link_target(link));
  if (trailing_slash_) target += '/';
  expanded_ = std::move(target);
  return go(expanded_);
}

Result<meta::Attributes> PathWalk::resolve(std::string_view path, bool follow) {
  SKERRY_TRY(to_parent(path));
  for (;;) {
    auto attr = last();
    if (!attr.ok() || attr->is_dir()) return attr;
    if (attr->type == meta::FileType::kSymlink && (follow || trailing_slash_)) {
      SKERRY_TRY(through_link(attr->ino));
      continue;
    }
    if (trailing_slash_) return Error(ENOTDIR, "a slash stands behind what is not a directory");
    return attr;
  }
}

}  // namespace skerry::vfs
