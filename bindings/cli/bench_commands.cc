// bench: what a volume's parts can do on this machine, beside what they rest on.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <thread>

#include "bench_floor.h"
#include "command.h"

namespace skerry::cli {
namespace {

struct MetaOptions {
  std::vector<unsigned> callers = {1, 8, 32};
  uint64_t files = 2000;  // of all callers together
  unsigned depth = 1, rounds = 3;
  bool shared = false, no_floor = false;
};

constexpr std::array<const char*, 6> kOperations = {"create", "stat",   "open",
                                                    "list",   "rename", "unlink"};
enum Operation : size_t { kCreate, kStat, kOpen, kList, kRename, kUnlink, kOperationCount };

// What one phase of one round came to, per operation.
struct Figures {
  double rate = 0, cpu_us = 0, p50_us = 0, p99_us = 0, round_trips = 0;
};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

uint64_t round_trips(const Session& session) {
  std::vector<skerry_counter> counters(64);
  const int count = skerry_counters(session.volume(), counters.data(), counters.size());
  uint64_t sum = 0;
  for (int i = 0; i < std::min(count, 64); ++i) {
    const std::string name = counters[static_cast<size_t>(i)].name;
    if (name == "metadata_reads" || name == "metadata_commits") {
      sum += counters[static_cast<size_t>(i)].value;
    }
  }
  return sum;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Callers that each do `each` operations: `work(caller, index)` returns how many it did, or a
// negative number to stop all.
template <typename Work>
bool run_phase(unsigned callers, uint64_t each, const Work& work, Figures* out) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<double>> latencies(callers);
  std::atomic<uint64_t> done = 0;
  std::atomic<bool> stop = false;
  const auto start = Clock::now();
  const double cpu = cpu_seconds();
  std::vector<std::thread> threads;
  for (unsigned c = 0; c < callers; ++c) {
    threads.emplace_back([&, c] {
      latencies[c].reserve(each);
      for (uint64_t i = 0; i < each && !stop && !interrupted(); ++i) {
        const auto before = Clock::now();
        const int64_t count = work(c, i);
        if (count < 0) {
          stop = true;
          return;
        }
        latencies[c].push_back(
            std::chrono::duration<double, std::micro>(Clock::now() - before).count());
        done += static_cast<uint64_t>(count);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double wall = std::chrono::duration<double>(Clock::now() - start).count();
  std::vector<double> all;
  for (const auto& part : latencies) all.insert(all.end(), part.begin(), part.end());
  std::sort(all.begin(), all.end());
  if (stop || interrupted() || all.empty() || done == 0) return false;
  const auto operations = static_cast<double>(done);
  out->rate = operations / wall;
  out->cpu_us = (cpu_seconds() - cpu) * 1e6 / operations;
  out->p50_us = all[all.size() / 2];
  out->p99_us = all[std::min(all.size() - 1, all.size() * 99 / 100)];
  return true;
}

class MetaBench {
 public:
  MetaBench(Invocation& self, const MetaOptions& options, const Session& session, Floor* floor)
      : self_(self), options_(options), session_(session), floor_(floor) {}

  ~MetaBench() {
    if (made_)
      skerry_remove_tree(session_.volume(), nullptr, root_.c_str(), nullptr, nullptr, nullptr);
  }

  bool run(Json* rows) {
    Progress progress(self_.report, self_.progress);
    if (!session_.check(skerry_mkdir(session_.volume(), session_.context(), root_.c_str(), 0777))) {
      return false;
    }
    made_ = true;
    unsigned done = 0;
    const auto total = static_cast<unsigned>(options_.callers.size()) * options_.rounds;
    for (const unsigned callers : options_.callers) {
      std::array<std::vector<Figures>, kOperationCount> ours, theirs;
      for (unsigned round = 0; round < options_.rounds; ++round) {
        progress.set("round", done++, total);
        if (!volume_round(callers, round, ours)) return false;
        if (floor_ != nullptr && !floor_round(callers, theirs)) return false;
      }
      for (size_t op = 0; op < kOperationCount; ++op) {
        rows->push_back(row(callers, op, ours.at(op), theirs.at(op)));
      }
    }
    self_.report.clear_progress();
    return true;
  }

 private:
  using Rounds = std::array<std::vector<Figures>, kOperationCount>;

  static Json row(unsigned callers, size_t op, const std::vector<Figures>& ours,
                  const std::vector<Figures>& theirs) {
    const auto middle = [](const std::vector<Figures>& all, double Figures::*field) {
      std::vector<double> values;
      for (const Figures& f : all) values.push_back(f.*field);
      return median(std::move(values));
    };
    Json out = {{"operation", kOperations.at(op)},
                {"callers", callers},
                {"rate", middle(ours, &Figures::rate)},
                {"p50_us", middle(ours, &Figures::p50_us)},
                {"p99_us", middle(ours, &Figures::p99_us)},
                {"cpu_us", middle(ours, &Figures::cpu_us)},
                {"round_trips", middle(ours, &Figures::round_trips)}};
    if (!theirs.empty()) {
      std::vector<double> ratios;
      for (size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i].rate / theirs.at(i).rate);
      out["floor_rate"] = middle(theirs, &Figures::rate);
      out["floor_p50_us"] = middle(theirs, &Figures::p50_us);
      out["floor_p99_us"] = middle(theirs, &Figures::p99_us);
      out["floor_cpu_us"] = middle(theirs, &Figures::cpu_us);
      out["ratio"] = median(std::move(ratios));
    }
    return out;
  }

  template <typename Work>
  bool measured(unsigned callers, uint64_t each, const Work& work, std::vector<Figures>* into) {
    Figures figures;
    const uint64_t before = round_trips(session_);
    uint64_t operations = callers * each;
    if (!run_phase(callers, each, work, &figures)) return false;
    figures.round_trips =
        static_cast<double>(round_trips(session_) - before) / static_cast<double>(operations);
    into->push_back(figures);
    return true;
  }

  bool volume_round(unsigned callers, unsigned round, Rounds& into) {
    skerry_volume* const volume = session_.volume();
    const skerry_context* const context = session_.context();
    const uint64_t each = std::max<uint64_t>(1, options_.files / callers);
    // One directory a caller, or one for all, below `depth` - 1 others.
    std::vector<std::string> folders;
    std::string parent = root_ + "/" + std::to_string(callers) + "-" + std::to_string(round);
    if (!make(parent)) return false;
    for (unsigned level = 1; level < options_.depth; ++level) {
      parent += "/d";
      if (!make(parent)) return false;
    }
    for (unsigned c = 0; c < callers; ++c) {
      folders.push_back(options_.shared ? parent : parent + "/c" + std::to_string(c));
      if (!options_.shared && !make(folders.back())) return false;
    }
    const auto path = [&](unsigned c, uint64_t i, const char* prefix) {
      return folders[c] + "/" + prefix + std::to_string(c) + "-" + std::to_string(i);
    };
    const auto answer = [&](int64_t rc, int64_t done = 1) {
      return session_.check(rc) ? done : -1;
    };
    const auto open_close = [&](const std::string& name, int flags) -> int64_t {
      skerry_file* file = nullptr;
      const int rc = skerry_open(volume, context, name.c_str(), flags, 0644, &file);
      return rc < 0 ? answer(rc) : answer(skerry_close(file, context));
    };
    return measured(
               callers, each,
               [&](unsigned c, uint64_t i) {
                 return open_close(path(c, i, "f"), O_CREAT | O_EXCL | O_WRONLY);
               },
               &into[kCreate]) &&
           measured(
               callers, each,
               [&](unsigned c, uint64_t i) {
                 struct skerry_stat stat = {};
                 return answer(skerry_stat(volume, context, path(c, i, "f").c_str(), &stat));
               },
               &into[kStat]) &&
           measured(
               callers, each,
               [&](unsigned c, uint64_t i) { return open_close(path(c, i, "f"), O_RDONLY); },
               &into[kOpen]) &&
           measured(
               callers, 1,
               [&](unsigned c, uint64_t) {
                 int64_t entries = 0;
                 const int rc = session_.list(folders[c], true, [&](const Session::Listed&) {
                   ++entries;
                   return true;
                 });
                 return answer(rc, entries);
               },
               &into[kList]) &&
           measured(
               callers, each,
               [&](unsigned c, uint64_t i) {
                 return answer(skerry_rename(volume, context, path(c, i, "f").c_str(),
                                             path(c, i, "r").c_str()));
               },
               &into[kRename]) &&
           measured(
               callers, each,
               [&](unsigned c, uint64_t i) {
                 return answer(skerry_unlink(volume, context, path(c, i, "r").c_str()));
               },
               &into[kUnlink]);
  }

  bool make(const std::string& path) {
    return session_.check(skerry_mkdir(session_.volume(), session_.context(), path.c_str(), 0777));
  }

  bool floor_round(unsigned callers, Rounds& into) {
    std::string why;
    const uint64_t each = std::max<uint64_t>(1, options_.files / callers);
    std::vector<std::unique_ptr<FloorCaller>> made;
    std::vector<int64_t> folders;
    for (unsigned c = 0; c < callers; ++c) {
      made.push_back(floor_->caller(&why));
      if (made.back() == nullptr) return fail(why);
      if (c == 0 || !options_.shared) {
        folders.push_back(++last_ino_);
        if (!floor_->add_directory(last_ino_, &why)) return fail(why);
      } else {
        folders.push_back(folders[0]);
      }
    }
    const int64_t first = last_ino_ + 1;
    last_ino_ += static_cast<int64_t>(callers * each);
    const auto name = [&](unsigned c, uint64_t i, const char* prefix) {
      return prefix + std::to_string(c) + "-" + std::to_string(i);
    };
    const auto ino = [&](unsigned c, uint64_t i) {
      return first + static_cast<int64_t>(c * each + i);
    };
    const auto answer = [&](unsigned c, bool ok, int64_t done = 1) -> int64_t {
      if (!ok) fail(made[c]->error());
      return ok ? done : -1;
    };
    const auto look = [&](unsigned c, uint64_t i) {
      return answer(c, made[c]->stat(folders[c], name(c, i, "f"), options_.depth + 2));
    };
    return measured(
               callers, each,
               [&](unsigned c, uint64_t i) {
                 return answer(c, made[c]->create(folders[c], name(c, i, "f"), ino(c, i)));
               },
               &into[kCreate]) &&
           measured(callers, each, look, &into[kStat]) &&
           measured(callers, each, look, &into[kOpen]) &&
           measured(
               callers, 1,
               [&](unsigned c, uint64_t) {
                 uint64_t entries = 0;
                 const bool ok = made[c]->list(folders[c], &entries);
                 return answer(c, ok, static_cast<int64_t>(entries));
               },
               &into[kList]) &&
           measured(
               callers, each,
               [&](unsigned c, uint64_t i) {
                 return answer(
                     c, made[c]->rename(folders[c], name(c, i, "f"), name(c, i, "r"), ino(c, i)));
               },
               &into[kRename]) &&
           measured(
               callers, each,
               [&](unsigned c, uint64_t i) {
                 return answer(c, made[c]->unlink(folders[c], name(c, i, "r"), ino(c, i)));
               },
               &into[kUnlink]);
  }

  bool fail(const std::string& sentence) {
    self_.report.failure("floor: " + sentence);
    return false;
  }

  Invocation& self_;
  const MetaOptions& options_;
  const Session& session_;
  Floor* const floor_;
  const std::string root_ = "/skerry-bench-" + std::to_string(getpid());
  bool made_ = false;
  int64_t last_ino_ = 1'000'000;
};

void print_table(Output& out, const Json& rows) {
  const auto text = [](const Json& row, const char* key, int decimals) {
    std::array<char, 32> buffer;
    if (!row.contains(key)) return std::string("-");
    std::snprintf(buffer.data(), buffer.size(), "%.*f", decimals, row[key].get<double>());
    return std::string(buffer.data());
  };
  std::array<char, 160> line;
  const auto print = [&](const std::array<std::string, 9>& c) {
    std::snprintf(line.data(), line.size(), "%-8s %7s %9s %9s %9s %8s %11s %9s %6s", c[0].c_str(),
                  c[1].c_str(), c[2].c_str(), c[3].c_str(), c[4].c_str(), c[5].c_str(),
                  c[6].c_str(), c[7].c_str(), c[8].c_str());
    out.line(line.data());
  };
  print(
      {"", "callers", "a second", "p50 us", "p99 us", "CPU us", "round trips", "floor/s", "ratio"});
  for (const Json& row : rows) {
    print({row["operation"].get<std::string>(), std::to_string(row["callers"].get<unsigned>()),
           text(row, "rate", 0), text(row, "p50_us", 0), text(row, "p99_us", 0),
           text(row, "cpu_us", 1), text(row, "round_trips", 2), text(row, "floor_rate", 0),
           text(row, "ratio", 2)});
  }
}

int run_meta(Invocation& self, const MetaOptions& options) {
  const std::string url = self.take_url();
  if (url.empty()) return kExitUsage;
  if (!self.operands.empty()) return self.usage("bench meta takes META_URL only");
  for (const unsigned callers : options.callers) {
    if (callers == 0 || callers > 1024) return self.usage("--callers are 1 to 1024");
  }
  if (options.files == 0 || options.rounds == 0 || options.depth == 0) {
    return self.usage("--files, --rounds and --depth are at least 1");
  }
  const auto session = Session::open(url, self.volume_options, self.report, self.cost);
  if (!session) return kExitFailure;
  std::unique_ptr<Floor> floor;
  std::string why;
  if (!options.no_floor) {
    floor = Floor::make(url, &why);
    if (floor == nullptr) self.report.note("no floor: " + why);
  }
  Json rows = Json::array();
  const bool ok = MetaBench(self, options, *session, floor.get()).run(&rows);
  if (!ok) return kExitFailure;
  if (self.json) {
    Json document = {{"files", options.files},
                     {"depth", options.depth},
                     {"rounds", options.rounds},
                     {"one_directory", options.shared},
                     {"cores", std::thread::hardware_concurrency()}};
    if (floor != nullptr) document["floor"] = floor->describe();
    document["results"] = std::move(rows);
    self.out.document(document);
  } else {
    print_table(self.out, rows);
    if (floor != nullptr) self.out.line("floor: the same rows by " + floor->describe());
  }
  return self.status();
}

}  // namespace

void add_bench_commands(CommandTable& table) {
  const auto options = std::make_shared<MetaOptions>();
  table.push_back(
      {.name = "bench",
       .group = "Volumes",
       .operands = "meta META_URL",
       .summary = "Measure a volume's metadata beside its bare database",
       .details =
           "Works in a directory of its own, which it removes, and, for the floor, in tables of\n"
           "its own beside the volume's. Figures are medians of the rounds; CPU is this "
           "process's.\n"
           "Examples:\n"
           "  skerry bench meta sqlite:///srv/vol.db\n"
           "  skerry bench meta postgres://me@db/files --callers 1,32 -o metadata_cache=0 --json",
       .prints_table = true,
       .long_running = true,
       .declare =
           [=](CLI::App& app) {
             app.add_option("--callers", options->callers, "Threads, one measurement each (1,8,32)")
                 ->delimiter(',');
             app.add_option("--files", options->files, "Files of all callers together (2000)");
             app.add_option("--depth", options->depth, "Directories above a file's own (1)");
             app.add_option("--rounds", options->rounds, "Rounds, of which the median (3)");
             app.add_flag("--one-directory", options->shared, "All callers in one directory");
             app.add_flag("--no-floor", options->no_floor, "Without the bare database");
           },
       .run =
           [=](Invocation& self) {
             if (self.operands.empty() || self.operands[0] != "meta") {
               return self.usage("bench measures: meta");
             }
             self.operands.erase(self.operands.begin());
             return run_meta(self, *options);
           }});
}

}  // namespace skerry::cli
