#include "meta/stores/postgres/call_group.h"

#include <algorithm>
#include <chrono>

namespace skerry::meta::postgres {

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

Result<Answer> CallGroup::alone(const OpContext& ctx, const Call& call) {
  SKERRY_ASSIGN(Pool::Lease connection, pool_.borrow(ctx));
  return connection->run(ctx, {call});
}

Result<Answer> CallGroup::run(const OpContext& ctx, const Call& call, const LockSet& locks) {
  constexpr auto kSlice = std::chrono::milliseconds(20);  // to look at ctx
  std::unique_lock lock(mutex_);
  bool by_itself = under_way_ < at_once_ && queue_.empty();
  if (!by_itself) {
    const auto me = std::make_shared<Waiting>(call, locks);
    queue_.push_back(me);
    while (!by_itself) {
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
          by_itself = true;
          break;
        default:
          if (Status status = ctx.check(); !status.ok()) {
            const bool taken = me->state == Waiting::State::kTaken;
            if (!taken) queue_.erase(std::find(queue_.begin(), queue_.end(), me));
            return std::move(status).error().set_maybe_applied(taken);
          }
      }
    }
  }
  ++under_way_;
  lock.unlock();
  Result<Answer> answer = alone(ctx, call);
  lock.lock();
  come_back();
  return answer;
}

Result<Answer> CallGroup::lead(const OpContext& ctx, std::unique_lock<std::mutex>& lock,
                               const std::shared_ptr<Waiting>& me) {
  Group group = {me};
  while (group.size() < together_ && !queue_.empty()) {
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
    me->answer = alone(ctx, me->call);
    lock.lock();
  }
  come_back();
  return *std::move(me->answer);
}

Result<Answer> CallGroup::send(const OpContext& ctx, const Group& group, bool* with_locks) {
  std::vector<Call> calls;
  calls.reserve(group.size() + 1);
  if (group.size() > 1) {
    LockSet all;
    for (const auto& waiting : group) merge_locks(waiting->locks, &all);
    *with_locks = !all.empty();
    if (*with_locks) {
      const Program program = lock_program(all);
      calls.push_back({&locking_, Parameters()
                                      .number(int64_t{0})
                                      .number(int64_t{0})
                                      .number(int64_t{0})
                                      .numbers(program.numbers)
                                      .byte_strings(program.bytes)});
    }
  }
  for (const auto& waiting : group) calls.push_back(waiting->call);
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
  for (size_t i = 0; i < group.size(); ++i) {
    Answer answer;
    answer.error = sent->error;
    const size_t result = i + (with_locks ? 1 : 0);
    if (result < sent->results.size()) answer.results.push_back(std::move(sent->results[result]));
    group[i]->answer = std::move(answer);
    finish(*group[i], Waiting::State::kDone);
  }
}

}  // namespace skerry::meta::postgres
