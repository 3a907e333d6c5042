#include "object/s3/credentials_answer.h"

#include <algorithm>
#include <boost/property_tree/json_parser.hpp>
#include <optional>
#include <sstream>

#include "object/s3/times.h"
#include "object/s3/xml.h"

namespace skerry::s3 {
namespace {

using boost::property_tree::ptree;

constexpr size_t kMaxBytes = 64u << 10;
constexpr std::ptrdiff_t kMaxNested = 64;  // the parser recurses
constexpr size_t kMaxCode = 64;

std::optional<ptree> parse_json(const std::string& text) {
  const auto nested =
      std::count_if(text.begin(), text.end(), [](char c) { return c == '{' || c == '['; });
  if (text.size() > kMaxBytes || nested > kMaxNested) return std::nullopt;
  try {
    std::istringstream stream(text);
    ptree tree;
    read_json(stream, tree);
    return tree;
  } catch (const boost::property_tree::ptree_error&) {
    return std::nullopt;
  }
}

/// A value that goes into a header must not be able to end it.
bool is_plain(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

Result<Credentials> checked(const ptree& tree, const char* token, const std::string& who) {
  Credentials found{text_of(tree, "AccessKeyId"), text_of(tree, "SecretAccessKey"),
                    text_of(tree, token)};
  if (found.access_key.empty() || found.secret_key.empty()) {
    return Error(EACCES, who + " gave no AccessKeyId and SecretAccessKey");
  }
  if (!is_plain(found.access_key) || !is_plain(found.session_token)) {
    return Error(EACCES, who + " gave keys that hold blanks or line ends");
  }
  const std::string expires = text_of(tree, "Expiration");
  if (!expires.empty()) {
    found.expires_ns = xml_time(expires);
    if (found.expires_ns == 0) return Error(EACCES, who + " gave an Expiration that is no time");
  }
  return found;
}

}  // namespace

Result<Credentials> credentials_of_json(const std::string& text, const std::string& who) {
  const std::optional<ptree> json = parse_json(text);
  if (!json) return Error(EACCES, who + " gave no JSON");
  const std::string code = text_of(*json, "Code");
  if (!code.empty() && code != "Success") {
    return Error(EACCES, who + " gave no keys: " + code_of_json(text));
  }
  return checked(*json, "Token", who);
}

Result<Credentials> credentials_of_process(const std::string& text, const std::string& who) {
  const std::optional<ptree> json = parse_json(text);
  if (!json) return Error(EACCES, who + " gave no JSON");
  if (text_of(*json, "Version") != "1") {
    return Error(EACCES, who + " gave an answer without \"Version\": 1");
  }
  return checked(*json, "SessionToken", who);
}

Result<Credentials> credentials_of_sts(const std::string& text, const std::string& action,
                                       const std::string& who) {
  const std::optional<ptree> xml =
      text.size() <= kMaxBytes ? parse_xml(text) : std::optional<ptree>();
  const auto found = xml ? xml->get_child_optional(action + "Result.Credentials")
                         : boost::optional<const ptree&>();
  if (!found) return Error(EACCES, who + " gave no Credentials");
  return checked(*found, "SessionToken", who);
}

std::string code_of_json(const std::string& text) {
  const std::optional<ptree> json = parse_json(text);
  if (!json) return "";
  std::string code = text_of(*json, "Code");
  if (code.empty()) code = text_of(*json, "code");
  const bool shown = code.size() <= kMaxCode && std::all_of(code.begin(), code.end(), [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.';
                     });
  return shown ? code : "";
}

}  // namespace skerry::s3
