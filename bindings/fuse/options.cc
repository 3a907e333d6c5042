#include "options.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace skerry::fuse {
namespace {

// What mount(2) or fusermount3 understand, handed on as it is.
constexpr std::array kKernelFlags = {
    "allow_other", "allow_root", "auto_unmount", "nosuid", "nodev", "noexec", "noatime",
    "sync",        "dirsync",    "suid",         "dev",    "exec",  "async",  "atime",
};
// The kernel leaves access times of such a mount to us.
constexpr std::array kAccessTimes = {"noatime", "relatime", "strictatime"};
// What mount(8) and systemd keep for themselves.
constexpr std::array kIgnoredFlags = {
    "defaults",
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "rw",
    "nonempty",
    "default_permissions",
    "lazytime",
    "nolazytime",
    "norelatime",
    "nodiratime",
    "diratime",
};

template <typename List>
bool contains(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool parse_number(const std::string& text, double* value) {
  errno = 0;
  char* end = nullptr;
  *value = std::strtod(text.c_str(), &end);
  return errno == 0 && end != text.c_str() && *end == '\0' && *value >= 0;
}

bool parse_seconds(const std::string& text, double* value) {
  // The kernel counts in jiffies: longer than a century means for ever.
  return parse_number(text, value) && *value <= 4e9;
}

bool parse_size(std::string text, uint32_t* value) {
  double factor = 1;
  if (!text.empty()) {
    constexpr std::string_view kSuffixes = "KMG";
    const size_t at = kSuffixes.find(static_cast<char>(std::toupper(text.back())));
    if (at != std::string_view::npos) {
      for (size_t i = 0; i <= at; ++i) factor *= 1024;
      text.pop_back();
    }
  }
  double number = 0;
  if (!parse_number(text, &number) || number * factor > UINT32_MAX) return false;
  *value = static_cast<uint32_t>(number * factor);
  return true;
}

/// "%70assword" is a password too. What is broken stays.
std::string percent_decoded(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool code = text[i] == '%' && i + 2 < text.size() &&
                      std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
                      std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0;
    if (!code) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return out;
}

bool parse_octal(const std::string& text, uint32_t* value) {
  char* end = nullptr;
  const unsigned long number = std::strtoul(text.c_str(), &end, 8);
  if (text.empty() || *end != '\0' || number > 0777) return false;
  *value = static_cast<uint32_t>(number);
  return true;
}

bool take_flag(const std::string& word, Options* options) {
  if (contains(kAccessTimes, word)) options->volume.push_back("atime=" + word);
  if (word == "ro") {
    options->read_only = true;
  } else if (word == "remount") {
    options->remount = true;
  } else if (word == "no_default_permissions") {
    options->default_permissions = false;
  } else if (word == "writeback_cache") {
    options->writeback = true;
  } else if (word == "local_locks") {
    options->local_locks = true;
  } else if (word == "debug") {
    options->debug = options->foreground = true;
  } else if (contains(kKernelFlags, word)) {
    options->kernel.push_back(word);
  } else {
    return contains(kIgnoredFlags, word) || contains(kAccessTimes, word);
  }
  return true;
}

bool take_setting(const std::string& key, const std::string& value, Options* options) {
  double seconds = 0;
  if (key == "subdir") {
    options->subdir = value;
  } else if (key == "umask") {
    uint32_t mask = 0;
    if (!parse_octal(value, &mask)) return false;
    options->umask = mask;
  } else if (key == "attr_timeout") {
    if (!parse_seconds(value, &seconds)) return false;
    options->attr_timeout = seconds;
  } else if (key == "entry_timeout") {
    if (!parse_seconds(value, &seconds)) return false;
    options->entry_timeout = seconds;
  } else if (key == "negative_timeout") {
    return parse_seconds(value, &options->negative_timeout);
  } else if (key == "max_io") {
    return parse_size(value, &options->max_io) && options->max_io >= 4096;
  } else if (key == "read_ahead") {
    return parse_size(value, &options->read_ahead);
  } else if (key == "threads") {
    return parse_size(value, &options->threads) && options->threads >= 1 &&
           options->threads <= 4096;
  } else if (key == "max_background") {
    return parse_size(value, &options->max_background) && options->max_background >= 1 &&
           options->max_background <= 65535;
  } else if (key.starts_with("x-") || key == "comment") {
    return true;
  } else {
    options->volume.push_back(key + "=" + value);
  }
  return true;
}

/// "cache_size=1G,secret=x" without the values of secrets.
std::string without_secret_words(const std::string& words) {
  std::string shown;
  for (size_t begin = 0; begin <= words.size();) {
    const size_t end = std::min(words.find(',', begin), words.size());
    const size_t equals = std::min(words.find('=', begin), end);
    const bool hidden = equals < end && is_secret(words.substr(begin, equals - begin));
    if (begin > 0) shown += ',';
    shown += words.substr(begin, (hidden ? equals + 1 : end) - begin);
    begin = end + 1;
  }
  return shown;
}

bool take_words(const std::string& words, Options* options, std::string* error) {
  for (size_t begin = 0; begin <= words.size();) {
    const size_t end = std::min(words.find(',', begin), words.size());
    const std::string word = words.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = word.find('=');
    const bool known = equals == std::string::npos
                           ? word.empty() || word.starts_with("x-") || take_flag(word, options)
                           : take_setting(word.substr(0, equals), word.substr(equals + 1), options);
    if (known) continue;
    *error = "-o " + word +
             (equals == std::string::npos ? ": there is no such option" : ": not a value for it");
    return false;
  }
  return true;
}

/// mount(8) hands on "nosuid" and "nodev", and not their opposites, which are its defaults; libfuse
/// has it the other way round.
void take_defaults_of_mount(const char* program, Options* options) {
  const std::string_view path = program;
  if (!path.substr(path.rfind('/') + 1).starts_with("mount.") || geteuid() != 0) return;
  for (const std::string word : {"suid", "dev"}) {
    if (contains(options->kernel, word) || contains(options->kernel, "no" + word)) continue;
    options->kernel.push_back(word);
  }
}

}  // namespace

bool parse_arguments(int argc, char** argv, Options* options, std::string* error) {
  std::vector<std::string> operands;
  bool only_operands = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (only_operands || argument.size() < 2 || argument[0] != '-') {
      operands.push_back(argument);
      continue;
    }
    if (argument == "--") {
      only_operands = true;
      continue;
    }
    if (argument == "--help") return false;
    for (size_t letter = 1; letter < argument.size(); ++letter) {
      switch (argument[letter]) {
        case 'f':
          options->foreground = true;
          break;
        case 'd':
          options->debug = options->foreground = true;
          break;
        case 's':  // of mount(8): sloppy, fake, no mtab, verbose
        case 'n':
        case 'v':
          break;
        case 'o': {
          std::string words = argument.substr(letter + 1);
          if (words.empty()) {
            if (++i == argc) {
              *error = "-o wants options";
              return false;
            }
            words = argv[i];
          }
          if (!take_words(words, options, error)) return false;
          letter = argument.size();
          break;
        }
        default:
          *error = std::string("-") + argument[letter] + ": there is no such option";
          return false;
      }
    }
  }
  if (operands.size() != 2) {
    *error = "META_URL and DIR are wanted";
    return false;
  }
  if (options->writeback && !options->default_permissions) {
    *error = "-o writeback_cache wants the kernel to check permissions (default_permissions)";
    return false;
  }
  options->url = operands[0];
  options->directory = operands[1];
  if (options->read_only) options->volume.push_back("read_only=1");
  take_defaults_of_mount(argv[0], options);
  return true;
}

