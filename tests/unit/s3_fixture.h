// An S3 store whose server is the test itself.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>

#include "object/s3/s3_store.h"
#include "support/http_server.h"
#include "support/results.h"

namespace skerry::s3_test {

using Answer = HttpServer::Answer;
using Request = HttpServer::Request;

constexpr TimeNs kMs = 1'000'000;

inline std::string error_xml(const std::string& code, const std::string& more = "") {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>" + code +
         "</Code><Message>because</Message>" + more + "<RequestId>4711</RequestId></Error>";
}

struct Fixture {
  explicit Fixture(HttpServer::Handler handler, HttpOptions http = {},
                   const std::string& parameters = "")
      : server(std::move(handler)) {
    auto location = s3::parse_location("s3://bucket/p?endpoint=" + server.url() + parameters,
                                       [](const char*) -> const char* { return nullptr; });
    REQUIRE(message(location) == "");
    store = std::make_shared<S3ObjectStore>(*location, s3::Credentials{"key", "secret", ""},
                                            system_clock(), std::move(http));
    ctx.clock = &system_clock();
    ctx.deadline_ns = ctx.clock->monotonic_ns() + 20'000 * kMs;
  }
  Status get(std::string* out, uint64_t offset = 0) {
    return store->get(ctx, "k", offset, std::as_writable_bytes(std::span(*out)));
  }

  HttpServer server;
  std::shared_ptr<S3ObjectStore> store;
  OpContext ctx;
};

inline Answer fine(const std::string& body = "") {
  return Answer{HttpServer::whole("200 OK", "", body)};
}

inline std::string part(const std::string& body, const std::string& range) {
  return HttpServer::whole("206 Partial Content", "Content-Range: bytes " + range + "\r\n", body);
}

}  // namespace skerry::s3_test
