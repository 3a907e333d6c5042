// The format record: what a volume is, as JSON that a person can read with psql or sqlite3, and
// the first records of a new one.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "meta/commit_retries.h"
#include "meta/meta.h"
#include "meta/table_scan.h"

namespace skerry::meta {

namespace {

constexpr uint32_t kFormatVersion = 1;
constexpr uint32_t kMinBlockBytes = 4096;
constexpr uint32_t kMaxBlockBytes = kChunkSize;
constexpr uint32_t kMaxInlineBytes = 1u << 20;
constexpr TimeNs kMs = 1'000'000;
constexpr TimeNs kMinExpiryNs = 5'000 * kMs;  // several heartbeats
constexpr TimeNs kMaxExpiryNs = 86'400'000 * kMs;

// The feature flags this version knows. A flag's meaning is stated where it is implemented; a
// volume that carries one which is missing here is refused or opened read-only.
constexpr std::array<std::string_view, 2> kKnownIncompatible{kFeatureFramedObjects,
                                                             kFeatureEncryption};
constexpr std::array<std::string_view, 1> kKnownReadOnlyCompatible{kFeatureFileFlags};

/// The flags of `present` that are not in `known`, separated by commas.
template <size_t N>
std::string unknown_flags(const std::vector<std::string>& present,
                          const std::array<std::string_view, N>& known) {
  std::string unknown;
  for (const std::string& flag : present) {
    if (std::find(known.begin(), known.end(), flag) != known.end()) continue;
    if (!unknown.empty()) unknown += ", ";
    unknown += flag;
  }
  return unknown;
}

Error malformed(const std::string& why) {
  return Error(EINVAL, "the volume's format record is malformed (" + why +
                           "); restore the metadata from a backup, or format a new volume");
}

Status check_limits(const VolumeFormat& format) {
  if (format.uuid.empty()) return malformed("uuid is missing");
  if (format.block_bytes < kMinBlockBytes || format.block_bytes > kMaxBlockBytes) {
    return malformed("block_bytes is " + std::to_string(format.block_bytes) +
                     ", outside 4096 to 67108864");
  }
  if (format.inline_bytes > kMaxInlineBytes) {
    return malformed("inline_bytes is " + std::to_string(format.inline_bytes) + ", above 1048576");
  }
  if (format.session_expiry_ns < kMinExpiryNs || format.session_expiry_ns > kMaxExpiryNs) {
    return malformed("session_expiry_ms is " + std::to_string(format.session_expiry_ns / kMs) +
                     ", outside 5000 to 86400000");
  }
  return {};
}

nlohmann::ordered_json encode_layouts(const std::vector<ObjectLayout>& layouts) {
  auto json = nlohmann::ordered_json::array();
  for (const ObjectLayout& layout : layouts) {
    json.push_back({{"from_object", layout.from}, {"encrypted", layout.encrypted}});
  }
  return json;
}

nlohmann::ordered_json encode_encryption(const EncryptionFormat& encryption) {
  auto keys = nlohmann::ordered_json::array();
  for (const WrappedKey& key : encryption.data_keys) {
    keys.push_back({{"id", key.id}, {"wrapped", key.wrapped}});
  }
  return {{"key_id", encryption.key_id},
          {"key_source", encryption.key_source},
          {"data_key", encryption.data_key},
          {"data_keys", std::move(keys)}};
}

/// Throws what the JSON library does.
void decode_objects(const nlohmann::ordered_json& json, VolumeFormat* format) {
  format->compression = json.value("compression", format->compression);
  for (const auto& layout : json.value("layouts", nlohmann::ordered_json::array())) {
    format->layouts.push_back(
        {layout.at("from_object").get<ObjectId>(), layout.at("encrypted").get<bool>()});
  }
  if (!json.contains("encryption")) return;
  const auto& from = json.at("encryption");
  EncryptionFormat& encryption = format->encryption.emplace();
  encryption.key_id = from.at("key_id").get<std::string>();
  encryption.key_source = from.at("key_source").get<std::string>();
  encryption.data_key = from.at("data_key").get<uint32_t>();
  for (const auto& key : from.at("data_keys")) {
    encryption.data_keys.push_back(
        {key.at("id").get<uint32_t>(), key.at("wrapped").get<std::string>()});
  }
}

bool has_flag(const std::vector<std::string>& flags, std::string_view flag) {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

/// What a client relies on when it decides whether an object is encrypted.
Status check_objects(const VolumeFormat& format) {
  bool encrypted = false;
  for (size_t i = 0; i < format.layouts.size(); ++i) {
    const ObjectLayout& layout = format.layouts[i];
    if (i > 0 && layout.from < format.layouts[i - 1].from)
      return malformed("layouts are unordered");
    if (encrypted && !layout.encrypted) return malformed("encryption ends");
    encrypted = layout.encrypted;
  }
  if (encrypted != format.encrypted()) return malformed("layouts and encryption disagree");
  if (format.layouts.empty() == has_flag(format.incompatible, kFeatureFramedObjects) ||
      encrypted != has_flag(format.incompatible, kFeatureEncryption)) {
    return malformed("layouts and features disagree");
  }
  if (!encrypted) return {};
  uint32_t last = 0;
  bool has_current = false;
  for (const WrappedKey& key : format.encryption->data_keys) {
    if (key.id <= last) return malformed("data keys are unordered");
    last = key.id;
    has_current = has_current || key.id == format.encryption->data_key;
  }
  return has_current ? Status() : malformed("the data key is missing");
}

EntryRecord root_entry(const OpContext& ctx, TimeNs now, uint32_t shards) {
  // The root has no name; its record lies under the inode number 0 that no directory has, so it is
  // found, joined and patched as every other directory is.
  EntryRecord root;
  root.parent = 0;
  root.attr.ino = kRootIno;
  root.attr.type = FileType::kDirectory;
  root.attr.mode = 0755;
  root.attr.uid = ctx.credentials.uid;
  root.attr.gid = ctx.credentials.gid;
  root.attr.nlink = 2;
  root.attr.shards = shards;
  root.attr.atime_ns = root.attr.mtime_ns = root.attr.ctime_ns = root.attr.btime_ns = now;
  return root;
}

std::vector<Mutation> first_records(const OpContext& ctx, const VolumeFormat& format, TimeNs now,
                                    uint32_t shards) {
  std::vector<Mutation> records;
  auto volume = [&records](const char* name, std::string value, uint64_t number) {
    records.push_back(Put{VolumeRecord{name, std::move(value), number, 1}});
  };
  volume(kVolumeFormat, encode_format(format), 0);
  volume(kVolumeEpoch, {}, 1);
  volume(kVolumeRenameSerial, {}, 0);
  volume(kVolumeNextIno, {}, kRootIno + 1);
  volume(kVolumeNextObject, {}, 1);  // 0 means zeros
  volume(kVolumeNextClient, {}, 1);  // 0 means none
  volume(kVolumeReclaimer, "0", 0);
  records.push_back(Put{root_entry(ctx, now, shards)});
  for (uint64_t shard = 0; shard < shards; ++shard) {
    records.push_back(Put{DirStatRecord{kRootIno, shard, now, 0, 0}});
  }
  records.push_back(Put{UsageRecord{0, 0, 0, 1}});
  return records;
}

}  // namespace

std::string encode_format(const VolumeFormat& format) {
  try {
    nlohmann::ordered_json json = {
        {"uuid", format.uuid},
        {"storage", format.storage},
        {"format_version", format.format_version},
        {"block_bytes", format.block_bytes},
        {"inline_bytes", format.inline_bytes},
        {"durable_metadata", format.durable_metadata},
        {"session_expiry_ms", format.session_expiry_ns / kMs},
        {"compatible", format.compatible},
        {"read_only_compatible", format.read_only_compatible},
        {"incompatible", format.incompatible},
        {"compression", format.compression},
        {"layouts", encode_layouts(format.layouts)},
    };
    if (format.encrypted()) json["encryption"] = encode_encryption(*format.encryption);
    // Bytes that are no UTF-8 (a path in `storage`) are replaced instead of thrown at.
    return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  } catch (const nlohmann::ordered_json::exception&) {
    return {};  // format_volume refuses what does not decode to itself
  }
}

Result<VolumeFormat> decode_format(std::string_view text) {
  VolumeFormat format;
  try {
    const auto json = nlohmann::ordered_json::parse(text);
    if (!json.is_object()) return malformed("it is not a JSON object");
    // The version first: the fields of a later one may mean something else.
    format.format_version = json.at("format_version").get<uint32_t>();
    if (format.format_version != kFormatVersion) {
      return Error(ENOTSUP, "the volume has format version " +
                                std::to_string(format.format_version) +
                                ", this software knows version " + std::to_string(kFormatVersion) +
                                "; use a newer version of skerry");
    }
    format.uuid = json.at("uuid").get<std::string>();
    format.storage = json.at("storage").get<std::string>();
    format.block_bytes = json.at("block_bytes").get<uint32_t>();
    format.inline_bytes = json.at("inline_bytes").get<uint32_t>();
    format.durable_metadata = json.value("durable_metadata", false);
    const auto expiry_ms = json.value("session_expiry_ms", format.session_expiry_ns / kMs);
    format.session_expiry_ns = std::clamp<TimeNs>(expiry_ms, 0, kMaxExpiryNs) * kMs;
    const std::vector<std::string> none;
    format.compatible = json.value("compatible", none);
    format.read_only_compatible = json.value("read_only_compatible", none);
    format.incompatible = json.value("incompatible", none);
    // A later version may say what follows in another way; read_format() refuses it by its flag.
    if (unknown_flags(format.incompatible, kKnownIncompatible).empty()) {
      decode_objects(json, &format);
    }
  } catch (const nlohmann::ordered_json::exception& e) {
    return malformed(e.what());
  }
  SKERRY_TRY(check_limits(format));
  if (unknown_flags(format.incompatible, kKnownIncompatible).empty()) {
    SKERRY_TRY(check_objects(format));
  }
  return format;
}

Status format_volume(const OpContext& ctx, Store& store, const VolumeFormat& format, Clock& clock) {
  // What could not be opened again must not be written.
  auto decoded = decode_format(encode_format(format));
  if (!decoded.ok()) {
    return Error(decoded.error().code(), "format: " + decoded.error().message());
  }
  if (decoded->storage != format.storage || decoded->uuid != format.uuid) {
    return Error(EINVAL, "format: the volume's storage URL and uuid must be UTF-8");
  }
  const uint32_t shards = std::max<uint32_t>(store.capabilities().dirstat_shards, 1);
  CommitRequest request;
  request.expectations.push_back(ExpectAbsent{volume_key(kVolumeFormat)});
  request.mutations = first_records(ctx, format, clock.now_ns(), shards);
  request.durability = Durability::kDurable;
  auto committed = store.commit(ctx, std::move(request));
  if (!committed.ok()) {
    return std::move(committed).error().with_context("format " + store.describe());
  }
  if (!committed->applied) {
    return Error(EEXIST, store.describe() +
                             " already holds a volume; open it, or choose another metadata URL "
                             "for the new one");
  }
  return {};
}

namespace {

/// Of the record that a read found, or not.
Result<VolumeFormat> take_format(Store& store, const std::optional<Record>& record) {
  if (!record.has_value()) {
    return Error(ENOENT, store.describe() +
                             " holds no volume; create one with 'skerry format', or check the "
                             "metadata URL");
  }
  auto format = decode_format(std::get<VolumeRecord>(*record).value);
  if (!format.ok()) return std::move(format).error().with_context("open " + store.describe());
  const std::string unknown = unknown_flags(format->incompatible, kKnownIncompatible);
  if (!unknown.empty()) {
    return Error(ENOTSUP, "the volume in " + store.describe() +
                              " uses features this software does not know: " + unknown +
                              "; use a newer version of skerry");
  }
  return format;
}

Error in_use(const std::vector<ClientRecord>& clients) {
  std::string who;
  for (const ClientRecord& client : clients) {
    if (!who.empty()) who += ", ";
    who += "process " + std::to_string(client.pid) + " on " + client.host;
  }
  return Error(EBUSY, "the volume is open elsewhere: " + who +
                          "; close it there first (a client that died is given up after the "
                          "volume's session_expiry, once another has it open and looks)");
}

}  // namespace

bool same_object_layout(const VolumeFormat& a, const VolumeFormat& b) {
  if (a.layouts != b.layouts || a.encrypted() != b.encrypted()) return false;
  return !a.encrypted() ||
         std::equal(a.encryption->data_keys.begin(), a.encryption->data_keys.end(),
                    b.encryption->data_keys.begin(), b.encryption->data_keys.end(),
                    [](const WrappedKey& x, const WrappedKey& y) { return x.id == y.id; });
}

Result<VolumeFormat> read_format(const OpContext& ctx, Store& store) {
  ReadRequest request;
  request.keys.push_back(volume_key(kVolumeFormat));
  auto read = store.read(ctx, request);
  if (!read.ok()) return std::move(read).error().with_context("open " + store.describe());
  return take_format(store, read->records[0]);
}

Result<FormatSnapshot> read_format_snapshot(const OpContext& ctx, Store& store) {
  constexpr uint32_t kClientsNamed = 4;
  ReadRequest request;
  request.keys = {volume_key(kVolumeFormat), volume_key(kVolumeNextObject),
                  volume_key(kVolumeNextClient)};
  request.ranges.push_back({.table = Table::kClient, .prefix_fields = 0, .limit = kClientsNamed});
  SKERRY_ASSIGN(ReadResult read, store.read(ctx, request));
  FormatSnapshot snapshot;
  SKERRY_ASSIGN(snapshot.format, take_format(store, read.records[0]));
  snapshot.version = std::get<VolumeRecord>(*read.records[0]).version;
  SKERRY_ASSIGN(const VolumeRecord object, take_volume_record(read.records[1], kVolumeNextObject));
  SKERRY_ASSIGN(const VolumeRecord client, take_volume_record(read.records[2], kVolumeNextClient));
  snapshot.next_object = object.number;
  snapshot.next_object_version = object.version;
  snapshot.next_client_version = client.version;
  for (Record& record : read.pages[0].records) {
    snapshot.clients.push_back(std::get<ClientRecord>(std::move(record)));
  }
  return snapshot;
}

// A client that registers expects the format record as it was when it read it, and adds nothing to
// the counter of clients when it puts its record (see Meta::register_session). So of a client that
// registers and a change of the layout that is under way one comes first, and the other is refused.
Result<bool> replace_format(const OpContext& ctx, Store& store, const FormatSnapshot& was,
                            const VolumeFormat& format, Clock& clock, Random& random) {
  std::string text = encode_format(format);
  SKERRY_TRY(decode_format(text));  // what could not be opened again must not be written
  CommitRequest request;
  request.request = {random.next(), random.next()};
  request.expectations.push_back(ExpectVersion{volume_key(kVolumeFormat), was.version});
  if (!same_object_layout(was.format, format)) {
    if (!was.clients.empty()) return in_use(was.clients);
    request.expectations.push_back(
        ExpectVersion{volume_key(kVolumeNextObject), was.next_object_version});
    request.expectations.push_back(
        ExpectVersion{volume_key(kVolumeNextClient), was.next_client_version});
  }
  request.mutations.push_back(
      Put{VolumeRecord{kVolumeFormat, std::move(text), 0, was.version + 1}});
  request.durability = Durability::kDurable;
  SKERRY_ASSIGN(const CommitResult result, commit_with_retries(ctx, store, clock, random, request));
  return result.applied;
}

bool format_requires_read_only(const VolumeFormat& format) {
  return !unknown_flags(format.read_only_compatible, kKnownReadOnlyCompatible).empty();
}

}  // namespace skerry::meta
