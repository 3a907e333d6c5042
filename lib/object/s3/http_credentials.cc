#include "object/s3/http_credentials.h"

#include <arpa/inet.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "io/http_client.h"
#include "object/s3/credentials_answer.h"
#include "object/s3/xml.h"

namespace skerry::s3 {
namespace {

constexpr TimeNs kMs = 1'000'000;
constexpr int kAttempts = 3;
constexpr TimeNs kRetryPauseNs = 100 * kMs;
constexpr size_t kMaxToken = 64u << 10;

/// Services of this machine: near, and behind no proxy.
HttpOptions near() {
  HttpOptions options;
  options.connect_timeout_ns = 1000 * kMs;
  options.first_byte_timeout_ns = options.stall_timeout_ns = 2000 * kMs;
  options.max_connections = 1;
  options.direct = true;
  return options;
}

/// Any answer but those that say that they pass.
Result<HttpAnswer> ask(const OpContext& ctx, HttpClient& client, const HttpRequest& request,
                       const std::string& who) {
  for (int attempt = 1;; ++attempt) {
    Result<HttpAnswer> answer = client.perform(ctx, request);
    const bool passes = answer.ok()
                            ? answer->status >= 500 || answer->status == 429
                            : answer.error().retryable() && answer.error().code() != ETIMEDOUT;
    if (!passes || attempt == kAttempts) {
      if (answer.ok()) return answer;
      return std::move(answer).error().with_context(who);
    }
    ctx.clock->sleep_ns(attempt * kRetryPauseNs);
    SKERRY_TRY(ctx.check());
  }
}

Error refused(const std::string& who, const HttpAnswer& answer, const std::string& code) {
  const bool passes = answer.status >= 500 || answer.status == 429;
  return Error(passes ? EIO : EACCES, who + " answered " + std::to_string(answer.status) +
                                          (code.empty() ? "" : " " + code))
      .set_retryable(passes);
}

Result<std::string> read_token(const std::string& path, const char* what) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty() || text.size() > kMaxToken) {
    return Error(EACCES, std::string(what) + " " + path + " cannot be read, or holds no token");
  }
  if (text.find_first_of("\r\n") != text.npos) {
    return Error(EACCES, std::string(what) + " " + path + " holds more than one line");
  }
  return text;
}

std::string host_of(const std::string& url) {
  std::string host = url.substr(url.find("://") + 3);
  host = host.substr(0, host.find_first_of("/?#"));
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.find(':'));
}

using Form = std::vector<std::pair<std::string, std::string>>;

Result<Credentials> ask_sts(const OpContext& ctx, const StsService& sts, const std::string& action,
                            Form form, const Role& role, const Credentials& identity,
                            const std::string& secret) {
  form.emplace_back("Action", action);
  form.emplace_back("Version", "2011-06-15");
  form.emplace_back("RoleArn", role.arn);
  form.emplace_back("RoleSessionName", role.session_name);
  if (!role.external_id.empty()) form.emplace_back("ExternalId", role.external_id);
  if (!role.seconds.empty()) form.emplace_back("DurationSeconds", role.seconds);
  const std::string body = canonical_query(form);
  SignedRequest signing{"POST", "/", {}, {}};
  signing.headers = {{"content-type", "application/x-www-form-urlencoded"},
                     {"host", sts.endpoint.substr(sts.endpoint.find("://") + 3)}};
  sign(signing, hex(sha256({as_bytes(body)})), identity, {sts.region, "sts", ctx.clock->now_ns()});
  HttpOptions options;
  options.connect_timeout_ns = 5000 * kMs;
  options.first_byte_timeout_ns = options.stall_timeout_ns = 10'000 * kMs;
  options.max_connections = 1;
  options.ca_bundle = sts.ca_bundle;
  HttpClient client(std::move(options));
  const std::string who = "STS at " + sts.endpoint + ": " + action + " for " + role.arn;
  HttpRequest request{"POST", sts.endpoint + "/", std::move(signing.headers), {as_bytes(body)}, {}};
  SKERRY_ASSIGN(HttpAnswer answer, ask(ctx, client, request, who));
  if (answer.status / 100 == 2) return credentials_of_sts(answer.text, action, who);
  std::string why;
  if (const auto xml = parse_xml(answer.text)) {
    why = text_of(*xml, "Error.Code");
    const std::string message = text_of(*xml, "Error.Message");
    // A server may quote what it was sent.
    const bool quotes = (!secret.empty() && message.find(secret) != message.npos);
    if (!message.empty() && !quotes) why += ", " + message;
  }
  return refused(who, answer, why);
}

}  // namespace

