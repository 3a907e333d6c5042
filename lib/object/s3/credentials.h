// Where requests get their keys from, in the order of AWS's own tools: the environment
// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), then a profile of the shared files
// (AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, AWS_CONFIG_FILE or ~/.aws/config); see "AWS
// SDKs and Tools Reference Guide", shared config and credentials files.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "object/s3/location.h"
#include "object/s3/signature.h"

namespace skerry::s3 {

using Variables = std::function<const char*(const char*)>;

/// The settings of one section of a shared file. `section`: "default" or, of the config file,
/// "profile name". Empty if there is no such section; what is malformed is passed over.
std::map<std::string, std::string> profile_settings(std::string_view file,
                                                    std::string_view section);

/// EACCES, with what to do, if there are none or not all of them.
Result<Credentials> find_credentials(const Location& location, const Variables& variable);

}  // namespace skerry::s3
