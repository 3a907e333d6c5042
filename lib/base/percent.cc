#include "base/percent.h"

namespace skerry {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool percent_decode(std::string_view text, std::string* out) {
  out->clear();
  bool whole = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low < 0) {
      whole = whole && text[i] != '%';
      *out += text[i];
    } else {
      *out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return whole;
}

}  // namespace skerry
