#include "report.h"

#include <unistd.h>

#include <cerrno>

namespace skerry::cli {
namespace {

constexpr size_t kOutputBufferBytes = 256 << 10;

void write_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

void Output::write(std::string_view bytes) {
  if (bytes.size() >= kOutputBufferBytes) {
    flush();
    send(bytes);
    return;
  }
  buffer_.append(bytes);
  if (buffer_.size() >= kOutputBufferBytes) flush();
}

void Output::line(std::string_view text) {
  write(text);
  write("\n");
}

void Output::flush() {
  send(buffer_);
  buffer_.clear();
}

void Output::send(std::string_view bytes) {
  while (!bytes.empty() && error_ == 0) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      error_ = errno;
      return;
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

bool Output::terminal() const { return isatty(STDOUT_FILENO) == 1; }

void Report::failure(const std::string& sentence) {
  failed_ = true;
  note(sentence);
}

void Report::note(const std::string& sentence) {
  const std::lock_guard lock(mutex_);
  clear_locked();
  write_stderr("skerry: " + sentence + "\n");
}

void Report::show_progress(const std::string& text) {
  const std::lock_guard lock(mutex_);
  progress_shown_ = true;
  write_stderr("\r" + text + "\x1b[K");
}

void Report::clear_progress() {
  const std::lock_guard lock(mutex_);
  clear_locked();
}

void Report::clear_locked() {
  if (!progress_shown_) return;
  progress_shown_ = false;
  write_stderr("\r\x1b[K");
}

Progress::Progress(Report& report, bool forced)
    : report_(report), shown_(forced || isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { report_.clear_progress(); }

bool Progress::due() {
  if (!shown_) return false;
  const int64_t now = std::chrono::duration_cast<std::chrono::milliseconds>(
                          std::chrono::steady_clock::now() - started_)
                          .count();
  int64_t last = last_shown_ms_;
  return now - last >= 200 && last_shown_ms_.compare_exchange_strong(last, now);
}

void Progress::add(uint64_t files, uint64_t bytes) {
  files_ += files;
  bytes_ += bytes;
  if (!due()) return;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  const uint64_t rate = static_cast<uint64_t>(static_cast<double>(bytes_) / seconds);
  report_.show_progress(std::to_string(files_) + " files, " + human_size(bytes_) + ", " +
                        human_size(rate) + "/s");
}

void Progress::set(std::string_view what, uint64_t done, uint64_t total) {
  if (!due()) return;
  std::string text = std::string(what) + ": " + std::to_string(done);
  if (total != 0) text += " of " + std::to_string(total);
  report_.show_progress(text);
}

}  // namespace skerry::cli
