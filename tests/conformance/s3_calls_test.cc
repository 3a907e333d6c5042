// What S3 has and the interface has not, against the server that SKERRY_TEST_S3 names.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <string>

#include "conformance/object_store_fixture.h"
#include "object/s3/s3_store.h"
#include "support/s3_server.h"

using namespace skerry;
using namespace skerry::testing;

namespace {

std::unique_ptr<S3ObjectStore> open_store() {
  auto opened = S3ObjectStore::open(s3_url("conformance", fresh_s3_prefix()), system_clock());
  REQUIRE(opened.ok());
  REQUIRE((*opened)->make_bucket_if_absent(plain_context()).ok());
  return std::move(opened).value();
}

std::string sentence(const Status& status) { return status.ok() ? "" : status.error().message(); }

}  // namespace

TEST_CASE("s3 server: copies an object, also over another", "[object][s3]") {
  if (std::getenv("SKERRY_TEST_S3") == nullptr) return;
  auto store = open_store();
  const OpContext ctx = plain_context();
  const std::string data(100'000, 'x');
  REQUIRE(store->put(ctx, "a b+%/\xc3\xa9", {as_bytes(data)}).ok());
  REQUIRE(store->put(ctx, "to", {as_bytes("old")}).ok());
  CHECK(sentence(store->copy(ctx, "a b+%/\xc3\xa9", "to")) == "");
  CHECK(*read_object(*store, "to") == data);
  Status absent = store->copy(ctx, "none", "to");
  REQUIRE_FALSE(absent.ok());
  CHECK(absent.error().code() == ENOENT);
  CHECK(*read_object(*store, "to") == data);
}

TEST_CASE("s3 server: removes an object if it is the same", "[object][s3]") {
  if (std::getenv("SKERRY_TEST_S3") == nullptr) return;
  auto store = open_store();
  const OpContext ctx = plain_context();
  REQUIRE(store->put(ctx, "k", {as_bytes("first")}).ok());
  const std::string first = store->head(ctx, "k")->etag;
  REQUIRE(store->put(ctx, "k", {as_bytes("second")}).ok());
  Status other = store->remove_if_same(ctx, "k", first);
  // MinIO passes the condition over; versitygw keeps it.
  if (other.ok()) {
    CHECK_FALSE(store->head(ctx, "k").ok());
    return;
  }
  CHECK(other.error().code() == EEXIST);
  CHECK(sentence(store->remove_if_same(ctx, "k", store->head(ctx, "k")->etag)) == "");
  CHECK_FALSE(store->head(ctx, "k").ok());
}
