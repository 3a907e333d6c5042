#include "object/s3/s3_store.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/percent.h"
#include "object/s3/credentials.h"
#include "object/s3/digests.h"
#include "object/s3/problem.h"
#include "object/s3/redirect.h"
#include "object/s3/times.h"
#include "object/s3/xml.h"

namespace skerry {

using boost::property_tree::ptree;
using s3::append_xml;
using s3::base64;
using s3::crc32c_text;
using s3::http_time;
using s3::Location;
using s3::md5_text;
using s3::parse_xml;
using s3::Problem;
using s3::text_of;
using s3::xml_time;

namespace {

constexpr uint32_t kMaxListed = 1000;
constexpr uint64_t kMaxPut = uint64_t{5} << 30, kMinPart = 5u << 20;
constexpr uint64_t kCopyPart = uint64_t{1} << 30;
constexpr int kBucketAttempts = 5;
constexpr TimeNs kBucketPauseNs = kSecond / 10;
constexpr int kMaxCorrections = 3;             // of one request
constexpr TimeNs kSkewNs = 300 * kSecond;      // that a server may mind
constexpr TimeNs kFirstKeysNs = 60 * kSecond;  // how long they may take

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
  headers->emplace_back(name + "key-md5", md5_text({as_bytes(at.sse_key)}));
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

/// The server has no such thing at all. (It says so of a header, too: "A header you provided
/// implies functionality that is not implemented".)
template <typename T>
bool is_lack(const Result<T>& result) {
  return !result.ok() && result.error().code() == ENOTSUP;
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
    return std::move(first).error().with_context(location.describe());
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
  return {.conditional_put = can_.conditional_put,
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

TimeNs S3ObjectStore::clock_offset() const {
  std::lock_guard lock(mutex_);
  return clock_offset_ns_;
}

/// Where to send the request again because something about it is known better now; null if nothing
/// is.
S3ObjectStore::LocationPtr S3ObjectStore::learn(const Call& call, const HttpAnswer& answer,
                                                const Problem& problem, const LocationPtr& used,
                                                TimeNs used_offset_ns) {
  if (learn_clock(call, answer, problem, used_offset_ns)) return used;
  std::optional<Location> right = s3::redirected(*used, answer, problem);
  if (!right) return nullptr;
  auto better = std::make_shared<const Location>(*std::move(right));
  if (answer.status != s3::kTemporaryRedirect) {
    std::lock_guard lock(mutex_);
    location_ = better;
  }
  return better;
}

bool S3ObjectStore::learn_clock(const Call& call, const HttpAnswer& answer, const Problem& problem,
                                TimeNs used_offset_ns) {
  // The answer to a HEAD has no body, and so no code.
  const bool silent = std::string_view(call.method) == "HEAD" && answer.status == 403;
  if (problem.code != "RequestTimeTooSkewed" && !silent) return false;
  const TimeNs server = http_time(answer.header("date"));
  if (server == 0) return false;
  const TimeNs offset = server - clock_.now_ns();
  if (std::abs(offset - used_offset_ns) < (silent ? kSkewNs : kSecond)) return false;
  std::lock_guard lock(mutex_);
  clock_offset_ns_ = offset;
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
                                      const s3::Credentials& credentials, TimeNs offset_ns) const {
  s3::SignedRequest signing;
  const std::string path = location.path(call.key);
  signing.method = call.method;
  signing.path = path;
  signing.query = call.query;
  signing.headers = call.headers;
  signing.headers.emplace_back("host", location.host());
  if (location.requester_pays) signing.headers.emplace_back("x-amz-request-payer", "requester");
  s3::sign(
      signing,
      location.sign_payload ? s3::hex(s3::sha256(call.body)) : std::string(s3::kUnsignedPayload),
      credentials, {location.region, "s3", clock_.now_ns() + offset_ns});
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
  LocationPtr at = location();
  for (int corrections = 0;; ++corrections) {
    SKERRY_ASSIGN(const s3::Credentials keys, credentials_->get(ctx));
    const TimeNs offset = clock_offset();
    SKERRY_ASSIGN(HttpAnswer answer, http_.perform(ctx, request_of(call, *at, keys, offset)));
    if (answer.status / 100 == 2) return answer;
    const Problem problem(answer);
    if (corrections < kMaxCorrections) {
      if (LocationPtr better = learn(call, answer, problem, at, offset)) {
        at = std::move(better);
        continue;
      }
      if (renew(ctx, call, answer, problem, keys)) continue;
    }
    return problem.error(call.method, call.key, answer.status, *at);
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
  const auto send_with = [&](bool checksum) {
    Call call{"PUT", at->prefix + std::string(key), {}, {}, pieces, {}};
    call.headers = {{"content-type", "application/octet-stream"}};
    if (checksum) {
      call.headers.emplace_back("x-amz-checksum-crc32c", crc32c_text(pieces));
    } else {
      call.headers.emplace_back("content-md5", md5_text(pieces));
    }
    if (options.if_absent) call.headers.emplace_back("if-none-match", "*");
    add_of_object(options, *at, &call.headers);
    return send(ctx, call);
  };
  const bool checksum = can_.checksum;
  Result<HttpAnswer> answer = send_with(checksum);
  if (is_lack(answer) && checksum) {
    answer = send_with(false);
    if (answer.ok()) can_.checksum = false;
  }
  if (is_lack(answer) && options.if_absent) can_.conditional_put = false;
  if (!answer.ok()) return std::move(answer).error();
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
  const TimeNs offset = clock_offset();
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
    requests.push_back(request_of(*call, *at, *keys, offset));
    calls.push_back(*std::move(call));
    where.push_back(i);
  }
  http_.perform_many(ctx, requests, [&](size_t r, Result<HttpAnswer> answer) {
    ObjectRange& range = ranges[where[r]];
    if (!answer.ok()) {
      range.result = std::move(answer).error();
    } else if (answer->status / 100 == 2) {
      range.result = check_range(*at, calls[r], range.offset, *answer);
    } else if (const Problem problem(*answer); learn(calls[r], *answer, problem, at, offset) ||
                                               renew(ctx, calls[r], *answer, problem, *keys)) {
      return again.push_back(where[r]);
    } else {
      range.result = problem.error(calls[r].method, calls[r].key, answer->status, *at);
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
  if (!can_.batch_delete) {
    alone.resize(keys.size());
    std::iota(alone.begin(), alone.end(), size_t{0});
  } else {
    Status removed = remove_together(ctx, *at, &outcomes, &alone);
    if (is_lack(removed)) {
      can_.batch_delete = false;
      return remove_batch(ctx, keys);
    }
    SKERRY_TRY(std::move(removed));
  }
  for (size_t i : alone) {
    Status removed = remove(ctx, keys[i]);
    if (!removed.ok()) outcomes[i].error = removed.error().code();
  }
  return outcomes;
}

/// DeleteObjects. `alone`: the keys that it cannot name.
Status S3ObjectStore::remove_together(const OpContext& ctx, const Location& at,
                                      std::vector<DeleteOutcome>* outcomes,
                                      std::vector<size_t>* alone) {
  std::string body =
      "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>";
  for (size_t i = 0; i < outcomes->size(); ++i) {
    std::string object = "<Object><Key>";
    if (!append_xml(at.prefix + (*outcomes)[i].key, &object)) {
      alone->push_back(i);
      continue;
    }
    body += object + "</Key></Object>";
  }
  body += "</Delete>";
  if (alone->size() < outcomes->size()) {
    Call call{"POST", "", {{"delete", ""}}, {}, {as_bytes(body)}, {}};
    call.headers = {{"content-type", "application/xml"},
                    {"content-md5", md5_text({as_bytes(body)})}};
    SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
    const std::optional<ptree> xml = parse_xml(answer.text);
    if (!xml) {
      return Error(EIO, at.describe() + ": the answer to a batch delete is no XML").set_retryable();
    }
    for (const auto& [name, child] : *xml) {
      if (name != "Error") continue;
      const std::string key = text_of(child, "Key");
      for (size_t i = 0; i < outcomes->size(); ++i) {
        if (at.prefix + (*outcomes)[i].key != key) continue;
        const std::string code = text_of(child, "Code");
        (*outcomes)[i].error =
            code == "NoSuchKey" ? 0 : s3::errno_of(code == "AccessDenied" ? 403 : 0, code);
      }
    }
  }
  return {};
}

Result<ObjectPage> S3ObjectStore::list(const OpContext& ctx, std::string_view prefix,
                                       std::string_view start_after, uint32_t limit) {
  ObjectPage page;
  const LocationPtr at = location();
  const std::string whole_prefix = at->prefix + std::string(prefix);
  const std::string whole_after = start_after.empty() ? "" : at->prefix + std::string(start_after);
  const std::string_view asked_after = askable(whole_after);
  bool second = can_.list_v2;
  std::string token;  // of the first version: the key to go on behind
  while (page.objects.size() < limit) {
    const auto wanted = std::min<size_t>(limit - page.objects.size(), kMaxListed);
    Call call{"GET", "", {{"encoding-type", "url"}}, {}, {}, {}};
    if (second) call.query.emplace_back("list-type", "2");
    call.query.emplace_back("max-keys", std::to_string(wanted));
    call.query.emplace_back("prefix", askable(whole_prefix));
    if (!token.empty()) {
      call.query.emplace_back(second ? "continuation-token" : "marker", token);
    } else if (!asked_after.empty()) {
      call.query.emplace_back(second ? "start-after" : "marker", asked_after);
    }
    Result<HttpAnswer> listed = send(ctx, call);
    if (second && token.empty() && is_lack(listed)) {
      can_.list_v2 = second = false;
      continue;
    }
    SKERRY_ASSIGN(HttpAnswer answer, std::move(listed));
    const std::optional<ptree> xml = parse_xml(answer.text);
    // A server that does not know the second version takes the question for one of the first, and
    // so passes start-after over.
    if (second && token.empty() && xml && xml->get_child_optional("Marker") &&
        !xml->get_child_optional("KeyCount")) {
      can_.list_v2 = second = false;
      continue;
    }
    if (!xml || !xml->get_child_optional("IsTruncated")) {
      return Error(EIO, at->describe() + ": the answer to a listing is no ListBucketResult")
          .set_retryable();
    }
    std::string last;
    const bool encoded = text_of(*xml, "EncodingType") == "url";
    for (const auto& [name, child] : *xml) {
      if (name != "Contents") continue;
      ObjectInfo info;
      info.key = text_of(child, "Key");
      if (encoded) info.key = url_decoded(std::move(info.key));
      last = info.key;
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
      if (page.objects.size() == limit) {  // it sent more than it was asked for
        page.more = true;
        return page;
      }
      info.size_bytes = strtoull(text_of(child, "Size").c_str(), nullptr, 10);
      info.modified_ns = xml_time(text_of(child, "LastModified"));
      info.etag = unquoted(text_of(child, "ETag"));
      info.storage_class = text_of(child, "StorageClass");
      page.objects.push_back(std::move(info));
    }
    page.more = text_of(*xml, "IsTruncated") == "true";
    token = second ? text_of(*xml, "NextContinuationToken") : last;
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
  call.headers = {{"content-md5", md5_text({data})}};
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
  SKERRY_TRY(send_slow(ctx, call));
  return {};
}

Result<std::string> S3ObjectStore::send_slow(const OpContext& ctx, const Call& call) {
  SKERRY_ASSIGN(HttpAnswer answer, send(ctx, call));
  std::optional<ptree> xml = parse_xml(answer.text);
  if (!xml || xml->get_child_optional("Code")) {
    return Problem(answer).error(call.method, call.key, 500, *location());
  }
  return text_of(*xml, "ETag");
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

Status S3ObjectStore::remove_if_same(const OpContext& ctx, std::string_view key,
                                     std::string_view etag) {
  Call call{"DELETE", location()->prefix + std::string(key), {}, {}, {}, {}};
  call.headers = {{"if-match", "\"" + std::string(etag) + "\""}};
  SKERRY_TRY(send(ctx, call));
  return {};
}

HttpHeaders S3ObjectStore::copy_source(const Location& at, std::string_view from) const {
  HttpHeaders headers = {
      {"x-amz-copy-source",
       s3::uri_encode("/" + at.bucket + "/" + at.prefix + std::string(from), true)}};
  HttpHeaders key;
  add_customer_key(at, &key);
  for (auto& [name, value] : key) {
    headers.emplace_back("x-amz-copy-source-" + name.substr(6), std::move(value));
  }
  return headers;
}

Status S3ObjectStore::copy(const OpContext& ctx, std::string_view from, std::string_view to) {
  SKERRY_ASSIGN(const ObjectInfo info, head(ctx, from));
  if (info.size_bytes > kMaxPut) return copy_in_parts(ctx, from, to, info.size_bytes);
  const LocationPtr at = location();
  Call call{"PUT", at->prefix + std::string(to), {}, copy_source(*at, from), {}, {}};
  add_of_object({}, *at, &call.headers);
  SKERRY_TRY(send_slow(ctx, call));
  return {};
}

Status S3ObjectStore::copy_in_parts(const OpContext& ctx, std::string_view from,
                                    std::string_view to, uint64_t size_bytes) {
  SKERRY_ASSIGN(const std::string upload, start_upload(ctx, to));
  std::vector<UploadedPart> parts;
  const auto copy_all = [&]() -> Status {
    for (uint64_t offset = 0; offset < size_bytes; offset += kCopyPart) {
      const LocationPtr at = location();
      const auto number = static_cast<uint32_t>(parts.size() + 1);
      Call call{"PUT", at->prefix + std::string(to), {}, copy_source(*at, from), {}, {}};
      call.query = {{"partNumber", std::to_string(number)}, {"uploadId", upload}};
      call.headers.emplace_back("x-amz-copy-source-range",
                                "bytes=" + std::to_string(offset) + "-" +
                                    std::to_string(std::min(offset + kCopyPart, size_bytes) - 1));
      add_customer_key(*at, &call.headers);
      SKERRY_ASSIGN(const std::string etag, send_slow(ctx, call));
      parts.push_back({number, unquoted(etag)});
    }
    return complete_upload(ctx, to, upload, parts);
  };
  Status copied = copy_all();
  // One that may be complete is there, or is not any more: then aborting does nothing.
  if (!copied.ok()) static_cast<void>(abort_upload(ctx, to, upload).ok());
  return copied;
}

Result<S3ObjectStore::Restore> S3ObjectStore::restore(const OpContext& ctx, std::string_view key,
                                                      uint32_t days, std::string_view tier) {
  std::string body = "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>" +
                     std::to_string(days) + "</Days><GlacierJobParameters><Tier>";
  append_xml(tier, &body);
  body += "</Tier></GlacierJobParameters></RestoreRequest>";
  Call call{"POST", location()->prefix + std::string(key), {{"restore", ""}}, {}, {}, {}};
  call.body = {as_bytes(body)};
  call.headers = {{"content-type", "application/xml"}, {"content-md5", md5_text({as_bytes(body)})}};
  Result<HttpAnswer> answer = send(ctx, call);
  if (answer.ok()) return answer->status == 202 ? Restore::kBegun : Restore::kDone;
  if (answer.error().code() == EALREADY) return Restore::kUnderWay;
  return std::move(answer).error();
}

}  // namespace skerry
