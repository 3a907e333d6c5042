// The examples of the Amazon S3 API reference, "Authenticating Requests: Using the Authorization
// Header" and "Using Query Parameters", and of the IAM user guide.
#include <catch2/catch.hpp>

#include "object/s3/signature.h"

namespace skerry::s3 {
namespace {

const Credentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
constexpr TimeNs kMay24 = TimeNs{1369353600} * 1'000'000'000;  // 2013-05-24T00:00:00Z
const std::string kEmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string signature(SignedRequest request, const std::string& payload_hash) {
  request.headers.emplace_back("host", "examplebucket.s3.amazonaws.com");
  sign(request, payload_hash, kExample, {"us-east-1", "s3", kMay24});
  const std::string& value = request.headers.back().second;
  return value.substr(value.rfind('=') + 1);
}

}  // namespace

TEST_CASE("SigV4: the reference's examples", "[s3]") {
  CHECK(signature({"GET", "/test.txt", {}, {{"range", "bytes=0-9"}}}, kEmptyHash) ==
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  CHECK(signature({"PUT",
                   "/test$file.text",
                   {},
                   {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                    {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}},
                  hex(sha256({as_bytes("Welcome to "), as_bytes("Amazon S3.")}))) ==
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  CHECK(signature({"GET", "/", {{"lifecycle", ""}}, {}}, kEmptyHash) ==
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  CHECK(signature({"GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}}, kEmptyHash) ==
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("SigV4: the reference's presigned URL", "[s3]") {
  SignedRequest request{"GET", "/test.txt", {}, {{"host", "examplebucket.s3.amazonaws.com"}}};
  CHECK(presigned_query(request, kExample, {"us-east-1", "s3", kMay24}, 86400) ==
        "X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

TEST_CASE("SigV4: what is encoded", "[s3]") {
  CHECK(uri_encode("/a b+c%/\xc3\xa9~-._", true) == "/a%20b%2Bc%25/%C3%A9~-._");
  CHECK(uri_encode("a/b*", false) == "a%2Fb%2A");
  CHECK(canonical_query({{"b", "x y"}, {"a", "2"}, {"a", "1"}, {"A", ""}}) == "A=&a=1&a=2&b=x%20y");
  // Paths are signed as they are sent: neither dots nor empty parts are taken out.
  CHECK(canonical_request({"GET", "/b/../c//d/./e", {}, {{"host", "h"}}}, "x") ==
        "GET\n/b/../c//d/./e\n\nhost:h\n\nhost\nx");
  CHECK(canonical_request({"GET", "/", {}, {{"x-amz-meta-b", "  a \t b  "}, {"host", "h"}}}, "x") ==
        "GET\n/\n\nhost:h\nx-amz-meta-b:a b\n\nhost;x-amz-meta-b\nx");
}

TEST_CASE("SigV4: anonymous requests and session tokens", "[s3]") {
  SignedRequest request{"GET", "/k", {}, {{"host", "h"}}};
  sign(request, kEmptyHash, {}, {"us-east-1", "s3", kMay24});
  CHECK(request.headers.size() == 1);
  Credentials temporary = kExample;
  temporary.session_token = "token";
  sign(request, kEmptyHash, temporary, {"us-east-1", "s3", kMay24});
  CHECK(request.headers.back().second.find(
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token") !=
        std::string::npos);
}

}  // namespace skerry::s3
