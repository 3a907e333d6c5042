// What S3 has and few others: conditional deletes, copies by the server, restored archives.
#include <catch2/catch.hpp>
#include <vector>

#include "unit/s3_fixture.h"

namespace skerry::s3_test {

TEST_CASE("s3: an object is removed if it is the same", "[s3]") {
  std::string condition;
  Fixture f([&](const Request& request) {
    condition = request.header("if-match");
    CHECK(request.header("authorization").find("if-match") != std::string::npos);
    if (condition == "\"e\"") return Answer{HttpServer::whole("204 No Content", "", "")};
    return Answer{HttpServer::whole("412 x", "", error_xml("PreconditionFailed"))};
  });
  CHECK(message(f.store->remove_if_same(f.ctx, "k", "e")) == "");
  CHECK(code(f.store->remove_if_same(f.ctx, "k", "other")) == EEXIST);
  CHECK(condition == "\"other\"");
}

TEST_CASE("s3: a copy by the server", "[s3]") {
  std::vector<Request> asked;
  std::string answer = "<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>";
  Fixture f([&](const Request& request) {
    asked.push_back(request);
    if (request.line().starts_with("HEAD")) {
      return Answer{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"};
    }
    return fine(answer);
  });
  CHECK(message(f.store->copy(f.ctx, "a b", "to")) == "");
  REQUIRE(asked.size() == 2);
  CHECK(asked[1].line() == "PUT /bucket/p/to HTTP/1.1");
  CHECK(asked[1].header("x-amz-copy-source") == "/bucket/p/a%20b");
  answer = error_xml("InternalError");  // after it was answered
  const Status failed = f.store->copy(f.ctx, "a", "to");
  CHECK(code(failed) == EIO);
  CHECK(failed.error().retryable());
}

TEST_CASE("s3: a copy of more than one may be goes in parts", "[s3]") {
  std::vector<std::string> ranges;
  std::string completed;
  bool aborted = false;
  const bool fails = GENERATE(false, true);
  Fixture f([&](const Request& request) {
    const std::string line = request.line();
    if (line.starts_with("HEAD")) {
      return Answer{"HTTP/1.1 200 OK\r\nContent-Length: 5368709121\r\n\r\n", true};
    }
    if (line.find("?uploads") != line.npos) return fine("<R><UploadId>u</UploadId></R>");
    if (line.starts_with("DELETE")) {
      aborted = true;
      return Answer{HttpServer::whole("204 x", "", "")};
    }
    if (line.starts_with("POST")) {
      completed = request.body;
      return fine("<R><ETag>x</ETag></R>");
    }
    CHECK(request.header("x-amz-copy-source") == "/bucket/p/from");
    ranges.push_back(request.header("x-amz-copy-source-range"));
    if (fails && ranges.size() == 3) {
      return Answer{HttpServer::whole("403 x", "", error_xml("AccessDenied"))};
    }
    return fine("<R><ETag>&quot;e" + std::to_string(ranges.size()) + "&quot;</ETag></R>");
  });
  const Status copied = f.store->copy(f.ctx, "from", "to");
  CHECK(code(copied) == (fails ? EACCES : 0));
  CHECK(aborted == fails);
  CHECK(completed.empty() == fails);
  if (fails) return;
  REQUIRE(ranges.size() == 6);
  CHECK(ranges[0] == "bytes=0-1073741823");
  CHECK(ranges[5] == "bytes=5368709120-5368709120");
  CHECK(completed.find("<PartNumber>6</PartNumber><ETag>&quot;e6&quot;</ETag>") !=
        std::string::npos);
}

TEST_CASE("s3: an archived object is restored", "[s3]") {
  using Restore = S3ObjectStore::Restore;
  std::string answer = HttpServer::whole("202 Accepted", "", "");
  Fixture f([&](const Request& request) {
    CHECK(request.line() == "POST /bucket/p/k?restore= HTTP/1.1");
    CHECK(request.body.find("<Days>3</Days><GlacierJobParameters><Tier>Bulk</Tier>") !=
          std::string::npos);
    return Answer{answer};
  });
  auto begun = f.store->restore(f.ctx, "k", 3, "Bulk");
  REQUIRE(message(begun) == "");
  CHECK(*begun == Restore::kBegun);
  answer = HttpServer::whole("409 x", "", error_xml("RestoreAlreadyInProgress"));
  CHECK(*f.store->restore(f.ctx, "k", 3, "Bulk") == Restore::kUnderWay);
  answer = HttpServer::whole("200 OK", "", "");
  CHECK(*f.store->restore(f.ctx, "k", 3, "Bulk") == Restore::kDone);
  answer = HttpServer::whole("501 x", "", error_xml("NotImplemented"));
  CHECK(code(f.store->restore(f.ctx, "k", 3, "Bulk")) == ENOTSUP);
}

}  // namespace skerry::s3_test
