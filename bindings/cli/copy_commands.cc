// cp, put, get: copying between this host and a volume, both ways, and inside a volume.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>

#include "command.h"
#include "copier.h"

namespace skerry::cli {
namespace {

struct CpOptions {
  CopyOptions copy;
  bool no_target_directory = false;
};

// An operand of cp: ":path" is in the volume, anything else on this host.
struct Place {
  std::string path;
  bool in_volume = false;
  bool is_stream() const { return !in_volume && path == "-"; }
};

Place parse_place(const std::string& operand) {
  if (!operand.empty() && operand[0] == ':') return {operand.substr(1), true};
  return {operand, false};
}

// The name a source gets inside a directory: none for "dir/." and "/", whose content is meant.
std::string name_in_directory(const std::string& source) {
  const std::string name = base_name(source);
  return name == "." || name == ".." ? "" : name;
}

void report_item(const CopyItem& item, Report& report) {
  if (!item.error.empty() && !item.cancelled) report.failure(item.error);
}

int copy_stream(Invocation& self, const Session& session, const Place& source,
                const Place& destination) {
  CopyItem item;
  item.from = source.path;
  item.to = destination.path;
  if (source.is_stream()) {
    upload_descriptor(session, STDIN_FILENO, item);
  } else {
    download_descriptor(session, STDOUT_FILENO, item);
  }
  report_item(item, self.report);
  return self.status();
}

void summarize(Invocation& self, const CopyTotals& totals, double seconds, bool verbose) {
  if (self.json) {
    self.out.document({{"files", totals.files.load()},
                       {"directories", totals.directories.load()},
                       {"symlinks", totals.symlinks.load()},
                       {"hard_links", totals.hard_links.load()},
                       {"others", totals.others.load()},
                       {"bytes", totals.bytes.load()},
                       {"skipped", totals.skipped.load()},
                       {"failed", totals.failed.load()},
                       {"seconds", seconds}});
  }
  if (!verbose) return;
  self.report.note(std::to_string(totals.files) + " files (" + human_size(totals.bytes) + "), " +
                   std::to_string(totals.directories) + " directories, " +
                   std::to_string(totals.symlinks) + " symlinks, " +
                   std::to_string(totals.hard_links) + " hard links, " +
                   std::to_string(totals.others) + " others copied; " +
                   std::to_string(totals.skipped) + " skipped, " + std::to_string(totals.failed) +
                   " failed; " + std::to_string(static_cast<int64_t>(seconds * 1000)) + " ms");
}

int run_copy(Invocation& self, const Session& session, const std::vector<Place>& sources,
             const Place& destination, const CpOptions& options) {
  const bool from_volume = sources.front().in_volume;
  for (const Place& source : sources) {
    if (source.in_volume != from_volume) {
      return self.usage("the sources are all on this host or all in the volume");
    }
    if (source.path.empty()) return self.usage("an empty path is no source");
  }
  if (!from_volume && !destination.in_volume) {
    return self.usage("no path is in the volume; a path in the volume begins with a colon");
  }
  if (sources.front().is_stream() || destination.is_stream()) {
    if (sources.size() != 1) return self.usage("\"-\" goes with one other path");
    return copy_stream(self, session, sources.front(), destination);
  }

  const auto local = make_local_tree();
  const auto volume = make_volume_tree(session);
  Tree& from = from_volume ? *volume : *local;
  Tree& to = destination.in_volume ? *volume : *local;
  const bool same_side = from_volume && destination.in_volume;
  const auto mover = same_side     ? make_inside_mover(session)
                     : from_volume ? make_downloader(session)
                                   : make_uploader(session);
  const std::string target = destination.path.empty() ? "/" : destination.path;
  Attributes attributes;
  const int rc = to.stat(target, true, &attributes);
  const bool into = rc == 0 && attributes.is_directory() && !options.no_target_directory;
  if (rc < 0 && rc != -ENOENT) {
    if (rc != -ECANCELED) self.report.failure(to.explain(rc, target));
    return kExitFailure;
  }
  if (sources.size() > 1 && !into) {
    self.report.failure(to.show(target) + ": not a directory, and there are several sources");
    return kExitFailure;
  }

  const auto started = std::chrono::steady_clock::now();
  Progress progress(self.report, self.progress);
  TreeCopier copier(from, to, *mover, same_side, options.copy, self.report, progress);
  for (const Place& source : sources) {
    if (interrupted()) break;
    const std::string name = name_in_directory(source.path);
    copier.copy(source.path, into && !name.empty() ? join_path(target, name) : target);
  }
  copier.finish();
  self.report.clear_progress();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  summarize(self, copier.totals(), seconds.count(), options.copy.verbose);
  return self.status();
}

int run_cp(Invocation& self, const CpOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.size() < 2) return self.usage("cp takes SOURCE... DESTINATION");
  std::vector<Place> places;
  for (const std::string& operand : self.operands) places.push_back(parse_place(operand));
  const Place destination = places.back();
  places.pop_back();
  return run_copy(self, *session, places, destination, options);
}

// A path that is in the volume for certain; the colon of cp is welcome too.
Place volume_place(const std::string& operand) {
  return {!operand.empty() && operand[0] == ':' ? operand.substr(1) : operand, true};
}

int run_put(Invocation& self, const CpOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.size() < 2) return self.usage("put takes LOCAL... PATH");
  std::vector<Place> sources;
  for (size_t i = 0; i + 1 < self.operands.size(); ++i) {
    sources.push_back({self.operands[i], false});
  }
  return run_copy(self, *session, sources, volume_place(self.operands.back()), options);
}

