#include "object/claim.h"

#include <cstdio>
#include <span>
#include <string_view>
#include <utility>

namespace skerry {
namespace {

constexpr char kOwnerKey[] = "skerry-volume";
constexpr char kClaims[] = "skerry-claim/";

/// The UUID of the volume that the prefix belongs to; empty if there is none.
Result<std::string> owner_of(const OpContext& ctx, ObjectStore& store, size_t uuid_bytes) {
  std::string owner(uuid_bytes, '\0');
  Status got = store.get(ctx, kOwnerKey, 0, std::as_writable_bytes(std::span(owner)));
  if (got.ok()) return owner;
  if (got.error().code() == ENOENT) return std::string();
  if (got.error().code() == EINVAL) return std::string("(unknown)");  // a shorter object
  return std::move(got).error();
}

Status refuse_other(const OpContext& ctx, ObjectStore& store, const std::string& uuid) {
  SKERRY_ASSIGN(const std::string owner, owner_of(ctx, store, uuid.size()));
  if (owner.empty() || owner == uuid) return {};
  return Error(EEXIST, store.describe() + " holds the data of volume " + owner +
                           "; choose another prefix, or delete the object \"" + kOwnerKey +
                           "\" there if that volume is gone");
}

/// Whether the store refuses a put of what is there.
Result<bool> check_store(const OpContext& ctx, ObjectStore& store, Random& random,
                         const std::function<void(const StoreCheck&)>& on_lack) {
  bool conditional = false;
  Status unusable;
  StoreProbe probe;
  probe.essentials = true;
  probe.on_check = [&](const StoreCheck& check) {
    const std::string_view name = check.name;
    if (name == "conditional put") conditional = check.verdict == StoreVerdict::kFine;
    if (check.verdict == StoreVerdict::kFine) return;
    if (name != "put and get" && name != "ranges") return on_lack(check);
    if (!unusable.ok()) return;
    unusable = Error(
        EIO, store.describe() + " will not do for a volume: " + check.name + ": " + check.advice);
  };
  char prefix[40];
  std::snprintf(prefix, sizeof prefix, "skerry-format-%016llx/",
                static_cast<unsigned long long>(random.next()));
  SKERRY_TRY(probe_store(ctx, store, prefix, random, probe));
  SKERRY_TRY(std::move(unusable));
  return conditional;
}

/// Without conditional puts. `own` is there already.
Status win(const OpContext& ctx, ObjectStore& store, const std::string& own,
           const std::string& uuid) {
  SKERRY_ASSIGN(const ObjectPage page, store.list(ctx, kClaims, "", 2));
  for (const ObjectInfo& claim : page.objects) {
    if (claim.key == own) continue;
    return Error(EEXIST, store.describe() +
                             " is being made another volume's; if nobody does that now, delete "
                             "the object \"" +
                             claim.key + "\" there");
  }
  // Who had claimed it before this claim was there has taken its own away only after the owner was
  // put.
  SKERRY_TRY(refuse_other(ctx, store, uuid));
  return store.put(ctx, kOwnerKey, {as_bytes(uuid)});
}

Status claim_alone(const OpContext& ctx, ObjectStore& store, const std::string& uuid) {
  const std::string own = kClaims + uuid;
  SKERRY_TRY(store.put(ctx, own, {as_bytes(uuid)}));
  Status won = win(ctx, store, own, uuid);
  Status removed = store.remove(ctx, own);
  return won.ok() ? std::move(removed) : std::move(won);
}

}  // namespace

Status claim_prefix(const OpContext& ctx, ObjectStore& store, const std::string& uuid,
                    Random& random, const std::function<void(const StoreCheck&)>& on_lack) {
  SKERRY_TRY(refuse_other(ctx, store, uuid));
  SKERRY_ASSIGN(const bool conditional, check_store(ctx, store, random, on_lack));
  if (!conditional) {
    SKERRY_TRY(claim_alone(ctx, store, uuid));
  } else {
    Status put = store.put(ctx, kOwnerKey, {as_bytes(uuid)}, {.if_absent = true});
    if (!put.ok() && put.error().code() != EEXIST) return put;
  }
  SKERRY_TRY(refuse_other(ctx, store, uuid));
  SKERRY_ASSIGN(const std::string owner, owner_of(ctx, store, uuid.size()));
  if (owner == uuid) return {};
  return Error(EIO, store.describe() + " does not hold what was put there");
}

}  // namespace skerry
