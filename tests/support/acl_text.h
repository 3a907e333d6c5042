// ACLs as setfacl(1) writes them, "u::rwx,u:1000:r,g::r,m::r,o::-", to and from their binary form.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace skerry {

inline std::string acl(std::string_view text) {
  std::string encoded;
  Encoder encoder(&encoded);
  encoder.fixed(uint32_t{2});
  while (!text.empty()) {
    std::string entry(text.substr(0, text.find(',')));
    text.remove_prefix(std::min(text.size(), entry.size() + 1));
    const size_t first = entry.find(':'), second = entry.find(':', first + 1);
    const std::string id = entry.substr(first + 1, second - first - 1);
    uint16_t tag = 0x20;
    if (entry[0] == 'u') tag = id.empty() ? 0x01 : 0x02;
    if (entry[0] == 'g') tag = id.empty() ? 0x04 : 0x08;
    if (entry[0] == 'm') tag = 0x10;
    uint16_t access = 0;
    for (char c : entry.substr(second + 1)) {
      if (c == 'r') access |= 4;
      if (c == 'w') access |= 2;
      if (c == 'x') access |= 1;
    }
    encoder.fixed(tag);
    encoder.fixed(access);
    encoder.fixed(id.empty() ? UINT32_MAX
                             : static_cast<uint32_t>(std::strtoul(id.c_str(), nullptr, 10)));
  }
  return encoded;
}

inline std::string acl_text(std::string_view encoded) {
  Decoder decoder(encoded);
  decoder.fixed<uint32_t>();
  std::string text;
  while (decoder.remaining() >= 8) {
    const auto tag = decoder.fixed<uint16_t>();
    const auto access = decoder.fixed<uint16_t>();
    const auto id = decoder.fixed<uint32_t>();
    if (!text.empty()) text += ',';
    text += tag <= 0x02 ? "u:" : tag <= 0x08 ? "g:" : tag == 0x10 ? "m:" : "o:";
    if (tag == 0x02 || tag == 0x08) text += std::to_string(id);
    text += ':';
    if (access == 0) text += '-';
    if ((access & 4) != 0) text += 'r';
    if ((access & 2) != 0) text += 'w';
    if ((access & 1) != 0) text += 'x';
  }
  return text;
}

}  // namespace skerry
