// Calls that take paths, over few names, so that clients meet.
#include <algorithm>

#include "model/acl_model.h"
#include "model/client.h"
#include "support/acl_text.h"
#include "vfs/confirm.h"

namespace skerry::model {

namespace {

std::string detail_of(const meta::Attributes& attr) {
  ModelInode inode;
  inode.type = attr.type;
  inode.mode = attr.mode;
  inode.uid = attr.uid;
  inode.gid = attr.gid;
  inode.nlink = attr.nlink;
  return stat_detail(attr.ino, inode);
}

}  // namespace

std::string Client::any_directory() {
  constexpr const char* kDirectories[] = {"/", "/", "/", "/d", "/d", "/e", "/d/f", "/l"};
  return kDirectories[world_.dice.below(8)];
}

std::string Client::path_of(const char* name) {
  const std::string dir = any_directory();
  return dir == "/" ? "/" + std::string(name) : dir + "/" + name;
}

/// Mostly a name that files have; every name may be anything's.
std::string Client::any_path() {
  constexpr const char* kNames[] = {"a", "a", "b", "b", "c", "log", "log", "d", "e", "f", "l"};
  return path_of(kNames[world_.dice.below(world_.dice.chance(1, 4) ? 11 : 7)]);
}

std::string Client::any_directory_path() {
  constexpr const char* kNames[] = {"d", "e", "f", "l", "a", "b"};
  return path_of(kNames[world_.dice.below(world_.dice.chance(1, 4) ? 6 : 3)]);
}

uint32_t Client::any_uid() { return world_.dice.chance(1, 4) ? 1000 : 0; }

void Client::name_call() {
  switch (world_.dice.below(24)) {
    case 0:
    case 1:
    case 2:
      return call_stat();
    case 3:
    case 4:
    case 5:
      return call_mkdir();
    case 6:
      return call_symlink();
    case 7:
    case 8:
    case 9:
      return call_remove(Op::kUnlink);
    case 10:
      return call_remove(Op::kRmdir);
    case 11:
    case 12:
    case 13:
    case 14:
    case 15:
    case 16:
      return call_rename();
    case 17:
    case 18:
      return call_link();
    case 19:
      return call_attributes(world_.dice.chance(1, 2) ? Op::kChmod : Op::kChown);
    case 20:
      return world_.dice.chance(1, 2) ? call_xattr() : call_acl();
    case 21:
      return call_list();
    case 22:
      return call_truncate();
    default:
      if (world_.dice.chance(1, 3)) return call_remove_tree();
      return call_list();
  }
}

/// As the C ABI's calls on attributes by path.
Status Client::change_found(const OpContext& ctx, const std::string& path,
                            const std::function<Status(const OpContext&, Ino)>& change) {
  return vfs::confirmed(ctx, volume_->meta(), [&](const OpContext& by) -> Status {
    SKERRY_ASSIGN(meta::Attributes attr, vfs::find(by, *volume_, nullptr, path, {true, false}));
    return change(by, attr.ino);
  });
}

void Client::call_stat() {
  Call call;
  call.op = world_.dice.chance(1, 6) ? Op::kReadlink : Op::kStat;
  call.who.uid = any_uid();
  call.path = world_.dice.chance(1, 8) ? any_directory() : any_path();
  call.follow = call.op == Op::kStat && world_.dice.chance(1, 2);
  const DataOracle::Since owed = since(world_.data.tick());
  Ino ino = 0;
  uint64_t size = 0;
  perform(call, [&](const OpContext& ctx) {
    Answer answer;
    if (call.op == Op::kReadlink) {
      auto target = vfs::readlink(ctx, *volume_, nullptr, call.path);
      if (!target.ok()) return answer_of(std::move(target).error());
      answer.detail = *target;
      return answer;
    }
    auto attr = vfs::stat(ctx, *volume_, nullptr, call.path, {call.follow, false});
    if (!attr.ok()) return answer_of(std::move(attr).error());
    if (attr->type == FileType::kRegular) ino = attr->ino;
    size = attr->length;
    answer.detail = detail_of(*attr);
    return answer;
  });
  if (!alive() || ino == 0) return;
  if (auto problem = world_.data.check_size(ino, self_->number, owed, size)) {
    world_.fail("client " + std::to_string(slot_) + ", " + call.text() + ": " + *problem);
  }
}

void Client::call_mkdir() {
  Call call;
  call.op = Op::kMkdir;
  call.who.uid = any_uid();
  call.path = any_directory_path();
  constexpr uint32_t kModes[] = {0777, 0777, 0755, 01777, 0700};
  call.mode = kModes[world_.dice.below(5)];
  perform(call, [&](const OpContext& ctx) {
    return answer_of(vfs::mkdir(ctx, *volume_, nullptr, call.path, call.mode));
  });
}

void Client::call_symlink() {
  Call call;
  call.op = Op::kSymlink;
  call.who.uid = any_uid();
  call.path = any_path();
  constexpr const char* kTargets[] = {"d", "/d", "a", "../a", "/d/f", "l", "nowhere"};
  call.value = kTargets[world_.dice.below(7)];
  perform(call, [&](const OpContext& ctx) {
    return answer_of(vfs::symlink(ctx, *volume_, call.value, nullptr, call.path));
  });
}

void Client::call_remove(Op op) {
  Call call;
  call.op = op;
  call.who.uid = any_uid();
  call.path = op == Op::kRmdir ? any_directory_path() : any_path();
  perform(call, [&](const OpContext& ctx) {
    return answer_of(op == Op::kUnlink ? vfs::unlink(ctx, *volume_, nullptr, call.path)
                                       : vfs::rmdir(ctx, *volume_, nullptr, call.path));
  });
}

void Client::call_rename() {
  Call call;
  call.op = Op::kRename;
  call.who.uid = any_uid();
  const bool directories = world_.dice.chance(1, 3);
  call.path = directories ? any_directory_path() : any_path();
  call.path2 = directories ? any_directory_path() : any_path();
  constexpr unsigned kFlags[] = {0, 0, 0, meta::kRenameNoReplace, meta::kRenameExchange};
  call.flags = kFlags[world_.dice.below(5)];
  perform(call, [&](const OpContext& ctx) {
    return answer_of(
        vfs::rename(ctx, *volume_, nullptr, call.path, nullptr, call.path2, call.flags));
  });
}

void Client::call_link() {
  Call call;
  call.op = Op::kLink;
  call.who.uid = any_uid();
  call.path = any_path();
  call.path2 = any_path();
  perform(call, [&](const OpContext& ctx) {
    return answer_of(
        vfs::link(ctx, *volume_, nullptr, call.path, nullptr, call.path2, {false, false}));
  });
}

void Client::call_attributes(Op op) {
  Call call;
  call.op = op;
  call.who.uid = any_uid();
  call.path = any_path();
  call.follow = true;
  meta::SetAttributes set;
  if (op == Op::kChmod) {
    constexpr uint32_t kModes[] = {0777, 0755, 0700, 01777, 02777, 06777, 0666, 0600};
    call.mode = kModes[world_.dice.below(8)];
    set.mode = call.mode;
  } else {
    if (world_.dice.chance(3, 4)) call.uid = world_.dice.chance(1, 2) ? 0 : 1000;
    if (!call.uid || world_.dice.chance(1, 2)) call.gid = world_.dice.chance(1, 2) ? 0 : 1000;
    set.uid = call.uid;
    set.gid = call.gid;
  }
  perform(call, [&](const OpContext& ctx) {
    return answer_of(change_found(ctx, call.path, [&](const OpContext& by, Ino ino) {
      return vfs::set_attributes(by, *volume_, ino, set);
    }));
  });
}

void Client::call_xattr() {
  Call call;
  constexpr Op kOps[] = {Op::kSetXattr, Op::kGetXattr, Op::kRemoveXattr};
  call.op = kOps[world_.dice.below(3)];
  call.who.uid = any_uid();
  call.path = any_path();
  call.follow = true;
  call.name = world_.dice.chance(1, 2) ? "user.x" : "user.y";
  call.flags = static_cast<unsigned>(world_.dice.below(3));
  if (call.op == Op::kSetXattr) call.value = std::to_string(world_.dice.next());
  perform(call, [&](const OpContext& ctx) {
    meta::Meta& meta = volume_->meta();
    if (call.op != Op::kGetXattr) {
      return answer_of(change_found(ctx, call.path, [&](const OpContext& by, Ino ino) {
        if (call.op == Op::kRemoveXattr) return meta::remove_xattr(by, meta, ino, call.name);
        return meta::set_xattr(by, meta, ino, call.name, call.value,
                               static_cast<meta::XattrMode>(call.flags));
      }));
    }
    auto attr = vfs::find(ctx, *volume_, nullptr, call.path, {true, false});
    if (!attr.ok()) return answer_of(std::move(attr).error());
    auto value = meta::get_xattr(ctx, meta, attr->ino, call.name);
    if (!value.ok()) return answer_of(std::move(value).error());
    Answer answer;
    answer.detail = "=" + *value;
    return answer;
  });
}

void Client::call_acl() {
  Call call;
  call.op = Op::kSetAcl;
  call.who.uid = any_uid();
  call.path = world_.dice.chance(1, 2) ? any_directory() : any_path();
  call.follow = true;
  call.name = world_.dice.chance(1, 2) ? kAccessAcl : kDefaultAcl;
  constexpr const char* kAcls[] = {"",
                                   "u::rwx,g::rwx,o::rwx",
                                   "u::rwx,u:1000:rwx,g::-,m::rwx,o::-",
                                   "u::rwx,g::-,g:1000:rx,m::rwx,o::x",
                                   "u::rwx,u:1000:-,g::rwx,m::rwx,o::rwx",
                                   "u::rw,u:0:r,u:1000:rwx,g::r,m::r,o::r"};
  const char* text = kAcls[world_.dice.below(6)];
  if (*text != 0) call.value = acl(text);
  perform(call, [&](const OpContext& ctx) {
    return answer_of(change_found(ctx, call.path, [&](const OpContext& by, Ino ino) {
      meta::Meta& meta = volume_->meta();
      if (call.value.empty()) return meta::remove_xattr(by, meta, ino, call.name);
      return meta::set_xattr(by, meta, ino, call.name, call.value, meta::XattrMode::kSet);
    }));
  });
}

void Client::call_list() {
  Call call;
  call.op = Op::kList;
  call.who.uid = any_uid();
  call.path = any_directory();
  call.follow = true;
  const uint32_t page_size = world_.dice.chance(1, 2) ? 2 : 100;
  perform(call, [&](const OpContext& ctx) {
    Answer answer;
    auto dir = vfs::find(ctx, *volume_, nullptr, call.path, {true, false});
    if (!dir.ok()) return answer_of(std::move(dir).error());
    std::string after;
    for (bool more = true, first = true; more; first = false) {
      auto page =
          meta::list(ctx, volume_->meta(), dir->ino, after, page_size, page_size > 2, first);
      if (!page.ok()) return answer_of(std::move(page).error());
      for (const auto& entry : page->entries) answer.names.push_back(entry.name);
      more = page->more && !page->entries.empty();
      if (more) after = page->entries.back().name;
    }
    return answer;
  });
}

void Client::call_truncate() {
  Call call;
  call.op = Op::kTruncate;
  call.who.uid = any_uid();
  call.path = any_path();
  call.follow = true;
  const uint64_t length = world_.dice.chance(1, 3) ? 0 : any_offset();
  call.mode = static_cast<uint32_t>(length);
  const Moment began = world_.data.tick();
  std::map<Ino, uint64_t> cuts;
  self_->on_data = [&](Ino ino) {
    if (cuts.contains(ino)) return;
    DataOracle::Change cut;
    cut.kind = DataOracle::Kind::kTruncate;
    cut.client = self_->number;
    cut.offset = length;
    cut.begin = began;
    cuts[ino] = world_.data.begin(ino, cut);
  };
  const Answer answer = perform(call, [&](const OpContext& ctx) {
    Answer result = answer_of(vfs::truncate(ctx, *volume_, call.path, length));
    if (result.error == 0) result.detail = "done";
    return result;
  });
  self_->on_data = nullptr;
  if (!alive() || answer.error != 0) return;
  for (const auto& [ino, id] : cuts) world_.data.acknowledged(ino, id, true);
}

void Client::call_remove_tree() {
  Call call;
  call.op = Op::kRemoveTree;
  call.path = any_directory_path();
  perform(call, [&](const OpContext& ctx) {
    return answer_of(vfs::remove_tree(ctx, *volume_, call.path, {}));
  });
}

}  // namespace skerry::model
