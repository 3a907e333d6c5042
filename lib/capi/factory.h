// From URLs to stores: the one place that knows which kinds there are.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "io/op_context.h"
#include "meta/store.h"
#include "object/object_store.h"
#include "object/request_options.h"

namespace skerry::capi {

// Errors: EINVAL for a malformed URL, ENOTSUP for an unknown scheme; else as the store says.

/// The metadata store of an existing volume; what it gives of one that was never formatted is told
/// by meta::read_format().
/// `notify`: where clients can tell each other of changes, they do.
Result<std::unique_ptr<meta::Store>> open_metadata(std::string_view url, Clock& clock,
                                                   bool notify = true);
/// A new one. EEXIST if a volume is there.
Result<std::unique_ptr<meta::Store>> create_metadata(std::string_view url, Clock& clock);

enum class DataFolder { kMustExist, kMake };
Result<std::unique_ptr<ObjectStore>> open_objects(std::string_view url, DataFolder folder,
                                                  Clock& clock, const RequestOptions& options = {});
/// Makes the place of a new volume's data its own. In S3 the bucket is made if there is none, and
/// the prefix claimed: see object/claim.h. What the store lacks is logged as warnings.
Status claim_objects(const OpContext& ctx, std::string_view url, const std::string& uuid,
                     Clock& clock);
/// Whether open_objects() would understand the URL; touches nothing.
Status check_storage_url(std::string_view url);
/// Where data goes if nothing is said: "file://<path of the database>.data". EINVAL where nothing
/// can be derived from the URL.
Result<std::string> default_storage(std::string_view metadata_url);
/// The URL for messages, without the password that it may hold.
std::string without_secrets(std::string_view metadata_url);

}  // namespace skerry::capi
