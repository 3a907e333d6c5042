// A volume in a temporary folder, for tests through the C ABI.
#pragma once

#include <fcntl.h>
#include <skerry/skerry.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/sanitizers.h"

/// On failure the sentence is shown.
#define OK(call)                                \
  do {                                          \
    const int64_t ok_result_ = (call);          \
    INFO(#call << ": " << skerry_last_error()); \
    REQUIRE(ok_result_ >= 0);                   \
  } while (0)
#define FAILS(call, code) CHECK((call) == -(code))

/// Removed with all that is in it.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

using Options = std::vector<std::string>;

int format_volume(const std::string& url, const Options& options = {});
int open_volume(const std::string& url, const Options& options, skerry_volume** volume);

/// One client.
class Client {
 public:
  Client() = default;
  explicit Client(const std::string& url, const Options& options = {});
  ~Client();
  Client(Client&& other) noexcept : volume_(std::exchange(other.volume_, nullptr)) {}
  operator skerry_volume*() const { return volume_; }  // NOLINT: stands for it in every call
  int close();

  void write(const std::string& path, std::string_view bytes, uint32_t mode = 0644);
  std::string read(const std::string& path);
  struct skerry_stat stat(const std::string& path);
  skerry_file* open(const std::string& path, int flags, uint32_t mode = 0644);
  std::vector<std::string> list(const std::string& path);
  uint64_t counter(std::string_view name);

 private:
  skerry_volume* volume_ = nullptr;
};

/// A formatted volume with one client.
struct TestVolume {
  explicit TestVolume(const Options& open_options = {}, Options format_options = {});
  TempFolder folder;
  std::string url;
  std::string files;  // the folder of the objects' files
  Client client;
};

/// The files of the volume's objects.
std::vector<std::filesystem::path> objects(const TestVolume& test);

std::string read_all(skerry_file* file);
std::string pattern(size_t length, unsigned seed = 1);
skerry_context context_of(uint32_t uid, uint32_t gid);

/// Runs `body` in a forked child; its exit status. A child that hangs is killed after 60 seconds.
int in_child(const std::function<int()>& body);

/// The exit of each child is 0.
void expect_all_fine(const std::vector<pid_t>& children);

std::vector<std::string> thread_names();
std::vector<std::string> open_descriptors();
