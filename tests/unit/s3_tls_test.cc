// The S3 store over TLS: whom it trusts, what it says where it does not, and sessions that go on.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "unit/s3_fixture.h"

namespace skerry::s3_test {

namespace {

/// The files of tests/support/certificates.sh.
struct Certificates {
  Certificates() {
    std::string name = (std::filesystem::temp_directory_path() / "skerry-tls-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    folder = name;
    REQUIRE(std::system((SKERRY_TEST_SUPPORT "/certificates.sh " + folder).c_str()) == 0);
  }
  ~Certificates() { std::filesystem::remove_all(folder); }
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  std::string file(const std::string& name) const { return folder + "/" + name; }

  std::string folder;
};

/// A server with one of them, and a store that trusts what `ca` names.
struct Secure {
  Secure(const Certificates& certificates, const std::string& name, const std::string& ca,
         HttpServer::Handler handler)
      : server(std::move(handler), certificates.file(name + ".pem"),
               certificates.file(name + ".key")) {
    auto location = s3::parse_location(
        "s3://bucket?endpoint=" + server.url() + (ca.empty() ? "" : "&ca_bundle=" + ca),
        [](const char*) -> const char* { return nullptr; });
    REQUIRE(message(location) == "");
    store = std::make_unique<S3ObjectStore>(*location, s3::Credentials{"key", "secret", ""},
                                            system_clock());
    ctx.clock = &system_clock();
    ctx.deadline_ns = ctx.clock->monotonic_ns() + 20'000 * kMs;
  }

  HttpServer server;
  std::unique_ptr<S3ObjectStore> store;
  OpContext ctx;
};

}  // namespace

TEST_CASE("s3 tls: an authority that ca_bundle names is trusted", "[s3][tls]") {
  const Certificates certificates;
  Secure s(certificates, "good", certificates.file("ca.pem"), [](const Request& request) {
    // What TLS protects is not hashed once more.
    CHECK(request.header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD");
    CHECK(request.body == "data");
    return Answer{HttpServer::whole("200 OK", "", "")};
  });
  CHECK(message(s.store->put(s.ctx, "k", {as_bytes("data")})) == "");
}

TEST_CASE("s3 tls: whom it does not trust, and why", "[s3][tls]") {
  const Certificates certificates;
  const std::string ca = certificates.file("ca.pem");
  struct Case {
    std::string server, ca, said;
  };
  for (const Case& c :
       {Case{"good", certificates.file("other-ca.pem"), "name its authority's with ca_bundle"},
        Case{"good", "", "name its authority's with ca_bundle"},
        Case{"good", certificates.file("none.pem"), "none.pem"},
        Case{"expired", ca, "certificate has expired; renew it, or set this machine's clock"},
        Case{"elsewhere", ca, "127.0.0.1'; ask the server by a name that its certificate has"}}) {
    INFO(c.server << " with " << c.ca);
    bool asked = false;
    Secure s(certificates, c.server, c.ca, [&](const Request&) {
      asked = true;
      return Answer{HttpServer::whole("200 OK", "", "")};
    });
    const Status refused = s.store->put(s.ctx, "k", {as_bytes("data")});
    CHECK(code(refused) == EIO);
    CHECK_FALSE(refused.error().retryable());
    CHECK_FALSE(refused.error().maybe_applied());
    CHECK_THAT(message(refused), Catch::Contains(c.said));
    CHECK_FALSE(asked);
  }
}

TEST_CASE("s3 tls: a new connection goes on with the session of the last one", "[s3][tls]") {
  const Certificates certificates;
  constexpr int kConnections = 5;
  Secure s(certificates, "good", certificates.file("ca.pem"), [](const Request&) {
    return Answer{HttpServer::whole("200 OK", "Connection: close\r\n", ""), true};
  });
  for (int i = 0; i < kConnections; ++i) {
    CHECK(message(s.store->put(s.ctx, "k", {as_bytes("data")})) == "");
  }
  CHECK(s.server.connections() == kConnections);
  CHECK(s.server.resumed() == kConnections - 1);
}

}  // namespace skerry::s3_test
