// objbench: whether an object store will do for a volume's data, and how fast it is.
#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>

#include "command.h"

namespace skerry::cli {
namespace {

struct ObjbenchOptions {
  bool no_rates = false;
};

/// Results as they come; lines are printed at once, JSON in the end.
class Results {
 public:
  Results(Invocation& self, Progress& progress) : self_(self), progress_(progress) {}

  void check(const struct skerry_store_check& found) {
    static constexpr std::array<const char*, 3> kVerdicts = {"ok", "lacks", "wrong"};
    const char* verdict = kVerdicts.at(static_cast<size_t>(found.verdict));
    checks_.push_back({{"check", found.name}, {"verdict", verdict}, {"advice", found.advice}});
    std::array<char, 32> start;
    std::snprintf(start.data(), start.size(), "%-16s %s", found.name, verdict);
    const std::string advice = found.advice;
    show(start.data() + (advice.empty() ? "" : ": " + advice));
  }

  void rate(const struct skerry_store_rate& found) {
    const auto requests = static_cast<double>(found.requests);
    const double seconds = static_cast<double>(found.elapsed_ns) / 1e9;
    const double a_second = requests / seconds;
    const double mib = a_second * static_cast<double>(found.object_bytes) / (1 << 20);
    const double p50 = static_cast<double>(found.median_ns) / 1e6;
    const double p99 = static_cast<double>(found.p99_ns) / 1e6;
    if (rates_.empty()) show("\n          KiB callers  a second     MiB/s    p50 ms    p99 ms");
    rates_.push_back({{"operation", found.operation},
                      {"object_bytes", found.object_bytes},
                      {"callers", found.callers},
                      {"requests", found.requests},
                      {"rate", a_second},
                      {"mib_per_second", mib},
                      {"p50_ms", p50},
                      {"p99_ms", p99}});
    std::array<char, 128> line;
    std::snprintf(line.data(), line.size(), "%-6s %6llu %7u %9.1f %9.1f %9.2f %9.2f",
                  found.operation, static_cast<unsigned long long>(found.object_bytes >> 10),
                  found.callers, a_second, mib, p50, p99);
    show(line.data());
  }

  int progress(const char* what, uint64_t done, uint64_t total) {
    progress_.set(what, done, total);
    return self_.out.broken() ? 1 : 0;
  }

  Json document() const { return {{"checks", checks_}, {"rates", rates_}}; }

 private:
  void show(const std::string& text) {
    if (self_.json) return;
    self_.report.clear_progress();
    self_.out.line(text);
    self_.out.flush();
  }

  Invocation& self_;
  Progress& progress_;
  Json checks_ = Json::array(), rates_ = Json::array();
};

int run_objbench(Invocation& self, const ObjbenchOptions& options) {
  if (self.operands.size() != 1) {
    return self.usage("objbench takes one URL: file:///abs/dir or s3://bucket/prefix");
  }
  Progress progress(self.report, self.progress);
  Results results(self, progress);
  const skerry_store_rate_function on_rate = [](void* to, const struct skerry_store_rate* rate) {
    static_cast<Results*>(to)->rate(*rate);
  };
  const int wrong = skerry_probe_store(
      self.operands[0].c_str(), cancel_flag(),
      [](void* to, const struct skerry_store_check* check) {
        static_cast<Results*>(to)->check(*check);
      },
      options.no_rates ? nullptr : on_rate,
      [](void* to, const char* what, uint64_t done, uint64_t total) {
        return static_cast<Results*>(to)->progress(what, done, total);
      },
      &results);
  self.report.clear_progress();
  if (wrong < 0) {
    if (!(interrupted() && wrong == -ECANCELED)) self.report.failure(skerry_last_error());
    return kExitFailure;
  }
  if (self.json) self.out.document(results.document());
  if (wrong > 0) {
    self.report.failure(std::to_string(wrong) +
                        " of the checks went wrong; a volume's data is not "
                        "safe in this store");
  }
  return self.status();
}

}  // namespace

void add_objbench_commands(CommandTable& table) {
  const auto options = std::make_shared<ObjbenchOptions>();
  table.push_back(
      {.name = "objbench",
       .group = "Volumes",
       .operands = "URL",
       .summary = "Check and measure an object store",
       .details =
           "Says of each thing that a volume needs whether the store does it, then measures\n"
           "puts and gets. The folder or bucket must be there. Works below a prefix of its\n"
           "own, \"skerry-objbench-...\", which it removes; takes up to a minute.\n"
           "Examples:\n"
           "  skerry objbench file:///srv/data\n"
           "  skerry objbench 's3://bucket/prefix?endpoint=http://127.0.0.1:9000' --json",
       .takes_volume = false,
       .prints_table = true,
       .long_running = true,
       .declare =
           [=](CLI::App& app) { app.add_flag("--no-rates", options->no_rates, "Check only"); },
       .run = [=](Invocation& self) { return run_objbench(self, *options); }});
}

}  // namespace skerry::cli
