#include "object/s3/location.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <map>
#include <tuple>

#include "base/percent.h"

namespace skerry::s3 {
namespace {

constexpr char kExample[] = "write s3://bucket/prefix?endpoint=https://host&region=name";

Error invalid(std::string_view url, const std::string& why) {
  return Error(EINVAL,
               "\"" + std::string(url.substr(0, url.find('?'))) + "\" " + why + "; " + kExample);
}

/// "Bucket naming rules" of the S3 user guide; old buckets may have capitals and underscores.
bool is_bucket(std::string_view name) {
  return name.size() >= 3 && name.size() <= 255 &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_';
         });
}

constexpr size_t kSseKeyBytes = 32, kSseKeyText = 44;

Status check_encryption(std::string_view url, const Location& at, bool tls) {
  if (!at.sse.empty() && at.sse != "s3" && at.sse != "kms" && at.sse != "customer") {
    return invalid(url, "has sse=" + at.sse + ", which is none of s3, kms and customer");
  }
  if (!at.kms_key.empty() && at.sse != "kms") return invalid(url, "has kms_key without sse=kms");
  if ((at.sse == "customer") == at.sse_key_file.empty()) {
    return invalid(url, "has one of sse=customer and sse_key_file, and needs both");
  }
  const std::string_view host = std::string_view(at.endpoint).substr(at.endpoint.find("://") + 3);
  if (at.sse == "customer" && !tls && !host.starts_with("127.0.0.1:")) {
    return invalid(url, "has sse=customer over http, which would show the key to the network");
  }
  return {};
}

}  // namespace

std::string Location::describe() const {
  return "s3://" + bucket + (prefix.empty() ? "" : "/" + prefix.substr(0, prefix.size() - 1)) +
         " at " + endpoint;
}

std::string Location::host() const {
  const std::string name = endpoint.substr(endpoint.find("://") + 3);
  return path_style ? name : bucket + "." + name;
}

std::string Location::origin() const {
  return endpoint.substr(0, endpoint.find("://") + 3) + host();
}

std::string Location::path(std::string_view key) const {
  std::string path = path_style ? "/" + bucket : "";
  if (!key.empty() || !path_style) path += "/";
  return path.append(key);
}

