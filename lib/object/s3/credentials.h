// Where requests get their keys from, in the order of AWS's own tools ("Standardized credential
// providers" of the AWS SDKs and Tools Reference Guide):
//
//   1. the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//   2. a web identity: AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME
//   3. a profile of the shared files (AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials,
//      AWS_CONFIG_FILE or ~/.aws/config): role_arn with source_profile, credential_source or
//      web_identity_token_file; keys; credential_process
//   4. the container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI
//   5. the instance metadata service, unless AWS_EC2_METADATA_DISABLED is true
//
// A profile that the storage URL names comes first, and is the only place then. One that is named
// there or by AWS_PROFILE must be there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "object/s3/credentials_provider.h"
#include "object/s3/location.h"
#include "object/s3/signature.h"

namespace skerry::s3 {

using Variables = std::function<const char*(const char*)>;

/// The settings of one section of a shared file. `section`: "default" or, of the config file,
/// "profile name". Empty if there is no such section; what is malformed is passed over.
std::map<std::string, std::string> profile_settings(std::string_view file,
                                                    std::string_view section);

/// Of the first of the places above that is set up: which one that is, is decided here, and its
/// files and services are read with each fetch. `variable` is not kept; `clock` is. EACCES and
/// EINVAL say what to do; services are not asked yet.
Result<std::shared_ptr<CredentialsProvider>> make_credentials(const Location& location,
                                                              const Variables& variable,
                                                              Clock& clock);

}  // namespace skerry::s3
