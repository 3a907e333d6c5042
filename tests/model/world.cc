#include "model/world.h"

#include <algorithm>

#include "meta/lock_list.h"
#include "meta/stores/postgres/change_message.h"

namespace skerry::model {

using meta::Table;

namespace {

FaultRates choose_rates(Dice& dice, bool faults) {
  FaultRates rates;
  if (!faults || dice.chance(1, 3)) return rates;  // concurrency alone
  constexpr uint64_t kOneIn[] = {20, 60, 150};
  rates.one_in = kOneIn[dice.below(3)];
  rates.errors = dice.chance(3, 4);
  rates.delays = dice.chance(1, 2);
  rates.crashes = dice.chance(1, 2);
  rates.freezes = dice.chance(1, 4);
  rates.clock_jumps = dice.chance(1, 4);
  return rates;
}

const char* table_name(Table table) {
  constexpr const char* kNames[] = {"volume", "entry",   "inode",  "orphan",  "link",  "dirstat",
                                    "extent", "object",  "inline", "symlink", "xattr", "client",
                                    "pin",    "garbage", "usage",  "lock",    "locked"};
  return kNames[static_cast<size_t>(table)];
}

std::string text_of(const meta::Key& key) {
  return std::string(table_name(key.table)) + "(" + std::to_string(key.a) +
         (key.b != 0 ? "," + std::to_string(key.b) : "") +
         (key.name.empty() ? "" : "," + key.name) + ")";
}

struct MutationText {
  std::string operator()(const meta::Put& m) const { return "put " + text_of(key_of(m.record)); }
  std::string operator()(const meta::Delete& m) const { return "delete " + text_of(m.key); }
  std::string operator()(const meta::DeleteRange& m) const {
    return std::string("delete ") + table_name(m.table) + "(" + std::to_string(m.a) + ",*)";
  }
  std::string operator()(const meta::Patch& m) const {
    return "patch " + std::to_string(m.ino) +
           (m.length ? " length " + std::to_string(*m.length) : "") + (m.mode ? " mode" : "") +
           (m.add_nlink != 0 ? " nlink " + std::to_string(m.add_nlink) : "");
  }
  std::string operator()(const meta::AddDirStat& m) const {
    return "dirstat " + std::to_string(m.ino);
  }
  std::string operator()(const meta::WriteData& m) const {
    return "write " + std::to_string(m.ino) + (m.append ? " append +" : " ") +
           (m.append ? "" : std::to_string(m.offset) + "+") + std::to_string(m.length);
  }
  std::string operator()(const meta::AddObjectReferences& m) const {
    return "refs " + std::to_string(m.id) + " by " + std::to_string(m.delta);
  }
  std::string operator()(const meta::AddUsage& m) const {
    return "usage " + std::to_string(m.bytes) + "," + std::to_string(m.inodes);
  }
  std::string operator()(const meta::AddNumber& m) const { return "number " + m.name; }
  std::string operator()(const meta::MoveFile& m) const {
    return "move " + text_of(m.from) + (m.to ? " to " + text_of(*m.to) : " away");
  }
};

}  // namespace

std::string text_of(const meta::CommitRequest& request) {
  std::string text;
  for (const meta::Mutation& mutation : request.mutations) {
    text += (text.empty() ? "" : "; ") + std::visit(MutationText{}, mutation);
    if (text.size() > 300) return text + " ...";
  }
  return text;
}

World::World(const Options& given)
    : options(given),
      dice(given.seed * 0x9e3779b97f4a7c15u + 1),
      rates(choose_rates(dice, given.faults)),
      scheduler(dice.next()),
      server_clock(scheduler, false),
      database(std::make_shared<meta::MemoryDatabase>(server_clock)),
      objects(std::make_shared<MemoryObjectStore>(server_clock)),
      inspector(database) {}

Incarnation& World::start_incarnation(int slot) {
  auto incarnation = std::make_unique<Incarnation>();
  incarnation->number = static_cast<int>(incarnations.size());
  incarnation->slot = slot;
  incarnation->clock = std::make_unique<SimClock>(scheduler, true);
  incarnation->random = std::make_unique<SimRandom>(dice.next());
  incarnation->injected = scheduler.hurries() ? 1 : 0;  // its deadlines may pass
  incarnations.push_back(std::move(incarnation));
  return *incarnations.back();
}

void World::fail(const std::string& why) {
  if (failed()) return;
  failure_ = why;
  trace("FAILED: " + why);
  for (auto& incarnation : incarnations) {
    incarnation->dead = true;
    incarnation->clock->stop();
  }
}

void World::trace(const std::string& line) {
  if (!tracing()) return;
  const int slot = scheduler.current();
  lines_.push_back(std::to_string(scheduler.steps()) + " " +
                   (slot < 0 ? std::string("-") : "c" + std::to_string(slot)) +
                   " t=" + std::to_string(scheduler.now() / 1'000'000) + "ms  " + line);
  if (lines_.size() > 4000) lines_.pop_front();
}

void World::watch_sessions(Incarnation& by, const meta::CommitRequest& request) {
  for (const meta::Mutation& mutation : request.mutations) {
    if (const auto* put = std::get_if<meta::Put>(&mutation)) {
      if (const auto* client = std::get_if<meta::ClientRecord>(&put->record)) {
        by.sessions.insert(client->id);
      }
    } else if (const auto* removed = std::get_if<meta::Delete>(&mutation)) {
      if (removed->key.table != Table::kClient) continue;
      for (auto& other : incarnations) {
        if (other->sessions.erase(removed->key.a) == 0 || other.get() == &by) continue;
        other->session_lost = true;
        for (const auto& [ino, holders] : locks_) {
          if (holders.contains(removed->key.a)) other->lost_locks.insert(ino);
        }
        data.dropped(other->number);
        trace("session " + std::to_string(removed->key.a) + " of c" + std::to_string(other->slot) +
              " is removed");
      }
    }
  }
}

/// Nobody who still has a session may have the inode open.
void World::check_reclaim(const Incarnation& by, const TreeChange& change) {
  for (Ino ino : change.orphans_gone) {
    for (const auto& other : incarnations) {
      if (other->dead || other->session_lost || !other->open.contains(ino)) continue;
      fail("client " + std::to_string(by.slot) + " reclaimed inode " + std::to_string(ino) +
           ", which client " + std::to_string(other->slot) + " has open");
    }
  }
}

/// No two clients ever hold what excludes each other, and what was written under a lock is not
/// committed after the lock was lost, whatever session the client has by then.
void World::check_locks(const Incarnation& by, const meta::CommitRequest& request) {
  for (const meta::Mutation& mutation : request.mutations) {
    if (const auto* put = std::get_if<meta::Put>(&mutation)) {
      const auto* mine = std::get_if<meta::LockRecord>(&put->record);
      if (mine == nullptr) continue;
      for (const auto& [client, locks] : locks_[mine->ino]) {
        for (const meta::FileLock& lock : mine->locks) {
          if (lock.waiting || client == mine->client ||
              meta::find_conflict(locks, lock, false) == nullptr)
            continue;
          return fail("clients " + std::to_string(client) + " and " + std::to_string(mine->client) +
                      " hold locks of inode " + std::to_string(mine->ino) +
                      " that exclude each other");
        }
      }
      locks_[mine->ino][mine->client] = mine->locks;
    } else if (const auto* removed = std::get_if<meta::Delete>(&mutation)) {
      if (removed->key.table == Table::kLock) locks_[removed->key.b].erase(removed->key.a);
    } else if (const auto* range = std::get_if<meta::DeleteRange>(&mutation)) {
      if (range->table != Table::kLock) continue;
      for (auto& [ino, holders] : locks_) holders.erase(range->a);
    }
  }
  if (!by.by_handle) return;
  for (Ino ino : change_.data) {
    if (!by.lost_locks.contains(ino)) continue;
    fail("client " + std::to_string(by.slot) + " wrote to inode " + std::to_string(ino) +
         " after it lost its lock");
  }
}

void World::lock_granted(const Incarnation& by, Ino ino, meta::ClientId session,
                         const meta::FileLock& lock) {
  auto& all = believed_[ino];
  if (by.sessions.contains(session)) {
    for (const BelievedLock& other : all) {
      const Incarnation& holder = *incarnations[static_cast<size_t>(other.incarnation)];
      if (!holder.sessions.contains(other.session) || !meta::excludes(other.lock, lock)) continue;
      if (holder.number == by.number && meta::same_owner(other.lock, lock)) continue;
      return fail("clients " + std::to_string(by.slot) + " and " + std::to_string(holder.slot) +
                  " both believe that they have inode " + std::to_string(ino) + " locked");
    }
  }
  all.push_back({by.number, session, lock});
}

void World::lock_given_up(const Incarnation& by, Ino ino, const meta::FileLock& lock) {
  std::erase_if(believed_[ino], [&](const BelievedLock& held) {
    return held.incarnation == by.number && meta::same_owner(held.lock, lock);
  });
}

void World::before_commit(Incarnation& by, const meta::CommitRequest& request) {
  if (request.session != 0 && !by.sessions.contains(request.session)) {
    fail("a commit under session " + std::to_string(request.session) +
         ", which was removed, was applied");
  }
  watch_sessions(by, request);
  change_ = names.change_of(request);
  check_reclaim(by, change_);
  check_locks(by, request);
  if (by.window != nullptr) {
    if (auto problem = by.window->committing(change_, names)) fail(*problem);
  } else if (!change_.names.empty() || !change_.attributes.empty() || !change_.xattrs.empty()) {
    fail("a client changed names or attributes outside of any call");
  }
}

void World::after_commit(Incarnation& by, const meta::CommitRequest& request) {
  if (change_.empty() && change_.cleared.empty()) return;
  std::set<Ino> touched = change_.attributes;
  touched.insert(change_.cleared.begin(), change_.cleared.end());
  touched.insert(change_.created.begin(), change_.created.end());
  for (const NameChange& name : change_.names) {
    touched.insert(name.dir);
    if (name.before != 0) touched.insert(name.before);
    if (name.after != 0) touched.insert(name.after);
    const ModelInode* inode = names.find(name.before);
    if (inode != nullptr && inode->is_dir()) touched.insert(inode->parent);
  }
  if (lease_ns != 0) {
    past_.emplace_back(scheduler.now(), names);
    for (auto& other : incarnations) {
      if (other.get() == &by || other->dead) continue;
      for (const std::string& payload : meta::postgres::change_payloads(
               static_cast<uint64_t>(by.number) + 1, meta::postgres::changes_of(request))) {
        other->inbox.push_back(payload);
      }
    }
  }
  if (auto problem = names.apply(change_, request)) {
    fail(*problem);
    return;
  }
  for (Ino ino : change_.created) {
    const ModelInode* inode = names.find(ino);
    if (inode != nullptr && inode->type == FileType::kRegular) data.created(ino);
  }
  for (const NameChange& name : change_.names) {
    const bool made = change_.created.contains(name.after) && data.knows(name.after);
    if (made && name.name.starts_with("log")) data.set_append_only(name.after);
  }
  if (by.on_data) {
    for (Ino ino : change_.data) {
      if (data.knows(ino)) by.on_data(ino);
    }
  }
  if (by.window != nullptr) {
    if (auto problem = by.window->committed(change_, names)) fail(*problem);
  }
  compare(touched);
  for (auto& incarnation : incarnations) {
    if (incarnation->window != nullptr) incarnation->window->observe(names);
    if (incarnation->strict != nullptr) incarnation->strict->observe(names);
  }
}

std::vector<NamespaceModel> World::past(TimeNs began) const {
  std::vector<NamespaceModel> states;
  for (const auto& [ended, state] : past_) {
    if (ended >= began - lease_ns) states.push_back(state);
  }
  return states;
}

Moment World::moment_at(TimeNs time) const {
  auto after = std::upper_bound(moments_.begin(), moments_.end(), time,
                                [](TimeNs t, const auto& entry) { return t < entry.first; });
  return after == moments_.begin() ? 0 : std::prev(after)->second;
}

/// The records must say what the model says.
void World::compare(const std::set<Ino>& inos) {
  if (inos.empty()) return;
  OpContext ctx;
  ctx.clock = &server_clock;
  meta::ReadRequest request;
  request.inodes.assign(inos.begin(), inos.end());
  request.join = true;
  auto seen = inspector.read(ctx, request);
  if (!seen.ok()) return fail("the inspector cannot read");
  size_t at = 0;
  for (Ino ino : inos) {
    const auto& home = seen->homes[at++];
    const ModelInode* inode = names.find(ino);
    if (!home || inode == nullptr) {
      if (home.has_value() == (inode != nullptr)) continue;
      fail("inode " + std::to_string(ino) + " should " + (inode == nullptr ? "not " : "") +
           "exist");
      continue;
    }
    ModelInode stored;
    stored.type = home->attr.type;
    stored.mode = home->attr.mode;
    stored.uid = home->attr.uid;
    stored.gid = home->attr.gid;
    stored.nlink = home->attr.nlink;
    if (stat_detail(ino, stored) != stat_detail(ino, *inode)) {
      fail("the records say " + stat_detail(ino, stored) + " and should say " +
           stat_detail(ino, *inode));
    }
  }
}

}  // namespace skerry::model
