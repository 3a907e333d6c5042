// credential_process of a profile: a program that prints keys; see "Process credential provider" of
// the AWS SDKs and Tools Reference Guide.
#pragma once

#include <string>

#include "io/op_context.h"
#include "object/s3/signature.h"

namespace skerry::s3 {

/// Runs `command` with /bin/sh in a process group of its own, which is killed at the context's end.
/// Of what it prints nothing but the keys is used, and nothing is shown; its standard error goes
/// nowhere.
Result<Credentials> run_credential_process(const OpContext& ctx, const std::string& command);

}  // namespace skerry::s3
