// The same operations over every store: whatever a caller can see must be the same.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <sstream>

#include "meta/ops.h"
#include "meta/session.h"
#include "meta/stores/memory/memory_store.h"
#include "meta/stores/sqlite/sqlite_store.h"
#include "support/acl_text.h"
#include "support/fake_clock.h"

namespace skerry::meta {

using enum FileType;

namespace {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "skerry-ops-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Two clients of one volume, and a log of everything that was answered.
class World {
 public:
  World(std::shared_ptr<Store> first, std::shared_ptr<Store> second) {
    ctx_.clock = &clock_;
    VolumeFormat format;
    format.uuid = "5b1c6cf8-2f0c-4f43-9a3e-1f6a2d0b7c11";
    format.storage = "memory:";
    REQUIRE(format_volume(ctx_, *first, format, clock_).ok());
    for (auto& store : {first, second}) {
      auto meta = Meta::open(ctx_, store, format, {}, clock_, random_);
      REQUIRE(meta.ok());
      metas_.push_back(std::move(meta).value());
    }
  }

  const std::vector<std::string>& answers() const { return answers_; }

  void run(unsigned seed, int steps) {
    std::mt19937 random(seed);
    for (int i = 0; i < steps; ++i) step(random);
    auto checked = fsck(ctx_, *metas_[0], {});
    REQUIRE(checked.ok());
    for (const auto& problem : checked->problems) UNSCOPED_INFO(problem.kind + problem.detail);
    REQUIRE(checked->problem_count == 0);
    REQUIRE(checked->surplus_objects == 0);
  }

 private:
  template <typename R>
  void note(const char* what, const R& result) {
    std::ostringstream line;
    line << answers_.size() << " " << what << " " << (result.ok() ? 0 : result.error().code());
    answers_.push_back(line.str());
  }
  void note_attributes(const char* what, const Result<Attributes>& result) {
    std::ostringstream line;
    line << answers_.size() << " " << what << " ";
    if (!result.ok()) {
      line << result.error().code();
    } else {
      const Attributes& a = *result;
      line << a.ino << " " << a.mode << " " << a.nlink << " " << a.length << " " << a.flags << " "
           << a.mtime_ns << " " << a.ctime_ns << " v" << a.version;
    }
    answers_.push_back(line.str());
  }
  Ino pick_directory(std::mt19937& random, Meta& meta) {
    Ino dir = kRootIno;
    for (unsigned depth = random() % 3; depth > 0; --depth) {
      auto below =
          lookup(ctx_, meta, dir, std::string("d") + static_cast<char>('0' + random() % 2));
      if (!below.ok() || !below->is_dir()) break;
      dir = below->ino;
    }
    return dir;
  }