Status check_container_url(const std::string& url) {
  const size_t host_at = url.find("://");
  if (host_at == url.npos || host_of(url).empty() ||
      url.substr(host_at + 3, url.find('/', host_at + 3) - host_at - 3).find('@') != url.npos) {
    return Error(EINVAL, "AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL");
  }
  if (url.starts_with("https://")) return {};
  const std::string host = host_of(url);
  in_addr four{};
  in6_addr six{}, eks{};
  inet_pton(AF_INET6, "fd00:ec2::23", &eks);
  const bool loopback4 =
      inet_pton(AF_INET, host.c_str(), &four) == 1 && (ntohl(four.s_addr) >> 24) == 127;
  const bool own6 =
      inet_pton(AF_INET6, host.c_str(), &six) == 1 &&
      (IN6_IS_ADDR_LOOPBACK(&six) || std::equal(six.s6_addr, six.s6_addr + 16, eks.s6_addr));
  if (url.starts_with("http://") && (loopback4 || own6 || host == "localhost" ||
                                     host == "169.254.170.2" || host == "169.254.170.23")) {
    return {};
  }
  return Error(EINVAL,
               "AWS_CONTAINER_CREDENTIALS_FULL_URI names the host " + host +
                   ": keys are taken over https, or over http from this machine, 169.254.170.2, "
                   "169.254.170.23 and fd00:ec2::23 alone");
}

Result<Credentials> container_credentials(const OpContext& ctx, const ContainerService& service) {
  SKERRY_TRY(check_container_url(service.url));
  std::string token = service.token;
  if (!service.token_file.empty()) {
    SKERRY_ASSIGN(token, read_token(service.token_file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
  } else if (token.find_first_of("\r\n") != token.npos) {
    return Error(EACCES, "AWS_CONTAINER_AUTHORIZATION_TOKEN holds more than one line");
  }
  HttpClient client(near());
  HttpRequest request{"GET", service.url, {{"accept", "application/json"}}, {}, {}};
  if (!token.empty()) request.headers.emplace_back("authorization", token);
  const std::string who = "the container's credentials service at " + host_of(service.url);
  SKERRY_ASSIGN(HttpAnswer answer, ask(ctx, client, request, who));
  if (answer.status != 200) return refused(who, answer, code_of_json(answer.text));
  return credentials_of_json(answer.text, who);
}

Result<Credentials> instance_credentials(const OpContext& ctx, const std::string& endpoint) {
  const std::string who = "the instance metadata service at " + endpoint;
  HttpClient client(near());
  HttpRequest request{"PUT",
                      endpoint + "/latest/api/token",
                      {{"x-aws-ec2-metadata-token-ttl-seconds", "21600"}},
                      {},
                      {}};
  SKERRY_ASSIGN(HttpAnswer answer, ask(ctx, client, request, who));
  if (answer.status != 200) return refused(who, answer, "to a request for a token");
  if (answer.text.empty() || answer.text.size() > kMaxToken ||
      answer.text.find_first_of("\r\n") != answer.text.npos) {
    return Error(EACCES, who + " gave no token");
  }
  const HttpHeaders headers = {{"x-aws-ec2-metadata-token", answer.text}};
  const std::string folder = endpoint + "/latest/meta-data/iam/security-credentials/";
  request = {"GET", folder, headers, {}, {}};
  SKERRY_ASSIGN(answer, ask(ctx, client, request, who));
  if (answer.status == 404) return Error(EACCES, who + " knows no role of this instance");
  if (answer.status != 200) return refused(who, answer, "to a request for the role's name");
  const std::string name = answer.text.substr(0, answer.text.find_first_of("\r\n"));
  if (name.empty()) return Error(EACCES, who + " knows no role of this instance");
  request = {"GET", folder + uri_encode(name, false), headers, {}, {}};
  SKERRY_ASSIGN(answer, ask(ctx, client, request, who));
  if (answer.status != 200) return refused(who, answer, "to a request for the role's keys");
  return credentials_of_json(answer.text, who);
}

Result<Credentials> web_identity_credentials(const OpContext& ctx, const StsService& sts,
                                             const Role& role, const std::string& token_file) {
  SKERRY_ASSIGN(const std::string token, read_token(token_file, "the web identity token file"));
  return ask_sts(ctx, sts, "AssumeRoleWithWebIdentity", {{"WebIdentityToken", token}}, role, {},
                 token);
}

Result<Credentials> role_credentials(const OpContext& ctx, const StsService& sts, const Role& role,
                                     const Credentials& identity) {
  return ask_sts(ctx, sts, "AssumeRole", {}, role, identity, identity.secret_key);
}

}  // namespace skerry::s3
