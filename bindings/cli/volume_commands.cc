// format, configure, rotate-key, status, df, sync, gc, fsck, compact: a volume as a whole.
#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>

#include "command.h"

namespace skerry::cli {
namespace {

struct FormatOptions {
  std::string storage, block_size, inline_size, session_expiry, compression, encryption_key;
  bool durable = false;
};

struct KeyOptions {
  std::string compression, encryption_key, new_encryption_key;
  bool new_data_key = false;
};

int run_format(Invocation& self, const FormatOptions& options) {
  const std::string url = self.take_url();
  if (url.empty()) return kExitUsage;
  if (!self.operands.empty()) return self.usage("format takes META_URL only");
  std::vector<std::string> settings = self.volume_options;
  if (!options.storage.empty()) settings.push_back("storage=" + options.storage);
  if (!options.block_size.empty()) settings.push_back("block_size=" + options.block_size);
  if (!options.inline_size.empty()) settings.push_back("inline=" + options.inline_size);
  if (!options.session_expiry.empty()) {
    settings.push_back("session_expiry=" + options.session_expiry);
  }
  if (!options.compression.empty()) settings.push_back("compression=" + options.compression);
  if (!options.encryption_key.empty()) {
    settings.push_back("encryption_key=" + options.encryption_key);
  }
  if (options.durable) settings.push_back("durable=1");
  constexpr int kWarnings = 1;
  skerry_set_log(
      [](void* report, int, const char* line) { static_cast<Report*>(report)->note(line); },
      &self.report, kWarnings);
  if (skerry_format(url.c_str(), option_array(settings).data()) < 0) {
    self.report.failure(skerry_last_error());
  } else if (self.verbose) {
    self.report.note("formatted");  // the URL may hold a password
  }
  skerry_set_log(nullptr, nullptr, kWarnings);
  return self.status();
}

// A command on a volume that is not open: `call` with META_URL and the settings that are given.
int run_settings(Invocation& self, int (*call)(const char*, const char* const*),
                 const std::vector<std::pair<const char*, std::string>>& given) {
  const std::string url = self.take_url();
  if (url.empty()) return kExitUsage;
  if (!self.operands.empty()) return self.usage("the command takes META_URL only");
  std::vector<std::string> settings = self.volume_options;
  for (const auto& [key, value] : given) {
    if (!value.empty()) settings.push_back(std::string(key) + "=" + value);
  }
  if (call(url.c_str(), option_array(settings).data()) < 0) {
    self.report.failure(skerry_last_error());
  } else if (self.verbose) {
    self.report.note("done");
  }
  return self.status();
}

int run_configure(Invocation& self, const KeyOptions& options) {
  return run_settings(
      self, skerry_configure,
      {{"compression", options.compression}, {"encryption_key", options.encryption_key}});
}

int run_rotate_key(Invocation& self, const KeyOptions& options) {
  return run_settings(self, skerry_rotate_key,
                      {{"encryption_key", options.encryption_key},
                       {"new_encryption_key", options.new_encryption_key},
                       {"new_data_key", options.new_data_key ? "1" : ""}});
}

std::string scalar_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// "format.block_size: 4194304" for every leaf.
void print_tree(Output& out, const Json& value, const std::string& prefix) {
  if (value.is_object() || value.is_array()) {
    size_t index = 0;
    for (const auto& [key, item] : value.items()) {
      const std::string name = value.is_array() ? std::to_string(index++) : key;
      print_tree(out, item, prefix.empty() ? name : prefix + "." + name);
    }
    if (value.empty()) out.line(prefix + ": none");
    return;
  }
  out.line(prefix + ": " + scalar_text(value));
}

int run_status(Invocation& self) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  std::string text(16 << 10, '\0');
  int64_t length =
      skerry_volume_info(session->volume(), session->context(), text.data(), text.size());
  // The text may grow between two calls: sessions come and go.
  for (int attempt = 0; attempt < 8 && length >= static_cast<int64_t>(text.size()); ++attempt) {
    text.resize(static_cast<size_t>(length) * 2 + 1);
    length = skerry_volume_info(session->volume(), session->context(), text.data(), text.size());
  }
  if (!session->check(length)) return kExitFailure;
  text.resize(std::min(static_cast<size_t>(length), text.size()));
  const Json info = Json::parse(text, nullptr, false);
  if (info.is_discarded()) {
    self.report.failure("the volume's description is not JSON: " + text);
    return kExitFailure;
  }
  if (self.json) {
    self.out.document(info);
  } else {
    print_tree(self.out, info, "");
  }
  return self.status();
}

int run_df(Invocation& self, bool human) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (!self.operands.empty()) return self.usage("df takes META_URL only");
  struct skerry_statvfs usage = {};
  if (!session->check(skerry_statvfs(session->volume(), session->context(), &usage))) {
    return kExitFailure;
  }
  const uint64_t free_bytes =
      usage.total_bytes > usage.used_bytes ? usage.total_bytes - usage.used_bytes : 0;
  if (self.json) {
    self.out.document({{"total_bytes", usage.total_bytes},
                       {"used_bytes", usage.used_bytes},
                       {"free_bytes", free_bytes},
                       {"total_inodes", usage.total_inodes},
                       {"used_inodes", usage.used_inodes},
                       {"block_bytes", usage.block_bytes},
                       {"name_max", usage.name_max}});
    return self.status();
  }
  const auto size = [&](uint64_t bytes) {
    return human ? human_size(bytes) : std::to_string(bytes);
  };
  std::array<char, 256> line;
  std::snprintf(line.data(), line.size(), "%18s %18s %18s %5s %14s", "Size", "Used", "Free", "Use%",
                "Inodes used");
  self.out.line(line.data());
  const double share = usage.total_bytes == 0 ? 0
                                              : 100.0 * static_cast<double>(usage.used_bytes) /
                                                    static_cast<double>(usage.total_bytes);
  std::snprintf(line.data(), line.size(), "%18s %18s %18s %4.0f%% %14s",
                size(usage.total_bytes).c_str(), size(usage.used_bytes).c_str(),
                size(free_bytes).c_str(), share, std::to_string(usage.used_inodes).c_str());
  self.out.line(line.data());
  return self.status();
}

