#include "support.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "support/s3_server.h"

namespace fs = std::filesystem;

TempFolder::TempFolder() {
  std::string name = (fs::temp_directory_path() / "skerry-capi-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

namespace {

std::vector<const char*> pointers(const Options& options) {
  std::vector<const char*> result;
  for (const auto& option : options) result.push_back(option.c_str());
  result.push_back(nullptr);
  return result;
}

}  // namespace

int format_volume(const std::string& url, const Options& options) {
  return skerry_format(url.c_str(), pointers(options).data());
}

// On PostgreSQL in the mode that promises what SQLite does.
int open_volume(const std::string& url, const Options& given, skerry_volume** volume) {
  Options options = given;
  if (url.rfind("postgres", 0) == 0) options.insert(options.begin(), "consistency=strict");
  return skerry_volume_open(url.c_str(), pointers(options).data(), volume);
}

Client::Client(const std::string& url, const Options& options) {
  OK(open_volume(url, options, &volume_));
}

Client::~Client() { skerry_volume_close(volume_); }

int Client::close() { return skerry_volume_close(std::exchange(volume_, nullptr)); }

void Client::write(const std::string& path, std::string_view bytes, uint32_t mode) {
  OK(skerry_write_file(volume_, nullptr, path.c_str(), bytes.data(), bytes.size(), mode));
}

std::string Client::read(const std::string& path) {
  std::string bytes(stat(path).size, '\0');
  OK(skerry_read_file(volume_, nullptr, path.c_str(), bytes.data(), bytes.size()));
  return bytes;
}

struct skerry_stat Client::stat(const std::string& path) {
  struct skerry_stat out {};
  OK(skerry_lstat(volume_, nullptr, path.c_str(), &out));
  return out;
}

skerry_file* Client::open(const std::string& path, int flags, uint32_t mode) {
  skerry_file* file = nullptr;
  OK(skerry_open(volume_, nullptr, path.c_str(), flags, mode, &file));
  return file;
}

std::vector<std::string> Client::list(const std::string& path) {
  skerry_dir* dir = nullptr;
  OK(skerry_opendir(volume_, nullptr, path.c_str(), 0, nullptr, &dir));
  std::vector<std::string> names;
  std::vector<skerry_dirent> entries(64);
  for (;;) {
    int count = skerry_readdir(dir, nullptr, entries.data(), 64);
    OK(count);
    if (count == 0) break;
    for (int i = 0; i < count; i++) names.emplace_back(entries[i].name, entries[i].name_length);
  }
  skerry_closedir(dir);
  return names;
}

uint64_t Client::counter(std::string_view name) {
  std::vector<skerry_counter> counters(128);
  int count = skerry_counters(volume_, counters.data(), counters.size());
  OK(count);
  for (int i = 0; i < count; i++)
    if (counters[i].name == name) return counters[i].value;
  FAIL("no counter " << name);
  return 0;
}

namespace {

/// A new volume's URL: in the PostgreSQL server whose folder SKERRY_TEST_POSTGRES names, or in a
/// SQLite database.
std::string metadata_url(const std::string& folder) {
  const char* server = std::getenv("SKERRY_TEST_POSTGRES");
  if (server == nullptr) return "sqlite://" + folder + "/volume.db";
  static int made = 0;
  return std::string("postgres://postgres@/postgres?host=") + server + "&schema=capi_" +
         std::to_string(getpid()) + "_" + std::to_string(++made);
}

}  // namespace

namespace {

/// Where a new volume's data goes: to the S3 server whose folder SKERRY_TEST_S3 names, where each
/// object is a file as well, or into a folder. `files`: the folder of its objects.
std::string storage_url(const std::string& folder, std::string* files) {
  const char* server = std::getenv("SKERRY_TEST_S3");
  if (server == nullptr) {
    *files = folder + "/volume.db.data";
    return "file://" + *files;
  }
  const std::string prefix = skerry::fresh_s3_prefix();
  *files = std::string(server) + "/data/capi/" + prefix;
  return skerry::s3_url("capi", prefix);
}

}  // namespace

TestVolume::TestVolume(const Options& open_options, Options format_options)
    : url(metadata_url(folder.path())), client([&]() -> Client {
        format_options.push_back("storage=" + storage_url(folder.path(), &files));
        OK(format_volume(url, format_options));
        return Client(url, open_options);
      }()) {}

std::string read_all(skerry_file* file) {
  struct skerry_stat st {};
  OK(skerry_fstat(file, nullptr, &st));
  std::string bytes(st.size, '\0');
  int64_t got = skerry_pread(file, nullptr, bytes.data(), bytes.size(), 0);
  OK(got);
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

std::string pattern(size_t length, unsigned seed) {
  std::string bytes(length, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (char& c : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    c = static_cast<char>(state >> 56);
  }
  return bytes;
}

std::vector<fs::path> objects(const TestVolume& test) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(test.files + "/chunks")) {
    if (entry.is_regular_file()) found.push_back(entry.path());
  }
  return found;
}

skerry_context context_of(uint32_t uid, uint32_t gid) {
  skerry_context context{};
  context.struct_size = sizeof context;
  context.uid = uid;
  context.gid = gid;
  return context;
}

int in_child(const std::function<int()>& body) {
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void expect_all_fine(const std::vector<pid_t>& children) {
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
}

std::vector<std::string> thread_names() {
  std::vector<std::string> names;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream in(task.path() / "comm");
    std::string name;
    std::getline(in, name);
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> open_descriptors() {
  std::vector<std::string> result;
  DIR* dir = opendir("/proc/self/fd");
  while (dirent* entry = readdir(dir)) {
    std::error_code gone;
    auto target = fs::read_symlink(fs::path("/proc/self/fd") / entry->d_name, gone);
    if (!gone && std::to_string(dirfd(dir)) != entry->d_name) {
      result.push_back(std::string(entry->d_name) + " " + target.string());
    }
  }
  closedir(dir);
  std::sort(result.begin(), result.end());
  return result;
}
