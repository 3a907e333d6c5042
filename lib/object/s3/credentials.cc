#include "object/s3/credentials.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "object/s3/http_credentials.h"
#include "object/s3/process_credentials.h"

namespace skerry::s3 {
namespace {

std::string value_of(const Variables& variable, const char* name) {
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
  std::string path = value_of(variable, name);
  return path.empty() ? value_of(variable, "HOME") + below_home : path;
}

constexpr const char* kVariables[] = {
    "HOME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
};
constexpr int kMaxProfiles = 8;  // from one role to the next
constexpr char kContainerHost[] = "http://169.254.170.2";

bool is_complete(const Credentials& keys) {
  return !keys.access_key.empty() && !keys.secret_key.empty();
}

using Settings = std::map<std::string, std::string>;

std::string setting(const Settings& settings, const char* name) {
  const auto found = settings.find(name);
  return found == settings.end() ? "" : found->second;
}

/// What the sources look at. The environment is as it was when the store was opened.
class Chain {
 public:
  Chain(const Location& location, const Variables& variable) : location_(location) {
    for (const char* name : kVariables) {
      if (const char* const value = variable(name); value != nullptr) variables_[name] = value;
    }
  }

  /// Empty if nothing is set up.
  Result<CredentialsSource> choose(std::shared_ptr<const Chain> self) const;
  std::string variable(const char* name) const { return setting(variables_, name); }
  Credentials environment_keys() const {
    return {variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"),
            variable("AWS_SESSION_TOKEN")};
  }

