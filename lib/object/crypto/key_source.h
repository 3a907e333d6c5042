// Where a volume's key comes from.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "io/op_context.h"
#include "object/crypto/secret_key.h"

namespace skerry {

struct KeySource {
  enum class Kind { kFile, kEnvironment, kCommand };
  Kind kind = Kind::kFile;
  std::string place;  // path, name or command line; a command line may hold a secret itself

  /// "file:/path", "env:NAME" or "command:words for /bin/sh". EINVAL for anything else, which is
  /// not repeated: it may be the key.
  static Result<KeySource> parse(std::string_view text);
  /// "file", "env" or "command".
  const char* kind_name() const;
  /// For messages: "the file /srv/key", "the environment variable NAME", "the command".
  std::string describe() const;
};

/// Reads the key: 32 bytes (of a file or a command), 64 hexadecimal digits or the base64 of 32
/// bytes, blanks around the text left out. Errors name the place and nothing of what was found
/// there: ENOENT, EACCES, or EINVAL where it is no key.
Result<SecretKey> load_key(const OpContext& ctx, const KeySource& source);

}  // namespace skerry
