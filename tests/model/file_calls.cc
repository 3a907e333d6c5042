// Calls on open files: what is written carries a tag in every cell, so that the oracle knows whose
// bytes a read gave.
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>

#include "model/client.h"

namespace skerry::model {

namespace {

constexpr uint64_t kBlock = 64u << 10;
constexpr size_t kMaxFiles = 5;

meta::FileLock whole_file(const vfs::Handle& handle) {
  meta::FileLock lock;
  lock.kind = meta::LockKind::kFlock;
  lock.owner = handle.flock_owner();
  return lock;
}

/// Of the default owner; the end may reach over the others' beginnings.
meta::FileLock record_range(uint64_t first, uint64_t length) {
  meta::FileLock lock;
  lock.first = first * 10;
  lock.last = length == 0 ? meta::kLastLockByte : lock.first + length * 10;
  return lock;
}

std::string hex_flags(int flags) {
  std::string text;
  if ((flags & O_CREAT) != 0) text += " creat";
  if ((flags & O_EXCL) != 0) text += " excl";
  if ((flags & O_TRUNC) != 0) text += " trunc";
  if ((flags & O_APPEND) != 0) text += " append";
  return text;
}

}  // namespace

uint64_t Client::any_offset() {
  Dice& dice = world_.dice;
  if (dice.chance(1, 40)) return meta::kChunkSize + dice.below(16) * kCell - 8 * kCell;
  switch (dice.below(6)) {
    case 0:
      return 0;
    case 1:
      return dice.below(16) * kCell;
    case 2:
      return 4096 + dice.below(8) * kCell - 4 * kCell;
    case 3:
      return kBlock + dice.below(8) * kCell - 4 * kCell;
    default:
      return dice.below(1024) * kCell;
  }
}

uint64_t Client::any_length() {
  Dice& dice = world_.dice;
  switch (dice.below(8)) {
    case 0:
      return kBlock + dice.below(64) * kCell;
    case 1:
      return 4096;
    case 2:
      return (1 + dice.below(1024)) * kCell;
    default:
      return (1 + dice.below(16)) * kCell;
  }
}

Client::File* Client::any_file(bool (*fits)(const File&)) {
  std::vector<File*> found;
  for (File& file : files_) {
    if (fits(file)) found.push_back(&file);
  }
  return found.empty() ? nullptr : found[world_.dice.below(found.size())];
}

void Client::file_call() {
  Dice& dice = world_.dice;
  if (files_.empty() || (files_.size() < kMaxFiles && dice.chance(1, 5))) {
    return dice.chance(1, 12) ? call_tmpfile() : call_open();
  }
  if (files_.size() >= kMaxFiles || dice.chance(1, 10)) {
    return call_close(dice.below(files_.size()));
  }
  File* writer = any_file([](const File& f) { return f.writable; });
  File* reader = any_file([](const File& f) { return f.readable; });
  File* cutter = any_file([](const File& f) { return f.writable && !f.append; });
  const bool may_cut = cutter != nullptr && !world_.data.append_only(cutter->ino);
  if (dice.chance(1, 6)) {
    File* locker = any_file([](const File& f) { return f.readable || f.writable; });
    if (locker == nullptr) return;
    // Mostly the oldest file that is open: the one that others have open as well.
    for (File& file : files_) {
      const bool older = (file.readable || file.writable) && file.ino < locker->ino;
      if (older && dice.chance(3, 4)) locker = &file;
    }
    // A few at once, or two clients would hardly ever meet.
    for (uint64_t more = 1 + dice.below(6); more > 0 && alive(); --more) {
      dice.chance(1, 2) ? call_lock(*locker) : call_unlock(*locker);
    }
    return;
  }
  switch (dice.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      if (writer != nullptr) call_write(*writer);
      return;
    case 5:
    case 6:
    case 7:
    case 8:
      if (reader != nullptr) call_read(*reader);
      return;
    case 9:
    case 10:
      if (writer != nullptr) call_sync(*writer);
      return;
    case 11:
      return call_fstat(files_[dice.below(files_.size())]);
    case 12:
      if (may_cut) call_cut(*cutter);
      return;
    case 13:
      if (may_cut) call_zero(*cutter);
      return;
    case 14:
      if (may_cut && reader != nullptr && !world_.data.append_only(reader->ino)) {
        call_copy(*reader, *cutter);
      }
      return;
    default: {
      File* temporary = any_file([](const File& f) { return f.temporary; });
      if (temporary != nullptr && dice.chance(2, 3)) return call_link_handle(*temporary);
      return call_fchmod(files_[dice.below(files_.size())]);
    }
  }
}

void Client::note_opened(std::unique_ptr<vfs::Handle> handle, int flags, bool temporary) {
  File file;
  file.id = next_handle_++;
  file.flags = flags;
  file.ino = handle->ino();
  const bool regular = handle->type() == FileType::kRegular;
  file.readable = regular && (flags & O_ACCMODE) != O_WRONLY;
  file.writable = regular && (flags & O_ACCMODE) != O_RDONLY;
  file.append = (flags & O_APPEND) != 0;
  file.temporary = temporary;
  file.opened = self_->began;
  file.handle = std::move(handle);
  self_->open.insert(file.ino);
  // What was written before may be dropped, also what was acknowledged after the session had gone.
  if (self_->lost_locks.erase(file.ino) > 0) world_.data.dropped(self_->number, file.ino);
  files_.push_back(std::move(file));
}

void Client::call_open() {
  Dice& dice = world_.dice;
  Call call;
  call.op = Op::kOpen;
  call.who.uid = any_uid();
  call.path = any_path();
  call.mode = dice.chance(2, 3) ? 0666 : 0600;
  call.follow = !dice.chance(1, 8);
  constexpr int kAccess[] = {O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY};
  int flags = kAccess[dice.below(5)];
  if (dice.chance(3, 4)) flags |= O_CREAT;
  if ((flags & O_CREAT) != 0 && dice.chance(1, 6)) flags |= O_EXCL;
  if (!call.follow) flags |= O_NOFOLLOW;
  if ((flags & O_EXCL) != 0) call.follow = false;  // O_EXCL takes a link for an existing file
  if (call.path.ends_with("log")) {
    flags |= O_APPEND;
  } else if ((flags & O_ACCMODE) != O_RDONLY && dice.chance(1, 8)) {
    flags |= O_TRUNC;
  }
  call.flags = static_cast<unsigned>(flags);
  const Moment began = world_.data.tick();
  std::map<Ino, uint64_t> cuts;
  if ((flags & O_TRUNC) != 0) {
    self_->on_data = [&](Ino ino) {
      if (cuts.contains(ino)) return;
      DataOracle::Change cut;
      cut.kind = DataOracle::Kind::kTruncate;
      cut.client = self_->number;
      cut.begin = began;
      cuts[ino] = world_.data.begin(ino, cut);
    };
  }
  std::unique_ptr<vfs::Handle> handle;
  world_.trace("open" + hex_flags(flags));
  const Answer answer = perform(call, [&](const OpContext& ctx) {
    auto opened = vfs::open_file(ctx, *volume_, nullptr, call.path, flags, call.mode);
    if (!opened.ok()) return answer_of(std::move(opened).error());
    handle = std::move(opened).value();
    Answer result;
    result.detail = "#" + std::to_string(handle->ino());
    return result;
  });
  self_->on_data = nullptr;
  if (!alive() || handle == nullptr) return;
  if (answer.error == 0) {
    for (const auto& [ino, id] : cuts) world_.data.acknowledged(ino, id, true);
  }
  note_opened(std::move(handle), flags, false);
}

void Client::call_tmpfile() {
  Call call;
  call.op = Op::kTmpfile;
  call.who.uid = any_uid();
  call.path = any_directory();
  call.follow = true;
  call.mode = 0600;
  std::unique_ptr<vfs::Handle> handle;
  perform(call, [&](const OpContext& ctx) {
    auto opened = vfs::open_file(ctx, *volume_, nullptr, call.path, O_TMPFILE | O_RDWR, call.mode);
    if (!opened.ok()) return answer_of(std::move(opened).error());
    handle = std::move(opened).value();
    return Answer{};
  });
  if (alive() && handle != nullptr) note_opened(std::move(handle), O_RDWR, true);
}

void Client::call_link_handle(File& file) {
  Call call;
  call.op = Op::kLinkHandle;
  call.ino = file.ino;
  call.path2 = any_path();
  perform(call, [&](const OpContext& ctx) {
    return answer_of(
        vfs::link(ctx, *volume_, file.handle.get(), "", nullptr, call.path2, {false, true}));
  });
}

void Client::call_fchmod(File& file) {
  Call call;
  call.op = Op::kSetAttrHandle;
  call.ino = file.ino;
  call.who.uid = any_uid();
  constexpr uint32_t kModes[] = {0777, 0755, 06777, 0666};
  call.mode = kModes[world_.dice.below(4)];
  meta::SetAttributes set;
  set.mode = call.mode;
  perform(call, [&](const OpContext& ctx) {
    return answer_of(vfs::set_attributes(ctx, *volume_, file.ino, set));
  });
}

/// Only what says that data cannot be kept lets the library drop it.
void Client::data_error(Ino ino, int error) {
  if (error != EIO && error != ETIMEDOUT) world_.data.dropped(self_->number, ino);
}

void Client::call_close(size_t index) {
  File file = std::move(files_[index]);
  files_.erase(files_.begin() + static_cast<ptrdiff_t>(index));
  const Moment began = world_.data.tick();
  world_.lock_given_up(*self_, file.ino, whole_file(*file.handle));
  world_.lock_given_up(*self_, file.ino, record_range(0, 0));
  Status flushed = quiet_call("close #" + std::to_string(file.ino), [&](const OpContext& ctx) {
    self_->open.erase(self_->open.find(file.ino));
    Status status = file.handle->flush(ctx);
    file.handle.reset();
    return status;
  });
  file.handle.reset();
  if (!alive()) return;
  if (flushed.ok()) {
    world_.data.settled(file.ino, self_->number, file.id, began);
  } else {
    world_.data.dropped(self_->number, file.ino);
  }
}

/// flock, or a record lock of the default owner: such an owner never waits for itself.
void Client::call_lock(File& file) {
  Dice& dice = world_.dice;
  meta::FileLock lock = whole_file(*file.handle);
  if (dice.chance(1, 2)) lock = record_range(dice.below(4), dice.below(4));
  lock.exclusive =
      lock.kind == meta::LockKind::kFlock ? dice.chance(1, 2) : file.writable && dice.chance(1, 2);
  if (lock.kind == meta::LockKind::kRecord && !lock.exclusive && !file.readable) return;
  const bool wait = dice.chance(1, 4);
  // A change of type may cost what there was; of the record locks only a part is replaced. What
  // becomes a read lock is one for the others before the call returns.
  if (lock.kind == meta::LockKind::kFlock || !lock.exclusive) {
    world_.lock_given_up(*self_, file.ino, lock);
  }
  meta::ClientId session = 0;
  bool granted = false;
  Status called =
      quiet_call(std::string(wait ? "wait for " : "try ") + (lock.exclusive ? "write" : "read") +
                     " lock #" + std::to_string(file.ino) + " " + std::to_string(lock.first) + "-" +
                     std::to_string(lock.last),
                 [&](const OpContext& ctx) -> Status {
                   OpContext patient = ctx;
                   patient.deadline_ns = self_->clock->monotonic_ns() + 3'000'000'000;
                   // In one thread nobody gives up what another of its own files holds.
                   const bool may_wait = wait && lock.kind == meta::LockKind::kRecord;
                   Status locked = file.handle->lock(patient, lock, may_wait);
                   session = volume_->meta().client();
                   granted = locked.ok();
                   if (granted) return {};
                   const int error = locked.error().code();
                   const bool ends = error == ETIMEDOUT || error == EDEADLK;
                   const bool refused = error == EAGAIN || (may_wait && ends);
                   return refused ? Status() : locked;
                 });
  if (!alive() || !called.ok() || !granted) return;
  if (lock.kind == meta::LockKind::kRecord) world_.lock_given_up(*self_, file.ino, lock);
  world_.lock_granted(*self_, file.ino, session, lock);
  if (!alive() || !file.writable || !world_.rates.freezes || world_.freezes_left == 0) return;
  if (!dice.chance(1, 2)) return;
  // What a lock is to keep out: its holder has something to write, and is stopped for so long that
  // others have it by the time he goes on.
  call_write(file);
  if (!alive()) return;
  --world_.freezes_left;
  for (auto& other : world_.incarnations) ++other->injected;
  world_.trace("the holder of the lock freezes");
  world_.scheduler.freeze_until(world_.scheduler.now() + 150'000'000'000);
  world_.trace("the holder of the lock goes on");
}

void Client::call_unlock(File& file) {
  meta::FileLock lock = whole_file(*file.handle);
  if (world_.dice.chance(1, 2)) lock = record_range(world_.dice.below(4), world_.dice.below(4));
  world_.lock_given_up(*self_, file.ino, lock);
  Status unlocked = quiet_call("unlock #" + std::to_string(file.ino), [&](const OpContext& ctx) {
    return file.handle->unlock(ctx, lock);
  });
  if (alive() && !unlocked.ok()) data_error(file.ino, unlocked.error().code());
}

void Client::call_sync(File& file) {
  const Moment began = world_.data.tick();
  Status synced = quiet_call("fsync #" + std::to_string(file.ino),
                             [&](const OpContext& ctx) { return file.handle->sync(ctx); });
  if (!alive()) return;
  if (synced.ok()) {
    world_.data.settled(file.ino, self_->number, 0, began);
  } else {
    data_error(file.ino, synced.error().code());
  }
}

void Client::call_write(File& file) {
  // Files of records get whole records only, other files no appends.
  if (world_.data.append_only(file.ino) != file.append) return;
  DataOracle::Change change;
  change.client = self_->number;
  change.handle = file.id;
  change.length = any_length();
  change.begin = world_.data.tick();
  change.tag = change.begin;
  if (file.append) {
    change.kind = DataOracle::Kind::kAppend;
  } else {
    change.offset = any_offset();
    const auto base = static_cast<int64_t>(change.offset);
    change.values.push_back(
        {change.offset, change.offset + change.length, {Value{change.tag, base}}});
  }
  const std::string bytes = tagged_bytes(change.tag, change.length);
  const uint64_t offset = change.offset;
  const uint64_t id = world_.data.begin(file.ino, change);
  Status written = quiet_call(
      (file.append ? "append #" : "write #") + std::to_string(file.ino) + " tag " +
          std::to_string(change.tag) + " at " + std::to_string(offset) + "+" +
          std::to_string(bytes.size()),
      [&](const OpContext& ctx) { return file.handle->write(ctx, offset, as_bytes(bytes)); });
  if (!alive()) return;
  if (written.ok()) {
    world_.data.acknowledged(file.ino, id, false);
  } else {
    data_error(file.ino, written.error().code());
  }
}

void Client::call_read(File& file) {
  const bool records = world_.data.append_only(file.ino);
  const uint64_t offset = records ? 0 : any_offset() / 2 / kCell * kCell;
  std::string bytes(records ? 1u << 20 : std::min<uint64_t>(any_length() * 4, 2 * kBlock), '\0');
  const DataOracle::Since owed = since(world_.data.tick(), &file);
  size_t count = 0;
  Status read =
      quiet_call("read #" + std::to_string(file.ino) + " at " + std::to_string(offset) + "+" +
                     std::to_string(bytes.size()),
                 [&](const OpContext& ctx) -> Status {
                   auto got = file.handle->read(
                       ctx, offset, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
                   if (!got.ok()) return std::move(got).error();
                   count = *got;
                   return {};
                 });
  if (!alive() || !read.ok() || !world_.data.knows(file.ino)) return;
  // After its session was lost a client knows nothing for sure.
  if (self_->session_lost) return;
  world_.data.tick();
  const size_t wanted = bytes.size();
  bytes.resize(count);
  auto problem = world_.data.check_read(file.ino, self_->number, owed, offset, wanted, bytes);
  if (problem) world_.fail("client " + std::to_string(slot_) + ", read: " + *problem);
}

void Client::call_fstat(File& file) {
  Call call;
  call.op = Op::kStat;
  call.ino = file.ino;
  const DataOracle::Since owed = since(world_.data.tick(), &file);
  uint64_t size = 0;
  const Answer answer = perform(call, [&](const OpContext& ctx) {
    auto attr = file.handle->attributes(ctx);
    if (!attr.ok()) return answer_of(std::move(attr).error());
    size = attr->length;
    const bool removed = attr->is_dir() && attr->nlink == 0;  // there are no records to ask
    if (removed && world_.names.find(attr->ino) == nullptr) return Answer{ENOENT, {}, {}};
    ModelInode inode;
    inode.type = attr->type;
    inode.mode = attr->mode;
    inode.uid = attr->uid;
    inode.gid = attr->gid;
    inode.nlink = attr->nlink;
    Answer result;
    result.detail = stat_detail(attr->ino, inode);
    return result;
  });
  if (!alive() || answer.error != 0 || self_->session_lost) return;
  if (file.handle->type() != FileType::kRegular) return;
  if (auto problem = world_.data.check_size(file.ino, self_->number, owed, size)) {
    world_.fail("client " + std::to_string(slot_) + ", fstat #" + std::to_string(file.ino) + ": " +
                *problem);
  }
}

void Client::call_cut(File& file) {
  DataOracle::Change change;
  change.kind = DataOracle::Kind::kTruncate;
  change.client = self_->number;
  change.handle = file.id;
  change.offset = world_.dice.chance(1, 3) ? 0 : any_offset();
  const uint64_t length = change.offset;
  const uint64_t id = world_.data.begin(file.ino, change);
  Status cut =
      quiet_call("ftruncate #" + std::to_string(file.ino) + " to " + std::to_string(length),
                 [&](const OpContext& ctx) { return file.handle->truncate(ctx, length); });
  if (!alive()) return;
  if (cut.ok()) {
    world_.data.acknowledged(file.ino, id, true);
  } else {
    data_error(file.ino, cut.error().code());
  }
}

void Client::call_zero(File& file) {
  constexpr uint32_t kModes[] = {0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
  const uint32_t mode = kModes[world_.dice.below(4)];
  const uint64_t offset = any_offset(), length = any_length();
  DataOracle::Change change;
  const bool keeps = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  change.kind = keeps ? DataOracle::Kind::kZerosKeepSize : DataOracle::Kind::kZeros;
  change.client = self_->number;
  change.handle = file.id;
  change.offset = mode == 0 ? offset + length : offset;  // mode 0 only makes the file longer
  change.length = mode == 0 ? 0 : length;
  const uint64_t id = world_.data.begin(file.ino, change);
  constexpr const char* kNames[] = {"allocate #", "punch #", "zero #", "zero inside #"};
  Status done = quiet_call(
      kNames[std::find(kModes, kModes + 4, mode) - kModes] + std::to_string(file.ino) + " at " +
          std::to_string(offset) + "+" + std::to_string(length),
      [&](const OpContext& ctx) { return file.handle->allocate(ctx, mode, offset, length); });
  if (!alive()) return;
  if (done.ok()) {
    // A file that writes not flushed yet make long enough is left alone.
    world_.data.acknowledged(file.ino, id, mode != 0);
  } else {
    data_error(file.ino, done.error().code());
  }
}

void Client::call_copy(File& from, File& to) {
  if (!world_.data.knows(from.ino)) return;
  const uint64_t from_offset = any_offset(), to_offset = any_offset();
  const uint64_t length = any_length();
  if (from.ino == to.ino && from_offset < to_offset + length && to_offset < from_offset + length) {
    return;
  }
  DataOracle::Change change;
  change.client = self_->number;
  change.handle = to.id;
  change.offset = to_offset;
  change.length = length;
  change.begin = world_.data.tick();
  change.open_end = true;
  const DataOracle::Since owed = since(change.begin, &from);
  auto taken = [&](uint64_t count) {
    std::vector<ValueRange> values;
    const int64_t shift = static_cast<int64_t>(to_offset) - static_cast<int64_t>(from_offset);
    if (count == 0) return values;
    for (ValueRange& range :
         world_.data.possible(from.ino, self_->number, owed, from_offset, count)) {
      range.begin += static_cast<uint64_t>(shift);
      range.end += static_cast<uint64_t>(shift);
      for (Value& value : range.values) {
        if (value.tag != 0) value.base += shift;
      }
      values.push_back(std::move(range));
    }
    return values;
  };
  std::optional<uint64_t> id;
  // What it takes is what the source may hold when it is committed.
  self_->on_data = [&](Ino ino) {
    if (ino != to.ino) return;
    if (!id) id = world_.data.begin(to.ino, change);
    world_.data.set_values(to.ino, *id, length, taken(length), true);
  };
  uint64_t count = 0;
  Status copied = quiet_call("copy #" + std::to_string(from.ino) + " at " +
                                 std::to_string(from_offset) + " to #" + std::to_string(to.ino) +
                                 " at " + std::to_string(to_offset) + "+" + std::to_string(length),
                             [&](const OpContext& ctx) -> Status {
                               auto got = vfs::Handle::copy_range(ctx, *from.handle, from_offset,
                                                                  *to.handle, to_offset, length);
                               if (!got.ok()) return std::move(got).error();
                               count = *got;
                               return {};
                             });
  self_->on_data = nullptr;
  if (!alive()) return;
  if (!copied.ok()) {
    data_error(to.ino, copied.error().code());
    data_error(from.ino, copied.error().code());
    return;
  }
  if (count % kCell != 0) return world_.fail("a copy of whole cells ended inside of one");
  if (count == 0) {
    if (id) world_.data.failed(to.ino, *id);
    return;
  }
  // What was copied by value may wait to be flushed, as what was written.
  const bool visible = !to.handle->inode()->dirty();
  if (!id) {
    if (visible) {
      return world_.fail("copied " + std::to_string(count) + " bytes without a change of #" +
                         std::to_string(to.ino));
    }
    id = world_.data.begin(to.ino, change);
  }
  world_.data.set_values(to.ino, *id, count, taken(count), false);
  world_.data.acknowledged(to.ino, *id, visible);
}

}  // namespace skerry::model
