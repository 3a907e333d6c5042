#include "support/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <stdexcept>

namespace skerry {

/// The bytes of one connection, with TLS or without. Closes it.
class HttpServer::Stream {
 public:
  Stream(int connection, SSL_CTX* tls) : connection_(connection) {
    if (tls == nullptr) return;
    ssl_ = SSL_new(tls);
    SSL_set_fd(ssl_, connection);
    usable_ = SSL_accept(ssl_) == 1;
  }
  ~Stream() {
    if (ssl_ != nullptr && usable_) SSL_shutdown(ssl_);
    SSL_free(ssl_);
    close(connection_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  bool usable() const { return usable_; }
  bool resumed() const { return ssl_ != nullptr && SSL_session_reused(ssl_) == 1; }
  bool has_some() const { return ssl_ != nullptr && SSL_pending(ssl_) > 0; }
  ssize_t take(char* bytes, size_t room) {
    if (ssl_ != nullptr) return SSL_read(ssl_, bytes, static_cast<int>(room));
    return recv(connection_, bytes, room, 0);
  }
  ssize_t give(const char* bytes, size_t length) {
    if (ssl_ != nullptr) return SSL_write(ssl_, bytes, static_cast<int>(length));
    return send(connection_, bytes, length, MSG_NOSIGNAL);
  }

 private:
  const int connection_;
  SSL* ssl_ = nullptr;
  bool usable_ = true;
};

HttpServer::HttpServer(Handler handler, const std::string& certificate, const std::string& key)
    : handler_(std::move(handler)) {
  if (!certificate.empty()) {
    signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
    tls_ = std::shared_ptr<SSL_CTX>(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    const unsigned char id[] = "skerry";
    SSL_CTX_set_session_id_context(tls_.get(), id, sizeof id);
    if (SSL_CTX_use_certificate_file(tls_.get(), certificate.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_.get(), key.c_str(), SSL_FILETYPE_PEM) != 1) {
      throw std::runtime_error("no certificate in " + certificate);
    }
  }
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (listener_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throw std::runtime_error("no port to listen at");
  }
  url_ = (tls_ ? "https" : "http") + std::string("://127.0.0.1:") +
         std::to_string(ntohs(address.sin_port));
  acceptor_ = std::thread([this] { accept(); });
}

HttpServer::~HttpServer() {
  stop_ = true;
  acceptor_.join();
  close(listener_);
}

std::string HttpServer::whole(const std::string& status, const std::string& headers,
                              const std::string& body) {
  return "HTTP/1.1 " + status + "\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string HttpServer::Request::header(const std::string& name) const {
  for (size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at + 2)) {
    const std::string line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
    const size_t colon = line.find(':');
    if (colon != line.npos && strcasecmp(line.substr(0, colon).c_str(), name.c_str()) == 0) {
      const size_t value = line.find_first_not_of(' ', colon + 1);
      return value == line.npos ? "" : line.substr(value);
    }
  }
  return {};
}

void HttpServer::accept() {
  while (!stop_) {
    pollfd waiting{listener_, POLLIN, 0};
    if (poll(&waiting, 1, 20) <= 0) continue;
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    ++connections_;
    servers_.emplace_back([this, connection] { serve(connection); });
  }
  for (std::thread& server : servers_) server.join();
}

void HttpServer::serve(int connection) {
  Stream stream(connection, tls_.get());
  if (!stream.usable()) return;
  if (stream.resumed()) ++resumed_;
  std::string taken;
  auto more = [&] {
    while (!stream.has_some()) {
      pollfd waiting{connection, POLLIN, 0};
      const int ready = poll(&waiting, 1, 20);
      if (stop_ || ready < 0) return false;
      if (ready > 0) break;
    }
    char bytes[65536];
    const ssize_t n = stream.take(bytes, sizeof bytes);
    if (n > 0) taken.append(bytes, static_cast<size_t>(n));
    return n > 0;
  };
  for (;;) {
    size_t end = 0;
    while ((end = taken.find("\r\n\r\n")) == taken.npos) {
      if (!more()) return;
    }
    Request request;
    request.head = taken.substr(0, end + 2);
    const size_t length = std::strtoull(request.header("content-length").c_str(), nullptr, 10);
    while (taken.size() < end + 4 + length) {
      if (!more()) return;
    }
    request.body = taken.substr(end + 4, length);
    taken.erase(0, end + 4 + length);
    const Answer answer = handler_(request);
    for (int waited = 0; waited < answer.silent_ms && !stop_; waited += 10) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    size_t sent = 0;
    while (sent < answer.bytes.size()) {
      const ssize_t n = stream.give(answer.bytes.data() + sent, answer.bytes.size() - sent);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    if (answer.close || stop_) return;
  }
}

}  // namespace skerry
