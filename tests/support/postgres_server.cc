#include "support/postgres_server.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

namespace skerry {

namespace {

/// The run of all tests starts one server for all its processes and names its folder.
std::string start_server() {
  if (const char* running = std::getenv("SKERRY_TEST_POSTGRES")) return running;
  std::error_code none;
  const std::filesystem::path memory = "/dev/shm";
  const std::filesystem::path parent =
      std::filesystem::is_directory(memory, none) ? memory : std::filesystem::temp_directory_path();
  std::string folder = (parent / "skerry-pg-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return {};
  const std::string command = std::string("'") + SKERRY_TEST_SUPPORT + "/postgres.sh' '" + folder +
                              "' " + std::to_string(getpid());
  if (std::system(command.c_str()) != 0) return {};
  return folder;
}

}  // namespace

const std::string& postgres_folder() {
  static const std::string folder = start_server();
  if (folder.empty()) FAIL("the private PostgreSQL server could not be started");
  return folder;
}

std::string postgres_url(const std::string& schema, const std::string& who,
                         const std::string& database) {
  return "postgres://" + who + "@/" + database + "?host=" + postgres_folder() + "&schema=" + schema;
}

std::vector<std::string> postgres_run(const std::string& sql) { return PostgresSession().run(sql); }

PostgresSession::PostgresSession() {
  const std::string info =
      "dbname=postgres user=postgres options='-c client_min_messages=error' host=" +
      postgres_folder();
  connection_ = PQconnectdb(info.c_str());
}

PostgresSession::~PostgresSession() { PQfinish(static_cast<PGconn*>(connection_)); }

std::vector<std::string> PostgresSession::run(const std::string& sql) {
  auto* connection = static_cast<PGconn*>(connection_);
  std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connection, sql.c_str()), &PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
    FAIL(sql << ": " << PQerrorMessage(connection));
  }
  std::vector<std::string> rows;
  for (int row = 0; row < PQntuples(result.get()); ++row) {
    rows.emplace_back(PQgetvalue(result.get(), row, 0));
  }
  return rows;
}

namespace {

sockaddr_un address_in(const std::string& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = folder + "/.s.PGSQL.5432";
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace

PostgresProxy::PostgresProxy() {
  folder_ = "/tmp/skerry-proxy-XXXXXX";
  REQUIRE(mkdtemp(folder_.data()) != nullptr);
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un here = address_in(folder_);
  REQUIRE(bind(listener_, reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0);
  REQUIRE(listen(listener_, 16) == 0);
  postgres_folder();
  acceptor_ = std::thread([this] { serve(); });
}

PostgresProxy::~PostgresProxy() {
  stop_ = true;
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
  close(listener_);
  std::filesystem::remove_all(folder_);
}

std::string PostgresProxy::url(const std::string& schema) const {
  return "postgres://postgres@/postgres?host=" + folder_ + "&schema=" + schema;
}

void PostgresProxy::serve() {
  while (!stop_) {
    pollfd waiting{listener_, POLLIN, 0};
    if (poll(&waiting, 1, 20) <= 0) continue;
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) connections_.emplace_back([this, client] { forward(client); });
  }
}

void PostgresProxy::forward(int client) {
  const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un there = address_in(postgres_folder());
  bool open = connect(server, reinterpret_cast<const sockaddr*>(&there), sizeof there) == 0;
  std::vector<char> bytes(65536);
  bool answered = true;
  while (open && !stop_) {
    pollfd waiting[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    if (poll(waiting, 2, 20) <= 0) continue;
    for (int side = 0; side < 2 && open; ++side) {
      if (waiting[side].revents == 0) continue;
      const ssize_t count = read(waiting[side].fd, bytes.data(), bytes.size());
      if (side == 0 && count > 0 && answered) ++round_trips_;
      answered = side == 1;
      if (count <= 0 || mode_ == (side == 0 ? Mode::kLoseRequests : Mode::kLoseAnswers)) {
        open = false;
      } else if (send(waiting[1 - side].fd, bytes.data(), static_cast<size_t>(count),
                      MSG_NOSIGNAL) != count) {
        open = false;
      }
    }
  }
  close(client);
  close(server);
}

std::string fresh_schema() {
  static std::atomic<int> next{1};
  return "test_" + std::to_string(getpid()) + "_" + std::to_string(next++);
}

}  // namespace skerry
