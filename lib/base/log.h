// Logging: off unless the host installs a sink. The library never prints.
#pragma once

#include <string_view>

namespace skerry {

enum class LogLevel : int { kError = 0, kWarning = 1, kInfo = 2, kDebug = 3 };
using LogSink = void (*)(void* context, LogLevel level, std::string_view message);

/// Installs the process-wide sink (nullptr: none). The sink may be called from any thread.
void set_log_sink(LogSink sink, void* context, LogLevel max_level) noexcept;
bool log_enabled(LogLevel level) noexcept;
void log_message(LogLevel level, std::string_view message) noexcept;

}  // namespace skerry
