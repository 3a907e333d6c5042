// Temporary keys as programs and services hand them out: in JSON ("Process credential provider" and
// "Container credential provider" of the AWS SDKs and Tools Reference Guide, "Retrieve security
// credentials" of the EC2 user guide) or in the XML of STS.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "object/s3/signature.h"

namespace skerry::s3 {

/// EACCES begins with `who`, and says what is missing; it never quotes the text, which may hold
/// keys.
Result<Credentials> credentials_of_json(const std::string& text, const std::string& who);
/// The same, of a text that must say "Version": 1.
Result<Credentials> credentials_of_process(const std::string& text, const std::string& who);
/// `action`: "AssumeRole".
Result<Credentials> credentials_of_sts(const std::string& text, const std::string& action,
                                       const std::string& who);

/// The value of a JSON object's member, where it is short and plain: a code, for messages.
std::string code_of_json(const std::string& text);

}  // namespace skerry::s3
