#include "ops_fixture.h"

namespace skerry::meta {

using enum FileType;

namespace {

// What a name may be in the matrix below.
enum class Thing { kNothing, kFile, kLinkedFile, kSymlink, kEmptyDir, kFullDir };
constexpr Thing kThings[] = {Thing::kNothing, Thing::kFile,     Thing::kLinkedFile,
                             Thing::kSymlink, Thing::kEmptyDir, Thing::kFullDir};

bool is_dir(Thing thing) { return thing == Thing::kEmptyDir || thing == Thing::kFullDir; }

Ino build(OpsFixture& f, Ino dir, const std::string& name, Thing thing) {
  switch (thing) {
    case Thing::kNothing:
      return 0;
    case Thing::kFile: {
      const Ino ino = f.file(dir, name);
      f.write(ino, 0, 100);
      return ino;
    }
    case Thing::kLinkedFile: {
      const Ino ino = f.file(dir, name);
      REQUIRE(code(link(f.root, f.meta, ino, dir, name + "-twin")) == 0);
      return ino;
    }
    case Thing::kSymlink:
      return f.make(f.root, dir, name, FileType::kSymlink).ino;
    case Thing::kEmptyDir:
      return f.mkdir(dir, name);
    case Thing::kFullDir: {
      const Ino ino = f.mkdir(dir, name);
      f.file(ino, "inside");
      f.mkdir(ino, "below");
      return ino;
    }
  }
  return 0;
}

int expected(Thing from, Thing to, unsigned flags) {
  if (from == Thing::kNothing) return ENOENT;
  if (flags == kRenameNoReplace) return to == Thing::kNothing ? 0 : EEXIST;
  if (flags == kRenameExchange) return to == Thing::kNothing ? ENOENT : 0;
  if (to == Thing::kNothing) return 0;
  if (is_dir(from) && !is_dir(to)) return ENOTDIR;
  if (!is_dir(from) && is_dir(to)) return EISDIR;
  return to == Thing::kFullDir ? ENOTEMPTY : 0;
}

Ino ino_at(OpsFixture& f, Ino dir, const std::string& name) {
  auto found = lookup(f.root, f.meta, dir, name);
  return found.ok() ? found->ino : 0;
}

}  // namespace

TEST_CASE("rename: every kind onto every kind with every flag", "[meta][rename]") {
  for (bool across : {false, true}) {
    for (unsigned flags : {0u, kRenameNoReplace, kRenameExchange}) {
      for (Thing from : kThings) {
        for (Thing to : kThings) {
          INFO("across " << across << " flags " << flags << " from " << static_cast<int>(from)
                         << " to " << static_cast<int>(to));
          OpsFixture f;
          const Ino a = f.mkdir(kRootIno, "a");
          const Ino b = across ? f.mkdir(kRootIno, "b") : a;
          const Ino source = build(f, a, "from", from);
          const Ino target = build(f, b, "to", to);
          const int result = code(rename(f.root, f.meta, a, "from", b, "to", flags));
          REQUIRE(result == expected(from, to, flags));
          if (result != 0) {
            CHECK(ino_at(f, a, "from") == source);
            CHECK(ino_at(f, b, "to") == target);
          } else {
            CHECK(ino_at(f, b, "to") == source);
            CHECK(ino_at(f, a, "from") == (flags == kRenameExchange ? target : 0));
            CHECK(f.stat(source).ctime_ns == f.client->clock.now_ns());
            if (is_dir(from)) CHECK(*parent_of(f.root, f.meta, source) == b);
          }
          // What the cache says is what the store says.
          for (Ino dir : {a, b}) CHECK(f.stat(dir) == f.stat_fresh(dir));
          if (source != 0) CHECK(f.stat(source) == f.stat_fresh(source));
          f.require_consistent();
        }
      }
    }
  }
}

TEST_CASE("rename: a name onto its twin leaves both", "[meta][rename]") {
  OpsFixture f;
  const Ino file = f.file(kRootIno, "a");
  REQUIRE(code(link(f.root, f.meta, file, kRootIno, "b")) == 0);
  for (unsigned flags : {0u, kRenameExchange}) {
    CHECK(code(rename(f.root, f.meta, kRootIno, "a", kRootIno, "b", flags)) == 0);
    CHECK(code(rename(f.root, f.meta, kRootIno, "a", kRootIno, "a", flags)) == 0);
  }
  CHECK(code(rename(f.root, f.meta, kRootIno, "a", kRootIno, "b", kRenameNoReplace)) == EEXIST);
  CHECK(f.lookup_code(kRootIno, "a") == 0);
  CHECK(f.lookup_code(kRootIno, "b") == 0);
  CHECK(f.stat(file).nlink == 2);
}

TEST_CASE("rename: not into its own subtree, however deep", "[meta][rename]") {
  OpsFixture f;
  const Ino top = f.mkdir(kRootIno, "top");
  Ino deep = top;
  std::vector<Ino> chain;
  for (int i = 0; i < 300; ++i) chain.push_back(deep = f.mkdir(deep, "d"));
  const Ino side = f.mkdir(kRootIno, "side");
  CHECK(code(rename(f.root, f.meta, kRootIno, "top", deep, "x", 0)) == EINVAL);
  CHECK(code(rename(f.root, f.meta, kRootIno, "top", top, "x", 0)) == EINVAL);
  // Another client knows nothing of the chain and has to walk it.
  auto other = f.volume.open();
  CHECK(code(rename(other->ctx, *other->meta, kRootIno, "top", deep, "x", 0)) == EINVAL);
  f.mkdir(deep, "x");
  CHECK(code(rename(f.root, f.meta, kRootIno, "top", deep, "x", kRenameExchange)) == EINVAL);
  CHECK(code(rename(f.root, f.meta, deep, "x", kRootIno, "top", kRenameExchange)) == EINVAL);
  CHECK(code(rename(f.root, f.meta, deep, "x", kRootIno, "top", 0)) == ENOTEMPTY);
  CHECK(code(rename(f.root, f.meta, kRootIno, "top", side, "top", 0)) == 0);
  CHECK(code(rename(f.root, f.meta, kRootIno, "side", deep, "y", 0)) == EINVAL);
  CHECK(code(rename(f.root, f.meta, chain[150], "d", kRootIno, "half", 0)) == 0);
  CHECK(code(rename(f.root, f.meta, kRootIno, "side", deep, "y", 0)) == 0);
  f.require_consistent();
}

TEST_CASE("rename: permissions", "[meta][rename]") {
  OpsFixture f;
  const OpContext user = f.user(1, 1);
  const Ino a = f.mkdir(kRootIno, "a", 0777), b = f.mkdir(kRootIno, "b", 0777);
  const Ino closed = f.mkdir(kRootIno, "closed", 0755);
  f.mkdir(a, "d", 0755);  // root's: its ".." may not be changed by others
  f.file(a, "f");
  CHECK(code(rename(user, f.meta, a, "d", b, "d", 0)) == EACCES);
  CHECK(code(rename(user, f.meta, a, "d", a, "e", 0)) == 0);
  CHECK(code(rename(user, f.meta, a, "f", closed, "f", 0)) == EACCES);
  CHECK(code(rename(user, f.meta, a, "f", b, "f", 0)) == 0);
  CHECK(code(rename(user, f.meta, b, "f", a, "e", kRenameExchange)) == EACCES);
  CHECK(code(rename(user, f.meta, b, "none", a, "e", 0)) == ENOENT);
  CHECK(code(rename(user, f.meta, b, "f", a, "e", 4)) == EINVAL);
  CHECK(code(rename(user, f.meta, b, "f", a, "e", 3)) == EINVAL);
}

TEST_CASE("rename: a replaced open file stays readable", "[meta][rename]") {
  OpsFixture f;
  const VolumeUsage start = f.used();
  const Ino a = f.file(kRootIno, "a"), b = f.file(kRootIno, "b");
  f.write(a, 0, 10);
  f.write(b, 0, 1000);
  REQUIRE(code(rename(f.root, f.meta, kRootIno, "a", kRootIno, "b", 0)) == 0);
  auto data = load_file(f.root, f.meta, b, 0, 0);
  REQUIRE(code(data) == 0);
  CHECK(data->attr.length == 1000);
  CHECK(data->attr.nlink == 0);
  CHECK(f.used().bytes == start.bytes + 10);
  f.require_consistent();
}

}  // namespace skerry::meta
