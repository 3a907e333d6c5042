// The program `skerry`: reads the command line, runs one command of the table.
//
// Operands never pass through CLI11: it gives "[a,b]", "++" and the names of other commands a
// meaning of their own, and a file may have any name.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "command.h"

namespace skerry::cli {
namespace {

constexpr const char* kConventions =
    "META_URL is the first operand of every command, and the paths inside the volume follow:\n"
    "  skerry ls sqlite:///srv/vol.db /dir\n"
    "With SKERRY_META_URL set it may be left out:\n"
    "  export SKERRY_META_URL=sqlite:///srv/vol.db\n"
    "  skerry ls /dir\n"
    "cp takes paths of both sides, and there a path in the volume begins with a colon:\n"
    "  skerry cp -r ./src :/dst        skerry cp -r :/dst ./back        skerry cp :/a :/b\n"
    "Paths count from the root of the volume. An operand that begins with \"-\" follows \"--\".\n"
    "\n"
    "Exit status: 0 done, 1 something failed (said on standard error), 2 wrong usage,\n"
    "130 stopped by SIGINT.\n"
    "--json: names that are not UTF-8 have each stray byte as \\xNN, and the exact bytes in "
    "base64\n"
    "beside them (\"name_base64\", \"path_base64\").";

// Takes the operands out of the arguments: what does not begin with "-", "-" itself and what
// follows "--"; the value of an option stays with it.
std::vector<std::string> take_operands(const CLI::App& command, std::vector<std::string>& args) {
  std::vector<std::string> operands, options;
  const auto wants_value = [&](const std::string& name) {
    const CLI::Option* option = command.get_option_no_throw(name);
    return option != nullptr && option->get_items_expected_min() > 0;
  };
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "--") {
      operands.insert(operands.end(), args.begin() + static_cast<ptrdiff_t>(i) + 1, args.end());
      break;
    }
    if (arg.size() < 2 || arg[0] != '-') {
      operands.push_back(arg);
      continue;
    }
    options.push_back(arg);
    bool value_follows = false;
    if (arg[1] == '-') {
      value_follows = arg.find('=') == std::string::npos && wants_value(arg);
    } else {
      // "-rm 755": the first letter that takes a value takes the rest, else the next argument.
      for (size_t letter = 1; letter < arg.size(); ++letter) {
        if (wants_value(std::string("-") + arg[letter])) {
          value_follows = letter + 1 == arg.size();
          break;
        }
      }
    }
    if (value_follows && i + 1 < args.size()) options.push_back(args[++i]);
  }
  args = options;
  return operands;
}

CommandTable make_table() {
  CommandTable table;
  add_volume_commands(table);
  add_listing_commands(table);
  add_copy_commands(table);
  add_name_commands(table);
  add_attribute_commands(table);
  add_mount_commands(table);
  add_bench_commands(table);
  add_objbench_commands(table);
  return table;
}

class UsageLine : public CLI::Formatter {
 public:
  explicit UsageLine(std::string line) : line_(std::move(line)) {}
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: skerry " + line_ + "\n";
  }

 private:
  const std::string line_;
};

void declare(const Command& command, CLI::App& app, Invocation& invocation) {
  app.formatter(std::make_shared<UsageLine>(command.name + " [OPTIONS] " + command.operands));
  // "-h" is for sizes, as in ls(1) and df(1).
  app.set_help_flag("--help", "Print this help");
  if (!command.details.empty()) app.footer(command.details);
  if (command.declare) command.declare(app);
  if (command.prints_table) app.add_flag("--json", invocation.json, "Print JSON");
  if (command.long_running) {
    app.add_flag("--progress", invocation.progress,
                 "Show progress also when standard error is no terminal");
  }
  if (command.takes_volume) {
    app.add_option("-o,--option", invocation.volume_options,
                   "Option of the opened volume, such as cache_size=1G; may be repeated")
        ->type_name("KEY=VALUE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_flag("--cost", invocation.cost,
                 "Say at the end, on standard error, what it cost in requests and bytes");
  }
}

