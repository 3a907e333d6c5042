// Digests of what is sent, as the headers of S3 have them: in base64.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"

namespace skerry::s3 {

std::string base64(ByteView bytes);
/// As x-amz-checksum-crc32c has it.
std::string crc32c_text(const std::vector<ByteView>& pieces);
/// As Content-MD5 has it.
std::string md5_text(const std::vector<ByteView>& pieces);

}  // namespace skerry::s3
