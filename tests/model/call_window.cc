#include "model/call_window.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "meta/ops.h"
#include "model/acl_model.h"

namespace skerry::model {

namespace {

constexpr uint32_t kSetGroupId = 02000;
constexpr unsigned kRead = 4, kWrite = 2, kExecute = 1;

std::pair<std::string, std::string> split(const std::string& path) {
  const size_t begin = path.find_first_not_of('/');
  if (begin == std::string::npos) return {};
  const size_t end = path.find('/', begin);
  if (end == std::string::npos) return {path.substr(begin), ""};
  const size_t next = path.find_first_not_of('/', end);
  return {path.substr(begin, end - begin), next == std::string::npos ? "" : path.substr(next)};
}

std::string list_of(const std::set<int>& errors) {
  std::string text;
  for (int e : errors) text += (text.empty() ? "" : ", ") + std::string(strerrorname_np(e));
  return text.empty() ? "none" : text;
}

std::string list_of(const std::set<std::string>& words) {
  std::string text;
  for (const auto& w : words) text += (text.empty() ? "" : " | ") + w;
  return text.empty() ? "none" : text;
}

bool infrastructure(int error) {
  switch (error) {
    case EIO:
    case ETIMEDOUT:
    case ESTALE:
    case ECANCELED:
    case EBUSY:
    case EAGAIN:
      return true;
    default:
      return false;
  }
}

/// chmod(2), chown(2), setting an ACL: what becomes of the bits.
uint32_t mode_after(const Call& call, const ModelInode& inode) {
  const bool root = call.who.uid == 0;
  if (call.op == Op::kSetAcl) {
    if (call.value.empty() || call.name != kAccessAcl) return inode.mode;
    uint32_t mode = (inode.mode & ~0777u) | ModelAcl(call.value).mode();
    if (!root && !call.who.in_group(inode.gid)) mode &= ~kSetGroupId;
    return mode;
  }
  if (call.op == Op::kChmod || (call.op == Op::kSetAttrHandle && !call.uid && !call.gid)) {
    uint32_t mode = call.mode & 07777;
    if (!root && !call.who.in_group(inode.gid)) mode &= ~kSetGroupId;
    return mode;
  }
  uint32_t mode = inode.mode;
  if (!inode.is_dir()) {
    mode &= ~04000u;
    const bool outsider = !root && !call.who.in_group(call.gid.value_or(inode.gid));
    if ((mode & 010) != 0 || outsider) mode &= ~kSetGroupId;
  }
  return mode;
}

}  // namespace

const char* name_of(Op op) {
  constexpr const char* kNames[] = {"handle", "stat",   "mkdir",    "symlink",  "readlink",
                                    "unlink", "rmdir",  "rename",   "link",     "link-handle",
                                    "chmod",  "chown",  "setxattr", "getxattr", "removexattr",
                                    "list",   "open",   "tmpfile",  "truncate", "remove_tree",
                                    "fchmod", "setfacl"};
  return kNames[static_cast<size_t>(op)];
}

std::string Call::text() const {
  std::string text = name_of(op);
  if (!path.empty()) text += " " + path;
  if (!path2.empty()) text += " " + path2;
  if (ino != 0) text += " #" + std::to_string(ino);
  char bits[64];
  snprintf(bits, sizeof bits, " flags=%#x mode=%#o", flags, mode);
  text += bits;
  if (!name.empty()) text += " " + name;
  if (!value.empty()) text += " \"" + value + "\"";
  if (uid) text += " to uid " + std::to_string(*uid);
  if (gid) text += " to gid " + std::to_string(*gid);
  if (follow) text += " follow";
  return text + " as " + std::to_string(who.uid);
}

Answer answer_of(const Status& status) {
  Answer answer;
  if (!status.ok()) answer.error = status.error().code();
  return answer;
}

std::string stat_detail(Ino ino, const ModelInode& inode) {
  char text[128];
  snprintf(text, sizeof text, "ino=%llu type=%d mode=%#o uid=%u gid=%u nlink=%u",
           static_cast<unsigned long long>(ino), static_cast<int>(inode.type), inode.mode,
           inode.uid, inode.gid, inode.nlink);
  return text;
}

CallWindow::CallWindow(Call call, const NamespaceModel& model) : call_(std::move(call)) {
  from_.follow = call_.follow;
  if (!call_.path.empty()) from_.steps.insert({meta::kRootIno, call_.path, 0, 0, false});
  if (!call_.path2.empty()) to_.steps.insert({meta::kRootIno, call_.path2, 0, 0, false});
  if (call_.ino != 0) targets_.insert(call_.ino);
  observe(model);
}

CallWindow::CallWindow(Call call, std::vector<NamespaceModel> past, const NamespaceModel& model)
    : call_(std::move(call)), any_order_(true), states_(std::move(past)) {
  from_.follow = call_.follow;
  if (!call_.path.empty()) from_.steps.insert({meta::kRootIno, call_.path, 0, 0, false});
  if (!call_.path2.empty()) to_.steps.insert({meta::kRootIno, call_.path2, 0, 0, false});
  if (call_.ino != 0) targets_.insert(call_.ino);
  observe(model);
}

void CallWindow::observe(const NamespaceModel& model) {
  if (any_order_) {
    states_.push_back(model);
    for (size_t known = 0; known != from_.steps.size() + to_.steps.size();) {
      known = from_.steps.size() + to_.steps.size();
      for (const NamespaceModel& state : states_) {
        advance(from_, state);
        advance(to_, state);
      }
    }
    for (const NamespaceModel& state : states_) evaluate(state);
    return;
  }
  advance(from_, model);
  advance(to_, model);
  evaluate(model);
}

// ---- walking

void CallWindow::advance(Walk& walk, const NamespaceModel& model) {
  std::set<Step> frontier = walk.steps;
  while (!frontier.empty()) {
    std::set<Step> found;
    for (const Step& from : frontier) step(walk, model, from, &found);
    frontier.clear();
    for (const Step& s : found) {
      if (walk.steps.insert(s).second) frontier.insert(s);
    }
  }
}

void CallWindow::step(Walk& walk, const NamespaceModel& model, const Step& from,
                      std::set<Step>* next) {
  const auto& [dir, rest, links, link, searched] = from;
  const ModelInode* inode = model.find(dir);
  if (link != 0) {
    const ModelInode* target = model.find(link);
    if (target == nullptr) {
      errors_.insert(ENOENT);
    } else if (links >= 40) {
      errors_.insert(ELOOP);
    } else {
      const std::string path = rest.empty() ? target->target : target->target + "/" + rest;
      next->insert({path.front() == '/' ? meta::kRootIno : dir, path, links + 1, 0, false});
    }
    return;
  }
  if (inode == nullptr) {
    errors_.insert(ENOENT);
    // What the caller knew of the directory lets it go on, only to find nothing there.
    return;
  }
  auto [component, tail] = split(rest);
  if (component.empty()) {
    walk.ends.insert({dir, ""});  // "/": nothing is looked for in it
    return;
  }
  if (!searched) {
    if (permits(call_.who, *inode, kExecute)) {
      next->insert({dir, rest, links, 0, true});
    } else {
      errors_.insert(EACCES);
    }
    return;
  }
  if (component == "..") {
    if (tail.empty()) {
      walk.ends.insert({inode->parent, ""});
    } else {
      next->insert({inode->parent, tail, links, 0, false});
    }
    return;
  }
  const Ino child = model.child(dir, component);
  const ModelInode* found = model.find(child);
  if (tail.empty()) {
    walk.ends.insert({dir, component});
    if (walk.follow && found != nullptr && found->type == FileType::kSymlink) {
      next->insert({dir, "", links, child, false});
    }
  } else if (found == nullptr) {
    errors_.insert(ENOENT);
  } else if (found->type == FileType::kSymlink) {
    next->insert({dir, tail, links, child, false});
  } else if (!found->is_dir()) {
    errors_.insert(ENOTDIR);
  } else {
    next->insert({child, tail, links, 0, false});
  }
}

// ---- what would be answered now

void CallWindow::take(const Verdict& verdict, const std::string& detail) {
  errors_.insert(verdict.structural.begin(), verdict.structural.end());
  errors_.insert(verdict.permission.begin(), verdict.permission.end());
  if (verdict.permission.empty()) permitted_ = true;
  if (verdict.structural.empty() && !detail.empty()) details_.insert(detail);
}

CallWindow::Verdict CallWindow::judge_add(const NamespaceModel& model, const Place& at) const {
  Verdict verdict;
  if (at.second.empty()) {
    verdict.refuse(EEXIST);
    return verdict;
  }
  const ModelInode* dir = model.find(at.first);
  if (dir == nullptr) {
    verdict.refuse(ENOENT);
    return verdict;
  }
  if (model.child(at.first, at.second) != 0) verdict.refuse(EEXIST);
  if (!permits(call_.who, *dir, kWrite | kExecute)) verdict.deny(EACCES);
  return verdict;
}

CallWindow::Verdict CallWindow::judge_remove(const NamespaceModel& model, const Place& at) const {
  Verdict verdict;
  const ModelInode* dir = model.find(at.first);
  const Ino ino = model.child(at.first, at.second);
  const ModelInode* child = model.find(ino);
  if (dir == nullptr || child == nullptr) {
    verdict.refuse(ENOENT);
    if (dir == nullptr) return verdict;
  }
  if (!permits(call_.who, *dir, kWrite | kExecute)) verdict.deny(EACCES);
  if (child == nullptr) return verdict;
  if (sticky_forbids(call_.who, *dir, *child)) verdict.deny(EPERM);
  if (call_.op == Op::kUnlink && child->is_dir()) verdict.refuse(EISDIR);
  if (call_.op == Op::kRmdir) {
    if (!child->is_dir()) verdict.refuse(ENOTDIR);
    if (!child->children.empty()) verdict.refuse(ENOTEMPTY);
  }
  return verdict;
}

namespace {
bool is_above(const NamespaceModel& model, Ino ancestor, Ino dir) {
  for (;;) {
    if (dir == ancestor) return true;
    const ModelInode* inode = model.find(dir);
    if (inode == nullptr || dir == meta::kRootIno) return false;
    dir = inode->parent;
  }
}
}  // namespace

CallWindow::Verdict CallWindow::judge_rename(const NamespaceModel& model, const Place& from,
                                             const Place& to, bool* nothing) const {
  Verdict verdict;
  const ModelInode* from_dir = model.find(from.first);
  const ModelInode* to_dir = model.find(to.first);
  const Ino source_ino = model.child(from.first, from.second);
  const Ino target_ino = model.child(to.first, to.second);
  const ModelInode* source = model.find(source_ino);
  const ModelInode* target = model.find(target_ino);
  const bool exchange = (call_.flags & meta::kRenameExchange) != 0;
  if (from_dir == nullptr || to_dir == nullptr || source == nullptr) verdict.refuse(ENOENT);
  if (target != nullptr && (call_.flags & meta::kRenameNoReplace) != 0) verdict.refuse(EEXIST);
  if (target == nullptr && exchange) verdict.refuse(ENOENT);
  if (from_dir == nullptr || to_dir == nullptr) return verdict;
  if (source != nullptr && is_above(model, source_ino, to.first)) verdict.refuse(EINVAL);
  if (exchange && target != nullptr && is_above(model, target_ino, from.first)) {
    verdict.refuse(EINVAL);
  }
  if (verdict.structural.empty() && source_ino == target_ino) {
    *nothing = true;
    return verdict;
  }
  const bool across = from.first != to.first;
  for (const ModelInode* dir : {from_dir, to_dir}) {
    if (!permits(call_.who, *dir, kWrite | kExecute)) verdict.deny(EACCES);
  }
  if (source != nullptr) {
    if (sticky_forbids(call_.who, *from_dir, *source)) verdict.deny(EPERM);
    if (across && source->is_dir() && !permits(call_.who, *source, kWrite)) verdict.deny(EACCES);
  }
  if (target != nullptr) {
    if (sticky_forbids(call_.who, *to_dir, *target)) verdict.deny(EPERM);
    if (exchange && across && target->is_dir() && !permits(call_.who, *target, kWrite)) {
      verdict.deny(EACCES);
    }
  }
  if (source != nullptr && target != nullptr && !exchange) {
    if (source->is_dir() && !target->is_dir()) verdict.refuse(ENOTDIR);
    if (!source->is_dir() && target->is_dir()) verdict.refuse(EISDIR);
    if (!target->children.empty()) verdict.refuse(ENOTEMPTY);
  }
  return verdict;
}

CallWindow::Verdict CallWindow::judge_target(const NamespaceModel& model, Ino ino,
                                             std::string* detail) const {
  Verdict verdict;
  const ModelInode* inode = model.find(ino);
  if (inode == nullptr) {
    verdict.refuse(ENOENT);
    verdict.refuse(ESTALE);
    return verdict;
  }
  const Credentials& who = call_.who;
  const bool owner = who.uid == 0 || who.uid == inode->uid;
  const bool plain = inode->type == FileType::kRegular || inode->is_dir();
  switch (call_.op) {
    case Op::kStat:
      *detail = stat_detail(ino, *inode);
      break;
    case Op::kReadlink:
      if (inode->type != FileType::kSymlink) verdict.refuse(EINVAL);
      *detail = inode->target;
      break;
    case Op::kChmod:
      if (!owner) verdict.deny(EPERM);
      break;
    case Op::kSetAttrHandle:
      if (!owner) verdict.deny(EPERM);
      break;
    case Op::kChown:
      if (!owner) verdict.deny(EPERM);
      if (who.uid != 0 && call_.uid && *call_.uid != inode->uid) verdict.deny(EPERM);
      if (who.uid != 0 && call_.gid && *call_.gid != inode->gid && !who.in_group(*call_.gid)) {
        verdict.deny(EPERM);
      }
      break;
    case Op::kSetAcl:
      if (call_.name == kDefaultAcl && !inode->is_dir() && !call_.value.empty()) {
        verdict.refuse(EACCES);
      }
      if (!owner) verdict.deny(EPERM);
      break;
    case Op::kSetXattr:
    case Op::kRemoveXattr: {
      if (!plain) verdict.deny(EPERM);
      if (inode->is_dir() && (inode->mode & 01000) != 0 && !owner) verdict.deny(EPERM);
      if (!permits(who, *inode, kWrite)) verdict.deny(EACCES);
      const bool there = inode->xattrs.contains(call_.name);
      const bool must = call_.op == Op::kRemoveXattr ||
                        call_.flags == static_cast<unsigned>(meta::XattrMode::kReplace);
      if (must && !there) verdict.refuse(ENODATA);
      if (call_.op == Op::kSetXattr && there &&
          call_.flags == static_cast<unsigned>(meta::XattrMode::kCreate)) {
        verdict.refuse(EEXIST);
      }
      break;
    }
    case Op::kGetXattr: {
      if (!permits(who, *inode, kRead)) verdict.deny(EACCES);
      auto it = inode->xattrs.find(call_.name);
      if (it == inode->xattrs.end() || !plain) {
        verdict.refuse(ENODATA);
      } else {
        *detail = "=" + it->second;
      }
      break;
    }
    case Op::kTruncate:
      if (inode->is_dir()) verdict.refuse(EISDIR);
      if (inode->type != FileType::kRegular) verdict.refuse(EINVAL);
      if (!permits(who, *inode, kWrite)) verdict.deny(EACCES);
      if (inode->nlink == 0) verdict.refuse(ENOENT);
      *detail = "done";
      break;
    case Op::kList:
      if (!inode->is_dir()) verdict.refuse(ENOTDIR);
      if (!permits(who, *inode, kRead)) verdict.deny(EACCES);
      break;
    default:
      break;
  }
  return verdict;
}

CallWindow::Verdict CallWindow::judge_open(const NamespaceModel& model, const Place& at,
                                           std::string* detail) {
  Verdict verdict;
  const Ino ino = at.second.empty() ? at.first : model.child(at.first, at.second);
  const ModelInode* inode = model.find(ino);
  const ModelInode* dir = model.find(at.first);
  const bool create = (call_.flags & O_CREAT) != 0;
  if (inode == nullptr) {
    if (!create || dir == nullptr) {
      verdict.refuse(ENOENT);
    } else if (!permits(call_.who, *dir, kWrite | kExecute)) {
      verdict.deny(EACCES);
    }
    return verdict;
  }
  if (inode->type == FileType::kSymlink) {
    verdict.refuse((call_.flags & O_EXCL) != 0 && create ? EEXIST : ELOOP);
    return verdict;
  }
  const unsigned how = call_.flags & O_ACCMODE;
  const bool write = how != O_RDONLY || (call_.flags & O_TRUNC) != 0;
  if (create && (call_.flags & O_EXCL) != 0) verdict.refuse(EEXIST);
  if (inode->is_dir() && (write || create)) verdict.refuse(EISDIR);
  if (!inode->is_dir() && (call_.flags & O_DIRECTORY) != 0) verdict.refuse(ENOTDIR);
  if (how != O_WRONLY && !permits(call_.who, *inode, kRead)) verdict.deny(EACCES);
  if (write && !permits(call_.who, *inode, kWrite)) verdict.deny(EACCES);
  targets_.insert(ino);
  *detail = "#" + std::to_string(ino);
  return verdict;
}

void CallWindow::evaluate_targets(const NamespaceModel& model) {
  for (const Place& at : from_.ends) {
    const Ino ino = at.second.empty() ? at.first : model.child(at.first, at.second);
    const ModelInode* inode = model.find(ino);
    if (inode == nullptr) {
      errors_.insert(ENOENT);
    } else if (inode->type != FileType::kSymlink || !call_.follow) {
      targets_.insert(ino);
    }
  }
  for (Ino ino : targets_) {
    std::string detail;
    const Verdict verdict = judge_target(model, ino, &detail);
    take(verdict, detail);
    const ModelInode* inode = model.find(ino);
    if (inode != nullptr && mode_after(call_, *inode) == inode->mode &&
        call_.uid.value_or(inode->uid) == inode->uid &&
        call_.gid.value_or(inode->gid) == inode->gid) {
      // chmod and chown to what is there already.
      if (call_.op == Op::kChmod || call_.op == Op::kChown || call_.op == Op::kSetAttrHandle) {
        nothing_to_do_ = true;
      }
      // An ACL that is not kept, and none before.
      const bool kept =
          !call_.value.empty() && (call_.name == kDefaultAcl || ModelAcl(call_.value).extended());
      if (call_.op == Op::kSetAcl && !kept && !inode->xattrs.contains(call_.name)) {
        nothing_to_do_ = true;
      }
    }
  }
}

void CallWindow::evaluate_list(const NamespaceModel& model) {
  evaluate_targets(model);
  std::set<std::string> now;
  for (Ino dir : targets_) {
    const ModelInode* inode = model.find(dir);
    if (inode == nullptr) continue;
    for (const auto& [name, ino] : inode->children) now.insert(name);
  }
  ever_.insert(now.begin(), now.end());
  if (!listed_once_ && !targets_.empty()) {
    always_ = now;
    listed_once_ = true;
  }
  std::erase_if(always_, [&](const std::string& name) { return !now.contains(name); });
  if (targets_.size() > 1) always_.clear();
}

void CallWindow::evaluate(const NamespaceModel& model) {
  switch (call_.op) {
    case Op::kHandle:
      return;
    case Op::kMkdir:
    case Op::kSymlink:
    case Op::kTmpfile:
      for (const Place& at : from_.ends) {
        const ModelInode* dir = model.find(at.first);
        if (call_.op == Op::kTmpfile) {
          const Ino ino = at.second.empty() ? at.first : model.child(at.first, at.second);
          dir = model.find(ino);
          Verdict verdict;
          if (dir == nullptr) {
            verdict.refuse(ENOENT);
          } else if (!dir->is_dir()) {
            if (dir->type != FileType::kSymlink || !call_.follow) verdict.refuse(ENOTDIR);
          } else if (!permits(call_.who, *dir, kWrite | kExecute)) {
            verdict.deny(EACCES);
          }
          take(verdict, {});
          if (dir != nullptr && dir->is_dir()) unnamed_in_.insert(ino);
        } else {
          take(judge_add(model, at), {});
        }
        if (dir != nullptr) note_parent(*dir);
      }
      for (Ino ino : unnamed_in_) {
        if (const ModelInode* dir = model.find(ino)) note_parent(*dir);
      }
      return;
    case Op::kUnlink:
    case Op::kRmdir:
      for (const Place& at : from_.ends) take(judge_remove(model, at), {});
      return;
    case Op::kRename:
      for (const Place& from : from_.ends) {
        for (const Place& to : to_.ends) {
          bool nothing = false;
          take(judge_rename(model, from, to, &nothing), {});
          nothing_to_do_ = nothing_to_do_ || nothing;
        }
      }
      return;
    case Op::kLink:
    case Op::kLinkHandle:
      if (call_.op == Op::kLink) evaluate_targets(model);
      for (Ino ino : targets_) {
        // Told before the way to the new name is looked at.
        if (model.find(ino) == nullptr) errors_.insert(ENOENT);
      }
      for (const Place& to : to_.ends) {
        Verdict verdict = judge_add(model, to);
        for (Ino ino : targets_) {
          const ModelInode* inode = model.find(ino);
          if (inode == nullptr || (inode->nlink == 0 && call_.op == Op::kLink)) {
            errors_.insert(ENOENT);
          } else if (inode->is_dir()) {
            errors_.insert(EPERM);
          }
        }
        take(verdict, {});
      }
      return;
    case Op::kOpen:
      for (const Place& at : from_.ends) {
        const ModelInode* found = model.find(model.child(at.first, at.second));
        const bool link = found != nullptr && found->type == FileType::kSymlink;
        if (link && call_.follow) continue;  // the walk goes on behind it
        std::string detail;
        take(judge_open(model, at, &detail), detail);
        if (const ModelInode* dir = model.find(at.first)) {
          note_parent(*dir);
        }
      }
      for (Ino ino : targets_) {
        const ModelInode* inode = model.find(ino);
        if (inode == nullptr || inode->nlink == 0) errors_.insert(ENOENT);
      }
      return;
    case Op::kList:
      evaluate_list(model);
      return;
    case Op::kRemoveTree:
      for (const Place& at : from_.ends) {
        const Ino ino = model.child(at.first, at.second);
        if (ino == 0) {
          errors_.insert(ENOENT);
          nothing_to_do_ = true;
        } else {
          targets_.insert(ino);
        }
      }
      return;
    default:
      evaluate_targets(model);
      return;
  }
}

// ---- own commits

bool CallWindow::wants(const TreeChange& change, const NamespaceModel& before, std::string* why) {
  auto single = [&](bool add, Place* at) {
    if (change.names.size() != 1) return false;
    const NameChange& name = change.names.front();
    *at = {name.dir, name.name};
    return add ? name.before == 0 && name.after != 0 : name.before != 0 && name.after == 0;
  };
  Place at;
  switch (call_.op) {
    case Op::kMkdir:
    case Op::kSymlink:
    case Op::kOpen:
      if (!single(true, &at) || !change.created.contains(change.names.front().after)) break;
      if (call_.op == Op::kOpen && (call_.flags & O_CREAT) == 0) break;
      return from_.ends.contains(at);
    case Op::kTmpfile:
      return change.names.empty() && change.orphans_made.size() == 1;
    case Op::kUnlink:
    case Op::kRmdir: {
      if (!single(false, &at) || !from_.ends.contains(at)) break;
      const Verdict verdict = judge_remove(before, at);
      *why = list_of(verdict.structural);
      return verdict.structural.empty();
    }
    case Op::kLink:
    case Op::kLinkHandle: {
      if (!single(true, &at) || !to_.ends.contains(at)) break;
      const Ino ino = change.names.front().after;
      if (!targets_.contains(ino)) break;
      const ModelInode* source = before.find(ino);
      if (call_.op == Op::kLink && (source == nullptr || source->nlink == 0)) {
        *why = "the file had no name any more";
        return false;
      }
      return true;
    }
    case Op::kRename:
      for (const Place& from : from_.ends) {
        for (const Place& to : to_.ends) {
          const Ino source = before.child(from.first, from.second);
          const Ino target = before.child(to.first, to.second);
          const bool exchange = (call_.flags & meta::kRenameExchange) != 0;
          std::set<NameChange> wanted = {{to.first, to.second, target, source},
                                         {from.first, from.second, source, exchange ? target : 0}};
          if (source == target || source == 0) continue;
          if (wanted != std::set<NameChange>(change.names.begin(), change.names.end())) continue;
          bool nothing = false;
          const Verdict verdict = judge_rename(before, from, to, &nothing);
          *why = list_of(verdict.structural);
          return verdict.structural.empty();
        }
      }
      break;
    case Op::kRemoveTree: {
      for (const NameChange& name : change.names) {
        if (name.after != 0) return false;
        const bool top = from_.ends.contains({name.dir, name.name});
        bool below = false;
        for (Ino tree : targets_) below = below || is_above(before, tree, name.dir);
        if (!top && !below) *why = "outside the tree";
        if (!top && !below) return false;
        if (below) targets_.insert(name.before);  // its content too, wherever it is moved
      }
      return true;
    }
    default:
      break;
  }
  return false;
}

std::optional<std::string> CallWindow::committing(const TreeChange& change,
                                                  const NamespaceModel& before) {
  expected_.reset();
  if (!change.names.empty() || !change.orphans_made.empty()) {
    std::string why;
    if (!wants(change, before, &why)) {
      std::string text = "a commit changed what the call did not ask for, or not now:";
      for (const NameChange& n : change.names) {
        text += " [" + std::to_string(n.dir) + "/" + n.name + ": " + std::to_string(n.before) +
                " -> " + std::to_string(n.after) + "]";
      }
      return text + (why.empty() ? "" : " (" + why + ")");
    }
    ++commits_;
    for (const NameChange& n : change.names) committed_inos_.insert(n.after);
    for (Ino ino : change.orphans_made) committed_inos_.insert(ino);
  }
  if (!change.attributes.empty()) {
    const Ino ino = *change.attributes.begin();
    if (change.attributes.size() != 1 || !targets_.contains(ino) ||
        (call_.op != Op::kChmod && call_.op != Op::kChown && call_.op != Op::kSetAttrHandle &&
         call_.op != Op::kSetAcl)) {
      return "a commit changed the attributes of " + std::to_string(ino) +
             ", which the call did not ask for";
    }
    const ModelInode* inode = before.find(ino);
    if (inode == nullptr) return "attributes of an inode that is gone were changed";
    expected_ = *inode;
    expected_->mode = mode_after(call_, *inode);
    expected_->uid = call_.uid.value_or(inode->uid);
    expected_->gid = call_.gid.value_or(inode->gid);
    expected_ino_ = ino;
    ++commits_;
  }
  std::set<std::pair<Ino, std::string>> xattrs = change.xattrs;
  std::erase_if(xattrs, [&](const auto& x) { return change.created.contains(x.first); });
  if (!xattrs.empty()) {
    const auto& [ino, name] = *xattrs.begin();
    if (xattrs.size() != 1 || !targets_.contains(ino) || name != call_.name) {
      return "a commit changed an extended attribute that the call did not name";
    }
    std::string detail;
    const Verdict verdict = judge_target(before, ino, &detail);
    if (!verdict.structural.empty()) {
      return "the call should have failed with " + list_of(verdict.structural);
    }
    if (change.attributes.empty()) ++commits_;
  }
  return std::nullopt;
}

void CallWindow::note_parent(const ModelInode& dir) {
  const auto acl = dir.xattrs.find(kDefaultAcl);
  new_parents_.insert(
      {dir.gid, dir.mode & kSetGroupId, acl == dir.xattrs.end() ? "" : acl->second});
}

/// Mode, group and ACLs of a new file, in its directory as it was at some moment.
bool CallWindow::made_rightly(const ModelInode& made) const {
  for (const auto& [gid, inherits, acl] : new_parents_) {
    const uint32_t wanted = inherits != 0 ? gid : call_.who.gid;
    uint32_t mode = call_.mode & 07777 & ~(acl.empty() ? call_.who.umask : 0);
    std::map<std::string, std::string> xattrs;
    if (made.is_dir()) mode = (mode & 01777) | inherits;
    if (made.type == FileType::kSymlink) mode = 0777;
    if (made.type == FileType::kRegular && call_.who.uid != 0 && !call_.who.in_group(wanted)) {
      mode &= ~kSetGroupId;
    }
    if (!acl.empty() && made.type != FileType::kSymlink) inherit(acl, made.type, &mode, &xattrs);
    if (made.gid == wanted && made.mode == mode && made.xattrs == xattrs) return true;
  }
  return false;
}

std::optional<std::string> CallWindow::committed(const TreeChange& change,
                                                 const NamespaceModel& after) {
  for (Ino ino : change.created) {
    const ModelInode* made = after.find(ino);
    if (made == nullptr) continue;
    FileType type = FileType::kRegular;
    if (call_.op == Op::kMkdir) type = FileType::kDirectory;
    if (call_.op == Op::kSymlink) type = FileType::kSymlink;
    bool right = made->type == type && made->uid == call_.who.uid;
    if (type == FileType::kSymlink) right = right && made->target == call_.value;
    if (!right || !made_rightly(*made))
      return "a new file has wrong attributes: " + stat_detail(ino, *made);
  }
  if (expected_) {
    const ModelInode* now = after.find(expected_ino_);
    expected_->nlink = now->nlink;
    if (stat_detail(expected_ino_, *now) != stat_detail(expected_ino_, *expected_)) {
      return "attributes should have become " + stat_detail(expected_ino_, *expected_) +
             " and became " + stat_detail(expected_ino_, *now);
    }
  }
  return std::nullopt;
}

bool CallWindow::changes() const {
  switch (call_.op) {
    case Op::kMkdir:
    case Op::kSymlink:
    case Op::kUnlink:
    case Op::kRmdir:
    case Op::kRename:
    case Op::kLink:
    case Op::kLinkHandle:
    case Op::kChmod:
    case Op::kChown:
    case Op::kSetXattr:
    case Op::kRemoveXattr:
    case Op::kTmpfile:
    case Op::kSetAttrHandle:
    case Op::kSetAcl:
      return true;
    default:
      return false;
  }
}

std::optional<std::string> CallWindow::answered_list(const Answer& answer) const {
  std::string last;
  std::set<std::string> seen;
  for (const std::string& name : answer.names) {
    if (!last.empty() && name <= last) return "names are not in order: " + last + ", " + name;
    if (!ever_.contains(name)) return "listed \"" + name + "\", which was not there";
    last = name;
    seen.insert(name);
  }
  for (const std::string& name : always_) {
    if (!seen.contains(name)) return "\"" + name + "\" was there all the time and is not listed";
  }
  return std::nullopt;
}

std::optional<std::string> CallWindow::answered(const Answer& answer, bool excused) {
  if (call_.op == Op::kHandle) return std::nullopt;
  if (answer.error != 0) {
    if (infrastructure(answer.error) && excused) return std::nullopt;
    if (call_.op == Op::kRemoveTree && (answer.error == ENOTEMPTY || answer.error == ENOENT ||
                                        answer.error == EACCES || answer.error == EPERM)) {
      return std::nullopt;  // others were in the tree
    }
    if (commits_ != 0 && call_.op != Op::kOpen) {
      return std::string("failed with ") + strerrorname_np(answer.error) + " after it was done";
    }
    if (errors_.contains(answer.error)) return std::nullopt;
    return std::string("failed with ") + strerrorname_np(answer.error) +
           ", which was right at no moment; right: " + list_of(errors_) +
           (details_.empty() ? "" : ", or success: " + list_of(details_));
  }
  if (call_.op == Op::kList) return answered_list(answer);
  if (call_.op == Op::kRemoveTree) return std::nullopt;
  if (changes()) {
    if (commits_ == 0 && nothing_to_do_) return std::nullopt;
    if (commits_ != 1) {
      return "succeeded with " + std::to_string(commits_) +
             " changes instead of one; errors: " + list_of(errors_);
    }
    if (!permitted_) return std::string("succeeded without permission at any moment");
    return std::nullopt;
  }
  if (!permitted_) return std::string("succeeded without permission at any moment");
  if (call_.op == Op::kOpen && commits_ == 1) {
    const Ino made = *committed_inos_.begin();
    if (answer.detail == "#" + std::to_string(made)) return std::nullopt;
  }
  if (details_.contains(answer.detail)) return std::nullopt;
  return "answered \"" + answer.detail +
         "\", which was right at no moment; right: " + list_of(details_) +
         "; errors: " + list_of(errors_);
}

}  // namespace skerry::model
