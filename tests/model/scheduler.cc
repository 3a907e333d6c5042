#include "model/scheduler.h"

#include <algorithm>

namespace skerry::model {

Scheduler::Scheduler(uint64_t seed) : dice_(seed) {
  strategy_ = dice_.chance(1, 3) ? Strategy::kPriority : Strategy::kUniform;
  constexpr uint64_t kSwitchIn[] = {1, 2, 4, 16};
  switch_in_ = kSwitchIn[dice_.below(4)];
  change_in_ = 20 + dice_.below(400);
  sem_init(&finished_, 0, 0);
}

Scheduler::~Scheduler() {
  for (auto& client : clients_) sem_destroy(&client->baton);
  sem_destroy(&finished_);
}

void Scheduler::add(std::function<void()> body) {
  auto client = std::make_unique<Client>();
  client->body = std::move(body);
  client->priority = dice_.next() >> 1;
  sem_init(&client->baton, 0, 0);
  clients_.push_back(std::move(client));
}

namespace {
void wait_for(sem_t* semaphore) {
  while (sem_wait(semaphore) != 0) {
  }
}
}  // namespace

void Scheduler::run() {
  for (auto& client : clients_) {
    client->thread = std::thread([this, self = client.get()] {
      wait_for(&self->baton);
      self->body();
      self->done = true;
      const size_t next = choose();
      if (next == clients_.size()) {
        current_ = -1;
        sem_post(&finished_);
        return;
      }
      current_ = static_cast<int>(next);
      sem_post(&clients_[next]->baton);
    });
  }
  const size_t first = choose();
  if (first < clients_.size()) {
    current_ = static_cast<int>(first);
    sem_post(&clients_[first]->baton);
    wait_for(&finished_);
  }
  for (auto& client : clients_) client->thread.join();
  for (auto& client : clients_) sem_destroy(&client->baton);
  clients_.clear();
}

/// The number of clients if all are done.
size_t Scheduler::choose() {
  size_t ready = 0;
  size_t soonest = clients_.size();
  for (size_t i = 0; i < clients_.size(); ++i) {
    const Client& client = *clients_[i];
    if (client.done) continue;
    if (client.wake <= now_) ++ready;
    if (soonest == clients_.size() || client.wake < clients_[soonest]->wake) soonest = i;
  }
  if (ready == 0) {
    if (soonest < clients_.size()) now_ = std::max(now_, clients_[soonest]->wake);
    return soonest;
  }
  size_t best = clients_.size();
  uint64_t pick = strategy_ == Strategy::kUniform ? dice_.below(ready) : 0;
  for (size_t i = 0; i < clients_.size(); ++i) {
    const Client& client = *clients_[i];
    if (client.done || client.wake > now_) continue;
    if (strategy_ == Strategy::kUniform) {
      if (pick-- == 0) return i;
    } else if (best == clients_.size() || client.priority > clients_[best]->priority) {
      best = i;
    }
  }
  return best;
}

void Scheduler::hand_to(size_t next, Client* self) {
  Client* other = clients_[next].get();
  if (other == self) return;
  current_ = static_cast<int>(next);
  sem_post(&other->baton);
  wait_for(&self->baton);
}

void Scheduler::offer() {
  ++steps_;
  now_ += static_cast<TimeNs>(1'000 + dice_.below(200'000));
  if (hurries()) now_ += static_cast<TimeNs>(dice_.below(1'500'000'000));
  if (current_ < 0 || exhausted()) return;
  Client* self = clients_[static_cast<size_t>(current_)].get();
  if (strategy_ == Strategy::kUniform) {
    if (!dice_.chance(1, switch_in_)) return;
  } else if (dice_.chance(1, change_in_)) {
    self->priority = dice_.next() >> 32;  // below every priority that was never lowered
  }
  hand_to(choose(), self);
}

void Scheduler::sleep_until(TimeNs until) {
  ++steps_;
  if (current_ < 0 || exhausted()) {
    now_ = std::max(now_, until);
    return;
  }
  Client* self = clients_[static_cast<size_t>(current_)].get();
  self->wake = until;
  // In a priority schedule the one that comes back waits for its turn like the others.
  hand_to(choose(), self);
}

}  // namespace skerry::model
