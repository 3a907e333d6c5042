// The S3 store against answers that a server should not give, and some that it may.
#include "object/s3/s3_store.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "object/decorators/retry_store.h"
#include "object/s3/credentials.h"
#include "support/fake_clock.h"
#include "support/results.h"
#include "unit/s3_fixture.h"

namespace skerry::s3_test {

TEST_CASE("s3: an answer that ends at any byte is no data", "[s3]") {
  const std::string answer = part("0123456789", "0-9/20");
  std::atomic<size_t> sent{0};
  Fixture f([&](const Request&) { return Answer{answer.substr(0, sent), true}; });
  for (sent = 0; sent < answer.size(); ++sent) {
    std::string out(10, '.');
    const Status got = f.get(&out);
    INFO(sent << " bytes of the answer: " << message(got));
    REQUIRE(code(got) == EIO);
    CHECK(got.error().retryable());
    CHECK_FALSE(got.error().maybe_applied());
  }
  std::string out(10, '.');
  REQUIRE(message(f.get(&out)) == "");
  CHECK(out == "0123456789");
}

TEST_CASE("s3: an answer to another question is no data", "[s3]") {
  std::string answer;
  Fixture f([&](const Request&) { return Answer{answer}; });
  std::string out(10, '.');
  for (const std::string& wrong : {
           part("0123456789", "1-10/20"),                  // another range
           part("01234567890", "0-10/20"),                 // a longer one
           HttpServer::whole("206 OK", "", "0123456789"),  // none
           HttpServer::whole("200 OK", "", "0123456789"),  // the object, whole
           HttpServer::whole("200 OK", "", "0123456789abcdef"),
           HttpServer::whole("204 No Content", "", ""),
           HttpServer::whole("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
           std::string("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/20\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n"),
       }) {
    answer = wrong;
    INFO(wrong);
    const Status got = f.get(&out);
    CHECK((code(got) == EIO || code(got) == EINVAL));
  }
  answer = part("01234", "0-4/5");
  CHECK(code(f.get(&out)) == EINVAL);
  CHECK(message(f.get(&out)).find("shorter (bytes 0-4/5)") != std::string::npos);
  answer = HttpServer::whole("416 Range", "", error_xml("InvalidRange"));
  CHECK(code(f.get(&out, 30)) == EINVAL);
}

TEST_CASE("s3: an error names the operation, the key, the status and the request", "[s3]") {
  std::string answer = HttpServer::whole("503 Slow Down", "", error_xml("SlowDown"));
  Fixture f([&](const Request&) { return Answer{answer}; });
  const Status busy = f.store->put(f.ctx, "k", {as_bytes("x")});
  CHECK(code(busy) == EIO);
  CHECK(busy.error().retryable());
  CHECK(busy.error().maybe_applied());
  CHECK(message(busy) ==
        "s3://bucket/p at " + f.server.url() + ": PUT p/k: 503 SlowDown, because (request 4711)");
  for (const auto& [status, name, number] : {std::tuple("403 x", "AccessDenied", EACCES),
                                             {"404 x", "NoSuchKey", ENOENT},
                                             {"404 x", "NoSuchBucket", EIO},
                                             {"412 x", "PreconditionFailed", EEXIST},
                                             {"507 x", "XMinioStorageFull", ENOSPC},
                                             {"501 x", "NotImplemented", ENOTSUP}}) {
    answer = HttpServer::whole(status, "", error_xml(name));
    const Status refused = f.store->put(f.ctx, "k", {});
    CHECK(code(refused) == number);
    CHECK(message(refused).find(name) != std::string::npos);
    CHECK_FALSE(refused.error().retryable());
  }
  answer = HttpServer::whole("500 x", "", "<html>no XML</html>");
  CHECK(message(f.store->head(f.ctx, "k")).find("HEAD p/k: 500") != std::string::npos);
  CHECK(message(f.store->list(f.ctx, "", "", 10)).find("GET: 500") != std::string::npos);
}

TEST_CASE("s3: what passes is tried again", "[s3]") {
  std::atomic<int> asked{0};
  Fixture f([&](const Request&) {
    if (++asked < 4) return Answer{HttpServer::whole("503 x", "", error_xml("SlowDown"))};
    return Answer{part("0123456789", "0-9/10")};
  });
  RetryObjectStore patient(f.store, system_random(), {8, kMs, kMs});
  std::string out(10, '.');
  REQUIRE(message(patient.get(f.ctx, "k", 0, std::as_writable_bytes(std::span(out)))) == "");
  CHECK(asked == 4);
  CHECK(f.server.connections() == 1);
}

TEST_CASE("s3: a server that asks for a pause gets it", "[s3]") {
  std::string when;
  std::atomic<int> asked{0};
  Fixture f([&](const Request&) {
    if (++asked % 2 == 0) return Answer{HttpServer::whole("200 OK", "", "")};
    return Answer{HttpServer::whole("429 x", when, "")};
  });
  FakeClock clock;
  FakeRandom random;
  f.ctx.clock = &clock;
  f.ctx.deadline_ns = INT64_MAX;
  RetryObjectStore patient(f.store, random, {8, kMs, kMs});
  for (const auto& [header, pause_ms] :
       {std::pair("Retry-After: 7\r\n", 7'000),
        {"", 0},
        {"Retry-After: soon\r\n", 0},
        {"Date: Fri, 24 May 2013 00:00:30 GMT\r\nRetry-After: Fri, 24 May 2013 00:00:41 GMT\r\n",
         11'000},
        {"Retry-After: 99999999999999999999\r\n", 0},
        {"Retry-After: 3600\r\n", 60'000}}) {
    when = header;
    const TimeNs before = clock.monotonic_ns();
    CHECK(message(patient.put(f.ctx, "k", {as_bytes("x")})) == "");
    const TimeNs waited = clock.monotonic_ns() - before;
    CHECK(waited >= pause_ms * kMs);
    CHECK(waited <= (pause_ms + 1) * kMs);
  }
  when = "Retry-After: 7\r\n";
  f.ctx.deadline_ns = clock.monotonic_ns() + 6000 * kMs;
  const Status busy = patient.put(f.ctx, "k", {as_bytes("x")});
  CHECK(busy.error().throttled());
  CHECK(busy.error().pause_s() == 7);
}

TEST_CASE("s3: a put whose answer is lost", "[s3]") {
  std::atomic<int> asked{0};
  Fixture f([&](const Request& request) {
    CHECK(request.body == "hello world");
    CHECK(request.header("x-amz-checksum-crc32c") == "yZRlqg==");
    if (++asked == 1) return Answer{"", true};
    return Answer{HttpServer::whole("200 OK", "ETag: \"e\"\r\n", "")};
  });
  const Status lost = f.store->put(f.ctx, "k", {as_bytes("hello "), as_bytes("world")});
  CHECK(code(lost) == EIO);
  CHECK(lost.error().maybe_applied());
  CHECK(lost.error().retryable());
  CHECK(message(f.store->put(f.ctx, "k", {as_bytes("hello world")})) == "");
}

TEST_CASE("s3: a server that is silent", "[s3]") {
  HttpOptions http;
  http.first_byte_timeout_ns = 300 * kMs;
  std::atomic<int> silent_ms{60'000};
  Fixture f(
      [&](const Request&) {
        return Answer{part("0123456789", "0-9/10"), false, silent_ms};
      },
      http);
  std::string out(10, '.');
  SECTION("the client's own limit") {
    const Status late = f.get(&out);
    CHECK(code(late) == ETIMEDOUT);
    CHECK(late.error().retryable());
  }
  SECTION("the call's deadline") {
    f.ctx.deadline_ns = f.ctx.clock->monotonic_ns() + 50 * kMs;
    CHECK(code(f.get(&out)) == ETIMEDOUT);
    CHECK(f.ctx.clock->monotonic_ns() - f.ctx.deadline_ns < 5000 * kMs);
  }
  SECTION("the caller gives up") {
    CancelToken cancel;
    f.ctx.cancel = &cancel;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      cancel.cancel();
    });
    CHECK(code(f.get(&out)) == ECANCELED);
    other.join();
  }
  silent_ms = 0;
  f.ctx.cancel = nullptr;
  f.ctx.deadline_ns = INT64_MAX;
  CHECK(message(f.get(&out)) == "");
}

TEST_CASE("s3: a request has a limit for the whole of it", "[s3]") {
  HttpOptions http;
  http.request_timeout_ns = 300 * kMs;
  Fixture f([&](const Request&) { return Answer{"", false, 60'000}; }, http);
  const Status late = f.store->put(f.ctx, "k", {as_bytes("x")});
  CHECK(code(late) == ETIMEDOUT);
  CHECK(late.error().retryable());
  CHECK(late.error().maybe_applied());
  CHECK(message(late).find("not done after 300 ms") != std::string::npos);
}

TEST_CASE("s3: nobody listens", "[s3]") {
  std::string url;
  {
    url = HttpServer([](const Request&) { return Answer{}; }).url();
  }
  Fixture f([](const Request&) { return Answer{}; });
  auto location = s3::parse_location("s3://bucket?endpoint=" + url,
                                     [](const char*) -> const char* { return nullptr; });
  S3ObjectStore store(*location, {"key", "secret", ""}, system_clock());
  const Status refused = store.put(f.ctx, "k", {as_bytes("x")});
  CHECK(code(refused) == EIO);
  CHECK(refused.error().retryable());
  CHECK_FALSE(refused.error().maybe_applied());
  CHECK(message(refused).find("PUT " + url + "/bucket/k") != std::string::npos);
}

TEST_CASE("s3: the server's clock and region count", "[s3]") {
  std::vector<std::string> dates, scopes;
  bool about_clock = GENERATE(true, false);
  Fixture f([&](const Request& request) {
    dates.push_back(request.header("x-amz-date"));
    scopes.push_back(request.header("authorization"));
    if (dates.size() > 1) return Answer{HttpServer::whole("200 OK", "", "")};
    if (about_clock) {
      return Answer{HttpServer::whole("403 x", "Date: Fri, 24 May 2013 00:00:30 GMT\r\n",
                                      error_xml("RequestTimeTooSkewed"))};
    }
    return Answer{HttpServer::whole(
        "400 x", "", error_xml("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"))};
  });
  REQUIRE(message(f.store->put(f.ctx, "k", {})) == "");
  REQUIRE(message(f.store->put(f.ctx, "k", {})) == "");
  REQUIRE(dates.size() == 3);
  if (about_clock) {
    CHECK(dates[1].substr(0, 13) == "20130524T0000");
    CHECK(dates[2].substr(0, 13) == "20130524T0000");
  } else {
    CHECK(scopes[0].find("/us-east-1/s3/") != std::string::npos);
    CHECK(scopes[1].find("/eu-west-1/s3/") != std::string::npos);
    CHECK(scopes[2].find("/eu-west-1/s3/") != std::string::npos);
  }
}

TEST_CASE("s3: every key is sent as it is signed", "[s3]") {
  std::string line;
  Fixture f([&](const Request& request) {
    line = request.line();
    return Answer{HttpServer::whole("200 OK", "", "")};
  });
  for (const auto& [key, sent] : {std::pair("a b", "a%20b"),
                                  {"a+b%20", "a%2Bb%2520"},
                                  {"\xc3\xa9\xf0\x9f\x98\x80", "%C3%A9%F0%9F%98%80"},
                                  {"a//b/", "a//b/"},
                                  {"./../x/..", "./../x/.."},
                                  {"?a=b&c#d", "%3Fa%3Db%26c%23d"},
                                  {"~-._*'()!", "~-._%2A%27%28%29%21"}}) {
    CHECK(message(f.store->put(f.ctx, key, {as_bytes("x")})) == "");
    CHECK(line == "PUT /bucket/p/" + std::string(sent) + " HTTP/1.1");
  }
}

TEST_CASE("s3: a batch delete tells of each key", "[s3]") {
  std::string posted;
  Fixture f([&](const Request& request) {
    if (request.line().starts_with("DELETE")) {
      CHECK(request.line() == "DELETE /bucket/p/bad%01key HTTP/1.1");
      return Answer{HttpServer::whole("204 x", "", "")};
    }
    posted = request.body;
    CHECK(request.line() == "POST /bucket?delete= HTTP/1.1");
    CHECK(request.header("content-md5").size() == 24);
    return Answer{HttpServer::whole("200 OK", "",
                                    "<DeleteResult><Error><Key>p/b&amp;&lt;</Key><Code>AccessDenied"
                                    "</Code></Error></DeleteResult>")};
  });
  auto outcomes = f.store->remove_batch(f.ctx, {"a", "b&<", "bad\x01key"});
  REQUIRE(message(outcomes) == "");
  CHECK(posted.find("<Key>p/a</Key>") != std::string::npos);
  CHECK(posted.find("<Key>p/b&amp;&lt;</Key>") != std::string::npos);
  CHECK((*outcomes)[0].error == 0);
  CHECK((*outcomes)[1].error == EACCES);
  CHECK((*outcomes)[2].error == 0);
}

TEST_CASE("s3: listings that are wrong are errors", "[s3]") {
  std::string answer;
  Fixture f([&](const Request&) { return Answer{HttpServer::whole("200 OK", "", answer)}; });
  for (const char* wrong :
       {"", "no XML", "<ListBucketResult></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>other/k</Key></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"}) {
    answer = wrong;
    CHECK(code(f.store->list(f.ctx, "", "", 10)) == EIO);
  }
  answer =
      "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents>"
      "<Key>p/a+b%2Bc%C3%A9</Key><Size>7</Size><LastModified>2013-05-24T00:00:01.000Z</"
      "LastModified>"
      "<ETag>&quot;e&quot;</ETag></Contents></ListBucketResult>";
  auto page = f.store->list(f.ctx, "", "", 10);
  REQUIRE(message(page) == "");
  REQUIRE(page->objects.size() == 1);
  CHECK(page->objects[0].key == "a b+c\xc3\xa9");
  CHECK(page->objects[0].size_bytes == 7);
  CHECK(page->objects[0].etag == "e");
  CHECK(page->objects[0].modified_ns == TimeNs{1369353601} * 1000 * kMs);
}

TEST_CASE("s3: a listing's bounds are asked for as every server takes them", "[s3]") {
  std::string line;
  Fixture f([&](const Request& request) {
    line = request.line();
    std::string answer = "<ListBucketResult><IsTruncated>true</IsTruncated>";
    for (const char* key : {"a/-", "a/.b", "a/.c", "a/.d", "a/0", "b"}) {
      answer += std::string("<Contents><Key>p/") + key + "</Key></Contents>";
    }
    return Answer{HttpServer::whole("200 OK", "", answer + "</ListBucketResult>")};
  });
  // What the shorter bounds let through is left out, and nothing is asked behind the last key.
  auto page = f.store->list(f.ctx, "a/.", "a/.b", 10);
  REQUIRE(message(page) == "");
  REQUIRE(page->objects.size() == 2);
  CHECK(page->objects[0].key == "a/.c");
  CHECK(page->objects[1].key == "a/.d");
  CHECK_FALSE(page->more);

  const std::pair<const char*, const char*> asked[] = {
      {"a/.", "p%2Fa%2F"},     {"a/../b", "p%2Fa%2F"},      {".", "p%2F"},
      {"a/ ./b", "p%2Fa%2F"},  {"a/.b", "p%2Fa%2F.b"},      {"a/...", "p%2Fa%2F..."},
      {"a\xc3", "p%2Fa"},      {"a/.\xe2\x82", "p%2Fa%2F"}, {"\xc3\xa9", "p%2F%C3%A9"},
      {"\xf0\x9f\x98", "p%2F"}};
  for (const auto& [prefix, shorter] : asked) {
    INFO(line);
    (void)f.store->list(f.ctx, prefix, "", 1);
    CHECK(line.find(std::string("&prefix=") + shorter + " ") != std::string::npos);
    (void)f.store->list(f.ctx, "", prefix, 1);
    CHECK(line.find(std::string("&start-after=") + shorter + " ") != std::string::npos);
  }
}

TEST_CASE("s3: an upload that fails after it was answered", "[s3]") {
  Fixture f([&](const Request&) {
    return Answer{HttpServer::whole("200 OK", "", error_xml("InternalError"))};
  });
  const Status done = f.store->complete_upload(f.ctx, "k", "id", {{1, "e"}});
  CHECK(code(done) == EIO);
  CHECK(done.error().retryable());
}

TEST_CASE("s3: many requests at once share connections and one thread", "[s3]") {
  std::atomic<int> asked{0};
  Fixture f([&](const Request&) {
    ++asked;
    return Answer{part("0123456789", "0-9/10"), false, 20};
  });
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 32; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 8; ++i) {
        std::string out(10, '.');
        if (!f.get(&out).ok() || out != "0123456789") ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(asked == 256);
  CHECK(f.server.connections() <= 32);
}

TEST_CASE("s3: one thread has many ranges under way", "[s3]") {
  constexpr size_t kRanges = 48;
  std::mutex mutex;
  std::condition_variable changed;
  size_t asked = 0;
  // Nobody is answered before all have asked.
  Fixture f([&](const Request& request) {
    std::unique_lock lock(mutex);
    ++asked;
    changed.notify_all();
    changed.wait_for(lock, std::chrono::seconds(15), [&] { return asked >= kRanges; });
    const std::string range = request.header("range").substr(6);
    return Answer{
        part(std::string(10, static_cast<char>('a' + std::stoi(range) % 26)), range + "/1000")};
  });
  std::vector<std::string> outs(kRanges, std::string(10, '.'));
  std::vector<ObjectRange> ranges;
  for (size_t i = 0; i < kRanges; ++i) {
    ranges.push_back({"k", i, std::as_writable_bytes(std::span(outs[i])), {}});
  }
  f.store->get_many(f.ctx, ranges, [](size_t) {});
  for (size_t i = 0; i < kRanges; ++i) {
    CHECK(message(ranges[i].result) == "");
    CHECK(outs[i] == std::string(10, static_cast<char>('a' + i % 26)));
  }
}

TEST_CASE("s3: many ranges learn of the clock, and end with the deadline", "[s3]") {
  std::atomic<bool> silent{false}, skewed{true};
  Fixture f([&](const Request& request) {
    if (silent) return Answer{part("0123456789", "0-9/10"), false, 60'000};
    if (skewed && request.header("x-amz-date").substr(0, 4) != "2013") {
      return Answer{HttpServer::whole("403 x", "Date: Fri, 24 May 2013 00:00:30 GMT\r\n",
                                      error_xml("RequestTimeTooSkewed"))};
    }
    return Answer{part("0123456789", "0-9/10")};
  });
  std::vector<std::string> outs(20, std::string(10, '.'));
  std::vector<ObjectRange> ranges;
  for (std::string& out : outs) {
    ranges.push_back({"k", 0, std::as_writable_bytes(std::span(out)), {}});
  }
  size_t told = 0;
  f.store->get_many(f.ctx, ranges, [&](size_t) { ++told; });
  CHECK(told == ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    CHECK(message(ranges[i].result) == "");
    CHECK(outs[i] == "0123456789");
  }
  silent = true;
  f.ctx.deadline_ns = f.ctx.clock->monotonic_ns() + 100 * kMs;
  f.store->get_many(f.ctx, ranges, [&](size_t i) {
    ++told;
    CHECK(code(ranges[i].result) == ETIMEDOUT);
  });
  CHECK(told == 2 * ranges.size());
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("s3: a child process does not use its parent's connections", "[s3]") {
  Fixture f([&](const Request&) { return Answer{part("0123456789", "0-9/10")}; });
  std::string out(10, '.');
  REQUIRE(message(f.get(&out)) == "");
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    const int got = code(f.get(&out));
    f.store.reset();
    _exit(got);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == EIO));
  CHECK(message(f.get(&out)) == "");
}
#endif

TEST_CASE("s3: what a storage URL says of requests and objects", "[s3]") {
  std::vector<Request> asked;
  auto respond = [&](const Request& request) {
    asked.push_back(request);
    if (request.line().starts_with("GET")) return Answer{part("0123456789", "0-9/10")};
    if (request.line().starts_with("POST")) {
      return Answer{HttpServer::whole("200 OK", "", "<R><UploadId>u</UploadId></R>")};
    }
    return Answer{HttpServer::whole("200 OK", "", "")};
  };
  const std::string sse = "x-amz-server-side-encryption";
  auto all = [](Fixture& f) {
    std::string out(10, '.');
    CHECK(message(f.store->put(f.ctx, "k", {as_bytes("x")})) == "");
    CHECK(message(f.store->start_upload(f.ctx, "k")) == "");
    CHECK(message(f.store->put_part(f.ctx, "k", "u", 1, as_bytes("x"))) == "");
    CHECK(message(f.store->complete_upload(f.ctx, "k", "u", {{1, "e"}})) == "");
    CHECK(message(f.store->head(f.ctx, "k")) == "");
    CHECK(message(f.get(&out)) == "");
  };
  SECTION("by the server's keys") {
    Fixture f(respond, {},
              "&sse=kms&kms_key=arn%3Ak&tags=a%3D1%26b%3D2&requester_pays=1&user_agent=me");
    all(f);
    REQUIRE(asked.size() == 6);
    for (size_t i = 0; i < 6; ++i) {
      CHECK(asked[i].header(sse) == (i < 2 ? "aws:kms" : ""));
      CHECK(asked[i].header(sse + "-aws-kms-key-id") == (i < 2 ? "arn:k" : ""));
      CHECK(asked[i].header("x-amz-tagging") == (i < 2 ? "a=1&b=2" : ""));
      CHECK(asked[i].header("x-amz-request-payer") == "requester");
      CHECK(asked[i].header("authorization").find("x-amz-request-payer") != std::string::npos);
      CHECK(asked[i].header("user-agent") == "skerry/0.1.0 me");
    }
  }
  SECTION("by a customer's key") {
    std::string path = "/tmp/skerry-sse-XXXXXX";
    const int file = mkstemp(path.data());
    const std::string key = "0123456789abcdef0123456789ABCDEF";
    HttpServer server(respond);
    auto location = s3::parse_location(
        "s3://bucket?sse=customer&sse_key_file=" + path + "&endpoint=" + server.url(),
        [](const char*) -> const char* { return nullptr; });
    REQUIRE(message(location) == "");
    CHECK(code(s3::read_sse_key(&*location)) == EINVAL);  // empty
    REQUIRE(write(file, (key + "\n").data(), 33) == 33);
    CHECK(code(s3::read_sse_key(&*location)) == EINVAL);
    CHECK(message(s3::read_sse_key(&*location)).find("0123") == std::string::npos);
    REQUIRE(ftruncate(file, 32) == 0);
    REQUIRE(message(s3::read_sse_key(&*location)) == "");
    CHECK(location->sse_key == key);
    const std::string text = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlBQkNERUY=";
    REQUIRE(pwrite(file, (text + "\n").data(), 45, 0) == 45);
    location->sse_key.clear();
    REQUIRE(message(s3::read_sse_key(&*location)) == "");
    CHECK(location->sse_key == key);
    close(file);
    unlink(path.c_str());
    CHECK(code(s3::read_sse_key(&*location)) == EACCES);
    Fixture f([](const Request&) { return Answer{}; });
    f.store = std::make_shared<S3ObjectStore>(*location, s3::Credentials{"key", "secret", ""},
                                              system_clock());
    all(f);
    REQUIRE(asked.size() == 6);
    for (const Request& request : asked) {
      CHECK(request.header(sse + "-customer-algorithm") == "AES256");
      CHECK(request.header(sse + "-customer-key") == text);
      CHECK(request.header(sse + "-customer-key-md5").size() == 24);
      CHECK(request.header(sse).empty());
    }
    CHECK(f.store->describe().find(path) == std::string::npos);
  }
}

TEST_CASE("s3: storage URLs and the environment", "[s3]") {
  std::map<std::string, std::string> variables;
  auto variable = [&](const char* name) -> const char* {
    auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
  auto parse = [&](const std::string& url) { return s3::parse_location(url, variable); };
  auto at = parse("s3://data/some/pre%20fix/?region=eu-west-1");
  REQUIRE(message(at) == "");
  CHECK(at->origin() == "https://data.s3.eu-west-1.amazonaws.com");
  CHECK(at->path(at->prefix + "k") == "/some/pre fix/k");
  CHECK_FALSE(at->sign_payload);
  CHECK(parse("s3://my.data")->origin() == "https://s3.us-east-1.amazonaws.com");
  CHECK(parse("s3://my.data")->path("k") == "/my.data/k");
  CHECK(parse("s3://data?region=cn-north-1")->host() == "data.s3.cn-north-1.amazonaws.com.cn");
  CHECK(parse("s3://data?fips=1")->host() == "data.s3-fips.us-east-1.amazonaws.com");
  CHECK(parse("s3://data?dual_stack=1")->host() == "data.s3.dualstack.us-east-1.amazonaws.com");
  CHECK(parse("s3://data?fips=1&dual_stack=1")->host() ==
        "data.s3-fips.dualstack.us-east-1.amazonaws.com");
  variables = {{"AWS_ENDPOINT_URL", "http://host:9000/"}, {"AWS_DEFAULT_REGION", "there"}};
  CHECK(parse("s3://data")->origin() == "http://host:9000");
  CHECK(parse("s3://data")->path("") == "/data");
  CHECK(parse("s3://data")->region == "there");
  CHECK(parse("s3://data")->sign_payload);
  variables["AWS_ENDPOINT_URL_S3"] = "https://other";
  variables["AWS_REGION"] = "here";
  CHECK(parse("s3://data?style=virtual")->origin() == "https://data.other");
  CHECK(parse("s3://data")->region == "here");
  CHECK(parse("s3://data?region=mine&endpoint=http%3A//x")->describe() == "s3://data at http://x");
  for (const char* wrong : {"s3://",
                            "s3:///k",
                            "s3://a",
                            "file:///x",
                            "s3://data?endpoint=host",
                            "s3://data?x=1",
                            "s3://data?region",
                            "s3://data?style=odd",
                            "s3://data/%zz",
                            "s3://data?payload=1",
                            "s3://data?endpoint=http://u:p@host",
                            "s3://key:secret@data",
                            "s3://data?sse=x",
                            "s3://data?sse=customer",
                            "s3://data?sse_key_file=/x",
                            "s3://data?kms_key=k&sse=s3",
                            "s3://data?sse=customer&sse_key_file=/x&endpoint=http://host",
                            "s3://data?fips=2",
                            "s3://data?fips=1&endpoint=https://host",
                            "s3://data?proxy=http://u:secret@host",
                            "s3://data?tags=a%0D%0Ab",
                            "s3://data?requester_pays=yes"}) {
    INFO(wrong);
    CHECK(code(parse(wrong)) == EINVAL);
    CHECK(message(parse(wrong)).find("secret") == std::string::npos);
  }
}

TEST_CASE("s3: the settings of a profile", "[s3]") {
  const std::string file =
      "# a comment\n[default]\naws_access_key_id = D\n  nested = 1\naws_secret_access_key=S=/+\n"
      "[ profile work ]\r\naws_access_key_id=W\r\n; another\naws_session_token = T\n[empty]";
  CHECK(s3::profile_settings(file, "default") ==
        std::map<std::string, std::string>{{"aws_access_key_id", "D"},
                                           {"aws_secret_access_key", "S=/+"}});
  CHECK(s3::profile_settings(file, "profile work")["aws_session_token"] == "T");
  CHECK(s3::profile_settings(file, "nobody").empty());
}

}  // namespace skerry::s3_test
