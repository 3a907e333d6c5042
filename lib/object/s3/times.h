// Times as the servers of AWS write them. The locale has no say.
#pragma once

#include <string_view>

#include "base/clock.h"

namespace skerry::s3 {

/// RFC 9110: "Fri, 24 May 2013 00:00:00 GMT". 0 if it is malformed.
TimeNs http_time(std::string_view text);

/// RFC 3339: "2013-05-24T00:00:00.000Z", "2013-05-24T02:00:00+02:00"; fractions do not count. 0 if
/// it is malformed.
TimeNs xml_time(std::string_view text);

}  // namespace skerry::s3
