#include "object/s3/s3_store.h"

#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/crc32c.h"
#include "base/percent.h"
#include "object/s3/credentials.h"
#include "object/s3/times.h"
#include "object/s3/xml.h"

namespace skerry {

using boost::property_tree::ptree;
using s3::append_xml;
using s3::http_time;
using s3::Location;
using s3::parse_xml;
using s3::text_of;
using s3::xml_time;

namespace {

constexpr uint32_t kMaxListed = 1000;
constexpr uint64_t kMaxPut = uint64_t{5} << 30, kMinPart = 5u << 20;
constexpr int kBucketAttempts = 5;
constexpr TimeNs kBucketPauseNs = kSecond / 10;
constexpr TimeNs kFirstKeysNs = 60 * kSecond;  // how long they may take

std::string base64(ByteView bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(length));
  return out;
}

/// As x-amz-checksum-crc32c has it.
std::string crc32c_text(const std::vector<ByteView>& pieces) {
  uint32_t crc = 0;
  for (ByteView piece : pieces) crc = crc32c(crc, piece);
  const uint32_t big_endian = __builtin_bswap32(crc);
  return base64(std::as_bytes(std::span(&big_endian, 1)));
}

std::string md5_text(std::string_view text) {
  std::byte digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest), &length, EVP_md5(),
             nullptr);
  return base64({digest, length});
}

/// The part of a listing's bound that every store takes: some refuse what can be no key's beginning
/// to them, a component "." or "..", with blanks around it or not, or a part of a character.
/// `bound` begins with it, so it lets more through, never less.
std::string_view askable(std::string_view bound) {
  size_t lead = bound.size();  // of the last character: behind where it begins
  while (lead > 0 && bound.size() - lead < 3 && (bound[lead - 1] & 0xc0) == 0x80) --lead;
  if (lead > 0) {
    const auto first = static_cast<unsigned char>(bound[lead - 1]);
    const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    if (bound.size() - lead + 1 < length) bound = bound.substr(0, lead - 1);
  }
  for (size_t start = 0; start < bound.size();) {
    const size_t end = std::min(bound.find('/', start), bound.size());
    std::string_view component = bound.substr(start, end - start);
    const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    while (!component.empty() && blank(component.front())) component.remove_prefix(1);
    while (!component.empty() && blank(component.back())) component.remove_suffix(1);
    if (component == "." || component == "..") return bound.substr(0, start);
    start = end + 1;
  }
  return bound;
}

/// What encoding-type=url made of a key.
std::string url_decoded(std::string text) {
  std::replace(text.begin(), text.end(), '+', ' ');
  std::string out;
  (void)percent_decode(text, &out);
  return out;
}

/// Every request for an object that a customer's key encrypts needs the key.
void add_customer_key(const Location& at, HttpHeaders* headers) {
  if (at.sse_key.empty()) return;
  const std::string name = "x-amz-server-side-encryption-customer-";
  headers->emplace_back(name + "algorithm", "AES256");
  headers->emplace_back(name + "key", base64(as_bytes(at.sse_key)));
  headers->emplace_back(name + "key-md5", md5_text(at.sse_key));
}

/// What is said once of an object, when it is made.
void add_of_object(const PutOptions& options, const Location& at, HttpHeaders* headers) {
  add_customer_key(at, headers);
  const std::string name = "x-amz-server-side-encryption";
  if (at.sse == "s3") headers->emplace_back(name, "AES256");
  if (at.sse == "kms") headers->emplace_back(name, "aws:kms");
  if (!at.kms_key.empty()) headers->emplace_back(name + "-aws-kms-key-id", at.kms_key);
  if (!at.tags.empty()) headers->emplace_back("x-amz-tagging", at.tags);
  const std::string& wanted =
      options.storage_class.empty() ? at.storage_class : options.storage_class;
  if (!wanted.empty()) headers->emplace_back("x-amz-storage-class", wanted);
}

/// As the header Range has it; `out` is not empty.
std::string range_of(uint64_t offset, MutableBytes out) {
  return "bytes=" + std::to_string(offset) + "-" + std::to_string(offset + out.size() - 1);
}

