#include "model/client.h"

#include <algorithm>
#include <cstring>

#include "meta/session.h"
#include "object/decorators/retry_store.h"
#include "vfs/maintenance.h"

namespace skerry::model {

namespace {
constexpr TimeNs kBeat = 5 * kSecond;

/// Of every fourth seed; with two layouts, as where compression came before encryption.
void encrypt(VolumeShape* shape, Dice& dice) {
  constexpr const char* kCompression[] = {"none", "lz4", "zstd"};
  auto keys = std::make_shared<KeyRing>();
  keys->volume = shape->format.uuid;
  keys->current = 1;
  keys->data_keys[1] = SecretKey();
  shape->keys = std::move(keys);
  shape->format.compression = kCompression[dice.below(3)];
  shape->format.layouts = {{1, false}, {1 + dice.below(200), true}};
  shape->format.encryption = meta::EncryptionFormat{"simulated", "none", 1, {{1, ""}}};
  shape->format.incompatible = {meta::kFeatureFramedObjects, meta::kFeatureEncryption};
}
}  // namespace

VolumeShape choose_shape(Dice& dice) {
  VolumeShape shape;
  constexpr uint32_t kInline[] = {0, 64, 4096};
  constexpr uint64_t kCache[] = {1u << 20, 8u << 20};
  constexpr uint64_t kBuffer[] = {128u << 10, 4u << 20};
  shape.format.uuid = "00000000-0000-4000-8000-000000000000";
  shape.format.storage = "simulated:";
  shape.format.block_bytes = 64u << 10;
  shape.format.inline_bytes = kInline[dice.below(3)];
  shape.options.cache_bytes = kCache[dice.below(2)];
  shape.options.write_buffer_bytes = kBuffer[dice.below(2)];
  shape.options.readahead_bytes = dice.chance(1, 2) ? 0 : 128u << 10;
  shape.options.io_threads = 0;
  shape.options.background = false;
  shape.options.metadata_cache = 512;
  shape.knows_generation = !dice.chance(1, 4);
  constexpr meta::Consistency kModes[] = {
      meta::Consistency::kStrict, meta::Consistency::kCloseToOpen, meta::Consistency::kLeased};
  constexpr TimeNs kLeases[] = {2'000'000, 20'000'000, 200'000'000};
  shape.options.consistency = kModes[dice.below(3)];
  shape.options.lease_ns = kLeases[dice.below(3)];
  if (dice.chance(1, 4)) encrypt(&shape, dice);
  return shape;
}

OpContext Client::context(uint32_t uid) {
  OpContext ctx;
  ctx.clock = self_->clock.get();
  ctx.credentials.uid = uid;
  ctx.credentials.gid = uid;
  ctx.began_ns = self_->clock->monotonic_ns();
  ctx.deadline_ns = ctx.began_ns + 60 * kSecond;
  return ctx;
}

DataOracle::Since Client::since(Moment began, const File* file) const {
  if (world_.lease_ns == 0) return began;
  Moment others = world_.moment_at(world_.scheduler.now() - world_.lease_ns);
  if (file != nullptr && is(meta::Consistency::kCloseToOpen)) {
    others = std::max(others, file->opened);
  }
  return {began, std::min(began, others)};
}

/// Some notifications come late, and some never.
void Client::hear() {
  if (self_->inbox.empty() || !world_.dice.chance(1, 2)) return;
  const bool lost = world_.dice.chance(1, 6);
  for (const std::string& payload : self_->inbox) {
    if (!lost) store_->hear(payload);
  }
  self_->inbox.clear();
}

bool Client::open_volume() {
  self_ = &world_.start_incarnation(slot_);
  store_ = std::make_shared<SimStore>(world_, *self_, shape_.knows_generation);
  vfs::Volume::Parts parts;
  parts.store = store_;
  parts.format = shape_.format;
  parts.keys = shape_.keys;
  parts.clock = self_->clock.get();
  parts.random = self_->random.get();
  parts.objects = std::make_shared<RetryObjectStore>(std::make_shared<SimObjects>(world_, *self_),
                                                     *parts.random);
  world_.trace("open the volume");
  auto opened = vfs::Volume::open(context(), std::move(parts), shape_.options);
  if (!opened.ok()) {
    if (alive() && !excused(opened.error().code())) {
      world_.fail("the volume cannot be opened: " + opened.error().message());
    }
    self_->dead = true;
    self_->clock->stop();
    return false;
  }
  volume_ = std::move(opened).value();
  last_beat_ = world_.scheduler.now();
  return true;
}

void Client::close_volume() {
  while (!files_.empty() && alive()) call_close(files_.size() - 1);
  if (alive()) {
    world_.trace("close the volume");
    Status closed = volume_->close(context());
    if (alive() && !closed.ok() && !excused(closed.error().code())) {
      world_.fail("the volume's close failed: " + closed.error().message());
    }
  }
  abandon();
}

/// Nothing of it reaches the stores any more: as if the process had been killed.
void Client::abandon() {
  self_->dead = true;
  self_->clock->stop();
  self_->window = self_->strict = nullptr;
  self_->on_data = nullptr;
  files_.clear();
  self_->open.clear();
  volume_.reset();
  store_.reset();
  world_.data.dropped(self_->number);
}

void Client::leave() {
  if (alive() && world_.rates.crashes && world_.dice.chance(1, 4)) {
    world_.trace("killed");
    abandon();
  } else {
    close_volume();
  }
}

/// Something to begin with: most calls of a history should find what they name.
void Client::furnish() {
  for (const char* path : {"/d", "/d/f", "/e"}) {
    Call call;
    call.op = Op::kMkdir;
    call.path = path;
    call.mode = 0777;
    perform(call, [&](const OpContext& ctx) {
      Status made = vfs::mkdir(ctx, *volume_, nullptr, call.path, call.mode);
      Answer answer;
      if (!made.ok()) answer.error = made.error().code();
      return answer;
    });
    if (!alive()) return;
  }
}

void Client::run(unsigned calls) {
  bool furnished = slot_ != 0;
  for (unsigned made = 0; made < calls && !world_.failed();) {
    if (!open_volume()) {
      made += 5;
      world_.scheduler.sleep_until(world_.scheduler.now() + kSecond);
      continue;
    }
    if (!furnished) furnish();
    furnished = true;
    const unsigned here = 5 + static_cast<unsigned>(world_.dice.below(calls));
    for (unsigned i = 0; i < here && made < calls && alive(); ++i, ++made) step();
    const bool crashed = self_->dead;
    leave();
    if (crashed) {
      const auto pause = static_cast<TimeNs>(world_.dice.below(100)) * kSecond;
      world_.scheduler.sleep_until(world_.scheduler.now() + pause);
    }
  }
}

bool Client::excused(int error) const {
  if (self_->session_lost) return true;
  return self_->injected > 0 && error != ESTALE;
}

Answer Client::perform(Call call, const std::function<Answer(const OpContext&)>& body) {
  const std::string text = world_.tracing() ? call.text() : std::string();
  world_.trace(text);
  const TimeNs began = world_.scheduler.now();
  OpContext ctx = context(call.who.uid);
  call.who = ctx.credentials;
  CallWindow window(call, world_.names);
  std::optional<CallWindow> wide;
  if (world_.lease_ns != 0) wide.emplace(std::move(call), world_.past(began), world_.names);
  self_->window = wide ? &*wide : &window;
  self_->strict = wide ? &window : nullptr;
  Answer answer = body(ctx);
  self_->window = self_->strict = nullptr;
  if (!alive()) return answer;
  if (world_.tracing()) {
    world_.trace(
        text + " = " +
        (answer.error == 0 ? "ok " + answer.detail : std::string(strerrorname_np(answer.error))));
  }
  if (auto problem = judge(answer, window, wide ? &*wide : nullptr)) {
    world_.fail("client " + std::to_string(slot_) + ", " + window.call().text() + ": " + *problem);
  }
  return answer;
}

/// What README.md says under Consistency. `wide` knows what was right within the lease.
std::optional<std::string> Client::judge(const Answer& answer, CallWindow& strict,
                                         CallWindow* wide) {
  const bool excuse = excused(answer.error);
  if (wide == nullptr) return strict.answered(answer, excuse);
  const Call& call = wide->call();
  const bool opens = call.op == Op::kOpen;
  const bool creates = opens && (call.flags & O_CREAT) != 0;
  const bool current = call.op == Op::kTruncate || (opens && (call.flags & O_TRUNC) != 0) ||
                       (opens && is(meta::Consistency::kCloseToOpen));
  if (answer.error == 0) {
    // The way to what is made or found in its stead may be one of the past.
    return (current && !creates ? strict : *wide).answered(answer, excuse);
  }
  if (wide->commits() != 0) return wide->answered(answer, excuse);
  const bool confirmed = current || creates || wide->changes();
  return (confirmed ? strict : *wide).answered(answer, excuse);
}

Status Client::quiet_call(const std::string& what,
                          const std::function<Status(const OpContext&)>& body) {
  Status status;
  perform(Call{}, [&](const OpContext& ctx) {
    world_.trace(what);
    self_->by_handle = true;
    status = body(ctx);
    self_->by_handle = false;
    return Answer{};
  });
  if (!alive()) return status;
  if (world_.tracing())
    world_.trace(what + (status.ok() ? " = ok" : " = " + status.error().message()));
  if (!status.ok() && !excused(status.error().code())) {
    world_.fail("client " + std::to_string(slot_) + ", " + what + ": failed with " +
                strerrorname_np(status.error().code()) + " (" + status.error().message() + ")");
  }
  return status;
}

void Client::care(const std::string& what, const std::function<Status(const OpContext&)>& body) {
  Status status = quiet_call(what, body);
  (void)status;  // quiet_call() has judged it
}

/// What the background thread of a volume does, which has no place in a simulation.
void Client::beat() {
  if (world_.scheduler.now() - last_beat_ < kBeat) return;
  last_beat_ = world_.scheduler.now();
  Status status = quiet_call(
      "heartbeat", [&](const OpContext& ctx) { return meta::heartbeat(ctx, volume_->meta()); });
  if (alive() && !status.ok() && status.error().code() == ESTALE) {
    care("reopen the session", [&](const OpContext& ctx) { return volume_->renew_session(ctx); });
  }
  if (!alive()) return;
  care("settle locks", [&](const OpContext& ctx) -> Status {
    volume_->locks().settle(ctx);
    return {};
  });
}

void Client::step() {
  self_->began = world_.data.tick();
  self_->began_ns = world_.scheduler.now();
  world_.note_moment(self_->began);
  Moment oldest = kNever;
  TimeNs oldest_ns = INT64_MAX;
  for (const auto& other : world_.incarnations) {
    if (other->dead) continue;
    oldest = std::min(oldest, other->began);
    oldest_ns = std::min(oldest_ns, other->began_ns);
  }
  if (world_.lease_ns != 0) {
    oldest = std::min(oldest, world_.moment_at(oldest_ns - world_.lease_ns));
  }
  world_.data.set_oldest_check(oldest);
  hear();
  beat();
  if (!alive()) return;
  const uint64_t kind = world_.dice.below(100);
  if (kind < 45) {
    name_call();
  } else if (kind < 92) {
    file_call();
  } else {
    care_call();
  }
}

void Client::care_call() {
  auto remove = [this](const OpContext& ctx, const std::vector<meta::ObjectId>& ids) {
    return volume_->blocks().remove_objects(ctx, ids);
  };
  switch (world_.dice.below(8)) {
    case 0: {
      const auto pause = static_cast<TimeNs>(1 + world_.dice.below(20)) * kSecond;
      world_.trace("idle for " + std::to_string(pause / kSecond) + " s");
      world_.scheduler.sleep_until(world_.scheduler.now() + pause);
      return;
    }
    case 1:
      last_beat_ = 0;
      beat();
      return;
    case 2:
    case 3:
      care("reclaim", [&](const OpContext& ctx) -> Status {
        auto step = meta::reclaim_step(ctx, volume_->meta(), remove);
        return step.ok() ? Status() : Status(std::move(step).error());
      });
      return;
    case 4:
      care("gc", [&](const OpContext& ctx) {
        vfs::GcResult result;
        return vfs::collect_garbage(ctx, *volume_, false, &result, {});
      });
      return;
    case 5:
      care("background step", [&](const OpContext& ctx) -> Status {
        volume_->files().background_step(ctx);
        return {};
      });
      return;
    case 6: {
      const Moment began = world_.data.tick();
      Status synced = quiet_call("sync", [&](const OpContext& ctx) { return volume_->sync(ctx); });
      if (alive() && synced.ok()) world_.data.all_settled(self_->number, began);
      return;
    }
    default: {
      const std::string path = any_path();
      Call call;
      call.op = Op::kHandle;
      world_.trace("compact " + path);
      perform(std::move(call), [&](const OpContext& ctx) {
        auto rewritten = vfs::compact(ctx, *volume_, path);
        Answer answer;
        if (!rewritten.ok()) answer.error = rewritten.error().code();
        return answer;
      });
    }
  }
}

}  // namespace skerry::model
