// HttpClient: many HTTP requests in flight on one thread, on libcurl's multi interface.
//
// A caller hands over a request and waits; the client's thread moves the bytes, straight between
// the socket and the caller's memory. Connections are kept and used again. Nothing is retried here
// but what libcurl itself knows to be untouched (a kept connection that had died before the first
// byte): who knows what a request means decides that.
//
// Thread-safe. A child process must not use a client it inherited (EIO says so) and may drop it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "io/op_context.h"

namespace skerry {

struct HttpOptions {
  uint32_t max_connections = 256;  // in all; further requests wait for one
  TimeNs connect_timeout_ns = 10'000'000'000;
  TimeNs first_byte_timeout_ns = 30'000'000'000;  // from the last byte sent
  TimeNs stall_timeout_ns = 20'000'000'000;       // without a byte in either direction
  TimeNs request_timeout_ns = 0;                  // of the whole, once begun; 0: none
  std::string ca_bundle;                          // empty: the system's
  std::string proxy;                              // empty: as the environment says
  bool direct = false;                            // no proxy, whatever the environment says
  std::string user_agent;
  bool verify_tls = true;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // GET, HEAD, PUT, POST or DELETE
  std::string url;     // encoded; sent as it is
  HttpHeaders headers;
  std::vector<ByteView> body;  // borrowed until the call returns
  /// Where the body of a 2xx answer goes, which must not be longer. Empty: HttpAnswer::text.
  MutableBytes into;
};

struct HttpAnswer {
  int status = 0;
  HttpHeaders headers;    // names in lower case, in the order of their arrival
  std::string text;       // the body, where it did not go to HttpRequest::into
  uint64_t received = 0;  // bytes in HttpRequest::into

  /// The value of the last header of that name; empty if there is none.
  std::string_view header(std::string_view lower_case_name) const;
};

class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  /// No call may be under way.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Any status is an answer. Errors: ETIMEDOUT and ECANCELED of the context, ETIMEDOUT of the
  /// client's own limits, ENOMEM, and EIO for all that kept an answer from coming whole; those that
  /// may pass are retryable(), and those of a request that may have reached the server are
  /// maybe_applied().
  Result<HttpAnswer> perform(const OpContext& ctx, const HttpRequest& request);
  /// perform() for each request, all handed over at once. `done` is called with the index and the
  /// answer of each, once, as they end, by the calling thread.
  using Done = std::function<void(size_t, Result<HttpAnswer>)>;
  void perform_many(const OpContext& ctx, std::span<const HttpRequest> requests, const Done& done);

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace skerry
