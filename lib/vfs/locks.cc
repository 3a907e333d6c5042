#include "vfs/locks.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/log.h"
#include "meta/lock_list.h"
#include "vfs/volume.h"

namespace skerry::vfs {

using meta::FileLock;
using meta::LockKind;

namespace {

constexpr TimeNs kLookAgain = kSecond;
constexpr TimeNs kForcedLimit = 5 * kSecond;
constexpr TimeNs kFirstPause = 500'000, kLastPause = 20'000'000;  // between fruitless looks
constexpr unsigned kSessionPatience = 8;                          // looks without a session
constexpr TimeNs kNoteAfter = kSecond, kLastCircleLook = 60 * kSecond;

Error lost() {
  return Error(EIO, "the session was lost while the file was locked; close it and open it again");
}

bool is_over(const Error& error) { return error.code() == ENOTCONN; }

}  // namespace

/// Keeps an entry in the table, and its token among those that are woken.
class LockTable::Use {
 public:
  Use(LockTable& table, meta::Ino ino, const OpContext& ctx)
      : table_(table), token_(ctx.cancel != nullptr ? *ctx.cancel : own_) {
    std::lock_guard lock(table_.mutex_);
    auto& place = table_.entries_[ino];
    if (place == nullptr) {
      place = std::make_unique<Entry>();
      place->ino = ino;
      table_.count_.store(table_.entries_.size(), std::memory_order_release);
    }
    entry_ = place.get();
    ++entry_->users;
    local_ = entry_->waiters.insert(entry_->waiters.end(), &token_);
    remote_ = table_.remote_waiters_.insert(table_.remote_waiters_.end(), &token_);
  }
  ~Use() {
    std::lock_guard lock(table_.mutex_);
    entry_->waiters.erase(local_);
    table_.remote_waiters_.erase(remote_);
    --entry_->users;
    table_.keep_or_erase(*entry_);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  Entry& entry() const { return *entry_; }
  const CancelToken& token() const { return token_; }

 private:
  LockTable& table_;
  CancelToken own_;
  const CancelToken& token_;
  Entry* entry_;
  std::list<const CancelToken*>::iterator local_, remote_;
};

/// The right to change an entry and to commit for it.
class LockTable::Busy {
 public:
  Busy(LockTable& table, Entry& entry) : table_(table), entry_(entry) {}
  ~Busy() {
    if (!held_) return;
    std::lock_guard lock(table_.mutex_);
    entry_.busy = false;
    for (const CancelToken* each : entry_.busy_waiters) each->signal();
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

  Status acquire(const OpContext& ctx, const CancelToken& token) {
    std::unique_lock lock(table_.mutex_);
    while (entry_.busy) {
      const auto place = entry_.busy_waiters.insert(entry_.busy_waiters.end(), &token);
      const uint32_t seen = token.signals();
      lock.unlock();
      Status going_on = ctx.check();
      if (going_on.ok()) token.wait(seen, kSecond);
      lock.lock();
      entry_.busy_waiters.erase(place);
      if (!going_on.ok()) return going_on;
    }
    entry_.busy = held_ = true;
    return {};
  }

 private:
  LockTable& table_;
  Entry& entry_;
  bool held_ = false;
};

void LockTable::wake(Entry& entry) {
  std::erase_if(edges_, [&](const Edge& edge) { return edge.entry == &entry; });
  for (const CancelToken* token : entry.waiters) token->signal();
}

void LockTable::keep_or_erase(Entry& entry) {
  if (entry.users > 0 || !entry.held.empty() || entry.unsettled) return;
  std::erase_if(edges_, [&](const Edge& edge) { return edge.entry == &entry; });
  entries_.erase(entry.ino);
  count_.store(entries_.size(), std::memory_order_release);
}

/// Waiting may have no end, a call of the store has.
OpContext LockTable::step_context(const OpContext& ctx) const {
  OpContext step = ctx;
  const TimeNs limit = volume_.clock().monotonic_ns() + volume_.options().timeout_ns;
  step.deadline_ns = std::min(step.deadline_ns, limit);
  return step;
}

/// The locks of a session that is gone are gone. The entry is busy; the mutex is let go meanwhile.
bool LockTable::forget_lost(std::unique_lock<std::mutex>& lock, Entry& entry) {
  const meta::ClientId session = volume_.meta().client();
  const bool any = !entry.held.empty() || entry.unsettled;
  if (!any || entry.session == session) return false;
  lose(lock, entry);
  return true;
}

/// As forget_lost(), of an entry whose session is known to be gone.
void LockTable::lose(std::unique_lock<std::mutex>& lock, Entry& entry) {
  entry.held.clear();
  entry.leaving.clear();
  entry.unsettled = false;
  const Inode inode = std::exchange(entry.inode, nullptr);
  wake(entry);
  lock.unlock();
  if (inode != nullptr) inode->lose(lost());
  lock.lock();
}

/// The list as the metadata has it, without what `without` waits for. The mutex is held.
std::vector<FileLock> LockTable::with_waits(const Entry& entry, meta::ClientId session,
                                            std::vector<FileLock> held,
                                            const CancelToken* without) {
  for (const Noted& wait : entry.noted) {
    if (wait.session == session && wait.token != without) held.push_back(wait.lock);
  }
  return held;
}

Result<LockTable::Obstacle> LockTable::attempt(const OpContext& ctx, Entry& entry,
                                               const Inode& inode, const FileLock& wanted,
                                               const CancelToken& token) {
  const OpContext step = step_context(ctx);
  meta::Meta& meta = volume_.meta();
  const meta::ClientId session = meta.client();
  if (session == 0) return Error(ENOLCK, "the volume was opened without a session");
  std::vector<FileLock> next;
  bool unsettled = false;
  // Also where the owner who is gone and the one that asks bear one number.
  SKERRY_TRY(release_leaving(step, entry));
  {
    std::unique_lock lock(mutex_);
    forget_lost(lock, entry);
    Obstacle obstacle;
    obstacle.local = meta::find_conflict(entry.held, wanted, true) != nullptr;
    if (obstacle.local) return obstacle;
    next = entry.held;
    unsettled = entry.unsettled;
  }
  const bool held_before = !next.empty();
  if (held_before) SKERRY_TRY(verify(step, *inode));
  if (unsettled) SKERRY_TRY(settle_entry(step, entry));
  meta::set_range(&next, wanted);
  std::vector<FileLock> list;
  {
    std::lock_guard lock(mutex_);
    if (next == entry.held) return Obstacle{};
    list = with_waits(entry, session, next, &token);
  }
  inode->bind(session);
  auto taken = meta::take_locks(step, meta, session, inode->ino(), list, wanted);
  std::unique_lock lock(mutex_);
  if (taken.ok() && !*taken) {
    wake(entry);  // it may be less than before: an exclusive lock that became a shared one
    std::erase_if(entry.noted, [&](const Noted& wait) { return wait.token == &token; });
    entry.held = std::move(next);
    entry.session = session;
    entry.inode = inode;
    forget_lost(lock, entry);  // it was ours, and is not any more
    if (entry.held.empty()) return lost();
    return Obstacle{};
  }
  if (!taken.ok() && taken.error().maybe_applied()) {
    entry.unsettled = true;
    entry.session = session;
    entry.inode = inode;
  }
  if (entry.held.empty() && !entry.unsettled) inode->bind(0);
  if (!taken.ok()) return std::move(taken).error();
  Obstacle obstacle;
  obstacle.remote = *taken;
  return obstacle;
}

/// The entry is busy or the caller's own.
Status LockTable::settle_entry(const OpContext& ctx, Entry& entry) {
  std::vector<FileLock> held;
  meta::ClientId session = 0;
  {
    std::lock_guard lock(mutex_);
    session = entry.session;
    held = with_waits(entry, session, entry.held);
  }
  Status settled = meta::settle_locks(ctx, volume_.meta(), session, entry.ino, held);
  if (!settled.ok() && !is_over(settled.error())) return settled;
  std::lock_guard lock(mutex_);
  if (settled.ok()) {
    entry.unsettled = false;
    if (entry.held.empty()) {
      if (entry.inode != nullptr) entry.inode->bind(0);
      entry.inode = nullptr;
    }
  }
  return settled;
}

/// Adds the edges of this wait. True if they close a circle.
bool LockTable::waits_for_itself(const Entry& entry, const FileLock& wanted,
                                 const CancelToken& token) {
  std::lock_guard lock(mutex_);
  std::set<uint64_t> reached;
  std::vector<uint64_t> open;
  for (const FileLock& held : entry.held) {
    if (meta::excludes(held, wanted) && !meta::same_owner(held, wanted)) {
      open.push_back(held.owner);
      edges_.push_back({wanted.owner, held.owner, &entry, &token});
    }
  }
  while (!open.empty()) {
    const uint64_t owner = open.back();
    open.pop_back();
    if (owner == wanted.owner) {
      std::erase_if(edges_, [&](const Edge& edge) { return edge.token == &token; });
      return true;
    }
    if (!reached.insert(owner).second) continue;
    for (const Edge& edge : edges_) {
      if (edge.waiter == owner) open.push_back(edge.holder);
    }
  }
  return false;
}

/// Of a wait that has lasted a while: whether it can have no end. Notes it first, if it is not.
Result<bool> LockTable::closes_circle(const OpContext& ctx, Use& use, const Inode& inode,
                                      const FileLock& wanted) {
  const meta::ClientId session = volume_.meta().client();
  if (session == 0) return false;
  const OpContext step = step_context(ctx);
  Noted wait = {wanted, &use.token(), session};
  wait.lock.waiting = true;
  {
    Busy busy(*this, use.entry());
    SKERRY_TRY(busy.acquire(step, use.token()));
    SKERRY_TRY(note_wait(step, use.entry(), inode, wait));
  }
  return meta::waits_for_itself(step, volume_.meta(), session, inode->ino(), wanted);
}

/// The entry is busy.
Status LockTable::note_wait(const OpContext& ctx, Entry& entry, const Inode& inode,
                            const Noted& wait) {
  std::vector<FileLock> list;
  {
    std::lock_guard lock(mutex_);
    const bool any = !entry.held.empty() || entry.unsettled;
    if (any && entry.session != wait.session) return lost();  // which the next attempt finds
    const auto own = [&](const Noted& noted) { return noted.token == wait.token; };
    const auto known = std::find_if(entry.noted.begin(), entry.noted.end(), own);
    if (known != entry.noted.end() && known->session == wait.session) return {};
    std::erase_if(entry.noted, own);
    list = with_waits(entry, wait.session, entry.held);
    list.push_back(wait.lock);
  }
  Status noted = meta::note_waits(ctx, volume_.meta(), wait.session, inode->ino(), list);
  std::lock_guard lock(mutex_);
  if (noted.ok()) {
    entry.noted.push_back(wait);
  } else if (noted.error().maybe_applied()) {
    entry.unsettled = true;
    entry.session = wait.session;
    entry.inode = inode;
  }
  return noted;
}

/// The wait has ended. Where that can not be told settle() does so later.
void LockTable::forget_wait(const OpContext& ctx, Use& use, const Inode& inode) {
  Entry& entry = use.entry();
  const auto own = [&](const Noted& noted) { return noted.token == &use.token(); };
  {
    std::lock_guard lock(mutex_);
    if (std::none_of(entry.noted.begin(), entry.noted.end(), own)) return;
  }
  OpContext patient = ctx;
  patient.cancel = nullptr;
  patient.deadline_ns = INT64_MAX;
  Busy busy(*this, entry);
  if (!busy.acquire(patient, use.token()).ok()) return;
  patient.deadline_ns = volume_.clock().monotonic_ns() + kForcedLimit;
  std::vector<FileLock> list;
  meta::ClientId session = 0;
  {
    std::lock_guard lock(mutex_);
    const auto known = std::find_if(entry.noted.begin(), entry.noted.end(), own);
    if (known == entry.noted.end()) return;
    session = known->session;
    entry.noted.erase(known);
    const bool any = !entry.held.empty() || entry.unsettled;
    if (any && entry.session != session) return;  // it has gone with its session
    list = with_waits(entry, session, entry.held);
  }
  Status told = meta::note_waits(patient, volume_.meta(), session, inode->ino(), list);
  if (told.ok() || is_over(told.error())) return;
  std::lock_guard lock(mutex_);
  entry.unsettled = true;
  entry.session = session;
  entry.inode = inode;
}

/// Every waiter is among remote_waiters_ since before it looked, so none misses what the one that
/// watches sees; what changed before that is found by the generation.
void LockTable::wait_for_other_client(const OpContext& ctx, const CancelToken& token, uint32_t seen,
                                      uint64_t generation) {
  meta::Store& store = volume_.meta().store();
  TimeNs timeout = kLookAgain;
  if (ctx.deadline_ns != INT64_MAX) {
    timeout = std::min(timeout, ctx.deadline_ns - volume_.clock().monotonic_ns());
  }
  bool watches = false;
  {
    std::lock_guard lock(mutex_);
    watches = !std::exchange(watched_, true);
  }
  if (!watches) {
    if (store.generation() == generation) token.wait(seen, timeout);
    return;
  }
  (void)store.wait_for_change(ctx, generation, timeout).ok();  // the next look tells
  std::lock_guard lock(mutex_);
  watched_ = false;
  for (const CancelToken* each : remote_waiters_) each->signal();
}

Status LockTable::take(const OpContext& ctx, const Inode& inode, const FileLock& wanted, bool wait,
                       uint64_t handle) {
  SKERRY_TRY(take_it(ctx, inode, wanted, wait, handle));
  // Whatever others did before they gave up theirs is seen from now on.
  volume_.meta().forget_others();
  return {};
}

Status LockTable::take_it(const OpContext& ctx, const Inode& inode, const FileLock& wanted,
                          bool wait, uint64_t handle) {
  // What was written without the lock must not be lost with it.
  if (inode->dirty()) {
    SKERRY_TRY(inode->flush(step_context(ctx), meta::Durability::kVisible));
  }
  Use use(*this, inode->ino(), ctx);
  if (wanted.kind == LockKind::kRecord) {
    const Claim claim = {wanted.owner, handle};
    std::lock_guard lock(mutex_);
    std::vector<Claim>& claims = use.entry().claims;
    if (std::find(claims.begin(), claims.end(), claim) == claims.end()) claims.push_back(claim);
  }
  Status taken = take_or_wait(ctx, use, inode, wanted, wait);
  forget_wait(ctx, use, inode);
  return taken;
}

Status LockTable::take_or_wait(const OpContext& ctx, Use& use, const Inode& inode,
                               const FileLock& wanted, bool wait) {
  const uint64_t losses = inode->losses();
  Entry& entry = use.entry();
  TimeNs circle_look = volume_.clock().monotonic_ns() + kNoteAfter, circle_pause = kNoteAfter;
  TimeNs pause = kFirstPause;
  unsigned without_session = 0;
  for (;;) {
    const uint32_t seen = use.token().signals();
    const uint64_t generation = volume_.meta().store().generation();
    const TimeNs began = volume_.clock().monotonic_ns();
    SKERRY_TRY(ctx.check());
    Obstacle obstacle;
    bool no_session = false;
    {
      Busy busy(*this, entry);
      SKERRY_TRY(busy.acquire(ctx, use.token()));
      auto found = attempt(ctx, entry, inode, wanted, use.token());
      if (!found.ok() && is_over(found.error()) && ++without_session <= kSessionPatience) {
        no_session = true;
      } else if (!found.ok()) {
        if (is_over(found.error())) return Error(EIO, found.error().message());
        return std::move(found).error();
      } else {
        obstacle = *found;
      }
    }
    if (no_session) {
      // A new one is opened in a moment. What the old one held is dropped with it.
      volume_.suspect_session();
      volume_.heartbeat_if_due();
      volume_.clock().sleep_ns(kSecond / 4);
      continue;
    }
    if (inode->losses() != losses) {
      if (obstacle.none()) (void)release(ctx, inode, wanted, true).ok();
      return lost();
    }
    if (obstacle.none()) return {};
    if (wanted.kind == LockKind::kFlock && holds(inode->ino(), wanted.kind, wanted.owner)) {
      // flock(2): the lock that is to be converted is given up first.
      SKERRY_TRY(release(ctx, inode, wanted, false));
      if (wait) continue;
    }
    if (!wait) return Error(EAGAIN, "another owner holds a lock of the file");
    if (wanted.kind == LockKind::kRecord && began >= circle_look) {
      // An error is that of the next attempt, or passes.
      auto circle = closes_circle(ctx, use, inode, wanted);
      if (circle.ok() && *circle) {
        return Error(EDEADLK, "its holder waits, perhaps through others, for a lock of this owner");
      }
      circle_look = volume_.clock().monotonic_ns() + circle_pause;
      circle_pause = std::min(2 * circle_pause, kLastCircleLook);
    }
    if (obstacle.local) {
      if (wanted.kind == LockKind::kRecord) {
        if (waits_for_itself(entry, wanted, use.token())) {
          return Error(EDEADLK, "its holder waits for a lock of this owner");
        }
      }
      const TimeNs to_look = std::max(circle_look - volume_.clock().monotonic_ns(), TimeNs{0});
      TimeNs timeout = wanted.kind == LockKind::kRecord ? to_look : 60 * kSecond;
      if (ctx.deadline_ns != INT64_MAX) {
        timeout = std::min(timeout, ctx.deadline_ns - volume_.clock().monotonic_ns());
      }
      use.token().wait(seen, timeout);
      std::lock_guard lock(mutex_);
      std::erase_if(edges_, [&](const Edge& edge) { return edge.token == &use.token(); });
      continue;
    }
    wait_for_other_client(ctx, use.token(), seen, generation);
    // Where others commit all the time, looking after each commit would be a spin.
    const TimeNs took = volume_.clock().monotonic_ns() - began;
    if (took >= pause) {
      pause = kFirstPause;
    } else {
      volume_.clock().sleep_ns(pause - took);
      pause = std::min(2 * pause, kLastPause);
    }
  }
}

void LockTable::release_owner(const OpContext& ctx, const Inode& inode, uint64_t owner) {
  {
    std::lock_guard lock(mutex_);
    auto found = entries_.find(inode->ino());
    if (found == entries_.end()) return;
    std::erase_if(found->second->claims, [&](const Claim& claim) { return claim.owner == owner; });
  }
  if (!holds(inode->ino(), LockKind::kRecord, owner)) return;
  FileLock all;
  all.owner = owner;
  (void)release(ctx, inode, all, /*forced=*/true).ok();
}

void LockTable::release_handle(const OpContext& ctx, const Inode& inode, uint64_t handle) {
  std::vector<Claim> claims;
  {
    std::lock_guard lock(mutex_);
    auto found = entries_.find(inode->ino());
    if (found == entries_.end()) return;
    for (const Claim& claim : found->second->claims) {
      if (claim.handle == handle) claims.push_back(claim);
    }
  }
  for (const Claim& claim : claims) {
    FileLock all;
    all.owner = claim.owner;
    (void)release(ctx, inode, all, /*forced=*/true, &claim).ok();
  }
}

/// `last_claim`: is withdrawn, and nothing given up where the owner has another one.
Status LockTable::release(const OpContext& ctx, const Inode& inode, const FileLock& range,
                          bool forced, const Claim* last_claim) {
  {
    std::lock_guard lock(mutex_);
    if (!entries_.contains(inode->ino())) return {};
  }
  OpContext patient = ctx;
  if (forced) {
    // Not for ever: what others do with the entry has deadlines.
    patient.cancel = nullptr;
    patient.deadline_ns = INT64_MAX;
  }
  Use use(*this, inode->ino(), patient);
  Entry& entry = use.entry();
  Busy busy(*this, entry);
  SKERRY_TRY(busy.acquire(patient, use.token()));
  if (last_claim != nullptr) {
    // Whoever claims from here on takes his lock after this.
    std::lock_guard lock(mutex_);
    std::erase(entry.claims, *last_claim);
    const bool another =
        std::any_of(entry.claims.begin(), entry.claims.end(),
                    [&](const Claim& claim) { return claim.owner == last_claim->owner; });
    if (another) return {};
  }
  OpContext step = step_context(patient);
  // The closing caller has waited for his flush already.
  if (forced) step.deadline_ns = volume_.clock().monotonic_ns() + kForcedLimit;
  Status given_up = give_up(step, entry, inode, range);
  if (given_up.ok() || !forced) return given_up;
  std::lock_guard lock(mutex_);
  if (entry.held.empty() && !entry.unsettled) return given_up;  // lost with its session
  entry.leaving.push_back(range);
  return given_up;
}

/// The entry is busy.
Status LockTable::give_up(const OpContext& ctx, Entry& entry, const Inode& inode,
                          const FileLock& range) {
  std::vector<FileLock> next, list;
  meta::ClientId session = 0;
  {
    std::unique_lock lock(mutex_);
    if (forget_lost(lock, entry)) return lost();
    next = entry.held;
    session = entry.session;
    meta::clear_range(&next, range);
    if (next == entry.held) return {};
    list = with_waits(entry, session, next);
  }
  if (inode->dirty()) {
    Status flushed = inode->flush(ctx, meta::Durability::kVisible);
    // What was dropped will not come later.
    if (!flushed.ok() && inode->dirty()) return flushed;
  }
  Status dropped = meta::drop_locks(ctx, volume_.meta(), session, inode->ino(), list);
  const bool over = !dropped.ok() && is_over(dropped.error());
  if (!dropped.ok() && !over && !dropped.error().maybe_applied()) return dropped;
  std::unique_lock lock(mutex_);
  if (over) {
    // With this lock all others of the file are gone, and what was written under them is dropped.
    volume_.suspect_session();
    lose(lock, entry);
    return lost();
  }
  entry.held = std::move(next);
  wake(entry);
  if (!dropped.ok()) entry.unsettled = true;
  if (entry.held.empty()) {
    inode->bind(0);
    if (!entry.unsettled) entry.inode = nullptr;
  }
  return {};
}

/// The entry is busy.
Status LockTable::release_leaving(const OpContext& ctx, Entry& entry) {
  for (;;) {
    FileLock range;
    Inode inode;
    {
      std::lock_guard lock(mutex_);
      if (entry.leaving.empty()) return {};
      range = entry.leaving.back();
      inode = entry.inode;
    }
    if (inode != nullptr) SKERRY_TRY(give_up(ctx, entry, inode, range));
    std::lock_guard lock(mutex_);
    if (!entry.leaving.empty()) entry.leaving.pop_back();
  }
}

Result<std::optional<meta::LockHolder>> LockTable::find(const OpContext& ctx, meta::Ino ino,
                                                        const FileLock& wanted) {
  std::optional<meta::LockHolder> own;
  {
    std::lock_guard lock(mutex_);
    auto found = entries_.find(ino);
    if (found != entries_.end()) {
      const FileLock* conflict = meta::find_conflict(found->second->held, wanted, true);
      if (conflict != nullptr) own = meta::LockHolder{volume_.meta().client(), *conflict};
    }
  }
  SKERRY_ASSIGN(auto other,
                meta::find_lock(ctx, volume_.meta(), volume_.meta().client(), ino, wanted));
  if (!own || (other && other->lock.first < own->lock.first)) return other;
  return own;
}

bool LockTable::holds(meta::Ino ino, LockKind kind, uint64_t owner) {
  std::lock_guard lock(mutex_);
  auto found = entries_.find(ino);
  if (found == entries_.end()) return false;
  return std::any_of(
      found->second->held.begin(), found->second->held.end(),
      [&](const FileLock& held) { return held.kind == kind && held.owner == owner; });
}

Status LockTable::verify(const OpContext& ctx, const data::OpenInode& inode) {
  const meta::ClientId session = inode.bound();
  meta::Meta& meta = volume_.meta();
  if (session == 0) return {};
  if (session != meta.client()) {
    volume_.suspect_session();
    return lost();
  }
  if (meta.freshness(ctx).covers(verified_.load(std::memory_order_acquire))) return {};
  const uint64_t mark = meta.mark();
  meta::ReadRequest request;
  request.keys.push_back(meta::client_key(session));
  SKERRY_ASSIGN(meta::ReadResult read, meta.store().read(ctx, request));
  if (read.records[0]) {
    verified_.store(mark, std::memory_order_release);
    return {};
  }
  volume_.suspect_session();
  return lost();
}

void LockTable::close() {
  std::lock_guard lock(mutex_);
  entries_.clear();
  count_.store(0, std::memory_order_release);
  edges_.clear();
}

void LockTable::drop_lost() {
  std::vector<Inode> gone;
  {
    std::lock_guard lock(mutex_);
    const meta::ClientId session = volume_.meta().client();
    for (auto it = entries_.begin(); it != entries_.end();) {
      Entry& entry = *(it++)->second;
      const bool any = !entry.held.empty() || entry.unsettled;
      // Who is busy with it finds out himself, or the next beat does.
      if (entry.busy || !any || entry.session == session) continue;
      entry.held.clear();
      entry.leaving.clear();
      entry.unsettled = false;
      if (entry.inode != nullptr) gone.push_back(std::exchange(entry.inode, nullptr));
      wake(entry);
      keep_or_erase(entry);
    }
  }
  for (const Inode& inode : gone) inode->lose(lost());
}

void LockTable::settle(const OpContext& ctx) {
  drop_lost();
  std::vector<meta::Ino> unsettled;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [ino, entry] : entries_) {
      const bool any = entry->unsettled || !entry->leaving.empty();
      if (any && !entry->busy) unsettled.push_back(ino);
    }
  }
  for (meta::Ino ino : unsettled) {
    Use use(*this, ino, ctx);
    Busy busy(*this, use.entry());
    if (!busy.acquire(ctx, use.token()).ok()) return;
    bool wanted = false;
    {
      std::lock_guard lock(mutex_);
      wanted = use.entry().unsettled;
    }
    Status settled = wanted ? settle_entry(ctx, use.entry()) : Status();
    if (settled.ok()) settled = release_leaving(ctx, use.entry());
    if (!settled.ok() && log_enabled(LogLevel::kWarning)) {
      log_message(LogLevel::kWarning, "locks: " + settled.error().message());
    }
  }
}

}  // namespace skerry::vfs
