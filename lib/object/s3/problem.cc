#include "object/s3/problem.h"

#include <charconv>
#include <optional>

#include "object/s3/times.h"
#include "object/s3/xml.h"

namespace skerry::s3 {
namespace {

bool may_pass(int status, const std::string& code) {
  return (status >= 500 && status != 501 && status != 507) || status == 429 || status == 408 ||
         (status == 409 && code != "RestoreAlreadyInProgress") || code == "RequestTimeout" ||
         code == "BadDigest" || code == "XAmzContentSHA256Mismatch" ||
         code == "XAmzContentChecksumMismatch";
}

bool is_throttled(int status, const std::string& code) {
  return status == 503 || status == 429 || code == "SlowDown" || code.starts_with("Throttling") ||
         code == "RequestLimitExceeded";
}

/// RFC 9110, Retry-After: seconds, or a time of the server's clock. 0 where nothing is said.
uint64_t pause_s_of(const HttpAnswer& answer) {
  const std::string_view text = answer.header("retry-after");
  uint64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size()) return seconds;
  const TimeNs then = http_time(text), now = http_time(answer.header("date"));
  return then > now && now > 0 ? static_cast<uint64_t>((then - now) / kSecond) : 0;
}

}  // namespace

int errno_of(int status, const std::string& code) {
  static constexpr std::pair<std::string_view, int> kCodes[] = {
      {"NoSuchKey", ENOENT},          {"NoSuchUpload", ENOENT},
      {"NoSuchBucket", EIO},          {"PreconditionFailed", EEXIST},
      {"InvalidRange", EINVAL},       {"InvalidPart", EINVAL},
      {"InvalidPartOrder", EINVAL},   {"EntityTooSmall", EINVAL},
      {"EntityTooLarge", EFBIG},      {"KeyTooLongError", ENAMETOOLONG},
      {"QuotaExceeded", ENOSPC},      {"XMinioStorageFull", ENOSPC},
      {"InvalidObjectState", EACCES}, {"NotImplemented", ENOTSUP},
      {"RequestTimeout", EIO},        {"RestoreAlreadyInProgress", EALREADY},
  };
  for (const auto& [name, number] : kCodes) {
    if (name == code) return number;
  }
  switch (status) {
    case 401:
    case 403:
      return EACCES;
    case 404:
      return code.empty() ? ENOENT : EIO;
    case 412:
      return EEXIST;
    case 416:
      return EINVAL;
    case 405:
    case 501:
      return ENOTSUP;
    case 507:
      return ENOSPC;
    default:
      return EIO;
  }
}

Problem::Problem(const HttpAnswer& answer) : pause_s(pause_s_of(answer)) {
  if (std::optional<boost::property_tree::ptree> xml = parse_xml(answer.text)) {
    code = text_of(*xml, "Code");
    message = text_of(*xml, "Message");
    region = text_of(*xml, "Region");
    endpoint = text_of(*xml, "Endpoint");
    storage_class = text_of(*xml, "StorageClass");
    request_id = text_of(*xml, "RequestId");
  }
  if (request_id.empty()) request_id = answer.header("x-amz-request-id");
  if (const auto header = answer.header("x-amz-bucket-region"); !header.empty()) region = header;
}

Error Problem::error(const char* method, const std::string& key, int status,
                     const Location& location) const {
  std::string text = location.describe() + ": " + method;
  if (!key.empty()) text += " " + key;
  text += ": " + std::to_string(status);
  if (!code.empty()) text += " " + code;
  if (!message.empty()) text += ", " + message;
  if (code == "InvalidObjectState") {
    text += "; it is in an archive class" +
            (storage_class.empty() ? "" : " (" + storage_class + ")") +
            ": restore it, as with aws s3api restore-object, and try again when that is done";
  }
  if (!request_id.empty()) text += " (request " + request_id + ")";
  const bool passes = may_pass(status, code);
  const std::string_view verb = method;
  return Error(errno_of(status, code), text)
      .set_retryable(passes)
      .set_throttled(is_throttled(status, code))
      .set_pause_s(pause_s)
      .set_maybe_applied(passes && verb != "GET" && verb != "HEAD");
}

}  // namespace skerry::s3