int run_get(Invocation& self, const CpOptions& options) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.empty()) return self.usage("get takes PATH... [LOCAL]");
  std::vector<std::string> operands = self.operands;
  if (operands.size() == 1) operands.push_back(".");
  std::vector<Place> sources;
  for (size_t i = 0; i + 1 < operands.size(); ++i) sources.push_back(volume_place(operands[i]));
  return run_copy(self, *session, sources, {operands.back(), false}, options);
}

constexpr const char* kKept =
    "Mode, modification time, holes and user.* attributes are kept; with -r also symlinks, hard\n"
    "links inside the tree, fifos and devices. -p keeps owner, group, access time and set-id "
    "bits.\n"
    "A failure is reported with its path and the rest goes on; the exit status is then 1.\n"
    "A copy that was interrupted is completed by running it again with -u (and -T, since the\n"
    "destination exists by then):\n"
    "  skerry cp -ruT sqlite:///srv/vol.db ./src :/dst\n";

}  // namespace

void add_copy_commands(CommandTable& table) {
  const auto options = std::make_shared<CpOptions>();
  const auto declare = [=](CLI::App& app) {
    app.add_flag("-r,-R,--recursive", options->copy.recursive, "Directories with all they hold");
    app.add_flag("-p,--preserve", options->copy.preserve,
                 "Keep owner, group, access time and set-id bits too");
    app.add_flag("-u,--update", options->copy.update,
                 "Skip files whose size and modification time are equal");
    app.add_flag("-T,--no-target-directory", options->no_target_directory,
                 "The destination is the new name, never a directory to copy into");
    app.add_flag("-v,--verbose", options->copy.verbose, "Totals at the end, on standard error");
  };
  const std::string group = "Copying";
  table.push_back({.name = "cp",
                   .group = group,
                   .operands = "[META_URL] SOURCE... DESTINATION",
                   .summary = "Copy files and trees; a path in the volume begins with a colon",
                   .details = std::string("Examples:\n"
                                          "  skerry cp -r sqlite:///srv/vol.db ./src :/dst\n"
                                          "  skerry cp -r sqlite:///srv/vol.db :/dst ./back\n"
                                          "  skerry cp :/a :/b      (data is shared, not copied)\n"
                                          "  pg_dump db | skerry cp - :/backup.sql\n") +
                              kKept,
                   .prints_table = true,
                   .long_running = true,
                   .declare = declare,
                   .run = [=](Invocation& self) { return run_cp(self, *options); }});
  table.push_back({.name = "put",
                   .group = group,
                   .operands = "[META_URL] LOCAL... PATH",
                   .summary = "Copy from this host into the volume",
                   .details = std::string("Example:\n"
                                          "  skerry put -r sqlite:///srv/vol.db ./src /dst\n") +
                              kKept,
                   .prints_table = true,
                   .long_running = true,
                   .declare = declare,
                   .run = [=](Invocation& self) { return run_put(self, *options); }});
  table.push_back({.name = "get",
                   .group = group,
                   .operands = "[META_URL] PATH... [LOCAL]",
                   .summary = "Copy from the volume to this host, to \".\" by default",
                   .details = std::string("Example:\n"
                                          "  skerry get -r sqlite:///srv/vol.db /dst ./back\n") +
                              kKept,
                   .prints_table = true,
                   .long_running = true,
                   .declare = declare,
                   .run = [=](Invocation& self) { return run_get(self, *options); }});
}

}  // namespace skerry::cli
