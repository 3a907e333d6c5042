#include "support/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace skerry {

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)) {
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
  url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
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
  std::string taken;
  auto more = [&] {
    for (;;) {
      pollfd waiting{connection, POLLIN, 0};
      const int ready = poll(&waiting, 1, 20);
      if (stop_ || ready < 0) return false;
      if (ready > 0) break;
    }
    char bytes[65536];
    const ssize_t n = recv(connection, bytes, sizeof bytes, 0);
    if (n > 0) taken.append(bytes, static_cast<size_t>(n));
    return n > 0;
  };
  for (;;) {
    size_t end = 0;
    while ((end = taken.find("\r\n\r\n")) == taken.npos) {
      if (!more()) return void(close(connection));
    }
    Request request;
    request.head = taken.substr(0, end + 2);
    const size_t length = std::strtoull(request.header("content-length").c_str(), nullptr, 10);
    while (taken.size() < end + 4 + length) {
      if (!more()) return void(close(connection));
    }
    request.body = taken.substr(end + 4, length);
    taken.erase(0, end + 4 + length);
    const Answer answer = handler_(request);
    for (int waited = 0; waited < answer.silent_ms && !stop_; waited += 10) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    size_t sent = 0;
    while (sent < answer.bytes.size()) {
      const ssize_t n =
          send(connection, answer.bytes.data() + sent, answer.bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    if (answer.close || stop_) return void(close(connection));
  }
}

}  // namespace skerry
