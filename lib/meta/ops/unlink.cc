#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;
using internal::check_directory;
using internal::View;
using internal::Wanted;

Status unlink(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name,
              Attributes* removed) {
  SKERRY_TRY(check_name(name));
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
