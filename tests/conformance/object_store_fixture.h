// Every object store that the conformance suite runs over.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "object/object_store.h"

namespace skerry::testing {

/// A directory of its own, removed with all it holds.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// One empty store, and whatever has to live as long as it.
class ObjectStoreFixture {
 public:
  virtual ~ObjectStoreFixture() = default;
  virtual ObjectStore& store() = 0;
  /// Whether keys may be any bytes, or UTF-8 alone.
  virtual bool takes_any_bytes() const { return true; }
  /// Whether a listing tells the sizes that were put, or those that are stored.
  virtual bool lists_sizes_put() const { return true; }
  /// Whether a get beside a put of the same key gives one of the two objects, or may be EBADMSG.
  virtual bool replaces_under_readers() const { return true; }
};

/// Names for make_object_store_fixture(): to add a store, add its name and its fixture.
std::vector<std::string> object_store_kinds();
std::unique_ptr<ObjectStoreFixture> make_object_store_fixture(const std::string& kind);

/// A context on the system's clock, without a deadline.
OpContext plain_context();

/// The whole object, or the error.
Result<std::string> read_object(ObjectStore& store, const std::string& key);

}  // namespace skerry::testing