std::string unquoted(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

int errno_of(int status, const std::string& code) {
  static constexpr std::pair<std::string_view, int> kCodes[] = {
      {"NoSuchKey", ENOENT},          {"NoSuchUpload", ENOENT},
      {"NoSuchBucket", EIO},          {"PreconditionFailed", EEXIST},
      {"InvalidRange", EINVAL},       {"InvalidPart", EINVAL},
      {"InvalidPartOrder", EINVAL},   {"EntityTooSmall", EINVAL},
      {"EntityTooLarge", EFBIG},      {"KeyTooLongError", ENAMETOOLONG},
      {"QuotaExceeded", ENOSPC},      {"XMinioStorageFull", ENOSPC},
      {"InvalidObjectState", EACCES}, {"NotImplemented", ENOTSUP},
      {"RequestTimeout", EIO},
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
    case 501:
      return ENOTSUP;
    case 507:
      return ENOSPC;
    default:
      return EIO;
  }
}

bool may_pass(int status, const std::string& code) {
  return (status >= 500 && status != 501 && status != 507) || status == 429 || status == 408 ||
         status == 409 || code == "RequestTimeout" || code == "BadDigest" ||
         code == "XAmzContentSHA256Mismatch" || code == "XAmzContentChecksumMismatch";
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

struct S3ObjectStore::Call {
  const char* method;
  std::string key;  // with the prefix; empty: the bucket
  std::vector<std::pair<std::string, std::string>> query;
  HttpHeaders headers;
  std::vector<ByteView> body;
  MutableBytes into;
};

/// What an answer that refuses says: the element Error, where there is one.
struct S3ObjectStore::Problem {
  std::string code, message, region, request_id;
  uint64_t pause_s;

  explicit Problem(const HttpAnswer& answer) : pause_s(pause_s_of(answer)) {
    if (std::optional<ptree> xml = parse_xml(answer.text)) {
      code = text_of(*xml, "Code");
      message = text_of(*xml, "Message");
      region = text_of(*xml, "Region");
      request_id = text_of(*xml, "RequestId");
    }
    if (request_id.empty()) request_id = answer.header("x-amz-request-id");
    if (const auto header = answer.header("x-amz-bucket-region"); !header.empty()) region = header;
  }

  Error error(const Call& call, int status, const Location& location) const {
    std::string text = location.describe() + ": " + call.method;
    if (!call.key.empty()) text += " " + call.key;
    text += ": " + std::to_string(status);
    if (!code.empty()) text += " " + code;
    if (!message.empty()) text += ", " + message;
    if (!request_id.empty()) text += " (request " + request_id + ")";
    const bool passes = may_pass(status, code);
    const std::string_view method = call.method;
    return Error(errno_of(status, code), text)
        .set_retryable(passes)
        .set_throttled(is_throttled(status, code))
        .set_pause_s(pause_s)
        .set_maybe_applied(passes && method != "GET" && method != "HEAD");
  }
};

Result<std::unique_ptr<S3ObjectStore>> S3ObjectStore::open(std::string_view url, Clock& clock,
                                                           HttpOptions http) {
  const auto variable = [](const char* name) -> const char* { return std::getenv(name); };
  SKERRY_ASSIGN(Location location, s3::parse_location(url, variable));
  SKERRY_TRY(s3::read_sse_key(&location));
  SKERRY_ASSIGN(std::shared_ptr<s3::CredentialsProvider> credentials,
                s3::make_credentials(location, variable, clock));
  OpContext ctx;
  ctx.clock = &clock;
  ctx.deadline_ns = clock.monotonic_ns() + kFirstKeysNs;
  if (Result<s3::Credentials> first = credentials->get(ctx); !first.ok()) {
    Result<s3::Credentials> plain = s3::find_credentials(location, variable);
    const std::string advice = plain.ok() ? "" : plain.error().message();
    return std::move(first).error().with_context(advice.empty() ? location.describe() : advice);
  }
  return std::make_unique<S3ObjectStore>(std::move(location), std::move(credentials), clock,
                                         std::move(http));
}

S3ObjectStore::S3ObjectStore(Location location, s3::Credentials credentials, Clock& clock,
                             HttpOptions http)
    : S3ObjectStore(std::move(location), s3::fixed_credentials(std::move(credentials)), clock,
                    std::move(http)) {}

S3ObjectStore::S3ObjectStore(Location location,
                             std::shared_ptr<s3::CredentialsProvider> credentials, Clock& clock,
                             HttpOptions http)
    : credentials_(std::move(credentials)),
      clock_(clock),
      http_([&] {
        if (http.ca_bundle.empty()) http.ca_bundle = location.ca_bundle;
        if (http.proxy.empty()) http.proxy = location.proxy;
        if (http.user_agent.empty()) http.user_agent = "skerry/0.1.0";
        if (!location.user_agent.empty()) http.user_agent += " " + location.user_agent;
        return std::move(http);
      }()),
      location_(std::make_shared<const Location>(std::move(location))) {}

ObjectCapabilities S3ObjectStore::capabilities() const {
  return {.conditional_put = true,
          .multipart = true,
          .storage_class = true,
          .max_put_bytes = kMaxPut,
          .min_part_bytes = kMinPart,
          .max_batch_delete = 1000,
          .ranged_get = true,
          .gets_together = true};
}

S3ObjectStore::LocationPtr S3ObjectStore::location() const {
  std::lock_guard lock(mutex_);
  return location_;
}

/// True if the request is worth sending again because something about it is known better now.
bool S3ObjectStore::learn(const HttpAnswer& answer, const Problem& problem, const Location& used) {
  std::lock_guard lock(mutex_);
  if (problem.code == "RequestTimeTooSkewed") {
    const TimeNs server = http_time(answer.header("date"));
    if (server == 0) return false;
    clock_offset_ns_ = server - clock_.now_ns();
    return true;
  }
  const bool elsewhere = answer.status == 301 || answer.status == 307 || answer.status == 400;
  if (!elsewhere || problem.region.empty() || problem.region == used.region) return false;
  Location right = used;
  right.region = problem.region;
  const std::string old_name = "." + used.region + ".amazonaws.com";
  if (const size_t at = right.endpoint.find(old_name); at != std::string::npos) {
    right.endpoint.replace(at, old_name.size(), "." + right.region + ".amazonaws.com");
  }
  location_ = std::make_shared<const Location>(std::move(right));
  return true;
}

/// True if the keys had expired and others can be had.
bool S3ObjectStore::renew(const OpContext& ctx, const Call& call, const HttpAnswer& answer,
                          const Problem& problem, const s3::Credentials& used) {
  // The answer to a HEAD has no body, and so no code.
  const bool silent = std::string_view(call.method) == "HEAD" && answer.status == 400;
  const bool expired = problem.code == "ExpiredToken" || problem.code == "ExpiredTokenException" ||
                       problem.code == "TokenRefreshRequired" ||
                       (silent && !used.session_token.empty());
  if (!expired) return false;
  credentials_->refuse(used);
  const Result<s3::Credentials> other = credentials_->get(ctx);
  return other.ok() &&
         (other->access_key != used.access_key || other->session_token != used.session_token);
}

HttpRequest S3ObjectStore::request_of(const Call& call, const Location& location,
                                      const s3::Credentials& credentials) const {
  s3::SignedRequest signing;
  const std::string path = location.path(call.key);
  signing.method = call.method;
  signing.path = path;
  signing.query = call.query;
  signing.headers = call.headers;
  signing.headers.emplace_back("host", location.host());
  if (location.requester_pays) signing.headers.emplace_back("x-amz-request-payer", "requester");
  TimeNs now = clock_.now_ns();
  {
    std::lock_guard lock(mutex_);
    now += clock_offset_ns_;
  }
  s3::sign(
      signing,
      location.sign_payload ? s3::hex(s3::sha256(call.body)) : std::string(s3::kUnsignedPayload),
      credentials, {location.region, "s3", now});
  HttpRequest request;
  request.method = call.method;
  request.url = location.origin() + s3::uri_encode(path, true);
  if (!call.query.empty()) request.url += "?" + s3::canonical_query(call.query);
  request.headers = std::move(signing.headers);
  request.body = call.body;
  request.into = call.into;
  return request;
}

Result<HttpAnswer> S3ObjectStore::send(const OpContext& ctx, const Call& call) {
  for (int attempt = 0;; ++attempt) {
    const LocationPtr at = location();
    SKERRY_ASSIGN(const s3::Credentials keys, credentials_->get(ctx));
    SKERRY_ASSIGN(HttpAnswer answer, http_.perform(ctx, request_of(call, *at, keys)));
    if (answer.status / 100 == 2) return answer;
    const Problem problem(answer);
    if (attempt == 0 && learn(answer, problem, *at)) continue;
    if (attempt == 0 && renew(ctx, call, answer, problem, keys)) continue;
    return problem.error(call, answer.status, *at);
  }
}

Status S3ObjectStore::make_bucket_if_absent(const OpContext& ctx) {
  const LocationPtr at = location();
  std::string body;
  if (at->region != "us-east-1") {
    body =
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<LocationConstraint>" +
        at->region + "</LocationConstraint></CreateBucketConfiguration>";
  }
  for (int attempt = 1;; ++attempt) {
    Result<HttpAnswer> there = send(ctx, {"HEAD", "", {}, {}, {}, {}});
    if (there.ok()) return {};
    if (there.error().code() != ENOENT) return std::move(there).error();
    Result<HttpAnswer> made = send(ctx, {"PUT", "", {}, {}, {as_bytes(body)}, {}});
    if (made.ok()) return {};
    // Another client makes it at the same time, perhaps.
    if (!made.error().retryable() || attempt == kBucketAttempts) return std::move(made).error();
    ctx.clock->sleep_ns(attempt * kBucketPauseNs);
  }
}

Status S3ObjectStore::put(const OpContext& ctx, std::string_view key,
                          const std::vector<ByteView>& pieces, const PutOptions& options) {
  if (key.empty()) return Error(EINVAL, "an object key must not be empty");
  const LocationPtr at = location();
  Call call{"PUT", at->prefix + std::string(key), {}, {}, pieces, {}};
  call.headers = {{"content-type", "application/octet-stream"},
                  {"x-amz-checksum-crc32c", crc32c_text(pieces)}};
  if (options.if_absent) call.headers.emplace_back("if-none-match", "*");
  add_of_object(options, *at, &call.headers);
  SKERRY_TRY(send(ctx, call));
  return {};
}

Result<S3ObjectStore::Call> S3ObjectStore::get_call(const Location& location, std::string_view key,
                                                    uint64_t offset, MutableBytes out) {
  if (offset > static_cast<uint64_t>(INT64_MAX) - out.size()) {
    return Error(EINVAL, "no object is as long as 2^63 bytes");
  }
  Call call{"GET", location.prefix + std::string(key), {}, {{"range", range_of(offset, out)}}, {},
            out};
  add_customer_key(location, &call.headers);
  return call;
}

/// Of an answer of success: whether it is the range that was asked for.
Status S3ObjectStore::check_range(const Location& location, const Call& call, uint64_t offset,
                                  const HttpAnswer& answer) {
  const std::string_view told = answer.header("content-range");
  const std::string range = range_of(offset, call.into).substr(6);
  if (answer.status == 206 && answer.received == call.into.size() && told.starts_with("bytes ") &&
      told.substr(6).starts_with(range + "/")) {
    return {};
  }
  const std::string about = location.describe() + ": GET " + call.key + ", bytes " + range;
  // The rest of a shorter object, and all of that rest.
  const uint64_t end = offset + answer.received;
  const std::string rest =
      "bytes " + std::to_string(offset) + "-" + std::to_string(end - 1) + "/" + std::to_string(end);
  if (answer.received > 0 && answer.received < call.into.size() && told == rest) {
    return Error(EINVAL, about + ": the object is shorter (" + std::string(told) + ")");
  }
  return Error(EIO, about + ": the server sent " + std::to_string(answer.received) + " bytes, \"" +
                        std::string(told) + "\", status " + std::to_string(answer.status))
      .set_retryable();
}

Status S3ObjectStore::get(const OpContext& ctx, std::string_view key, uint64_t offset,
                          MutableBytes out) {
  if (out.empty()) return {};
  const LocationPtr at = location();
  SKERRY_ASSIGN(Call call, get_call(*at, key, offset, out));
  SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
  return check_range(*at, call, offset, answer);
}

/// What a request says of the clock, the region or the keys helps the others, so those that it
/// concerns are made again alone.
void S3ObjectStore::get_many(const OpContext& ctx, std::span<ObjectRange> ranges,
                             const RangeDone& done) {
  const LocationPtr at = location();
  const Result<s3::Credentials> keys = credentials_->get(ctx);
  std::vector<Call> calls;
  std::vector<HttpRequest> requests;
  std::vector<size_t> where, again;
  for (size_t i = 0; i < ranges.size(); ++i) {
    ObjectRange& range = ranges[i];
    Result<Call> call = get_call(*at, range.key, range.offset, range.out);
    if (call.ok() && !keys.ok()) call = keys.error();
    if (range.out.empty() || !call.ok()) {
      range.result = range.out.empty() ? Status() : Status(std::move(call).error());
      done(i);
      continue;
    }
    requests.push_back(request_of(*call, *at, *keys));
    calls.push_back(*std::move(call));
    where.push_back(i);
  }
  http_.perform_many(ctx, requests, [&](size_t r, Result<HttpAnswer> answer) {
    ObjectRange& range = ranges[where[r]];
    if (!answer.ok()) {
      range.result = std::move(answer).error();
    } else if (answer->status / 100 == 2) {
      range.result = check_range(*at, calls[r], range.offset, *answer);
    } else if (const Problem problem(*answer);
               learn(*answer, problem, *at) || renew(ctx, calls[r], *answer, problem, *keys)) {
      return again.push_back(where[r]);
    } else {
      range.result = problem.error(calls[r], answer->status, *at);
    }
    done(where[r]);
  });
  for (size_t i : again) {
    ranges[i].result = get(ctx, ranges[i].key, ranges[i].offset, ranges[i].out);
    done(i);
  }
}

Result<ObjectInfo> S3ObjectStore::head(const OpContext& ctx, std::string_view key) {
  const LocationPtr at = location();
  Call call{"HEAD", at->prefix + std::string(key), {}, {}, {}, {}};
  add_customer_key(*at, &call.headers);
  SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
  ObjectInfo info;
  info.key = key;
  info.size_bytes = strtoull(std::string(answer.header("content-length")).c_str(), nullptr, 10);
  info.modified_ns = http_time(answer.header("last-modified"));
  info.etag = unquoted(answer.header("etag"));
  info.storage_class = answer.header("x-amz-storage-class");
  return info;
}

Status S3ObjectStore::remove(const OpContext& ctx, std::string_view key) {
  Call call{"DELETE", location()->prefix + std::string(key), {}, {}, {}, {}};
  Result<HttpAnswer> answer = send(ctx, call);
  if (answer.ok() || answer.error().code() == ENOENT) return {};
  return std::move(answer).error();
}

Result<std::vector<DeleteOutcome>> S3ObjectStore::remove_batch(
    const OpContext& ctx, const std::vector<std::string>& keys) {
  if (keys.size() > capabilities().max_batch_delete) {
    return Error(EINVAL, "too many keys in one batch delete");
  }
  std::vector<DeleteOutcome> outcomes;
  for (const std::string& key : keys) outcomes.push_back({key, 0});
  const LocationPtr at = location();
  std::vector<size_t> alone;
  std::string body =
      "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>";
  for (size_t i = 0; i < keys.size(); ++i) {
    std::string object = "<Object><Key>";
    if (!append_xml(at->prefix + keys[i], &object)) {
      alone.push_back(i);
      continue;
    }
    body += object + "</Key></Object>";
  }
  body += "</Delete>";
  if (alone.size() < keys.size()) {
    Call call{"POST", "", {{"delete", ""}}, {}, {as_bytes(body)}, {}};
    call.headers = {{"content-type", "application/xml"}, {"content-md5", md5_text(body)}};
    SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
    const std::optional<ptree> xml = parse_xml(answer.text);
    if (!xml) {
      return Error(EIO, at->describe() + ": the answer to a batch delete is no XML")
          .set_retryable();
    }
    for (const auto& [name, child] : *xml) {
      if (name != "Error") continue;
      const std::string key = text_of(child, "Key");
      for (size_t i = 0; i < keys.size(); ++i) {
        if (at->prefix + keys[i] != key) continue;
        const std::string code = text_of(child, "Code");
        outcomes[i].error =
            code == "NoSuchKey" ? 0 : errno_of(code == "AccessDenied" ? 403 : 0, code);
      }
    }
  }
  for (size_t i : alone) {
    Status removed = remove(ctx, keys[i]);
    if (!removed.ok()) outcomes[i].error = removed.error().code();
  }
  return outcomes;
}

Result<ObjectPage> S3ObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                       std::string_view start_after, uint32_t limit) {
  ObjectPage page;
  const LocationPtr at = location();
  const std::string whole_prefix = at->prefix + std::string(prefix);
  const std::string whole_after = start_after.empty() ? "" : at->prefix + std::string(start_after);
  const std::string_view asked_after = askable(whole_after);
  std::string token;
  while (page.objects.size() < limit) {
    const auto wanted = std::min<size_t>(limit - page.objects.size(), kMaxListed);
    Call call{"GET", "", {{"list-type", "2"}, {"encoding-type", "url"}}, {}, {}, {}};
    call.query.emplace_back("max-keys", std::to_string(wanted));
    call.query.emplace_back("prefix", askable(whole_prefix));
    if (!token.empty()) {
      call.query.emplace_back("continuation-token", token);
    } else if (!asked_after.empty()) {
      call.query.emplace_back("start-after", asked_after);
    }
    SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
    const std::optional<ptree> xml = parse_xml(answer.text);
    if (!xml || !xml->get_child_optional("IsTruncated")) {
      return Error(EIO, at->describe() + ": the answer to a listing is no ListBucketResult")
          .set_retryable();
    }
    const bool encoded = text_of(*xml, "EncodingType") == "url";
    for (const auto& [name, child] : *xml) {
      if (name != "Contents") continue;
      ObjectInfo info;
      info.key = text_of(child, "Key");
      if (encoded) info.key = url_decoded(std::move(info.key));
      if (!info.key.starts_with(at->prefix)) {
        return Error(EIO, at->describe() + ": a listing of keys that were not asked for");
      }
      info.key.erase(0, at->prefix.size());
      if (!info.key.starts_with(prefix)) {
        if (info.key < prefix) continue;
        page.more = false;  // and none that follows does
        return page;
      }
      if (!start_after.empty() && info.key <= start_after) continue;
      info.size_bytes = strtoull(text_of(child, "Size").c_str(), nullptr, 10);
      info.modified_ns = xml_time(text_of(child, "LastModified"));
      info.etag = unquoted(text_of(child, "ETag"));
      info.storage_class = text_of(child, "StorageClass");
      page.objects.push_back(std::move(info));
    }
    page.more = text_of(*xml, "IsTruncated") == "true";
    token = text_of(*xml, "NextContinuationToken");
    if (!page.more) break;
    if (token.empty()) {
      return Error(EIO, at->describe() + ": a listing that goes on and does not say where");
    }
  }
  return page;
}

Result<std::string> S3ObjectStore::start_upload(const OpContext& ctx, std::string_view key,
                                                const PutOptions& options) {
  const LocationPtr at = location();
  Call call{"POST", at->prefix + std::string(key), {{"uploads", ""}}, {}, {}, {}};
  call.headers = {{"content-type", "application/octet-stream"}};
  add_of_object(options, *at, &call.headers);
  SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
  const std::optional<ptree> xml = parse_xml(answer.text);
  std::string id = xml ? text_of(*xml, "UploadId") : "";
  if (id.empty()) return Error(EIO, at->describe() + ": an upload began and has no id");
  return id;
}

Result<UploadedPart> S3ObjectStore::put_part(const OpContext& ctx, std::string_view key,
                                             std::string_view upload_id, uint32_t number,
                                             ByteView data) {
  if (number == 0) return Error(EINVAL, "parts are numbered from 1");
  const LocationPtr at = location();
  Call call{"PUT", at->prefix + std::string(key), {}, {}, {data}, {}};
  call.query = {{"partNumber", std::to_string(number)}, {"uploadId", std::string(upload_id)}};
  call.headers = {{"content-md5", md5_text(as_string_view(data))}};
  add_customer_key(*at, &call.headers);
  SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
  return UploadedPart{number, unquoted(answer.header("etag"))};
}

Status S3ObjectStore::complete_upload(const OpContext& ctx, std::string_view key,
                                      std::string_view upload_id,
                                      const std::vector<UploadedPart>& parts) {
  if (parts.empty()) return Error(EINVAL, "an upload needs a part");
  std::string body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (const UploadedPart& part : parts) {
    body += "<Part><PartNumber>" + std::to_string(part.number) + "</PartNumber><ETag>&quot;";
    append_xml(part.etag, &body);
    body += "&quot;</ETag></Part>";
  }
  body += "</CompleteMultipartUpload>";
  const LocationPtr at = location();
  Call call{"POST",
            at->prefix + std::string(key),
            {{"uploadId", std::string(upload_id)}},
            {},
            {as_bytes(body)},
            {}};
  call.headers = {{"content-type", "application/xml"}};
  add_customer_key(*at, &call.headers);
  SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
  // The server says 200 before it is done, and what went wrong then is in the body.
  if (std::optional<ptree> xml = parse_xml(answer.text); !xml || xml->get_child_optional("Code")) {
    return Problem(answer).error(call, 500, *at);
  }
  return {};
}

Status S3ObjectStore::abort_upload(const OpContext& ctx, std::string_view key,
                                   std::string_view upload_id) {
  Call call{"DELETE",
            location()->prefix + std::string(key),
            {{"uploadId", std::string(upload_id)}},
            {},
            {},
            {}};
  SKERRY_TRY(send(ctx, call));
  return {};
}

}  // namespace skerry
