#include "model/sim_store.h"

#include <algorithm>

#include "meta/stores/postgres/change_message.h"

namespace skerry::model {

namespace {

Error dead() { return Error(EIO, "the simulated client is dead"); }
Error lost() {
  return Error(EIO, "simulated: the answer was lost").set_retryable().set_maybe_applied();
}
Error refused(bool retryable) {
  return Error(EIO, "simulated: the call failed").set_retryable(retryable);
}

std::string id_of(const meta::RequestId& id) {
  return {reinterpret_cast<const char*>(id.data()), sizeof id};
}

}  // namespace

// ---- fates

void Fates::die() {
  self_.dead = true;
  self_.clock->stop();
  world_.trace("client " + std::to_string(self_.slot) + " dies");
}

Fate Fates::draw(bool object_read) {
  if (self_.dead) return Fate::kDie;
  world_.scheduler.offer();
  if (self_.dead) return Fate::kDie;
  const FaultRates& rates = world_.rates;
  if (world_.quiet || rates.one_in == 0 || !world_.dice.chance(1, rates.one_in)) return Fate::kPass;
  Dice& dice = world_.dice;
  const uint64_t kind = dice.below(16);
  if (kind < 8) {
    if (!rates.errors) return Fate::kPass;
    ++self_.injected;
    if (object_read && kind < 2) return Fate::kCorrupt;
    return kind < 2 ? Fate::kFail : kind < 5 ? Fate::kFailOnce : Fate::kLoseAnswer;
  }
  if (kind < 12) {
    if (!rates.delays) return Fate::kPass;
    ++self_.injected;
    const TimeNs delay = dice.chance(1, 4) ? static_cast<TimeNs>(1 + dice.below(20)) * kSecond
                                           : static_cast<TimeNs>(dice.below(200)) * 1'000'000;
    world_.trace("delay of " + std::to_string(delay / 1'000'000) + " ms");
    world_.scheduler.sleep_until(world_.scheduler.now() + delay);
    return self_.dead ? Fate::kDie : Fate::kPass;
  }
  if (kind < 13) {
    if (!rates.freezes || world_.freezes_left == 0) return Fate::kPass;
    --world_.freezes_left;
    // Time runs fast for the others, so that their deadlines may pass.
    for (auto& other : world_.incarnations) ++other->injected;
    world_.trace("client " + std::to_string(self_.slot) + " freezes");
    world_.scheduler.freeze_until(world_.scheduler.now() + 150'000'000'000);
    world_.trace("client " + std::to_string(self_.slot) + " goes on");
    return self_.dead ? Fate::kDie : Fate::kPass;
  }
  if (kind < 14) {
    if (rates.clock_jumps) {
      self_.clock->jump(static_cast<TimeNs>(dice.below(7200)) * 1'000'000'000 - 3'600'000'000'000);
    }
    return Fate::kPass;
  }
  if (!rates.crashes || world_.crashes_left == 0) return Fate::kPass;
  --world_.crashes_left;
  return kind == 14 ? Fate::kDie : Fate::kDieAfter;
}

void Fates::done() {
  if (!self_.dead) world_.scheduler.offer();
}

// ---- metadata

SimStore::SimStore(World& world, Incarnation& self, bool knows_generation)
    : fates_(world, self),
      world_(world),
      base_(world.database),
      knows_generation_(knows_generation) {}

uint64_t SimStore::generation() noexcept {
  if (!knows_generation_) return ++counter_;
  if (world_.options.plant == Plant::kStaleGeneration) return 1;
  if (++counter_ % 4 == 0 && !fates_.self().dead) world_.scheduler.offer();
  return base_.generation();
}

void SimStore::hear(const std::string& payload) {
  const auto own = static_cast<uint64_t>(fates_.self().number) + 1;
  if (sink_ != nullptr) meta::postgres::read_payload(payload, own, sink_);
}

Result<meta::ReadResult> SimStore::read(const OpContext& ctx, const meta::ReadRequest& request) {
  const Fate fate = fates_.draw(false);
  if (fate == Fate::kDie) {
    if (!fates_.self().dead) fates_.die();
    return dead();
  }
  auto result = base_.read(ctx, request);
  if (world_.tracing() && !world_.quiet) {
    std::string what;
    for (const auto& key : request.keys) what += " " + std::to_string(key.a) + "/" + key.name;
    for (Ino ino : request.inodes) what += " #" + std::to_string(ino);
    if (!request.ranges.empty()) what += " +" + std::to_string(request.ranges.size()) + " ranges";
    world_.trace("  read" + what + (fate == Fate::kPass ? "" : " (fails)"));
  }
  if (world_.options.plant == Plant::kStaleRead && result.ok()) {
    // An old answer to the very same question, where there is one.
    if (remembered_ && remembered_->records.size() == result->records.size() &&
        remembered_->homes.size() == result->homes.size() && request.ranges.empty() &&
        !request.inodes.empty() && remembered_->homes[0] && result->homes[0] &&
        remembered_->homes[0]->attr.ino == result->homes[0]->attr.ino && world_.dice.chance(1, 2)) {
      auto old = *remembered_;
      old.server_time_ns = result->server_time_ns;
      world_.planted = true;
      return old;
    }
    if (world_.dice.chance(1, 2)) remembered_ = *result;
  }
  fates_.done();
  if (fates_.self().dead) return dead();
  if (fate == Fate::kDieAfter) {
    fates_.die();
    return dead();
  }
  if (fate == Fate::kFail) return refused(false);
  if (fate != Fate::kPass) return refused(true);
  return result;
}

/// True if the commit is not to be applied although it is said to be.
bool SimStore::plant(meta::CommitRequest* request) {
  if (world_.planted && world_.options.plant != Plant::kIgnoreSession) return false;
  const bool always = world_.options.plant == Plant::kSkewLocks;
  if (world_.quiet || (!always && !world_.dice.chance(1, 4))) return false;
  auto has_append = [](const meta::Mutation& m) {
    const auto* write = std::get_if<meta::WriteData>(&m);
    return write != nullptr && write->append;
  };
  switch (world_.options.plant) {
    case Plant::kDropCommit:
      for (const meta::Mutation& m : request->mutations) {
        if (std::holds_alternative<meta::MoveFile>(m)) return false;  // its outcome is told
        if (std::holds_alternative<meta::WriteData>(m) ||
            std::holds_alternative<meta::AddDirStat>(m)) {
          world_.planted = true;
          return true;
        }
      }
      return false;
    case Plant::kDoubleCommit:
      for (size_t i = 0; i < request->mutations.size(); ++i) {
        if (!has_append(request->mutations[i])) continue;
        request->mutations.push_back(request->mutations[i]);
        world_.planted = true;
        return false;
      }
      return false;
    case Plant::kLoseAppend:
      for (meta::Mutation& m : request->mutations) {
        if (!has_append(m)) continue;
        std::get<meta::WriteData>(m).pieces.clear();
        world_.planted = true;
      }
      return false;
    case Plant::kLoseName:
      for (size_t i = 0; i < request->mutations.size(); ++i) {
        const auto* put = std::get_if<meta::Put>(&request->mutations[i]);
        if (put == nullptr || !std::holds_alternative<meta::OrphanRecord>(put->record)) continue;
        request->mutations.erase(request->mutations.begin() + static_cast<ptrdiff_t>(i));
        world_.planted = true;
        return false;
      }
      return false;
    case Plant::kIgnoreSession:
      return false;
    case Plant::kSkewLocks: {
      auto of_locks = [](const meta::Expectation& e) {
        const auto* version = std::get_if<meta::ExpectVersion>(&e);
        const auto* absent = std::get_if<meta::ExpectAbsent>(&e);
        return (version != nullptr && version->key.table == meta::Table::kLocked) ||
               (absent != nullptr && absent->key.table == meta::Table::kLocked);
      };
      std::erase_if(request->expectations, of_locks);
      return false;
    }
    default:
      return false;
  }
}

Result<meta::CommitResult> SimStore::apply(const OpContext& ctx,
                                           const meta::CommitRequest& request) {
  if (world_.options.plant != Plant::kNone) {
    meta::CommitRequest changed = request;
    if (plant(&changed)) {
      meta::CommitResult result;
      result.applied = true;
      result.outcomes.resize(request.mutations.size());
      return result;
    }
    if (world_.options.plant == Plant::kIgnoreSession && fates_.self().session_lost) {
      world_.planted = true;
      changed.session = 0;
    }
    auto result = base_.commit(ctx, changed);
    if (result.ok() && result->applied) result->outcomes.resize(request.mutations.size());
    return result;
  }
  return base_.commit(ctx, request);
}

Result<meta::CommitResult> SimStore::commit(const OpContext& ctx, meta::CommitRequest request) {
  const Fate fate = fates_.draw(false);
  if (fate == Fate::kDie) {
    if (!fates_.self().dead) fates_.die();
    return dead();
  }
  if (fate == Fate::kFail || fate == Fate::kFailOnce) {
    world_.trace("  commit fails: " + (world_.tracing() ? text_of(request) : std::string()));
    fates_.done();
    return refused(fate == Fate::kFailOnce);
  }
  auto result = apply(ctx, request);
  if (world_.tracing()) {
    std::string outcome = "applied";
    if (!result.ok()) {
      outcome = "error " + result.error().message();
    } else if (!result->applied) {
      outcome = "conflict, expectation " + std::to_string(result->failed_expectation) +
                ", mutation " + std::to_string(result->failed_mutation);
    }
    world_.trace("  commit {" + text_of(request) + "} " + outcome +
                 (fate == Fate::kLoseAnswer ? ", answer lost" : ""));
  }
  if (result.ok() && result->applied && world_.applied.insert(id_of(request.request)).second) {
    world_.before_commit(fates_.self(), request);
    world_.after_commit(fates_.self(), request);
  }
  fates_.done();
  if (fates_.self().dead) return dead();
  if (fate == Fate::kDieAfter) {
    fates_.die();
    return dead();
  }
  if (fate == Fate::kLoseAnswer) return lost();
  return result;
}

Status SimStore::sync(const OpContext& ctx) {
  const Fate fate = fates_.draw(false);
  if (fate == Fate::kDie || fate == Fate::kDieAfter) {
    if (!fates_.self().dead) fates_.die();
    return dead();
  }
  Status synced = base_.sync(ctx);
  if (fate == Fate::kFail) return refused(false);
  if (fate != Fate::kPass) return refused(true);
  return synced;
}

// ---- objects

template <typename Call>
auto SimObjects::run(const char* what, std::string_view key, bool* corrupt, Call call)
    -> decltype(call()) {
  const Fate fate = fates_.draw(corrupt != nullptr);
  if (fate == Fate::kDie) {
    if (!fates_.self().dead) fates_.die();
    return dead();
  }
  if (world_.tracing()) {
    world_.trace(std::string("  object ") + what + " " + std::string(key) +
                 (fate == Fate::kPass         ? ""
                  : fate == Fate::kLoseAnswer ? " (answer lost)"
                  : fate == Fate::kCorrupt    ? " (corrupt)"
                                              : " (fails)"));
  }
  if (fate == Fate::kFail || fate == Fate::kFailOnce) {
    fates_.done();
    return refused(fate == Fate::kFailOnce);
  }
  auto result = call();
  fates_.done();
  if (fates_.self().dead) return dead();
  if (fate == Fate::kDieAfter) {
    fates_.die();
    return dead();
  }
  if (fate == Fate::kLoseAnswer) return lost();
  if (fate == Fate::kCorrupt) *corrupt = true;
  return result;
}

Status SimObjects::put(const OpContext& ctx, std::string_view key,
                       const std::vector<ByteView>& pieces, const PutOptions& options) {
  return run("put", key, nullptr, [&] { return world_.objects->put(ctx, key, pieces, options); });
}

Status SimObjects::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                       MutableBytes out) {
  bool corrupt = false;
  Status got = run("get", key, &corrupt, [&]() -> Status {
    Status status = world_.objects->get(ctx, key, offset, out);
    if (!status.ok() || out.empty()) return status;
    if (world_.options.plant == Plant::kZeroObject && world_.dice.chance(1, 4)) {
      std::fill(out.begin(), out.end(), std::byte{0});
      world_.planted = true;
    }
    if (world_.options.plant == Plant::kSwapObjects && world_.dice.chance(1, 4)) {
      auto page = world_.objects->list(ctx, "", "", 1000);
      for (const ObjectInfo& other : page->objects) {
        if (other.key == key || other.size_bytes < offset + out.size()) continue;
        world_.planted = true;
        return world_.objects->get(ctx, other.key, offset, out);
      }
    }
    return status;
  });
  if (got.ok() && corrupt && !out.empty()) {
    out[world_.dice.below(out.size())] ^= std::byte{0x10};
  }
  return got;
}

Result<ObjectInfo> SimObjects::head(const OpContext& ctx, std::string_view key) {
  return run("head", key, nullptr, [&] { return world_.objects->head(ctx, key); });
}

Status SimObjects::remove(const OpContext& ctx, std::string_view key) {
  return run("remove", key, nullptr, [&]() -> Status {
    if (world_.options.plant == Plant::kKeepGarbage) {
      world_.planted = true;
      return {};
    }
    return world_.objects->remove(ctx, key);
  });
}

Result<std::vector<DeleteOutcome>> SimObjects::remove_batch(const OpContext& ctx,
                                                            const std::vector<std::string>& keys) {
  return run("remove", keys.empty() ? "" : keys.front(), nullptr,
             [&]() -> Result<std::vector<DeleteOutcome>> {
               if (world_.options.plant == Plant::kKeepGarbage) {
                 world_.planted = true;
                 std::vector<DeleteOutcome> outcomes;
                 for (const auto& key : keys) outcomes.push_back({key, 0});
                 return outcomes;
               }
               return world_.objects->remove_batch(ctx, keys);
             });
}

Result<ObjectPage> SimObjects::list(const OpContext& ctx, std::string_view prefix,
                                    std::string_view start_after, uint32_t limit) {
  return run("list", prefix, nullptr,
             [&] { return world_.objects->list(ctx, prefix, start_after, limit); });
}

Result<std::string> SimObjects::start_upload(const OpContext& ctx, std::string_view key,
                                             const PutOptions& options) {
  return run("start_upload", key, nullptr,
             [&] { return world_.objects->start_upload(ctx, key, options); });
}

Result<UploadedPart> SimObjects::put_part(const OpContext& ctx, std::string_view key,
                                          std::string_view upload_id, uint32_t number,
                                          ByteView data) {
  return run("put_part", key, nullptr,
             [&] { return world_.objects->put_part(ctx, key, upload_id, number, data); });
}

Status SimObjects::complete_upload(const OpContext& ctx, std::string_view key,
                                   std::string_view upload_id,
                                   const std::vector<UploadedPart>& parts) {
  return run("complete_upload", key, nullptr,
             [&] { return world_.objects->complete_upload(ctx, key, upload_id, parts); });
}

Status SimObjects::abort_upload(const OpContext& ctx, std::string_view key,
                                std::string_view upload_id) {
  return run("abort_upload", key, nullptr,
             [&] { return world_.objects->abort_upload(ctx, key, upload_id); });
}

}  // namespace skerry::model
