#include "session.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "text.h"

namespace skerry::cli {
namespace {

// A signal handler reaches nothing but globals; these two are written there.
volatile std::sig_atomic_t signal_received = 0;
skerry_cancel* signal_cancel = nullptr;

void on_signal(int number) {
  signal_received = number;
  skerry_cancel_fire(signal_cancel);
}

}  // namespace

void install_signal_handlers() {
  signal_cancel = skerry_cancel_create();
  struct sigaction action = {};
  action.sa_handler = on_signal;
  // Without SA_RESTART a read from a terminal or a pipe returns, so that the program can end.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return signal_received != 0; }

int interrupted_status() { return signal_received == 0 ? 0 : 128 + signal_received; }

void stop_calls() { skerry_cancel_fire(signal_cancel); }

skerry_cancel* cancel_flag() { return signal_cancel; }

bool is_url(const std::string& text) {
  const size_t colon = text.find("://");
  if (colon == std::string::npos || colon == 0) return false;
  return std::all_of(text.begin(), text.begin() + static_cast<ptrdiff_t>(colon), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '-' || c == '.';
  });
}

std::vector<const char*> option_array(const std::vector<std::string>& options) {
  std::vector<const char*> out;
  for (const std::string& option : options) out.push_back(option.c_str());
  out.push_back(nullptr);
  return out;
}

std::unique_ptr<Session> Session::open(const std::string& url,
                                       const std::vector<std::string>& options, Report& report,
                                       bool cost) {
  skerry_volume* volume = nullptr;
  const int rc = skerry_volume_open(url.c_str(), option_array(options).data(), &volume);
  if (rc < 0) {
    report.failure(skerry_last_error());
    return nullptr;
  }
  return std::unique_ptr<Session>(new Session(volume, report, cost));
}

Session::Session(skerry_volume* volume, Report& report, bool cost)
    : volume_(volume), report_(report), cost_(cost) {
  const int count = getgroups(0, nullptr);
  if (count > 0) {
    std::vector<gid_t> groups(static_cast<size_t>(count));
    const int filled = getgroups(count, groups.data());
    groups.resize(static_cast<size_t>(std::max(filled, 0)));
    groups_.assign(groups.begin(), groups.end());
  }
  context_.struct_size = sizeof(context_);
  context_.uid = geteuid();
  context_.gid = getegid();
  context_.umask = umask(0);
  umask(context_.umask);
  context_.groups = groups_.data();
  context_.group_count = static_cast<uint32_t>(groups_.size());
  context_.cancel = cancel_flag();
  exact_context_ = context_;
  exact_context_.umask = 0;
}

Session::~Session() {
  if (cost_) tell_cost();
  check(skerry_volume_close(volume_));
}

void Session::tell_cost() const {
  if (!check(skerry_sync(volume_, context()))) return;  // what is still buffered costs as well
  std::vector<skerry_counter> counters(256);
  const int count = skerry_counters(volume_, counters.data(), counters.size());
  const auto value = [&](const char* name) -> uint64_t {
    for (int i = 0; i < std::min(count, 256); ++i) {
      if (std::strcmp(counters[static_cast<size_t>(i)].name, name) == 0) {
        return counters[static_cast<size_t>(i)].value;
      }
    }
    return 0;
  };
  report_.note("cost: metadata " + std::to_string(value("metadata_reads")) + " reads, " +
               std::to_string(value("metadata_commits")) + " commits; objects " +
               std::to_string(value("object_puts")) + " PUT (" +
               human_size(value("object_put_bytes")) + "), " +
               std::to_string(value("object_gets")) + " GET (" +
               human_size(value("object_get_bytes")) + "), " +
               std::to_string(value("object_deletes")) + " DELETE");
}

bool Session::check(int64_t rc) const {
  if (rc >= 0) return true;
  if (rc != -ECANCELED) report_.failure(skerry_last_error());
  return false;
}

bool Session::check(int64_t rc, const std::string& path) const {
  if (rc >= 0) return true;
  if (rc != -ECANCELED) report_.failure(sentence_about(path));
  return false;
}

std::string sentence_about(const std::string& path) {
  const std::string sentence = skerry_last_error();
  return sentence.find(path) == std::string::npos ? path + ": " + sentence : sentence;
}

std::string Session::read_link(const std::string& path, int64_t* rc) const {
  std::string target(4096, '\0');
  *rc = skerry_readlink(volume_, context(), path.c_str(), target.data(), target.size());
  target.resize(*rc < 0 ? 0 : static_cast<size_t>(*rc));
  return target;
}

std::string join_path(const std::string& directory, const std::string& name) {
  if (directory.empty() || directory.back() == '/') return directory + name;
  return directory + "/" + name;
}

std::string base_name(const std::string& path) {
  const size_t last = path.find_last_not_of('/');
  if (last == std::string::npos) return "";
  const size_t slash = path.rfind('/', last);
  const size_t first = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(first, last - first + 1);
}

}  // namespace skerry::cli
