// A process that writes to a volume and tells what it does, to be killed at any moment.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace skerry {

/// Contents that say whose they are: the bytes of stream `id` from `from` on. A file always holds
/// a stream from its beginning, so zeros and bytes of another file are found wherever they are.
std::string stream_bytes(uint64_t id, uint64_t from, uint64_t length);

struct StreamFile {
  uint64_t id = 0;
  uint64_t length = 0;
};
/// Files of one directory by name.
using StreamFiles = std::map<std::string, StreamFile>;

/// A record of the log that all writers append to.
inline constexpr size_t kLogRecordBytes = 128;
std::string log_record(uint64_t id);

/// Sent before a call (kIntent) and after it returned 0 (kDone).
struct Report {
  enum Phase : uint32_t { kIntent, kDone, kError };
  enum Call : uint32_t { kReplace, kAppend, kExtend, kRename, kUnlink, kTruncate, kLog, kOther };
  Phase phase = kIntent;
  Call call = kOther;
  uint32_t directory = 0;
  int32_t error = 0;
  uint64_t id = 0;      // kReplace, kLog: of the new bytes
  uint64_t length = 0;  // of the file after the call
  std::array<char, 8> name{};
  std::array<char, 8> to{};          // kRename
  std::array<char, 160> sentence{};  // kError: what failed and why
};

/// The files of each directory "/t<number>". What a call that was not answered did is open: it is
/// in `open`, and not in `files`.
struct WriterState {
  std::map<uint32_t, StreamFiles> files;
  std::map<uint32_t, Report> open;
  std::map<uint64_t, bool> logged;  // records; true: acknowledged
  std::string error;                // the first that a writer met

  void take(const Report& report);
};

/// Applies a call to a directory as if it was done.
void apply(const Report& report, StreamFiles* files);

/// Works in its directories (one thread each) until it is killed, or until `stop_fd` can be read.
/// `state` is what is there. Does not return.
[[noreturn]] void run_writer(const std::string& url, const WriterState& state,
                             const std::vector<uint32_t>& directories, uint64_t seed, int report_fd,
                             int stop_fd);

}  // namespace skerry
