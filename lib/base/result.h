// Result<T> and Error: how every layer inside the library reports what went wrong.
//
// No exception crosses a layer. An Error carries a POSIX errno (what the C ABI returns), a sentence
// for a person, and what a caller needs to decide what to do next: whether trying again may help,
// whether the effect may have happened although no answer came, and whether the other side asked
// for fewer requests.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

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

[[noreturn]] void throw_wrong_result();

/// A value or an Error. Written out, for every function returns one and every file would compile
/// std::variant's general case anew. Asking for what is not there throws, as it does there.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)), ok_(true) {}       // NOLINT: implicit on purpose
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT
  Result(const Result& other) requires std::is_copy_constructible_v<T> : ok_(other.ok_) {
    if (ok_) {
      std::construct_at(&value_, other.value_);
    } else {
      std::construct_at(&error_, other.error_);
    }
  }
  Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) : ok_(other.ok_) {
    if (ok_) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      std::construct_at(&error_, std::move(other.error_));
    }
  }
  Result& operator=(Result other) noexcept {
    static_assert(std::is_nothrow_move_constructible_v<T>);
    if (this == &other) return *this;
    std::destroy_at(this);
    std::construct_at(this, std::move(other));
    return *this;
  }
  ~Result() {
    if (ok_) {
      std::destroy_at(&value_);
    } else {
      std::destroy_at(&error_);
    }
  }

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }

  T& value() & { return need(ok_), value_; }
  const T& value() const& { return need(ok_), value_; }
  T&& value() && { return need(ok_), std::move(value_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() & { return need(!ok_), error_; }
  const Error& error() const& { return need(!ok_), error_; }
  Error&& error() && { return need(!ok_), std::move(error_); }

 private:
  static void need(bool there) {
    if (!there) [[unlikely]]
      throw_wrong_result();
  }

  union {
    T value_;
    Error error_;
  };
  bool ok_;
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