  void step(std::mt19937& random) {
    clock_.advance_ns(1);
    Meta& meta = *metas_[random() % 2];
    const Ino dir = pick_directory(random, meta), to = pick_directory(random, meta);
    const char* kNames[] = {"a", "b", "c", "d0", "d1"};
    const std::string a = kNames[random() % 5], b = kNames[random() % 5];
    const auto found = lookup(ctx_, meta, dir, a);
    note_attributes("lookup", found);
    const Ino ino = found.ok() ? found->ino : 4242;
    const uint64_t choice = random() % 16, x = random() % 5000, y = random() % 3000 + 1;
    switch (choice) {
      case 0:
      case 1:
      case 2: {
        CreateArgs args;
        args.type = a[0] == 'd' ? kDirectory : choice == 0 ? kSymlink : kRegular;
        args.mode = 0644;
        args.target = "target";
        args.exclusive = choice != 1;
        note("create", create(ctx_, meta, dir, a, args));
        break;
      }
      case 3:
        note("unlink", unlink(ctx_, meta, dir, a));
        break;
      case 4:
        note("rmdir", rmdir(ctx_, meta, dir, a));
        break;
      case 5:
      case 6:
        note("rename", rename(ctx_, meta, dir, a, to, b, 0));
        break;
      case 7:
        note("exchange", rename(ctx_, meta, dir, a, to, b, kRenameExchange));
        break;
      case 8:
        note_attributes("link", link(ctx_, meta, ino, to, b));
        break;
      case 9: {
        SetAttributes set;
        if (x % 2 == 0) set.mode = static_cast<uint32_t>(x);
        if (x % 3 == 0) set.mtime_ns = static_cast<TimeNs>(x);
        if (x % 5 == 0) set.gid = 5;
        note_attributes("set", set_attributes(ctx_, meta, ino, set));
        break;
      }
      case 10:
        note("xattr", set_xattr(ctx_, meta, ino, "user.x", a,
                                x % 2 == 0 ? XattrMode::kCreate : XattrMode::kReplace));
        note("xattr", remove_xattr(ctx_, meta, ino, x % 3 == 0 ? "user.x" : "user.y"));
        break;
      case 14: {
        const bool is_default = x % 3 == 0;
        const char* name = is_default ? "system.posix_acl_default" : "system.posix_acl_access";
        if (x % 5 == 0) {
          note("no acl", remove_xattr(ctx_, meta, ino, name));
        } else {
          const char* text = x % 2 == 0 ? "u::rwx,u:5:rw,g::r,m::rx,o::-" : "u::rwx,g::rx,o::x";
          note("acl", set_xattr(ctx_, meta, ino, name, acl(text), XattrMode::kSet));
        }
        auto got = get_xattr(ctx_, meta, ino, name);
        note(got.ok() ? acl_text(*got).c_str() : "none", got);
        break;
      }
      case 11:
        if (found.ok() && found->type == kRegular) {
          note("inline", write_inline(ctx_, meta, ino, found->version, std::string(x % 4000, 'i'),
                                      0, Durability::kVisible));
        }
        break;
      case 12:
        note_attributes("truncate", truncate(ctx_, meta, ino, x % 2 == 0 ? 0 : x, 04000));
        break;
      case 13:
        if (found.ok() && found->type == kRegular && found->length >= y) {
          auto target = lookup(ctx_, meta, to, b);
          if (target.ok() && target->type == kRegular) {
            note("copy", copy_extents(ctx_, meta, ino, 0, target->ino, x, y));
          }
        }
        break;
      default:
        if (found.ok() && found->type == kRegular) {
          DataWrite write;
          write.ino = ino;
          write.append = x % 2 == 0;
          write.offset = kChunkSize - x;
          write.length = y;
          Extent piece;
          piece.length = piece.slice_length = y;
          piece.object = *meta.next_object(ctx_);
          write.pieces = {piece};
          if ((found->flags & kFlagInline) != 0 && x % 3 != 0) {
            write.replace_inline_version = found->version;
          }
          note("write", write_data(ctx_, meta, {write}, Durability::kVisible)->at(0));
        }
        break;
    }
    if (random() % 100 == 0) note("tree", remove_tree(ctx_, meta, dir, "d0", {}));
    if (auto page = list(ctx_, meta, dir, "", 100, true); page.ok()) {
      for (const auto& entry : page->entries) note_attributes(entry.name.c_str(), entry.attr);
    }
    const auto used = usage(ctx_, meta);
    answers_.push_back(std::to_string(used->bytes) + " " + std::to_string(used->inodes));
  }

  FakeClock clock_;
  FakeRandom random_;
  OpContext ctx_;
  std::vector<std::unique_ptr<Meta>> metas_;
  std::vector<std::string> answers_;
};

}  // namespace

TEST_CASE("operations answer the same over every store", "[meta][stores]") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  FakeClock clock;
  auto database = std::make_shared<MemoryDatabase>(clock);
  World memory(std::make_shared<MemoryStore>(database), std::make_shared<MemoryStore>(database));
  memory.run(seed, 1500);

  ScratchDirectory scratch;
  auto first = SqliteStore::create(scratch.file("volume.db"), {}, clock);
  REQUIRE(first.ok());
  auto second = SqliteStore::open(scratch.file("volume.db"), {}, clock);
  REQUIRE(second.ok());
  World sqlite(std::move(first).value(), std::move(second).value());
  sqlite.run(seed, 1500);
  for (size_t i = 0; i < std::min(memory.answers().size(), sqlite.answers().size()); ++i) {
    REQUIRE(sqlite.answers()[i] == memory.answers()[i]);
  }
  CHECK(sqlite.answers().size() == memory.answers().size());
}

}  // namespace skerry::meta
