// A server of HTTP/1.1 on 127.0.0.1 whose answers a test writes byte by byte.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

struct ssl_ctx_st;  // OpenSSL's

namespace skerry {

class HttpServer {
 public:
  struct Request {
    std::string head;  // request line and headers, as they came
    std::string body;

    /// The value of a header, by its name in any case; empty if there is none.
    std::string header(const std::string& name) const;
    std::string line() const { return head.substr(0, head.find("\r\n")); }
  };
  struct Answer {
    std::string bytes;   // what is sent
    bool close = false;  // and then the connection ends
    int silent_ms = 0;   // before anything is sent; ends early with the server
  };
  using Handler = std::function<Answer(const Request&)>;

  /// With TLS, where certificate and key are files of PEM.
  explicit HttpServer(Handler handler, const std::string& certificate = "",
                      const std::string& key = "");
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// "http://127.0.0.1:port", or "https:".
  const std::string& url() const { return url_; }
  int connections() const { return connections_; }
  /// Of TLS, those that went on with the session of an earlier one.
  int resumed() const { return resumed_; }

  /// An answer with its Content-Length.
  static std::string whole(const std::string& status, const std::string& headers,
                           const std::string& body);

 private:
  class Stream;

  void accept();
  void serve(int connection);

  const Handler handler_;
  std::string url_;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::atomic<int> connections_{0}, resumed_{0};
  std::shared_ptr<ssl_ctx_st> tls_;
  std::thread acceptor_;
  std::vector<std::thread> servers_;  // the acceptor's
};

}  // namespace skerry