int run_sync(Invocation& self) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  session->check(skerry_sync(session->volume(), session->context()));
  return self.status();
}

// Carries a command's own state through the C callbacks.
struct Care {
  Invocation* self;
  Progress* progress;
  uint64_t problems = 0;
};

int on_progress(void* context, const char* what, uint64_t done, uint64_t total) {
  static_cast<Care*>(context)->progress->set(what, done, total);
  return interrupted() ? 1 : 0;
}

int run_gc(Invocation& self, bool dry_run) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (!self.operands.empty()) return self.usage("gc takes META_URL only");
  Progress progress(self.report, self.progress);
  Care care{&self, &progress};
  const skerry_gc_options options = {sizeof(options), dry_run ? 1 : 0};
  skerry_gc_result result = {};
  const int rc =
      skerry_gc(session->volume(), session->context(), &options, &result, on_progress, &care);
  self.report.clear_progress();
  if (!session->check(rc)) return kExitFailure;
  const Json table = {{"dry_run", dry_run},
                      {"scanned_objects", result.scanned_objects},
                      {"scanned_bytes", result.scanned_bytes},
                      {"leaked_objects", result.leaked_objects},
                      {"leaked_bytes", result.leaked_bytes},
                      {"deleted_objects", result.deleted_objects},
                      {"reclaimed_inodes", result.reclaimed_inodes},
                      {"reclaimed_objects", result.reclaimed_objects},
                      {"pending_objects", result.pending_objects},
                      {"stale_sessions", result.stale_sessions}};
  if (self.json) {
    self.out.document(table);
  } else {
    print_tree(self.out, table, "");
  }
  return self.status();
}

void on_problem(void* context, const char* kind, const char* detail) {
  Care& care = *static_cast<Care*>(context);
  ++care.problems;
  care.self->report.clear_progress();
  if (care.self->json) {
    Json line = {{"kind", kind}};
    put_name(line, "detail", detail);
    care.self->out.json_line(line);
  } else {
    care.self->out.line(std::string(kind) + ": " + detail);
  }
}