 private:
  Settings profile(const std::string& name) const;
  bool is_set_up(const Settings& profile) const;
  Result<Credentials> of_profile(const OpContext& ctx, const std::string& name, int depth) const;
  Result<Credentials> of_role(const OpContext& ctx, const std::string& name,
                              const Settings& settings, int depth) const;
  Result<Credentials> of_container(const OpContext& ctx) const;
  Result<Credentials> of_instance(const OpContext& ctx) const;
  StsService sts() const;
  std::string session_name(const std::string& wanted, const OpContext& ctx) const;
  const std::string& profile_name() const {
    static const std::string kDefault = "default";
    return location_.profile.empty() ? kDefault : location_.profile;
  }
  bool container_set_up() const {
    return !variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").empty() ||
           !variable("AWS_CONTAINER_CREDENTIALS_FULL_URI").empty();
  }
  bool instance_disabled() const {
    std::string disabled = variable("AWS_EC2_METADATA_DISABLED");
    std::transform(disabled.begin(), disabled.end(), disabled.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return disabled == "true";
  }

  const Location location_;
  Settings variables_;
};

/// Of both files; the credentials file's settings come first.
Settings Chain::profile(const std::string& name) const {
  const Variables variable = [this](const char* key) -> const char* {
    const auto found = variables_.find(key);
    return found == variables_.end() ? nullptr : found->second.c_str();
  };
  Settings settings = profile_settings(
      contents(path_of(variable, "AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials")), name);
  Settings config = profile_settings(contents(path_of(variable, "AWS_CONFIG_FILE", "/.aws/config")),
                                     name == "default" ? name : "profile " + name);
  // Keys are not put together from two files.
  if (settings.contains("aws_access_key_id")) config.erase("aws_session_token");
  settings.merge(config);
  return settings;
}

bool Chain::is_set_up(const Settings& profile) const {
  return std::any_of(profile.begin(), profile.end(), [](const auto& entry) {
    return entry.first == "role_arn" || entry.first == "aws_access_key_id" ||
           entry.first == "credential_process" || entry.first.starts_with("sso_");
  });
}

StsService Chain::sts() const {
  std::string endpoint = variable("AWS_ENDPOINT_URL_STS");
  if (endpoint.empty()) endpoint = variable("AWS_ENDPOINT_URL");
  if (endpoint.empty()) {
    endpoint = "https://sts." + location_.region + ".amazonaws.com";
    if (location_.region.starts_with("cn-")) endpoint += ".cn";
  }
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return {endpoint, location_.region, location_.ca_bundle};
}

std::string Chain::session_name(const std::string& wanted, const OpContext& ctx) const {
  return wanted.empty() ? "skerry-" + std::to_string(ctx.clock->now_ns() / 1'000'000'000) : wanted;
}

Result<Credentials> Chain::of_container(const OpContext& ctx) const {
  const std::string relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  if (!relative.empty() && relative.front() != '/') {
    return Error(EINVAL, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with a '/'");
  }
  return container_credentials(ctx,
                               {relative.empty() ? variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")
                                                 : kContainerHost + relative,
                                variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
                                variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")});
}

Result<Credentials> Chain::of_instance(const OpContext& ctx) const {
  std::string endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (endpoint.empty()) {
    std::string mode = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    endpoint =
        mode == "IPv6" || mode == "ipv6" ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
  }
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return instance_credentials(ctx, endpoint);
}

Result<Credentials> Chain::of_role(const OpContext& ctx, const std::string& name,
                                   const Settings& settings, int depth) const {
  const std::string about = "profile \"" + name + "\"";
  const Role role{setting(settings, "role_arn"),
                  session_name(setting(settings, "role_session_name"), ctx),
                  setting(settings, "external_id"), setting(settings, "duration_seconds")};
  if (settings.contains("mfa_serial")) {
    return Error(EACCES, about +
                             " has mfa_serial, and nobody can be asked for its code; fetch keys "
                             "with credential_process");
  }
  const std::string token_file = setting(settings, "web_identity_token_file");
  if (!token_file.empty()) return web_identity_credentials(ctx, sts(), role, token_file);
  const std::string source = setting(settings, "credential_source");
  const std::string base = setting(settings, "source_profile");
  if (!source.empty() == !base.empty()) {
    return Error(EACCES, about +
                             " has role_arn, which needs one of source_profile, "
                             "credential_source and web_identity_token_file");
  }
  Result<Credentials> identity = Error(
      EACCES, about +
                  " has an unknown credential_source; write Environment, Ec2InstanceMetadata or "
                  "EcsContainer");
  if (base == name) {
    // The profile's own keys become the role.
    Settings own = settings;
    own.erase("role_arn");
    identity = Credentials{setting(own, "aws_access_key_id"), setting(own, "aws_secret_access_key"),
                           setting(own, "aws_session_token")};
  } else if (!base.empty()) {
    identity = of_profile(ctx, base, depth + 1);
  } else if (source == "Environment") {
    identity = environment_keys();
  } else if (source == "Ec2InstanceMetadata") {
    identity = of_instance(ctx);
  } else if (source == "EcsContainer") {
    identity = of_container(ctx);
  }
  if (!identity.ok()) return identity;
  if (!is_complete(*identity)) {
    return Error(EACCES, about + " has role_arn, and what it names as source holds no keys");
  }
  return role_credentials(ctx, sts(), role, *identity);
}

Result<Credentials> Chain::of_profile(const OpContext& ctx, const std::string& name,
                                      int depth) const {
  if (depth == kMaxProfiles) {
    return Error(EACCES, "profile \"" + name +
                             "\": source_profile leads from one to the next and "
                             "never to keys");
  }
  const Settings settings = profile(name);
  if (settings.contains("role_arn")) return of_role(ctx, name, settings, depth);
  const Credentials keys{setting(settings, "aws_access_key_id"),
                         setting(settings, "aws_secret_access_key"),
                         setting(settings, "aws_session_token")};
  if (is_complete(keys)) return keys;
  const std::string command = setting(settings, "credential_process");
  if (!command.empty()) return run_credential_process(ctx, command);
  for (const auto& [key, value] : settings) {
    if (!key.starts_with("sso_")) continue;
    return Error(EACCES, "profile \"" + name +
                             "\" signs in with SSO; write into another profile "
                             "\"credential_process = aws configure export-credentials --profile " +
                             name + "\", and use that one");
  }
  return Error(EACCES, "profile \"" + name + "\" holds no keys, or not all of them");
}

Result<CredentialsSource> Chain::choose(std::shared_ptr<const Chain> self) const {
  const bool named = location_.profile_in_url;
  if (!named && is_complete(environment_keys())) {
    return CredentialsSource(
        [self](const OpContext&) -> Result<Credentials> { return self->environment_keys(); });
  }
  const std::string token_file = variable("AWS_WEB_IDENTITY_TOKEN_FILE");
  if (!named && !token_file.empty()) {
    if (variable("AWS_ROLE_ARN").empty()) {
      return Error(EACCES, "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not");
    }
    return CredentialsSource([self, token_file](const OpContext& ctx) {
      const Role role{self->variable("AWS_ROLE_ARN"),
                      self->session_name(self->variable("AWS_ROLE_SESSION_NAME"), ctx), "", ""};
      return web_identity_credentials(ctx, self->sts(), role, token_file);
    });
  }
  if (is_set_up(profile(profile_name()))) {
    return CredentialsSource(
        [self](const OpContext& ctx) { return self->of_profile(ctx, self->profile_name(), 0); });
  }
  if (!named && container_set_up()) {
    return CredentialsSource([self](const OpContext& ctx) { return self->of_container(ctx); });
  }
  if (!named && !instance_disabled()) {
    return CredentialsSource([self](const OpContext& ctx) { return self->of_instance(ctx); });
  }
  return CredentialsSource();
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
  Credentials found{value_of(variable, "AWS_ACCESS_KEY_ID"),
                    value_of(variable, "AWS_SECRET_ACCESS_KEY"),
                    value_of(variable, "AWS_SESSION_TOKEN")};
  if (is_complete(found)) return found;
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
    if (is_complete(found)) return found;
  }
  return Error(EACCES, "no credentials for s3://" + location.bucket +
                           ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put the profile "
                           "\"" +
                           profile + "\" into " + credentials_path +
                           ", or write anonymous=1 into the storage URL");
}

Result<std::shared_ptr<CredentialsProvider>> make_credentials(const Location& location,
                                                              const Variables& variable,
                                                              Clock& clock) {
  if (location.anonymous) return fixed_credentials({});
  const auto chain = std::make_shared<const Chain>(location, variable);
  SKERRY_ASSIGN(CredentialsSource source, chain->choose(chain));
  if (!source) {
    SKERRY_ASSIGN(Credentials keys, find_credentials(location, variable));
    return fixed_credentials(std::move(keys));
  }
  return std::shared_ptr<CredentialsProvider>(
      std::make_shared<CachedCredentials>(std::move(source), clock));
}

}  // namespace skerry::s3