Result<Location> parse_location(std::string_view url,
                                const std::function<const char*(const char*)>& variable) {
  Location at;
  std::string_view rest = url;
  if (!rest.starts_with("s3://")) return invalid(url, "is not a URL of S3");
  rest.remove_prefix(5);
  std::string_view query;
  if (const size_t mark = rest.find('?'); mark != rest.npos) {
    query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  if (rest.find('@') != rest.npos) {
    return Error(EINVAL,
                 "credentials do not belong into a storage URL, which is kept in the metadata; set "
                 "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile");
  }
  const size_t slash = rest.find('/');
  at.bucket = rest.substr(0, slash);
  if (!is_bucket(at.bucket)) return invalid(url, "names no bucket");
  if (slash != rest.npos && !percent_decode(rest.substr(slash + 1), &at.prefix)) {
    return invalid(url, "has a '%' that two hexadecimal digits do not follow");
  }
  while (!at.prefix.empty() && at.prefix.back() == '/') at.prefix.pop_back();
  if (!at.prefix.empty()) at.prefix += '/';

  std::string style, payload, anonymous, requester_pays, dual_stack, fips;
  const std::map<std::string_view, std::string*> settings = {
      {"endpoint", &at.endpoint},
      {"region", &at.region},
      {"style", &style},
      {"profile", &at.profile},
      {"payload", &payload},
      {"storage_class", &at.storage_class},
      {"ca_bundle", &at.ca_bundle},
      {"anonymous", &anonymous},
      {"sse", &at.sse},
      {"kms_key", &at.kms_key},
      {"sse_key_file", &at.sse_key_file},
      {"requester_pays", &requester_pays},
      {"dual_stack", &dual_stack},
      {"fips", &fips},
      {"tags", &at.tags},
      {"proxy", &at.proxy},
      {"user_agent", &at.user_agent},
  };
  while (!query.empty()) {
    const std::string_view setting = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(setting.size() + 1, query.size()));
    if (setting.empty()) continue;
    const size_t equals = setting.find('=');
    const std::string_view name = setting.substr(0, equals);
    const auto known = settings.find(name);
    if (known == settings.end()) {
      return invalid(url, "has the unknown parameter \"" + std::string(name) + "\"");
    }
    if (equals == setting.npos || !percent_decode(setting.substr(equals + 1), known->second)) {
      return invalid(url, "has no value for \"" + std::string(name) + "\"");
    }
  }
  auto from_environment = [&](std::string* setting, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      const char* const value = variable(name);
      if (setting->empty() && value != nullptr) *setting = value;
    }
  };
  from_environment(&at.endpoint, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  from_environment(&at.region, {"AWS_REGION", "AWS_DEFAULT_REGION"});
  at.profile_in_url = !at.profile.empty();
  from_environment(&at.profile, {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"});
  from_environment(&at.ca_bundle, {"AWS_CA_BUNDLE"});
  if (at.region.empty()) at.region = "us-east-1";

  const bool custom = !at.endpoint.empty();
  if (!custom) {
    at.endpoint = std::string("https://s3") + (fips == "1" ? "-fips." : ".") +
                  (dual_stack == "1" ? "dualstack." : "") + at.region + ".amazonaws.com";
    if (at.region.starts_with("cn-")) at.endpoint += ".cn";
  }
  while (at.endpoint.ends_with('/')) at.endpoint.pop_back();
  const bool tls = at.endpoint.starts_with("https://");
  if ((!tls && !at.endpoint.starts_with("http://")) ||
      at.endpoint.find_first_of("/?#@", at.endpoint.find("://") + 3) != std::string::npos ||
      at.endpoint.ends_with("://")) {
    return invalid(url,
                   "has the endpoint \"" + at.endpoint + "\", which is no http(s)://host[:port]");
  }
  // A dot in a bucket's name is not covered by the certificate of the servers.
  at.path_style = custom || at.bucket.find('.') != std::string::npos;
  at.sign_payload = !tls;
  auto choose = [&](const std::string& value, const char* yes, const char* no, bool* flag) {
    if (value.empty()) return true;
    *flag = value == yes;
    return value == yes || value == no;
  };
  if (!choose(style, "path", "virtual", &at.path_style)) {
    return invalid(url, "has style=" + style + ", which is neither path nor virtual");
  }
  if (!choose(payload, "signed", "unsigned", &at.sign_payload)) {
    return invalid(url, "has payload=" + payload + ", which is neither signed nor unsigned");
  }
  if (!choose(anonymous, "1", "0", &at.anonymous)) {
    return invalid(url, "has anonymous=" + anonymous + ", which is neither 0 nor 1");
  }
  bool unused = false;
  for (const auto& [name, value, flag] :
       {std::tuple("requester_pays", requester_pays, &at.requester_pays),
        {"dual_stack", dual_stack, &unused},
        {"fips", fips, &unused}}) {
    if (!choose(value, "1", "0", flag)) {
      return invalid(url, "has " + std::string(name) + "=" + value + ", which is neither 0 nor 1");
    }
  }
  if (custom && (dual_stack == "1" || fips == "1")) {
    return invalid(url, "has dual_stack or fips, which are of AWS's endpoints alone");
  }
  SKERRY_TRY(check_encryption(url, at, tls));
  for (const auto& [name, value] : {std::pair("tags", at.tags),
                                    {"user_agent", at.user_agent},
                                    {"proxy", at.proxy},
                                    {"kms_key", at.kms_key}}) {
    const bool plain =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
    if (!plain) return invalid(url, "has line ends or no ASCII in " + std::string(name));
  }
  if (at.proxy.find('@') != std::string::npos) {
    return Error(EINVAL,
                 "a proxy's password does not belong into a storage URL, which is kept in "
                 "the metadata; set HTTPS_PROXY");
  }
  return at;
}

Status read_sse_key(Location* location) {
  if (location->sse != "customer") return {};
  const std::string about = "sse_key_file " + location->sse_key_file;
  std::ifstream file(location->sse_key_file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return Error(EACCES, about + " cannot be read");
  if (text.size() != kSseKeyBytes) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    // 32 bytes are 44 characters, the last of them a filler.
    std::string decoded(kSseKeyBytes + 1, '\0');
    if (text.size() != kSseKeyText || text.back() != '=' ||
        EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                        reinterpret_cast<const unsigned char*>(text.data()),
                        static_cast<int>(text.size())) != static_cast<int>(decoded.size())) {
      return Error(EINVAL, about + " holds neither 32 bytes nor the base64 of 32 bytes");
    }
    decoded.pop_back();
    text = std::move(decoded);
  }
  location->sse_key = std::move(text);
  return {};
}

}  // namespace skerry::s3
