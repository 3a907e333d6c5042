#include "meta/stores/postgres/refusal.h"

#include <initializer_list>

namespace skerry::meta::postgres {

namespace {

struct Reason {
  std::initializer_list<const char*> words;  // all of them are in what was said
  int code;
  bool passes;
  const char* advice;
};

constexpr char kUserAdvice[] =
    "check the user and the password in the metadata URL, and what the server's pg_hba.conf lets "
    "in";
constexpr char kFullAdvice[] =
    "all its connections are taken: close some, or raise max_connections on the server, or the "
    "CONNECTION LIMIT of the role or the database";
constexpr char kStandbyAdvice[] =
    "no host of the metadata URL is what its target_session_attrs asks for: name all hosts there, "
    "and where a new primary is being chosen, try again in a while";
constexpr char kCertificateAdvice[] =
    "sslrootcert in the metadata URL must name the certificate of who signed the server's, and "
    "the host there must be the name in it";
constexpr char kOtherServerAdvice[] =
    "what answers there is not PostgreSQL: check host and port in the metadata URL";
constexpr char kServiceAdvice[] =
    "the service named in the metadata URL is looked up in PGSERVICEFILE, or ~/.pg_service.conf";
constexpr char kUrlAdvice[] = "correct the metadata URL";
constexpr char kGeneralAdvice[] =
    "check host, port, user and database in the metadata URL, and that the server runs";

/// In the order in which they are looked for: of several hosts each has said something.
const Reason kReasons[] = {
    {{"authentication failed"}, EACCES, false, kUserAdvice},
    {{"no pg_hba.conf entry"}, EACCES, false, kUserAdvice},
    {{"role \"", "does not exist"}, EACCES, false, kUserAdvice},
    {{"is not permitted to log in"}, EACCES, false, kUserAdvice},
    {{"permission denied for database"},
     EACCES,
     false,
     "let the user in: GRANT CONNECT ON DATABASE"},
    {{"database \"", "does not exist"},
     ENOENT,
     false,
     "create the database with createdb, or check its name in the metadata URL"},
    {{"session is read-only"}, EIO, true, kStandbyAdvice},
    {{"server is in hot standby mode"}, EIO, true, kStandbyAdvice},
    {{"session is not read-only"}, EIO, true, kStandbyAdvice},
    {{"server is not in hot standby mode"}, EIO, true, kStandbyAdvice},
    {{"too many clients"}, EIO, true, kFullAdvice},
    {{"too many connections"}, EIO, true, kFullAdvice},
    {{"remaining connection slots"}, EIO, true, kFullAdvice},
    {{"the database system is"}, EIO, true, "try again when the server has started"},
    {{"does not support SSL"},
     EIO,
     false,
     "set ssl = on there, or choose another sslmode in the metadata URL"},
    {{"certificate verify failed"}, EIO, false, kCertificateAdvice},
    {{"does not match host name"}, EIO, false, kCertificateAdvice},
    {{"root certificate file"}, EIO, false, kCertificateAdvice},
    {{"expected authentication request"}, EIO, false, kOtherServerAdvice},
    {{"invalid response to SSL negotiation"}, EIO, false, kOtherServerAdvice},
    {{"service file"}, EINVAL, false, kServiceAdvice},
    {{"definition of service"}, EINVAL, false, kServiceAdvice},
    {{"invalid", "value"}, EINVAL, false, kUrlAdvice},
    {{"invalid port number"}, EINVAL, false, kUrlAdvice},
    {{"could not match"}, EINVAL, false, kUrlAdvice},
};

bool fits(const Reason& reason, const std::string& said) {
  for (const char* word : reason.words) {
    if (said.find(word) == std::string::npos) return false;
  }
  return true;
}

/// What is said of several hosts has a line for each, some with remarks below.
std::string in_one_line(const char* text) {
  std::string line;
  for (const char* c = text; c != nullptr && *c != '\0'; ++c) {
    if (*c == '\n' && c[1] != '\0') line += ';';
    if (*c != '\n' && *c != '\t') line += *c;
    if ((*c == '\n' && c[1] != '\0' && c[1] != '\t') || *c == '\t') line += ' ';
  }
  return line;
}

}  // namespace

Error refusal(const std::string& shown, const char* said, bool needs_password) {
  const std::string line = in_one_line(said);
  const std::string text = "cannot connect to " + shown + ": " + line + "; ";
  if (needs_password) {
    return Error(EACCES, text +
                             "give a password in the metadata URL, in PGPASSWORD or in the "
                             "password file (passfile in the URL, PGPASSFILE, ~/.pgpass), which "
                             "is passed over where it is missing or others may read it");
  }
  for (const Reason& reason : kReasons) {
    if (fits(reason, line))
      return Error(reason.code, text + reason.advice).set_retryable(reason.passes);
  }
  return Error(EIO, text + kGeneralAdvice).set_retryable();
}

}  // namespace skerry::meta::postgres