bool is_secret(std::string_view name) {
  constexpr std::array kWords = {"pass", "secret", "key", "token", "credential"};
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](const char* word) { return lower.find(word) != std::string::npos; });
}

std::string without_secret(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const size_t host = scheme + 3;
  // libpq's URIs: the user's part ends at the last '@' before a slash, whatever else is in it.
  const size_t slash = std::min(url.find('/', host), url.size());
  const size_t at = url.rfind('@', slash);
  std::string shown = url.substr(0, host);
  size_t next = host;
  if (at != std::string::npos && at >= host) {
    shown += url.substr(host, std::min(url.find(':', host), at) - host);
    next = at;
  }
  const size_t query = std::min(url.find('?', next), url.size());
  shown += url.substr(next, query - next);
  for (size_t begin = query; begin < url.size();) {
    const size_t end = std::min(url.find('&', begin + 1), url.size());
    const size_t equals = url.find('=', begin);
    const bool hidden =
        equals < end && is_secret(percent_decoded(url.substr(begin + 1, equals - begin - 1)));
    shown += url.substr(begin, (hidden ? equals + 1 : end) - begin);
    begin = end;
  }
  return shown;
}

void hide_secrets(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string before = argv[i];
    const bool is_url = before.find("://") < before.find('=');
    const std::string after = without_secret(is_url ? before : without_secret_words(before));
    // It is never longer.
    std::memset(argv[i], 0, before.size());
    std::memcpy(argv[i], after.data(), std::min(after.size(), before.size()));
  }
}

}  // namespace skerry::fuse
