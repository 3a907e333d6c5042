#include "bench.h"

#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace bench {

namespace {

double now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace

Sample time_once(uint64_t operations, const std::function<void()>& body) {
  double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
  body();
  auto n = static_cast<double>(operations);
  return {(now(CLOCK_MONOTONIC) - wall) / n, (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / n};
}

std::vector<Outcome> compare(const std::vector<Contestant>& contestants, int rounds, bool warm) {
  std::vector<std::vector<double>> wall(contestants.size()), cpu(contestants.size());
  for (int round = warm ? -1 : 0; round < rounds; ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      if (contestants[i].before) contestants[i].before();
      Sample s = time_once(contestants[i].operations, contestants[i].body);
      if (round < 0) continue;
      wall[i].push_back(s.wall_ns);
      cpu[i].push_back(s.cpu_ns);
    }
  }
  std::vector<Outcome> out;
  for (size_t i = 0; i < contestants.size(); ++i)
    out.push_back({contestants[i].name, {median(wall[i]), median(cpu[i])}});
  return out;
}

Report::Report(std::string title, int argc, char** argv) : title_(std::move(title)) {
  json_path_ = argument(argc, argv, "json", "");
  utsname u{};
  uname(&u);
  condition("cpu", cpu_model());
  condition("cores", std::to_string(std::thread::hardware_concurrency()));
  condition("kernel", u.release);
}

void Report::condition(const std::string& name, const std::string& value) {
  conditions_.emplace_back(name, value);
}

void Report::line(const std::string& what, double ours, const std::string& unit,
                  const std::string& other_name, double other, double wanted, bool at_most) {
  lines_.push_back({what, unit, other_name, ours, other, wanted, at_most, true});
}

void Report::figure(const std::string& what, double ours, const std::string& unit, double wanted,
                    bool at_most) {
  lines_.push_back({what, unit, "", ours, 0, wanted, at_most, false});
}

Report::~Report() {
  std::printf("%s\n", title_.c_str());
  for (auto& [name, value] : conditions_) std::printf("  %s: %s\n", name.c_str(), value.c_str());
  std::printf("  %-52s %12s %-6s %-24s %12s %7s  %s\n", "what", "skerry", "", "beside it", "",
              "ratio", "wanted");
  std::string json = "{\"title\": \"" + title_ + "\", \"conditions\": {";
  for (size_t i = 0; i < conditions_.size(); ++i)
    json += (i ? ", \"" : "\"") + conditions_[i].first + "\": \"" + conditions_[i].second + "\"";
  json += "}, \"results\": [";
  for (size_t i = 0; i < lines_.size(); ++i) {
    auto& l = lines_[i];
    double compared = l.has_other ? l.ours / l.other : l.ours;
    bool met = l.wanted < 0 || (l.at_most ? compared <= l.wanted : compared >= l.wanted);
    char wanted[64] = "";
    if (l.wanted >= 0)
      std::snprintf(wanted, sizeof wanted, "%s %g %s", l.at_most ? "<=" : ">=", l.wanted,
                    met ? "met" : "MISSED");
    char other[32] = "", ratio[32] = "";
    if (l.has_other) {
      std::snprintf(other, sizeof other, "%.2f", l.other);
      std::snprintf(ratio, sizeof ratio, "%.2f", compared);
    }
    std::printf("  %-52s %12.2f %-6s %-24s %12s %7s  %s\n", l.what.c_str(), l.ours, l.unit.c_str(),
                l.other_name.c_str(), other, ratio, wanted);
    char buffer[512];
    std::snprintf(buffer, sizeof buffer,
                  "%s{\"what\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"beside\": \"%s\", "
                  "\"beside_value\": %.6g, \"wanted\": %g, \"at_most\": %s, \"met\": %s}",
                  i ? ", " : "", l.what.c_str(), l.ours, l.unit.c_str(), l.other_name.c_str(),
                  l.other, l.wanted, l.at_most ? "true" : "false", met ? "true" : "false");
    json += buffer;
  }
  json += "]}\n";
  if (!json_path_.empty()) std::ofstream(json_path_) << json;
}

Scratch::Scratch(const std::string& parent) {
  std::string pattern = parent + "/skerry-bench-XXXXXX";
  must(mkdtemp(pattern.data()) != nullptr, "make a directory below " + parent);
  path_ = pattern;
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void must(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "benchmark: cannot %s\n", what.c_str());
  std::exit(1);
}

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

std::string argument(int argc, char** argv, const std::string& name, const std::string& otherwise) {
  std::string prefix = "--" + name + "=";
  for (int i = 1; i < argc; ++i)
    if (std::string(argv[i]).rfind(prefix, 0) == 0)
      return std::string(argv[i]).substr(prefix.size());
  return otherwise;
}

}  // namespace bench
