// What the benchmarks share: repeated timing of alternatives side by side, medians, ratios, JSON.
//
// Every comparison interleaves its contestants (A B A B ...), so that a noisy neighbour meets both,
// and reports the median of the rounds, wall and CPU (of the whole process, kernel included).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bench {

struct Sample {
  double wall_ns = 0;  // per operation
  double cpu_ns = 0;
};

/// Runs `body` once and divides by `operations`.
Sample time_once(uint64_t operations, const std::function<void()>& body);

struct Contestant {
  std::string name;
  uint64_t operations;  // done by one call of body
  std::function<void()> body;
  std::function<void()> before = {};  // not timed
};

struct Outcome {
  std::string name;
  Sample median;
};

/// Runs all contestants `rounds` times in turn, after one round that is not counted (`warm`).
std::vector<Outcome> compare(const std::vector<Contestant>& contestants, int rounds,
                             bool warm = true);

/// Collects results; prints them as a table, and as JSON to the file named by --json.
class Report {
 public:
  Report(std::string title, int argc, char** argv);
  ~Report();
  /// One line of the table: what was measured, ours, the peer or limit beside it, the wanted bound
  /// on `ratio` (ours / other), whether smaller or larger is better.
  void line(const std::string& what, double ours, const std::string& unit,
            const std::string& other_name, double other, double wanted, bool at_most);
  /// A figure with no other beside it. wanted < 0: none.
  void figure(const std::string& what, double ours, const std::string& unit, double wanted = -1,
              bool at_most = true);
  void condition(const std::string& name, const std::string& value);

 private:
  struct Line {
    std::string what, unit, other_name;
    double ours, other, wanted;
    bool at_most, has_other;
  };
  std::string title_, json_path_;
  std::vector<Line> lines_;
  std::vector<std::pair<std::string, std::string>> conditions_;
};

/// A directory of its own under `parent`, removed at exit.
class Scratch {
 public:
  explicit Scratch(const std::string& parent);
  ~Scratch();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Ends the program with a sentence if `ok` is false.
void must(bool ok, const std::string& what);
uint64_t mix(uint64_t x);
/// The value of --name=..., or `otherwise`.
std::string argument(int argc, char** argv, const std::string& name, const std::string& otherwise);

}  // namespace bench
