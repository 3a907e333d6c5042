// A private PostgreSQL server for the tests of a process: started when first asked for, stopped
// when the process has ended, however it ends. Where it cannot be started the test fails.
#pragma once

#include <string>
#include <vector>

namespace skerry {

/// The folder of its socket.
const std::string& postgres_folder();

/// "postgres://...", as the trusted user unless `who` says otherwise ("name" or "name:password").
std::string postgres_url(const std::string& schema, const std::string& who = "postgres",
                         const std::string& database = "postgres");

/// Runs statements as the trusted user; returns the first column of the last one's rows, as text.
std::vector<std::string> postgres_run(const std::string& sql);

/// A name that no other test of this process uses, nor another process's.
std::string fresh_schema();

}  // namespace skerry
