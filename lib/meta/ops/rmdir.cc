#include "meta/ops/common.h"

namespace skerry::meta {

using internal::Attempts;
using internal::Change;
using internal::check_directory;
using internal::View;
using internal::Wanted;

Status rmdir(const OpContext& ctx, Meta& meta, Ino dir, std::string_view name) {
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
    if (!entry.attr.is_dir()) return Error(ENOTDIR);
    Change change(meta);
    change.expect_entry(entry);
    const int empty = change.expect(ExpectEmpty{Table::kEntry, entry.attr.ino});
    internal::remove_directory(entry, false, &change);
    change.touch(parent, meta.now_ns(), -1, -1);
    SKERRY_ASSIGN(CommitResult result, change.commit(ctx));
    if (result.applied) {
      internal::forget_removed(meta, view.ticket, dir, name, entry);
      return {};
    }
    if (result.failed_expectation == empty) return Error(ENOTEMPTY);
    if (change.directory_gone(result)) return Error(ENOENT, "the directory was removed");
  }
}

}  // namespace skerry::meta
