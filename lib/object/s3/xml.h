// The XML of S3 and STS: what is read of answers, and text for requests.
#pragma once

#include <boost/property_tree/ptree.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace skerry::s3 {

/// The root element of an answer; nothing if it is no XML.
std::optional<boost::property_tree::ptree> parse_xml(const std::string& text);

/// Of the element that a path of names, parted by dots, leads to; empty if there is none.
std::string text_of(const boost::property_tree::ptree& tree, const char* path);

/// Text as part of an element. False for what XML 1.0 cannot say at all.
bool append_xml(std::string_view text, std::string* out);

}  // namespace skerry::s3
