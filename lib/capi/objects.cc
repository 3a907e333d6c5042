// Object stores by themselves.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "capi/call.h"
#include "capi/factory.h"
#include "object/probe.h"

using namespace skerry;        // NOLINT: the entries of a C ABI have no namespace of their own
using namespace skerry::capi;  // NOLINT

namespace {

/// A local store keeps a folder whose last object was removed, since another may come.
void remove_empty_folders(const std::filesystem::path& top) {
  std::error_code ignored;
  std::vector<std::filesystem::path> folders = {top};
  for (std::filesystem::recursive_directory_iterator at(top, ignored), end; at != end;
       at.increment(ignored)) {
    if (at->is_directory(ignored)) folders.push_back(at->path());
  }
  std::reverse(folders.begin(), folders.end());
  for (const auto& folder : folders) rmdir(folder.c_str());
}

std::string own_prefix() {
  char text[40];
  std::snprintf(text, sizeof text, "skerry-objbench-%016llx/",
                static_cast<unsigned long long>(system_random().next()));
  return text;
}

Result<uint64_t> probe(const char* url, skerry_cancel* cancel, skerry_store_check_function on_check,
                       skerry_store_rate_function on_rate, skerry_progress progress,
                       void* context) {
  Clock& clock = system_clock();
  SKERRY_ASSIGN(std::unique_ptr<ObjectStore> store,
                open_objects(url, DataFolder::kMustExist, clock));
  OpContext ctx;
  ctx.clock = &clock;
  if (cancel != nullptr) ctx.cancel = &cancel->token;
  StoreProbe probe;
  probe.on_check = [&](const StoreCheck& found) {
    if (on_check == nullptr) return;
    struct skerry_store_check check = {};
    check.struct_size = sizeof check;
    check.verdict = static_cast<int32_t>(found.verdict);
    check.name = found.name;
    check.advice = found.advice.c_str();
    on_check(context, &check);
  };
  if (on_rate != nullptr) {
    probe.on_rate = [&](const StoreRate& found) {
      struct skerry_store_rate rate = {};
      rate.struct_size = sizeof rate;
      rate.callers = found.callers;
      rate.operation = found.operation;
      rate.object_bytes = found.object_bytes;
      rate.requests = found.requests;
      rate.elapsed_ns = static_cast<uint64_t>(found.elapsed_ns);
      rate.median_ns = static_cast<uint64_t>(found.median_ns);
      rate.p99_ns = static_cast<uint64_t>(found.p99_ns);
      on_rate(context, &rate);
    };
  }
  if (progress != nullptr) {
    probe.going = [&](uint64_t done, uint64_t total) {
      return progress(context, "step", done, total) == 0;
    };
  }
  const std::string prefix = own_prefix();
  Result<uint64_t> wrong = probe_store(ctx, *store, prefix, system_random(), probe);
  constexpr std::string_view kFolder = "file://";
  if (const std::string_view at = url; at.starts_with(kFolder)) {
    remove_empty_folders(std::filesystem::path(at.substr(kFolder.size())) / prefix);
  }
  return wrong;
}

}  // namespace

extern "C" {

int skerry_probe_store(const char* url, skerry_cancel* cancel, skerry_store_check_function check,
                       skerry_store_rate_function rate, skerry_progress progress, void* context) {
  constexpr const char* kCall = "skerry_probe_store";
  return guarded(kCall, [&]() -> int {
    if (url == nullptr) return fail(EINVAL, "the URL is null", kCall);
    watch_forks();
    auto wrong = probe(url, cancel, check, rate, progress, context);
    if (!wrong.ok()) return fail(wrong.error(), kCall, without_secrets(url).c_str());
    return static_cast<int>(*wrong);
  });
}

}  // extern "C"
