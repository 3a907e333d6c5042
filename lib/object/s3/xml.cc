#include "object/s3/xml.h"

#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

namespace skerry::s3 {

using boost::property_tree::ptree;

std::optional<ptree> parse_xml(const std::string& text) {
  try {
    std::istringstream stream(text);
    ptree tree;
    read_xml(stream, tree);
    if (tree.empty()) return std::nullopt;
    return std::move(tree.front().second);
  } catch (const boost::property_tree::ptree_error&) {
    return std::nullopt;
  }
}

std::string text_of(const ptree& tree, const char* path) {
  return tree.get<std::string>(path, std::string());
}

bool append_xml(std::string_view text, std::string* out) {
  for (char c : text) {
    switch (c) {
      case '&':
        *out += "&amp;";
        break;
      case '<':
        *out += "&lt;";
        break;
      case '>':
        *out += "&gt;";
        break;
      case '"':
        *out += "&quot;";
        break;
      case '\t':
        *out += "&#9;";
        break;
      case '\n':
        *out += "&#10;";
        break;
      case '\r':
        *out += "&#13;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) return false;
        *out += c;
    }
  }
  return true;
}

}  // namespace skerry::s3
