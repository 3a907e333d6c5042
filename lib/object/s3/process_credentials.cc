#include "object/s3/process_credentials.h"

#include <utility>

#include "io/command_output.h"
#include "object/s3/credentials_answer.h"

namespace skerry::s3 {
namespace {

constexpr char kWho[] = "credential_process";

}  // namespace

Result<Credentials> run_credential_process(const OpContext& ctx, const std::string& command) {
  auto printed = command_output(ctx, command);
  if (!printed.ok()) return std::move(printed).error().with_context(kWho);
  return credentials_of_process(*printed, kWho);
}

}  // namespace skerry::s3
