#include "object/local/key_path.h"

#include <algorithm>
#include <string>

namespace skerry {
namespace {

constexpr size_t kMaxComponentBytes = 255;  // NAME_MAX

const char* problem_of(std::string_view component) {
  if (component.empty()) return "has an empty component";
  if (component == "." || component == "..") return "has a component \".\" or \"..\"";
  if (component.size() > kMaxComponentBytes) return "has a component over 255 bytes";
  return nullptr;
}

}  // namespace

Status check_key(std::string_view key) {
  const char* problem = nullptr;
  if (key.empty()) {
    problem = "is empty";
  } else if (key.size() > kMaxKeyBytes) {
    problem = "is over 1024 bytes";
  } else if (key.find('\0') != std::string_view::npos) {
    problem = "has a NUL byte";
  }
  for (size_t begin = 0; problem == nullptr && begin <= key.size();) {
    size_t end = std::min(key.find('/', begin), key.size());
    std::string_view component = key.substr(begin, end - begin);
    problem = problem_of(component);
    if (begin == 0 && (component == kTempDirectory || component == kUploadDirectory))
      problem = "begins with a directory that the store keeps for itself";
    begin = end + 1;
  }
  if (problem == nullptr) return {};
  return Error(EINVAL,
               "object key \"" + std::string(key.substr(0, kMaxKeyBytes)) + "\" " + problem);
}

std::string_view parent_of(std::string_view key) {
  size_t slash = key.rfind('/');
  return slash == std::string_view::npos ? std::string_view(".") : key.substr(0, slash);
}

}  // namespace skerry
