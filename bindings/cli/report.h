// What the program says: results on standard output, failures and progress on standard error.
#ifndef SKERRY_BINDINGS_CLI_REPORT_H_
#define SKERRY_BINDINGS_CLI_REPORT_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "text.h"

namespace skerry::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// Standard output, buffered. A reader that went away ("| head") ends the writing quietly.
// One thread at a time.
class Output {
 public:
  Output() = default;
  ~Output() { flush(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::string_view bytes);
  void line(std::string_view text);
  void json_line(const Json& value) { line(value.dump()); }
  void document(const Json& value) { line(value.dump(2)); }
  void flush();
  bool broken() const { return error_ != 0; }
  // 0, or the errno that ended the writing.
  int error() const { return error_; }
  bool terminal() const;

 private:
  void send(std::string_view bytes);

  std::string buffer_;
  int error_ = 0;
};

// Failures, one sentence each, and the exit status they lead to. Thread-safe.
class Report {
 public:
  void failure(const std::string& sentence);
  void note(const std::string& sentence);
  bool failed() const { return failed_; }
  void show_progress(const std::string& text);
  void clear_progress();

 private:
  void clear_locked();

  std::mutex mutex_;
  std::atomic<bool> failed_ = false;
  bool progress_shown_ = false;
};

// A line on standard error that says how far a long command is, at most five times a second.
// Thread-safe.
class Progress {
 public:
  // `forced`: also when standard error is no terminal.
  Progress(Report& report, bool forced);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool shown() const { return shown_; }
  void add(uint64_t files, uint64_t bytes);
  void set(std::string_view what, uint64_t done, uint64_t total);

 private:
  bool due();

  Report& report_;
  const bool shown_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::atomic<uint64_t> files_ = 0;
  std::atomic<uint64_t> bytes_ = 0;
  std::atomic<int64_t> last_shown_ms_ = 0;
};

}  // namespace skerry::cli

#endif  // SKERRY_BINDINGS_CLI_REPORT_H_
