#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;
using internal::check_directory;
using internal::Unseen;
using internal::View;
using internal::Wanted;

namespace {

/// Removes a plain file that need not be known, in one round trip. False: that was not possible,
/// and nothing has changed.
Result<bool> unlink_unseen(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
                           Attributes* removed) {
  Attributes parent;
  const Unseen seen = internal::unseen_name(ctx, meta, dir, name, &parent);
  // What is known is expected, where the store loses nothing by it.
  const bool better_known = seen == Unseen::kFile && meta.exact();
  if (seen == Unseen::kNo || seen == Unseen::kFree || better_known) return false;
  const MetadataCache::Ticket ticket = meta.ticket();
  const TimeNs now = meta.now_ns();
  Change change(meta);
  change.add(MoveFile{entry_key(dir, name), {}, false, now, meta.usage_client(), {}});
  change.touch(parent, now, -1, 0);
  SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
  if (!result.applied) return false;
  const Attributes& after = *result.outcomes.front().moved;
  meta.cache().publish_entry(ticket, dir, name, {});
  meta.cache().forget_attributes(after.ino);
  meta.cache().touch_directory(dir);
  if (removed != nullptr) *removed = after;
  return true;
}

}  // namespace

Status unlink(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
              Attributes* removed) {
  SKERRY_TRY(check_name(name));
  SKERRY_ASSIGN(const bool done, unlink_unseen(ctx, meta, dir, name, removed));
  if (done) return {};
  Wanted wanted;
  wanted.inodes = {dir};
  wanted.entries = {{dir, name}};
  for (Attempts attempts(ctx, meta);;) {
    SKERRY_TRY(attempts.next());
    SKERRY_ASSIGN(View view, look(ctx, meta, wanted, attempts.source()));
    SKERRY_TRY(check_directory(ctx, meta, view.inodes[0]));
    const Attributes& parent = view.inodes[0]->attr;
    if (!view.entries[0]) return Error(ENOENT);
    const EntryRecord& entry = *view.entries[0];
    SKERRY_TRY(check_delete(ctx, meta, parent, entry.attr));
    if (entry.attr.is_dir()) return Error(EISDIR);
    const TimeNs now = meta.now_ns();
    Change change(meta);
    const Attributes after = internal::remove_name(entry, now, false, &change);
    change.touch(parent, now, -1, 0);
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (result.applied) {
      internal::forget_removed(meta, view.ticket, dir, name, entry);
      if (removed != nullptr) *removed = after;
      return {};
    }
    if (change.directory_gone(result)) return Error(ENOENT, "the directory was removed");
  }
}

}  // namespace skerry::meta
