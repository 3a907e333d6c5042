// Where keys come from, and how long they are used: against a server of our own.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

#include "object/s3/credentials.h"
#include "object/s3/credentials_answer.h"
#include "object/s3/http_credentials.h"
#include "object/s3/process_credentials.h"
#include "object/s3/s3_store.h"
#include "support/fake_clock.h"
#include "support/http_server.h"
#include "support/results.h"

namespace skerry {
namespace {

using Answer = HttpServer::Answer;
using Request = HttpServer::Request;
using s3::CachedCredentials;

Answer good(const std::string& body) { return {HttpServer::whole("200 OK", "", body)}; }
Answer bad(const std::string& status, const std::string& body = "") {
  return {HttpServer::whole(status, "", body)};
}

std::string json(const std::string& key, const std::string& expires = "2033-05-18T03:33:20Z") {
  return R"({"Code":"Success","AccessKeyId":")" + key +
         R"(","SecretAccessKey":"SECRET","Token":"TOKEN","Expiration":")" + expires + "\"}";
}

std::string sts_xml(const std::string& action, const std::string& key) {
  return "<" + action + "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" + action +
         "Result><Credentials><AccessKeyId>" + key +
         "</AccessKeyId><SecretAccessKey>SECRET</SecretAccessKey><SessionToken>TOKEN</SessionToken>"
         "<Expiration>2033-05-18T03:33:20Z</Expiration></Credentials></" +
         action + "Result></" + action + "Response>";
}

/// A folder, variables, and what was asked of a server.
struct Place {
  explicit Place(HttpServer::Handler handler = [](const Request&) { return Answer{}; })
      : server([this, handler](const Request& request) {
          std::lock_guard lock(mutex);
          asked.push_back(request);
          return handler(request);
        }) {
    std::string name = (std::filesystem::temp_directory_path() / "skerry-keys-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    folder = name;
    variables = {{"HOME", folder}, {"AWS_EC2_METADATA_DISABLED", "true"}};
    std::filesystem::create_directory(folder + "/.aws");
    location.bucket = "data";
    location.region = "eu-west-1";
    ctx.clock = &clock;
  }
  ~Place() { std::filesystem::remove_all(folder); }

  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder + "/" + name, std::ios::binary) << text;
    return folder + "/" + name;
  }
  Result<std::shared_ptr<s3::CredentialsProvider>> make() {
    return s3::make_credentials(
        location,
        [this](const char* name) -> const char* {
          auto found = variables.find(name);
          return found == variables.end() ? nullptr : found->second.c_str();
        },
        clock);
  }
  Result<s3::Credentials> keys() {
    SKERRY_ASSIGN(std::shared_ptr<s3::CredentialsProvider> provider, make());
    return provider->get(ctx);
  }
  std::string key() {
    auto got = keys();
    return got.ok() ? got->access_key : got.error().message();
  }

  FakeClock clock;
  OpContext ctx;
  std::string folder;
  std::map<std::string, std::string> variables;
  s3::Location location;
  std::mutex mutex;
  std::vector<Request> asked;
  HttpServer server;
};

}  // namespace

