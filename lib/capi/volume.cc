// Library and volumes.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "capi/call.h"
#include "capi/factory.h"
#include "meta/meta.h"
#include "vfs/maintenance.h"
#include "vfs/settings.h"

namespace skerry::capi {
namespace {

Credentials process_credentials() {
  Credentials who;
  who.uid = geteuid();
  who.gid = getegid();
  int count = getgroups(0, nullptr);
  if (count > 0) {
    who.groups.resize(static_cast<size_t>(count));
    count = getgroups(count, who.groups.data());
    who.groups.resize(static_cast<size_t>(std::max(count, 0)));
  }
  return who;
}

/// RFC 9562, version 4.
std::string new_uuid(Random& random) {
  uint64_t high = (random.next() & ~uint64_t{0xf000}) | 0x4000;
  uint64_t low = (random.next() >> 2) | (uint64_t{2} << 62);
  std::array<char, 40> text{};
  snprintf(text.data(), text.size(), "%08llx-%04llx-%04llx-%04llx-%012llx",
           static_cast<unsigned long long>(high >> 32),
           static_cast<unsigned long long>(high >> 16 & 0xffff),
           static_cast<unsigned long long>(high & 0xffff),
           static_cast<unsigned long long>(low >> 48),
           static_cast<unsigned long long>(low & 0xffffffffffff));
  return text.data();
}

OpContext own_context(TimeNs timeout_ns) {
  OpContext ctx;
  ctx.clock = &system_clock();
  ctx.credentials = process_credentials();
  ctx.deadline_ns = ctx.clock->monotonic_ns() + timeout_ns;
  return ctx;
}

Status format(const char* url, const char* const* options) {
  SKERRY_ASSIGN(vfs::FormatOptions parsed, vfs::parse_format_options(options));
  meta::VolumeFormat format;
  format.storage = parsed.storage;
  if (format.storage.empty()) {
    SKERRY_ASSIGN(format.storage, default_storage(url));
  }
  format.uuid = new_uuid(system_random());
  format.block_bytes = parsed.block_bytes;
  format.inline_bytes = parsed.inline_bytes;
  format.durable_metadata = parsed.durable;
  format.session_expiry_ns = parsed.session_expiry_ns;

  SKERRY_TRY(check_storage_url(format.storage));
  const OpContext ctx = own_context(parsed.timeout_ns);
  SKERRY_TRY(vfs::set_up(ctx, parsed, &format));
  auto store = create_metadata(url, system_clock());
  if (!store.ok()) {
    if (store.error().code() != EEXIST) return std::move(store).error();
    // A database without a volume is what a formatting that did not get far leaves behind.
    store = open_metadata(url, system_clock());
    if (!store.ok()) return std::move(store).error();
    auto there = meta::read_format(ctx, **store);
    if (there.ok() || there.error().code() == ENOTSUP) {
      return Error(EEXIST, "a volume is there already");
    }
    if (there.error().code() != ENOENT) return std::move(there).error();
  }
  // Before the first record, so that a folder that cannot be made leaves no volume without one.
  SKERRY_TRY(claim_objects(ctx, format.storage, format.uuid, system_clock()));
  SKERRY_TRY(meta::format_volume(ctx, **store, format, system_clock()));
  return (*store)->sync(ctx);
}

Status configure(const char* url, const char* const* options) {
  SKERRY_ASSIGN(const vfs::SettingsOptions parsed, vfs::parse_settings_options(options));
  SKERRY_ASSIGN(const auto store, open_metadata(url, system_clock(), false));
  return vfs::change_settings(own_context(parsed.timeout_ns), *store, parsed, system_clock(),
                              system_random());
}

Status rotate_key(const char* url, const char* const* options) {
  SKERRY_ASSIGN(const vfs::RotationOptions parsed, vfs::parse_rotation_options(options));
  SKERRY_ASSIGN(const auto store, open_metadata(url, system_clock(), false));
  return vfs::rotate_key(own_context(parsed.timeout_ns), *store, parsed, system_clock(),
                         system_random());
}

/// A call on a volume that is not open.
int on_url(const char* call, const char* url, const char* const* options,
           Status (*body)(const char*, const char* const*)) noexcept {
  return static_cast<int>(guarded(call, [&]() -> int {
    if (url == nullptr) return fail(EINVAL, "the URL is null", call);
    watch_forks();
    Status done = body(url, options);
    return done.ok() ? 0 : fail(done.error(), call, without_secrets(url).c_str());
  }));
}

// The process's log, as base/log.h has it.
constinit std::atomic<skerry_log_function> log_function{nullptr};

/// The host's function wants a NUL, our messages have none.
void forward(void* context, LogLevel level, std::string_view message) {
  auto function = log_function.load(std::memory_order_acquire);
  if (function == nullptr) return;
  std::array<char, 1024> text{};
  size_t length = std::min(message.size(), text.size() - 1);
  std::memcpy(text.data(), message.data(), length);
  function(context, static_cast<int>(level), text.data());
}

Status close_volume(skerry_volume* volume) {
  volume->closed.store(true, std::memory_order_release);
  std::unique_ptr<VolumeState> state = volume->state.take();
  if (state == nullptr) return {};  // of the parent: it closes it
  Status first;
  auto first_of = [&](auto& registry) {
    std::lock_guard lock(state->mutex);
    return registry.first();
  };
  while (QueueState* queue = first_of(state->queues)) {
    queue->shell->closed.store(true, std::memory_order_release);
    close_queue_state(queue->shell);
  }
  while (FileState* file = first_of(state->files)) {
    OpContext ctx = state->volume->own_context(volume->options.timeout_ns);
    file->shell->closed.store(true, std::memory_order_release);
    Status flushed = close_file_state(ctx, file->shell);
    if (first.ok()) first = std::move(flushed);
  }
  OpContext ctx = state->volume->own_context(volume->options.timeout_ns);
  Status closed = state->volume->close(ctx);
  return first.ok() ? closed : first;
}

}  // namespace
}  // namespace skerry::capi

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

