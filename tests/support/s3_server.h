// The private S3 server of s3.sh, for C++ tests: SKERRY_TEST_S3 names its folder.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace skerry {

/// A prefix that no other test uses, of this process or another.
inline std::string fresh_s3_prefix() {
  static int made = 0;
  return std::to_string(getpid()) + "." + std::to_string(++made);
}

/// "s3://bucket/prefix?endpoint=...". The process's environment names the server's keys from now
/// on.
inline std::string s3_url(const std::string& bucket, const std::string& prefix) {
  const std::string folder = std::getenv("SKERRY_TEST_S3");
  std::ifstream file(folder + "/endpoint");
  std::string endpoint;
  std::getline(file, endpoint);
  setenv("AWS_SHARED_CREDENTIALS_FILE", (folder + "/credentials").c_str(), 1);
  return "s3://" + bucket + "/" + prefix + "?endpoint=" + endpoint;
}

}  // namespace skerry
