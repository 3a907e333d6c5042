// The S3 store and servers that say that the bucket is elsewhere, or that a request was signed with
// the wrong clock.
#include <catch2/catch.hpp>
#include <mutex>
#include <vector>

#include "object/s3/redirect.h"
#include "unit/s3_fixture.h"

namespace skerry::s3_test {

namespace {

/// Where "s3://bucket" with `parameters` is looked for after an answer.
std::string after(const std::string& parameters, int status, HttpHeaders headers,
                  const std::string& body = "") {
  auto location = s3::parse_location("s3://bucket?" + parameters,
                                     [](const char*) -> const char* { return nullptr; });
  REQUIRE(message(location) == "");
  HttpAnswer answer;
  answer.status = status;
  answer.headers = std::move(headers);
  answer.text = body;
  auto right = s3::redirected(*location, answer, s3::Problem(answer));
  return right ? right->origin() + right->path("k") + " " + right->region : "";
}

}  // namespace

TEST_CASE("s3 redirects: what an answer says of the bucket's place", "[s3]") {
  const std::string aws = "region=us-east-1", own = "endpoint=http://127.0.0.1:9000";
  CHECK(after(aws, 301, {{"x-amz-bucket-region", "eu-west-1"}}) ==
        "https://bucket.s3.eu-west-1.amazonaws.com/k eu-west-1");
  CHECK(after(aws + "&dual_stack=1", 301, {{"x-amz-bucket-region", "eu-west-1"}},
              error_xml("PermanentRedirect",
                        "<Endpoint>bucket.s3.eu-west-1.amazonaws.com</Endpoint>")) ==
        "https://bucket.s3.dualstack.eu-west-1.amazonaws.com/k eu-west-1");
  CHECK(after(aws, 400, {}, error_xml("AuthorizationHeaderMalformed", "<Region>x</Region>")) ==
        "https://bucket.s3.x.amazonaws.com/k x");
  CHECK(after(aws, 301, {},
              error_xml("PermanentRedirect",
                        "<Endpoint>bucket.s3-eu-west-1.amazonaws.com</Endpoint>")) ==
        "https://bucket.s3-eu-west-1.amazonaws.com/k us-east-1");
  CHECK(after(aws + "&style=path", 301, {},
              error_xml("PermanentRedirect", "<Endpoint>s3-x.amazonaws.com</Endpoint>")) ==
        "https://s3-x.amazonaws.com/bucket/k us-east-1");
  CHECK(after(own, 307, {{"location", "http://127.0.0.1:9001/bucket/k"}}) ==
        "http://127.0.0.1:9001/bucket/k us-east-1");
  CHECK(after(own, 308, {{"location", "https://bucket.there/k?x=y"}}) ==
        "https://bucket.there/k us-east-1");
  for (const auto& [parameters, status, headers] : {
           std::tuple(aws, 301, HttpHeaders{}),
           {aws, 301, {{"x-amz-bucket-region", "us-east-1"}}},
           {aws, 403, {{"x-amz-bucket-region", "eu-west-1"}}},
           {aws, 302, {{"location", "https://bucket.there/k"}}},
           {aws, 307, {{"location", "http://bucket.there/k"}}},                  // no TLS
           {own, 307, {{"location", "/bucket/k"}}},                              // no URL
           {own, 307, {{"location", "http://u:p@there/bucket/k"}}},              // no host
           {own, 307, {{"location", "http://127.0.0.1:9000/bucket/k"}}},         // the same
           {own + "&style=virtual", 307, {{"location", "http://there/other"}}},  // another path
       }) {
    CHECK(after(parameters, status, headers) == "");
  }
}

TEST_CASE("s3 redirects: a request goes where the server says, and the next ones too", "[s3]") {
  std::mutex mutex;
  std::vector<std::string> asked;
  HttpServer there([&](const Request& request) {
    std::lock_guard lock(mutex);
    asked.push_back("there: " + request.line() + " " + request.body);
    CHECK(request.header("host") == there.url().substr(7));
    CHECK(request.header("authorization").find("/eu-west-1/s3/") != std::string::npos);
    return Answer{request.line().starts_with("GET") ? part("0123456789", "0-9/10")
                                                    : HttpServer::whole("200 OK", "", "")};
  });
  const int status = GENERATE(301, 307, 308);
  Fixture f([&](const Request& request) {
    std::lock_guard lock(mutex);
    asked.push_back("here: " + request.line());
    return Answer{HttpServer::whole(
        std::to_string(status) + " x",
        "Location: " + there.url() + "/bucket/p/k\r\n" + "x-amz-bucket-region: eu-west-1\r\n",
        error_xml("PermanentRedirect"))};
  });
  REQUIRE(message(f.store->put(f.ctx, "k", {as_bytes("data")})) == "");
  std::string out(10, '.');
  REQUIRE(message(f.get(&out)) == "");
  CHECK(out == "0123456789");
  std::vector<std::string> expected = {"here: PUT /bucket/p/k HTTP/1.1",
                                       "there: PUT /bucket/p/k HTTP/1.1 data"};
  if (status == 307) expected.emplace_back("here: GET /bucket/p/k HTTP/1.1");
  expected.emplace_back("there: GET /bucket/p/k HTTP/1.1 ");
  CHECK(asked == expected);
}

TEST_CASE("s3 redirects: a circle ends", "[s3]") {
  std::atomic<int> asked{0};
  std::string first, second;
  HttpServer other([&](const Request&) {
    ++asked;
    return Answer{HttpServer::whole("307 x", "Location: " + first + "/bucket/p/k\r\n", "")};
  });
  Fixture f([&](const Request&) {
    ++asked;
    return Answer{HttpServer::whole("307 x", "Location: " + second + "/bucket/p/k\r\n", "")};
  });
  first = f.server.url();
  second = other.url();
  const Status lost = f.store->put(f.ctx, "k", {as_bytes("x")});
  CHECK(code(lost) == EIO);
  CHECK(message(lost).find("307") != std::string::npos);
  CHECK(asked == 4);
}

TEST_CASE("s3 redirects: the clock, the region and the keys of one request", "[s3]") {
  std::vector<std::string> asked;
  Fixture f([&](const Request& request) {
    asked.push_back(request.header("x-amz-date").substr(0, 4) + " " +
                    request.header("authorization").substr(22, 50));
    const std::string date = "Date: Fri, 24 May 2013 00:00:30 GMT\r\n";
    // The answer to a HEAD has no code.
    if (asked.size() == 1) return Answer{HttpServer::whole("403 x", date, "")};
    if (asked.size() == 2) {
      return Answer{HttpServer::whole("400 x", date + "x-amz-bucket-region: eu-west-1\r\n", "")};
    }
    return Answer{HttpServer::whole("200 OK", date, "")};
  });
  CHECK(message(f.store->head(f.ctx, "k")) == "");
  REQUIRE(asked.size() == 3);
  CHECK(asked[1].starts_with("2013 "));
  CHECK(asked[2].find("/eu-west-1/s3") != std::string::npos);
}

TEST_CASE("s3 redirects: a refusal without a code is not for the clock where that is right",
          "[s3]") {
  std::atomic<int> asked{0};
  Fixture f([&](const Request&) {
    ++asked;
    return Answer{HttpServer::whole("403 x", "Date: Fri, 24 May 2013 00:00:30 GMT\r\n", "")};
  });
  CHECK(code(f.store->head(f.ctx, "k")) == EACCES);
  CHECK(asked == 2);
  CHECK(code(f.store->head(f.ctx, "k")) == EACCES);
  CHECK(asked == 3);
}

TEST_CASE("s3: an archived object's error says what to do", "[s3]") {
  Fixture f([](const Request&) {
    return Answer{HttpServer::whole(
        "403 x", "", error_xml("InvalidObjectState", "<StorageClass>DEEP_ARCHIVE</StorageClass>"))};
  });
  std::string out(10, '.');
  const Status archived = f.get(&out);
  CHECK(code(archived) == EACCES);
  CHECK(message(archived).find("archive class (DEEP_ARCHIVE): restore it") != std::string::npos);
}

}  // namespace skerry::s3_test
