// Shell completion, made from the commands and options as they are declared.
#include <CLI/CLI.hpp>

#include "command.h"

namespace skerry::cli {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string bash_script(const CLI::App& app) {
  std::string names, cases;
  for (const CLI::App* command : commands_of(app)) {
    names += (names.empty() ? "" : " ") + command->get_name();
    cases += "    " + command->get_name() + ") flags=\"" + joined(flags_of(*command)) + "\" ;;\n";
  }
  return R"(# bash completion for skerry
_skerry() {
  local current="${COMP_WORDS[COMP_CWORD]}" flags=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ")" +
         names + R"( --help --version" -- "$current"))
    return
  fi
  if [ "${COMP_WORDS[1]}" = completion ]; then
    COMPREPLY=($(compgen -W "bash zsh" -- "$current"))
    return
  fi
  case "${COMP_WORDS[1]}" in
)" + cases +
         R"(  esac
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  else
    compopt -o filenames
    local IFS=$'\n'
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -F _skerry skerry
)";
}

// For a zsh specification in single quotes.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else if (c == '[' || c == ']' || c == ':' || c == '\\') {
      out += std::string("\\") + c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string zsh_script(const CLI::App& app) {
  std::string names, cases;
  for (const CLI::App* command : commands_of(app)) {
    names += "    '" + command->get_name() + ":" + zsh_text(command->get_description()) + "'\n";
    cases += "        " + command->get_name() + ")\n          _arguments";
    for (const CLI::Option* option : command->get_options()) {
      std::vector<std::string> spellings;
      for (const std::string& name : option->get_snames()) spellings.push_back("-" + name);
      for (const std::string& name : option->get_lnames()) spellings.push_back("--" + name);
      for (const std::string& spelling : spellings) {
        cases += " \\\n            '*" + spelling + "[" + zsh_text(option->get_description()) + "]";
        if (option->get_items_expected_min() > 0) cases += ":value:";
        cases += "'";
      }
    }
    cases += command->get_name() == "completion" ? " \\\n            '1:shell:(bash zsh)'"
                                                 : " \\\n            '*:path:_files'";
    cases += "\n          ;;\n";
  }
  return R"(#compdef skerry
_skerry() {
  local context state line
  typeset -A opt_args
  local -a commands
  commands=(
)" + names +
         R"(  )
  _arguments -C '1:command:->command' '*::argument:->argument'
  case $state in
    command)
      _describe -t commands command commands
      ;;
    argument)
      case $words[1] in
)" + cases +
         R"(      esac
      ;;
  esac
}
if [ "$funcstack[1]" = _skerry ]; then
  _skerry "$@"
else
  compdef _skerry skerry
fi
)";
}

}  // namespace

std::string completion_script(const std::string& shell, const CLI::App& app) {
  if (shell == "bash") return bash_script(app);
  if (shell == "zsh") return zsh_script(app);
  return "";
}

}  // namespace skerry::cli