TEST_CASE("s3 keys: the order of places", "[s3][credentials]") {
  Place at([](const Request& request) {
    if (request.line().starts_with("GET /box")) return good(json("BOX"));
    if (request.line().starts_with("PUT /latest/api/token")) return good("T");
    if (request.line().ends_with("security-credentials/ HTTP/1.1")) return good("role\n");
    if (request.line().starts_with("GET /latest")) return good(json("INSTANCE"));
    return good(sts_xml("AssumeRoleWithWebIdentity", "WEB"));
  });
  CHECK(code(at.keys()) == EACCES);
  CHECK(message(at.keys()).find("set AWS_ACCESS_KEY_ID") != std::string::npos);
  at.variables["AWS_EC2_METADATA_DISABLED"] = "false";
  at.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = at.server.url() + "/";
  CHECK(at.key() == "INSTANCE");
  at.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = at.server.url() + "/box";
  CHECK(at.key() == "BOX");
  at.file(".aws/config",
          "[default]\naws_access_key_id=CONFIG\naws_secret_access_key=s\n"
          "[profile p]\naws_access_key_id=P\naws_secret_access_key=s\n");
  CHECK(at.key() == "CONFIG");
  at.file(".aws/credentials", "[default]\naws_access_key_id=SHARED\naws_secret_access_key=s\n");
  CHECK(at.key() == "SHARED");
  at.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = at.file("token", "JWT");
  CHECK(at.key().find("AWS_ROLE_ARN") != std::string::npos);
  at.variables["AWS_ROLE_ARN"] = "arn:r";
  at.variables["AWS_ENDPOINT_URL_STS"] = at.server.url();
  CHECK(at.key() == "WEB");
  at.variables["AWS_ACCESS_KEY_ID"] = "ENV";
  CHECK(at.key() == "WEB");
  at.variables["AWS_SECRET_ACCESS_KEY"] = "s";
  CHECK(at.key() == "ENV");
  at.location.profile = "p";
  CHECK(at.key() == "ENV");
  at.location.profile_in_url = true;
  CHECK(at.key() == "P");
  at.location.profile = "nobody";
  CHECK(code(at.keys()) == EACCES);
  CHECK(at.key().find("the profile \"nobody\" is neither in " + at.folder) == 0);
  at.location.profile_in_url = false;  // but by AWS_PROFILE
  CHECK(at.key() == "ENV");
  at.variables.erase("AWS_ACCESS_KEY_ID");
  at.variables.erase("AWS_WEB_IDENTITY_TOKEN_FILE");
  CHECK(at.key().find("the profile \"nobody\"") == 0);
  at.location.anonymous = true;
  CHECK(at.key().empty());
}

