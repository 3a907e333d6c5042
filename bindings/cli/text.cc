#include "text.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

namespace skerry::cli {
namespace {

// The length of the UTF-8 sequence at the front of `text`, 0 where there is none (RFC 3629: no
// overlong forms, no surrogates, nothing above U+10FFFF).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    if (first == 0xE0 && byte(1) < 0xA0) return 0;
    if (first == 0xED && byte(1) > 0x9F) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (first == 0xF0 && byte(1) < 0x90) return 0;
    if (first == 0xF4 && byte(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t j) -> uint32_t {
      return j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0;
    };
    const uint32_t word = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    out += kAlphabet[word >> 18];
    out += kAlphabet[word >> 12 & 63];
    out += i + 1 < bytes.size() ? kAlphabet[word >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kAlphabet[word & 63] : '=';
  }
  return out;
}

std::optional<uint32_t> parse_number(std::string_view text, int base) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// The permission bits that "r", "w", "x", "X", "s", "t" stand for, before "who" selects among them.
std::optional<uint32_t> permission_bits(char letter, uint32_t current) {
  switch (letter) {
    case 'r':
      return 0444;
    case 'w':
      return 0222;
    case 'x':
      return 0111;
    case 'X':
      return S_ISDIR(current) || (current & 0111) != 0 ? 0111 : 0;
    case 's':
      return 06000;
    case 't':
      return 01000;
    default:
      return std::nullopt;
  }
}

// One clause, "go-w": the new mode.
std::optional<uint32_t> apply_clause(std::string_view clause, uint32_t mode, uint32_t umask) {
  size_t i = 0;
  uint32_t who = 0;
  for (; i < clause.size() && std::string_view("ugoa").find(clause[i]) != std::string_view::npos;
       ++i) {
    if (clause[i] == 'u') who |= 04700;
    if (clause[i] == 'g') who |= 02070;
    if (clause[i] == 'o') who |= 01007;
    if (clause[i] == 'a') who |= 07777;
  }
  const bool masked = who == 0;
  if (masked) who = 07777;
  if (i == clause.size()) return std::nullopt;
  while (i < clause.size()) {
    const char action = clause[i++];
    if (action != '+' && action != '-' && action != '=') return std::nullopt;
    uint32_t bits = 0;
    if (i < clause.size() && std::string_view("ugo").find(clause[i]) != std::string_view::npos) {
      const uint32_t shift = clause[i] == 'u' ? 6 : clause[i] == 'g' ? 3 : 0;
      const uint32_t copied = mode >> shift & 7;
      bits = copied << 6 | copied << 3 | copied;
      ++i;
    } else {
      for (; i < clause.size() && clause[i] != '+' && clause[i] != '-' && clause[i] != '='; ++i) {
        const auto letter = permission_bits(clause[i], mode);
        if (!letter) return std::nullopt;
        bits |= *letter;
      }
    }
    bits &= who;
    if (masked) bits &= ~umask;
    if (action == '+') mode |= bits;
    if (action == '-') mode &= ~bits;
    // "=" keeps the set-id bits of a directory unless they are named, as GNU chmod does.
    const uint32_t kept = S_ISDIR(mode) ? 06000 : 0;
    if (action == '=') mode = (mode & ~(who & 07777 & ~kept)) | bits;
  }
  return mode;
}

}  // namespace

std::string human_size(uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"K", "M", "G", "T", "P", "E"};
  if (bytes < 1024) return std::to_string(bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (value /= 1024; value >= 1023.95 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), value < 9.95 ? "%.1f%s" : "%.0f%s", value, kUnits[unit]);
  return text.data();
}

std::string mode_string(uint32_t mode) {
  std::string out = "----------";
  switch (mode & S_IFMT) {
    case S_IFDIR:
      out[0] = 'd';
      break;
    case S_IFLNK:
      out[0] = 'l';
      break;
    case S_IFIFO:
      out[0] = 'p';
      break;
    case S_IFSOCK:
      out[0] = 's';
      break;
    case S_IFBLK:
      out[0] = 'b';
      break;
    case S_IFCHR:
      out[0] = 'c';
      break;
    default:
      break;
  }
  for (int i = 0; i < 9; ++i) {
    if ((mode >> (8 - i) & 1) != 0) out[static_cast<size_t>(i) + 1] = "rwx"[i % 3];
  }
  if ((mode & S_ISUID) != 0) out[3] = out[3] == 'x' ? 's' : 'S';
  if ((mode & S_ISGID) != 0) out[6] = out[6] == 'x' ? 's' : 'S';
  if ((mode & S_ISVTX) != 0) out[9] = out[9] == 'x' ? 't' : 'T';
  return out;
}

std::string_view type_name(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    case S_IFBLK:
      return "block-device";
    case S_IFCHR:
      return "character-device";
    default:
      return "unknown";
  }
}

