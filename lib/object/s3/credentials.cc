#include "object/s3/credentials.h"

#include <cerrno>
#include <fstream>
#include <iterator>

namespace skerry::s3 {
namespace {

std::string text_of(const Variables& variable, const char* name) {
  const char* const value = variable(name);
  return value == nullptr ? "" : value;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string path_of(const Variables& variable, const char* name, const char* below_home) {
  std::string path = text_of(variable, name);
  return path.empty() ? text_of(variable, "HOME") + below_home : path;
}

}  // namespace

std::map<std::string, std::string> profile_settings(std::string_view file,
                                                    std::string_view section) {
  std::map<std::string, std::string> settings;
  bool ours = false;
  while (!file.empty()) {
    const std::string_view line = file.substr(0, file.find('\n'));
    file.remove_prefix(std::min(line.size() + 1, file.size()));
    const std::string_view text = trimmed(line);
    if (text.empty() || text.front() == '#' || text.front() == ';') continue;
    if (text.front() == '[') {
      ours = trimmed(text.substr(1, text.find(']') - 1)) == section;
      continue;
    }
    const size_t equals = text.find('=');
    const bool nested = line.front() == ' ' || line.front() == '\t';  // of a setting before it
    if (!ours || nested || equals == text.npos) continue;
    settings.emplace(trimmed(text.substr(0, equals)), trimmed(text.substr(equals + 1)));
  }
  return settings;
}

Result<Credentials> find_credentials(const Location& location, const Variables& variable) {
  if (location.anonymous) return Credentials();
  Credentials found{text_of(variable, "AWS_ACCESS_KEY_ID"),
                    text_of(variable, "AWS_SECRET_ACCESS_KEY"),
                    text_of(variable, "AWS_SESSION_TOKEN")};
  if (!found.access_key.empty() && !found.secret_key.empty()) return found;
  const std::string profile = location.profile.empty() ? "default" : location.profile;
  const std::string credentials_path =
      path_of(variable, "AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials");
  const std::string config_path = path_of(variable, "AWS_CONFIG_FILE", "/.aws/config");
  for (const auto& [path, section] :
       {std::pair(credentials_path, profile),
        std::pair(config_path, profile == "default" ? profile : "profile " + profile)}) {
    auto settings = profile_settings(contents(path), section);
    found = {settings["aws_access_key_id"], settings["aws_secret_access_key"],
             settings["aws_session_token"]};
    if (!found.access_key.empty() && !found.secret_key.empty()) return found;
  }
  return Error(EACCES, "no credentials for s3://" + location.bucket +
                           ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put the profile "
                           "\"" +
                           profile + "\" into " + credentials_path +
                           ", or write anonymous=1 into the storage URL");
}

}  // namespace skerry::s3
