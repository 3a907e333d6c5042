// The command table: what each command is called, takes and does. Help and shell completion are
// made from it.
#ifndef SKERRY_BINDINGS_CLI_COMMAND_H_
#define SKERRY_BINDINGS_CLI_COMMAND_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "report.h"
#include "session.h"

namespace CLI {
class App;
}

namespace skerry::cli {

// One run of the program: the operands as they were given, and where to speak.
struct Invocation {
  std::vector<std::string> operands;  // META_URL included, if given
  std::vector<std::string> volume_options;
  bool json = false;
  bool verbose = false;
  bool progress = false;
  bool cost = false;
  Output& out;
  Report& report;

  // Takes META_URL from the front of the operands, else from SKERRY_META_URL. Empty after a
  // reported usage error.
  std::string take_url();
  // take_url() and opens it. Null after a reported failure; `status` is then the exit status.
  std::unique_ptr<Session> open(int* status);
  // Reports wrong usage; returns kExitUsage.
  int usage(const std::string& sentence) const;
  // What the reported failures amount to.
  int status() const { return report.failed() ? kExitFailure : kExitOk; }
};

struct Command {
  std::string name;
  std::string group;
  std::string operands;  // for the usage line
  std::string summary;
  std::string details;                     // examples, for --help
  bool takes_volume = true;                // -o is offered
  bool prints_table = false;               // --json is offered
  bool long_running = false;               // --progress is offered
  std::function<void(CLI::App&)> declare;  // may be empty
  std::function<int(Invocation&)> run;
};

using CommandTable = std::vector<Command>;

void add_volume_commands(CommandTable& table);
void add_listing_commands(CommandTable& table);
void add_name_commands(CommandTable& table);
void add_attribute_commands(CommandTable& table);
void add_copy_commands(CommandTable& table);
void add_mount_commands(CommandTable& table);
void add_bench_commands(CommandTable& table);
void add_objbench_commands(CommandTable& table);

// Scripts for "bash" or "zsh"; empty for any other shell.
std::string completion_script(const std::string& shell, const CLI::App& app);

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_COMMAND_H_
