// ACLs as setfacl(1) writes them, "u::rwx,u:1000:r,g::r,m::r,o::-", to and from their binary form.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace skerry {

namespace acl_text_internal {
struct Entry {
  uint16_t tag, access;
  uint32_t id;
};
static_assert(sizeof(Entry) == 8);
}  // namespace acl_text_internal

inline std::string acl(std::string_view text) {
  const uint32_t version = 2;
  std::string encoded(reinterpret_cast<const char*>(&version), sizeof version);
  while (!text.empty()) {
    const std::string word(text.substr(0, text.find(',')));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    const size_t first = word.find(':'), second = word.find(':', first + 1);
    const std::string id = word.substr(first + 1, second - first - 1);
    acl_text_internal::Entry entry{0x20, 0, UINT32_MAX};
    if (word[0] == 'u') entry.tag = id.empty() ? 0x01 : 0x02;
    if (word[0] == 'g') entry.tag = id.empty() ? 0x04 : 0x08;
    if (word[0] == 'm') entry.tag = 0x10;
    for (char c : word.substr(second + 1)) {
      if (c == 'r') entry.access |= 4;
      if (c == 'w') entry.access |= 2;
      if (c == 'x') entry.access |= 1;
    }
    if (!id.empty()) entry.id = static_cast<uint32_t>(std::strtoul(id.c_str(), nullptr, 10));
    encoded.append(reinterpret_cast<const char*>(&entry), sizeof entry);
  }
  return encoded;
}

inline std::string acl_text(std::string_view encoded) {
  std::string text;
  acl_text_internal::Entry entry;
  for (size_t at = 4; at + sizeof entry <= encoded.size(); at += sizeof entry) {
    std::memcpy(&entry, encoded.data() + at, sizeof entry);
    if (!text.empty()) text += ',';
    text += entry.tag <= 0x02 ? "u:" : entry.tag <= 0x08 ? "g:" : entry.tag == 0x10 ? "m:" : "o:";
    if (entry.tag == 0x02 || entry.tag == 0x08) text += std::to_string(entry.id);
    text += ':';
    if (entry.access == 0) text += '-';
    if ((entry.access & 4) != 0) text += 'r';
    if ((entry.access & 2) != 0) text += 'w';
    if ((entry.access & 1) != 0) text += 'x';
  }
  return text;
}

}  // namespace skerry