TEST_CASE("s3 keys: the instance metadata service, version 2", "[s3][credentials]") {
  std::atomic<int> failures{2};
  Place at([&](const Request& request) {
    if (request.line() == "PUT /latest/api/token HTTP/1.1") {
      CHECK(request.header("x-aws-ec2-metadata-token-ttl-seconds") == "21600");
      if (failures-- > 0) return bad("503 x");
      return good("T=1");
    }
    CHECK(request.header("x-aws-ec2-metadata-token") == "T=1");
    if (request.line() == "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1") {
      return good("a role");
    }
    CHECK(request.line() == "GET /latest/meta-data/iam/security-credentials/a%20role HTTP/1.1");
    return good(json("I"));
  });
  auto got = s3::instance_credentials(at.ctx, at.server.url());
  REQUIRE(message(got) == "");
  CHECK(got->access_key == "I");
  CHECK(got->secret_key == "SECRET");
  CHECK(got->session_token == "TOKEN");
  CHECK(got->expires_ns == 2'000'000'000 * kSecond);
  failures = 100;
  got = s3::instance_credentials(at.ctx, at.server.url());
  CHECK(code(got) == EIO);
  CHECK(got.error().retryable());
}

TEST_CASE("s3 keys: version 1 of the metadata service is not asked", "[s3][credentials]") {
  Place at([](const Request& request) {
    return request.line().starts_with("PUT") ? bad("403 x") : good(json("I"));
  });
  CHECK(code(s3::instance_credentials(at.ctx, at.server.url())) == EACCES);
  CHECK(at.asked.size() == 1);
}

TEST_CASE("s3 keys: answers of services that are no keys", "[s3][credentials]") {
  Answer answer;
  Place at([&](const Request&) { return answer; });
  const std::string deep(100'000, '[');
  for (const Answer& wrong : {
           good(""),
           good("no JSON SECRET"),
           good("[]"),
           good("{}"),
           good(deep),
           good(R"({"AccessKeyId":"A"})"),
           good(R"({"SecretAccessKey":"SECRET"})"),
           good(R"({"AccessKeyId":"A\r\nx: y","SecretAccessKey":"SECRET"})"),
           good(R"({"AccessKeyId":"A","SecretAccessKey":"SECRET","Token":"a\nb"})"),
           good(json("A", "tomorrow")),
           good(R"({"Code":"Failed","Message":"SECRET"})"),
           good(json("A") + std::string(100'000, ' ')),
           bad("403 x", "SECRET"),
           bad("404 x", R"({"code":"NoRole","message":"SECRET"})"),
           bad("302 x\r\nLocation: http://127.0.0.1:1/"),
           Answer{"", true},
           Answer{"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + json("A"), true},
       }) {
    {
      std::lock_guard lock(at.mutex);
      answer = wrong;
    }
    INFO(wrong.bytes.substr(0, 200));
    auto got = s3::container_credentials(at.ctx, {at.server.url() + "/x", "", "BEARER"});
    CHECK((code(got) == EACCES || code(got) == EIO));
    CHECK(message(got).find("SECRET") == std::string::npos);
    CHECK(message(got).find("BEARER") == std::string::npos);
  }
  CHECK(message(s3::container_credentials(at.ctx, {at.server.url(), "", ""})).find("credentials") !=
        std::string::npos);
}

TEST_CASE("s3 keys: the container's service", "[s3][credentials]") {
  Place at([](const Request&) { return good(json("C")); });
  at.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = at.server.url() + "/keys?id=1";
  at.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "Basic one";
  CHECK(at.key() == "C");
  CHECK(at.asked.back().line() == "GET /keys?id=1 HTTP/1.1");
  CHECK(at.asked.back().header("authorization") == "Basic one");
  at.variables["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = at.file("token", "two\n");
  CHECK(at.key() == "C");
  CHECK(at.asked.back().header("authorization") == "two");
  at.file("token", "a\nx-other: b");
  CHECK(code(at.keys()) == EACCES);
  at.file("token", "two");
  setenv("http_proxy", "http://127.0.0.1:1", 1);  // is for others
  CHECK(at.key() == "C");
  unsetenv("http_proxy");
  std::filesystem::remove(at.folder + "/token");
  CHECK(code(at.keys()) == EACCES);
  for (const char* right : {"http://127.0.0.1/", "http://127.9.9.9:1/", "http://localhost:8080/x",
                            "http://[::1]/x", "http://169.254.170.2/v2", "http://169.254.170.23/v1",
                            "http://[fd00:ec2::23]/v1", "https://anywhere.example/x"}) {
    CHECK(message(s3::check_container_url(right)) == "");
  }
  for (const char* wrong : {"http://169.254.169.254/", "http://example.com/", "http://128.0.0.1/",
                            "http://127.0.0.1.example.com/", "http://127.0.0.1@example.com/",
                            "ftp://127.0.0.1/", "127.0.0.1", "http://[fd00:ec2::24]/", "http://"}) {
    INFO(wrong);
    CHECK(code(s3::check_container_url(wrong)) == EINVAL);
  }
}

TEST_CASE("s3 keys: a web identity becomes a role", "[s3][credentials]") {
  Place at([](const Request&) { return good(sts_xml("AssumeRoleWithWebIdentity", "W")); });
  at.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = at.file("token", "a.b/c+d\n");
  at.variables["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/r";
  at.variables["AWS_ROLE_SESSION_NAME"] = "me";
  at.variables["AWS_ENDPOINT_URL"] = at.server.url();
  auto got = at.keys();
  REQUIRE(message(got) == "");
  CHECK(got->access_key == "W");
  CHECK(got->session_token == "TOKEN");
  CHECK(got->expires_ns == 2'000'000'000 * kSecond);
  CHECK(at.asked.back().line() == "POST / HTTP/1.1");
  CHECK(at.asked.back().body ==
        "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&"
        "RoleSessionName=me&Version=2011-06-15&WebIdentityToken=a.b%2Fc%2Bd");
  CHECK(at.asked.back().header("authorization").empty());
  at.file("token", "");
  CHECK(code(at.keys()) == EACCES);
}

TEST_CASE("s3 keys: what STS refuses is told without tokens", "[s3][credentials]") {
  std::string quoted = "no";
  Place at([&](const Request&) {
    return bad("403 x", "<ErrorResponse><Error><Code>AccessDenied</Code><Message>" + quoted +
                            "</Message></Error></ErrorResponse>");
  });
  at.variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = at.file("token", "JWT.JWT");
  at.variables["AWS_ROLE_ARN"] = "arn:r";
  at.variables["AWS_ENDPOINT_URL_STS"] = at.server.url();
  CHECK(message(at.keys()).find("403 AccessDenied, no") != std::string::npos);
  quoted = "bad token JWT.JWT";
  CHECK(code(at.keys()) == EACCES);
  CHECK(message(at.keys()).find("JWT") == std::string::npos);
}

TEST_CASE("s3 keys: roles of the config file", "[s3][credentials]") {
  Place at([](const Request& request) {
    if (request.line().starts_with("GET /box")) return good(json("BOX"));
    return good(sts_xml("AssumeRole", "ROLE"));
  });
  at.variables["AWS_ENDPOINT_URL_STS"] = at.server.url();
  auto config = [&](const std::string& text) { at.file(".aws/config", text); };
  const std::string base = "[profile base]\naws_access_key_id=B\naws_secret_access_key=bs\n";
  config(base +
         "[default]\nrole_arn=arn:r\nsource_profile=base\nexternal_id=x y\nduration_seconds=900\n"
         "role_session_name=n\n");
  CHECK(at.key() == "ROLE");
  CHECK(at.asked.back().body ==
        "Action=AssumeRole&DurationSeconds=900&ExternalId=x%20y&RoleArn="
        "arn%3Ar&RoleSessionName=n&Version=2011-06-15");
  CHECK(at.asked.back().header("authorization").find("Credential=B/20231114/eu-west-1/sts/") !=
        std::string::npos);
  config(
      "[default]\nrole_arn=arn:r\nsource_profile=default\naws_access_key_id=OWN\n"
      "aws_secret_access_key=s\n");
  CHECK(at.key() == "ROLE");
  CHECK(at.asked.back().header("authorization").find("Credential=OWN/") != std::string::npos);
  config(base +
         "[default]\nrole_arn=arn:2\nsource_profile=one\n[profile one]\nrole_arn=arn:1\n"
         "source_profile=base\n");
  const size_t before = at.asked.size();
  CHECK(at.key() == "ROLE");
  REQUIRE(at.asked.size() == before + 2);
  CHECK(at.asked.back().header("authorization").find("Credential=ROLE/") != std::string::npos);
  CHECK(at.asked.back().header("x-amz-security-token") == "TOKEN");
  config("[default]\nrole_arn=arn:r\ncredential_source=EcsContainer\n");
  at.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = at.server.url() + "/box";
  CHECK(at.key() == "ROLE");
  CHECK(at.asked.back().header("authorization").find("Credential=BOX/") != std::string::npos);
  for (const char* wrong :
       {"[default]\nrole_arn=r\n", "[default]\nrole_arn=r\nsource_profile=nobody\n",
        "[default]\nrole_arn=r\ncredential_source=Nothing\n",
        "[default]\nrole_arn=r\ncredential_source=Environment\n",
        "[default]\nrole_arn=r\ncredential_source=Environment\nsource_profile=base\n",
        "[default]\nrole_arn=r\nsource_profile=a\n[profile a]\nrole_arn=r\nsource_profile=b\n"
        "[profile b]\nrole_arn=r\nsource_profile=a\n",
        "[default]\nrole_arn=r\nsource_profile=default\nmfa_serial=m\n",
        "[default]\nsso_session=s\n", "[default]\naws_access_key_id=A\n"}) {
    INFO(wrong);
    config(wrong);
    CHECK(code(at.keys()) == EACCES);
  }
  CHECK(at.key().find("not all of them") != std::string::npos);
}

TEST_CASE("s3 keys: a program that prints them", "[s3][credentials]") {
  Place at;
  at.ctx.clock = &system_clock();
  auto run = [&](const std::string& command) {
    return s3::run_credential_process(at.ctx, command);
  };
  auto got = run(R"(echo noise >&2; echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S",)"
                 R"("SessionToken":"T","Expiration":"2033-05-18T05:33:20+02:00"}')");
  REQUIRE(message(got) == "");
  CHECK(got->access_key == "A");
  CHECK(got->session_token == "T");
  CHECK(got->expires_ns == 2'000'000'000 * kSecond);
  for (const char* wrong :
       {"exit 3", "echo SECRET; exit 1", "echo SECRET", "kill -9 $$", "true",
        R"(echo '{"Version":2,"AccessKeyId":"A","SecretAccessKey":"SECRET"}')",
        R"(echo '{"AccessKeyId":"A","SecretAccessKey":"SECRET"}')",
        R"(echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"SECRET"}'; exit 1)",
        "yes SECRET", "/nonexistent"}) {
    INFO(wrong);
    CHECK(code(run(wrong)) == EACCES);
    CHECK(message(run(wrong)).find("SECRET") == std::string::npos);
  }
  at.ctx.deadline_ns = system_clock().monotonic_ns() + kSecond / 20;
  CHECK(code(run("sleep 1000 & sleep 1000")) == ETIMEDOUT);
  at.ctx.deadline_ns = system_clock().monotonic_ns() + kSecond / 20;
  CHECK(code(run("exec 1>&-; sleep 1000")) == ETIMEDOUT);
  at.ctx.deadline_ns = INT64_MAX;
  at.ctx.clock = &at.clock;
  at.file(".aws/config",
          "[default]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"P\","
          "\"SecretAccessKey\":\"S\"}'\n");
  CHECK(at.key() == "P");
}

TEST_CASE("s3 keys: fetched anew before they expire, old ones serve meanwhile",
          "[s3][credentials]") {
  FakeClock clock;
  OpContext ctx;
  ctx.clock = &clock;
  int fetched = 0;
  bool fails = false;
  CachedCredentials cached(
      [&](const OpContext&) -> Result<s3::Credentials> {
        ++fetched;
        if (fails) return Error(EIO, "not now");
        return s3::Credentials{"K" + std::to_string(fetched), "s", "t",
                               clock.now_ns() + 3600 * kSecond};
      },
      clock);
  auto key = [&] {
    auto got = cached.get(ctx);
    return got.ok() ? got->access_key : got.error().message();
  };
  CHECK(key() == "K1");
  clock.advance_ns(3290 * kSecond);
  CHECK(key() == "K1");
  CHECK(fetched == 1);
  clock.advance_ns(20 * kSecond);
  CHECK(key() == "K2");
  fails = true;
  clock.advance_ns(3400 * kSecond);
  CHECK(key() == "K2");
  CHECK(key() == "K2");
  CHECK(fetched == 3);  // not with every request
  clock.advance_ns(11 * kSecond);
  CHECK(key() == "K2");
  CHECK(fetched == 4);
  clock.advance_ns(300 * kSecond);
  CHECK(key() == "not now");
  CHECK(key() == "not now");
  CHECK(fetched == 6);
  fails = false;
  CHECK(key() == "K7");
}

TEST_CASE("s3 keys: one fetch however many wait", "[s3][credentials]") {
  FakeClock clock;
  OpContext ctx;
  ctx.clock = &clock;
  std::atomic<int> fetched{0};
  std::atomic<bool> go{false}, fails{false};
  CachedCredentials cached(
      [&](const OpContext&) -> Result<s3::Credentials> {
        const int n = ++fetched;
        while (!go) std::this_thread::yield();
        if (fails) return Error(EACCES, "no");
        return s3::Credentials{"K" + std::to_string(n), "s", "t", clock.now_ns() + 3600 * kSecond};
      },
      clock);
  auto all = [&](int count, std::atomic<int>* good_ones) {
    std::vector<std::thread> threads;
    std::atomic<int> started{0};
    go = false;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&] {
        ++started;
        if (cached.get(ctx).ok()) ++*good_ones;
      });
    }
    while (started < count || fetched == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // they wait, most likely
    go = true;
    for (auto& thread : threads) thread.join();
  };
  std::atomic<int> good_ones{0};
  all(16, &good_ones);
  CHECK(good_ones == 16);
  CHECK(fetched == 1);
  clock.advance_ns(3400 * kSecond);  // near the end: one fetches, and nobody waits for it
  go = false;
  std::thread first([&] { (void)cached.get(ctx); });
  while (fetched < 2) std::this_thread::yield();
  CHECK(cached.get(ctx)->access_key == "K1");
  go = true;
  first.join();
  CHECK(cached.get(ctx)->access_key == "K2");
  CHECK(fetched == 2);
}

TEST_CASE("s3 keys: a caller that gives up does not fail the others", "[s3][credentials]") {
  OpContext ctx;
  ctx.clock = &system_clock();
  std::atomic<int> fetched{0};
  CachedCredentials cached(
      [&](const OpContext& asking) -> Result<s3::Credentials> {
        if (++fetched > 1) return s3::Credentials{"K", "s", ""};
        while (asking.check().ok()) std::this_thread::yield();
        return asking.check().error();
      },
      system_clock());
  CancelToken cancel;
  OpContext impatient = ctx;
  impatient.cancel = &cancel;
  std::thread first([&] { CHECK(code(cached.get(impatient)) == ECANCELED); });
  while (fetched == 0) std::this_thread::yield();
  std::thread second([&] { CHECK(cached.get(ctx)->access_key == "K"); });
  OpContext late = ctx;
  late.deadline_ns = ctx.clock->monotonic_ns() + kSecond / 50;
  CHECK(code(cached.get(late)) == ETIMEDOUT);
  cancel.cancel();
  first.join();
  second.join();
  CHECK(fetched == 2);
}

TEST_CASE("s3 keys: ExpiredToken fetches others and asks again", "[s3][credentials]") {
  std::atomic<int> fetched{0};
  std::atomic<bool> same{false};
  std::vector<std::string> used;
  const bool head = GENERATE(false, true);
  HttpServer server([&](const Request& request) {
    used.push_back(request.header("x-amz-security-token"));
    if (request.header("x-amz-security-token") == "T1") {
      return bad("400 x", head ? "" : "<Error><Code>ExpiredToken</Code></Error>");
    }
    return good("");
  });
  auto location = s3::parse_location("s3://bucket?endpoint=" + server.url(),
                                     [](const char*) -> const char* { return nullptr; });
  FakeClock clock;
  auto cached = std::make_shared<CachedCredentials>(
      [&](const OpContext&) -> Result<s3::Credentials> {
        const int n = ++fetched;
        return s3::Credentials{"K", "SECRET", "T" + std::to_string(same ? 1 : n)};
      },
      clock);
  S3ObjectStore store(*location, cached, clock);
  OpContext ctx;
  ctx.clock = &system_clock();
  auto ask = [&]() -> Status {
    if (!head) return store.put(ctx, "k", {as_bytes("x")});
    SKERRY_TRY(store.head(ctx, "k"));
    return {};
  };
  SECTION("others can be had") {
    CHECK(message(ask()) == "");
    CHECK(message(ask()) == "");
    CHECK(used == std::vector<std::string>{"T1", "T2", "T2"});
  }
  SECTION("there are none") {
    same = true;
    const Status refused = ask();
    CHECK_FALSE(refused.ok());
    CHECK(message(refused).find("SECRET") == std::string::npos);
    CHECK_FALSE(ask().ok());
    CHECK(fetched == 2);  // not asked for with every request
    same = false;
    clock.advance_ns(11 * kSecond);
    CHECK(message(ask()) == "");
    CHECK(fetched == 3);
  }
}

}  // namespace skerry