int run_fsck(Invocation& self, bool check_data) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (!self.operands.empty()) return self.usage("fsck takes META_URL only");
  Progress progress(self.report, self.progress);
  Care care{&self, &progress};
  const skerry_fsck_options options = {sizeof(options), check_data ? 1 : 0};
  skerry_fsck_result result = {};
  const int rc = skerry_fsck(session->volume(), session->context(), &options, &result, on_problem,
                             on_progress, &care);
  self.report.clear_progress();
  if (!session->check(rc)) return kExitFailure;
  if (self.json) {
    self.out.json_line({{"directories", result.directories},
                        {"files", result.files},
                        {"symlinks", result.symlinks},
                        {"others", result.others},
                        {"orphans", result.orphans},
                        {"extents", result.extents},
                        {"checked_bytes", result.checked_bytes},
                        {"problems", result.problems},
                        {"surplus_objects", result.surplus_objects}});
  } else if (self.verbose) {
    self.report.note(std::to_string(result.directories) + " directories, " +
                     std::to_string(result.files) + " files, " + std::to_string(result.symlinks) +
                     " symlinks, " + std::to_string(result.others) + " others, " +
                     std::to_string(result.extents) + " extents, " +
                     human_size(result.checked_bytes) + " checked, " +
                     std::to_string(result.problems) + " problems, " +
                     std::to_string(result.surplus_objects) + " objects for gc");
  }
  return result.problems > 0 || care.problems > 0 ? kExitFailure : self.status();
}

int run_compact(Invocation& self) {
  int status = 0;
  const auto session = self.open(&status);
  if (!session) return status;
  if (self.operands.empty()) return self.usage("compact takes at least one PATH");
  for (const std::string& path : self.operands) {
    if (interrupted()) break;
    const int64_t chunks = skerry_compact(session->volume(), session->context(), path.c_str());
    if (session->check(chunks) && self.verbose) {
      self.report.note(path + ": " + std::to_string(chunks) + " chunks rewritten");
    }
  }
  return self.status();
}

}  // namespace

