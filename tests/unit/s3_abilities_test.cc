// The S3 store over servers that lack something.
#include <catch2/catch.hpp>
#include <vector>

#include "unit/s3_fixture.h"

namespace skerry::s3_test {

namespace {

Answer lacking() {
  return Answer{HttpServer::whole("501 Not Implemented", "", error_xml("NotImplemented"))};
}

}  // namespace

TEST_CASE("s3 abilities: without checksums an MD5 is sent", "[s3]") {
  std::vector<Request> asked;
  Fixture f([&](const Request& request) {
    asked.push_back(request);
    return request.header("x-amz-checksum-crc32c").empty() ? fine() : lacking();
  });
  CHECK(message(f.store->put(f.ctx, "k", {as_bytes("hello "), as_bytes("world")})) == "");
  CHECK(message(f.store->put(f.ctx, "k", {as_bytes("hello world")}, {.if_absent = true})) == "");
  REQUIRE(asked.size() == 3);
  for (size_t i = 1; i < 3; ++i) {
    CHECK(asked[i].header("content-md5") == "XrY7u+Ae7tCTyyK7j1rNww==");
    CHECK(asked[i].header("authorization").find("content-md5") != std::string::npos);
  }
  CHECK(f.store->capabilities().conditional_put);
}

TEST_CASE("s3 abilities: without conditional puts", "[s3]") {
  std::vector<Request> asked;
  Fixture f([&](const Request& request) {
    asked.push_back(request);
    return request.header("if-none-match").empty() ? fine() : lacking();
  });
  CHECK(code(f.store->put(f.ctx, "k", {as_bytes("x")}, {.if_absent = true})) == ENOTSUP);
  CHECK_FALSE(f.store->capabilities().conditional_put);
  // It says nothing of checksums.
  CHECK(message(f.store->put(f.ctx, "k", {as_bytes("x")})) == "");
  CHECK_FALSE(asked.back().header("x-amz-checksum-crc32c").empty());
}

TEST_CASE("s3 abilities: without batch deletes keys are deleted one by one", "[s3]") {
  std::vector<std::string> asked;
  const std::string refusal = GENERATE("501 Not Implemented", "405 Method Not Allowed");
  Fixture f([&](const Request& request) {
    asked.push_back(request.line());
    if (request.line().starts_with("POST")) return Answer{HttpServer::whole(refusal, "", "")};
    return request.line().find("/b ") == std::string::npos
               ? fine()
               : Answer{HttpServer::whole("403 x", "", error_xml("AccessDenied"))};
  });
  for (int round = 0; round < 2; ++round) {
    auto outcomes = f.store->remove_batch(f.ctx, {"a", "b", "c"});
    REQUIRE(message(outcomes) == "");
    CHECK((*outcomes)[0].error == 0);
    CHECK((*outcomes)[1].error == EACCES);
    CHECK((*outcomes)[2].error == 0);
  }
  CHECK(asked ==
        std::vector<std::string>{"POST /bucket?delete= HTTP/1.1", "DELETE /bucket/p/a HTTP/1.1",
                                 "DELETE /bucket/p/b HTTP/1.1", "DELETE /bucket/p/c HTTP/1.1",
                                 "DELETE /bucket/p/a HTTP/1.1", "DELETE /bucket/p/b HTTP/1.1",
                                 "DELETE /bucket/p/c HTTP/1.1"});
}

TEST_CASE("s3 abilities: the first version of listing", "[s3]") {
  const bool says_so = GENERATE(true, false);
  std::vector<std::string> asked;
  Fixture f([&](const Request& request) {
    const std::string line = request.line();
    asked.push_back(line);
    if (says_so && line.find("list-type") != std::string::npos) return lacking();
    // It does not know start-after, and tells no continuation token.
    std::string after;
    if (const size_t at = line.find("marker=p%2F"); at != line.npos)
      after = line.substr(at + 11, 1);
    std::string body;
    bool more = false;
    int left = 2;
    for (const char* key : {"a", "b", "c", "d", "e"}) {
      if (key <= after || (more = left-- == 0)) {
        if (more) break;
        continue;
      }
      body += std::string("<Contents><Key>p/") + key + "</Key></Contents>";
    }
    return fine("<ListBucketResult><Marker></Marker><IsTruncated>" +
                std::string(more ? "true" : "false") + "</IsTruncated>" + body +
                "</ListBucketResult>");
  });
  for (int round = 0; round < 2; ++round) {
    auto page = f.store->list(f.ctx, "", "a", 3);
    REQUIRE(message(page) == "");
    std::string keys;
    for (const ObjectInfo& object : page->objects) keys += object.key;
    CHECK(keys == "bcd");
    CHECK(page->more);
  }
  CHECK(asked.size() == 5);  // one more, to find out
}

}  // namespace skerry::s3_test
