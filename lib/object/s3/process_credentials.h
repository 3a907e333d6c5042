// credential_process of a profile: a program that prints keys; see "Process credential provider" of
// the AWS SDKs and Tools Reference Guide.
#pragma once

#include <string>

#include "io/op_context.h"
#include "object/s3/signature.h"

namespace skerry::s3 {

/// Of what it prints nothing but the keys is used, and nothing is shown; see command_output().
Result<Credentials> run_credential_process(const OpContext& ctx, const std::string& command);

}  // namespace skerry::s3
