#include "object/s3/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <ctime>
#include <new>

namespace skerry::s3 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

bool is_unreserved(unsigned char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

Digest hmac(ByteView key, std::string_view text) {
  Digest out;
  unsigned length = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(),
           reinterpret_cast<unsigned char*>(out.data()), &length) == nullptr) {
    throw std::bad_alloc();
  }
  return out;
}

/// Outer blanks go, inner ones become one.
std::string trimmed(std::string_view value) {
  std::string out;
  bool blank = false;
  for (char c : value) {
    if (c == ' ' || c == '\t') {
      blank = !out.empty();
      continue;
    }
    if (blank) out += ' ';
    blank = false;
    out += c;
  }
  return out;
}

std::string signed_names(const SignedRequest& request) {
  std::string names;
  for (const auto& [name, value] : request.headers) names += (names.empty() ? "" : ";") + name;
  return names;
}

std::string scope_text(const SigningScope& scope) {
  std::string text = amz_date(scope.now_ns).substr(0, 8) + "/";
  return text.append(scope.region).append("/").append(scope.service).append("/aws4_request");
}

/// The key that a day's requests to one region are signed with. Deriving it costs more than the
/// rest of a signature, so each thread keeps the last one.
const Digest& signing_key(const std::string& secret, std::string_view day,
                          const SigningScope& scope) {
  struct Derived {
    std::string secret, day, region, service;
    Digest key;
  };
  thread_local Derived last;
  if (last.day != day || last.secret != secret || last.region != scope.region ||
      last.service != scope.service) {
    Digest key = hmac(as_bytes("AWS4" + secret), day);
    for (std::string_view part : {scope.region, scope.service, std::string_view("aws4_request")}) {
      key = hmac(key, part);
    }
    last = {secret, std::string(day), std::string(scope.region), std::string(scope.service), key};
  }
  return last.key;
}

std::string signature_of(const SignedRequest& request, std::string_view payload_hash,
                         const Credentials& credentials, const SigningScope& scope) {
  const std::string date = amz_date(scope.now_ns);
  const std::string canonical = canonical_request(request, payload_hash);
  std::string to_sign(kAlgorithm);
  to_sign += "\n" + date + "\n" + scope_text(scope) + "\n" + hex(sha256({as_bytes(canonical)}));
  return hex(hmac(signing_key(credentials.secret_key, date.substr(0, 8), scope), to_sign));
}

}  // namespace

std::string uri_encode(std::string_view text, bool keep_slash) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_unreserved(byte) || (c == '/' && keep_slash)) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

Digest sha256(const std::vector<ByteView>& pieces) {
  struct Context {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    ~Context() { EVP_MD_CTX_free(context); }
  } owned;
  Digest out;
  if (owned.context == nullptr || EVP_DigestInit_ex(owned.context, EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
  for (ByteView piece : pieces) EVP_DigestUpdate(owned.context, piece.data(), piece.size());
  EVP_DigestFinal_ex(owned.context, reinterpret_cast<unsigned char*>(out.data()), nullptr);
  return out;
}

std::string hex(const Digest& digest) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (std::byte byte : digest) {
    out += kHex[std::to_integer<unsigned>(byte) >> 4];
    out += kHex[std::to_integer<unsigned>(byte) & 15];
  }
  return out;
}

std::string amz_date(TimeNs now_ns) {
  const auto seconds = static_cast<time_t>(now_ns / 1'000'000'000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return {text, strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts)};
}

std::string canonical_query(const std::vector<std::pair<std::string, std::string>>& query) {
  std::vector<std::pair<std::string, std::string>> encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(uri_encode(name, false), uri_encode(value, false));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) out += (out.empty() ? "" : "&") + name + "=" + value;
  return out;
}

std::string canonical_request(const SignedRequest& request, std::string_view payload_hash) {
  std::vector<std::pair<std::string, std::string>> headers = request.headers;
  std::sort(headers.begin(), headers.end());
  std::string out(request.method);
  out += "\n" + uri_encode(request.path, true) + "\n" + canonical_query(request.query) + "\n";
  std::string names;
  for (const auto& [name, value] : headers) {
    out += name + ":" + trimmed(value) + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  return out.append("\n").append(names).append("\n").append(payload_hash);
}

void sign(SignedRequest& request, std::string_view payload_hash, const Credentials& credentials,
          const SigningScope& scope) {
  if (credentials.access_key.empty()) return;
  request.headers.emplace_back("x-amz-content-sha256", payload_hash);
  request.headers.emplace_back("x-amz-date", amz_date(scope.now_ns));
  if (!credentials.session_token.empty()) {
    request.headers.emplace_back("x-amz-security-token", credentials.session_token);
  }
  std::sort(request.headers.begin(), request.headers.end());
  const std::string signature = signature_of(request, payload_hash, credentials, scope);
  std::string value(kAlgorithm);
  value += " Credential=" + credentials.access_key + "/" + scope_text(scope) +
           ",SignedHeaders=" + signed_names(request) + ",Signature=" + signature;
  request.headers.emplace_back("authorization", std::move(value));
}

std::string presigned_query(SignedRequest request, const Credentials& credentials,
                            const SigningScope& scope, uint32_t valid_seconds) {
  std::sort(request.headers.begin(), request.headers.end());
  request.query.emplace_back("X-Amz-Algorithm", kAlgorithm);
  request.query.emplace_back("X-Amz-Credential", credentials.access_key + "/" + scope_text(scope));
  request.query.emplace_back("X-Amz-Date", amz_date(scope.now_ns));
  request.query.emplace_back("X-Amz-Expires", std::to_string(valid_seconds));
  request.query.emplace_back("X-Amz-SignedHeaders", signed_names(request));
  if (!credentials.session_token.empty()) {
    request.query.emplace_back("X-Amz-Security-Token", credentials.session_token);
  }
  const std::string signature = signature_of(request, kUnsignedPayload, credentials, scope);
  return canonical_query(request.query) + "&X-Amz-Signature=" + signature;
}

}  // namespace skerry::s3