void add_volume_commands(CommandTable& table) {
  const auto format = std::make_shared<FormatOptions>();
  const auto flag = [] { return std::make_shared<bool>(false); };
  const auto verbose = flag(), human = flag(), dry_run = flag(), check_data = flag();
  const std::string group = "Volumes";
  const auto add_verbose = [verbose](CLI::App& app) {
    app.add_flag("-v,--verbose", *verbose, "Say what was done, on standard error");
  };
  const auto key_options = std::make_shared<KeyOptions>();
  const auto add_key = [](CLI::App& app, const char* name, std::string& value, const char* what) {
    app.add_option(name, value, what)->type_name("file:PATH|env:NAME|command:COMMAND");
  };
  table.push_back(
      {.name = "format",
       .group = group,
       .operands = "META_URL",
       .summary = "Create a volume",
       .details =
           "Examples:\n"
           "  skerry format sqlite:///srv/vol.db\n"
           "  skerry format sqlite:///srv/vol.db --storage file:///data/vol --block-size 8M\n"
           "  skerry format postgres://me@db/files?schema=vol1 --storage file:///nfs/vol1",
       .declare =
           [=](CLI::App& app) {
             app.add_option("--storage", format->storage, "Where data lives, such as file:///dir")
                 ->type_name("URL");
             app.add_option("--block-size", format->block_size, "Largest object, 64K to 16M")
                 ->type_name("SIZE");
             app.add_option("--inline", format->inline_size,
                            "Files up to this length live in the metadata, 0 to 64K")
                 ->type_name("SIZE");
             app.add_option("--session-expiry", format->session_expiry,
                            "Clients not heard of for so long are given up, with their locks: "
                            "5s to a day (60s)")
                 ->type_name("DURATION");
             app.add_flag("--durable", format->durable,
                          "Every call on names is durable when it returns");
             app.add_option("--compression", format->compression, "none, lz4, zstd or zstd:LEVEL")
                 ->type_name("HOW");
             add_key(app, "--encryption-key", format->encryption_key,
                     "Encrypt data; where the volume's key is");
             add_verbose(app);
           },
       .run =
           [=](Invocation& self) {
             self.verbose = *verbose;
             return run_format(self, *format);
           }});
  table.push_back({.name = "configure",
                   .group = group,
                   .operands = "[META_URL]",
                   .summary = "Compress or encrypt what is stored from now on",
                   .details =
                       "Examples:\n"
                       "  skerry configure sqlite:///srv/vol.db --compression zstd\n"
                       "  skerry configure sqlite:///srv/vol.db --encryption-key file:/etc/vol.key",
                   .declare =
                       [=](CLI::App& app) {
                         app.add_option("--compression", key_options->compression,
                                        "none, lz4, zstd or zstd:LEVEL")
                             ->type_name("HOW");
                         add_key(app, "--encryption-key", key_options->encryption_key,
                                 "Encrypt a volume that is not; where its key is");
                         add_verbose(app);
                       },
                   .run =
                       [=](Invocation& self) {
                         self.verbose = *verbose;
                         return run_configure(self, *key_options);
                       }});
  table.push_back(
      {.name = "rotate-key",
       .group = group,
       .operands = "[META_URL]",
       .summary = "Give an encrypted volume another key",
       .details = "Example:\n"
                  "  skerry rotate-key sqlite:///srv/vol.db --encryption-key file:/etc/vol.key \\\n"
                  "      --new-encryption-key file:/etc/vol.key.new",
       .declare =
           [=](CLI::App& app) {
             add_key(app, "--encryption-key", key_options->encryption_key,
                     "Where the volume's key is");
             add_key(app, "--new-encryption-key", key_options->new_encryption_key,
                     "Where the one to come is");
             app.add_flag("--new-data-key", key_options->new_data_key,
                          "Encrypt what is stored from now on with a new data key");
             add_verbose(app);
           },
       .run =
           [=](Invocation& self) {
             self.verbose = *verbose;
             return run_rotate_key(self, *key_options);
           }});
  table.push_back({.name = "status",
                   .group = group,
                   .operands = "[META_URL]",
                   .summary = "Describe a volume: settings, storage, sessions, usage",
                   .prints_table = true,
                   .run = run_status});
  table.push_back(
      {.name = "df",
       .group = group,
       .operands = "[META_URL]",
       .summary = "Show space used and free",
       .prints_table = true,
       .declare = [=](CLI::App& app) { app.add_flag("-h", *human, "Sizes such as 1.5G"); },
       .run = [=](Invocation& self) { return run_df(self, *human); }});
  table.push_back({.name = "sync",
                   .group = group,
                   .operands = "[META_URL]",
                   .summary = "Make every change durable",
                   .run = run_sync});
  table.push_back(
      {.name = "gc",
       .group = group,
       .operands = "[META_URL]",
       .summary = "Delete data that nothing refers to",
       .prints_table = true,
       .long_running = true,
       .declare =
           [=](CLI::App& app) { app.add_flag("-n,--dry-run", *dry_run, "Count, delete nothing"); },
       .run = [=](Invocation& self) { return run_gc(self, *dry_run); }});
  table.push_back(
      {.name = "fsck",
       .group = group,
       .operands = "[META_URL]",
       .summary = "Check a volume; exit status 1 if there are problems",
       .details = "--json prints a line {kind, detail} for each problem, then a line of totals.",
       .prints_table = true,
       .long_running = true,
       .declare =
           [=](CLI::App& app) {
             app.add_flag("--check-data", *check_data, "Read all data and verify its checksums");
             add_verbose(app);
           },
       .run =
           [=](Invocation& self) {
             self.verbose = *verbose;
             return run_fsck(self, *check_data);
           }});
  table.push_back({.name = "compact",
                   .group = group,
                   .operands = "[META_URL] PATH...",
                   .summary = "Rewrite fragmented files",
                   .declare = add_verbose,
                   .run = [=](Invocation& self) {
                     self.verbose = *verbose;
                     return run_compact(self);
                   }});
}

}  // namespace skerry::cli
