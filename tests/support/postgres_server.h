// A private PostgreSQL server for the tests of a process: started when first asked for, stopped
// when the process has ended, however it ends. Where it cannot be started the test fails.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace skerry {

/// The folder of its socket.
const std::string& postgres_folder();

/// "postgres://...", as the trusted user unless `who` says otherwise ("name" or "name:password").
std::string postgres_url(const std::string& schema, const std::string& who = "postgres",
                         const std::string& database = "postgres");

/// Runs statements as the trusted user; returns the first column of the last one's rows, as text.
std::vector<std::string> postgres_run(const std::string& sql);

/// A session of the trusted user, for what must stay open: locks, mostly. Fails the test on errors.
class PostgresSession {
 public:
  PostgresSession();
  ~PostgresSession();
  std::vector<std::string> run(const std::string& sql);

 private:
  void* connection_;
};

/// Stands between a client and the private server, as a network does.
class PostgresProxy {
 public:
  enum class Mode {
    kPass,
    kLoseAnswers,   // what clients send arrives; the first answer ends the connection
    kLoseRequests,  // the first thing that a client sends ends the connection, unseen
  };
  PostgresProxy();
  ~PostgresProxy();
  std::string url(const std::string& schema) const;
  void set(Mode mode) { mode_ = mode; }
  /// How often a client has sent something after an answer, over all connections.
  uint64_t round_trips() const { return round_trips_; }

 private:
  void serve();
  void forward(int client);

  std::string folder_;
  int listener_ = -1;
  std::atomic<Mode> mode_{Mode::kPass};
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> round_trips_{0};
  std::thread acceptor_;
  std::vector<std::thread> connections_;  // the acceptor's
};

/// A name that no other test of this process uses, nor another process's.
std::string fresh_schema();

}  // namespace skerry
