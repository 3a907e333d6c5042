#include "meta/stores/postgres/call_group.h"

#include <algorithm>
#include <chrono>

namespace skerry::meta::postgres {

std::vector<const Call*> CallGroup::Work::calls() const {
  if (call) return {&*call};
  if (whole) return {&*whole};
  std::vector<const Call*> all;
  all.reserve(plain->size());
  for (const PlainCall& each : *plain) all.push_back(&each.call);
  return all;
}

void CallGroup::finish(Waiting& waiting, Waiting::State state) {
  waiting.state = state;
  waiting.changed.notify_one();
}

/// One call less is under way: the first that waits goes, with those behind it.
void CallGroup::come_back() {
  --under_way_;
  if (queue_.empty()) return;
  ++under_way_;
  const std::shared_ptr<Waiting> first = std::move(queue_.front());
  queue_.pop_front();
  finish(*first, Waiting::State::kLeads);
}

Result<Answer> CallGroup::alone(const OpContext& ctx, const Work& work) {
  const std::vector<const Call*> calls = work.calls();
  SKERRY_ASSIGN(Pool::Lease connection, pool_.borrow(ctx));
  return connection->run(ctx, calls);
}

Result<Answer> CallGroup::run(const OpContext& ctx, Work work) {
  constexpr auto kSlice = std::chrono::milliseconds(20);  // to look at ctx
  std::unique_lock lock(mutex_);
  if (under_way_ >= at_once_ || !queue_.empty()) {
    const auto me = std::make_shared<Waiting>(std::move(work));
    queue_.push_back(me);
    for (;;) {
      if (me->state == Waiting::State::kQueued || me->state == Waiting::State::kTaken) {
        me->changed.wait_for(lock, kSlice);
      }
      switch (me->state) {
        case Waiting::State::kDone:
          return *std::move(me->answer);
        case Waiting::State::kLeads:
          if (Status status = ctx.check(); !status.ok()) {
            come_back();
            return std::move(status).error();
          }
          return lead(ctx, lock, me);
        case Waiting::State::kAlone:
          return go_alone(ctx, lock, me->work);
        default:
          if (Status status = ctx.check(); !status.ok()) {
            const bool taken = me->state == Waiting::State::kTaken;
            if (!taken) queue_.erase(std::find(queue_.begin(), queue_.end(), me));
            return std::move(status).error().set_maybe_applied(taken);
          }
      }
    }
  }
  return go_alone(ctx, lock, work);
}

Result<Answer> CallGroup::go_alone(const OpContext& ctx, std::unique_lock<std::mutex>& lock,
                                   const Work& work) {
  ++under_way_;
  lock.unlock();
  Result<Answer> answer = alone(ctx, work);
  lock.lock();
  come_back();
  return answer;
}

Result<Answer> CallGroup::lead(const OpContext& ctx, std::unique_lock<std::mutex>& lock,
                               const std::shared_ptr<Waiting>& me) {
  Group group = {me};
  while (group.size() < together_ && !queue_.empty() &&
         queue_.front()->work.call.has_value() == me->work.call.has_value()) {
    queue_.front()->state = Waiting::State::kTaken;
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  lock.unlock();
  bool with_locks = false;
  Result<Answer> sent = send(ctx, group, &with_locks);
  lock.lock();
  hand_out(ctx, group, with_locks, std::move(sent));
  if (me->state == Waiting::State::kAlone) {
    lock.unlock();
    me->answer = alone(ctx, me->work);
    lock.lock();
  }
  come_back();
  return *std::move(me->answer);
}

Result<Answer> CallGroup::send(const OpContext& ctx, const Group& group, bool* with_locks) {
  std::vector<const Call*> calls;
  Call locking{&locking_, {}};
  if (group.size() == 1) {
    calls = group.front()->work.calls();
  } else if (!group.front()->work.call) {
    std::vector<const PlainCommit*> commits;
    for (const auto& waiting : group) commits.push_back(waiting->work.plain.get());
    calls = merged(commits);
  } else {
    LockSet all;
    for (const auto& waiting : group) merge_locks(waiting->work.locks, &all);
    *with_locks = !all.empty();
    if (*with_locks) {
      const Program program = lock_program(all);
      locking.parameters.number(int64_t{0})
          .number(int64_t{0})
          .number(int64_t{0})
          .numbers(program.numbers)
          .byte_strings(program.bytes);
      calls.push_back(&locking);
    }
    for (const auto& waiting : group) calls.push_back(&*waiting->work.call);
  }
  SKERRY_ASSIGN(Pool::Lease connection, pool_.borrow(ctx));
  return connection->run(ctx, calls);
}

void CallGroup::hand_out(const OpContext& ctx, const Group& group, bool with_locks,
                         Result<Answer> sent) {
  if (!sent.ok()) {
    // The first one's time was over, not the others'; the server was told to stop in time.
    const bool others_go_on = !sent.error().maybe_applied() && !ctx.check().ok();
    for (size_t i = 0; i < group.size(); ++i) {
      group[i]->answer = sent.error();
      const bool again = i > 0 && others_go_on;
      finish(*group[i], again ? Waiting::State::kAlone : Waiting::State::kDone);
    }
    return;
  }
  if (sent->error && group.size() > 1) {
    together_ = std::max<size_t>(1, together_ / 2);
    for (const auto& waiting : group) finish(*waiting, Waiting::State::kAlone);
    return;
  }
  together_ = std::min(together_ + 1, kMostTogether);
  if (group.size() == 1) {
    group.front()->answer = std::move(sent);
    finish(*group.front(), Waiting::State::kDone);
    return;
  }
  for (size_t i = 0; i < group.size(); ++i) {
    Answer answer;
    if (group[i]->work.call) {
      answer.results.push_back(std::move(sent->results.at(i + (with_locks ? 1 : 0))));
    }
    group[i]->answer = std::move(answer);
    finish(*group[i], Waiting::State::kDone);
  }
}

}  // namespace skerry::meta::postgres
