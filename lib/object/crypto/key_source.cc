#include "object/crypto/key_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "io/command_output.h"
#include "object/crypto/key_ring.h"

namespace skerry {
namespace {

constexpr size_t kMaxText = 4096;
constexpr size_t kBase64Digits = 43;  // of 32 bytes, without "="

constexpr struct {
  std::string_view prefix;
  KeySource::Kind kind;
} kForms[] = {{"file:", KeySource::Kind::kFile},
              {"env:", KeySource::Kind::kEnvironment},
              {"command:", KeySource::Kind::kCommand}};

/// A string that held a secret is overwritten, whichever way its scope is left.
struct Wiped {
  std::string text;
  ~Wiped() { wipe(std::as_writable_bytes(std::span(text))); }
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  return c == '/' || c == '_' ? 63 : -1;
}

std::optional<SecretKey> from_base64(std::string_view text) {
  if (text.size() == kBase64Digits + 1 && text.back() == '=') text.remove_suffix(1);
  if (text.size() != kBase64Digits) return std::nullopt;
  SecretKey key;
  uint32_t bits = 0;
  unsigned held = 0;
  size_t at = 0;
  for (char c : text) {
    const int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    key.bytes()[at++] = static_cast<std::byte>(bits >> held & 0xff);
  }
  if ((bits & ((1u << held) - 1)) != 0) return std::nullopt;
  return key;
}

std::optional<SecretKey> key_of(std::string_view found, bool may_be_raw) {
  const std::string_view text = trimmed(found);
  SecretKey key;
  if (from_hex(text, key.bytes())) return key;
  if (auto decoded = from_base64(text)) return decoded;
  if (!may_be_raw || found.size() != SecretKey::kBytes) return std::nullopt;
  // Of random keys one in 10^13 is so: it is a passphrase.
  if (std::all_of(found.begin(), found.end(), [](char c) { return c >= ' ' && c <= '~'; })) {
    return std::nullopt;
  }
  std::memcpy(key.bytes().data(), found.data(), SecretKey::kBytes);
  return key;
}

Status read_file(const std::string& path, std::string* out) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file < 0) return Error(errno);
  out->resize(kMaxText);
  size_t size = 0;
  ssize_t n = 0;
  while (size < kMaxText &&
         ((n = read(file, out->data() + size, kMaxText - size)) > 0 || (n < 0 && errno == EINTR))) {
    size += n > 0 ? static_cast<size_t>(n) : 0;
  }
  const int failed = n < 0 ? errno : 0;
  close(file);
  out->resize(size);
  if (failed != 0) return Error(failed);
  return {};
}

Status find(const OpContext& ctx, const KeySource& source, std::string* out) {
  switch (source.kind) {
    case KeySource::Kind::kFile:
      return read_file(source.place, out);
    case KeySource::Kind::kEnvironment: {
      const char* value = std::getenv(source.place.c_str());
      if (value == nullptr) return Error(ENOENT, "it is not set");
      *out = value;
      return {};
    }
    case KeySource::Kind::kCommand: {
      SKERRY_ASSIGN(*out, command_output(ctx, source.place));
      return {};
    }
  }
  return Error(EINVAL);
}

}  // namespace

Result<KeySource> KeySource::parse(std::string_view text) {
  for (const auto& form : kForms) {
    if (!text.starts_with(form.prefix) || text.size() == form.prefix.size()) continue;
    return KeySource{form.kind, std::string(text.substr(form.prefix.size()))};
  }
  return Error(EINVAL,
               "it does not say where the key is; write file:/path, env:NAME or command:COMMAND, "
               "never the key itself");
}

const char* KeySource::kind_name() const {
  return kind == Kind::kFile ? "file" : kind == Kind::kEnvironment ? "env" : "command";
}

std::string KeySource::describe() const {
  if (kind == Kind::kFile) return "the file " + place;
  if (kind == Kind::kEnvironment) return "the environment variable " + place;
  return "the command";
}

Result<SecretKey> load_key(const OpContext& ctx, const KeySource& source) {
  Wiped found;
  const std::string where = "the encryption key in " + source.describe();
  if (Status read = find(ctx, source, &found.text); !read.ok()) {
    return std::move(read).error().with_context(where);
  }
  auto key = key_of(found.text, source.kind != KeySource::Kind::kEnvironment);
  if (!key) {
    return Error(EINVAL,
                 where +
                     " is not one: a key is 32 random bytes, their 64 hexadecimal digits or "
                     "their base64, and a passphrase is none; make one with \"openssl rand "
                     "-hex 32\"");
  }
  return *key;
}

}  // namespace skerry
