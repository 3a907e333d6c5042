// What a command prints, for secrets that a program of the user's hands over.
#pragma once

#include <string>

#include "base/result.h"
#include "io/op_context.h"

namespace skerry {

/// Runs `command` with /bin/sh in a process group of its own, which is killed at the context's end.
/// Its standard error goes nowhere, and nothing of what it prints is shown. EACCES where it fails
/// or prints more than 64 KiB. Messages do not name the command.
Result<std::string> command_output(const OpContext& ctx, const std::string& command);

}  // namespace skerry