std::string octal_mode(uint32_t mode) {
  std::array<char, 16> text;
  std::snprintf(text.data(), text.size(), "%04o", mode & 07777u);
  return text.data();
}

std::string listing_time(const skerry_timespec& time) {
  const time_t seconds = time.sec;
  struct tm parts = {};
  if (localtime_r(&seconds, &parts) == nullptr) return std::to_string(time.sec);
  std::array<char, 64> text;
  strftime(text.data(), text.size(), "%Y-%m-%d %H:%M", &parts);
  return text.data();
}

std::string exact_time(const skerry_timespec& time) {
  const time_t seconds = time.sec;
  struct tm parts = {};
  if (gmtime_r(&seconds, &parts) == nullptr) return std::to_string(time.sec);
  std::array<char, 64> date;
  strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::array<char, 96> text;
  std::snprintf(text.data(), text.size(), "%s.%09dZ", date.data(), time.nsec);
  return text.data();
}

int64_t nanoseconds(const skerry_timespec& time) { return time.sec * 1'000'000'000 + time.nsec; }

std::string user_name(uint32_t uid) {
  struct passwd entry = {};
  struct passwd* found = nullptr;
  std::array<char, 4096> space;
  if (getpwuid_r(uid, &entry, space.data(), space.size(), &found) == 0 && found != nullptr) {
    return found->pw_name;
  }
  return std::to_string(uid);
}

std::string group_name(uint32_t gid) {
  struct group entry = {};
  struct group* found = nullptr;
  std::array<char, 4096> space;
  if (getgrgid_r(gid, &entry, space.data(), space.size(), &found) == 0 && found != nullptr) {
    return found->gr_name;
  }
  return std::to_string(gid);
}

std::optional<uint32_t> parse_user(const std::string& text) {
  struct passwd entry = {};
  struct passwd* found = nullptr;
  std::array<char, 4096> space;
  if (getpwnam_r(text.c_str(), &entry, space.data(), space.size(), &found) == 0 &&
      found != nullptr) {
    return found->pw_uid;
  }
  return parse_number(text, 10);
}

std::optional<uint32_t> parse_group(const std::string& text) {
  struct group entry = {};
  struct group* found = nullptr;
  std::array<char, 4096> space;
  if (getgrnam_r(text.c_str(), &entry, space.data(), space.size(), &found) == 0 &&
      found != nullptr) {
    return found->gr_gid;
  }
  return parse_number(text, 10);
}

std::optional<uint32_t> parse_mode(const std::string& text, uint32_t current, uint32_t umask) {
  if (text.empty()) return std::nullopt;
  if (text[0] >= '0' && text[0] <= '9') {
    const auto value = parse_number(text, 8);
    if (!value || *value > 07777) return std::nullopt;
    return (current & S_IFMT) | *value;
  }
  uint32_t mode = current;
  std::string_view rest = text;
  while (true) {
    const size_t comma = rest.find(',');
    const auto changed = apply_clause(rest.substr(0, comma), mode, umask);
    if (!changed) return std::nullopt;
    mode = *changed;
    if (comma == std::string_view::npos) return mode;
    rest.remove_prefix(comma + 1);
  }
}

void put_name(Json& object, const std::string& key, std::string_view name) {
  std::string text;
  bool exact = true;
  for (size_t i = 0; i < name.size();) {
    const size_t length = utf8_length(name.substr(i));
    if (length == 0) {
      std::array<char, 8> escaped;
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", static_cast<unsigned char>(name[i]));
      text += escaped.data();
      exact = false;
      ++i;
    } else {
      text.append(name.substr(i, length));
      i += length;
    }
  }
  object[key] = text;
  if (!exact) object[key + "_base64"] = base64(name);
}

std::string printable(std::string_view name, bool plain) {
  std::string out(name);
  if (plain) return out;
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return out;
}

Json stat_json(const struct skerry_stat& stat) {
  Json out;
  out["type"] = type_name(stat.mode);
  out["mode"] = octal_mode(stat.mode);
  out["size"] = stat.size;
  out["ino"] = stat.ino;
  out["version"] = stat.version;
  out["nlink"] = stat.nlink;
  out["uid"] = stat.uid;
  out["gid"] = stat.gid;
  out["rdev"] = stat.rdev;
  out["blocks"] = stat.blocks;
  out["blksize"] = stat.blksize;
  out["immutable"] = (stat.attributes & SKERRY_ATTR_IMMUTABLE) != 0;
  out["append_only"] = (stat.attributes & SKERRY_ATTR_APPEND) != 0;
  const auto put_time = [&](const std::string& key, const skerry_timespec& time) {
    out[key] = exact_time(time);
    out[key + "_ns"] = nanoseconds(time);
  };
  put_time("atime", stat.atime);
  put_time("mtime", stat.mtime);
  put_time("ctime", stat.ctime);
  put_time("btime", stat.btime);
  return out;
}

}  // namespace skerry::cli
