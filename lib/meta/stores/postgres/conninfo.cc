#include "meta/stores/postgres/conninfo.h"

#include <libpq-fe.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/percent.h"

namespace skerry::meta::postgres {

namespace {

constexpr char kExample[] = "postgres://user@host/database?schema=name";

Status check_schema(const std::string& schema) {
  constexpr size_t kMaxIdentifier = 63;  // PostgreSQL cuts what is longer
  if (schema.empty() || schema.size() > kMaxIdentifier || schema.starts_with("pg_") ||
      schema == "public" || schema == "information_schema" ||
      schema.find('\0') != std::string::npos) {
    return Error(EINVAL,
                 "the schema of a volume is a name of 1 to 63 bytes of its own, not public and "
                 "not the system's; write schema=name");
  }
  return {};
}

/// Takes `schema=` out of the part after the question mark.
Status split_schema(std::string_view url, ConnInfo* info) {
  info->schema = "skerry";
  const size_t question = url.find('?');
  info->uri = url.substr(0, question);
  if (question == std::string_view::npos) return {};
  std::string_view rest = url.substr(question + 1);
  char separator = '?';
  while (!rest.empty()) {
    const size_t end = rest.find('&');
    const std::string_view part = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (part.starts_with("schema=")) {
      if (!percent_decode(part.substr(strlen("schema=")), &info->schema)) {
        return Error(EINVAL, "the metadata URL's schema has a broken %XX");
      }
      continue;
    }
    info->uri += separator;
    info->uri += part;
    separator = '&';
  }
  return {};
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t comma = list.find(',', begin);
    parts.push_back(list.substr(begin, comma - begin));
    if (comma == std::string::npos) return parts;
    begin = comma + 1;
  }
}

/// libpq's lists: as many hosts, addresses or both; one port for all, or as many.
std::vector<Host> hosts_of(const std::string& host, const std::string& address,
                           const std::string& port) {
  const std::vector<std::string> hosts = split(host), addresses = split(address),
                                 ports = split(port);
  std::vector<Host> out(std::max(hosts.size(), addresses.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    if (i < hosts.size()) out[i].host = hosts[i];
    if (i < addresses.size()) out[i].address = addresses[i];
    out[i].port = ports.size() == 1 ? ports[0] : i < ports.size() ? ports[i] : "";
  }
  return out;
}

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

}  // namespace

Result<ConnInfo> parse_url(std::string_view url) {
  ConnInfo info;
  if (url.find('\0') != std::string_view::npos) return Error(EINVAL, "the metadata URL has a NUL");
  SKERRY_TRY(split_schema(url, &info));
  SKERRY_TRY(check_schema(info.schema));
  char* reason = nullptr;
  std::unique_ptr<PQconninfoOption, FreeOptions> options(
      PQconninfoParse(info.uri.c_str(), &reason));
  PQfreemem(reason);
  if (options == nullptr) {
    return Error(EINVAL,
                 std::string("the metadata URL is not one that PostgreSQL understands; write ") +
                     kExample + ", with %XX for special characters in names and passwords");
  }
  std::string host, address, port, database;
  for (const PQconninfoOption* o = options.get(); o->keyword != nullptr; ++o) {
    if (o->val == nullptr) continue;
    if (strcmp(o->keyword, "host") == 0) host = o->val;
    if (strcmp(o->keyword, "hostaddr") == 0) address = o->val;
    if (strcmp(o->keyword, "port") == 0) port = o->val;
    if (strcmp(o->keyword, "dbname") == 0) database = o->val;
    if (strcmp(o->keyword, "connect_timeout") == 0) info.connect_timeout_s = std::atoi(o->val);
  }
  info.shown = "postgres://" + host + (port.empty() ? "" : ":") + port + "/" + database +
               "?schema=" + info.schema;
  info.hosts = hosts_of(host, address, port);
  return info;
}

}  // namespace skerry::meta::postgres
