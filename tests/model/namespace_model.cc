#include "model/namespace_model.h"

#include <algorithm>

#include "meta/attribute_changes.h"
#include "model/acl_model.h"

namespace skerry::model {

using meta::Table;

bool permits(const Credentials& who, const ModelInode& inode, unsigned access) {
  if (who.uid == 0) return inode.is_dir() || (access & 1) == 0 || (inode.mode & 0111) != 0;
  unsigned granted = inode.mode;
  if (who.uid != inode.uid && inode.xattrs.contains(kAccessAcl)) {
    return acl_permits(who, inode, access);
  }
  if (who.uid == inode.uid) {
    granted >>= 6;
  } else if (who.in_group(inode.gid)) {
    granted >>= 3;
  }
  return (access & ~(granted & 7)) == 0;
}

bool sticky_forbids(const Credentials& who, const ModelInode& dir, const ModelInode& child) {
  return (dir.mode & 01000) != 0 && who.uid != 0 && who.uid != child.uid && who.uid != dir.uid;
}

NamespaceModel::NamespaceModel() {
  ModelInode root;
  root.type = FileType::kDirectory;
  root.mode = 0755;
  root.nlink = 2;
  root.parent = meta::kRootIno;
  inodes_[meta::kRootIno] = root;
}

const ModelInode* NamespaceModel::find(Ino ino) const {
  auto it = inodes_.find(ino);
  return it == inodes_.end() ? nullptr : &it->second;
}

Ino NamespaceModel::child(Ino dir, std::string_view name) const {
  const ModelInode* inode = find(dir);
  if (inode == nullptr) return 0;
  auto it = inode->children.find(std::string(name));
  return it == inode->children.end() ? 0 : it->second;
}

TreeChange NamespaceModel::change_of(const meta::CommitRequest& request) const {
  TreeChange change;
  std::map<std::pair<Ino, std::string>, Ino> names;
  for (const meta::Mutation& mutation : request.mutations) {
    if (const auto* put = std::get_if<meta::Put>(&mutation)) {
      if (const auto* entry = std::get_if<meta::EntryRecord>(&put->record)) {
        names[{entry->parent, entry->name}] = entry->attr.ino;
        if (find(entry->attr.ino) == nullptr) change.created.insert(entry->attr.ino);
      } else if (const auto* orphan = std::get_if<meta::OrphanRecord>(&put->record)) {
        if (find(orphan->attr.ino) == nullptr) {
          change.created.insert(orphan->attr.ino);
          change.orphans_made.insert(orphan->attr.ino);
        }
      } else if (const auto* xattr = std::get_if<meta::XattrRecord>(&put->record)) {
        change.xattrs.insert({xattr->ino, xattr->name});
      } else if (const auto* bytes = std::get_if<meta::InlineRecord>(&put->record)) {
        change.data.insert(bytes->ino);
      }
    } else if (const auto* removed = std::get_if<meta::Delete>(&mutation)) {
      if (removed->key.table == Table::kEntry) names[{removed->key.a, removed->key.name}] = 0;
      if (removed->key.table == Table::kOrphan) change.orphans_gone.insert(removed->key.a);
      if (removed->key.table == Table::kXattr) {
        change.xattrs.insert({removed->key.a, removed->key.name});
      }
    } else if (const auto* patch = std::get_if<meta::Patch>(&mutation)) {
      if (patch->mode || patch->uid || patch->gid) change.attributes.insert(patch->ino);
      if (patch->clear_mode != 0) change.cleared.insert(patch->ino);
      if (patch->length || patch->max_length != 0) change.data.insert(patch->ino);
    } else if (const auto* write = std::get_if<meta::WriteData>(&mutation)) {
      if (write->clear_mode != 0) change.cleared.insert(write->ino);
      change.data.insert(write->ino);
    } else if (const auto* move = std::get_if<meta::MoveFile>(&mutation)) {
      if (move->to) names[{move->to->a, move->to->name}] = child(move->from.a, move->from.name);
      names[{move->from.a, move->from.name}] = 0;
    }
  }
  for (const auto& [place, after] : names) {
    const Ino before = child(place.first, place.second);
    if (before != after) change.names.push_back({place.first, place.second, before, after});
  }
  // Only an orphan that gets no name with the same commit is gone.
  for (const NameChange& name : change.names) change.orphans_gone.erase(name.after);
  return change;
}

bool NamespaceModel::inside(Ino dir, Ino ancestor) const {
  for (size_t depth = 0; depth < inodes_.size(); ++depth) {
    if (dir == ancestor) return true;
    const ModelInode* inode = find(dir);
    if (inode == nullptr || dir == meta::kRootIno) return false;
    dir = inode->parent;
  }
  return true;  // a loop: everything is inside
}

std::optional<std::string> NamespaceModel::check_names(const TreeChange& change) const {
  for (const NameChange& name : change.names) {
    const std::string what = "name \"" + name.name + "\" in directory " + std::to_string(name.dir);
    const ModelInode* dir = find(name.dir);
    const bool made = change.created.contains(name.dir);
    if ((dir == nullptr && !made) || (dir != nullptr && !dir->is_dir())) {
      return what + ": the directory does not exist";
    }
    if (name.after != 0 && name.before != 0) {
      const ModelInode* source = find(name.after);
      const ModelInode* target = find(name.before);
      const bool moves_on =
          std::any_of(change.names.begin(), change.names.end(),
                      [&](const NameChange& n) { return n.after == name.before; });
      if (source == nullptr) return what + ": a new file replaced another";
      if (!moves_on && source->is_dir() != target->is_dir()) {
        return what + ": a directory and another file replaced each other";
      }
    }
  }
  return std::nullopt;
}

void NamespaceModel::drop_if_unused(Ino ino) {
  auto it = inodes_.find(ino);
  if (it == inodes_.end()) return;
  const ModelInode& inode = it->second;
  // A regular file without a name lives on as an orphan until reclaim takes it.
  if (inode.type != FileType::kRegular && inode.nlink == 0) inodes_.erase(it);
}

std::optional<std::string> NamespaceModel::apply(const TreeChange& change,
                                                 const meta::CommitRequest& request) {
  if (auto problem = check_names(change)) return problem;
  for (const meta::Mutation& mutation : request.mutations) {
    const auto* put = std::get_if<meta::Put>(&mutation);
    if (put == nullptr) continue;
    const meta::Attributes* attr = nullptr;
    if (const auto* entry = std::get_if<meta::EntryRecord>(&put->record)) attr = &entry->attr;
    if (const auto* orphan = std::get_if<meta::OrphanRecord>(&put->record)) attr = &orphan->attr;
    if (attr != nullptr && change.created.contains(attr->ino)) {
      ModelInode& inode = inodes_[attr->ino];
      inode.type = attr->type;
      inode.mode = attr->mode;
      inode.uid = attr->uid;
      inode.gid = attr->gid;
      inode.nlink = attr->type == FileType::kDirectory ? 2 : 0;
    }
    if (const auto* link = std::get_if<meta::SymlinkRecord>(&put->record)) {
      inodes_[link->ino].target = link->target;
    }
  }
  std::set<Ino> lost;
  for (const NameChange& name : change.names) {
    ModelInode& dir = inodes_[name.dir];
    if (name.before != 0) {
      ModelInode& old = inodes_[name.before];
      lost.insert(name.before);
      if (old.is_dir()) {
        dir.nlink -= 1;
      } else {
        old.nlink -= 1;
      }
      dir.children.erase(name.name);
    }
    if (name.after != 0) {
      auto it = inodes_.find(name.after);
      if (it == inodes_.end()) {
        return "name \"" + name.name + "\" leads to inode " + std::to_string(name.after) +
               ", which does not exist";
      }
      if (it->second.is_dir()) {
        dir.nlink += 1;
        it->second.parent = name.dir;
      } else {
        it->second.nlink += 1;
      }
      dir.children[name.name] = name.after;
    }
  }
  for (Ino ino : lost) {
    const ModelInode& inode = inodes_[ino];
    if (!inode.is_dir()) {
      drop_if_unused(ino);
      continue;
    }
    const ModelInode* parent = find(inode.parent);
    const bool named =
        parent != nullptr && std::any_of(parent->children.begin(), parent->children.end(),
                                         [ino = ino](const auto& c) { return c.second == ino; });
    if (named) continue;
    if (!inode.children.empty()) {
      return "directory " + std::to_string(ino) + " was removed and is not empty: it holds \"" +
             inode.children.begin()->first + "\"";
    }
    inodes_.erase(ino);
  }
  for (const NameChange& name : change.names) {
    const ModelInode* inode = find(name.after);
    if (inode == nullptr || !inode->is_dir()) continue;
    if (!inside(name.dir, meta::kRootIno)) {
      return "directory " + std::to_string(name.after) + " was moved out of the tree";
    }
    if (name.dir != name.after && inside(name.dir, name.after)) {
      return "directory " + std::to_string(name.after) + " was moved into itself";
    }
  }
  for (Ino ino : change.orphans_gone) {
    const ModelInode* inode = find(ino);
    if (inode == nullptr) continue;
    if (inode->nlink != 0) {
      return "inode " + std::to_string(ino) + " was deleted and has a name";
    }
    inodes_.erase(ino);
  }
  for (const meta::Mutation& mutation : request.mutations) {
    if (const auto* patch = std::get_if<meta::Patch>(&mutation)) {
      auto it = inodes_.find(patch->ino);
      if (it == inodes_.end()) continue;
      if (patch->mode) it->second.mode = *patch->mode;
      if (patch->uid) it->second.uid = *patch->uid;
      if (patch->gid) it->second.gid = *patch->gid;
      it->second.mode = meta::mode_without(it->second.mode, patch->clear_mode);
    } else if (const auto* write = std::get_if<meta::WriteData>(&mutation)) {
      auto it = inodes_.find(write->ino);
      if (it != inodes_.end()) {
        it->second.mode = meta::mode_without(it->second.mode, write->clear_mode);
      }
    } else if (const auto* put = std::get_if<meta::Put>(&mutation)) {
      if (const auto* xattr = std::get_if<meta::XattrRecord>(&put->record)) {
        auto it = inodes_.find(xattr->ino);
        if (it == inodes_.end()) return "an attribute was set on a file that is gone";
        it->second.xattrs[xattr->name] = xattr->value;
      }
    } else if (const auto* removed = std::get_if<meta::Delete>(&mutation)) {
      if (removed->key.table == Table::kXattr && inodes_.contains(removed->key.a)) {
        inodes_[removed->key.a].xattrs.erase(removed->key.name);
      }
    }
  }
  return std::nullopt;
}

}  // namespace skerry::model
