#include "capi/error.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "skerry/skerry.h"

namespace skerry::capi {
namespace {

constexpr size_t kMaxMessage = 1024;
constexpr size_t kMaxPathShown = 256;

thread_local std::array<char, kMaxMessage> message_text{};

/// Appends to the thread's message, cut to what fits.
class Message {
 public:
  Message() { message_text[0] = '\0'; }
  Message& add(std::string_view text) {
    size_t fits = std::min(text.size(), kMaxMessage - 1 - length_);
    std::memcpy(message_text.data() + length_, text.data(), fits);
    length_ += fits;
    message_text[length_] = '\0';
    return *this;
  }
  Message& add_path(const char* path) {
    if (path == nullptr) return *this;
    size_t length = strnlen(path, kMaxPathShown + 1);
    add(" \"").add({path, std::min(length, kMaxPathShown)});
    return add(length > kMaxPathShown ? "...\"" : "\"");
  }

 private:
  size_t length_ = 0;
};

/// strerror() would use the host's locale.
std::string_view describe(int code) {
  const char* text = strerrordesc_np(code);
  return text == nullptr ? std::string_view("unknown error") : std::string_view(text);
}

void keep(int code, std::string_view message, const char* call, const char* path,
          const char* path2) noexcept {
  Message text;
  text.add(call).add_path(path);
  if (path2 != nullptr) text.add(" ->").add_path(path2);
  text.add(": ");
  if (message.empty()) {
    text.add(describe(code));
  } else {
    text.add(message).add(" (").add(describe(code)).add(")");
  }
}

}  // namespace

int fail(const Error& error, const char* call, const char* path, const char* path2) noexcept {
  const int code = error.code() > 0 ? error.code() : EIO;
  keep(code, error.message(), call, path, path2);
  return -code;
}

int fail(int code, const char* message, const char* call, const char* path) noexcept {
  keep(code, message == nullptr ? "" : message, call, path, nullptr);
  return -code;
}

const char* last_error() noexcept { return message_text.data(); }

}  // namespace skerry::capi

extern "C" const char* skerry_last_error(void) { return skerry::capi::last_error(); }
