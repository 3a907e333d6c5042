// NamespaceModel: the reference tree. It knows POSIX and nothing of how records are changed; it is
// told what each commit did to names and attributes and says whether a file system may do that.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/op_context.h"
#include "meta/store.h"

namespace skerry::model {

using meta::FileType;
using meta::Ino;

/// What stat(2) tells, but for times and sizes.
struct ModelInode {
  FileType type = FileType::kRegular;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 1;  // of directories: 2 + subdirectories
  std::string target;  // of symbolic links
  std::map<std::string, std::string> xattrs;
  std::map<std::string, Ino> children;  // of directories
  Ino parent = 0;                       // of directories

  bool is_dir() const { return type == FileType::kDirectory; }
};

/// One name that leads somewhere else after a commit. 0: nowhere.
struct NameChange {
  Ino dir = 0;
  std::string name;
  Ino before = 0;
  Ino after = 0;
  friend auto operator<=>(const NameChange&, const NameChange&) = default;
};

/// What a commit did to the tree.
struct TreeChange {
  std::vector<NameChange> names;
  std::set<Ino> created;       // named or not
  std::set<Ino> orphans_made;  // O_TMPFILE
  std::set<Ino> orphans_gone;  // deleted by reclaim
  std::set<Ino> attributes;    // mode, uid or gid set
  std::set<Ino> cleared;       // a write may have cleared suid and sgid
  std::set<std::pair<Ino, std::string>> xattrs;
  std::set<Ino> data;  // bytes or length
  bool empty() const {
    return names.empty() && created.empty() && attributes.empty() && xattrs.empty() &&
           data.empty() && orphans_gone.empty();
  }
};

class NamespaceModel {
 public:
  /// The root alone, mode 0755, owned by root.
  NamespaceModel();

  const ModelInode* find(Ino ino) const;
  const std::map<Ino, ModelInode>& inodes() const { return inodes_; }
  /// 0 if there is no such name.
  Ino child(Ino dir, std::string_view name) const;

  /// What an applied commit changes; nothing is changed yet.
  TreeChange change_of(const meta::CommitRequest& request) const;
  /// Makes the change. A sentence if no file system may make it (a name in a directory that is
  /// gone, a directory replaced that is not empty, a loop, ...).
  std::optional<std::string> apply(const TreeChange& change, const meta::CommitRequest& request);

 private:
  std::optional<std::string> check_names(const TreeChange& change) const;
  bool inside(Ino dir, Ino ancestor) const;
  void drop_if_unused(Ino ino);

  std::map<Ino, ModelInode> inodes_;
};

/// The permission bits that `access` (meta::Access) asks for, as path_resolution(7) grants them.
bool permits(const Credentials& who, const ModelInode& inode, unsigned access);
bool sticky_forbids(const Credentials& who, const ModelInode& dir, const ModelInode& child);

}  // namespace skerry::model
