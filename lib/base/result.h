// Result<T> and Error: how every layer inside the library reports what went wrong.
//
// No exception crosses a layer. An Error carries a POSIX errno (what the C ABI returns), a sentence
// for a person, and what a caller needs to decide what to do next: whether trying again may help,
// whether the effect may have happened although no answer came, and whether the other side asked
// for fewer requests.
#pragma once

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace skerry {

class [[nodiscard]] Error {
 public:
  /// `code` is a positive errno. The message names the thing and the cause.
  explicit Error(int code, std::string message = {}) : code_(code), message_(std::move(message)) {}

  int code() const { return code_; }
  const std::string& message() const { return message_; }

  /// The same call may succeed if made again (time-out, throttling, lost connection).
  bool retryable() const { return retryable_; }
  /// The call may have taken effect although its answer was lost.
  bool maybe_applied() const { return maybe_applied_; }
  /// The other side has too many requests, and wants fewer of them.
  bool throttled() const { return throttled_; }
  /// How long the other side asked to be left alone, in seconds; 0: it did not.
  uint32_t pause_s() const { return pause_s_; }

  Error&& set_retryable(bool v = true) && {
    retryable_ = v;
    return std::move(*this);
  }
  Error&& set_maybe_applied(bool v = true) && {
    maybe_applied_ = v;
    return std::move(*this);
  }

  Error&& set_throttled(bool v = true) && {
    throttled_ = v;
    return std::move(*this);
  }
  /// At most 18 hours count.
  Error&& set_pause_s(uint64_t seconds) && {
    pause_s_ = static_cast<uint16_t>(seconds < UINT16_MAX ? seconds : UINT16_MAX);
    return std::move(*this);
  }

  /// Prefixes the message with `context` ("create /a/b"): added once, where it is known.
  Error&& with_context(const std::string& context) && {
    message_ = message_.empty() ? context : context + ": " + message_;
    return std::move(*this);
  }

 private:
  int code_;
  bool retryable_ : 1 = false;
  bool maybe_applied_ : 1 = false;
  bool throttled_ : 1 = false;
  uint16_t pause_s_ = 0;
  std::string message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Error error) : v_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return v_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return std::get<0>(v_); }
  const T& value() const& { return std::get<0>(v_); }
  T&& value() && { return std::get<0>(std::move(v_)); }
  T& operator*() & { return std::get<0>(v_); }
  const T& operator*() const& { return std::get<0>(v_); }
  T&& operator*() && { return std::get<0>(std::move(v_)); }
  T* operator->() { return &std::get<0>(v_); }
  const T* operator->() const { return &std::get<0>(v_); }

  Error& error() & { return std::get<1>(v_); }
  const Error& error() const& { return std::get<1>(v_); }
  Error&& error() && { return std::get<1>(std::move(v_)); }

 private:
  std::variant<T, Error> v_;
};

/// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit on purpose

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

#define SKERRY_CONCAT_(a, b) a##b
#define SKERRY_CONCAT(a, b) SKERRY_CONCAT_(a, b)

/// Returns the error of `expr` (a Status or Result) from the enclosing function.
#define SKERRY_TRY(expr)                                                \
  do {                                                                  \
    auto skerry_status_ = (expr);                                       \
    if (!skerry_status_.ok()) return std::move(skerry_status_).error(); \
  } while (0)

#define SKERRY_ASSIGN_(tmp, lhs, expr)          \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  lhs = std::move(tmp).value()

/// `SKERRY_ASSIGN(auto x, f());` binds the value or returns the error.
#define SKERRY_ASSIGN(lhs, expr) SKERRY_ASSIGN_(SKERRY_CONCAT(skerry_r_, __LINE__), lhs, expr)

}  // namespace skerry