int finish(Invocation& invocation, int status) {
  invocation.out.flush();
  if (interrupted()) return interrupted_status();
  const int error = invocation.out.error();
  if (error == EPIPE) return 128 + SIGPIPE;
  if (error != 0) {
    invocation.report.failure(std::string("standard output: ") + std::strerror(error));
    return kExitFailure;
  }
  return status;
}

int run(int argc, char** argv) {
  Output out;
  Report report;
  Invocation invocation{.out = out, .report = report};
  CommandTable table = make_table();
  table.push_back({.name = "completion",
                   .group = "Program",
                   .operands = "bash|zsh",
                   .summary = "Print a completion script for a shell",
                   .details = "Example:\n  skerry completion bash > "
                              "~/.local/share/bash-completion/completions/skerry",
                   .takes_volume = false});
  table.push_back({.name = "version",
                   .group = "Program",
                   .summary = "Print the version",
                   .takes_volume = false,
                   .prints_table = true,
                   .run = [](Invocation& self) {
                     if (self.json) {
                       self.out.document({{"version", skerry_version()}});
                     } else {
                       self.out.line(std::string("skerry ") + skerry_version());
                     }
                     return kExitOk;
                   }});

  CLI::App app("Skerry: POSIX files over object storage, without a server.", "skerry");
  app.formatter(std::make_shared<UsageLine>("COMMAND [OPTIONS] [META_URL] [OPERANDS]"));
  app.footer(kConventions);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("skerry ") + skerry_version());
  for (const Command& command : table) {
    declare(command, *app.add_subcommand(command.name, command.summary)->group(command.group),
            invocation);
  }
  for (Command& command : table) {
    if (command.name != "completion") continue;
    command.run = [&app](Invocation& self) {
      if (self.operands.size() != 1) return self.usage("completion takes one shell: bash or zsh");
      const std::string script = completion_script(self.operands[0], app);
      if (script.empty()) return self.usage("no completion for the shell " + self.operands[0]);
      self.out.write(script);
      return kExitOk;
    };
  }

  std::vector<std::string> args(argv + 1, argv + argc);
  const Command* chosen = nullptr;
  if (!args.empty()) {
    for (const Command& command : table) {
      if (command.name == args[0]) chosen = &command;
    }
  }
  std::vector<std::string> to_parse = args;
  if (chosen != nullptr) {
    to_parse.erase(to_parse.begin());
    invocation.operands = take_operands(*app.get_subcommand(chosen->name), to_parse);
    to_parse.insert(to_parse.begin(), chosen->name);
  } else if (!args.empty() && args[0][0] != '-') {
    return invocation.usage("no command is called " + args[0]);
  }
  try {
    std::vector<std::string> reversed(to_parse.rbegin(), to_parse.rend());
    app.parse(reversed);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return invocation.usage(error.what());
  }
  if (chosen == nullptr) return invocation.usage("a command is missing");
  install_signal_handlers();
  return finish(invocation, chosen->run(invocation));
}

}  // namespace

std::string Invocation::take_url() {
  if (!operands.empty() && is_url(operands.front())) {
    std::string url = operands.front();
    operands.erase(operands.begin());
    return url;
  }
  const char* preset = std::getenv("SKERRY_META_URL");
  if (preset != nullptr && *preset != '\0') return preset;
  usage("no volume: give META_URL (such as sqlite:///srv/vol.db) first, or set SKERRY_META_URL");
  return "";
}

std::unique_ptr<Session> Invocation::open(int* status) {
  const std::string url = take_url();
  if (url.empty()) {
    *status = kExitUsage;
    return nullptr;
  }
  *status = kExitFailure;
  return Session::open(url, volume_options, report, cost);
}

int Invocation::usage(const std::string& sentence) const {
  report.note(sentence);
  report.note("see skerry --help, or skerry COMMAND --help");
  return kExitUsage;
}

}  // namespace skerry::cli

int main(int argc, char** argv) {
  try {
    return skerry::cli::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "skerry: " << error.what() << "\n";
    return skerry::cli::kExitFailure;
  }
}
