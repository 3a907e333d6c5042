#include "object/s3/redirect.h"

#include <algorithm>
#include <string>

namespace skerry::s3 {
namespace {

constexpr std::string_view kTls = "https://", kPlain = "http://";

bool is_host(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == ':' || c == '[' || c == ']';
  });
}

bool set_region(const std::string& region, Location* at) {
  if (region.empty() || region == at->region) return false;
  const std::string old_name = "." + at->region + ".amazonaws.com";
  at->region = region;
  const size_t found = at->endpoint.find(old_name);
  if (found == std::string::npos) return false;
  at->endpoint.replace(found, old_name.size(), "." + region + ".amazonaws.com");
  return true;
}

/// `target`: a URL, as the header Location has it, or a host, as the element Endpoint has it.
void set_endpoint(std::string_view target, Location* at) {
  std::string_view scheme = at->endpoint.starts_with(kTls) ? kTls : kPlain;
  for (const std::string_view named : {kTls, kPlain}) {
    if (!target.starts_with(named)) continue;
    if (named == kPlain && scheme == kTls) return;
    scheme = named;
    target.remove_prefix(named.size());
    break;
  }
  std::string_view host = target.substr(0, target.find_first_of("/?"));
  const std::string_view path = target.substr(host.size());
  if (!is_host(host)) return;
  if (!at->sse_key.empty() && scheme == kPlain && !host.starts_with("127.0.0.1:")) return;
  const std::string in_name = at->bucket + ".", in_path = "/" + at->bucket;
  if (host.starts_with(in_name)) {
    host.remove_prefix(in_name.size());
    at->path_style = false;
  } else if (path.size() > 1) {
    const std::string_view behind = path.starts_with(in_path) ? path.substr(in_path.size()) : "?";
    if (!behind.empty() && behind.front() != '/' && !at->path_style) return;
    at->path_style = true;
  }
  at->endpoint = std::string(scheme).append(host);
}

}  // namespace

std::optional<Location> redirected(const Location& used, const HttpAnswer& answer,
                                   const Problem& problem) {
  const bool elsewhere =
      answer.status == 301 || answer.status == kTemporaryRedirect || answer.status == 308;
  if (!elsewhere && answer.status != 400) return std::nullopt;
  Location right = used;
  const bool by_region = set_region(problem.region, &right);
  if (elsewhere && !by_region) {
    const std::string_view header = answer.header("location");
    set_endpoint(header.empty() ? std::string_view(problem.endpoint) : header, &right);
  }
  if (right.region == used.region && right.origin() == used.origin() &&
      right.path_style == used.path_style) {
    return std::nullopt;
  }
  return right;
}

}  // namespace skerry::s3
