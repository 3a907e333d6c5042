#include "object/s3/times.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>

namespace skerry::s3 {
namespace {

TimeNs since_epoch(tm parts) { return static_cast<TimeNs>(timegm(&parts)) * kSecond; }

}  // namespace

TimeNs http_time(std::string_view text) {
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const size_t comma = text.find(',');
  if (comma == text.npos) return 0;
  tm parts{};
  char month[4] = "";
  if (sscanf(std::string(text.substr(comma + 1)).c_str(), "%d %3s %d %d:%d:%d", &parts.tm_mday,
             month, &parts.tm_year, &parts.tm_hour, &parts.tm_min, &parts.tm_sec) != 6) {
    return 0;
  }
  const auto* const named =
      std::find_if(std::begin(kMonths), std::end(kMonths),
                   [&](const char* name) { return std::string_view(name) == month; });
  if (named == std::end(kMonths)) return 0;
  parts.tm_mon = static_cast<int>(named - std::begin(kMonths));
  parts.tm_year -= 1900;
  return since_epoch(parts);
}

TimeNs xml_time(std::string_view text) {
  const std::string owned(text);
  tm parts{};
  int used = 0;
  if (sscanf(owned.c_str(), "%d-%d-%dT%d:%d:%d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
             &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &used) != 6) {
    return 0;
  }
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  const TimeNs time = since_epoch(parts);
  std::string_view rest = std::string_view(owned).substr(static_cast<size_t>(used));
  rest.remove_prefix(std::min(rest.find_first_of("Z+-"), rest.size()));
  int hours = 0, minutes = 0;
  if (rest.empty() || rest.front() == 'Z') return time;
  if (sscanf(std::string(rest.substr(1)).c_str(), "%2d:%2d", &hours, &minutes) != 2) return 0;
  const TimeNs shift = (hours * 60 + minutes) * 60 * kSecond;
  return rest.front() == '+' ? time - shift : time + shift;
}

}  // namespace skerry::s3
