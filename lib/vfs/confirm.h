// What a call owes the caller on a store that cannot prove what is current (Meta::exact()).
//
// A call that changes something may find its way by what is cached, within the lease, because its
// commit expects whatever it decided on. An error rests on no commit, so it is confirmed: where
// something cached before the call began had a part in it, the call is made once more with nothing
// of that. In the strict mode, and on exact stores, that never happens.
#pragma once

#include <utility>

#include "io/op_context.h"
#include "meta/meta.h"
#include "meta/ops.h"
#include "vfs/path_walk.h"

namespace skerry::vfs {

/// Errors of the infrastructure say nothing of what there is, and a call that may have taken effect
/// is not made twice.
inline bool is_about_files(const Error& error) {
  switch (error.code()) {
    case EIO:
    case ENOSPC:
    case ETIMEDOUT:
    case ECANCELED:
    case ENOMEM:
    case EBUSY:
    case EROFS:
      return false;
    default:
      return !error.maybe_applied();
  }
}

/// `body(ctx)`, a call that changes something and may be made twice where it fails.
template <typename Body>
auto confirmed(const OpContext& ctx, meta::Meta& meta, Body&& body) -> decltype(body(ctx)) {
  if (meta.exact()) [[likely]]
    return body(ctx);
  bool aged = false;
  OpContext first = ctx;
  first.aged = &aged;
  auto answer = body(std::as_const(first));
  if (answer.ok() || !aged || !is_about_files(answer.error())) return answer;
  const NotBefore again(ctx, meta.now_not_before());
  return body(*again);
}

/// meta::create() for who opens what is there already, which is told as it is now even where the
/// cache knows of it.
inline Result<meta::Created> create_or_find(const OpContext& ctx, meta::Meta& meta, meta::Ino dir,
                                            std::string_view name, const meta::CreateArgs& args) {
  const NotBefore now(ctx, meta.current_not_before(ctx));
  for (unsigned attempt = 1;; ++attempt) {
    SKERRY_ASSIGN(meta::Created found,
                  meta::create(attempt == 1 ? ctx : *now, meta, dir, name, args));
    if (found.created || args.exclusive || meta.exact()) return found;
    auto there = meta::lookup(*now, meta, dir, name);
    if (there.ok()) return meta::Created{*there, false};
    if (there.error().code() != ENOENT || attempt == kMaxWalks) return std::move(there).error();
  }
}

}  // namespace skerry::vfs
