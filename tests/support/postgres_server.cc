#include "support/postgres_server.h"

#include <libpq-fe.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
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

std::vector<std::string> postgres_run(const std::string& sql) {
  const std::string info =
      "dbname=postgres user=postgres options='-c client_min_messages=error' host=" +
      postgres_folder();
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(info.c_str()), &PQfinish);
  std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connection.get(), sql.c_str()),
                                                       &PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
    FAIL(sql << ": " << PQerrorMessage(connection.get()));
  }
  std::vector<std::string> rows;
  for (int row = 0; row < PQntuples(result.get()); ++row) {
    rows.emplace_back(PQgetvalue(result.get(), row, 0));
  }
  return rows;
}

std::string fresh_schema() {
  static std::atomic<int> next{1};
  return "test_" + std::to_string(getpid()) + "_" + std::to_string(next++);
}

}  // namespace skerry
