// Temporary keys from services: the container's, the instance's, and STS.
//
// See "Container credential provider", "IMDS credential provider" and "Assume role credential
// provider" of the AWS SDKs and Tools Reference Guide, and the AWS STS API reference. Each call
// asks anew over connections of its own. What passes is asked again, twice at most. Errors name the
// service and its code, and never tokens or keys.
#pragma once

#include <string>

#include "io/op_context.h"
#include "object/s3/signature.h"

namespace skerry::s3 {

struct ContainerService {
  std::string url;
  std::string token_file;  // read with each call; empty: `token`
  std::string token;       // empty: none
};
/// Keys are taken over https, or over http from this machine and the services of ECS and EKS.
/// EINVAL for other hosts.
Status check_container_url(const std::string& url);
Result<Credentials> container_credentials(const OpContext& ctx, const ContainerService& service);

/// Version 2 of the instance metadata service alone. `endpoint`: "http://169.254.169.254".
Result<Credentials> instance_credentials(const OpContext& ctx, const std::string& endpoint);

struct Role {
  std::string arn;
  std::string session_name;
  std::string external_id;  // empty: none
  std::string seconds;      // empty: the service's default
};
struct StsService {
  std::string endpoint;  // "https://sts.eu-west-1.amazonaws.com"
  std::string region;
  std::string ca_bundle;
};
/// AssumeRoleWithWebIdentity; the file is read with each call, since its owner renews it.
Result<Credentials> web_identity_credentials(const OpContext& ctx, const StsService& sts,
                                             const Role& role, const std::string& token_file);
/// AssumeRole, signed with the keys of another identity.
Result<Credentials> role_credentials(const OpContext& ctx, const StsService& sts, const Role& role,
                                     const Credentials& identity);

}  // namespace skerry::s3