extern "C" {

const char* skerry_version(void) { return "0.1.0"; }

int skerry_set_log(skerry_log_function function, void* context, int max_level) {
  if (max_level < 0 || max_level > 3) {
    return fail(EINVAL, "the level is not between 0 and 3", "skerry_set_log");
  }
  log_function.store(function, std::memory_order_release);
  set_log_sink(function == nullptr ? nullptr : forward, context, static_cast<LogLevel>(max_level));
  return 0;
}

skerry_cancel* skerry_cancel_create(void) {
  auto* cancel = new (std::nothrow) skerry_cancel;
  if (cancel == nullptr) fail(ENOMEM, "out of memory", "skerry_cancel_create");
  return cancel;
}

void skerry_cancel_fire(skerry_cancel* cancel) {
  if (cancel != nullptr) cancel->token.cancel();
}

void skerry_cancel_free(skerry_cancel* cancel) { delete cancel; }

int skerry_format(const char* url, const char* const* options) {
  return on_url("skerry_format", url, options, format);
}

int skerry_configure(const char* url, const char* const* options) {
  return on_url("skerry_configure", url, options, configure);
}

int skerry_rotate_key(const char* url, const char* const* options) {
  return on_url("skerry_rotate_key", url, options, rotate_key);
}

int skerry_volume_open(const char* url, const char* const* options, skerry_volume** volume) {
  constexpr const char* kCall = "skerry_volume_open";
  return guarded(kCall, [&]() -> int {
    if (volume == nullptr) return fail(EINVAL, "the place for the volume is null", kCall);
    *volume = nullptr;
    if (url == nullptr) return fail(EINVAL, "the URL is null", kCall);
    watch_forks();
    auto parsed = vfs::parse_volume_options(options);
    if (!parsed.ok()) return fail(parsed.error(), kCall, without_secrets(url).c_str());
    Status prepared = vfs::Volume::prepare(*parsed);
    if (!prepared.ok()) return fail(prepared.error(), kCall, without_secrets(url).c_str());
    auto shell = std::make_unique<skerry_volume>(url, *parsed, process_credentials());
    auto state = build_volume(*shell);
    if (!state.ok()) return fail(state.error(), kCall, without_secrets(url).c_str());
    shell->state.set(std::move(state).value());
    *volume = shell.release();
    return 0;
  });
}

int skerry_volume_close(skerry_volume* volume) {
  if (volume == nullptr) return 0;
  int answer = guarded("skerry_volume_close", [&]() -> int {
    Status closed = close_volume(volume);
    return closed.ok()
               ? 0
               : fail(closed.error(), "skerry_volume_close", without_secrets(volume->url).c_str());
  });
  volume->release();
  return answer;
}

int skerry_sync(skerry_volume* volume, const skerry_context* context) {
  return static_cast<int>(
      on_volume({"skerry_sync"}, volume, context,
                [](const OpContext& ctx, VolumeState& state) { return state.volume->sync(ctx); }));
}

int skerry_statvfs(skerry_volume* volume, const skerry_context* context,
                   struct skerry_statvfs* out) {
  return static_cast<int>(on_volume(
      {"skerry_statvfs"}, volume, context, [&](const OpContext& ctx, VolumeState& state) -> Status {
        if (out == nullptr) return null_argument("the result");
        SKERRY_ASSIGN(vfs::Usage usage, vfs::usage(ctx, *state.volume));
        *out = {};
        out->total_bytes = usage.total_bytes;
        out->used_bytes = usage.used_bytes;
        out->total_inodes = usage.total_inodes;
        out->used_inodes = usage.used_inodes;
        out->block_bytes = state.volume->format().block_bytes;
        out->name_max = meta::kMaxNameBytes;
        return {};
      }));
}

int64_t skerry_volume_info(skerry_volume* volume, const skerry_context* context, char* buffer,
                           size_t capacity) {
  return on_volume({"skerry_volume_info"}, volume, context,
                   [&](const OpContext& ctx, VolumeState& state) -> Result<int64_t> {
                     if (buffer == nullptr && capacity > 0) return null_argument("the buffer");
                     SKERRY_ASSIGN(std::string text, vfs::describe(ctx, *state.volume));
                     if (capacity > 0) {
                       size_t length = std::min(text.size(), capacity - 1);
                       std::memcpy(buffer, text.data(), length);
                       buffer[length] = '\0';
                     }
                     return static_cast<int64_t>(text.size());
                   });
}

int skerry_counters(skerry_volume* volume, struct skerry_counter* counters, size_t capacity) {
  return static_cast<int>(on_volume({"skerry_counters"}, volume, nullptr,
                                    [&](const OpContext&, VolumeState& state) -> Result<int64_t> {
                                      if (counters == nullptr && capacity > 0)
                                        return null_argument("the array of counters");
                                      std::vector<vfs::Counter> all = vfs::counters(*state.volume);
                                      for (size_t i = 0; i < std::min(capacity, all.size()); i++) {
                                        counters[i] = {all[i].name, all[i].value};
                                      }
                                      return static_cast<int64_t>(all.size());
                                    }));
}

}  // extern "C"
